# SPDX-License-Identifier: GPL-3.0-or-later
"""Find known failures in a log or an error message, and explain them with cause and remedy."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

from .failures import FAILURES, Failure

_COMPILED = [(re.compile(failure.pattern), failure) for failure in FAILURES]
_ANSI = re.compile(r"\x1b\[[0-9;?]{0,40}[ -/]{0,9}[@-~]")
# Xinference's actors prefix their errors with address and process; its log lines begin with time and level.
_ACTOR = re.compile(r"\[address=[^\]]{0,200}?pid=\d{1,10}\]\s{0,9}")
_LOG_HEAD = re.compile(r"^\d{4}-\d\d-\d\d[T ][\d:.,]{1,20}Z? {1,9}([A-Z]{1,9}) ")
_PLACE = re.compile(r"pid:\d{1,10} role:\S{1,99} address:\S{1,99} node:\S{1,99} ")
_USER_IN_URL = re.compile(r"(?<=://)[^/\s:@]{1,200}(:[^/\s@]{0,200})?@")
LINE_READ = 8192  # characters of a line that are searched: a hostile line must not take minutes
LINE_MOST = 300  # maximum number of characters shown of a line
HEADING = "What this means:"
_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"


class Diagnosis(NamedTuple):
    """A known failure found in a text: the first matching line, cleaned, and the number of matching lines."""

    code: str
    cause: str
    remedy: str
    line: str
    times: int
    general: bool

    def __str__(self) -> str:
        return f"{self.code}: {self.cause} {self.remedy}"


def printable(text: str) -> str:
    """Return a text without control characters, which a terminal, an XML parser or an editor would obey. Lines stay."""
    if text.isprintable():
        return text
    return "".join(sign if sign.isprintable() or sign in "\n\t" else _REPLACEMENT for sign in text)


def plain(text: str) -> str:
    """Return the first LINE_READ characters of a message, without colours and Xinference's actors."""
    return _ACTOR.sub("", _ANSI.sub("", text[:LINE_READ]))


def clean(line: str) -> str:
    """Return a line for people: without colours, process, actor and credentials in addresses, and cut to length."""
    return printable(_USER_IN_URL.sub("[hidden]@", _PLACE.sub("", plain(line))).strip()[:LINE_MOST])


def recognise(line: str) -> Failure | None:
    """Return the most specific known failure that a line matches, or None."""
    said = plain(line)
    head = _LOG_HEAD.match(said)
    if head is not None and head[1] == "DEBUG":
        return None  # DEBUG lines print the text of requests, which any client may choose
    return next((failure for pattern, failure in _COMPILED if pattern.search(said)), None)


def diagnose(text: str | Iterable[str]) -> list[Diagnosis]:
    """Return the failures found in a text or in lines: each once, in the order of the lines, general ones last."""
    found: dict[str, Diagnosis] = {}
    for line in text.splitlines() if isinstance(text, str) else text:
        failure = recognise(line)
        if failure is None:
            continue
        before = found.get(failure.code)
        found[failure.code] = (
            Diagnosis(failure.code, failure.cause, failure.remedy, clean(line), 1, failure.general)
            if before is None
            else before._replace(times=before.times + 1)
        )
    return sorted(found.values(), key=lambda diagnosis: diagnosis.general)


def causes(found: Iterable[Diagnosis]) -> list[Diagnosis]:
    """Drop the general failures if there are specific ones."""
    known = list(found)
    return [diagnosis for diagnosis in known if not diagnosis.general] or known


def words(text: str | Iterable[str], most: int = 3) -> str:
    """Explain a text in lines for people. The result is empty if the text matches no known failure."""
    found = causes(diagnose(text))[:most]
    return "\n".join([HEADING, *(f"  {diagnosis}" for diagnosis in found)]) if found else ""


def explain(message: str, more: str | Iterable[str] = "") -> str:
    """Return a message with its explanation below it, and without control characters.

    ``more`` is searched only if the message itself matches no known failure. A message that already has an
    explanation gets no other one.
    """
    meaning = "" if HEADING in message else words(message) or words(more)
    return printable(f"{message}\n{meaning}" if meaning else message)
