# SPDX-License-Identifier: GPL-3.0-or-later
"""One deploy at a time on a host: who deploys is written in a file below /run, which a reboot empties.

The file is never removed, only emptied, and read and written under flock(2), so that two who come at once see each
other. It holds ``{"owner": {...}, "time": seconds since the epoch}``; an owner is whatever tells two controllers'
plays apart and lets a person find them (``controller``, ``user``, ``pid``, ``started``).
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import IO, Any

LOCK_FILE = "/run/voicefleet-deploy.json"

Json = dict[str, Any]


@contextmanager
def _opened(file: str) -> Iterator[IO[str]]:
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "r+", encoding="utf-8") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield handle


def _read(handle: IO[str]) -> Json | None:
    try:
        data = json.load(handle)
        return data if isinstance(data["owner"], dict) and float(data["time"]) else None
    except (ValueError, TypeError, KeyError):
        return None  # empty, or a writer died in the middle


def _write(handle: IO[str], data: Json | None) -> None:
    handle.seek(0)
    handle.truncate()
    if data is not None:
        json.dump(data, handle)
    handle.flush()


def take(
    owner: Mapping[str, Any], seconds: float, dead: Mapping[str, Any] | None = None, file: str = LOCK_FILE
) -> Json:
    """Take the lock for ``owner``: ``{"taken": bool, "holder": owner or None, "age": seconds}``.

    ``holder`` is who has it, or had it until now where it was taken over: one whose lock is older than ``seconds``, or
    who is ``dead``, as the caller knows. Raises OSError.
    """
    with _opened(file) as handle:
        held, now = _read(handle), time.time()
        age = max(0.0, now - held["time"]) if held else 0.0
        if held and held["owner"] != dict(owner) and age < seconds and held["owner"] != dead:
            return {"taken": False, "holder": held["owner"], "age": age}
        _write(handle, {"owner": dict(owner), "time": now})
        former = held["owner"] if held and held["owner"] != dict(owner) else None
        return {"taken": True, "holder": former, "age": age}


def look(file: str = LOCK_FILE) -> Json | None:
    """Who holds the lock and since when (``{"owner": {...}, "time": float}``), touching nothing; None for nobody."""
    try:
        with open(file, encoding="utf-8") as handle:
            return _read(handle)
    except FileNotFoundError:
        return None


def release(owner: Mapping[str, Any], file: str = LOCK_FILE) -> bool:
    """Give the lock back; False where it is not this owner's. Raises OSError."""
    if not os.path.exists(file):
        return False
    with _opened(file) as handle:
        held = _read(handle)
        if held is None or held["owner"] != dict(owner):
            return False
        _write(handle, None)
        return True
