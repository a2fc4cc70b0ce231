# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether text becomes the phonemes that it should: the release's own misaki against pinned references.

Kokoro asks misaki for phonemes and speaks those. A word that misaki can't turn into any is left out without a word in
any log, a number or an abbreviation may be left out or spelt, and the audio sounds well nevertheless. So a reference
sentence, a number, an abbreviation and invented words of each language must give the phonemes of
``phoneme_references.py``, and
a sentence with the invented words must take longer to say than without.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Callable

from ..host.unprivileged import as_nobody
from . import phoneme_references
from .acoustics import Finding

LEVEL = "phonemes"
# Kokoro makes at least one frame of 25 ms for each phoneme; a little less, as its pauses may move.
SECONDS_PER_PHONEME = 0.02
# No phonemes: stress, length, tones, ties and what ends a sentence.
_MARKS = set('ˈˌː→↓↗↘12345 ^.,;:!?…—"\u201c\u201d()-/')
# Models that read a language in a way of their own, by the language and the model's name.
_OTHER_READINGS = {("z", "Kokoro-82M-v1.1-zh"): "z1.1"}


@dataclass(frozen=True)
class Reference:
    """What a language's texts must become. ``lines`` are (name of the finding, text, phonemes)."""

    name: str
    lines: tuple[tuple[str, str, str], ...]
    plain: tuple[str, str]  # text and phonemes of the line `invented` without its invented words


REFERENCES = {key: Reference(*row) for key, row in phoneme_references.REFERENCES.items()}

# Reads {language: [text, ...]} and answers {language: {"phonemes": [str, ...]} or {"error": str}}. It makes each
# language as kokoro.KPipeline does, which goes on without the fallback where espeak-ng can't be loaded.
_PROGRAM = """
import json, os, sys
answer_to = os.dup(1)
os.dup2(2, 1)  # misaki prints
ESPEAK = {"e": "es", "f": "fr-fr", "h": "hi", "i": "it", "p": "pt-br"}

def pipeline(language):
    if language in "ab":
        import spacy.util
        if not spacy.util.is_package("en_core_web_sm"):
            raise RuntimeError("spaCy's en_core_web_sm is not installed; misaki would try to download it")
        from misaki import en, espeak
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

answers = {}
for language, texts in json.load(sys.stdin).items():
    try:
        g2p = pipeline(language)
        answers[language] = {"phonemes": [g2p(text)[0] or "" for text in texts]}
    except Exception as error:
        answers[language] = {"error": f"{type(error).__name__}: {error}"}
with os.fdopen(answer_to, "w", encoding="utf-8") as out:
    json.dump(answers, out)
"""


@dataclass
class Spoken:
    """One language as it was found. ``lines`` are {text, expected, phonemes}, in the order of the references."""

    language: str
    name: str
    findings: list[Finding] = field(default_factory=list)
    lines: list[dict[str, str]] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """``{language, name, ok, lines}``; ``ok`` is None where something could not be looked at."""
        seen = [finding.ok for finding in self.findings]
        ok = False if False in seen else None if None in seen or not seen else True
        return {"language": self.language, "name": self.name, "ok": ok, "lines": self.lines}


def count(phonemes: str) -> int:
    """How many phonemes are in a text of misaki's: signs without stress, length and punctuation."""
    return sum(sign not in _MARKS and not unicodedata.combining(sign) for sign in phonemes)


def _same(one: str, other: str) -> bool:
    return unicodedata.normalize("NFC", one) == unicodedata.normalize("NFC", other)


def scratch_base(candidates: Sequence[str] = ("/tmp", "/var/tmp", "/var/lib")) -> str:
    """A folder from whose files code may be run: espeak-ng's library is copied to the temporary folder and loaded."""
    for folder in candidates:
        try:
            if not os.statvfs(folder).f_flag & os.ST_NOEXEC:
                return folder
        except OSError:
            continue
    return candidates[-1]


