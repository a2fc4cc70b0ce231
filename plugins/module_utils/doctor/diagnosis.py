# SPDX-License-Identifier: GPL-3.0-or-later
"""From the text of a log or of an error to what it means: known failures, with cause and remedy in plain words."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

from .failures import FAILURES, Failure

_COMPILED = [(re.compile(failure.pattern), failure) for failure in FAILURES]
_ANSI = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]")
# Xinference's actors put address and process in front of their errors, its log a time, a level and the rest.
_ACTOR = re.compile(r"\[address=[^\]]*?pid=\d+\]\s*")
_LOG_HEAD = re.compile(r"^\d{4}-\d\d-\d\d[T ][\d:.,]+Z? +([A-Z]+) ")
_PLACE = re.compile(r"pid:\d+ role:\S+ address:\S+ node:\S+ ")
_USER_IN_URL = re.compile(r"(?<=://)[^/\s:@]+(:[^/\s@]*)?@")
LINE_MOST = 300  # characters of a line that are shown
HEADING = "What this means:"


class Diagnosis(NamedTuple):
    """A known failure that a text tells of: the first line that did, cleaned, and how many lines did."""

    code: str
    cause: str
    remedy: str
    line: str
    times: int
    general: bool

    def __str__(self) -> str:
        return f"{self.code}: {self.cause} {self.remedy}"


def clean(line: str) -> str:
    """A line as a person reads it: no colours, no process or actor, no credentials in an address, one trim."""
    plain = _PLACE.sub("", _ACTOR.sub("", _ANSI.sub("", line)))
    return _USER_IN_URL.sub("[hidden]@", plain).strip()[:LINE_MOST]


def recognise(line: str) -> Failure | None:
    """The known failure that one line tells of, the most specific of several; None for all other lines."""
    plain = _ACTOR.sub("", _ANSI.sub("", line))
    head = _LOG_HEAD.match(plain)
    if head is not None and head[1] == "DEBUG":
        return None  # there a request's own words are printed, which anybody may choose
    return next((failure for pattern, failure in _COMPILED if pattern.search(plain)), None)


def diagnose(text: str | Iterable[str]) -> list[Diagnosis]:
    """What a text, or some lines, tell of: each failure once, in the order of the lines; general ones last."""
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
    """Those that say why: the general ones only where there is no other."""
    known = list(found)
    return [diagnosis for diagnosis in known if not diagnosis.general] or known


def words(text: str | Iterable[str], most: int = 3) -> str:
    """What a failure's text means, in lines for people; empty where nothing of it is known."""
    found = causes(diagnose(text))[:most]
    return "\n".join([HEADING, *(f"  {diagnosis}" for diagnosis in found)]) if found else ""


def explain(message: str, more: str | Iterable[str] = "") -> str:
    """A message with what it means under it. The message speaks first; ``more`` is asked where it says nothing known.

    A message that was explained before is left as it is.
    """
    if HEADING in message:
        return message
    meaning = words(message) or words(more)
    return f"{message}\n{meaning}" if meaning else message
