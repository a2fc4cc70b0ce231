# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the bytes of a file come from: as published, converted from a copy in another format, or made up for tests.

``unpublished`` is what plans, releases, receipts and proofs hold: the paths of all files that are not the published
ones, each with its source. It is empty in production.
"""

from __future__ import annotations

from collections.abc import Mapping

# Best first.
PUBLISHED, CONVERTED, MADE_UP = SOURCES = ("published", "converted", "made-up")
# The voice rests on the files below this folder of the store.
_VOICE = "kokoro/"
_SAID = {
    PUBLISHED: "NOT ALL PUBLISHED: Kokoro's voice, but other files are not the published ones",
    CONVERTED: "CONVERTED: Kokoro's voice, from an 8-bit copy, not the published file",
    MADE_UP: "MADE-UP WEIGHTS: this audio is not Kokoro's voice",
}
# A sentence names this many files.
_NAMED = 3


def of(unpublished: Mapping[str, str]) -> str:
    """The source of a whole: the worst one of its files."""
    return max(unpublished.values(), key=SOURCES.index, default=PUBLISHED)


def of_voice(unpublished: Mapping[str, str]) -> str:
    """The source of the files that the voice rests on."""
    return of({path: source for path, source in unpublished.items() if path.startswith(_VOICE)})


def in_words(unpublished: Mapping[str, str]) -> str:
    """What a listener must know. Empty if every file is the published one."""
    if not unpublished:
        return ""
    return _SAID[of_voice(unpublished)]


def sentence(unpublished: Mapping[str, str]) -> str:
    """The same with the first files, as a sentence."""
    if not unpublished:
        return ""
    paths = sorted(unpublished)
    more = f" and {len(paths) - _NAMED} more" if len(paths) > _NAMED else ""
    return f"{in_words(unpublished)} ({', '.join(paths[:_NAMED])}{more})."
