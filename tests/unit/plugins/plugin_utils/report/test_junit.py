# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import xml.etree.ElementTree as ET
from typing import Any

from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.fleet.rollout import End
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.report import junit
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.report.report import Host, build

NOW = "2026-11-22T14:00:00Z"


def finding(level: str, ok: bool | None, sentence: str = "It is so.") -> dict[str, Any]:
    return {"name": "x", "level": level, "ok": ok, "value": None, "limit": "", "sentence": sentence}


def sample(*findings: dict[str, Any], latency: float | None = 0.5) -> dict[str, Any]:
    numbers = {"latency_seconds": latency, "audio_seconds": 2.5, "real_time_factor": 0.2, "bytes": 9, "sha256": "x"}
    return {"voice": "af_heart", "format": "wav", "level": "format", "findings": list(findings), **numbers}


def suites(*hosts: Host) -> list[ET.Element]:
    return ET.fromstring(junit.render(build(list(hosts), NOW))).findall("testsuite")


def suite(required: str, *samples: dict[str, Any], **changes: Any) -> ET.Element:
    synthesis = {"release_id": "1.2.3-abc", "level": "format", "required_level": required, "samples": list(samples)}
    return suites(Host("speech-01", {}, {**synthesis, **changes}))[0]


GOOD = finding("format", True, "It is complete.")


def outcome(element: ET.Element) -> dict[str, str]:
    cases = element.findall("testcase")
    return {case.attrib["name"]: " ".join(f"{c.tag}: {c.attrib['message']}" for c in case) for case in cases}


def test_passed_and_failed_levels_are_cases() -> None:
    found = suite("acoustic", sample(GOOD, finding("acoustic", False, "It is <white> noise.\x00")))
    said = outcome(found)
    assert said["af_heart wav format"] == ""
    assert said["af_heart wav acoustic"] == "failure: It is <white> noise.\N{REPLACEMENT CHARACTER}"
    assert (found.attrib["tests"], found.attrib["failures"]) == (str(len(said)), "1")
    assert (found.attrib["errors"], found.attrib["time"]) == ("0", "0.500")
    assert found.findall("testcase")[0].attrib["time"] == "0.500"


def test_a_level_that_was_not_tried_or_is_not_required_is_skipped_and_never_passed() -> None:
    untried = suite("acoustic", sample(GOOD, finding("acoustic", None, "UNVERIFIED: no decoder")))
    assert outcome(untried)["af_heart wav acoustic"] == "skipped: UNVERIFIED: no decoder"
    beyond = suite("format", sample(GOOD, finding("acoustic", False, "Noise.")))
    assert outcome(beyond)["af_heart wav acoustic"] == "skipped: Not required: Noise."
    cut = suite("acoustic", sample(finding("format", False, "Cut.")))
    assert outcome(cut)["af_heart wav format"] == "failure: Cut."
    assert outcome(cut)["af_heart wav acoustic"] == "skipped: UNVERIFIED: nothing was checked."


def test_levels_of_the_host_are_cases_of_their_own() -> None:
    of_the_host = [finding("phonemes", True), finding("offline", None, "UNVERIFIED: no ss")]
    of_the_host.append(finding("intelligible", None, "UNVERIFIED: not asked for"))
    said = outcome(suite("acoustic", sample(GOOD, finding("acoustic", True)), findings=of_the_host))
    assert said == {
        "af_heart wav format": "",
        "af_heart wav acoustic": "",
        "af_heart wav intelligible": "skipped: UNVERIFIED: not asked for",
        "host phonemes": "",
        "host performance": "skipped: UNVERIFIED: nothing was checked.",
        "host offline": "skipped: UNVERIFIED: no ss",
    }


def test_a_host_that_was_not_proved_is_a_failure() -> None:
    plan = {"release": {"id": "1.2.3-abc"}}
    root = ET.fromstring(junit.render(build([Host("speech-02", plan)], NOW)))
    assert (root.attrib["tests"], root.attrib["failures"]) == ("1", "1")


def test_a_run_that_failed_is_a_failure_although_the_samples_are_good() -> None:
    proof = {"release_id": "r", "level": "acoustic", "required_level": "format", "samples": [sample(GOOD)]}
    failed, served = suites(
        Host("s1", {}, proof, end=End("failed", "No disk.", 3.0)), Host("s2", {}, proof, end=End("served", "", 3.0))
    )
    assert outcome(failed)["run"] == "failure: No disk."
    assert "run" not in outcome(served)


def test_the_time_that_a_host_reports_is_checked() -> None:
    times = [suite("format", sample(GOOD), time=time).attrib["timestamp"] for time in ("now", "2026-11-21T03:04:05Z")]
    assert times == ["2026-11-22T14:00:00", "2026-11-21T03:04:05"]


def test_what_stands_out_is_in_the_output_of_the_suite() -> None:
    proof = {"release_id": "r", "level": "format", "samples": [sample(GOOD)], "manifest_sha256": "a" * 64}
    other = {**proof, "manifest_sha256": "b" * 64}
    found = suites(*(Host(name, {}, proof) for name in "abc"), Host("d", {}, other))
    assert [one.findtext("system-out") for one in found] == [
        "",
        "",
        "",
        "manifest bbbbbbbbbbbb, most hosts aaaaaaaaaaaa",
    ]
