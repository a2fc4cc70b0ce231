# SPDX-License-Identifier: GPL-3.0-or-later
"""Spoil real speech, and make sounds that resemble speech without a voice. Samples at 24 kHz, -1..1."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy
import soundfile
from sounds import RATE, run

# Effects of sox. `slow` and `fast` keep the pitch, the two `tape` ones do not.
EFFECTS = {
    "reversed": "reverse",
    "slow": "tempo -s 0.75",
    "fast": "tempo -s 1.3",
    "slow-tape": "speed 0.75",
    "fast-tape": "speed 1.3",
    "narrow": "rate 8000 rate 24000",
}


def effect(samples: Any, name: str) -> Any:
    """Apply one of EFFECTS."""
    with tempfile.TemporaryDirectory() as folder:
        before, after = Path(folder, "before.wav"), Path(folder, "after.wav")
        soundfile.write(before, samples, RATE, subtype="PCM_16")
        run("sox", "-D", "-R", before, "-r", str(RATE), "-b", "16", after, *EFFECTS[name].split(), "rate", str(RATE))
        return soundfile.read(after)[0]


def last_bit(samples: Any, seed: int = 1) -> Any:
    """Return the 16-bit samples with a random last bit."""
    noise = numpy.random.default_rng(seed).integers(0, 2, len(samples))
    return ((samples * 32768).astype("int16") & ~1 | noise.astype("int16")) / 32768


def in_noise(samples: Any, below: float, seed: int = 1) -> Any:
    """Add white noise that is so many dB below the samples."""
    noise = numpy.random.default_rng(seed).normal(0, 1, len(samples))
    return 0.7 * (samples + noise * samples.std() / 10 ** (below / 20))


def half_cut(samples: Any, start: float, end: float) -> Any:
    """Cut the second half of a word out; its place is given in seconds."""
    return numpy.concatenate([samples[: int((start + end) / 2 * RATE)], samples[int(end * RATE) :]])


def _syllables(chance: Any, seconds: float) -> list[tuple[int, int]]:
    """Return where syllables start and how long they are, in samples."""
    found, at = [], 0.1
    while at < seconds - 0.4:
        long = chance.uniform(0.12, 0.24)
        found.append((int(at * RATE), int(long * RATE)))
        at += long + chance.uniform(0.0, 0.09)
    return found


def _resonate(source: Any, tracks: list[tuple[Any, float]]) -> Any:
    """Filter a source by formants one after the other. Each has a frequency (Hz) per sample, and a bandwidth."""
    out = source
    for hertz, width in tracks:
        radius = numpy.exp(-numpy.pi * width / RATE)
        turn = 2 * radius * numpy.cos(2 * numpy.pi * hertz / RATE)
        filtered, one, two = numpy.zeros(len(out)), 0.0, 0.0
        for i in range(len(out)):
            filtered[i] = out[i] + turn[i] * one - radius * radius * two
            one, two = filtered[i], one
        out = filtered
    return out


def babble(seed: int, glide: bool, hiss: bool, seconds: float = 3.0) -> Any:
    """Return syllables of a pulse train through three formants: random vowels in no language.

    With `glide`, formants move from one vowel to the next. With `hiss`, every third syllable begins with a hiss.
    """
    chance = numpy.random.default_rng(seed)
    out = numpy.zeros(int(seconds * RATE))
    base = chance.uniform(90, 220)
    places = [(chance.uniform(300, 800), chance.uniform(900, 2300), chance.uniform(2400, 3200)) for _place in range(99)]
    for number, (at, count) in enumerate(_syllables(chance, seconds)):
        pitch = base * chance.uniform(0.85, 1.15) * numpy.linspace(1, 0.85, count)
        pulses = numpy.diff(numpy.floor(numpy.cumsum(pitch) / RATE), prepend=0.0)
        ends = zip(places[number], places[number + glide], strict=True)
        tracks = [(numpy.linspace(a, b, count), w) for (a, b), w in zip(ends, (80, 110, 160), strict=True)]
        sound = _resonate(pulses, tracks)
        sound *= numpy.sin(numpy.pi * numpy.arange(count) / count) / numpy.abs(sound).max()
        if hiss and number % 3 == 0:
            long = min(count // 2, int(0.07 * RATE))
            burst = numpy.diff(chance.normal(0, 0.15, long + 1))
            sound[:long] = burst * numpy.sin(numpy.pi * numpy.arange(long) / long)
        out[at : at + count] += sound
    return 0.5 * out / numpy.abs(out).max()


def sines(seed: int, partials: int, seconds: float = 3.0) -> Any:
    """Return sines that swell like syllables, `partials` at once; each syllable has its own pitch, which falls."""
    chance = numpy.random.default_rng(seed)
    out = numpy.zeros(int(seconds * RATE))
    for at, count in _syllables(chance, seconds):
        pitch = chance.uniform(110, 260) * numpy.linspace(1.05, 0.9, count)
        turn = 2 * numpy.pi * numpy.cumsum(pitch) / RATE
        sound = sum(chance.uniform(0.3, 1.0) * numpy.sin(k * turn) for k in range(1, partials + 1))
        out[at : at + count] += sound * numpy.sin(numpy.pi * numpy.arange(count) / count)
    return 0.5 * out / numpy.abs(out).max()
