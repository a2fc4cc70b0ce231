# SPDX-License-Identifier: GPL-3.0-or-later
"""A role reads only variables that are declared. Ansible finds a misspelt one only when the task runs."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.voicefleet.kokoro.plugins.module_utils.proof import recogniser
from ansible_collections.voicefleet.kokoro.plugins.module_utils.proof.terms import LEVELS
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.action.variables import PLAYBOOKS
from jinja2 import Environment, nodes

ROLES = Path(__file__).resolve().parents[3] / "roles"
NAMES = sorted(path.name for path in ROLES.iterdir() if path.is_dir())
OURS = tuple(f"{prefix}{name}_" for name in (*NAMES, "voicefleet") for prefix in ("", "__"))
# These keys hold an expression without braces.
EXPRESSIONS = frozenset({"when", "until", "that", "changed_when", "failed_when", "var"})
# These keys declare a variable for the tasks that follow.
NAMED = frozenset({"register", "loop_var", "index_var"})
DECLARING = frozenset({"vars", "ansible.builtin.set_fact"})


def load(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8")) if path.exists() else {}


def expressions(value: Any, bare: bool = False) -> Iterator[str]:
    """Every text of a YAML document as a Jinja template."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from expressions(inner, key in EXPRESSIONS)
    elif isinstance(value, list):
        for inner in value:
            yield from expressions(inner, bare)
    elif isinstance(value, str):
        yield f"{{{{ {value} }}}}" if bare and "{{" not in value else value


def declared(value: Any) -> Iterator[str]:
    """The variables that the tasks of a YAML document set."""
    if isinstance(value, list):
        for inner in value:
            yield from declared(inner)
    elif isinstance(value, dict):
        for key, inner in value.items():
            if key in NAMED:
                yield inner
            elif key in DECLARING:
                yield from inner
            yield from declared(inner)


def read(template: str) -> set[str]:
    """The collection's variables that a Jinja template reads and does not set."""
    found = list(Environment().parse(template).find_all(nodes.Name))
    own = {name.name for name in found if name.ctx == "store"}
    return {name.name for name in found if name.name.startswith(OURS)} - own


def from_playbooks() -> set[str]:
    """What the playbooks set for the roles that they run."""
    # Not those of the copy that bin/collection makes.
    paths = [path for folder in (".", "tasks") for path in (ROLES.parent / "playbooks" / folder).glob("*.yml")]
    return {name for path in paths for name in declared(load(path))}


def known(role: str) -> set[str]:
    """The variables that a role documents, and those that its files set."""
    specs = load(ROLES / role / "meta/argument_specs.yml")["argument_specs"].values()
    found = {name for spec in specs for name in spec.get("options") or {}}
    found |= {name for folder in ("defaults", "vars") for name in load(ROLES / role / folder / "main.yml") or {}}
    return found | {name for path in (ROLES / role).glob("*/*.yml") for name in declared(load(path))}


def templates(role: str) -> Iterator[tuple[str, str]]:
    """Each text of a role that Ansible may treat as a template, with its file."""
    for path in sorted((ROLES / role).glob("*/*")):
        place = f"{path.parent.name}/{path.name}"
        if path.suffix == ".j2":
            yield place, path.read_text(encoding="utf-8")
        elif path.suffix == ".yml":
            yield from ((place, text) for text in expressions(load(path)))


@pytest.mark.parametrize("role", NAMES)
def test_a_role_reads_only_declared_variables(role: str) -> None:
    names = known(role) | known("settings") | PLAYBOOKS | from_playbooks()
    assert [(place, found) for place, text in templates(role) if (found := read(text) - names)] == []


def test_plan_proof_and_verified_digest_are_no_facts_that_a_cache_keeps() -> None:
    """A fact cache would keep a fact for a later run, which would then prove against the plan of this one."""
    set_by: dict[str, set[str]] = {}
    for path in ROLES.glob("*/tasks/*.yml"):
        for task in load(path) or []:
            facts = task.get("ansible.builtin.set_fact", {})
            assert "cacheable" not in facts
            for name in [*facts, *([task["register"]] if "register" in task else [])]:
                set_by.setdefault(name, set()).add(path.parts[-3])
    assert set_by["voicefleet_synthesis"] == {"synthesis", "xinference"}
    assert set_by["voicefleet_plan"] == {"preflight", "releases"}
    assert set_by["voicefleet_verified"] == {"artifact_store"}
    assert set_by["voicefleet_unchanged"] == {"preflight", "xinference"}
    for path in ROLES.parent.glob("plugins/*/*.py"):
        text = path.read_text(encoding="utf-8")
        assert re.search(r"ansible_facts.{0,9}voicefleet_(plan|synthesis|unchanged|verified)", text) is None, path.name


def test_a_deploy_tries_whether_words_are_heard_but_does_not_require_it() -> None:
    """A recogniser may know a language badly, or not at all."""
    defaults = load(ROLES / "synthesis" / "defaults" / "main.yml")
    assert defaults["synthesis_try_level"] == recogniser.LEVEL
    assert LEVELS.index(defaults["synthesis_required_level"]) < LEVELS.index(recogniser.LEVEL)
