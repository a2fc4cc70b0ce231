# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether the release's own misaki turns text into the pinned phonemes.

Kokoro speaks the phonemes that misaki makes. If misaki cannot turn a word into phonemes, it leaves the word out, and no
log says so. Numbers and abbreviations may be left out or spelt. The audio sounds well nevertheless. So a sentence, a
number, an abbreviation and invented words of each language must give the phonemes of ``phoneme_references.py``. A
sentence must also take longer to say with the invented words than without them.

Kokoro speaks at most 510 phonemes at once, and leaves out the others. So of a sentence that has more, in one line, all
must reach the model.
"""

from __future__ import annotations

import math
import os
import shutil
import tempfile
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Callable

from . import interpreter, phoneme_references
from .acoustics import Finding
from .interpreter import InterpreterError

LEVEL = "phonemes"
# Kokoro makes at least one frame of 25 ms for each phoneme. This is a little less, because its pauses may move.
SECONDS_PER_PHONEME = 0.02
# The long line has at least this many signs. Without the repair kokoro-words it loses a quarter in most languages.
LONG = 700
# As many of them must reach the model. A tone may change where the line is divided.
WHOLE = 0.98
_COMMAS = {"j": "\u3001", "z": "\uff0c"}
# These are not phonemes: stress, length, tones, ties and the end of a sentence.
_MARKS = set('ˈˌː→↓↗↘12345 ^.,;:!?…—"\u201c\u201d()-/')
# Models with their own reading of a language, by the language and the model's name.
_OTHER_READINGS = {("z", "Kokoro-82M-v1.1-zh"): "z1.1"}


@dataclass(frozen=True)
class Reference:
    """The phonemes that a language's texts must become. ``lines`` are (name of the finding, text, phonemes)."""

    name: str
    lines: tuple[tuple[str, str, str], ...]
    plain: tuple[str, str]  # text and phonemes of the line `invented` without its invented words

    def long(self, key: str) -> str:
        """Return one sentence that is too long for Kokoro: the line `sentence` as often as is needed."""
        _name, text, phonemes = self.lines[0]
        comma = _COMMAS.get(key[:1], ", ")
        return comma.join([text[:-1]] * math.ceil(LONG / len(phonemes))) + text[-1]


REFERENCES = {key: Reference(*row) for key, row in phoneme_references.REFERENCES.items()}

# Reads {"texts": {language: [text, ...]}, "long": {language: line}} and answers {language: {"phonemes": [str, ...]} or
# {"error": str}}, with "long": [the phonemes that Kokoro gives its model, those of the whole line] or the error.
# It sets up each language as kokoro.KPipeline does, which works without the fallback if espeak-ng cannot be loaded.
_PROGRAM = """
import json, os, sys
answer_to = os.dup(1)
os.dup2(2, 1)  # misaki prints
ESPEAK = {"e": "es", "f": "fr-fr", "h": "hi", "i": "it", "p": "pt-br"}

def refuse(name):
    raise RuntimeError(f"spaCy's {name} is not installed; misaki would try to download it")

def pipeline(language):
    if language in "ab":
        from misaki import en, espeak
        en.spacy.cli.download = refuse
        try:
            fallback = espeak.EspeakFallback(british=language == "b")
        except Exception as error:
            print(f"no espeak-ng: {error}")
            fallback = None
        return en.G2P(trf=False, british=language == "b", fallback=fallback, unk="")
    if language == "j":
        from misaki import ja
        return ja.JAG2P()
    if language[0] == "z":
        from misaki import zh
        return zh.ZHG2P(version=language[1:] or None)
    from misaki import espeak
    return espeak.EspeakG2P(language=ESPEAK[language])

def parts(language, line):
    from kokoro import KPipeline
    try:
        from kokoro.voicefleet_text import clean
    except ImportError:
        clean = lambda text, language: text
    name = "hexgrad/Kokoro-82M" + (f"-v{language[1:]}-zh" if language[1:] else "")
    kokoro = KPipeline(lang_code=language[0], repo_id=name, model=False)
    return ["".join(part.phonemes for part in kokoro(line)), kokoro.g2p(clean(line, language[0]))[0] or ""]

def tried(work, *arguments):
    try:
        return work(*arguments), None
    except Exception as error:
        return None, f"{type(error).__name__}: {error}"

def read(language, texts):
    g2p = pipeline(language)
    return [g2p(text)[0] or "" for text in texts]

asked, answers = json.load(sys.stdin), {}
for language, texts in asked["texts"].items():
    said, wrong = tried(read, language, texts)
    answers[language] = {"error": wrong} if wrong else {"phonemes": said}
    if language in asked["long"] and not wrong:
        said, wrong = tried(parts, language, asked["long"][language])
        answers[language]["long"] = wrong or said
with os.fdopen(answer_to, "w", encoding="utf-8") as out:
    json.dump(answers, out)
"""


