# SPDX-License-Identifier: GPL-3.0-or-later
"""The report on proofs as JUnit XML, which CI systems show: a suite for each host, a case for each sample and level."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Mapping
from typing import Any

from ..module_utils.acoustics import LEVELS

# What XML 1.0 can't hold, not even escaped.
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def render(report: Mapping[str, Any]) -> bytes:
    """JUnit XML of the data of ``report.build``.

    A level that was not tried, or that fails and is not required, is ``skipped`` and says why: never passed.
    """
    root = ET.Element("testsuites", name="voicefleet.kokoro: proof of speech")
    for row in report["hosts"]:
        suite = ET.SubElement(root, "testsuite", name=row["host"], timestamp=str(row["proved_at"] or "").rstrip("Z"))
        properties = ET.SubElement(suite, "properties")
        for name in ("release", "profile", "manifest_sha256", "level", "required_level"):
            ET.SubElement(properties, "property", name=name, value=_text(row[name] or ""))
        if row["synthetic"]:
            ET.SubElement(properties, "property", name="synthetic", value=_text(", ".join(row["synthetic"])))
        if not row["samples"]:
            case = ET.SubElement(suite, "testcase", classname=row["host"], name="proof")
            ET.SubElement(case, "failure", message="The host was planned and not proved.")
        for sample in row["samples"]:
            for level in LEVELS[1:]:
                _case(suite, row, sample, level)
        _count(suite)
    _count(root)
    ET.indent(root)
    text: bytes = ET.tostring(root, encoding="utf-8", xml_declaration=True)
    return text + b"\n"


def _case(suite: ET.Element, row: Mapping[str, Any], sample: Mapping[str, Any], level: str) -> None:
    case = ET.SubElement(suite, "testcase", classname=_text(row["host"]), name=_text(f"{_name(sample)} {level}"))
    if level == LEVELS[1] and sample["latency_seconds"] is not None:
        case.set("time", f"{sample['latency_seconds']:.3f}")
    findings = [finding for finding in sample["findings"] if finding["level"] == level]
    wrong = [str(finding["sentence"]) for finding in findings if finding["ok"] is False]
    untried = [str(finding["sentence"]) for finding in findings if finding["ok"] is None]
    required = LEVELS.index(level) <= LEVELS.index(row["required_level"] or LEVELS[-1])
    if wrong and required:
        ET.SubElement(case, "failure", message=_text(" ".join(wrong)))
    elif wrong:
        ET.SubElement(case, "skipped", message=_text("Not required: " + " ".join(wrong)))
    elif untried or not findings:
        why = " ".join(untried) or "the levels below it were not reached."
        ET.SubElement(case, "skipped", message=_text(why if why.startswith("UNVERIFIED") else f"UNVERIFIED: {why}"))


def _name(sample: Mapping[str, Any]) -> str:
    return f"{sample['voice']} {sample['format']}"


def _count(element: ET.Element) -> None:
    element.set("tests", str(len(element.findall(".//testcase"))))
    for name in ("failure", "skipped"):
        element.set("failures" if name == "failure" else name, str(len(element.findall(f".//{name}"))))


def _text(text: str) -> str:
    return _NOT_XML.sub("\N{REPLACEMENT CHARACTER}", text)
