# SPDX-License-Identifier: GPL-3.0-or-later
"""Let Whisper hear the clips of speak_real.py, and print how many words it hears wrongly, by language and voice.

    PYTHON tests/audio/hear_real.py CLIPS MODEL

PYTHON is an interpreter with transformers and soundfile, such as that of a release with a model that hears. MODEL is
the folder of that model, such as whisper-base of `bin/converted whisper`. It is used as Xinference uses it, with the
repair of a release.

Counted are the proof's sentence in each voice's own language, the plain sentences of each voice, and the paragraph of
each language. They are counted as the proof does: words, or characters in Japanese and Mandarin, or consonants where
Hindi is written in Urdu's script. What was heard is kept beside the clips, so a second run continues.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / ".cache/tree"))

from ansible_collections.voicefleet.kokoro.plugins.module_utils.proof import recogniser, transcript
from ansible_collections.voicefleet.kokoro.plugins.module_utils.release import sound_parts

KINDS = ("proof", "plain", "paragraph")


def ears(model: Path) -> Any:
    """Return a function that transcribes a sound file in a language, as Xinference's class does after its repair."""
    import soundfile
    import torch
    from scipy.signal import resample_poly
    from transformers import AutoModelForSpeechSeq2Seq, AutoProcessor, pipeline

    torch.set_num_threads(1)
    loaded = AutoModelForSpeechSeq2Seq.from_pretrained(model, dtype=torch.float32)
    processor = AutoProcessor.from_pretrained(model)
    hear: Any = pipeline(
        "automatic-speech-recognition", model=loaded, tokenizer=processor.tokenizer,
        feature_extractor=processor.feature_extractor, chunk_length_s=30, return_timestamps=False, batch_size=16,
    )  # fmt: skip

    def heard(sound: Path, language: str) -> str:
        samples, own = soundfile.read(sound, dtype="float32")
        rate = processor.feature_extractor.sampling_rate
        step = math.gcd(rate, own)
        parts = sound_parts.parts(resample_poly(samples, rate // step, own // step).astype("float32"), rate)
        asked = {"task": "transcribe", "language": language}
        return " ".join(str(each["text"]) for each in hear(list(parts), generate_kwargs=asked))

    return heard


def kind_of(known: dict[str, Any]) -> str:
    """Return what is counted of a clip. The English sentence of the proof counts for English voices."""
    if known["dropout"] or known.get("again") or (known["words"] == "proof" and known["voice"][0] not in "ab"):
        return ""
    return "proof" if known["words"] == "native" else str(known["words"])


def rows(clips: Path, model: Path) -> Iterator[tuple[str, str, transcript.Difference]]:
    """Yield the kind and the voice of each clip, and what was heard wrongly."""
    hear = None
    for facts in sorted(clips.glob("*.json")):
        known = json.loads(facts.read_text(encoding="utf-8"))
        kind = kind_of(known)
        if kind not in KINDS:
            continue
        language, kept = recogniser.LANGUAGES[known["voice"][0]], facts.with_suffix(f".{model.name}")
        if not kept.exists():
            hear = hear or ears(model)
            kept.write_text(hear(facts.with_suffix(".wav"), language), encoding="utf-8")
        heard = kept.read_text(encoding="utf-8")
        found = transcript.compare(known["text"], heard, language)
        if found.wrong:
            print(f"{facts.stem}: {found.wrong} of {found.units} {found.what}: {heard.strip()}", flush=True)
        yield kind, known["voice"], found


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
    print("\n| language | counted | proof | by voice | sentences | by voice | paragraph |\n|" + " --- |" * 7)
    for letter, kinds in sorted(heard.items()):
        counted = {found.what for by_voice in kinds.values() for each in by_voice.values() for found in each}
        cells = [f"`{letter}`", " or ".join(sorted(counted))]
        for kind in ("proof", "plain"):
            every = [found for each in kinds[kind].values() for found in each]
            cells.append(f"{rate(every)} of {sum(found.units for found in every)}")
            cells.append(", ".join(f"{voice} {rate(found)}" for voice, found in sorted(kinds[kind].items())))
        cells.append(rate([found for each in kinds["paragraph"].values() for found in each]))
        print("| " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
