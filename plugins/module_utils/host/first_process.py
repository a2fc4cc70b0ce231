# SPDX-License-Identifier: GPL-3.0-or-later
"""The first process of a container: start one program, pass signals on, and end everything that it started."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence

from .hashing import read_bounded

STOPS = (signal.SIGTERM, signal.SIGINT)
SUBREAPER = 36  # prctl's PR_SET_CHILD_SUBREAPER


def adopt_orphans() -> None:
    """Become the parent of processes that lose theirs. The first process of a container is that already."""
    if os.getpid() != 1:
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None, use_errno=True).prctl(SUBREAPER, 1, 0, 0, 0)


def parents(folder: str = "/proc") -> dict[int, int]:
    """The parent of each process."""
    found = {}
    for name in filter(str.isdigit, os.listdir(folder)):
        with contextlib.suppress(OSError, ValueError, IndexError):
            stat = read_bounded(os.path.join(folder, name, "stat")).decode("utf-8", "replace")
            # The name in brackets may have spaces and brackets.
            found[int(name)] = int(stat.rpartition(")")[2].split()[1])
    return found


def descendants(top: int, tree: Mapping[int, int]) -> list[int]:
    """All processes below one of them."""
    found, pending = [], [top]
    while pending:
        parent = pending.pop()
        children = [pid for pid, other in tree.items() if other == parent and pid != top]
        found += children
        pending += children
    return found


def send(number: int) -> bool:
    """Send a signal to everything below this process. Returns whether there was anything."""
    below = descendants(os.getpid(), parents())
    for pid in below:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)
    return bool(below)


class Program:
    """One program and its state, in the words of systemd, as ``launch.Process`` reads it."""

    def __init__(self, name: str, command: Sequence[str], environment: Mapping[str, str], folder: str) -> None:
        self.name = name
        self.status: int | None = None
        signals = {*STOPS, signal.SIGCHLD}
        signal.pthread_sigmask(signal.SIG_BLOCK, signals)
        # Kept, because its end would be noticed elsewhere if Python forgot it.
        self._child = subprocess.Popen(
            command, env=dict(environment), cwd=folder, stdin=subprocess.DEVNULL, start_new_session=True,
            preexec_fn=lambda: signal.pthread_sigmask(signal.SIG_UNBLOCK, signals),
        )  # fmt: skip
        self.pid = self._child.pid
        self._signals = signals

    def show(self) -> dict[str, str]:
        if self.status is None:
            return {"ActiveState": "active", "NRestarts": "0"}
        return {"ActiveState": "failed", "Result": "exit-code", "ExecMainStatus": str(self.status), "NRestarts": "0"}

    def journal(self) -> list[str]:
        return []  # its output is the container's

    def reap(self) -> None:
        """Take note of every process that ended."""
        with contextlib.suppress(ChildProcessError):
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if pid == 0:
                    return
                if pid == self.pid:
                    self.status = os.waitstatus_to_exitcode(status)

    def wait(self) -> int | None:
        """Wait until the program ends, and return None, or until a signal says stop, and return the signal."""
        while self.status is None:
            found = signal.sigtimedwait(self._signals, 5)
            self.reap()
            if found is not None and found.si_signo in STOPS:
                return found.si_signo
        return None

    def stop(self, seconds: float, say: Callable[[str], None]) -> bool:
        """End all processes below this one. Returns whether all of them ended by themselves within ``seconds``."""
        end = time.monotonic() + seconds
        send(signal.SIGTERM)
        while self._any():
            if time.monotonic() >= end:
                say(f"some processes did not end within {seconds:g} s and are killed")
                send(signal.SIGKILL)
                time.sleep(0.5)
                self.reap()
                return False
            signal.sigtimedwait(self._signals, 0.2)
        return True

    def _any(self) -> bool:
        self.reap()
        return bool(descendants(os.getpid(), parents()))
