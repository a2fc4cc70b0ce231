# SPDX-License-Identifier: GPL-3.0-or-later
"""Divide a text into the parts after which requests take turns and a stream sends what is spoken."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Callable

# A part has at least this many characters; the first part is shorter, so that a stream begins soon. Kokoro speaks very
# short texts badly. A usual sentence is a part of its own, because a short request waits for a part of a long one. A
# Chinese or Japanese character takes about as long as three others.
LEAST, FIRST = 60, 20
DENSE = 3

# After these, the sentence goes on: "Prof. Smith", "e.g. apples".
_GOES_ON = re.compile(r"(?:\b[A-Z][a-z]{0,4}|\b[a-z](?:\.[a-z])+)\.[\"'\u201d\u2019)\]]*\s*\Z")
_BEGINS_SMALL = re.compile(r"[\s\"'(\[\u201c\u2018]*[a-z]")


def parts(text: str, language: str, sentences: Callable[[str], Iterable[str]]) -> Iterator[str]:
    """Yield a text in parts of whole sentences, line by line; a line without words belongs to no part."""
    dense = DENSE if language in ("j", "z") else 1
    least = FIRST / dense
    for line in text.splitlines():
        part = ""
        for sentence in _joined(sentences(line)):
            part += sentence
            if len(part.strip()) >= least:
                yield part.strip()
                part, least = "", LEAST / dense
        if part.strip():
            yield part.strip()
            least = LEAST / dense


def _joined(sentences: Iterable[str]) -> Iterator[str]:
    """Join what was divided after an abbreviation."""
    kept = ""
    for sentence in sentences:
        if kept and not (_GOES_ON.search(kept[-40:]) or _BEGINS_SMALL.match(sentence)):
            yield kept
            kept = ""
        kept += sentence
    if kept:
        yield kept
