# SPDX-License-Identifier: GPL-3.0-or-later
"""docs/security.md names a test for each threat, and shows what tools/hostile.py prints."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path

import pytest

pytest.importorskip("hypothesis")

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
NAMED = re.compile(r"`(?P<path>(?:tests|molecule)/\S+?)`|`(?P<test>test_\w+)`|the scenario `(?P<scenario>[\w-]+)`")
ROWS = [
    [cell.strip() for cell in line.strip("|").split(" | ")]
    for line in PAGE.splitlines()
    if line.startswith("|") and not line.startswith(("| threat |", "| --- |"))
]


def faults(cell: str) -> list[str]:
    """What is wrong with the tests that a row names."""
    found, code = [], ""
    for match in NAMED.finditer(cell):
        path = ROOT / (match["path"] or f"molecule/{match['scenario']}")
        if match["test"]:
            found += [] if f"def {match['test']}(" in code else [f"{match['test']} is not in the file before it"]
        elif not path.exists():
            found.append(f"{path} does not exist")
        else:
            code = path.read_text(encoding="utf-8") if path.is_file() else ""
    return found if NAMED.search(cell) else ["no test"]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0][:40])
def test_each_threat_has_a_test_that_exists(row: list[str]) -> None:
    _threat, defence, shown = row
    assert defence
    assert faults(shown) == []


def test_there_are_threats_and_missing_tests_are_noticed() -> None:
    assert len(ROWS) > 70
    here = f"`tests/unit/tools/{Path(__file__).name}`"
    assert faults(f"{here}: `test_each_threat_has_a_test_that_exists`") == []
    assert faults(f"{here}: `test_of_nothing`") == ["test_of_nothing is not in the file before it"]
    assert faults("we looked") == ["no test"]
    assert len(faults("`tests/none.py`, the scenario `none`")) == 2


def test_the_page_shows_what_the_command_prints(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = importlib.util.spec_from_file_location("hostile", ROOT / "tools" / "hostile.py")
    assert spec is not None
    assert spec.loader is not None
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    # Few inputs, because the fuzz tests try many.
    monkeypatch.setattr(sys, "argv", ["hostile.py", "--examples", "3"])
    assert tool.main() == 0
    shown = PAGE.partition("tools/hostile.py\n")[2].partition("```")[0]
    printed = capsys.readouterr().out.replace(": 3 inputs", ": 300 inputs")
    assert shown.splitlines() == printed.splitlines(), "copy the lines into docs/security.md"
