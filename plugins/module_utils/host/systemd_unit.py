# SPDX-License-Identifier: GPL-3.0-or-later
"""One systemd unit: its file, its state, and whether its process runs with the current files."""

from __future__ import annotations

import contextlib
import errno
import glob
import hashlib
import os
import re
import socket
from collections.abc import Iterable, Mapping, Sequence
from typing import Callable

from . import commands, layout, private_files
from .hashing import read_object

run = commands.run
MARKER = "# Managed by voicefleet.kokoro"

_ANSI = re.compile(r"\x1b\[[0-9;?]{0,40}[ -/]{0,9}[@-~]")
_ROUTINE = re.compile(r"^(Starting|Started|Stopping|Stopped) \S{1,99}\.service |: (Deactivated successfully|Consumed )")

Runner = Callable[[Sequence[str], float], "tuple[int, str]"]


class SystemdError(Exception):
    """systemctl failed. The message is its own."""


class Unit:
    """A unit by its full name (``x.service``). Tests replace ``folder`` and ``runner``."""

    def __init__(self, name: str, folder: str = layout.UNIT_FOLDER, runner: Runner = run) -> None:
        self.name = name
        self.path = os.path.join(folder, name)
        self._run = runner

    def show(self) -> dict[str, str]:
        """Some properties of the unit, as ``systemctl show`` names them. Empty if systemctl fails."""
        names = "ActiveState,UnitFileState,NeedDaemonReload,NRestarts,Result,ExecMainStatus,MainPID"
        status, output = self._run(["systemctl", "show", self.name, "--property=" + names], 30)
        if status != 0:
            return {}
        return dict(line.split("=", 1) for line in output.splitlines() if "=" in line)

    def get(self, name: str) -> str:
        """One property from ``systemctl show``. Empty if systemctl fails."""
        status, output = self._run(["systemctl", "show", self.name, "--property=" + name, "--value"], 30)
        return output.strip() if status == 0 else ""

    def processes(self, cgroups: str = "/sys/fs/cgroup") -> list[int]:
        """The processes in the control group of the unit. Empty if it has none or cannot be read."""
        group = self.get("ControlGroup")
        found: list[int] = []
        # cgroup v1 has a separate folder for systemd's hierarchy, v2 has a single hierarchy.
        for top in (os.path.join(cgroups, "systemd"), cgroups) if group else ():
            for folder, _folders, files in os.walk(top + group):
                if "cgroup.procs" in files:
                    with contextlib.suppress(OSError):  # the group has just ended
                        text = private_files.read_text(os.path.join(folder, "cgroup.procs")) or ""
                        found += [int(pid) for pid in text.split()]
            if found:
                break
        return sorted(found)

    def ctl(self, verb: str, timeout: float = 60) -> None:
        """Run ``systemctl VERB`` on this unit (``daemon-reload`` takes no unit). Raises :class:`SystemdError`."""
        command = ["systemctl", verb] + ([] if verb == "daemon-reload" else [self.name])
        status, output = self._run(command, timeout)
        if status != 0:
            raise SystemdError(f"{' '.join(command)} failed ({status}): {output}")

    def journal(self, count: int = 12) -> list[str]:
        """The unit's last journal lines, without colours and systemd's messages about starts and stops.

        Empty if the journal cannot be read.
        """
        command = ["journalctl", "--unit", self.name, "--lines", "100", "--no-pager", "--output", "cat", "--quiet"]
        status, output = self._run(command, 20)
        lines = [_ANSI.sub("", line[:4000])[:400] for line in output.splitlines()] if status == 0 else []
        return [line for line in lines if line.strip() and not _ROUTINE.search(line)][-count:]

    def drop_ins(self) -> list[str]:
        """The operator's own additions to the unit (``systemctl edit``)."""
        return sorted(glob.glob(os.path.join(glob.escape(self.path + ".d"), "*.conf")))

    def foreign(self) -> bool:
        """Whether somebody else wrote the file of this unit."""
        if os.path.islink(self.path):
            return True
        text = private_files.read_text(self.path)
        return text is not None and MARKER not in text


def fingerprint(content: str, files: Iterable[str], texts: Mapping[str, str] | None = None) -> dict[str, str]:
    """SHA-256 of what a process is started from: the text of the unit and each file, or "" for a missing file.

    ``texts`` gives the future contents of some files.
    """
    prints = {"unit": hashlib.sha256(content.encode("utf-8")).hexdigest()}
    for path in files:
        text = (texts or {}).get(path)
        text = private_files.read_text(path) if text is None else text
        prints[path] = "" if text is None else hashlib.sha256(text.encode("utf-8")).hexdigest()
    return prints


def load_record(path: str) -> dict[str, str]:
    """Read the fingerprint of the last start by this collection. Empty if it is missing or damaged."""
    return read_object(path)


def restart_reasons(wanted: Mapping[str, str], record: Mapping[str, str]) -> list[str]:
    """Why a running process does not match what is on disk now. Empty if it does."""
    if not record:
        return ["it is unknown which files it was started from"]
    return [
        f"{'the unit' if name == 'unit' else name} has changed since the start"
        for name in sorted({*wanted, *record})
        if wanted.get(name) != record.get(name)
    ]


def port_holder(host: str, port: int, proc: str = "/proc") -> str | None:
    """Who holds a TCP port that we want to use: ``"PID (name)"``, ``"unknown"``, or None if it is free."""
    address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    with socket.socket(address[0], socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(address[4])
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                return None
            return listener(port, proc) or "unknown"
    return None


def listener(port: int, proc: str = "/proc") -> str | None:
    """The process that listens on a port: ``"PID (name)"``, ``"unknown"``, or None if there is none."""
    inodes = set()
    for table in ("net/tcp", "net/tcp6"):
        for line in (private_files.read_text(os.path.join(proc, table)) or "").splitlines()[1:]:
            columns = line.split()
            if len(columns) > 9 and columns[3] == "0A" and int(columns[1].rsplit(":", 1)[1], 16) == port:
                inodes.add(f"socket:[{columns[9]}]")
    for pid in filter(str.isdigit, os.listdir(proc)):
        folder = os.path.join(proc, pid, "fd")
        with contextlib.suppress(OSError):
            for descriptor in os.listdir(folder):
                if os.readlink(os.path.join(folder, descriptor)) in inodes:
                    name = (private_files.read_text(os.path.join(proc, pid, "comm")) or "").strip()
                    return f"{pid} ({name})"
    return "unknown" if inodes else None
