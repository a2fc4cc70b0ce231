# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a voice says the requested words: the level `intelligible` of a proof.

pocketsphinx recognises English, word for word. Every release has it, with its model of US English.
`recogniser_program` runs it in the release's interpreter, without a network. If the endpoint serves a Whisper model,
its transcription is compared instead, in any language, by the share of wrong words. `transcript` brings both texts into
one form first. What cannot be heard is UNVERIFIED.
"""

from __future__ import annotations

import base64
import pkgutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from . import interpreter, transcript
from .acoustics import Finding
from .interpreter import InterpreterError
from .recogniser_program import distance, words_of
from .speech import Failures, SpeechClient, SpeechError

LEVEL = "intelligible"
WORD_ERROR_RATE = 0.2  # of a transcription: Whisper writes names and numbers in its own way
# The share of words that pocketsphinx may mishear. Of 42 renderings (fourteen texts, three voices of espeak-ng) it
# recognised 33 word for word, 7 with one or two wrong words, and 2 badly. Words that it missed were really missing. It
# is worse with British voices: of 8 renderings it recognised 3 with one to three wrong words.
MISHEARD = 0.2
MISHEARD_BRITISH = 1 / 3
FEWEST_WORDS = 3  # shorter texts cannot be told from others
# Longer texts take too long: 25 words took 7 s of CPU, 63 took 131, and 91 took 352.
MOST_WORDS = 30
SECONDS = 20  # for one sample; a sentence takes one to three, noise up to ten
START_SECONDS = 60  # for interpreter, model and dictionary: two seconds, more on a cold disk
# Whisper's names for Kokoro's letters, the first of a voice's name.
LANGUAGES = {"a": "en", "b": "en", "e": "es", "f": "fr", "h": "hi", "i": "it", "j": "ja", "p": "pt", "z": "zh"}
# Ordinary sentences by Kokoro's letters, which Whisper hears from every voice (docs/sources.md). It writes
# others down wrongly: of "Le renard brun saute par-dessus le chien paresseux" four words of nine, and of most Mandarin
# ones in the voice zf_xiaoni a quarter of the characters or more.
SENTENCES = {
    "e": "Mi hermano vive en una casa grande cerca del mar.",
    "f": "Demain matin, nous allons à la plage avec les enfants.",
    "h": "मेरा नाम राम है और मैं घर जाता हूँ।",
    "i": "Domani mattina andiamo al mare con i bambini.",
    "j": "明日の朝、子どもたちと海に行きます。",
    "p": "Meu irmão mora em uma casa grande perto do mar.",
    "z": "他的爸爸妈妈今天晚上在家吃饭。",
}


def letter_of(voice: str) -> str:
    """Return Kokoro's letter of a voice's language; a voice that is not named like Kokoro's speaks English."""
    named = len(voice) > 2 and voice[1] in "fm" and voice[2] == "_" and voice[0] in LANGUAGES
    return voice[0] if named else "a"


@dataclass(frozen=True)
class Recording:
    """One answer: its voice, its bytes, a file name that tells its format, and its text if it has one of its own."""

    voice: str
    file_name: str
    data: bytes
    text: str = ""

    @property
    def language(self) -> str:
        """Return Whisper's name of the voice's language."""
        return LANGUAGES[letter_of(self.voice)]

    @property
    def british(self) -> bool:
        return self.voice.startswith(("bf_", "bm_"))


def unverified(why: str) -> Finding:
    return Finding("words", LEVEL, None, None, "heard word for word", f"UNVERIFIED: {why}")


def judge(words: Sequence[str], heard: Sequence[str], british: bool) -> Finding:
    """Return the finding for the words that a recogniser heard of a text's words."""
    said, limit = f"'{' '.join(heard)}'" if heard else "nothing", f"{len(words)} of {len(words)} words"
    wrong = distance(words, heard)
    if not wrong:
        return Finding("words", LEVEL, True, said, limit, "A recogniser heard the text, word for word.")
    sentence = f"A recogniser heard {said} instead of '{' '.join(words)}'."
    lost = wrong == len(words) - len(heard)
    if british and wrong <= len(words) * MISHEARD_BRITISH:
        known = "The recogniser's model is American and the voice British, so a few wrong words prove nothing."
        return Finding("words", LEVEL, None, said, limit, f"UNVERIFIED: {sentence} {known}")
    if not lost and wrong <= len(words) * MISHEARD:
        known = "So few wrong words may be the recogniser's own mistake. Try another text, or a transcriber."
        return Finding("words", LEVEL, None, said, limit, f"UNVERIFIED: {sentence} {known}")
    return Finding("words", LEVEL, False, said, limit, f"It is not intelligible. {sentence}")


