# SPDX-License-Identifier: GPL-3.0-or-later
"""Sounds made for the tests: speech-like and not, as 16-bit samples, and as WAV bytes."""

from __future__ import annotations

import lzma
import math
import random
import struct
from array import array
from operator import sub
from pathlib import Path

RATE = 24000
FIXTURES = Path(__file__).parent / "fixtures"


def pcm(values: list[float]) -> array[int]:
    """Values of -1..1 as 16-bit samples. Values outside are clipped."""
    return array("h", [max(-32768, min(32767, round(value * 32767))) for value in values])


def wav(samples: array[int], rate: int = RATE, channels: int = 1, data_size: int | None = None) -> bytes:
    """A WAV file. `data_size` is the size in its header, if that must be wrong."""
    data = samples.tobytes()
    size = len(data) if data_size is None else data_size
    head = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, channels, rate, rate * 2 * channels, 2 * channels, 16)
    riff = min(0xFFFFFFFF, 28 + 8 + size)
    return struct.pack("<4sI4s", b"RIFF", riff, b"WAVE") + head + struct.pack("<4sI", b"data", size) + data


def fixture_wav(name: str) -> bytes:
    """One of the compressed WAV files beside this module."""
    return lzma.decompress((FIXTURES / f"{name}.wav.xz").read_bytes())


def silence(seconds: float) -> list[float]:
    return [0.0] * int(seconds * RATE)


def white(seconds: float, seed: int = 1, level: float = 0.1) -> list[float]:
    source = random.Random(seed)
    return [source.gauss(0, level) for _index in range(int(seconds * RATE))]


def pink(seconds: float, seed: int = 1) -> list[float]:
    """White noise through Paul Kellet's economy filter: -3 dB per octave."""
    a = b = c = 0.0
    out = []
    for w in white(seconds, seed, 0.05):
        a = 0.99765 * a + w * 0.0990460
        b = 0.96300 * b + w * 0.2965164
        c = 0.57000 * c + w * 1.0526913
        out.append(0.4 * (a + b + c + w * 0.1848))
    return out


def sine(seconds: float, hertz: float, level: float = 0.5) -> list[float]:
    return [level * math.sin(2 * math.pi * hertz * i / RATE) for i in range(int(seconds * RATE))]


def mix(*parts: list[float]) -> list[float]:
    return [sum(part[i] for part in parts) for i in range(min(map(len, parts)))]


def speech_like(seconds: float = 2.6, seed: int = 1) -> list[float]:
    """Babble with breath in it, which measures like speech."""
    sound = babble(seconds, seed)
    breath = white(len(sound) / RATE + 0.01, seed, 0.05)
    return list(map(lambda value, now, then: value + (now - then) * abs(value), sound, breath[1:], breath))


def babble(seconds: float = 2.6, seed: int = 1) -> list[float]:
    """Syllables as a vocal tract makes them: a pulse train whose pitch moves, filtered by two formants that change with
    each syllable. Every third syllable begins with a hiss. There are pauses between syllables, and silence at both
    ends.
    """
    source = random.Random(seed)
    out = silence(0.1)
    previous = [0.0] * 4
    phase = 0.0
    while len(out) < (seconds - 0.35) * RATE:
        formants = [(source.uniform(300, 800), 0.985), (source.uniform(900, 2300), 0.975)]
        length, pitch = source.uniform(0.12, 0.22), source.uniform(95, 150)
        if source.random() < 0.33:
            hiss = white(0.06, source.randrange(1000), 0.02)
            out += map(sub, hiss, [0.0, *hiss])
        count = int(length * RATE)
        for i in range(count):
            phase += pitch * (1 - 0.2 * i / count) / RATE
            value = 1.0 if phase >= 1 else 0.0
            phase %= 1.0
            for k, (hertz, radius) in enumerate(formants):
                one, two = previous[2 * k], previous[2 * k + 1]
                value = value + 2 * radius * math.cos(2 * math.pi * hertz / RATE) * one - radius * radius * two
                previous[2 * k], previous[2 * k + 1] = value, one
            out.append(value * math.sin(math.pi * i / count) ** 1.5)
        out += silence(source.uniform(0.0, 0.09))
    out += silence(0.25)
    top = max(map(abs, out))
    return [0.6 * value / top for value in out]
