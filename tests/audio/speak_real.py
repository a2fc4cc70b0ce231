# SPDX-License-Identifier: GPL-3.0-or-later
"""Speak the texts of texts.json with converted weights, in all 54 voices and nine languages.

    PYTHON tests/audio/speak_real.py MODEL OUT [--part 0/1]

PYTHON is an interpreter with kokoro and what misaki needs for all nine languages. MODEL is the folder that
`bin/converted kokoro` makes. OUT gets one WAV for each clip, and a JSON file beside it. A clip that is there is kept.
`--part 1/2` makes every second clip, so that two processes can share the work.

Each voice speaks the proof's sentences, in English and in its own language, and the plain texts of its language. The
first voice of each kind, and four English ones, also speak other words, words in another order, and a text without one
word. Four voices speak the proof's sentence again, and two speak it with dropout on: a server that ignores the voice
gives such answers for two voices. One voice of each language speaks the paragraph of paragraphs.json, in the parts in
which the service speaks a long text, joined as the service joins them.
"""

from __future__ import annotations

import argparse
import json
import sys
import types
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / ".cache/tree"))

from ansible_collections.voicefleet.kokoro.plugins.module_utils.proof import recogniser
from ansible_collections.voicefleet.kokoro.plugins.module_utils.release import kokoro_text
from ansible_collections.voicefleet.kokoro.plugins.module_utils.release.serving import model as served, sentences

TEXTS: dict[str, dict[str, list[str]]] = json.loads(Path(__file__).with_name("texts.json").read_text(encoding="utf-8"))
PARAGRAPHS: dict[str, str] = json.loads(Path(__file__).with_name("paragraphs.json").read_text(encoding="utf-8"))
SENTENCE = TEXTS["a"]["plain"][0]
RATE = 24000  # Hz
TRICKED = ("af_heart", "am_michael", "bf_emma", "am_onyx")
WORDS = ("wrong", "swapped", "left_out")
PARAGRAPH = "paragraph"
NATIVE = "native"


@dataclass(frozen=True)
class Clip:
    """One text in one voice. `words` says which text, or what is wrong with it."""

    voice: str
    words: str
    number: int
    text: str
    dropout: int = 0  # the seed of the training mode; 0 is off
    again: bool = False

    @property
    def name(self) -> str:
        how = f"-dropout-{self.dropout}" if self.dropout else "-again" if self.again else ""
        return f"{self.voice}-{self.words}-{self.number}{how}"


def clips(voices: list[str]) -> list[Clip]:
    """Return the clips: first all kinds of voices, then the others of each kind, then further texts."""
    first = {voice[:2]: voice for voice in sorted(voices, reverse=True)}
    kinds = sorted(first.values())
    texts = {voice: TEXTS["a" if voice[0] in "ab" else voice[0]] for voice in voices}
    plain = {voice: [text for text in texts[voice]["plain"] if text != SENTENCE] for voice in voices}
    found = [Clip(voice, "proof", 0, SENTENCE) for voice in ["af_heart", *kinds]]
    found += [Clip(voice, "proof", 0, SENTENCE, seed) for seed in (1, 2) for voice in ("af_heart", "bm_daniel")]
    found += [Clip(voice, "proof", 0, SENTENCE, again=True) for voice in TRICKED]
    found += [Clip(voice, "plain", 0, plain[voice][0]) for voice in kinds]
    found += [Clip(voice, "proof", 0, SENTENCE) for voice in sorted(voices)]
    for words in WORDS:
        for voice in [*TRICKED, *kinds[4:]]:
            found += [Clip(voice, words, number, text) for number, text in enumerate(texts[voice][words])]
    found += [Clip(voice, "plain", number, plain[voice][number]) for number in (0, 1) for voice in sorted(voices)
              if number < len(plain[voice])]  # fmt: skip
    found += [
        Clip(voice, NATIVE, 0, recogniser.SENTENCES[voice[0]]) for voice in sorted(voices) if voice[0] not in "ab"
    ]
    speakers = {voice[0]: voice for voice in sorted(voices, reverse=True)} | {"a": "af_heart"}
    found += [Clip(speakers[letter], PARAGRAPH, 0, text) for letter, text in PARAGRAPHS.items() if letter in speakers]
    return list(dict.fromkeys(found))


