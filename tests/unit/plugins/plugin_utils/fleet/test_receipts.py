# SPDX-License-Identifier: GPL-3.0-or-later
"""One summary of all ledgers. It also reports what could not be read or was not proved."""

from __future__ import annotations

from typing import Any

from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.fleet import receipts as fleet

RECEIPT: dict[str, Any] = {
    "release": "1.2.3-aaa",
    "previous": "1.2.3-bbb",
    "time": "2026-11-22T10:00:00Z",
    "operator": "ann",
    "manifest_sha256": "5b1c" * 16,
    "proof_level": "acoustic",
    "unpublished": {},
    "seconds": {"proof": 12.5, "total": 62.9},
}
GOOD = {"current": "1.2.3-aaa", "whole": ["1.2.3-aaa"], "receipts": [RECEIPT]}


def lines(**hosts: Any) -> list[str]:
    return fleet.table(fleet.build(hosts, "now"))


def test_a_host_shows_release_time_operator_and_manifest() -> None:
    summary = fleet.build({"speech-01": GOOD}, "now")
    row = summary["hosts"][0]
    assert (row["current"], row["previous"], row["since"], row["operator"]) == (
        "1.2.3-aaa", "1.2.3-bbb", "2026-11-22T10:00:00Z", "ann",
    )  # fmt: skip
    assert row["receipts"] == [RECEIPT]
    header, line = fleet.table(summary)
    assert header.split() == ["host", "current", "since", "by", "manifest", "proof", "took", "source"]
    assert line.split() == [
        "speech-01",
        "1.2.3-aaa",
        "2026-11-22T10:00:00Z",
        "ann",
        "5b1c5b1c5b1c",
        "acoustic",
        "63",
        "s",
        "published",
    ]


def test_stand_ins_are_reported() -> None:
    text = "\n".join(lines(a={**GOOD, "receipts": [{**RECEIPT, "unpublished": {"kokoro/w.pth": "made-up"}}]}))
    assert "63 s  made-up" in text
    assert "MADE-UP WEIGHTS: this audio is not Kokoro's voice." in text


def test_a_host_that_was_not_read_is_in_the_summary() -> None:
    summary = fleet.build({"b": None, "a": GOOD}, "now")
    assert summary["not_read"] == ["b"]
    assert fleet.table(summary)[2].split() == ["b", "NOT", "READ"]


def test_a_release_without_a_receipt_is_unverified() -> None:
    text = lines(a={"current": "1.2.3-ccc", "receipts": [RECEIPT]})
    assert "UNVERIFIED" in text[1]
    assert "No receipt for the current release on: a." in text[2]


def test_nothing_serves_after_a_teardown() -> None:
    torn = {"current": None, "receipts": [RECEIPT, {"event": "teardown", "release": None, "time": "2026-11-23"}]}
    assert lines(a=torn)[1:] == ["a     nothing"]


def test_more_than_one_release_is_reported() -> None:
    other = {"current": "1.2.3-ddd", "receipts": [{**RECEIPT, "release": "1.2.3-ddd"}]}
    summary = fleet.build({"a": GOOD, "b": other, "c": GOOD}, "now")
    assert summary["releases"] == {"1.2.3-aaa": 2, "1.2.3-ddd": 1}
    assert summary["manifests"] == {"5b1c" * 16: 3}
    assert fleet.table(summary)[-1] == "2 releases serve at once."


def test_a_failure_after_the_last_switch_is_reported() -> None:
    failure = {
        "event": "failed", "attempted": "1.2.3-bbb", "time": "2026-11-23T02:00:00Z", "operator": "kim",
        "phase": "python_env", "task": "Install", "message": "no\n" + "x" * 300,
    }  # fmt: skip
    summary = fleet.build({"a": {**GOOD, "receipts": [RECEIPT, failure]}}, "now")
    row = summary["hosts"][0]
    assert (row["since"], row["previous"], row["failure"]) == (RECEIPT["time"], "1.2.3-bbb", failure)
    last = fleet.table(summary)[-1]
    assert last.startswith("a: the last run failed, 2026-11-23T02:00:00Z, by kim, in phase python_env: Install: no x")
    assert last.endswith("x…")
    assert "the last run failed" not in "".join(lines(a={**GOOD, "receipts": [failure, RECEIPT]}))


def large(**others: Any) -> list[str]:
    return lines(**{f"s{number:04}": GOOD for number in range(1000 - len(others))}, **others)


def test_a_large_fleet_is_counted_and_only_the_hosts_to_look_at_have_rows() -> None:
    failure = {"event": "failed", "operator": "kim", "phase": "proof", "task": "Prove", "message": "No sound."}
    failed = {f"f{n}": {**GOOD, "receipts": [RECEIPT, {**failure, "time": f"2026-11-23T02:00:0{n}Z"}]} for n in (1, 2)}
    other = {"current": "1.2.3-ddd", "receipts": [{**RECEIPT, "release": "1.2.3-ddd"}]}
    text = large(**failed, silent=None, other=other, unproved={"current": "1.2.3-aaa", "receipts": []})
    assert text[0] == "997 hosts: 1.2.3-aaa 5b1c5b1c5b1c acoustic published"
    assert text[1:5] == [
        "1 host: 1.2.3-ddd 5b1c5b1c5b1c acoustic published",
        "1 host: NOT READ",
        "1 host: 1.2.3-aaa UNVERIFIED",
        "5 of 1,000 hosts to look at.",
    ]
    assert [line.split()[0] for line in text[5:11]] == ["host", "silent", "f1", "f2", "unproved", "other"]
    assert text[11] == "f1, f2: the last run failed, 2026-11-23T02:00:02Z, by kim, in phase proof: Prove: No sound."
    assert text[12:] == [
        "No receipt for the current release on: unproved. verify.yml proves it again.",
        "2 releases serve at once.",
    ]


def test_the_table_stays_short_if_all_hosts_of_a_large_fleet_are_broken() -> None:
    bad = {
        f"bad{n:04}": {
            "current": f"1.2.3-{n:03x}", "receipts": [{"event": "failed", "message": f"Fault {n}. " * 90}], "whole": [n]
        }
        for n in range(1000)
    }  # fmt: skip
    text = large(**bad)
    assert len(text) < 80
    assert max(map(len, text)) < 400
    assert "1,000 of 1,000 hosts to look at, 20 of them here." in text
    assert "988 hosts: something else" in text