def ask(
    python: str | None, texts: Mapping[str, Sequence[str]], timeout: float
) -> tuple[dict[str, dict[str, Any]], str | None]:
    """The phonemes of texts by language, from misaki of another interpreter, or the reason why there are none.

    One process, as the user nobody where we are root, in a folder of its own, for at most `timeout` seconds.
    """
    if not python:
        return {}, "no release's Python was named that has misaki"
    if not os.path.exists(python):
        return {}, f"{python} is not there: no release on this host"
    scratch = tempfile.mkdtemp(prefix="voicefleet-", dir=scratch_base())
    try:
        account = as_nobody()
        if account:
            os.chown(scratch, account["user"], account["group"])
        done = subprocess.run(
            [python, "-I", "-c", _PROGRAM],
            input=json.dumps({language: list(lines) for language, lines in texts.items()}).encode(),
            capture_output=True,
            timeout=timeout,
            cwd=scratch,
            env={
                "PATH": "/usr/bin:/bin",
                "LC_ALL": "C.UTF-8",
                "HOME": scratch,
                "TMPDIR": scratch,
                "HF_HUB_OFFLINE": "1",
                "PYTHONDONTWRITEBYTECODE": "1",
            },
            check=False,
            **account,
        )
    except (OSError, subprocess.SubprocessError) as error:
        return {}, f"{python} gave no phonemes: {error}"
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    if done.returncode:
        last = done.stderr.decode("utf-8", "replace").strip().rsplit("\n", 1)[-1]
        return {}, f"{python} gave no phonemes: {last or f'exit status {done.returncode}'}"
    try:
        answers: dict[str, dict[str, Any]] = json.loads(done.stdout)
    except ValueError:
        return {}, f"{python} answered something other than phonemes"
    return answers, None


def reading(language: str, models: Mapping[str, str]) -> str:
    """The key in the references of how a language is read, given the models of languages that have one of their own."""
    return _OTHER_READINGS.get((language, models.get(language, "")), language)


def judge(key: str, answer: Mapping[str, Any] | None, why: str | None) -> Spoken:
    """One language's findings; `answer` is that of :func:`ask`, `why` says why there is none."""
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
        said = f"The release's misaki can't do {reference.name}: {answer['error']}."
        spoken.findings.append(Finding("sentence", LEVEL, False, None, "pinned phonemes", said))
        return spoken
    *came, plain = answer["phonemes"]
    for (name, text, expected), phonemes in zip(reference.lines, came):
        spoken.lines.append({"text": text, "expected": expected, "phonemes": phonemes})
        if _same(phonemes, expected):
            said, ok = f"{reference.name}: '{text}' becomes /{phonemes}/.", True
        elif name == "invented" and count(phonemes) <= count(plain):
            said, ok = (
                f"{reference.name}: the invented words of '{text}' are left out; only /{phonemes}/ is spoken.",
                False,
            )
        elif not count(phonemes):
            said, ok = f"{reference.name}: '{text}' is left out: it becomes no phoneme at all.", False
        else:
            said, ok = f"{reference.name}: '{text}' becomes /{phonemes}/; /{expected}/ was expected.", False
        spoken.findings.append(Finding(name, LEVEL, ok, phonemes, expected, said))
    return spoken


def judge_lengths(key: str, plain: float, invented: float) -> Finding:
    """Whether the invented words are in the audio: seconds of the text without and with them."""
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
        else f"{reference.name}: {words} make the audio only {more:.2f} s longer, at least {least:.2f} s were expected:"
        " words that are in no dictionary are left out."
    )
    return Finding("invented_audio", LEVEL, ok, round(more, 3), f"{least:.2f} s or more", said)


def prove(
    languages: Sequence[str],
    python: str | None,
    timeout: float,
    seconds_of: Callable[[str, str], float | str] | None,
    models: Mapping[str, str] | None = None,
) -> list[Spoken]:
    """Every language's findings. `models` are the names of those that speak one language alone, by language.

    `seconds_of` says a text in a language and gives the audio's length, or why there is none; without it nobody speaks.
    """
    keys = {language: reading(language, models or {}) for language in languages}
    known = {key: REFERENCES[key] for key in keys.values() if key in REFERENCES}
    texts = {key: [*(line[1] for line in known[key].lines), known[key].plain[0]] for key in known}
    answers, why = ask(python, texts, timeout) if texts else ({}, None)
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
            said = f"{reference.name}: '{words}' could not be said: {seconds}"
            return Finding("invented_audio", LEVEL, False, None, "audio", said)
        lengths.append(seconds)
    return judge_lengths(key, *lengths)
