# SPDX-License-Identifier: GPL-3.0-or-later
"""The report as JUnit XML, which CI systems show. Each host is a suite.

There is a case for each level of each sample, then one for each level of the host as a whole. All common readers know
these elements and attributes: they follow Ant's order, with `skipped` as in Jenkins and GitLab.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Mapping, Sequence
from typing import Any

from ...module_utils.host import sources
from ...module_utils.proof.terms import LEVELS
from .report import FAILED, OF_THE_HOST, reasons

# XML 1.0 cannot hold these characters, not even escaped.
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d")


def render(report: Mapping[str, Any]) -> bytes:
    """JUnit XML of the data of ``report.build``.

    A level that was not tried, or that fails and is not required, is ``skipped`` and says why: never passed.
    """
    root = ET.Element("testsuites", name="voicefleet.kokoro: proof of speech")
    for place, row in enumerate(report["hosts"]):
        # The time of the proof comes from the host, so check it.
        time = _TIME.match(str(row["proved_at"] or "")) or _TIME.match(report["time"])
        suite = ET.SubElement(root, "testsuite", id=str(place), name=_text(row["host"]), hostname=_text(row["host"]))
        suite.set("timestamp", time.group() if time else "1970-01-01T00:00:00")
        properties = ET.SubElement(suite, "properties")
        for name in ("release", "profile", "manifest_sha256", "level", "required_level", "outcome"):
            ET.SubElement(properties, "property", name=name, value=_text(row[name] or ""))
        for name, version in row["versions"].items():
            ET.SubElement(properties, "property", name=f"version.{name}", value=_text(version))
        if row["unpublished"]:
            ET.SubElement(properties, "property", name="source", value=_text(sources.sentence(row["unpublished"])))
        _run(suite, row)
        for sample in row["samples"]:
            for level in LEVELS[1:]:
                if level not in OF_THE_HOST:
                    _case(suite, row, f"{sample['voice']} {sample['format']}", sample["findings"], level, sample)
        for level in OF_THE_HOST if row["samples"] else ():
            _case(suite, row, "host", row["findings"], level)
        notes = [note["sentence"] for note in row["stands_out"]]
        ET.SubElement(suite, "system-out").text = _text("\n".join(notes))
        ET.SubElement(suite, "system-err")
        _count(suite)
    _count(root)
    ET.indent(root)
    text: bytes = ET.tostring(root, encoding="utf-8", xml_declaration=True)
    return text + b"\n"


def _run(suite: ET.Element, row: Mapping[str, Any]) -> None:
    """A case for the run on the host if it failed or proved nothing, because then no sample may show it."""
    if row["state"] != FAILED or (row["outcome"] is None and row["samples"]):
        return
    case = _new(suite, row, "run" if row["outcome"] else "proof")
    said = " ".join(reasons(row))
    ET.SubElement(case, "failure", message=_text(said), type="run")


def _case(
    suite: ET.Element,
    row: Mapping[str, Any],
    what: str,
    findings: Sequence[Mapping[str, Any]],
    level: str,
    sample: Mapping[str, Any] | None = None,
) -> None:
    case = _new(suite, row, f"{what} {level}")
    if sample is not None and level == LEVELS[1] and sample["latency_seconds"] is not None:
        case.set("time", f"{sample['latency_seconds']:.3f}")
    mine = [finding for finding in findings if finding["level"] == level]
    # The host has the reason why a level was not tried.
    mine = mine or [finding for finding in row["findings"] if finding["level"] == level and finding["ok"] is None]
    wrong = [str(finding["sentence"]) for finding in mine if finding["ok"] is False]
    untried = [str(finding["sentence"]) for finding in mine if finding["ok"] is None]
    required = LEVELS.index(level) <= LEVELS.index(row["required_level"] or LEVELS[-1])
    if wrong and required:
        ET.SubElement(case, "failure", message=_text(" ".join(wrong)), type=level)
    elif wrong:
        ET.SubElement(case, "skipped", message=_text("Not required: " + " ".join(wrong)))
    elif untried or not mine:
        why = " ".join(untried) or "nothing was checked."
        ET.SubElement(case, "skipped", message=_text(why if why.startswith("UNVERIFIED") else f"UNVERIFIED: {why}"))


def _new(suite: ET.Element, row: Mapping[str, Any], name: str) -> ET.Element:
    return ET.SubElement(suite, "testcase", classname=_text(row["host"]), name=_text(name), time="0.000")


def _count(element: ET.Element) -> None:
    """Set the totals of a suite, or of all suites."""
    cases = element.findall(".//testcase")
    element.set("tests", str(len(cases)))
    element.set("failures", str(sum(case.find("failure") is not None for case in cases)))
    element.set("errors", "0")
    element.set("skipped", str(sum(case.find("skipped") is not None for case in cases)))
    element.set("time", f"{sum(float(case.get('time', 0)) for case in cases):.3f}")


def _text(text: str) -> str:
    return _NOT_XML.sub("\N{REPLACEMENT CHARACTER}", str(text))
