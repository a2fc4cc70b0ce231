# SPDX-License-Identifier: GPL-3.0-or-later
"""Identify the holder of a host's deploy lock, and find out whether its play still runs on this controller."""

from __future__ import annotations

import getpass
import hashlib
import os
import socket
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any


class HeldError(Exception):
    """Another play holds the lock; the message says who."""


def _started(pid: int) -> str:
    """When a process started, in kernel ticks since boot; empty if /proc does not say."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as handle:
            ticks = handle.read().rpartition(")")[2].split()[19]
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as handle:
            return f"{handle.read().strip()} {ticks}"
    except (OSError, IndexError):
        return ""


def machine() -> str:
    """What tells this machine, or this container, from another one with the same name; "" if nothing does."""
    try:
        identity = Path("/etc/machine-id").read_text(encoding="ascii").strip()
        return identity and hashlib.sha256(f"{identity} {os.readlink('/proc/self/ns/pid')}".encode()).hexdigest()[:16]
    except (OSError, ValueError):
        return ""


def owner(pid: int) -> dict[str, Any]:
    """The play whose main process is ``pid``: ``controller``, ``machine``, ``user``, ``pid`` and ``started``."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = str(os.getuid())
    return {
        "controller": socket.gethostname(),
        "machine": machine(),
        "user": user,
        "pid": pid,
        "started": _started(pid),
    }


def is_dead(holder: Mapping[str, Any]) -> bool:
    """Whether the lock's holder is a play of this controller that has ended. Other controllers cannot be checked.

    A controller without a machine id cannot be told from others. Its lock ends by time.
    """
    here = machine()
    if not here or holder.get("machine") != here or holder.get("controller") != socket.gethostname():
        return False
    return isinstance(holder.get("pid"), int) and _started(holder["pid"]) != holder.get("started")


def in_words(held: Mapping[str, Any]) -> str:
    """Who holds or held a lock, since when and in which phase. ``held`` is the result of ``deploy_lock.take``."""
    holder, phase = held["holder"], held.get("phase")
    who = f"{holder.get('user', '?')} on {holder.get('controller', '?')} (process {holder.get('pid', '?')})"
    return f"{who}, {held['age'] / 60:.0f} minutes ago{f', last at {phase}' if phase else ''}"


def acquire(
    look: Callable[[dict[str, Any]], dict[str, Any]], host: str, mine: Mapping[str, Any], seconds: int
) -> tuple[dict[str, Any], str | None]:
    """Take a host's lock. Returns the answer of ``look``, and a sentence if another lock was taken over.

    ``look`` asks the host with ``{"owner", "seconds", "dead"}`` and returns an answer that has ``lock``, as
    ``deploy_lock.take`` does. Raises HeldError.
    """
    asked = {"owner": dict(mine), "seconds": seconds}
    answer = look(asked)
    held = answer["lock"]
    if held and not held["taken"] and is_dead(held["holder"]):
        answer = look({**asked, "dead": held["holder"]})
        held = answer["lock"]
    if not held or held["holder"] is None:
        return answer, None
    if not held["taken"]:
        raise HeldError(
            f"{host} is being deployed to by {in_words(held)}: nothing was changed. Two plays at once would undo each "
            "other's changes. Wait until that play ends, then start again. If it crashed, its lock ends "
            f"{seconds / 60:.0f} minutes after its last sign of life (voicefleet_lock_seconds)."
        )
    return answer, f"{host}: a deploy by {in_words(held)} did not end properly; its lock is taken over"
