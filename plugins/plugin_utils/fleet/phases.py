# SPDX-License-Identifier: GPL-3.0-or-later
"""The phases of a deploy, and which of them the tags of a run choose.

Tags choose where a deploy ends, not where it begins: each phase needs those before it. The last two phases run only
together with all others, because a release must not serve without its proof.
"""

from __future__ import annotations

from collections.abc import Iterable

PHASES = ("preflight", "artifacts", "python_env", "spacy_models", "kokoro", "serve", "releases")
LAST = ("serve", "releases")
# Not a phase: it runs or not, independently of the phases.
PROXY = "proxy"


class PhaseError(Exception):
    """Tags that make no valid deploy."""


def chosen(run: Iterable[str], skip: Iterable[str], own: Iterable[str]) -> list[str]:
    """The phases that ``--tags`` and ``--skip-tags`` choose. ``own`` are the tags of the calling task.

    Tags that another playbook gave to the whole import mean all phases.
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
        raise PhaseError(f"the tags leave out {', '.join(left_out)}, but a later phase needs them")
    return [phase for phase in PHASES if phase in found]


def _of_tags(asked: set[str]) -> set[str]:
    unknown = sorted(asked - {*PHASES, PROXY})
    if unknown:
        raise PhaseError(f"there is no phase {', '.join(unknown)}. The tags are {', '.join(PHASES)} and {PROXY}")
    last = sorted(asked & set(LAST))
    if last:
        raise PhaseError(f"--tags cannot choose {', '.join(last)}: to serve a release, run the playbook without tags")
    return asked - {PROXY} | {"preflight"}
