# SPDX-License-Identifier: GPL-3.0-or-later
"""The phases of a deploy, and how far the tags of a run let it go.

Tags choose how far a deploy goes, not where it begins: each phase needs those before it. The last two phases run only
as a whole with all others, because a release must not serve without its proof.
"""

from __future__ import annotations

from collections.abc import Iterable

PHASES = ("preflight", "artifacts", "python_env", "spacy_models", "kokoro", "serve", "releases")
LAST = ("serve", "releases")
# Stands beside the phases: it may run or not, whatever the others do.
PROXY = "proxy"


class PhaseError(Exception):
    """Tags that no deploy can be made of."""


def chosen(run: Iterable[str], skip: Iterable[str], own: Iterable[str]) -> list[str]:
    """The phases that ``--tags`` and ``--skip-tags`` leave. ``own`` are the tags of the task that asks.

    Of those, the ones that another playbook gave to the whole import mean all phases.
    """
    asked = set(run) or {"all"}
    given = set(own) - {"always", *PHASES, PROXY}
    found = set(PHASES) if "all" in asked or asked & given else _of_tags(asked)
    found -= set(skip)
    if "preflight" not in found:
        raise PhaseError("every deploy needs the phase preflight: do not skip it")
    before = PHASES[: max(PHASES.index(phase) for phase in found)]
    left_out = [phase for phase in before if phase not in found]
    if left_out:
        raise PhaseError(f"the tags leave out {', '.join(left_out)}, which a later phase needs")
    return [phase for phase in PHASES if phase in found]


def _of_tags(asked: set[str]) -> set[str]:
    unknown = sorted(asked - {*PHASES, PROXY})
    if unknown:
        raise PhaseError(f"there is no phase {', '.join(unknown)}. The tags are {', '.join(PHASES)} and {PROXY}")
    last = sorted(asked & set(LAST))
    if last:
        raise PhaseError(f"{', '.join(last)} can't be chosen with --tags: to serve a release, run the playbook without")
    return asked - {PROXY} | {"preflight"}
