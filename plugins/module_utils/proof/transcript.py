# SPDX-License-Identifier: GPL-3.0-or-later
"""Compare a transcription with the text that was spoken, by the words rather than by how they are written.

Whisper writes 42 for forty-two, traditional characters for simplified ones, and Hindi in Urdu's script. So both texts
are brought into one form before they are compared: numbers become words, contractions and abbreviations become whole
words, and Chinese characters become simplified. Urdu's script has no short vowels, so Hindi in it is compared by its
consonants alone.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from . import transcript_data as data
from .recogniser_program import distance

NO_SPACES = ("ja", "zh")
LARGEST = 999_999  # larger numbers are compared by their digits
MOST_DIGITS = 30
_DIGITS = "零一二三四五六七八九"
_SIMPLIFIED = str.maketrans(data.TRADITIONAL, data.SIMPLIFIED)
# Characters that say the same as another one, or sound like it: he, she and it.
_HAN = str.maketrans({"〇": "零", "两": "二", "兩": "二", "%": "百分之", "她": "他", "它": "他"})
_NUKTA = "\u093c"
_HALF_N = str.maketrans({"\u0901": "\u0902"})
_URDU = re.compile("[\u0600-\u06ff]")
# Neither a part of a larger number, date, time, amount, fraction or name, nor with a sign that is spoken.
_ALONE = re.compile(r"(?<![\w.,:/$£€+'\u2019-])(?:[1-9]\d|\d)(?![\w%+°]|[.,:/'\u2019-]\w|\s[%+/=])")
_ORDINALS = {"one": "first", "two": "second", "three": "third", "five": "fifth", "eight": "eighth", "nine": "ninth"}


@dataclass(frozen=True)
class Difference:
    """How many units of a text a transcription got wrong, and what the units are."""

    wrong: int
    units: int
    what: str  # words, characters or consonants

    @property
    def rate(self) -> float:
        return self.wrong / self.units if self.units else 0.0


def _digits(digits: str, language: str) -> str:
    """Return the words of a number that is written in digits. Python reads only so many digits as one number."""
    if len(digits) > MOST_DIGITS:
        return " ".join(spell(int(digit), language) for digit in digits)
    return spell(int(digits), language)


def spell(number: int, language: str) -> str:
    """Return a number in words, separated by spaces. Return the digits if they are too many, or it has no words."""
    if not 0 <= number <= LARGEST:
        return " ".join(spell(int(digit), language) for digit in str(number))
    if language in NO_SPACES:
        return _spell_han(number, language)
    if language not in data.HUNDREDS:
        return str(number)
    parts = []
    thousands, rest = divmod(number, 1000)
    if thousands:
        before = spell(thousands, language)
        word = "mille" if (language, thousands) == ("it", 1) else data.THOUSAND[language]
        parts.append(f"{before} {word}" if thousands > 1 or language in ("en", "hi") else word)
    hundreds, rest = divmod(rest, 100)
    if hundreds:
        names = data.HUNDREDS[language].split()
        count = _small(hundreds, language) if hundreds > 1 or language in ("en", "hi") else ""
        parts.append(names[hundreds - 1] if len(names) > 1 else f"{count} {names[0]}".strip())
    if rest or not number:
        parts.append(_small(rest, language))
    # Italian writes a number as one word.
    return ("" if language == "it" else " ").join(parts).replace("-", " ").replace(" mila", "mila")


def spell_small(text: str) -> str:
    """Write the numbers from 0 to 99 of an English text in words, where they stand alone. They have one reading."""
    return _ALONE.sub(lambda found: spell(int(found.group()), "en"), text)


def _small(number: int, language: str) -> str:
    """Return a number below 100 in words."""
    small = data.SMALL[language].split()
    if number < len(small):
        return small[number]
    tens, ones = divmod(number, 10)
    word = data.TENS[language].split()[tens - 2]
    if language == "fr" and tens in (7, 9):
        ones += 10
    if not ones:
        return word
    if language == "it":
        return (word[:-1] if ones in (1, 8) else word) + small[ones]
    return f"{word} {small[ones]}"


def _spell_han(number: int, language: str) -> str:
    """Return a number in Chinese characters, as Mandarin or Japanese read it."""
    high, low = divmod(number, 10_000)
    if high:
        zero = "零" if language == "zh" and 0 < low < 1000 else ""
        return _spell_han(high, language) + "万" + (zero + _spell_han(low, language) if low else "")
    said, gap = "", False
    for place, unit in ((1000, "千"), (100, "百"), (10, "十"), (1, "")):
        digit = number // place % 10
        if not digit:
            gap = bool(said)
            continue
        said += "零" if gap and language == "zh" else ""
        gap = False
        plain = digit == 1 and (place == 10 and not said if language == "zh" else place in (10, 100, 1000))
        said += unit if plain else _DIGITS[digit] + unit
    return said or _DIGITS[0]


def _numbers(text: str, language: str) -> str:
    """Write the numbers of a text in words."""
    mark = "." if language in ("es", "fr", "it", "pt") else ","
    text = re.sub(rf"(?<=\d){re.escape(mark)}(?=\d{{3}}(?!\d))", "", text)
    if language == "fr":
        text = re.sub(r"(?<=\d)\s(?=\d{3}(?!\d))", "", text)
    if language == "en":
        text = re.sub(r"([$£€])\s?(\d[\d.]*\d|\d)", r"\2 \1", text)
        text = re.sub(
            rf"(?<!\d)(\d{{1,{MOST_DIGITS}}})(?:st|nd|rd|th)\b", lambda found: _ordinal(int(found.group(1))), text
        )
        text = re.sub(r"(?<=\d)\.(?=\d)", " point ", text)
    space = "" if language in NO_SPACES else " "
    return re.sub(r"\d+", lambda found: f"{space}{_digits(found.group(), language)}{space}", text)


def _ordinal(number: int) -> str:
    """Return an English ordinal in words, such as twenty third."""
    *before, last = spell(number, "en").split()
    ending = last[:-1] + "ieth" if last.endswith("y") else last.replace("twelve", "twelf") + "th"
    return " ".join([*before, _ORDINALS.get(last, ending)])


def units_of(text: str, language: str) -> list[str]:
    """Return the words of a text in one form, or its characters if the script has no spaces between words."""
    text = unicodedata.normalize("NFKC", text).lower().replace("\u2019", "'")
    if language in NO_SPACES:
        text = _unmarked(_numbers(text, language).translate(_HAN)).replace(" ", "")
        return list(text.translate(_SIMPLIFIED) if language == "zh" else _hiragana(text))
    # A row of letters with points is one word, such as a.m. and p.m.
    text = re.sub(r"\b(?:[^\W\d_]\.){2,}", lambda found: found.group().replace(".", ""), text)
    text = _unmarked(_numbers(text, language)).replace("ड" + _NUKTA, "र").replace(_NUKTA, "").translate(_HALF_N)
    same = data.SAME.get(language, {})
    words = (word.strip("'") for word in text.split())
    return _unlinked([part for word in words for part in same.get(word, _parted(word, language)).split()], language)


def _unmarked(text: str) -> str:
    """Return a text with spaces for punctuation. Spoken signs and apostrophes remain."""
    kept = "'%&"
    return " ".join("".join(sign if sign in kept or unicodedata.category(sign)[0] not in "PCZ" else " " for sign in text
                            ).replace("&", " & ").replace("%", " % ").split())  # fmt: skip


def _hiragana(text: str) -> str:
    """Return a text with hiragana for katakana, which say the same."""
    return "".join(chr(ord(sign) - 0x60) if "\u30a1" <= sign <= "\u30f6" else sign for sign in text)


def _parted(word: str, language: str) -> str:
    """Return a contraction of English in whole words."""
    if language == "en":
        for ending, whole in data.ENDINGS.items():
            if word.endswith(ending) and len(word) > len(ending):
                return f"{word[: -len(ending)]} {whole}"
    return word


def _unlinked(words: Sequence[str], language: str) -> list[str]:
    """Leave out words that only link the parts of a number: one hundred (and) five."""
    links = data.LINKS.get(language)
    if not links:
        return list(words)
    numbers = {word for table in (data.SMALL, data.TENS, data.HUNDREDS, data.THOUSAND) for word in
               re.split("[ -]", table.get(language, ""))}  # fmt: skip
    around = zip(words, ["", *words], [*words[1:], ""])
    return [word for word, before, after in around if not (word in links and before in numbers and after in numbers)]


def _consonants(text: str) -> list[str]:
    """Return the consonants of Hindi in the script of Hindi or of Urdu, by their sound."""
    table = {
        sign: sound for signs, sounds in (data.DEVANAGARI, data.URDU) for sign, sound in zip(signs, sounds.split())
    }
    plain = unicodedata.normalize("NFKC", _numbers(text, "hi")).replace("ड" + _NUKTA, "र").translate(_HALF_N)
    # Urdu's script does not write a double consonant.
    return [sound for sound, _more in groupby("".join(table.get(sign, "") for sign in plain))]


def compare(text: str, heard: str, language: str) -> Difference:
    """Return how a transcription differs from a text. ``language`` is Whisper's name of it, such as ``en``."""
    if language == "hi" and _URDU.search(heard):
        wanted, got, what = _consonants(text), _consonants(heard), "consonants"
    else:
        what = "characters" if language in NO_SPACES else "words"
        wanted, got = units_of(text, language), units_of(heard, language)
    return Difference(distance(wanted, got), len(wanted), what)
