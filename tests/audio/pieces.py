# SPDX-License-Identifier: GPL-3.0-or-later
"""The large part of the labelled set: pieces in nine languages, each with what the level acoustic must say.

espeak-ng speaks, and `tricks.py` spoils speech or makes sounds without a voice. Kokoro's clips are pieces too, where
`speak_real.py` has left them in the cache.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import soundfile
import tricks
from sounds import speak

TEXTS = json.loads(Path(__file__).with_name("texts.json").read_text(encoding="utf-8"))
# espeak-ng's voices for Kokoro's languages. It reads no kanji, so Japanese has texts of its own.
VOICES = {
    "a": "en-us", "b": "en-gb", "e": "es", "f": "fr-fr", "h": "hi", "i": "it", "j": "ja", "p": "pt-br", "z": "cmn",
}  # fmt: skip
KANA = ("あさの でんしゃは はちじに えきに つきます。", "いもうとは みどりの りんごを みっつ かいました。")
# Speakers of espeak-ng, with words a minute and pitch.
SPEAKERS = (("", 150, 50), ("+m3", 165, 40), ("+f2", 155, 55), ("+f4", 170, 45))
# What damages a file, by sox, and the finding that refuses it.
DAMAGE = {"clipped": "gain 14", "level": "gain -36", "dc_offset": "gain -6 dcshift 0.2"}
NOISE_DB = 10  # how far a noise lies below speech
SEEDS = 16
SHORT = "All is well on this host."
CACHE = Path(os.environ.get("VOICEFLEET_CACHE") or Path.home() / ".cache/voicefleet")


@dataclass(frozen=True)
class Piece:
    """A sound and what it says. ``refusals`` are the findings of which one must refuse it; none: it is accepted."""

    name: str
    label: str
    text: str
    samples: Any
    refusals: tuple[str, ...] = ()


def spoken(folder: Path, speaker: tuple[str, int, int], text: str, effects: str = "") -> Any:
    """Let espeak-ng speak. A sound that it said before is read from the folder."""
    digest = hashlib.sha256(json.dumps([speaker, text, effects]).encode()).hexdigest()
    target = folder / f"{digest[:16]}.wav"
    if not target.exists():
        unfinished = target.with_name(f"unfinished-{os.getpid()}.wav")
        speak(text, *speaker, unfinished, effects.split())
        unfinished.rename(target)
    return soundfile.read(target)[0]


def texts(letter: str) -> tuple[str, ...]:
    return KANA if letter == "j" else tuple(TEXTS["a" if letter == "b" else letter]["plain"][:2])


def of_languages(folder: Path) -> Iterator[Piece]:
    """Speech in nine languages; the same with 8 kHz under a header of 24 kHz; and damaged."""
    for letter, language in VOICES.items():
        for variant, speed, pitch in SPEAKERS:
            name, speaker = language + variant, (language + variant, speed, pitch)
            for number, text in enumerate(texts(letter)):
                yield Piece(f"{name}-{number}", "speech", text, spoken(folder, speaker, text))
            narrow = spoken(folder, speaker, text, tricks.EFFECTS["narrow"])
            yield Piece(f"{name}-narrow", "narrow", text, narrow, ("narrow", "breath"))
        for damage, effects in DAMAGE.items():
            damaged = spoken(folder, (language, 150, 50), text, effects)
            yield Piece(f"{language}-{damage}", "damaged", text, damaged, (damage,))
        plain = spoken(folder, (language, 150, 50), text)
        yield Piece(f"{language}-noisy", "damaged", text, tricks.in_noise(plain, NOISE_DB), ("noisy",))


def without_a_voice() -> Iterator[Piece]:
    for seed in range(1, SEEDS + 1):
        for hiss in (False, True):
            samples = tricks.babble(seed, glide=seed % 2 == 0, hiss=hiss, seconds=2.0)
            yield Piece(f"babble-{seed}-{hiss}", "babble", SHORT, samples, ("narrow", "breath", "reversed"))
        samples = tricks.sines(seed, 1 + seed % 6, seconds=2.0)
        yield Piece(f"sines-{seed}", "sines", SHORT, samples, ("narrow", "tone"))


def real() -> Iterator[Piece]:
    """Kokoro's clips, of converted weights: all voices and languages, some with dropout or other words."""
    for facts in sorted((CACHE / "real-speech").glob("*.json")):
        known = json.loads(facts.read_text(encoding="utf-8"))
        samples = soundfile.read(facts.with_suffix(".wav"))[0]
        yield Piece(facts.stem, "Kokoro", known["text"], samples)


def pieces() -> Iterator[Piece]:
    folder = CACHE / "labelled"
    folder.mkdir(parents=True, exist_ok=True)
    yield from of_languages(folder)
    yield from without_a_voice()
    yield from real()
