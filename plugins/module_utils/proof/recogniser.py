# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a voice says the words that it was asked: the level `intelligible` of a proof.

English is heard by pocketsphinx, which lies in every release with its model of US English: word for word, by
`recogniser_program` in the release's interpreter, with no network. Where the operator serves a Whisper model, its
transcription is compared instead, in any language, by the share of wrong words. What can't be heard is UNVERIFIED.
"""

from __future__ import annotations

import base64
import importlib.util
import json
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..host.unprivileged import as_nobody
from . import recogniser_program
from .acoustics import Finding
from .recogniser_program import distance, words_of
from .speech import SpeechClient, SpeechError

LEVEL = "intelligible"
WORD_ERROR_RATE = 0.2  # of a transcription: Whisper writes names and numbers in its own way
# The share of words up to which pocketsphinx may have misheard. Of 42 renderings of fourteen texts by three voices of
# espeak-ng it heard 33 word for word, 7 with a word or two taken for others, and 2 quite wrong. Where it only missed
# words, they were missing. Of British voices it misses more: of 8 renderings it heard 3 with one to three words amiss.
MISHEARD = 0.2
MISHEARD_BRITISH = 1 / 3
FEWEST_WORDS = 3  # of a text that can be told from others
SECONDS = 20  # for one sample; a sentence takes one to three, noise up to ten
START_SECONDS = 60  # for the interpreter, the model and the dictionary: two, on a cold disk more
# Kokoro's letters, the first of a voice's name, as Whisper calls them. Those without spaces are counted by signs.
LANGUAGES = {"a": "en", "b": "en", "e": "es", "f": "fr", "h": "hi", "i": "it", "j": "ja", "p": "pt", "z": "zh"}
NO_SPACES = ("ja", "zh")


@dataclass(frozen=True)
class Recording:
    """One answer: its voice, its bytes, and the name of a file that tells its format."""

    voice: str
    file_name: str
    data: bytes

    @property
    def language(self) -> str:
        """The language of the voice by its letter; a voice that is not named as Kokoro's are speaks English."""
        named = len(self.voice) > 2 and self.voice[1] in "fm" and self.voice[2] == "_"
        return LANGUAGES.get(self.voice[0], "en") if named else "en"

    @property
    def british(self) -> bool:
        return self.voice.startswith(("bf_", "bm_"))


def unverified(why: str) -> Finding:
    return Finding("words", LEVEL, None, None, "heard word for word", f"UNVERIFIED: {why}")


def judge(words: Sequence[str], heard: Sequence[str], british: bool) -> Finding:
    """What a recogniser that heard some words, of a text's, says of a sample."""
    said, limit = f"'{' '.join(heard)}'" if heard else "nothing", f"{len(words)} of {len(words)} words"
    wrong = distance(words, heard)
    if not wrong:
        return Finding("words", LEVEL, True, said, limit, "A recogniser heard the text, word for word.")
    sentence = f"A recogniser heard {said} where '{' '.join(words)}' was to be said."
    lost = wrong == len(words) - len(heard)
    if british and wrong <= len(words) * MISHEARD_BRITISH:
        known = "Its model is American and the voice British: a few words amiss say nothing."
        return Finding("words", LEVEL, None, said, limit, f"UNVERIFIED: {sentence} {known}")
    if not lost and wrong <= len(words) * MISHEARD:
        known = "So few words amiss may be its own mistake: try another text, or a transcriber."
        return Finding("words", LEVEL, None, said, limit, f"UNVERIFIED: {sentence} {known}")
    return Finding("words", LEVEL, False, said, limit, f"It is not intelligible. {sentence}")


def hear(recordings: Sequence[Recording], text: str, python: str | None) -> list[Finding]:
    """A finding for each recording, by pocketsphinx."""
    findings = [unverified(f"pocketsphinx knows English alone, and {each.voice} speaks another language.")
                for each in recordings]  # fmt: skip
    english = [place for place, each in enumerate(recordings) if each.language == "en"]
    if english:
        for place, finding in zip(english, _hear_english([recordings[place] for place in english], text, python)):
            findings[place] = finding
    return findings


