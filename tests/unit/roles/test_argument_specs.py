# SPDX-License-Identifier: GPL-3.0-or-later
"""Every role documents what it takes: no tool of Ansible's compares meta/argument_specs.yml with defaults/main.yml."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

ROLES = Path(__file__).resolve().parents[3] / "roles"
NAMES = sorted(path.name for path in ROLES.iterdir() if path.is_dir())
# Other roles depend on it: it declares what they share, and does nothing.
SETTINGS = "settings"


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
    files = ["README.md", "meta/argument_specs.yml", "meta/main.yml"]
    files += ["tasks/main.yml"] if role != SETTINGS else []
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
    prefixes = (*(f"{name}_" for name in NAMES), "voicefleet_") if role == SETTINGS else (f"{role}_",)
    assert [name for name in names if not name.lstrip("_").startswith(prefixes)] == []


def test_every_setting_has_its_default_in_its_spec() -> None:
    """A host's settings are completed from the spec where no role of the play brings the defaults."""
    defaults = load(SETTINGS, "defaults/main.yml")
    assert {name: option.get("default") for name, option in options(SETTINGS).items()} == defaults


MIRROR = re.compile(r"\{\{\s*(\w+)\s*(\|\s*default\(.*\)\s*)?\}\}")


@pytest.mark.parametrize("role", NAMES)
def test_no_default_repeats_another_roles_variable(role: str) -> None:
    """A variable that several roles read is a setting: it has one default and one spec."""
    others = {name for other in NAMES if other != role for name in options(other)}
    defaults = load(role, "defaults/main.yml") or {}
    found = {name: match[1] for name, value in defaults.items() if (match := MIRROR.fullmatch(str(value).strip()))}
    assert {name: other for name, other in found.items() if other in others} == {}


@pytest.mark.parametrize(
    "path", sorted(ROLES.parent.glob("roles/*/*/*.*")) + sorted(ROLES.parent.glob("playbooks/**/*.yml")), ids=str
)
def test_no_line_gives_a_setting_a_second_default(path: Path) -> None:
    names = "|".join(options(SETTINGS))
    assert re.findall(rf"\b(?:{names})\s*\|\s*(?:default|d)\(", path.read_text(encoding="utf-8")) == []
