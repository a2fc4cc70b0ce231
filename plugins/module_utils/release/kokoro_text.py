# SPDX-License-Identifier: GPL-3.0-or-later
"""Divide a text so that Kokoro speaks all of it. The repair ``kokoro-words`` puts this file beside Kokoro's own.

Kokoro speaks at most 510 phonemes at once. In other languages than English, upstream divides a text at ``.!?`` alone
and then leaves out what is too long. This file divides at the sentence ends of all nine languages, then at clauses,
then between words. If a single word is too long, it divides the word's phonemes.

The release runs it beside Kokoro, so it needs the standard library alone.
"""

from __future__ import annotations

import ctypes
import functools
import math
import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Callable

# More phonemes do not fit into the model.
LIMIT = 510
# A divided text aims at this many in each part. Kokoro's list of voices warns of hasty speech above it.
WANTED = 400
# An abbreviation is shorter than this many characters. So no more characters before a full stop are examined.
WORD = 32
# Silence to keep where two parts meet, on each side, in samples at 24 kHz. Kokoro begins and ends each part with 0.2 s;
# some Mandarin voices end with 1.3 s. After a clause or sentence 0.2 s remain, which makes a usual pause together.
# Between two words there is no pause.
PAUSE = 4800
NO_PAUSE = 720
# Silence is what stays below this share of the loudest sample.
SILENCE = 0.01

# glibc gives back the memory that was freed once it holds more than this, in bytes.
HELD = 512 << 20
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3

# misaki reads "wasn't" as "was" if the apostrophe is a typographic one.
_APOSTROPHE = re.compile("[\u2018\u2019\u201b\u02bc\uff07]")
# Marks that the front ends swallow: low quotation marks, and the end of a sentence in Hindi.
_MARKS = str.maketrans({"\u201e": "\u201c", "\u201f": "\u201c", "\u0964": ". ", "\u0965": ". "})
# espeak reads "1.250" as "one. two hundred fifty" in Spanish, and so do the others with their own marks.
_THOUSANDS = {
    **dict.fromkeys("eip", re.compile(r"(?<![\d.,])\d{1,3}(?:\.\d{3})+(?![\d.])")),
    **dict.fromkeys("hjz", re.compile(r"(?<![\d.,])\d{1,3}(?:,\d{2,3})*,\d{3}(?![\d,])")),
}
# Quotation marks and brackets that still belong to the sentence or clause before them.
_CLOSING = "[\"'\u201d\u2019\u00bb)\\]\u300d\u300f\u3011\uff09\u300b]*"
# A match begins only at the first mark of a row. Otherwise a long row of marks takes quadratic time.
_SENTENCE = re.compile(
    f"(?:[\u3002\uff01\uff1f\uff0e\uff61\u0964\u0965]+{_CLOSING}|(?<![.!?\u2026])[.!?\u2026]+{_CLOSING}(?=\\s))\\s*"
)
_CLAUSE = re.compile(
    f"(?:[\u3001\uff0c\uff1b\uff1a\uff64]{_CLOSING}|(?:[,;:]{_CLOSING}|[)\\]]|\\s[\u2013\u2014-])(?=\\s)|\u2014)\\s*"
)
_SPACE = re.compile(r"\s+")
# Japanese has no spaces. A phrase mostly begins where kanji or katakana follow hiragana.
_PHRASE = re.compile("\\s+|(?<=[\u3041-\u309f])(?=[\u30a1-\u30fa\u4e00-\u9fff])")

# A front end of misaki returns the phonemes of a text, and something else.
FrontEnd = Callable[[str], "tuple[str, Any]"]


@dataclass
class Piece:
    """A part of a text that the model speaks at once. ``before`` and ``after`` limit its silence; None does not."""

    text: str
    phonemes: str = ""
    before: int | None = None
    after: int | None = None
    tokens: Any = None

    def trimmed(self, output: Any) -> Any:
        """Shorten the silence at the begin and end of the model's output."""
        audio = output.audio
        start, stop = 0, len(audio)
        least = SILENCE * max(abs(float(audio.max())), abs(float(audio.min())))
        if self.before is not None:
            start = next((at for at in range(stop) if abs(float(audio[at])) > least), 0)
        if self.after is not None:
            stop = next((at + 1 for at in range(stop - 1, start, -1) if abs(float(audio[at])) > least), stop)
        output.audio = audio[max(0, start - (self.before or 0)) : stop + (self.after or 0)]
        return output


def clean(text: str, language: str) -> str:
    """Replace the marks that a language's front end misreads or swallows, and join the digits of numbers."""
    if language in _THOUSANDS:
        text = _THOUSANDS[language].sub(lambda match: re.sub("[.,]", "", match.group()), text)
    return (text if language in "jz" else _APOSTROPHE.sub("'", text)).translate(_MARKS)


def pieces(text: str, language: str, g2p: FrontEnd) -> Iterator[Piece]:
    """Yield one line in parts that the model can speak, with their phonemes."""
    return _released(_divided(Piece(text.strip()), language, g2p))


class _Heap(ctypes.Structure):
    """glibc's ``struct mallinfo2``: ``fordblks`` is what it holds of the memory that was freed, in bytes."""

    _fields_ = [("others", ctypes.c_size_t * 8), ("fordblks", ctypes.c_size_t), ("keepcost", ctypes.c_size_t)]


