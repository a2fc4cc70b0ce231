# SPDX-License-Identifier: GPL-3.0-or-later
"""Misspelt variables are found; foreign ones are left alone."""

from __future__ import annotations

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
