# SPDX-License-Identifier: GPL-3.0-or-later
"""Find misspelt variables: Ansible itself takes an unknown one without a word, and the default holds."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

# What the playbooks take beside the roles' variables, and the facts that go from one role to the next.
PLAYBOOKS = frozenset(
    f"voicefleet_{name}"
    for name in (
        "hosts", "become", "canary", "serial", "max_fail_percentage",
        "service", "plan", "synthesis", "rollout", "outcome", "to_count",
    )
)  # fmt: skip
ROLES = Path(__file__).resolve().parents[3] / "roles"


def known_variables(load: Callable[[str], Any], roles: Path = ROLES) -> dict[str, set[str]]:
    """The variables that each role's argument specs name, and those of the playbooks under ``voicefleet``.

    ``load`` reads a YAML file by its path.
    """
    known: dict[str, set[str]] = {"voicefleet": set(PLAYBOOKS)}
    for path in sorted(roles.glob("*/meta/argument_specs.yml")):
        specs = load(str(path)).get("argument_specs", {})
        known[path.parts[-3]] = {str(name) for spec in specs.values() for name in spec.get("options", {})}
    return known


def misspelt(names: Iterable[str], known: dict[str, set[str]]) -> list[str]:
    """A sentence for each variable that looks like one of a role's and is none.

    Only a near miss counts: another product may well have variables that begin with ``artifacts_``.
    """
    every = {name for variables in known.values() for name in variables}
    sentences = []
    for name in sorted(set(names) - every):
        if any(name.startswith(f"{role}_") for role in known):
            near = difflib.get_close_matches(name, every, n=1, cutoff=0.85)
            if near:
                sentences.append(f"variable {name} does not exist; did you mean {near[0]}?")
    return sentences
