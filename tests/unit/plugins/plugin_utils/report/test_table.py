# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.fleet.lines import MOST_ROWS
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.fleet.rollout import End
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.report import report, table as report_table
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.report.report import Host


def host(name: str, outcome: str | None = None, why: str = "", latency: float = 0.5, **changes: Any) -> Host:
    sample = {
        "voice": "af_heart", "format": "wav", "findings": [], "latency_seconds": latency, "audio_seconds": 2.5,
        "real_time_factor": latency / 2.5, "sha256": "x", "measurements": {},
    }  # fmt: skip
    proof = {
        "release_id": "1.2.3-3f9a1c2b7d5e", "level": "acoustic", "required_level": "acoustic", "voices": ["af_heart"],
        "text": "Hello.", "samples": [sample], **changes,
    }  # fmt: skip
    plan = {"release": {"id": "1.2.3-3f9a1c2b7d5e"}, "current": "1.2.3-9c0d4e11aa27"}
    return Host(name, plan, proof, end=End(outcome, why, 12.3) if outcome else None)


def lines(*hosts: Host, stop: str = "") -> list[str]:
    return report_table.table(report.build(list(hosts), "2026-11-22T14:00:00Z", {"stop": stop}))


def test_the_table_of_a_run_with_three_hosts() -> None:
    found = lines(host("s1", "served"), host("s2", "failed", "It is\n  noise."), Host("s3", end=End("not tried")))
    assert found[0] == "3 hosts: 1 served, 1 failed, 1 not tried. The required level is acoustic: 2"
    heads = found.index("") + 1
    assert found[heads].split() == ["host", "serves", "level", "outcome", "seconds", "voices", "latency", "RTF"]
    rows = {line.split()[0]: line.split() for line in found[heads + 1 : heads + 4]}
    assert list(rows) == ["s2", "s3", "s1"]
    assert rows["s1"] == ["s1", "1.2.3-3f9a1c2b7d5e", "acoustic", "served", "12", "1", "0.50", "s", "0.20"]
    assert rows["s2"][1:4] == ["1.2.3-9c0d4e11aa27", "acoustic", "failed"]
    assert "s2: It is noise." in found


def test_values_that_all_hosts_share_have_no_column() -> None:
    found = lines(host("s1", "served"), host("s2", "served"))
    assert found[found.index("") + 1].split() == ["host", "level", "outcome", "seconds", "voices", "latency", "RTF"]


@pytest.mark.parametrize("count", [1, 8, 21, 1000])
@pytest.mark.parametrize("length", [4, 30, 50])
def test_the_table_is_short_and_fits_80_columns(count: int, length: int) -> None:
    why = "The model was not ready after 300 s: " + "CUDA out of memory. " * 40
    hosts = [host(f"gpu-{number:04}".ljust(length, "x"), "served") for number in range(count)]
    hosts += [host(f"bad-{number:03}".ljust(length, "x"), "failed", why) for number in range(count // 4)]
    found = lines(*hosts, stop="in batch 2, 9 of 10 hosts failed, " + "gpu-0001, " * 12)
    assert max(map(len, found)) <= report_table.WIDTH
    assert len(found) < 60
    assert len([line for line in found if line.startswith("bad-")]) >= min(count // 4, MOST_ROWS)


def test_a_large_fleet_lists_failed_and_unusual_hosts_and_counts_the_others() -> None:
    hosts = [host(f"s{number:03}", "served") for number in range(MOST_ROWS)]
    found = lines(*hosts, host("t1", "failed", "x " * 400), host("u1", "served", latency=2.0))
    table = found[found.index("") + 2 :]
    assert [line.split()[0] for line in table[:2]] == ["t1", "u1"]
    assert table[2] == f"Not listed here: {MOST_ROWS} hosts did well."
    assert " ".join(table[3:]).count("x") < report_table.MOST_REASON
    assert any(line.startswith("u1: takes 4.0 times the fleet's median") for line in table)


def test_a_reason_that_many_hosts_share_is_shown_once() -> None:
    found = lines(*(host(f"s{number:02}", "failed", "No key.") for number in range(15)))
    said = " ".join(line.strip() for line in found)
    assert said.count("No key.") == 1
    assert "and 3 more: No key." in said


def test_further_reasons_are_counted() -> None:
    found = lines(*(host(f"s{number:02}", "failed", f"Reason {number}.") for number in range(30)))
    assert found[-1] == "18 more notes are on the page."
    assert "Not listed here: 10 more failed or stand out." in found


def test_stand_ins_and_a_stopped_run_are_prominent() -> None:
    found = lines(host("s1", unpublished={"kokoro/x.pth": "made-up"}), stop="the canary failed: s1")
    assert found[-2:] == [
        "MADE-UP WEIGHTS: this audio is not Kokoro's voice (kokoro/x.pth).",
        "STOPPED before the next batch: the canary failed: s1.",
    ]


def test_a_message_cannot_control_the_terminal() -> None:
    found = lines(host("s1", "failed", "\x1b[2Jgone\x07"))
    assert found[-1] == "s1: \N{REPLACEMENT CHARACTER}[2Jgone\N{REPLACEMENT CHARACTER}"