@functools.cache
def _glibc() -> Any:
    """Return the C library, told to keep what the model frees for its next part. Otherwise each array is mapped anew.

    The settings are those of mallopt(3). Older versions refuse a threshold above 32 MB.
    """
    library = ctypes.CDLL(None)
    if not hasattr(library, "mallinfo2"):
        return library
    library.mallinfo2.restype = _Heap
    if not library.mallopt(_M_MMAP_THRESHOLD, 1 << 30):
        library.mallopt(_M_MMAP_THRESHOLD, 1 << 25)
    library.mallopt(_M_TRIM_THRESHOLD, 1 << 30)
    return library


def release_memory() -> None:
    """Let glibc give freed memory back if it holds much. Arrays of varied size leave holes in it: 2 GB after 12 texts.

    Not each time: the next part needs memory again, and each page would be a fault.
    """
    library = _glibc()
    if hasattr(library, "malloc_trim") and (not hasattr(library, "mallinfo2") or library.mallinfo2().fordblks > HELD):
        library.malloc_trim(0)


def _released(found: Iterable[Piece]) -> Iterator[Piece]:
    """Yield parts, and release memory after the model has spoken each of them."""
    for piece in found:
        yield piece
        release_memory()


def english(chunks: Iterable[tuple[str, str, Any]]) -> Iterator[Piece]:
    """Yield the parts into which Kokoro divides an English line. Only a word with too many phonemes loses some."""
    found = [Piece(text, spoken, tokens=tokens) for text, spoken, tokens in chunks]
    for before, after in zip(found, found[1:]):
        before.after = after.before = NO_PAUSE if before.phonemes[-1:].isalpha() else PAUSE
    for piece in found:
        yield from _released(_cut(piece))


def sentences(text: str) -> list[str]:
    """Divide a text after its sentences. The parts together are the text."""
    found = ((match, text[max(0, match.start() - WORD) : match.start()]) for match in _SENTENCE.finditer(text))
    marks = (match for match, before in found if not _abbreviates(before, match.group()))
    return _parts(text, (match.end() for match in marks))


def clauses(text: str) -> list[str]:
    """Divide a text after its clauses."""
    return _parts(text, (match.end() for match in _CLAUSE.finditer(text)))


def words(text: str, language: str) -> list[str]:
    """Divide a text between its words; Japanese before most of its phrases."""
    if language == "z":
        # The front end has loaded jieba, which knows Chinese words.
        jieba: Any = sys.modules.get("jieba")
        return list(jieba.cut(text) if jieba else text)
    return _parts(text, (match.end() for match in (_PHRASE if language == "j" else _SPACE).finditer(text)))


def _abbreviates(before: str, mark: str) -> bool:
    """Whether a full stop ends an initial or an abbreviation such as "Sra.", and no sentence."""
    word = before.split()[-1].lstrip("(\u00bf\u00a1\u00ab\u201c\"'") if before.split() else ""
    return mark.rstrip() == "." and (len(word) <= 1 or (len(word) <= 3 and word[0].isupper()))


def _parts(text: str, ends: Iterable[int]) -> list[str]:
    places = [0, *(end for end in ends if 0 < end < len(text)), len(text)]
    return [text[start:end] for start, end in zip(places, places[1:])]


def _divided(piece: Piece, language: str, g2p: FrontEnd) -> Iterator[Piece]:
    piece.phonemes = g2p(piece.text)[0] if piece.text else ""
    if len(piece.phonemes) <= LIMIT:
        if piece.phonemes:
            yield piece
        return
    for divide in (sentences, clauses, lambda text: words(text, language)):
        parts = divide(piece.text)
        if len(parts) > 1:
            break
    else:
        yield from _cut(piece)
        return
    groups = _groups(parts, math.ceil(len(piece.phonemes) / WANTED))
    inside = PAUSE if divide in (sentences, clauses) else NO_PAUSE
    pauses = [piece.before, *[inside] * (len(groups) - 1), piece.after]
    for group, before, after in zip(groups, pauses, pauses[1:]):
        yield from _divided(Piece(group.strip(), "", before, after), language, g2p)


def _groups(parts: list[str], count: int) -> list[str]:
    """Join parts to about as many groups of about the same length; at least two."""
    total = sum(map(len, parts))
    groups, done = [""], 0
    for part in parts:
        goal = total * len(groups) / count
        if groups[-1] and len(groups) < count and abs(done - goal) <= abs(done + len(part) - goal):
            groups.append("")
        groups[-1] += part
        done += len(part)
    return groups


def _cut(piece: Piece) -> Iterator[Piece]:
    """Divide a part that has too many phonemes, at spaces if there are any."""
    rest, before = piece.phonemes, piece.before
    while len(rest) > LIMIT:
        at = rest.rfind(" ", 1, LIMIT + 1)
        at = at if at > 0 else LIMIT
        yield Piece(piece.text, rest[:at], before, NO_PAUSE, piece.tokens)
        rest, before = rest[at:].lstrip(), NO_PAUSE
    yield Piece(piece.text, rest, before, piece.after, piece.tokens)
