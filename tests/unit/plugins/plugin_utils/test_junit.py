# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import xml.etree.ElementTree as ET
from typing import Any

from ansible_collections.voicefleet.kokoro.plugins.plugin_utils import junit
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.report import Host, build


def finding(level: str, ok: bool | None, sentence: str) -> dict[str, Any]:
    return {"name": "x", "level": level, "ok": ok, "value": None, "limit": "", "sentence": sentence}


def sample(*findings: dict[str, Any]) -> dict[str, Any]:
    numbers = {"latency_seconds": 0.5, "audio_seconds": 2.5, "real_time_factor": 0.2, "bytes": 9, "sha256": "x"}
    return {"voice": "af_heart", "format": "wav", "level": "format", "findings": list(findings), **numbers}


def suite(required: str, *samples: dict[str, Any]) -> ET.Element:
    synthesis = {"release_id": "4.1.0-abc", "level": "format", "required_level": required, "samples": list(samples)}
    root = ET.fromstring(junit.render(build([Host("speech-01", {}, synthesis)], "now")))
    found = root.find("testsuite")
    assert found is not None
    return found


GOOD = finding("format", True, "It is complete.")


def outcome(element: ET.Element) -> dict[str, str]:
    cases = element.findall("testcase")
    return {case.attrib["name"]: " ".join(f"{c.tag}: {c.attrib['message']}" for c in case) for case in cases}


def test_what_passed_and_what_failed() -> None:
    found = suite("acoustic", sample(GOOD, finding("acoustic", False, "It is <white> noise.\x00")))
    said = outcome(found)
    assert said["af_heart wav format"] == ""
    assert said["af_heart wav acoustic"] == "failure: It is <white> noise.\N{REPLACEMENT CHARACTER}"
    assert (found.attrib["tests"], found.attrib["failures"]) == (str(len(said)), "1")
    assert found.findall("testcase")[0].attrib["time"] == "0.500"


def test_a_level_that_was_not_tried_or_is_not_required_is_skipped_and_never_passed() -> None:
    untried = suite("acoustic", sample(GOOD, finding("acoustic", None, "UNVERIFIED: no decoder")))
    assert outcome(untried)["af_heart wav acoustic"] == "skipped: UNVERIFIED: no decoder"
    beyond = suite("format", sample(GOOD, finding("acoustic", False, "Noise.")))
    assert outcome(beyond)["af_heart wav acoustic"] == "skipped: Not required: Noise."
    cut = suite("acoustic", sample(finding("format", False, "Cut.")))
    assert outcome(cut)["af_heart wav format"] == "failure: Cut."
    assert outcome(cut)["af_heart wav acoustic"] == "skipped: UNVERIFIED: the levels below it were not reached."


def test_a_host_that_was_not_proved_is_a_failure() -> None:
    plan = {"release": {"id": "4.1.0-abc"}}
    root = ET.fromstring(junit.render(build([Host("speech-02", plan)], "now")))
    assert (root.attrib["tests"], root.attrib["failures"]) == ("1", "1")
