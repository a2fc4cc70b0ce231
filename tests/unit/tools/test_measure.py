# SPDX-License-Identifier: GPL-3.0-or-later
"""The figures of tools/measure.py: they are within their limits, and they count what they say."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

TOOL = Path(__file__).resolve().parents[3] / "tools" / "measure.py"


@pytest.fixture
def measure(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    spec = importlib.util.spec_from_file_location("measure", TOOL)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "measure", module)
    spec.loader.exec_module(module)
    return module


def test_every_figure_is_within_its_limit(measure: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    assert measure.main() == 0, capsys.readouterr().out


def tree(root: Path, role: str, defaults: str, options: str) -> None:
    """A role with these defaults and these options of its spec."""
    for folder, text in (("defaults/main.yml", defaults), ("meta/argument_specs.yml", options)):
        (root / "roles" / role / folder).parent.mkdir(parents=True, exist_ok=True)
        (root / "roles" / role / folder).write_text(text)


def test_what_is_declared_again_is_counted(
    measure: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = "argument_specs: {main: {options: {%s: {type: int}}}}"
    tree(tmp_path, "settings", "a_port: 1\na_host: h\n", spec % "a_port")
    repeats = 'doctor_port: "{{ a_port | default(1) }}"\ndoctor_url: "http://{{ a_port }}"\n'
    tree(tmp_path, "doctor", repeats, spec % "x")
    (tmp_path / "plugins").mkdir()
    (tmp_path / "plugins" / "wanted.py").write_text('port: int = setting("a_port")\nread = given["a_port"]\n')
    monkeypatch.setattr(measure, "ROOT", tmp_path)
    monkeypatch.setattr(measure, "ROLES", tmp_path / "roles")
    assert measure.mirrors() == {"doctor/doctor_port": "a_port"}
    # Default, spec, second default, repeated default and field.
    assert measure.places() == {"a_port": 5, "a_host": 1}
    assert measure.main() == 1
    assert "ABOVE ITS LIMIT" in capsys.readouterr().out
