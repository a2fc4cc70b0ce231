# SPDX-License-Identifier: GPL-3.0-or-later
"""Every role documents what it takes: no tool of Ansible's compares meta/argument_specs.yml with defaults/main.yml."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

ROLES = Path(__file__).resolve().parents[3] / "roles"
NAMES = sorted(path.name for path in ROLES.iterdir() if path.is_dir())


def load(role: str, path: str) -> Any:
    file = ROLES / role / path
    return yaml.safe_load(file.read_text(encoding="utf-8")) if file.exists() else {}


def options(role: str) -> dict[str, Any]:
    """The documented variables of all entry points of a role."""
    found: dict[str, Any] = {}
    for entry_point in load(role, "meta/argument_specs.yml")["argument_specs"].values():
        for name, option in (entry_point.get("options") or {}).items():
            found.setdefault(name, option)
    return found


def test_there_are_roles() -> None:
    assert NAMES


@pytest.mark.parametrize("role", NAMES)
def test_a_role_says_what_it_is(role: str) -> None:
    files = ["README.md", "meta/argument_specs.yml", "meta/main.yml", "tasks/main.yml"]
    assert [file for file in files if not (ROLES / role / file).is_file()] == []


@pytest.mark.parametrize("role", NAMES)
def test_every_default_is_documented(role: str) -> None:
    documented = options(role)
    public = [name for name in load(role, "defaults/main.yml") or {} if not name.startswith("__")]
    assert [name for name in public if name not in documented] == []


@pytest.mark.parametrize("role", NAMES)
def test_documented_defaults_are_the_real_ones(role: str) -> None:
    defaults = load(role, "defaults/main.yml") or {}
    documented = {name: option["default"] for name, option in options(role).items() if "default" in option}
    assert {name: defaults.get(name, "(no default)") for name in documented} == documented


@pytest.mark.parametrize("role", NAMES)
def test_a_variable_is_required_or_has_a_default(role: str) -> None:
    """No default at all would be an error at run time; one that is null is written as such."""
    defaults = load(role, "defaults/main.yml") or {}
    own = {name: option for name, option in options(role).items() if name.startswith(f"{role}_")}
    assert [name for name, option in own.items() if not option.get("required") and name not in defaults] == []


@pytest.mark.parametrize("role", NAMES)
def test_variables_carry_the_name_of_their_role(role: str) -> None:
    names = load(role, "defaults/main.yml") or {}
    assert [name for name in names if not name.lstrip("_").startswith(f"{role}_")] == []
