# SPDX-License-Identifier: GPL-3.0-or-later
"""The figures of tools/measure.py are within their limits and count what they name."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest


def test_every_figure_is_within_its_limit(measure: ModuleType) -> None:
    assert [str(figure) for figure in measure.figures() if not figure.within] == []


def tree(root: Path, role: str, defaults: str, options: str) -> None:
    """Make a role with these defaults and these options in its spec."""
    for folder, text in (("defaults/main.yml", defaults), ("meta/argument_specs.yml", options)):
        (root / "roles" / role / folder).parent.mkdir(parents=True, exist_ok=True)
        (root / "roles" / role / folder).write_text(text)


def test_repeated_declarations_are_counted(
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


def test_lines_imports_and_host_patterns_are_counted(
    measure: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = {
        "plugins/module_utils/proof/one.py": "from ..host import two\nfrom . import three\n",
        "plugins/module_utils/host/two.py": "import os\n",
        "roles/settings/defaults/main.yml": "a: 1\n",
        "roles/settings/files/pylock.toml": "generated\n" * 9,
        "roles/settings/README.md": "# Role\n",
        "playbooks/deploy.yml": "- hosts: all:!localhost\n",
    }
    for name, text in texts.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(measure, "ROOT", tmp_path)
    monkeypatch.setattr(measure, "ROLES", tmp_path / "roles")
    assert measure.arrows("module_utils") == {"proof": {"host"}, "host": set()}
    assert measure.host_patterns() == ["playbooks/deploy.yml:1"]
    counted = {figure.name: figure.value for figure in measure.figures()}
    assert counted["imports between sub-packages"] == 1
    assert counted["lines of plugins"] == 3
    assert counted["lines of roles"] == 2
