# SPDX-License-Identifier: GPL-3.0-or-later
"""Lines for a terminal about one host or a thousand: few, and each is said once for all its hosts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

# A table has at most this many rows. With more hosts, it lists only those to look at.
MOST_ROWS = 20
# At most this many notes below a table, each once with all its hosts.
MOST_NOTES = 12
# A sentence names at most this many hosts.
MOST_NAMES = 12


def names(hosts: Sequence[str]) -> str:
    """Hosts for a sentence: of many hosts, only the first and the number of the others."""
    if len(hosts) <= MOST_NAMES:
        return ", ".join(hosts)
    return f"{', '.join(hosts[:MOST_NAMES])} and {len(hosts) - MOST_NAMES:,} more"


def together(said: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    """The hosts of each sentence, from pairs of host and sentence, in the order of the first ones."""
    found: dict[str, list[str]] = {}
    for host, sentence in said:
        found.setdefault(sentence, []).append(host)
    return found


def notes(said: Iterable[tuple[str, str]], where: str) -> list[str]:
    """A line for each sentence with its hosts. Of too many, the last line says `where` the others are."""
    found = together(said)
    lines = [f"{names(hosts)}: {sentence}" for sentence, hosts in list(found.items())[:MOST_NOTES]]
    left = len(found) - MOST_NOTES
    return [*lines, f"{left:,} more notes are {where}."] if left > 0 else lines
