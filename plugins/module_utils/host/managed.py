# SPDX-License-Identifier: GPL-3.0-or-later
"""Keep something running: its files, its unit and a record of what it was last loaded with.

A subclass says which differences need a load, and whether that is a reload or a restart. The record is written after
each load. If a run is interrupted between a change and its load, the next run completes it.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from . import hashing, ownership, private_files
from .systemd_unit import MARKER, SystemdError, Unit, fingerprint, load_record, restart_reasons

Json = dict[str, Any]


class ManagedError(Exception):
    """A fault to tell the operator."""


@dataclass(frozen=True)
class File:
    """A file of root as it should be. A ``secret`` is never shown. Messages use ``name`` in place of the path."""

    path: str
    content: str
    mode: int = 0o644
    secret: bool = False
    name: str = ""

    def wrong(self) -> str | None:
        """Why it must be written, or None."""
        return private_files.differs(self.path, self.content, self.mode)

    def write(self, content: str | None = None) -> None:
        text = self.content if content is None else content
        private_files.write_text(self.path, text, self.mode, os.geteuid(), os.getegid())

    def diff(self, before: str | None, why: str) -> Json:
        """Ansible's diff of the file."""
        hidden = self.secret and before
        return {
            "before_header": self.path,
            "after_header": self.path,
            "before": "(not shown)\n" if hidden else before or "",
            "after": f"(not shown: {why})\n" if self.secret else self.content,
        }


