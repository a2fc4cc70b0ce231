# SPDX-License-Identifier: GPL-3.0-or-later
"""Judge real speech and its tricks at the level acoustic, and print what is accepted, refused and measured.

    .cache/env/test/bin/python tests/audio/calibrate.py FOLDER

FOLDER holds the clips of `speak_real.py`. The exit status is 1 if a verdict is wrong. Needs sox, and bin/test to have
run once.
"""

from __future__ import annotations

import json
import sys
from array import array
from collections import Counter, defaultdict
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / ".cache/tree"))

import numpy
import soundfile
import tricks
from ansible_collections.voicefleet.kokoro.plugins.module_utils.proof import acoustics, proof

SHOWN = (
    "highest_db",
    "high_db",
    "asymmetry",
    "pitch_slope",
    "held_share",
    "flatness",
    "voiced_share",
    "repetition",
    "tilt_db",
    "floor_db",
)
# What must be accepted, and what must be refused. About all else, the level intelligible decides.
ACCEPTED = ("speech", "dropout")
# One answer that stands for two voices.
ONE_VOICE = {
    "another volume": lambda samples: 0.6 * samples,
    "last bits": tricks.last_bit,
    "noise in the pauses": lambda samples: tricks.in_noise(samples, 50),
    "shifted": lambda samples: numpy.concatenate([numpy.zeros(tricks.RATE // 30), samples]),
}
AGAIN = "the voice again"
# What the level acoustic refuses in most languages, but not in all.
BACK = "reversed, other sentences"
REFUSED = ("reversed", "narrow", "babble", "babble with hisses", "sines", AGAIN, *ONE_VOICE)
# Silence is what stays below this share of the loudest sample.
SILENCE = 0.01


def pcm(samples: Any) -> array[int]:
    return array("h", (numpy.clip(samples, -1, 1) * 32767).astype("int16").tolist())


def judged(label: str, name: str, samples: Any, text: str) -> dict[str, Any]:
    findings, numbers = proof.judge_samples((pcm(samples), tricks.RATE), text)
    refused = [finding.name for finding in findings if finding.ok is not True]
    return {"label": label, "name": name, "refused": refused, "numbers": numbers}


def of_clip(facts: Path) -> list[dict[str, Any]]:
    """Judge a clip, and what sox makes of it."""
    known = json.loads(facts.read_text(encoding="utf-8"))
    samples = soundfile.read(facts.with_suffix(".wav"))[0]
    label = "dropout" if known["dropout"] else "speech"
    found = [judged(label, facts.stem, samples, known["text"])]
    if known["words"] == "plain":
        found.append(judged(BACK, facts.stem, tricks.effect(samples, "reversed"), known["text"]))
    if known["words"] == "proof" and not known["dropout"]:
        for effect in tricks.EFFECTS:
            found.append(judged(effect, facts.stem, tricks.effect(samples, effect), known["text"]))
        ends = [(start, end) for text, start, end in known["tokens"] if len(text) > 3 and end]
        if ends:
            found.append(judged("half a word", facts.stem, tricks.half_cut(samples, *ends[1]), known["text"]))
    return found


def of_seed(seed: int) -> list[dict[str, Any]]:
    """Judge sounds without a voice."""
    text = "The quick brown fox jumps over the lazy dog."
    made = {
        "babble": tricks.babble(seed, glide=seed % 2 == 0, hiss=False),
        "babble with hisses": tricks.babble(seed, glide=seed % 2 == 0, hiss=True),
        "sines": tricks.sines(seed, 1 + seed % 6),
    }
    return [judged(label, str(seed), samples, text) for label, samples in made.items()]


def between_voices(clips: dict[str, Path], again: dict[Path, str]) -> Iterator[dict[str, Any]]:
    """Compare all voices that say the proof's sentence, and answers of one voice that stand for two."""
    others: dict[str, list[float]] = {}
    spoken = {voice: soundfile.read(path.with_suffix(".wav"))[0] for voice, path in clips.items()}
    for voice, samples in spoken.items():
        for finding in acoustics.judge_voice(pcm(samples), tricks.RATE, others, voice):
            refused = [] if finding.ok else [finding.name]
            yield {"label": "speech", "name": voice, "refused": refused, "numbers": {"own_voice": finding.value}}
    of_one = [(label, voice, make(samples)) for voice, samples in spoken.items() for label, make in ONE_VOICE.items()]
    of_one += [(AGAIN, voice, soundfile.read(path.with_suffix(".wav"))[0]) for path, voice in again.items()]
    for label, voice, samples in of_one:
        (finding,) = acoustics.judge_voice(pcm(samples), tricks.RATE, {voice: others[voice]}, "another")
        refused = [] if finding.ok else [finding.name]
        yield {"label": label, "name": voice, "refused": refused, "numbers": {"own_voice": finding.value}}


def joints(facts: Path) -> str:
    """Describe a long text where its parts meet: how much their levels differ, and the longest pauses."""
    known = json.loads(facts.read_text(encoding="utf-8"))
    samples = soundfile.read(facts.with_suffix(".wav"))[0]
    ends = numpy.cumsum(known["lengths"])
    quiet = SILENCE * abs(samples).max()
    levels = []
    for part in numpy.split(samples, ends[:-1]):
        loud = part[abs(part) > quiet]
        levels.append(10 * numpy.log10((loud**2).mean()))
    sounding = numpy.flatnonzero(abs(samples) > quiet)
    gaps = numpy.diff(sounding) / tricks.RATE
    meets = numpy.searchsorted(sounding, ends[:-1]) - 1
    inside = numpy.delete(gaps, meets)
    met = f"{gaps[meets].min():.2f}..{gaps[meets].max():.2f} s"
    return (
        f"{facts.stem}: {len(levels)} parts, {len(samples) / tricks.RATE:.1f} s; levels {min(levels):.1f}.."
        f"{max(levels):.1f} dB; pauses where parts meet {met}, elsewhere {inside.max():.2f} s at most"
    )


def show(rows: list[dict[str, Any]]) -> None:
    ranges: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    verdicts: dict[str, Counter[str]] = defaultdict(Counter)
    for row in rows:
        verdicts[row["label"]][", ".join(row["refused"]) or "accepted"] += 1
        for name in (*SHOWN, "own_voice"):
            if name in row["numbers"]:
                ranges[row["label"]][name].append(row["numbers"][name])
    for label, counts in verdicts.items():
        print(f"\n{label}: " + "; ".join(f"{count} {verdict}" for verdict, count in counts.most_common()))
        print("  " + "  ".join(f"{name} {min(v):.2f}..{max(v):.2f}" for name, v in ranges[label].items()))


def main() -> int:
    folder = Path(sys.argv[1])
    facts = sorted(folder.glob("*.json"))
    proofs = {path.stem.removesuffix("-proof-0"): path for path in facts if path.stem.endswith("-proof-0")}
    ways = ("-proof-0-again", "-proof-0-dropout-1", "-proof-0-dropout-2")
    again = {path: path.stem.partition("-")[0] for path in facts if path.stem.endswith(ways)}
    with ProcessPoolExecutor(2) as workers:
        rows = [row for part in workers.map(of_clip, facts) for row in part]
        rows += [row for part in workers.map(of_seed, range(1, 25)) for row in part]
    rows += between_voices(proofs, again)
    show(rows)
    print("\nlong texts, as the service joins their parts:")
    for path in facts:
        if path.stem.endswith("-paragraph-0"):
            print("  " + joints(path))
    wrong = [row for row in rows if row["label"] in (ACCEPTED if row["refused"] else REFUSED)]
    print(f"\n{len(facts)} clips, {len(proofs)} voices, {len(rows)} verdicts, {len(wrong)} wrong")
    print(
        "accepted, reversed: " + ", ".join(row["name"] for row in rows if row["label"] == BACK and not row["refused"])
    )
    for row in wrong:
        print(f"  {row['label']}: {row['name']}: {row['refused'] or 'accepted'}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
