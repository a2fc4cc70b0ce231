# SPDX-License-Identifier: GPL-3.0-or-later
"""A proxy before the service: its files, tried by the proxy itself before it reads them, and what runs made to fit."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..host import private_files, systemd_unit

Json = dict[str, Any]


class FrontError(Exception):
    """A fault to tell the operator."""


@dataclass(frozen=True)
class File:
    """A file as it shall be; root's. A ``secret`` is never shown."""

    path: str
    content: str
    mode: int = 0o644
    secret: bool = False

    def wrong(self) -> str | None:
        """Why it must be written, in words, or None."""
        why = private_files.wrong(self.path, self.mode, os.geteuid(), None)
        if why is None and private_files.read_text(self.path) != self.content:
            why = "other content"
        return why

    def write(self, content: str | None = None) -> None:
        text = self.content if content is None else content
        private_files.write_text(self.path, text, self.mode, os.geteuid(), os.getegid())


class Front:
    """One proxy. ``validate`` is the command that tries its files; ``record`` keeps what it was last loaded with.

    The unit is the distribution's, or ours where its file is among ``files``. In ``check`` mode nothing is changed.
    """

    def __init__(
        self, unit: systemd_unit.Unit, files: Sequence[File], validate: Sequence[str], record: str, check: bool = False
    ) -> None:
        self.unit = unit
        self.files = list(files)
        self.validate = list(validate)
        self.record = record
        self.check = check
        self.changes: list[str] = []

    @property
    def own_unit(self) -> bool:
        return any(file.path == self.unit.path for file in self.files)

    def apply(self) -> Json:
        """Bring files and process to the wanted state; a module's result. Raises FrontError, SystemdError, OSError."""
        if self.own_unit and self.unit.foreign():
            raise FrontError(
                f"{self.unit.path} was not written by this collection and is left alone. If it is not needed, stop and"
                " remove it, then run again"
            )
        faults = [(file, why) for file in self.files if (why := file.wrong()) is not None]
        before = {file.path: private_files.read_text(file.path) for file, _why in faults}
        self.changes += [f"{file.path} written ({why})" for file, why in faults]
        record = systemd_unit.load_record(self.record)
        if faults and not self.check:
            self._write([file for file, _why in faults], before)
        action = self._run([file for file, _why in faults], record)
        return {
            "changed": bool(self.changes),
            "changes": self.changes,
            "action": action,
            "msg": "; ".join(self.changes) or f"{self.unit.name} runs what its files say",
            "diff": [
                {
                    "before_header": file.path,
                    "after_header": file.path,
                    "before": "(not shown)\n" if file.secret and before[file.path] else before[file.path] or "",
                    "after": f"(not shown: {why})\n" if file.secret else file.content,
                }
                for file, why in faults
            ],
        }

    def remove(self, folders: Sequence[str] = ()) -> Json:
        """Remove the files, and folders with all that is in them; the unit last, so that a cut-off run is finished."""
        there = [file for file in self.files if os.path.lexists(file.path)]
        state = self.unit.show()
        if self.own_unit and there and state.get("ActiveState") not in (None, "inactive", "failed"):
            self.changes.append(f"{self.unit.name} stopped")
            if not self.check:
                self.unit.ctl("stop", timeout=120)
        if self.own_unit and there and state.get("UnitFileState") == "enabled":
            self.changes.append(f"{self.unit.name} disabled")
            if not self.check:
                self.unit.ctl("disable")
        for path in [*folders, *sorted((file.path for file in there), key=lambda path: path == self.unit.path)]:
            if not os.path.lexists(path):
                continue
            self.changes.append(f"{path} removed")
            if self.check:
                continue
            if os.path.isdir(path) and not os.path.islink(path):
                shutil.rmtree(path)
            else:
                os.unlink(path)
        if there and not self.check:
            if self.own_unit:
                self.unit.ctl("daemon-reload")
            elif state.get("ActiveState") == "active":
                self.unit.ctl("reload")
        return {
            "changed": bool(self.changes),
            "changes": self.changes,
            "action": "none",
            "msg": "; ".join(self.changes) or "nothing of it is there",
            "diff": {"before": "", "after": "".join(line + "\n" for line in self.changes)},
        }

    # -- the process

    def _run(self, written: Sequence[File], record: dict[str, str]) -> str:
        state = self.unit.show()
        if self.own_unit and not self.check and (written or state.get("NeedDaemonReload") == "yes"):
            self.unit.ctl("daemon-reload")
            state = self.unit.show()
        if state.get("UnitFileState") != "enabled":
            self.changes.append(f"{self.unit.name} enabled")
            if not self.check:
                self.unit.ctl("enable")
        wanted = systemd_unit.fingerprint("", [file.path for file in self.files])
        reasons = systemd_unit.restart_reasons(wanted, record)
        if written and not reasons:
            reasons = ["its files were changed"]
        alive = state.get("ActiveState") in ("active", "reloading")
        if alive and not reasons:
            return "none"
        unit_changed = any(file.path == self.unit.path for file in written) or (
            self.own_unit and record.get(self.unit.path) != wanted[self.unit.path]
        )
        action = "started" if not alive else "restarted" if unit_changed else "reloaded"
        why = "; ".join(reasons) if alive else f"it was {state.get('ActiveState') or 'not there'}"
        self.changes.append(f"{self.unit.name} {action} ({why})")
        if self.check:
            return action
        if not written:
            self._try()
        try:
            self.unit.ctl("reload" if action == "reloaded" else "restart", timeout=120)
        except systemd_unit.SystemdError as error:
            lines = "\n".join(self.unit.journal())
            raise FrontError(f"{error}\nThe unit's last lines in the journal:\n{lines or '(none)'}") from None
        text = json.dumps(wanted, indent=2, sort_keys=True) + "\n"
        private_files.write_text(self.record, text, 0o600, os.geteuid(), os.getegid())
        return action

    # -- the files

    def _try(self) -> None:
        status, output = systemd_unit.run(self.validate, 60)
        if status != 0:
            raise FrontError(f"{' '.join(self.validate)} refuses the configuration ({status}):\n{output}")

    def _write(self, files: Sequence[File], before: dict[str, str | None]) -> None:
        """Write, and try; what the proxy refuses is put back, so that a restart by others finds what worked."""
        for file in files:
            folder = os.path.dirname(file.path)
            if not os.path.isdir(folder):
                private_files.make_folder(folder, 0o700, os.geteuid(), os.getegid())
        try:
            for file in files:
                file.write()
            self._try()
        except BaseException:
            for file in files:
                text = before[file.path]
                if text is not None:
                    file.write(text)
                elif os.path.exists(file.path):
                    os.unlink(file.path)
            raise
