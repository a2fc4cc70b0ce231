# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible_collections.voicefleet.kokoro.plugins.module_utils.host.hashing import sha256_bytes
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.fleet.rollout import End
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.report import report
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.report.report import Host

SOUND = b"RIFF, some sound"


def finding(level: str, ok: bool | None, sentence: str = "It is so.", name: str = "noise") -> dict[str, Any]:
    return {"name": name, "level": level, "ok": ok, "value": 0.5, "limit": "0.15 or more", "sentence": sentence}


def sample(voice: str = "af_heart", *findings: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {
        "voice": voice,
        "format": "wav",
        "level": "acoustic",
        "findings": list(findings) or [finding("format", True), finding("acoustic", True)],
        "latency_seconds": 0.5,
        "audio_seconds": 2.5,
        "real_time_factor": 0.2,
        "bytes": len(SOUND),
        "sha256": sha256_bytes(SOUND),
        "file": f"/var/lib/voicefleet-evidence/1.2.3-abc/{voice}.wav",
        "measurements": {},
        **changes,
    }


def host(name: str = "speaker1", **changes: Any) -> Host:
    synthesis = {
        "release_id": "1.2.3-abc",
        "level": "acoustic",
        "required_level": "acoustic",
        "voices": ["af_heart"],
        "formats": ["wav"],
        "text": "Hello there.",
        "time": "2026-11-22T14:00:00Z",
        "unpublished": {},
        "samples": [sample()],
        "manifest_sha256": "5b1c" * 16,
        **changes,
    }
    return Host(name, {}, synthesis)


def ended(name: str, outcome: str, why: str = "", **changes: Any) -> Host:
    one = host(name, **changes)
    one.plan = {"release": {"id": "1.2.3-abc"}, "current": "1.2.3-old"}
    one.end = End(outcome, why, None if outcome == "not tried" else 12.34)
    return one


def build(*hosts: Host, run: dict[str, Any] | None = None) -> dict[str, Any]:
    return report.build(list(hosts), "2026-11-22T14:00:00Z", run)


def test_a_host_that_was_planned_but_not_proved_is_in_the_report() -> None:
    plan = {"release": {"id": "1.2.3-abc"}, "voices": ["af_heart"], "unpublished": {}, "profile": "cpu-py311-x86_64"}
    data = build(host(), Host("speaker2", plan))
    row = data["hosts"][1]
    assert (data["level"], row["release"], row["state"], row["record"]) == ("none", "1.2.3-abc", "failed", None)
    assert report.reasons(row) == ["no proof of speech was made on this host; its own output says why"]
    assert row["accelerator"] == "cpu"


def test_a_proof_of_another_release_does_not_count() -> None:
    one = host()
    one.plan = {"release": {"id": "1.2.3-new"}}
    assert build(one)["level"] == "none"


def test_the_outcomes_of_a_counted_run_are_in_the_report() -> None:
    data = build(
        ended("s1", "served"),
        ended("s2", "failed", "It is noise."),
        Host("s3", end=End("not tried")),
        run={"batches": [{"hosts": ["s1", "s2"], "began": 1.0}], "stop": "the canary failed: s2"},
    )
    assert data["batches"] == [["s1", "s2"]]
    assert data["stopped"] == "the canary failed: s2"
    assert data["counts"]["outcomes"] == {"served": 1, "failed": 1, "not tried": 1}
    assert data["counts"]["states"] == {"failed": 2, "stands out": 0, "well": 1}
    assert [(row["serves"], row["seconds"]) for row in data["hosts"]] == [
        ("1.2.3-abc", 12.3),
        ("1.2.3-old", 12.3),
        (None, None),
    ]
    assert report.unfinished(data) == ["s2", "s3"]
    assert report.reasons(data["hosts"][1]) == ["It is noise."]
    assert report.reasons(data["hosts"][2]) == ["not tried."]
    assert report.summary(data)[0] == "3 hosts: 1 served, 1 failed, 1 not tried."


def test_a_failed_host_is_not_compared_with_the_others() -> None:
    data = build(
        ended("s1", "served"), ended("s2", "served"), ended("s3", "served"), ended("s4", "failed", "x", level="none")
    )
    assert [row["stands_out"] for row in data["hosts"]] == [[], [], [], []]


def test_hosts_that_stand_out_are_counted_and_come_after_failed_hosts() -> None:
    slow = host("b-slow", samples=[sample(latency_seconds=2.5, real_time_factor=1.0)])
    failed = ended("c-failed", "failed", "x")
    data = build(slow, failed, *(host(name) for name in ("a", "d", "e")))
    assert [row["host"] for row in report.first_the_worst(data["hosts"])] == ["c-failed", "b-slow", "a", "d", "e"]
    assert data["counts"]["states"] == {"failed": 1, "stands out": 1, "well": 3}
    assert data["usual"] == {"latency_seconds": 0.5, "real_time_factor": 0.2}
    assert "1 differs from the rest." in report.summary(data)
    assert "takes 5.0 times" in report.reasons(data["hosts"][1])[0]


def test_a_level_below_the_required_one_is_an_explained_failure() -> None:
    bad = sample("af_heart", finding("format", True), finding("acoustic", False, "It is noise."), level="format")
    row = build(host(level="format", samples=[bad]))["hosts"][0]
    assert row["state"] == "failed"
    assert report.reasons(row) == ["the level acoustic was required, format was reached. It is noise."]


def test_a_check_run_has_no_proof_and_no_failure() -> None:
    data = build(ended("s1", "checked", samples=[], level="none"))
    assert data["counts"]["states"]["well"] == 1
    assert report.summary(data) == ["1 host: 1 checked."]


def states(row: dict[str, Any]) -> dict[str, str]:
    return {step["level"]: step["state"] for step in row["levels"]}


def test_levels_of_an_older_proof_are_unverified_and_not_passed() -> None:
    row = build(host())["hosts"][0]
    assert states(row) == {
        "format": "passed", "acoustic": "passed", "phonemes": "UNVERIFIED", "intelligible": "UNVERIFIED",
        "performance": "UNVERIFIED", "offline": "UNVERIFIED",
    }  # fmt: skip
    assert row["levels"][-1] == {"level": "offline", "state": "UNVERIFIED", "why": "not tried"}


def test_a_level_that_was_not_requested_has_a_short_reason() -> None:
    untried = finding("offline", None, "The level offline was not tried (synthesis_try_level).", "untried")
    row = build(host(findings=[untried]))["hosts"][0]
    assert row["levels"][-1] == {"level": "offline", "state": "UNVERIFIED", "why": "not tried (synthesis_try_level)"}


def test_levels_of_host_and_samples_are_combined() -> None:
    heard = sample("af_heart", finding("format", True), finding("acoustic", True), finding("intelligible", True))
    mute = sample("am_michael", finding("format", False, "Cut."))
    row = build(
        host(
            level="none",
            samples=[heard, mute],
            findings=[
                finding("phonemes", True),
                finding("performance", None, "UNVERIFIED: no nvidia-smi"),
                finding("offline", False, "It asked pypi.org."),
            ],
            performance={"parallel": {"1": {"requests": 4}}},
        )
    )["hosts"][0]
    assert states(row) == {
        "format": "failed", "acoustic": "UNVERIFIED", "phonemes": "passed", "intelligible": "UNVERIFIED",
        "performance": "UNVERIFIED", "offline": "failed",
    }  # fmt: skip
    why = {step["level"]: step["why"] for step in row["levels"]}
    assert why["acoustic"] == "Not checked in 1 of 2 samples."
    assert why["performance"] == "no nvidia-smi"
    assert why["offline"] == "It asked pypi.org."
    assert row["performance"] == {"parallel": {"1": {"requests": 4}}}


def test_a_format_that_the_server_does_not_have_lowers_no_level() -> None:
    opus = sample(
        "af_heart", finding("format", None, "The server has no opus.", "offered"), format="opus", level="none"
    )
    assert states(build(host(samples=[sample(), opus]))["hosts"][0])["format"] == "passed"
    assert states(build(host(samples=[opus], level="none"))["hosts"][0])["format"] == "UNVERIFIED"


def test_versions_come_from_the_plan_or_else_from_the_proof() -> None:
    artifacts = [
        {"kind": "wheel", "name": "xinference", "version": "1.2.3"},
        {"kind": "wheel", "name": "requests", "version": "2"},
        {"kind": "spacy-model", "name": "en_core_web_sm", "version": "1.2.4"},
    ]
    planned = host(versions={"xinference": "old"})
    planned.plan = {"artifacts": artifacts, "python": {"version": "3.11"}}
    rows = build(planned, host("speaker2", versions={"xinference": "4.0.0"}), host("speaker3"))["hosts"]
    assert [row["versions"] for row in rows] == [
        {"python": "3.11", "xinference": "1.2.3", "en_core_web_sm": "1.2.4"},
        {"xinference": "4.0.0"},
        {},
    ]


def test_the_json_only_counts_good_findings() -> None:
    bad = sample("af_heart", finding("format", True), finding("acoustic", None, "UNVERIFIED: x"))
    data = build(host(samples=[bad]))
    found = report.for_machines(data)["hosts"][0]["samples"][0]
    assert (found["looked_at"], [one["ok"] for one in found["findings"]]) == (2, [None])
    assert len(data["hosts"][0]["samples"][0]["findings"]) == 2


def test_the_stand_ins_of_all_hosts_are_listed() -> None:
    assert build(host(), host("speaker2", unpublished={"kokoro/x.pth": "converted"}))["source"] == "converted"


def test_only_sounds_of_the_proof_are_shown(tmp_path: Path) -> None:
    folder = tmp_path / "audio" / "speaker1"
    folder.mkdir(parents=True)
    (folder / "af_heart.wav").write_bytes(SOUND)
    (folder / "am_michael.wav").write_bytes(SOUND + b"x")
    samples = [sample(), sample("am_michael"), sample("none"), sample("../speaker1/af_heart")]
    found = report.load_clips(tmp_path, "speaker1", {"samples": samples})
    assert [(name, clip.path, clip.size) for name, clip in found.items()] == [
        ("af_heart", "audio/speaker1/af_heart.wav", len(SOUND))
    ]


@pytest.mark.parametrize(
    ("name", "folder"),
    [
        ("speaker1.site-b.example", "speaker1.site-b.example"),
        ("../../etc", "_.._etc-74ccf3c5"),
        ("..", "-5ec1f7e7"),
        ("fe80::1%eth0", "fe80__1_eth0-016a8c97"),
    ],
)
def test_host_names_become_folders(name: str, folder: str) -> None:
    assert report.folder_name(name) == folder
