# SPDX-License-Identifier: GPL-3.0-or-later
"""The ledger tells the previous release, and since when the current one serves."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from ansible_collections.voicefleet.kokoro.plugins.module_utils.release import ledger

A_THEN_B = [{"release": "a", "previous": None, "time": "1"}, {"release": "b", "previous": "a", "time": "2"}]


def test_an_incomplete_line_is_skipped(tmp_path: Path) -> None:
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
        # Interrupted between the switch and its receipt.
        (A_THEN_B, "c", "b"),
        # After a rollback, the newer release is the previous one.
        ([*A_THEN_B, {"release": "a", "previous": "b"}], "a", "b"),
        ([*A_THEN_B, {"event": "teardown", "release": None, "previous": "b"}], "b", None),
    ],
)
def test_the_previous_release_comes_from_the_receipts(
    receipts: list[ledger.Receipt], current: str, expected: str | None
) -> None:
    assert ledger.previous(receipts, current) == expected


def test_the_last_switch_to_a_release_is_found() -> None:
    receipts = [*A_THEN_B, {"release": "a", "previous": "b", "time": "3"}]
    assert ledger.since(receipts, "a")["time"] == "3"
    assert ledger.since(receipts, "c") == {}
    assert ledger.since([{"release": None, "time": "1"}], None) == {}


FAILURE = {"event": "failed", "attempted": "c", "phase": "python_env", "time": "4"}


def test_a_failure_is_not_a_switch() -> None:
    receipts = [*A_THEN_B, FAILURE]
    assert ledger.previous(receipts, "b") == "a"
    assert ledger.since(receipts, "b")["time"] == "2"
    assert ledger.failure(receipts) == FAILURE
    assert ledger.failure([*receipts, {"release": "c", "previous": "b"}]) == {}


def test_a_line_after_an_incomplete_one_is_complete(tmp_path: Path) -> None:
    file = tmp_path / "evidence" / "receipts.jsonl"
    ledger.append(str(file), {"release": "a"})
    with file.open("a") as handle:
        handle.write('{"release": "b", "prev')
    ledger.append(str(file), {"release": "c"})
    assert [receipt["release"] for receipt in ledger.read(str(file))] == ["a", "c"]


def test_an_added_line_is_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A power loss right after an append loses neither the line nor the file."""
    file, synced = tmp_path / "evidence" / "receipts.jsonl", []
    fsync = os.fsync

    def record(descriptor: int) -> None:
        synced.append((os.readlink(f"/proc/self/fd/{descriptor}"), file.read_text()))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", record)
    ledger.append(str(file), {"release": "a"})
    assert synced == [(str(file), '{"release": "a"}\n'), (str(file.parent), '{"release": "a"}\n')]


def test_only_the_end_of_a_huge_ledger_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger, "LIMIT", 40)
    file = tmp_path / "receipts.jsonl"
    for release in "abcd":
        ledger.append(str(file), {"release": release})
    assert ledger.read(str(file)) == [{"release": "c"}, {"release": "d"}]


def test_the_last_gap_is_that_of_the_last_restart_that_is_known() -> None:
    assert ledger.gap([]) is None
    assert (
        ledger.gap([{"seconds": {"gap": 30.5}}, {"seconds": {"gap": 21}}, {"seconds": {"start": 9}}, {"seconds": 1}])
        == 21
    )
