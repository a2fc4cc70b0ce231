# SPDX-License-Identifier: GPL-3.0-or-later
"""Make the sounds of labelled.tsv with espeak-ng and sox, and speak with espeak-ng: WAV, 24 kHz, mono."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

SENTENCE = "The quick brown fox jumps over the lazy dog."
LABELS = Path(__file__).with_name("labelled.tsv")
RATE = 24000  # Hz
_CHORDS = (("C4", "E4", "G4"), ("F4", "A4", "C5"), ("G4", "B4", "D5"), ("C4", "E4", "G4"))


@dataclass(frozen=True)
class Labelled:
    """One sound: how to make it, and its labels."""

    name: str
    acoustic: str  # "speech", or the name of the finding that must refuse it
    words: str  # yes, no, or - if it is not checked
    source: str
    text: str
    effects: str

    @property
    def british(self) -> bool:
        return self.source.startswith("en-gb")


def labelled() -> list[Labelled]:
    rows = []
    for line in LABELS.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            name, acoustic, words, source, text, effects = (*line.split("\t"), "")[:6]
            rows.append(Labelled(name, acoustic, words, source, SENTENCE if text == "=" else text, effects))
    return rows


def run(*command: str | Path) -> None:
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}: {done.stderr}"


def speak(text: str, voice: str, speed: int, pitch: int, target: Path, effects: Iterable[str] = ()) -> None:
    """Speak with espeak-ng, normalise to -3 dB, and apply sox effects."""
    with tempfile.TemporaryDirectory() as folder:
        spoken = Path(folder, "spoken.wav")
        run("espeak-ng", "-v", voice, "-s", str(speed), "-p", str(pitch), "-w", spoken, "--", text)
        # -D and -R: no dither, and the same result at each run.
        run("sox", "-D", "-R", spoken, "-r", str(RATE), "-b", "16", target, "norm", "-3", "rate", str(RATE), *effects)


def make(sound: Labelled, folder: Path) -> Path:
    """Make one sound of the set."""
    target = folder / f"{sound.name}.wav"
    if sound.text:
        voice, speed, pitch = sound.source.split()
        speak(sound.text, voice, int(speed), int(pitch), target, sound.effects.split())
    elif sound.source == "chords":
        parts = []
        for number, notes in enumerate(_CHORDS):
            parts.append(folder / f"{sound.name}-{number}.wav")
            voices = [word for note in notes for word in ("pluck", note)]
            run(
                "sox",
                "-R",
                "-n",
                "-r",
                str(RATE),
                "-b",
                "16",
                "-c",
                "3",
                parts[-1],
                "synth",
                "0.65",
                *voices,
                "gain",
                "-12",
            )
        run("sox", *parts, "-c", "1", target, "remix", "1-3")
    else:
        run("sox", "-D", "-R", "-n", "-r", str(RATE), "-b", "16", "-c", "1", target, *sound.source.split())
    return target
