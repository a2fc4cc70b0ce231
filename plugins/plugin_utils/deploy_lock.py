# SPDX-License-Identifier: GPL-3.0-or-later
"""Who deploys, as the lock on a host names it, and whether another play of this controller still runs."""

from __future__ import annotations

import getpass
import os
import socket
from collections.abc import Mapping
from typing import Any


def _started(pid: int) -> str:
    """When a process started, in the kernel's own count since its boot; empty where /proc does not tell."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as handle:
            ticks = handle.read().rpartition(")")[2].split()[19]
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as handle:
            return f"{handle.read().strip()} {ticks}"
    except (OSError, IndexError):
        return ""


def owner(pid: int) -> dict[str, Any]:
    """The play whose main process is ``pid``: ``controller``, ``user``, ``pid`` and ``started``."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = str(os.getuid())
    return {"controller": socket.gethostname(), "user": user, "pid": pid, "started": _started(pid)}


def is_dead(holder: Mapping[str, Any]) -> bool:
    """Whether a lock's holder is a play of this controller that has ended; of others nothing is known."""
    if holder.get("controller") != socket.gethostname() or not isinstance(holder.get("pid"), int):
        return False
    if not os.path.isdir("/proc/self"):
        try:
            os.kill(holder["pid"], 0)
        except ProcessLookupError:
            return True
        except OSError:
            pass
        return False
    return _started(holder["pid"]) != holder.get("started")


def in_words(holder: Mapping[str, Any], age: float) -> str:
    """A holder and how long it has had the lock, for people."""
    who = f"{holder.get('user', '?')} on {holder.get('controller', '?')} (process {holder.get('pid', '?')})"
    return f"{who}, {age / 60:.0f} minutes ago"
