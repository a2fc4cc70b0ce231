# SPDX-License-Identifier: GPL-3.0-or-later
"""Find misspelt variables. Ansible ignores an unknown variable without a message, and the default stays in force."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

# The variables of the playbooks themselves, and the facts that pass from one role to the next.
PLAYBOOKS = frozenset(
    f"voicefleet_{name}"
    for name in (
        "hosts", "canary", "serial", "max_fail_percentage",
        "service", "plan", "synthesis", "rollout", "outcome", "to_count", "verified", "container", "unchanged", "node",
    )
)  # fmt: skip
ROLES = Path(__file__).resolve().parents[3] / "roles"


def known_variables(load: Callable[[str], Any], roles: Path = ROLES) -> dict[str, dict[str, Any]]:
    """The options in each role's argument specs, by role and name. Those of the playbooks are under ``voicefleet``.

    ``load`` reads a YAML file by its path.
    """
    known: dict[str, dict[str, Any]] = {"voicefleet": dict.fromkeys(PLAYBOOKS)}
    for path in sorted(roles.glob("*/meta/argument_specs.yml")):
        specs = load(str(path)).get("argument_specs", {})
        known[path.parts[-3]] = {name: row for spec in specs.values() for name, row in spec.get("options", {}).items()}
    return known


def misspelt(names: Iterable[str], known: Mapping[str, Iterable[str]]) -> list[str]:
    """A sentence for each variable whose name is nearly that of a role's variable.

    Other names do not count: another product may have variables that begin with ``artifacts_``.
    """
    every = {name for variables in known.values() for name in variables}
    sentences = []
    for name in sorted(set(names) - every):
        if any(name.startswith(f"{role}_") for role in known):
            near = difflib.get_close_matches(name, every, n=1, cutoff=0.85)
            if near:
                sentences.append(f"variable {name} does not exist; did you mean {near[0]}?")
    return sentences