@dataclass
class Spoken:
    """The results of one language. ``lines`` are {text, expected, phonemes}, in the order of the references."""

    language: str
    name: str
    findings: list[Finding] = field(default_factory=list)
    lines: list[dict[str, str]] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """Return ``{language, name, ok, lines}``; ``ok`` is None if something could not be checked."""
        seen = [finding.ok for finding in self.findings]
        ok = False if False in seen else None if None in seen or not seen else True
        return {"language": self.language, "name": self.name, "ok": ok, "lines": self.lines}


def count(phonemes: str) -> int:
    """Count the phonemes in an answer of misaki: its characters without stress, length and punctuation."""
    return sum(sign not in _MARKS and not unicodedata.combining(sign) for sign in phonemes)


def _same(one: str, other: str) -> bool:
    return unicodedata.normalize("NFC", one) == unicodedata.normalize("NFC", other)


def scratch_base(candidates: Sequence[str] = ("/tmp", "/var/tmp", "/var/lib")) -> str:
    """Return a folder where code may run: espeak-ng's library is copied to the temporary folder and loaded."""
    for folder in [*interpreter.scratch().values(), *candidates]:
        try:
            if not os.statvfs(folder).f_flag & os.ST_NOEXEC:
                return folder
        except OSError:
            continue
    return candidates[-1]


def ask(
    python: str | None, texts: Mapping[str, Sequence[str]], timeout: float, long: Mapping[str, str] | None = None
) -> tuple[dict[str, dict[str, Any]], str | None]:
    """Return the phonemes of texts by language, from misaki of another interpreter, or the reason why there are none.

    `long` has a long line for each language that its Kokoro shall divide.

    One process does it, in a folder of its own, within `timeout` seconds.
    """
    if not python:
        return {}, "no release's Python with misaki is named"
    if not os.path.exists(python):
        return {}, f"{python} does not exist: no release on this host"
    scratch = tempfile.mkdtemp(prefix="voicefleet-", dir=scratch_base())
    try:
        account = interpreter.as_nobody()
        if account:
            os.chown(scratch, account["user"], account["group"])
        request = {"texts": {language: list(lines) for language, lines in texts.items()}, "long": dict(long or {})}
        answers: dict[str, dict[str, Any]] = interpreter.ask(
            python, _PROGRAM, request, timeout, scratch, HOME=scratch, TMPDIR=scratch, HF_HUB_OFFLINE="1"
        )
    except (OSError, InterpreterError) as error:
        return {}, f"{python} gave no phonemes: {error}"
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return answers, None


def reading(language: str, models: Mapping[str, str]) -> str:
    """Return the key of a language in the references; `models` names the languages' own models."""
    return _OTHER_READINGS.get((language, models.get(language, "")), language)


def judge(key: str, answer: Mapping[str, Any] | None, why: str | None) -> Spoken:
    """Return one language's findings. `answer` comes from :func:`ask`; `why` says why there is none."""
    language, reference = key[:1], REFERENCES.get(key)
    if reference is None:
        spoken = Spoken(language, language)
        said = f"No reference text is pinned for the language {language!r}: nothing to compare with."
        spoken.findings.append(Finding("sentence", LEVEL, None, None, "pinned phonemes", said))
        return spoken
    spoken = Spoken(language, reference.name)
    if answer is None:
        said = f"{reference.name} could not be tried: {why or 'misaki did not answer'}."
        spoken.findings.append(Finding("sentence", LEVEL, None, None, "pinned phonemes", said))
        return spoken
    if "error" in answer:
        said = f"The release's misaki cannot read {reference.name}: {answer['error']}."
        spoken.findings.append(Finding("sentence", LEVEL, False, None, "pinned phonemes", said))
        return spoken
    *came, plain = answer["phonemes"]
    for (name, text, expected), phonemes in zip(reference.lines, came):
        spoken.lines.append({"text": text, "expected": expected, "phonemes": phonemes})
        if _same(phonemes, expected):
            said, ok = f"{reference.name}: '{text}' becomes /{phonemes}/.", True
        elif name == "invented" and count(phonemes) <= count(plain):
            said = f"{reference.name}: the invented words of '{text}' are left out; only /{phonemes}/ is spoken."
            ok = False
        elif not count(phonemes):
            said, ok = f"{reference.name}: '{text}' is left out: it becomes no phoneme at all.", False
        else:
            said, ok = f"{reference.name}: '{text}' becomes /{phonemes}/; /{expected}/ was expected.", False
        spoken.findings.append(Finding(name, LEVEL, ok, phonemes, expected, said))
    if "long" in answer:
        spoken.findings.append(judge_long(reference.name, answer["long"]))
    return spoken


