# SPDX-License-Identifier: GPL-3.0-or-later
"""Every role documents what it takes: no tool of Ansible's compares meta/argument_specs.yml with defaults/main.yml."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest
import yaml
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible_collections.voicefleet.kokoro.plugins.module_utils.host import arguments
from ansible_collections.voicefleet.kokoro.plugins.module_utils.release.plan import Plan
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.action import variables
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.fleet import values

ROLES = Path(__file__).resolve().parents[3] / "roles"
NAMES = sorted(path.name for path in ROLES.iterdir() if path.is_dir())
# Other roles depend on it: it declares what they share, and checks all variables.
SETTINGS = "settings"
# Everything that reads variables.
FILES = [
    *sorted(path for path in ROLES.glob("*/*/*") if path.suffix in (".yml", ".j2")),
    *sorted((ROLES.parent / "playbooks").glob("*.yml")),
    *sorted((ROLES.parent / "playbooks").glob("tasks/*.yml")),
]


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
    """A missing default would be an error at run time. A default of null is written as null."""
    defaults = load(role, "defaults/main.yml") or {}
    own = {name: option for name, option in options(role).items() if name.startswith(f"{role}_")}
    assert [name for name, option in own.items() if not option.get("required") and name not in defaults] == []


@pytest.mark.parametrize("role", NAMES)
def test_variables_carry_the_name_of_their_role(role: str) -> None:
    names = load(role, "defaults/main.yml") or {}
    prefixes = (*(f"{name}_" for name in NAMES), "voicefleet_") if role == SETTINGS else (f"{role}_",)
    assert [name for name in names if not name.lstrip("_").startswith(prefixes)] == []


def test_every_setting_has_its_default_in_its_spec() -> None:
    """A computed number is the exception, because the documentation's format takes no expression."""
    defaults = load(SETTINGS, "defaults/main.yml")
    declared = options(SETTINGS)
    assert set(declared) == set(defaults)
    without = [name for name, option in declared.items() if "default" not in option]
    assert [name for name in without if declared[name]["type"] != "int" or "{{" not in str(defaults[name])] == []


MIRROR = re.compile(r"\{\{\s*(\w+)\s*(\|\s*default\(.*\)\s*)?\}\}")


@pytest.mark.parametrize("role", NAMES)
def test_no_default_repeats_another_roles_variable(role: str) -> None:
    """A variable that several roles read is a setting: it has one default and one spec."""
    others = {name for other in NAMES if other != role for name in options(other)}
    defaults = load(role, "defaults/main.yml") or {}
    found = {name: match[1] for name, value in defaults.items() if (match := MIRROR.fullmatch(str(value).strip()))}
    assert {name: other for name, other in found.items() if other in others} == {}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROLES.parent)))
def test_no_line_gives_a_setting_a_second_default(path: Path) -> None:
    names = "|".join(options(SETTINGS))
    assert re.findall(rf"\b(?:{names})\s*\|\s*(?:default|d)\(", path.read_text(encoding="utf-8")) == []


def test_only_one_line_gives_a_variable_of_the_playbooks_its_default() -> None:
    found = Counter(
        name for path in FILES for name in re.findall(r"\b(voicefleet_\w+)\s*\|\s*(?:default|d)\(", path.read_text())
    )
    assert found["voicefleet_canary"] == 1
    assert [name for name, number in found.items() if number > 1] == []


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROLES.parent)))
def test_where_a_role_is_not_loaded_its_variables_have_the_same_defaults(path: Path) -> None:
    defaults = {name: value for role in NAMES for name, value in (load(role, "defaults/main.yml") or {}).items()}
    used = re.findall(r"\b(\w+)\s*\|\s*(?:default|d)\('([^']*)'\)", path.read_text(encoding="utf-8"))
    assert [(name, value) for name, value in used if defaults.get(name, value) != value] == []


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROLES.parent)))
def test_every_key_of_the_plan_is_there(path: Path) -> None:
    """No line gives a key of the plan a default, and none names a key that the plan lacks."""
    text = path.read_text(encoding="utf-8")
    assert re.findall(r"voicefleet_plan(?:\.\w+)+\s*\|\s*(?:default|d)\(", text) == []
    named = re.findall(r"\bvoicefleet_plan((?:\.\w+)+)", text)
    assert [name for name in named if not _has(Plan, name.split(".")[1:])] == []


def _has(kind: Any, names: list[str]) -> bool:
    """Whether a dataclass has a field at this path. Plain dictionaries and lists are not examined."""
    if not names or not is_dataclass(kind):
        return True
    types = get_type_hints(kind)
    inner = [each for each in get_args(types.get(names[0])) if is_dataclass(each)]
    return names[0] in types and _has(inner[0] if inner else types[names[0]], names[1:])


# --- the playbooks skip Ansible's validation of the roles' arguments --------------------------------------------------

KNOWN = variables.known_variables(lambda path: yaml.safe_load(Path(path).read_text(encoding="utf-8")))
CHECKED = {name: option for role in KNOWN.values() for name, option in role.items() if option}
BAD = (["x"], {"x": 1}, "a value that is no choice", "1.5", 2.5, [["x"]], [{"x": 1}], {"x": {"y": 1}})


@pytest.mark.parametrize("role", NAMES)
def test_the_check_of_the_variables_knows_each_option_as_its_role_does(role: str) -> None:
    about = ("type", "elements", "choices", "options", "required")
    for entry_point in load(role, "meta/argument_specs.yml")["argument_specs"].values():
        for name, option in (entry_point.get("options") or {}).items():
            assert {key: CHECKED[name].get(key) for key in about} == {key: option.get(key) for key in about}, name


def refused(name: str, option: Mapping[str, Any], value: Any) -> bool:
    """Whether Ansible's validation of a role's arguments refuses a value."""
    try:
        return bool(ArgumentSpecValidator({name: dict(option)}).validate({name: value}).error_messages)
    except TypeError:  # it expects a dictionary
        return True


@pytest.mark.parametrize("role", NAMES)
def test_the_check_of_the_variables_refuses_what_the_specs_refuse(role: str) -> None:
    passed = [
        (name, bad)
        for name, option in options(role).items()
        for bad in [*BAD, *([{key: bad} for key in option["options"] for bad in BAD] if "options" in option else [])]
        for value in [bad, *([[bad]] if option.get("type") == "list" else [])]
        if refused(name, option, value) and not values.problems({name: value}, CHECKED)
    ]
    assert passed == []


def test_the_transports_of_the_role_are_those_of_its_modules() -> None:
    option = options("artifacts")["artifacts_transport"]
    assert option["choices"] == list(arguments.TRANSPORTS)
    assert option["default"] == arguments.TRANSPORTS[0]
