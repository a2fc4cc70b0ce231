# SPDX-License-Identifier: GPL-3.0-or-later
"""What the ledger tells: the release before, and since when the current one serves."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from ansible_collections.voicefleet.kokoro.plugins.module_utils import ledger

A_THEN_B = [{"release": "a", "previous": None, "time": "1"}, {"release": "b", "previous": "a", "time": "2"}]


def test_a_line_that_a_crash_cut_off_is_left_out(tmp_path: Path) -> None:
    file = tmp_path / "receipts.jsonl"
    assert ledger.read(str(file)) == []
    file.write_text(json.dumps({"release": "a"}) + "\n[1]\n" + '{"release": "b", "prev')
    assert ledger.read(str(file)) == [{"release": "a"}]


def test_a_ledger_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError):
        ledger.read(str(tmp_path))


@pytest.mark.parametrize(
    ("receipts", "current", "expected"),
    [
        ([], "a", None),
        (A_THEN_B[:1], "a", None),
        (A_THEN_B, "b", "a"),
        # Cut off between the switch and its receipt.
        (A_THEN_B, "c", "b"),
        # After a rollback the way leads forward again.
        ([*A_THEN_B, {"release": "a", "previous": "b"}], "a", "b"),
        ([*A_THEN_B, {"event": "teardown", "release": None, "previous": "b"}], "b", None),
    ],
)
def test_previous(receipts: list[ledger.Receipt], current: str, expected: str | None) -> None:
    assert ledger.previous(receipts, current) == expected


def test_since_is_the_last_switch() -> None:
    receipts = [*A_THEN_B, {"release": "a", "previous": "b", "time": "3"}]
    assert ledger.since(receipts, "a")["time"] == "3"
    assert ledger.since(receipts, "c") == {}
    assert ledger.since([{"release": None, "time": "1"}], None) == {}
