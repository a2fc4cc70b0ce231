# SPDX-License-Identifier: GPL-3.0-or-later
"""Whom the gateway's nginx asks: the service, or its candidate while the service restarts.

The role gateway writes the address of the service into nginx's configuration. A file below /run, which that
configuration includes, puts the candidate in its place. nginx reads both when it is reloaded. Its former workers then
finish their requests and end.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterable
from typing import Any

from . import layout, private_files, selinux, systemd_unit
from .managed import ManagedError

# An nginx that was told to reload has stopped its former workers' listening long before.
RELOAD_SECONDS = 30
_SERVICE = re.compile(r"^upstream voicefleet \{\s+server (\S+);", re.MULTILINE)
_CANDIDATE = re.compile(r'^"" 127\.0\.0\.1:(\d+);$', re.MULTILINE)


def children(pid: int, proc: str = "/proc") -> set[int]:
    """The processes whose parent is this one."""
    found = set()
    for name in filter(str.isdigit, os.listdir(proc)):
        # "PID (name) state parent ..."; a name may hold spaces and brackets.
        stat = private_files.read_if_possible(os.path.join(proc, name, "stat")).rpartition(") ")[2].split()
        if len(stat) > 1 and stat[1] == str(pid):
            found.add(int(name))
    return found


def connections(pids: Iterable[int], ports: Iterable[int], proc: str = "/proc") -> tuple[int, int]:
    """How many sockets of these processes have one of the ports at either end: those that listen, and the others.

    In a container without the right to look into other users' processes, each process counts as one connection.
    """
    inodes: set[str] = set()
    listening = others = 0
    for pid in pids:
        folder = os.path.join(proc, str(pid), "fd")
        try:
            inodes |= {os.readlink(os.path.join(folder, descriptor)) for descriptor in os.listdir(folder)}
        except PermissionError:
            others += 1
        except OSError:  # it has just ended
            pass
    wanted = {f"{port:04X}" for port in ports}
    for table in ("net/tcp", "net/tcp6"):
        for line in private_files.read_if_possible(os.path.join(proc, table)).splitlines()[1:]:
            columns = line.split()
            ends = {columns[1].rpartition(":")[2], columns[2].rpartition(":")[2]}
            if ends & wanted and f"socket:[{columns[9]}]" in inodes:
                listening += columns[3] == "0A"
                others += columns[3] != "0A"
    return listening, others


class Upstream:
    """The gateway on this host. ``unit`` is nginx's. ``service`` is the address in its configuration, if it is ours."""

    def __init__(
        self,
        unit: systemd_unit.Unit,
        config: str = layout.GATEWAY_CONFIG,
        file: str = layout.GATEWAY_CANDIDATE,
        proc: str = "/proc",
    ) -> None:
        self.unit = unit
        self.file = file
        self.proc = proc
        text = private_files.read_if_possible(config)
        found = _SERVICE.search(text) if systemd_unit.MARKER in text else None
        self.service = found[1] if found else ""
        # An older version of the role wrote a configuration that cannot name a candidate.
        self.movable = f"{os.path.dirname(file)}/*.conf;" in text

    def candidate(self) -> int:
        """The port of the candidate that answers; 0 if the service does."""
        found = _CANDIDATE.search(private_files.read_if_possible(self.file))
        return int(found[1]) if found else 0

    def facts(self) -> dict[str, Any]:
        """What a deploy must know: the service's address, or "" without a gateway, and the candidate's port, or 0."""
        running = bool(self.service) and self.unit.get("ActiveState") in ("active", "reloading")
        return {
            "service": self.service,
            "running": running,
            "movable": self.movable,
            "candidate": self.candidate() if running else 0,
        }

    def move(self, port: int, gateway_port: int, seconds: float) -> int:
        """Let the candidate on this port answer. Return how many connections to the service are left at the end."""
        folder = os.path.dirname(self.file)
        private_files.make_folder(folder, 0o755, os.geteuid(), os.getegid())
        selinux.set_type(folder, "httpd_config_t")  # the type of /etc/nginx
        text = f'{systemd_unit.MARKER}\n"" 127.0.0.1:{port};\n'
        self._write(text)
        return self._turn(int(self.service.rpartition(":")[2]), gateway_port, seconds, self._forget)

    def back(self, gateway_port: int, seconds: float) -> int:
        """Let the service answer. Return how many connections to the candidate are left at the end."""
        port, text = self.candidate(), private_files.read_text(self.file) or ""
        self._forget()
        return self._turn(port, gateway_port, seconds, lambda: self._write(text))

    def settle(self, port: int, gateway_port: int, seconds: float) -> int:
        """Finish a :meth:`back` that was killed after its first step. ``port`` is the candidate's; returns the same."""
        return self._turn(port, gateway_port, seconds, lambda: None)

    def _write(self, text: str) -> None:
        private_files.write_text(self.file, text, 0o644, os.geteuid(), os.getegid())

    def _forget(self) -> None:
        os.unlink(self.file)

    def _turn(self, port: int, gateway_port: int, seconds: float, undo: Callable[[], None]) -> int:
        """Reload nginx, and wait until its former workers have no client and no connection to ``port``.

        A former worker may still read a request, and would send it there. Raises ManagedError if nginx goes on with its
        former configuration.
        """
        main = int(self.unit.get("MainPID") or 0)
        former = children(main, self.proc)
        try:
            self.unit.ctl("reload")
        except systemd_unit.SystemdError as error:
            undo()
            raise ManagedError(f"the gateway was not changed: {error}") from None
        start = time.monotonic()
        while True:
            listening, others = connections(former, (port, gateway_port), self.proc)
            waited = time.monotonic() - start
            reloaded = not listening and bool(children(main, self.proc) - former)
            if not reloaded and waited > RELOAD_SECONDS:
                undo()
                raise ManagedError(
                    f"the gateway was not changed: {self.unit.name} goes on with its former configuration,"
                    f" {RELOAD_SECONDS} s after its reload. Its journal says why"
                )
            if reloaded and (not others or waited > seconds):
                return others
            time.sleep(0.1)
