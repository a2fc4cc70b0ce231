# SPDX-License-Identifier: GPL-3.0-or-later
"""tools/hostile.py counts bad values, tracebacks and leaks, and fails if there is one."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

pytest.importorskip("hypothesis")


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location("hostile", Path(__file__).parents[3] / "tools" / "hostile.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_nothing_is_accepted_leaks_or_ends_in_a_traceback(
    tool: ModuleType, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["hostile.py", "--examples", "20"])
    assert tool.main() == 0
    said = capsys.readouterr().out
    assert said.count("20 inputs tried, 0 tracebacks") == 15
    assert "0 leaked" in said


def test_an_error_that_is_no_refusal_counts(tool: ModuleType) -> None:
    assert list(tool.tracebacks(tool.Parser(int, [b"x"], (ValueError,)), 9)) == []
    assert len(list(tool.tracebacks(tool.Parser(int, [b"x"]), 9))) == 9


def test_good_inputs_are_read(tool: ModuleType, tmp_path: Path) -> None:
    """Otherwise the altered ones would be refused too early."""
    for name, parser in tool.parsers(tmp_path).items():
        if name not in ("audio containers", "speech answers"):
            parser.read(parser.good[0])
