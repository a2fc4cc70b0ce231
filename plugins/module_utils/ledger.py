# SPDX-License-Identifier: GPL-3.0-or-later
"""The host's ledger: one receipt a line, only ever added to, and what can be told from it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

Receipt = dict[str, Any]


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


def previous(receipts: Sequence[Mapping[str, Any]], current: str | None) -> str | None:
    """The release that served before ``current``, None where none did.

    Where the last receipt is of another release, the host was cut off between the switch and its receipt, and the
    release of that receipt is the one before.
    """
    if not receipts:
        return None
    last = receipts[-1]
    before = last.get("previous") if last.get("release") == current else last.get("release")
    return before if isinstance(before, str) and before != current else None


def since(receipts: Sequence[Mapping[str, Any]], current: str | None) -> Mapping[str, Any]:
    """The receipt of the last switch to ``current``, empty where there is none."""
    found = [receipt for receipt in receipts if current is not None and receipt.get("release") == current]
    return found[-1] if found else {}