def hear(recordings: Sequence[Recording], text: str, python: str | None) -> list[Finding]:
    """Return a finding for each recording, by pocketsphinx."""
    findings = [unverified(f"pocketsphinx knows only English, and {each.voice} speaks another language.")
                for each in recordings]  # fmt: skip
    english = [place for place, each in enumerate(recordings) if each.language == "en"]
    if english:
        for place, finding in zip(english, _hear_english([recordings[place] for place in english], text, python)):
            findings[place] = finding
    return findings


def _hear_english(recordings: Sequence[Recording], text: str, python: str | None) -> list[Finding]:
    # The recogniser's dictionary has no digits.
    text = transcript.spell_small(text)
    words = words_of(text)
    if len(words) < FEWEST_WORDS:
        return [unverified(f"a text of fewer than {FEWEST_WORDS} words cannot be told from others.")] * len(recordings)
    if len(words) > MOST_WORDS:
        why = (
            f"a text of more than {MOST_WORDS} words takes the recogniser minutes. Use a shorter one, or a transcriber."
        )
        return [unverified(why)] * len(recordings)
    if not python:
        return [unverified("no Python with pocketsphinx is named.")] * len(recordings)
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
            f"the recogniser's dictionary lacks {', '.join(map(repr, done['unknown']))}. Use a text of common words,"
            " with numbers and symbols written out."
        )
        return [unverified(why)] * len(recordings)
    return [
        unverified(f"it could not be recognised: {result['error']}.")
        if "error" in result
        else judge(done["words"], result["heard"], each.british)
        for each, result in zip(recordings, done["samples"])
    ]


class RecogniserError(Exception):
    """The recogniser did not run. The text is a sentence."""


def run(request: dict[str, Any], python: str) -> dict[str, Any]:
    """Run `recogniser_program` and return its answer. Raises RecogniserError."""
    source = pkgutil.get_data(__package__, "recogniser_program.py")
    if not source:
        raise RecogniserError("the recogniser's program is missing: the collection is incomplete.")
    try:
        # The program checks the time between samples; this limit is for a program that hangs.
        limit = request["seconds"] + START_SECONDS
        return dict(interpreter.ask(python, source.decode(), request, limit, OMP_NUM_THREADS="1"))
    except InterpreterError as error:
        if "pocketsphinx" in str(error) and "ModuleNotFoundError" in str(error):
            why = "the release is older than this collection. Run fetch.yml and deploy.yml."
            raise RecogniserError(f"{python} has no pocketsphinx: {why}") from None
        raise RecogniserError(f"{python} could not recognise the words: {error}.") from None


def compare(text: str, heard: str, language: str, limit: float) -> Finding:
    """Return the finding for a transcription: the share of words, or other units of the language, that are wrong."""
    found = transcript.compare(text, heard, language)
    if not found.units:
        return unverified("the text has no words.")
    what, said = found.what, f"The transcription is '{' '.join(heard.split())[:300]}'"
    said += f": {found.rate:.0%} of the {what} are wrong"
    ok = found.rate <= limit
    return Finding(
        "words", LEVEL, ok, round(found.rate, 3), f"at most {limit:.0%} of the {what} wrong",
        f"{said}." if ok else f"It is not intelligible. {said}; at most {limit:.0%} may be. The text was '{text}'.",
    )  # fmt: skip


def transcribe(
    client: SpeechClient, transcriber: str, recordings: Sequence[Recording], text: str, limit: float
) -> list[Finding]:
    """Return a finding for each recording, by a Whisper model that the same endpoint serves."""
    findings: list[Finding] = []
    failures = Failures()
    for each in recordings:
        if hopeless := failures.why_not(transcriber):
            findings.append(unverified(f"{transcriber} was not asked, because: {hopeless}"))
            continue
        try:
            heard = client.transcribe(transcriber, each.data, each.file_name, each.language)
        except SpeechError as error:
            failures.note(transcriber, error)
            findings.append(unverified(f"{transcriber} did not transcribe it: {error}"))
            continue
        failures.note(transcriber, None)
        findings.append(compare(each.text or text, heard, each.language, limit))
    return findings


def error_rates(findings: Iterable[tuple[str, Finding]]) -> dict[str, float]:
    """Return the mean share of wrong words by language, from pairs of a voice and a finding. Only Whisper gives one."""
    rates: dict[str, list[float]] = {}
    for voice, finding in findings:
        if finding.level == LEVEL and isinstance(finding.value, float):
            rates.setdefault(voice[:1], []).append(finding.value)
    return {letter: round(sum(found) / len(found), 3) for letter, found in sorted(rates.items())}


def listen(
    client: SpeechClient,
    recordings: Sequence[Recording],
    text: str,
    python: str | None,
    transcriber: str = "",
    limit: float = WORD_ERROR_RATE,
) -> list[Finding]:
    """Return a finding of the level `intelligible` for each recording: by the transcriber if one is named."""
    if transcriber:
        return transcribe(client, transcriber, recordings, text, limit)
    return hear(recordings, text, python)
