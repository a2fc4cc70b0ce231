# SPDX-License-Identifier: GPL-3.0-or-later
"""A proxy in front of the service. The proxy tests its own files and loads them by a reload if possible."""

from __future__ import annotations

import re
from collections.abc import Sequence

from ..host import selinux, systemd_unit
from ..host.managed import File, Json, Managed, ManagedError

PART = 6  # so many characters of a key are a part


class Front(Managed):
    """One proxy. ``command`` tests its files. A changed unit needs a restart, everything else a reload.

    No message shows a part of the ``keys``.
    """

    def __init__(
        self,
        unit: systemd_unit.Unit,
        files: Sequence[File],
        command: Sequence[str],
        record: str,
        check: bool = False,
        keys: Sequence[str] = (),
    ) -> None:
        super().__init__(unit, files, record, check)
        self.keys = keys
        self.command = list(command)
        self.subject = f"{unit.name} "

    def how(self, alive: bool, written: Sequence[File]) -> tuple[str, str]:
        own = self._unit_among(self.files)
        other_unit = own and self.recorded.get(self.unit.path) != self.prints()[self.unit.path]
        if alive and not other_unit and not self._unit_among(written):
            return "reloaded", "reload"
        return super().how(alive, written)

    def apply(self) -> Json:
        try:
            return super().apply()
        except (ManagedError, systemd_unit.SystemdError) as error:
            # The text may hold lines of the program, its journal or systemctl.
            shown = "\n".join(without_keys(line, self.keys) for line in str(error).splitlines())
            raise type(error)(shown) from None

    def validate(self) -> None:
        status, output = systemd_unit.run(self.command, 60)
        if status != 0:
            raise ManagedError(f"{' '.join(self.command)} refuses the configuration ({status}):\n{output}")


def version_fault(program: str, option: str, oldest: tuple[int, int]) -> str | None:
    """Why a program is too old, as a sentence. None if it is new enough, or if it does not name its version."""
    status, output = systemd_unit.run([program, option], 60)
    found = re.search(r"(?:version |nginx/)(\d+)\.(\d+)", output) if status == 0 else None
    if found is None or (int(found[1]), int(found[2])) >= oldest:
        return None
    needed = ".".join(map(str, oldest))
    return f"{program} is version {found[1]}.{found[2]}, and the configuration needs {needed} or newer."


def selinux_warnings(boolean: str) -> list[str]:
    """What SELinux forbids a proxy, and the command that allows it. The policy is the operator's to change."""
    if not selinux.refuses(boolean):
        return []
    return [f"SELinux lets the proxy use few ports, because {boolean} is off. On the host: setsebool -P {boolean} 1"]


def without_keys(line: str, keys: Sequence[str]) -> str:
    """A line, or a note in its place if it holds a part of a key. The parser may quote any part."""
    parts = (key[start : start + PART] for key in keys for start in range(max(1, len(key) - PART + 1)))
    return "(a line that quotes a key)" if any(part in line for part in parts) else line
