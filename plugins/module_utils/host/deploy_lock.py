# SPDX-License-Identifier: GPL-3.0-or-later
"""The deploy lock lets only one play change a host at a time. It is a file below /run, so a reboot ends it.

The file is emptied but never removed. It is read and written under flock(2), so two plays that start together see each
other. It holds ``{"owner": {...}, "time": t, "alive": t, "phases": [[name, t], ...]}``. An owner (``controller``,
``machine``, ``user``, ``pid``, ``started``) distinguishes plays and lets a person find them.

All times are seconds since the boot: a clock that is set to another time neither ends a lock nor keeps it. ``alive`` is
the owner's last sign of life. Each step of a deploy marks its phase here. So a long deploy keeps its lock, and a
receipt can tell how long each phase took. The receiver of a delivery sets the file's modification time, also in
seconds since the boot.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import IO, Any

from . import layout
from .hashing import parse_json

LOCK_FILE = layout.DEPLOY_LOCK
# From taking the lock to the first marked phase.
FIRST_PHASE = "preflight"
# From the restart of the service to its proof: clients get no answer.
GAP = "gap"

Json = dict[str, Any]


@contextmanager
def _opened(file: str, make: bool = True) -> Iterator[IO[str]]:
    flags = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC | (os.O_CREAT if make else 0)
    with os.fdopen(os.open(file, flags, 0o600), "r+", encoding="utf-8") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield handle


def _read(handle: IO[str]) -> Json | None:
    try:
        data = parse_json(handle.read(1 << 20))
        return data if isinstance(data["owner"], dict) and float(data["time"]) else None
    except (ValueError, TypeError, KeyError):
        return None  # empty, or a writer was killed halfway


def clock() -> float:
    """Seconds since the boot, as all processes of the host count them."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def _silent(handle: IO[str], held: Json, now: float) -> float:
    """For how many seconds the holder gave no sign of life. A time in the future is none."""
    signs = (held["time"], held.get("alive", 0), os.fstat(handle.fileno()).st_mtime)
    return now - max([sign for sign in signs if isinstance(sign, (int, float)) and sign <= now], default=0.0)


def _write(handle: IO[str], data: Json | None) -> None:
    handle.seek(0)
    handle.truncate()
    if data is not None:
        json.dump(data, handle)
    handle.flush()


def take(
    owner: Mapping[str, Any], seconds: float, dead: Mapping[str, Any] | None = None, file: str = LOCK_FILE
) -> Json:
    """Take the lock: ``{"taken": bool, "holder": owner or None, "age": seconds, "phase": name or ""}``.

    The lock is taken over from an owner that showed no sign of life for ``seconds``, and from the owner ``dead``, which
    the caller knows to have ended. ``holder`` has the lock, or had it before. ``age`` is how long ago the holder took
    it, ``phase`` its last phase. Raises OSError.
    """
    with _opened(file) as handle:
        held, now = _read(handle), clock()
        silent = _silent(handle, held, now) if held else 0.0
        age = max(0.0, now - held["time"]) if held else 0.0
        phase = str(([["", 0], *held.get("phases", [])])[-1][0]) if held else ""
        if held and held["owner"] != dict(owner) and silent < seconds and held["owner"] != dead:
            return {"taken": False, "holder": held["owner"], "age": age, "phase": phase}
        _write(handle, {"owner": dict(owner), "time": now, "alive": now, "phases": [[FIRST_PHASE, now]]})
        former = held["owner"] if held and held["owner"] != dict(owner) else None
        return {"taken": True, "holder": former, "age": age, "phase": phase}


def mark(phase: str, file: str = LOCK_FILE) -> None:
    """Mark the start of a phase, which is also a sign of life. Do nothing without a holder or on an error."""
    with contextlib.suppress(OSError), _opened(file, make=False) as handle:
        held = _read(handle)
        if held is not None:
            phases = held.setdefault("phases", [])
            if not phases or phases[-1][0] != phase:
                phases.append([phase, clock()])
            _write(handle, {**held, "alive": clock()})


def progress(file: str = LOCK_FILE) -> Json:
    """The progress of the holder: ``{"phase": the last one, "seconds": {phase: seconds, ..., "total": seconds}}``.

    Without a holder, it is ``{"phase": "", "seconds": {}}``.
    """
    try:
        with _opened(file, make=False) as handle:
            held = _read(handle)
    except OSError:
        held = None
    if held is None:
        return {"phase": "", "seconds": {}}
    phases, now = held.get("phases", []), clock()
    seconds: dict[str, float] = {}
    for (name, begin), end in zip(phases, [*(begin for _name, begin in phases[1:]), now]):
        seconds[name] = round(seconds.get(name, 0.0) + max(0.0, end - begin), 1)
    return {
        "phase": phases[-1][0] if phases else "",
        "seconds": {**seconds, "total": round(max(0.0, now - held["time"]), 1)},
    }


def look(file: str = LOCK_FILE) -> Json | None:
    """Read the holder and when it took the lock (``{"owner": {...}, "time": float}``), None without a holder."""
    try:
        with open(file, encoding="utf-8") as handle:
            return _read(handle)
    except FileNotFoundError:
        return None


def release(owner: Mapping[str, Any], file: str = LOCK_FILE) -> bool:
    """Give the lock back. Return False if this owner does not hold it. Raises OSError."""
    if not os.path.exists(file):
        return False
    with _opened(file) as handle:
        held = _read(handle)
        if held is None or held["owner"] != dict(owner):
            return False
        _write(handle, None)
        return True
