# SPDX-License-Identifier: GPL-3.0-or-later
"""The host's ledger: one receipt per line. Lines are only added, never changed.

A line without ``event`` is a switch to ``release``. ``event: teardown`` ends the service. ``event: failed`` is a run
that made no release current: ``attempted`` names its release, and earlier lines still say which release serves.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

from ..host import deploy_lock, ownership, private_files
from ..host.hashing import LIMIT, parse_json, sync_folder

Receipt = dict[str, Any]
FAILED = "failed"


def append(file: str, receipt: Mapping[str, Any]) -> None:
    """Append one line to the ledger, which only root can read, and flush it to disk. Raises ForeignError, OSError."""
    folder = os.path.dirname(file)
    os.makedirs(os.path.dirname(folder), exist_ok=True)
    ownership.claim(folder)
    line = json.dumps(dict(receipt), sort_keys=True).encode() + b"\n"
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "r+b", buffering=0) as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        size = os.fstat(handle.fileno()).st_size
        # A line that a power loss cut must not spoil the next one.
        if size and os.pread(handle.fileno(), 1, size - 1) != b"\n":
            line = b"\n" + line
        while line:
            line = line[os.write(handle.fileno(), line) :]
        os.fsync(handle.fileno())
    sync_folder(folder)


def read(file: str) -> list[Receipt]:
    """Return the receipts, oldest first; empty if there is no ledger. Skip a line that a crash cut.

    Of a ledger with more than ``LIMIT`` bytes, only the end counts. Raises OSError if it cannot be read.
    """
    try:
        lines = private_files.end_of(file, LIMIT, links=0).splitlines()
    except FileNotFoundError:
        return []
    receipts = []
    for line in lines:
        try:
            receipt = parse_json(line)
        except ValueError:
            continue
        if isinstance(receipt, dict):
            receipts.append(receipt)
    return receipts


def switches(receipts: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return the receipts that changed which release serves: all but the failures."""
    return [receipt for receipt in receipts if receipt.get("event") != FAILED]


def failure(receipts: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """Return the last line if it is a failure; empty if a later run succeeded."""
    return receipts[-1] if receipts and receipts[-1].get("event") == FAILED else {}


def previous(receipts: Sequence[Mapping[str, Any]], current: str | None) -> str | None:
    """Return the release that served before ``current``, or None.

    If the last receipt names another release, the host was interrupted between the switch and its receipt. The
    release of that receipt is then the previous one.
    """
    known = switches(receipts)
    if not known:
        return None
    last = known[-1]
    before = last.get("previous") if last.get("release") == current else last.get("release")
    return before if isinstance(before, str) and before != current else None


def gap(receipts: Sequence[Mapping[str, Any]]) -> float | None:
    """Return how many seconds the service did not answer during its last restart that is known; None if none is."""
    for receipt in reversed(receipts):
        seconds = receipt.get("seconds")
        found = seconds.get(deploy_lock.GAP) if isinstance(seconds, dict) else None
        if isinstance(found, (int, float)):
            return float(found)
    return None


def since(receipts: Sequence[Mapping[str, Any]], current: str | None) -> Mapping[str, Any]:
    """Return the receipt of the last switch to ``current``; empty if there is none."""
    found = [receipt for receipt in switches(receipts) if current is not None and receipt.get("release") == current]
    return found[-1] if found else {}
