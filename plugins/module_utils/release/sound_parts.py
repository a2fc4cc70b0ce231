# SPDX-License-Identifier: GPL-3.0-or-later
"""Divide a long sound for Whisper, which hears half a minute at once. The repair ``whisper-soundfile`` adds this file.

Xinference lets transformers divide a long sound into pieces of 30 s that overlap by 10 s. transformers joins their
texts where most words agree. If the words agree better elsewhere, all text between is lost: of a Mandarin paragraph of
55 s, more than half was.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

LONGEST = 30  # seconds that Whisper hears at once
SHORTEST = 15  # seconds; in so much speech there is a pause between two words
LAST = 5  # seconds; of less, Whisper may invent words
FRAMES = 50  # in a second
PAUSE = 10  # frames


def parts(sound: Any, rate: int) -> Iterator[Any]:
    """Yield a sound in parts of 30 s at most, divided where it is quietest. ``sound`` is an array of numpy, mono."""
    begun, size = 0, rate // FRAMES
    while len(sound) - begun > LONGEST * rate:
        first, last = begun + SHORTEST * rate, min(begun + LONGEST * rate, len(sound) - LAST * rate)
        window = sound[first : first + (last - first) // size * size].astype("float64")
        power = (window**2).reshape(-1, size).sum(axis=1).cumsum()
        # The middle of the quietest pause. The later one of two is better: fewer parts take less time.
        pauses = power[PAUSE:] - power[:-PAUSE]
        at = len(pauses) - 1 - int(pauses[::-1].argmin())
        end = first + (at + 1 + PAUSE // 2) * size
        yield sound[begun:end]
        begun = end
    yield sound[begun:]