def stand_in_for_japanese() -> None:
    """Do as the release's repairs do: misaki imports these two for Japanese, and does not need them."""
    sys.modules.setdefault("pyopenjtalk", types.ModuleType("pyopenjtalk"))
    quotes = {0x2018: "`", 0x2019: "'", 0x201D: '"'}
    mojimoji: Any = types.ModuleType("mojimoji")
    mojimoji.zen_to_han = lambda text, kana: text.translate(quotes)
    mojimoji.han_to_zen = lambda text, digit, ascii: text
    sys.modules.setdefault("mojimoji", mojimoji)


class Speaker:
    """Kokoro with one set of weights for all languages."""

    def __init__(self, model: Path) -> None:
        import torch
        from kokoro import KModel

        torch.set_num_threads(1)
        self.torch: Any = torch
        self.folder = model
        self.model: Any = KModel(config=str(model / "config.json"), model=str(model / "kokoro-v1_0.pth")).eval()
        self.pipelines: dict[str, Any] = {}

    def speak(self, clip: Clip) -> tuple[Any, dict[str, Any]]:
        """Return the samples, 16 bits, and what is known about them."""
        from kokoro import KPipeline

        letter = clip.voice[0]
        if letter not in self.pipelines:
            self.pipelines[letter] = KPipeline(lang_code=letter, repo_id="hexgrad/Kokoro-82M", model=self.model)
        self.model.train(bool(clip.dropout))
        self.torch.manual_seed(clip.dropout or 1 + clip.again)
        voice = str(self.folder / "voices" / f"{clip.voice}.pt")
        if clip.words == PARAGRAPH:
            return self.paragraph(clip, voice)
        results = list(self.pipelines[letter](clip.text, voice=voice))
        samples = self.torch.cat([result.audio for result in results]).numpy()
        tokens = [
            (token.text, token.start_ts, token.end_ts)
            for result in results[:1]
            for token in result.tokens or []
            if token.start_ts is not None
        ]
        phonemes = "".join(result.phonemes for result in results)
        return samples, {**asdict(clip), "phonemes": phonemes, "tokens": tokens}

    def paragraph(self, clip: Clip, voice: str) -> tuple[Any, dict[str, Any]]:
        """Speak a long text in parts, as the service does."""
        letter = clip.voice[0]
        parts = list(sentences.parts(clip.text, letter, kokoro_text.sentences))
        sounds, phonemes = [], []
        for number, part in enumerate(parts):
            for result in self.pipelines[letter](kokoro_text.clean(part, letter), voice=voice):
                # Only a release with the repair kokoro-words divides further.
                assert len(result.phonemes) < kokoro_text.LIMIT, part
                phonemes.append(result.phonemes)
                sounds.append(self.torch.from_numpy(served._samples(result.audio, number > 0, number < len(parts) - 1)))
        lengths = [len(sound) for sound in sounds]
        known = {**asdict(clip), "phonemes": " ".join(phonemes), "tokens": [], "lengths": lengths}
        return self.torch.cat(sounds).numpy(), known


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--part", default="0/1")
    given = parser.parse_args()
    import soundfile

    stand_in_for_japanese()
    speaker = Speaker(given.model)
    given.out.mkdir(parents=True, exist_ok=True)
    part, parts = map(int, given.part.split("/"))
    voices = sorted(path.stem for path in (given.model / "voices").glob("*.pt"))
    for clip in clips(voices)[part::parts]:
        facts = given.out / f"{clip.name}.json"
        if facts.exists():
            continue
        samples, known = speaker.speak(clip)
        # Xinference writes 16 bits by soundfile, too.
        soundfile.write(given.out / f"{clip.name}.wav", samples, RATE, subtype="PCM_16")
        facts.write_text(json.dumps(known, ensure_ascii=False), encoding="utf-8")
        print(f"{clip.name}: {len(samples) / RATE:.2f} s", flush=True)


if __name__ == "__main__":
    main()