def _hear_english(recordings: Sequence[Recording], text: str, python: str | None) -> list[Finding]:
    words = words_of(text)
    if len(words) < FEWEST_WORDS:
        return [unverified(f"a text of fewer than {FEWEST_WORDS} words can't be told from others.")] * len(recordings)
    if not python:
        why = "no Python with pocketsphinx was named that could hear it."
        return [unverified(why)] * len(recordings)
    request = {
        "text": text,
        "seconds": START_SECONDS + SECONDS * len(recordings),
        "samples": [
            {"audio": base64.b64encode(each.data).decode(), "british": each.british} for each in recordings
        ],
    }  # fmt: skip
    try:
        done = run(request, python)
    except RecogniserError as error:
        return [unverified(str(error))] * len(recordings)
    if done["unknown"]:
        why = (
            f"the recogniser's dictionary lacks {', '.join(map(repr, done['unknown']))}. Take a text of plain words,"
            " with numbers and signs written out."
        )
        return [unverified(why)] * len(recordings)
    return [
        unverified(f"it could not be heard: {result['error']}.")
        if "error" in result
        else judge(done["words"], result["heard"], each.british)
        for each, result in zip(recordings, done["samples"])
    ]


class RecogniserError(Exception):
    """The recogniser did not run. Its text is a sentence."""


def run(request: dict[str, Any], python: str) -> dict[str, Any]:
    """The answer of `recogniser_program`, run as the user nobody where we are root. Raises RecogniserError."""
    spec = importlib.util.find_spec(recogniser_program.__name__)
    source = spec.loader.get_source(spec.name) if spec is not None and spec.loader is not None else None  # type: ignore[attr-defined]
    if not source:
        raise RecogniserError("the recogniser's program is not where it should be: the collection is incomplete.")
    try:
        done = subprocess.run(
            [python, "-I", "-B", "-c", source.decode("utf-8") if isinstance(source, bytes) else source],
            input=json.dumps(request).encode(),
            capture_output=True,
            # The program looks at the clock between samples; this is for one that hangs.
            timeout=request["seconds"] + START_SECONDS,
            cwd="/",
            env={"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8", "OMP_NUM_THREADS": "1"},
            check=False,
            **as_nobody(),
        )
        if done.returncode == 0:
            return dict(json.loads(done.stdout))
    except subprocess.TimeoutExpired:
        raise RecogniserError(f"the recogniser was not done within {request['seconds']} s.") from None
    except (OSError, ValueError) as error:
        raise RecogniserError(f"{python} could not hear it: {error}.") from None
    last = done.stderr.decode("utf-8", "replace").strip().rsplit("\n", 1)[-1]
    if "pocketsphinx" in last and "ModuleNotFoundError" in last:
        raise RecogniserError(
            f"{python} has no pocketsphinx: the release is older than this collection. Run fetch.yml and deploy.yml."
        )
    raise RecogniserError(f"{python} could not hear it: {last or f'exit status {done.returncode}'}.")


def compare(text: str, heard: str, language: str, limit: float) -> Finding:
    """What a transcription says of a sample: the share of wrong words, or of wrong signs where there are no spaces."""
    what = "signs" if language in NO_SPACES else "words"
    wanted, got = words_of(text), words_of(heard)
    if language in NO_SPACES:
        wanted, got = list("".join(wanted)), list("".join(got))
    if not wanted:
        return unverified("the text has no words.")
    rate = distance(wanted, got) / len(wanted)
    said = f"The transcription is '{' '.join(heard.split())[:300]}': {rate:.0%} of the {what} are wrong"
    ok = rate <= limit
    return Finding(
        "words", LEVEL, ok, round(rate, 3), f"at most {limit:.0%} of the {what} wrong",
        f"{said}." if ok else f"It is not intelligible. {said}, at most {limit:.0%} may be. '{text}' was to be said.",
    )  # fmt: skip


def transcribe(
    client: SpeechClient, transcriber: str, recordings: Sequence[Recording], text: str, limit: float
) -> list[Finding]:
    """A finding for each recording, by a Whisper model that the same endpoint serves."""
    findings: list[Finding] = []
    for each in recordings:
        try:
            heard = client.transcribe(transcriber, each.data, each.file_name, each.language)
        except SpeechError as error:
            findings.append(unverified(f"{transcriber} did not transcribe it: {error}"))
            continue
        findings.append(compare(text, heard, each.language, limit))
    return findings


def listen(
    client: SpeechClient,
    recordings: Sequence[Recording],
    text: str,
    python: str | None,
    transcriber: str = "",
    limit: float = WORD_ERROR_RATE,
) -> list[Finding]:
    """A finding of the level `intelligible` for each recording: by the transcriber where one is named."""
    if transcriber:
        return transcribe(client, transcriber, recordings, text, limit)
    return hear(recordings, text, python)