def judge_long(language: str, answer: Sequence[str] | str) -> Finding:
    """Check that a long line reaches the model, by the phonemes that do and those of the whole line, or an error."""
    limit = f"{WHOLE:.0%} of its phonemes"
    if isinstance(answer, str):
        said = f"{language}: whether a long line is spoken whole is not known: the release's Kokoro said {answer}."
        return Finding("long_line", LEVEL, None, None, limit, said)
    spoken, whole = map(count, answer)
    good = f"{language}: a sentence of {whole} phonemes is spoken whole."
    bad = (
        f"{language}: of a sentence of {whole} phonemes only {spoken} are spoken. Kokoro leaves out what is too long"
        " for it, and the repair kokoro-words prevents that (preflight_patches)."
    )
    ok = whole > 0 and spoken >= WHOLE * whole
    return Finding.of("long_line", LEVEL, ok, round(spoken / max(1, whole), 3), limit, good, bad)


def judge_lengths(key: str, plain: float, invented: float) -> Finding:
    """Check that the invented words are in the audio, by the seconds of the text without and with them."""
    reference = REFERENCES[key]
    _name, text, expected = next(line for line in reference.lines if line[0] == "invented")
    without, base = reference.plain
    words = " and ".join(word for word in text.split() if word not in without.split())
    least = SECONDS_PER_PHONEME * (count(expected) - count(base))
    more = invented - plain
    ok = more >= least
    said = (
        f"{reference.name}: {words} make the audio {more:.2f} s longer."
        if ok
        else f"{reference.name}: {words} make the audio only {more:.2f} s longer; at least {least:.2f} s were expected."
        " Words that are in no dictionary are left out."
    )
    return Finding("invented_audio", LEVEL, ok, round(more, 3), f"{least:.2f} s or more", said)


def prove(
    languages: Sequence[str],
    python: str | None,
    timeout: float,
    seconds_of: Callable[[str, str], float | str] | None,
    models: Mapping[str, str] | None = None,
) -> list[Spoken]:
    """Return every language's findings. `models` are the names of models of one language, by language.

    `seconds_of` speaks a text in a language. It returns the audio's length, or why there is none. Without it, nobody
    speaks.
    """
    keys = {language: reading(language, models or {}) for language in languages}
    known = {key: REFERENCES[key] for key in keys.values() if key in REFERENCES}
    texts = {key: [*(line[1] for line in known[key].lines), known[key].plain[0]] for key in known}
    long = {key: known[key].long(key) for key in known}
    answers, why = ask(python, texts, timeout, long) if texts else ({}, None)
    found = []
    for key in keys.values():
        spoken = judge(key, answers.get(key), why)
        if key in known and seconds_of is not None:
            spoken.findings.append(_said(key, seconds_of))
        found.append(spoken)
    return found


def _said(key: str, seconds_of: Callable[[str, str], float | str]) -> Finding:
    reference = REFERENCES[key]
    text = next(line[1] for line in reference.lines if line[0] == "invented")
    lengths = []
    for words in (reference.plain[0], text):
        seconds = seconds_of(key[:1], words)
        if isinstance(seconds, str):
            said = f"{reference.name}: '{words}' could not be spoken: {seconds}"
            return Finding("invented_audio", LEVEL, False, None, "audio", said)
        lengths.append(seconds)
    return judge_lengths(key, *lengths)
