# SPDX-License-Identifier: GPL-3.0-or-later
"""Let Whisper hear the clips of speak_real.py, and print how many words it hears wrongly, by language and voice.

    PYTHON tests/audio/hear_real.py CLIPS MODEL

PYTHON is an interpreter with transformers and soundfile, such as that of a release with a model that hears. MODEL is
the folder of that model, such as whisper-base of `bin/converted whisper`. It is used as Xinference uses it.

Counted are the plain sentences of each voice, and the paragraph of each language, as the proof counts them: words, or
characters in Japanese and Mandarin, or consonants where Hindi is written in Urdu's script. What was heard is kept
beside the clips, so a second run continues.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / ".cache/tree"))

import numpy
from ansible_collections.voicefleet.kokoro.plugins.module_utils.proof import recogniser, recogniser_program, transcript

KINDS = ("plain", "paragraph")
LONGEST = 28  # seconds
RATE = 24000  # Hz, of the clips


def places(lengths: list[int]) -> list[int]:
    """Return where to divide a long clip, by its parts: Whisper hears 30 s at once, and may lose the rest."""
    found, begun, ended = [], 0, 0
    for length in lengths:
        if ended > begun and ended + length - begun > LONGEST * RATE:
            found.append(ended)
            begun = ended
        ended += length
    # The recogniser's samples begin with a quarter of a second of silence, and have another rate.
    return [int((end / RATE + 0.25) * recogniser_program.RATE) for end in found]


def ears(model: Path) -> Any:
    """Return a function that transcribes a sound file in a language, with the settings of Xinference's class."""
    import torch
    from transformers import AutoModelForSpeechSeq2Seq, AutoProcessor, pipeline

    torch.set_num_threads(1)
    loaded = AutoModelForSpeechSeq2Seq.from_pretrained(model, dtype=torch.float32)
    processor = AutoProcessor.from_pretrained(model)
    hear: Any = pipeline(
        "automatic-speech-recognition", model=loaded, tokenizer=processor.tokenizer,
        feature_extractor=processor.feature_extractor, chunk_length_s=30, return_timestamps=False, batch_size=16,
    )  # fmt: skip

    def heard(sound: Path, language: str, lengths: list[int]) -> str:
        pcm = numpy.frombuffer(recogniser_program.samples_of(sound.read_bytes()), "<i2").astype("float32") / 32768
        asked = {"task": "transcribe", "language": language}
        ends = places(lengths)
        return " ".join(str(hear(each, generate_kwargs=asked)["text"]) for each in numpy.split(pcm, ends))

    return heard


def rows(clips: Path, model: Path) -> Iterator[tuple[str, str, transcript.Difference]]:
    """Yield the kind and the voice of each clip, and what was heard wrongly."""
    hear = None
    for facts in sorted(clips.glob("*.json")):
        known = json.loads(facts.read_text(encoding="utf-8"))
        if known["words"] not in KINDS or known["dropout"]:
            continue
        language, kept = recogniser.LANGUAGES[known["voice"][0]], facts.with_suffix(f".{model.name}")
        if not kept.exists():
            hear = hear or ears(model)
            kept.write_text(hear(facts.with_suffix(".wav"), language, known.get("lengths", [])), encoding="utf-8")
        heard = kept.read_text(encoding="utf-8")
        found = transcript.compare(known["text"], heard, language)
        if found.wrong:
            print(f"{facts.stem}: {found.wrong} of {found.units} {found.what}: {heard.strip()}", flush=True)
        yield known["words"], known["voice"], found


def rate(found: list[transcript.Difference]) -> str:
    return f"{sum(each.wrong for each in found) / max(1, sum(each.units for each in found)):.1%}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", type=Path)
    parser.add_argument("model", type=Path)
    given = parser.parse_args()
    heard: dict[str, dict[str, dict[str, list[transcript.Difference]]]] = defaultdict(
        lambda: defaultdict(lambda: defaultdict(list))
    )
    for kind, voice, found in rows(given.clips, given.model):
        heard[voice[0]][kind][voice].append(found)
    print("\n| language | counted | sentences, all voices | by voice | paragraph |\n| --- | --- | --- | --- | --- |")
    for letter, kinds in sorted(heard.items()):
        of_voice = kinds["plain"]
        every = [found for each in of_voice.values() for found in each]
        units = " or ".join(sorted({found.what for found in every}))
        voices = ", ".join(f"{voice} {rate(found)}" for voice, found in sorted(of_voice.items()))
        paragraph = rate([found for each in kinds["paragraph"].values() for found in each])
        count = sum(found.units for found in every)
        print(f"| `{letter}` | {units} | {rate(every)} of {count} | {voices} | {paragraph} |")


if __name__ == "__main__":
    main()
