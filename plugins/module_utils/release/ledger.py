# SPDX-License-Identifier: GPL-3.0-or-later
"""The host's ledger: one receipt a line, only ever added to, and what can be told from it.

A line without ``event`` is a switch to ``release``. ``event: teardown`` is the end of what served. ``event: failed`` is
a run that made nothing current: its release is ``attempted``, and what serves is as the lines before it say.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

from ..host.hashing import sync_folder

Receipt = dict[str, Any]
FAILED = "failed"


def append(file: str, receipt: Mapping[str, Any]) -> None:
    """Add one line to the ledger, which only root can read, and have it on disk. Raises OSError."""
    folder = os.path.dirname(file)
    os.makedirs(folder, mode=0o700, exist_ok=True)
    line = json.dumps(dict(receipt), sort_keys=True).encode() + b"\n"
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "r+b", buffering=0) as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        size = os.fstat(handle.fileno()).st_size
        # What a power loss cut off must not take the next line with it.
        if size and os.pread(handle.fileno(), 1, size - 1) != b"\n":
            line = b"\n" + line
        while line:
            line = line[os.write(handle.fileno(), line) :]
        os.fsync(handle.fileno())
    sync_folder(folder)


def read(file: str) -> list[Receipt]:
    """The receipts, oldest first; empty where there is no ledger. A line that was cut off by a crash is left out.

    Raises OSError where the ledger is there and can't be read.
    """
    try:
        with open(file, encoding="utf-8", errors="replace") as handle:
            lines = handle.read().splitlines()
    except FileNotFoundError:
        return []
    receipts = []
    for line in lines:
        try:
            receipt = json.loads(line)
        except ValueError:
            continue
        if isinstance(receipt, dict):
            receipts.append(receipt)
    return receipts


def switches(receipts: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The receipts of what changed what serves: all but the failures."""
    return [receipt for receipt in receipts if receipt.get("event") != FAILED]


def failure(receipts: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """The last line where it is a failure, empty where all went well since."""
    return receipts[-1] if receipts and receipts[-1].get("event") == FAILED else {}


def previous(receipts: Sequence[Mapping[str, Any]], current: str | None) -> str | None:
    """The release that served before ``current``, None where none did.

    Where the last receipt is of another release, the host was cut off between the switch and its receipt, and the
    release of that receipt is the one before.
    """
    known = switches(receipts)
    if not known:
        return None
    last = known[-1]
    before = last.get("previous") if last.get("release") == current else last.get("release")
    return before if isinstance(before, str) and before != current else None


def since(receipts: Sequence[Mapping[str, Any]], current: str | None) -> Mapping[str, Any]:
    """The receipt of the last switch to ``current``, empty where there is none."""
    found = [receipt for receipt in switches(receipts) if current is not None and receipt.get("release") == current]
    return found[-1] if found else {}
