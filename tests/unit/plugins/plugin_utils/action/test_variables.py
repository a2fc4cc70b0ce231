# SPDX-License-Identifier: GPL-3.0-or-later
"""Misspelt variables are found; foreign ones are left alone."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import yaml
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.action import variables


def load(path: str) -> object:
    with open(path, encoding="utf-8") as handle:
        return yaml.safe_load(handle)


KNOWN = variables.known_variables(load)


def test_a_variable_that_a_role_sets_is_known() -> None:
    """Ansible shows an action the variables of roles, too."""
    files = [*variables.ROLES.glob("*/vars/main.yml"), *variables.ROLES.glob("*/defaults/main.yml")]
    names = {name for path in files for name in load(str(path)) or {}}  # type: ignore[attr-defined]
    assert "voicefleet_service" in names
    assert variables.misspelt(names, KNOWN) == []


def made(part: object) -> Iterator[str]:
    """The names of the facts and results that tasks make."""
    for each in part if isinstance(part, list) else [part]:
        if isinstance(each, dict):
            yield from each.get("ansible.builtin.set_fact", {})
            yield from [each["register"]] if isinstance(each.get("register"), str) else []
            for inner in each.values():
                yield from made(inner) if isinstance(inner, list) else []


def test_a_fact_that_a_task_makes_is_known() -> None:
    """A later role sees the facts of the former ones: a balancer can run on a node, for example."""
    playbooks = variables.ROLES.parent / "playbooks"
    files = [*variables.ROLES.glob("*/tasks/*.yml"), *playbooks.glob("*.yml"), *playbooks.glob("tasks/*.yml")]
    names = {name for path in files for name in made(load(str(path)))}
    assert {"voicefleet_node", "preflight_result"} <= names
    assert variables.misspelt(names, KNOWN) == []


def test_the_collection_knows_its_own_variables() -> None:
    assert {"preflight", "kokoro", "artifact_store"} <= KNOWN.keys()
    assert "kokoro_voices" in KNOWN["settings"]
    assert variables.misspelt({name for names in KNOWN.values() for name in names}, KNOWN) == []


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("kokoro_voice", "kokoro_voices"),
        ("voicefleet_cannary", "voicefleet_canary"),
        ("voicefleet_max_fail_percent", "voicefleet_max_fail_percentage"),
        ("kokoro_langauges", "kokoro_languages"),
        ("preflight_accept_unpublishd", "preflight_accept_unpublished"),
    ],
)
def test_a_near_miss_is_reported(name: str, meant: str) -> None:
    sentence = f"variable {name} does not exist; did you mean {meant}?"
    assert variables.misspelt([name, "kokoro_voices"], KNOWN) == [sentence]


@pytest.mark.parametrize("name", ["artifacts_bucket", "kokoro_owner", "my_kokoro_voice", "ansible_host", "proxyy"])
def test_foreign_variables_are_left_alone(name: str) -> None:
    assert variables.misspelt([name], KNOWN) == []
