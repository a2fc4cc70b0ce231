# SPDX-License-Identifier: GPL-3.0-or-later
"""The plays in the roles' READMEs are plays that Ansible accepts, with variables that exist."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.action import spec
from ansible_collections.voicefleet.kokoro.tests.command.runs import ansible_playbook

ROLES = Path(spec.__file__).resolve().parents[3] / "roles"
BLOCK = re.compile(r"^```yaml\n(.*?)^```", re.MULTILINE | re.DOTALL)
ON_THEIR_OWN = ("kokoro", "spacy_models", "synthesis")


def plays(role: str) -> list[Any]:
    """The playbooks in a README: lists of plays that have hosts."""
    loaded = [
        yaml.safe_load(block) for block in BLOCK.findall((ROLES / role / "README.md").read_text(encoding="utf-8"))
    ]
    return [each for each in loaded if isinstance(each, list) and "hosts" in each[0]]


@pytest.mark.parametrize("role", ON_THEIR_OWN)
def test_an_example_is_a_playbook(role: str, tmp_path: Path) -> None:
    example = plays(role)[-1]
    (tmp_path / "play.yml").write_text(yaml.safe_dump(example))
    done = ansible_playbook(tmp_path, "play.yml", "--syntax-check", "-i", "localhost,")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("role", ON_THEIR_OWN)
def test_an_example_sets_variables_that_exist(role: str) -> None:
    known: set[str] = set()
    for path in ROLES.glob("*/meta/argument_specs.yml"):
        for entry in yaml.safe_load(path.read_text(encoding="utf-8"))["argument_specs"].values():
            known |= set(entry.get("options") or {})
    example = plays(role)[-1]
    given = {name for play in example for task in play["tasks"] for name in task.get("vars", {})}
    assert given
    assert given - known == set()
