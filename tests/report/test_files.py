# SPDX-License-Identifier: GPL-3.0-or-later
"""What machines read beside the page: report.json by its schema, junit.xml by the one that its readers agree on."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import guides
import jsonschema
import pytest
from ansible_collections.voicefleet.kokoro.tests.report.conftest import ROOT, Written

FLEETS = ("one", "eight", "made_up", "converted", "hostile", "thousand")
XSD = Path(__file__).parent / "junit.xsd"


def valid(xml: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["xmllint", "--nonet", "--noout", "--schema", str(XSD), str(xml)], capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("fleet", FLEETS)
def test_report_json_matches_its_schema(written: Callable[[str], Written], fleet: str) -> None:
    schema = json.loads((ROOT / "docs" / "report.schema.json").read_text())
    validator = jsonschema.Draft202012Validator(schema)
    found = json.loads((written(fleet).folder / "report.json").read_text())
    assert [error.message for error in validator.iter_errors(found)] == []
    del found["hosts"][0]["state"]
    assert not validator.is_valid(found)


@pytest.mark.parametrize("fleet", FLEETS)
def test_junit_matches_its_schema(written: Callable[[str], Written], fleet: str, tmp_path: Path) -> None:
    xml = written(fleet).folder / "junit.xml"
    done = valid(xml)
    assert done.returncode == 0, done.stderr[-2000:]
    broken = tmp_path / "junit.xml"
    broken.write_text(xml.read_text().replace(' errors="0"', "", 1))
    assert valid(broken).returncode != 0


@pytest.mark.parametrize("command", guides.printed("docs/report.md", "jq "))
def test_the_printed_queries_answer(written: Callable[[str], Written], command: str) -> None:
    folder = written("eight").folder
    done = subprocess.run(["bash", "-euc", command], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() not in ("", "null")
