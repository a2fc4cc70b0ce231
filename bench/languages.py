# SPDX-License-Identifier: GPL-3.0-or-later
"""Measure memory and time of one process that speaks several languages.

    <release>/env/bin/python -B bench/languages.py MODEL [--languages abefhijpz] [--requests 500] [--plain]

MODEL is the folder of Kokoro-82M, such as `<release>/models/Kokoro-82M`. The release must speak these languages. The
process imports what Xinference's own model process imports, and has the same environment for glibc as the service's
unit; `--plain` leaves it out. It prints when the model is READY: Xinference says so when the first language's pipeline
is made. With `--languages a` it has one language, without the option nine. After each language it prints its memory.
Then it speaks requests of varied length, in the parts into which the service divides them: parts of the paragraphs in
tests/audio/paragraphs.json, every twentieth time two whole paragraphs on one line, and every twentieth time a paragraph
as one sentence, which takes most memory. At the end it prints the memory after each hundred requests, and what glibc
holds back of the memory that was freed.
"""

from __future__ import annotations

import argparse
import asyncio
import ctypes
import json
import os
import random
import re
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
UNIT = ROOT / "roles/xinference/templates/voicefleet-xinference.service.j2"
PARAGRAPHS: dict[str, str] = json.loads((ROOT / "tests/audio/paragraphs.json").read_text(encoding="utf-8"))
MARK = "BENCH_LANGUAGES"


def allocator() -> dict[str, str]:
    """The variables for glibc's memory in the service's unit."""
    return dict(re.findall(r"^Environment=(MALLOC_\w+)=(\d+)$", UNIT.read_text(encoding="utf-8"), re.MULTILINE))


def megabytes() -> tuple[int, int]:
    """Memory now and at most, in MB."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    now, most = (int(status[name].split()[0]) * 1024 // 10**6 for name in ("VmRSS", "VmHWM"))
    return now, most


def memory() -> str:
    return "{} MB, at most {} MB".format(*megabytes())


def say(what: str, since: float) -> None:
    print(f"{what}: {memory()}, {time.monotonic() - since:.1f} s, {time.process_time():.0f} s of CPU", flush=True)


class Speaker:
    """Kokoro as Xinference loads it."""

    def __init__(self, model: Path, languages: str) -> None:
        import xinference.model.audio.kokoro  # noqa: F401
        from kokoro import KModel, KPipeline

        if len(languages) > 1 and KPipeline.__module__ == "kokoro.pipeline":  # without the repair kokoro-languages
            raise SystemExit("This release speaks one language. Run the benchmark in a release that has all of them.")
        start = time.monotonic()
        weights = KModel(config=str(model / "config.json"), model=str(model / "kokoro-v1_0.pth")).eval()
        self.pipeline: Any = KPipeline(lang_code=languages[0], model=weights)
        self.voices = {path.name[0]: str(path) for path in sorted((model / "voices").glob("*.pt"), reverse=True)}
        say(f"READY with {len(languages)} language(s)", start)

    def speak(self, language: str, text: str) -> float:
        """Speak a text in the parts into which the service divides it; return the seconds of audio."""
        from kokoro.voicefleet_text import sentences as divide
        from voicefleet_serving import sentences

        voice = self.voices[language]
        parts = sentences.parts(text, language, divide)
        return sum(len(each[2]) for part in parts for each in self.pipeline(text=part, voice=voice)) / 24000


def part(text: str, chance: random.Random, number: int) -> str:
    """A part of a paragraph: between 8 signs and a third of it. Sometimes twice all of it, or all in one sentence."""
    if number % 20 == 0:
        return f"{text} {text}"
    if number % 20 == 10:
        return re.sub(r"[.।。!?！？]", ",", text)
    start = chance.randrange(len(text) // 2)
    return text[start : start + chance.randrange(8, max(9, len(text) // 3))]


async def speak_all(speaker: Speaker, languages: str, requests: int) -> None:
    """Speak in a thread for each request and one after the other, as Xinference does."""
    chance, begun, seconds = random.Random(1), time.monotonic(), 0.0
    hundreds: dict[int, int] = {}
    for number in range(1, requests + 1):
        language = chance.choice(languages)
        text = part(PARAGRAPHS[language], chance, number)
        seconds += await asyncio.to_thread(speaker.speak, language, text)
        if number % 10 == 0 or number == requests:
            say(f"{number} requests, {seconds:.0f} s of audio", begun)
        if number % 100 == 0 or number == requests:
            hundreds[number] = megabytes()[0]
    print("memory: " + ", ".join(f"{now} MB after {number}" for number, now in hundreds.items()))


def kept_back() -> None:
    """Print what glibc could give back to the system."""
    before = memory()
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    print(f"before and after malloc_trim: {before}; {memory()}")


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--languages", default="".join(PARAGRAPHS))
    parser.add_argument("--requests", type=int, default=500)
    parser.add_argument("--plain", action="store_true")
    arguments = parser.parse_args()
    if not arguments.plain and MARK not in os.environ:
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **allocator(), MARK: "1"})
    start = time.monotonic()
    speaker = Speaker(arguments.model, arguments.languages)
    for language in arguments.languages:
        begun = time.monotonic()
        speaker.speak(language, re.split(r"(?<=[.।。])", PARAGRAPHS[language])[0])
        say(f"language {language}, with its first sentence", begun)
    say("all languages", start)
    asyncio.run(speak_all(speaker, arguments.languages, arguments.requests))
    kept_back()


if __name__ == "__main__":
    main()