class Managed:
    """One unit with its files. It is the distribution's unit unless its own file is among ``files``.

    In ``check`` mode, nothing changes. Methods raise ManagedError, SystemdError and OSError.
    """

    # States in which the unit's process runs.
    alive: Sequence[str] = ("active", "reloading")
    stop_seconds: float = 120
    at_boot = True
    # How messages name the unit. Empty if they are about no other unit.
    subject = ""

    def __init__(self, unit: Unit, files: Sequence[File], record: str, check: bool = False) -> None:
        self.unit = unit
        self.files = list(files)
        self.record = record
        self.check = check
        self.changes: list[str] = []
        self.left: list[str] = []
        self.recorded: dict[str, str] = {}

    # What subclasses change.

    def prints(self) -> dict[str, str]:
        """The fingerprint of a process that is loaded with the wanted files."""
        texts = {file.path: file.content for file in self.files}
        return fingerprint("", texts, texts)

    def reasons(self, state: Mapping[str, str], written: Sequence[File]) -> list[str]:
        """Why the unit must be loaded now. Empty if the process runs with the current files."""
        if state.get("ActiveState") not in self.alive:
            return [f"it was {state.get('ActiveState') or 'not there'}"]
        reasons = restart_reasons(self.prints(), self.recorded)
        if written and not reasons:
            what = "the unit was" if self._unit_among(written) and len(written) == 1 else "its files were"
            reasons = [f"{what} changed by hand"]
        return reasons

    def how(self, alive: bool, _written: Sequence[File]) -> tuple[str, str]:
        """The name of the load in messages, and the verb of systemctl for it."""
        # "restart" also starts a stopped unit. It ends a waiting "auto-restart" and uses the new files.
        return "restarted" if alive else "started", "restart"

    def validate(self) -> None:
        """Raise ManagedError if the program refuses the files on disk."""

    def obstacle(self, _state: Mapping[str, str]) -> str | None:
        """What prevents a start, as a sentence, or None."""
        return None

    def loaded(self) -> str:
        """The text of the record after a load."""
        return json.dumps(self.prints(), indent=2, sort_keys=True) + "\n"

    # What all subclasses share.

    def _unit_among(self, files: Sequence[File]) -> bool:
        return any(file.path == self.unit.path for file in files)

    def refuse_foreign(self) -> None:
        """Raise ManagedError if somebody else wrote the file of our unit, or another file outside our folder."""
        if self._unit_among(self.files) and self.unit.foreign():
            raise ManagedError(
                f"{self.unit.path} was not written by this collection and is left alone. If you do not need it, stop"
                " and remove it (or unmask it), then run again"
            )
        for file in self.files:
            if os.path.dirname(file.path) != os.path.dirname(self.record) and (
                os.path.islink(file.path) or MARKER not in (private_files.read_text(file.path) or MARKER)
            ):
                raise ManagedError(
                    f"{file.path} was not written by this collection and is left alone. Move it away, then run again"
                )

    def apply(self) -> Json:
        """Bring files and process to the wanted state. Return the module's result."""
        self.refuse_foreign()
        self.recorded = load_record(self.record)
        faults = [(file, why) for file in self.files if (why := file.wrong()) is not None]
        written = [file for file, _why in faults]
        before = {file.path: private_files.read_text(file.path) for file in written}
        self.changes += [f"{file.name or file.path} written ({why})" for file, why in faults]
        if not self.check:
            for file in self.files:
                hashing.sweep_beside(file.path)
        if written and not self.check:
            self._write(written, before)
        action = self._load(self._settle(written), written)
        return self._result(
            action,
            f"{self.unit.name} is up to date",
            [file.diff(before[file.path], why) for file, why in faults],
        )

    def remove(self, folders: Sequence[str] = (), keep_files: bool = False) -> Json:
        """Stop the unit if it is ours. Remove our folders and then the files, unless the files stay.

        The unit's file goes last, so the next run completes an interrupted removal. Links are not followed.
        """
        self.refuse_foreign()
        own = self._unit_among(self.files)
        there = [file.path for file in self.files if os.path.lexists(file.path)]
        state = self.unit.show()
        stopped = own and state.get("ActiveState") not in (None, "inactive", "failed")
        if stopped:
            self._change(f"{self.subject}stopped", "stop", self.stop_seconds)
        if own and state.get("UnitFileState") == "enabled":
            self._change(f"{self.subject}disabled", "disable")
        if not keep_files:
            for path in [*folders, *sorted(there, key=lambda path: path == self.unit.path)]:
                self._remove(path)
            for file in [] if self.check else self.files:
                hashing.sweep_beside(file.path, 0)
        if there and not self.check:
            self._forget(own, state)
        return self._result(
            "stopped" if stopped else "none",
            f"{self.unit.name} does not exist" if own else "there is nothing to remove",
            {"before": "", "after": "".join(line + "\n" for line in self.changes)},
        )

    def _result(self, action: str, settled: str, diff: Any) -> Json:
        return {
            "changed": bool(self.changes),
            "changes": self.changes,
            "action": action,
            "msg": "; ".join([*self.changes, *self.left]) or settled,
            "diff": diff,
        }

    def _change(self, said: str, verb: str, seconds: float = 60) -> None:
        self.changes.append(said)
        if not self.check:
            self.unit.ctl(verb, timeout=seconds)

    def _settle(self, written: Sequence[File]) -> dict[str, str]:
        """Let systemd read the unit and start it at boot. Return the state of the unit."""
        state = self.unit.show()
        own, stale = self._unit_among(written), state.get("NeedDaemonReload") == "yes"
        if stale and not own:
            self.changes.append("systemd reloaded (a file of the unit was changed)")
        if (stale or own) and not self.check:
            self.unit.ctl("daemon-reload")
            state = self.unit.show()
        if self.at_boot and state.get("UnitFileState") != "enabled":
            self._change(f"{self.subject}enabled", "enable")
        return state

    def _load(self, state: Mapping[str, str], written: Sequence[File]) -> str:
        reasons = self.reasons(state, written)
        if not reasons:
            return "none"
        alive = state.get("ActiveState") in self.alive
        action, verb = self.how(alive, written)
        obstacle = None if alive else self.obstacle(state)
        if obstacle:
            raise ManagedError(obstacle)
        self.changes.append(f"{self.subject}{action} ({'; '.join(reasons)})")
        if self.check:
            return action
        if not written:
            self.validate()
        try:
            self.unit.ctl(verb, timeout=self.stop_seconds)
        except SystemdError as error:
            lines = "\n".join(self.unit.journal())
            raise ManagedError(f"{error}\nThe unit's last lines in the journal:\n{lines or '(none)'}") from None
        private_files.write_text(self.record, self.loaded(), 0o600, os.geteuid(), os.getegid())
        return action

    def _write(self, files: Sequence[File], before: Mapping[str, str | None]) -> None:
        """Write and test the files. If the program refuses them, restore the former ones: a restart must still work."""
        if not restart_reasons(self.prints(), self.recorded):
            # Changed by hand: with this record, the next run would not complete this one after an interruption.
            os.unlink(self.record)
        ownership.claim(os.path.dirname(self.record))
        try:
            for file in files:
                file.write()
            self.validate()
        except BaseException:
            for file in files:
                text = before[file.path]
                if text is not None:
                    file.write(text)
                elif os.path.exists(file.path):
                    os.unlink(file.path)
            raise

    def _remove(self, path: str) -> None:
        if not os.path.lexists(path):
            return
        folder = os.path.isdir(path) and not os.path.islink(path)
        if folder and not ownership.is_ours(path):
            self.left.append(f"{path} stays: this collection did not make it")
            return
        self.changes.append(f"{path} removed")
        if self.check:
            return
        if folder:
            ownership.remove(path)
        else:
            os.unlink(path)

    def _forget(self, own: bool, state: Mapping[str, str]) -> None:
        if not own:
            if state.get("ActiveState") == "active":
                self.unit.ctl("reload")
            return
        self.unit.ctl("daemon-reload")
        with contextlib.suppress(SystemdError):
            # Otherwise a failed unit stays listed forever. A unit that did not fail is no longer loaded.
            self.unit.ctl("reset-failed")
