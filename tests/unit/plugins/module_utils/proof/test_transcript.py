# SPDX-License-Identifier: GPL-3.0-or-later
"""A transcription is compared by its words, not by how they are written."""

from __future__ import annotations

import pytest
from ansible_collections.voicefleet.kokoro.plugins.module_utils.proof import transcript, transcript_data

SAME = [
    (
        "en", "I can't pay $1,250 at 5:30 p.m.",
        "I cannot pay one thousand two hundred and fifty dollars at five thirty PM",
    ),
    ("en", "It\u2019s the 23rd of May, they\u2019re well-known.", "it is the twenty-third of May they are well known"),
    ("en", "Dr. Brown has 3.5 percent.", "Doctor Brown has three point five %"),
    ("es", "¿Cuarenta y dos perros y 1.250 gatos?", "42 perros y mil doscientos cincuenta gatos"),
    ("es", "Cien gatos.", "100 gatos"),
    ("fr", "Il a 1 250 chiens et quatre-vingt-deux chats.", "il a mille deux cent cinquante chiens et 82 chats"),
    ("fr", "71 chats, 99 chiens, deux cents", "soixante et onze chats, quatre-vingt-dix-neuf chiens, 200"),
    ("hi", "कुत्ते 42 हैं।", "कुत्ते बयालीस हैं"),
    ("it", "Quarantadue cani, 1.200 gatti, 28 volpi", "42 cani, milleduecento gatti, ventotto volpi"),
    ("ja", "カメラは42匹。", "かめらは 四十二匹"),
    ("pt", "Cento e vinte e três gatos, 14 cães", "123 gatos, catorze cães"),
    ("zh", "四十二只狗和两只猫。", "42隻狗和兩隻貓"),
    ("zh", "他的猫在家。", "她的貓在家"),
]  # fmt: skip
OTHER = [
    ("en", "It is the third of May.", "It is the fourth of May."),
    ("en", "You can go home.", "You can't go home."),
    ("es", "Cuarenta y dos perros.", "43 perros"),
    ("fr", "Il a 71 chats.", "Il a soixante-dix chats."),
    ("zh", "两只猫", "三隻貓"),
]


@pytest.mark.parametrize(("language", "text", "heard"), SAME)
def test_other_ways_to_write_the_same_words_are_no_errors(language: str, text: str, heard: str) -> None:
    for one, other in ((text, heard), (heard, text)):
        assert transcript.compare(one, other, language).wrong == 0, transcript.units_of(one, language)


@pytest.mark.parametrize(("language", "text", "heard"), OTHER)
def test_other_words_are_errors(language: str, text: str, heard: str) -> None:
    assert transcript.compare(text, heard, language).wrong == 1


def test_words_are_counted_and_characters_where_there_are_no_spaces() -> None:
    found = transcript.compare("One two three.", "one three four five", "en")
    assert (found.wrong, found.units, found.what, found.rate) == (3, 3, "words", 1.0)
    found = transcript.compare("狗和猫", "狗猫", "zh")
    assert (found.wrong, found.units, found.what) == (1, 3, "characters")
    assert transcript.compare(" ... ", "any", "en").units == 0


# "The quick brown fox jumps over the lazy dog", as both scripts write it.
FOX = "तेज़ भूरी लोमड़ी आलसी कुत्ते के ऊपर कूदती है।"
URDU_FOX = "تیز بھوری لومڑی آلسی کتے کے اوپر کودتی ہے"


def test_hindi_in_the_script_of_urdu_is_compared_by_consonants() -> None:
    found = transcript.compare(FOX, URDU_FOX, "hi")
    assert (found.wrong, found.what) == (0, "consonants")
    other = transcript.compare(FOX, " ".join(reversed(URDU_FOX.split())), "hi")
    assert other.rate > 0.4
    assert transcript.compare(FOX, FOX, "hi").what == "words"


@pytest.mark.parametrize(
    ("language", "number", "words"),
    [
        ("en", 100342, "one hundred thousand three hundred forty two"),
        ("en", 1_000_000, "one zero zero zero zero zero zero"),
        ("es", 21, "veintiuno"),
        ("fr", 80, "quatre vingt"),
        ("it", 2301, "duemilatrecentouno"),
        ("ja", 1250, "千二百五十"),
        ("zh", 100042, "十万零四十二"),
        ("zh", 105, "一百零五"),
        ("de", 7, "7"),
    ],
)
def test_a_number_becomes_words(language: str, number: int, words: str) -> None:
    assert transcript.spell(number, language) == words


@pytest.mark.parametrize("language", ["de", "en", "fr", "hi", "it", "ja", "zh"])
def test_a_number_of_thousands_of_digits_is_wrong_words_and_no_error(language: str) -> None:
    """Python refuses to read so many digits as one number."""
    for said in ("7" * 9000, "7" * 9000 + "th", "$" + "7.7" * 3000):
        assert transcript.compare("seven", said, language).wrong > 0
    assert transcript.units_of("0" * 31, "en") == ["zero"] * 31


def test_the_tables_are_whole() -> None:
    assert len(transcript_data.TRADITIONAL) == len(transcript_data.SIMPLIFIED) == len(set(transcript_data.TRADITIONAL))
    assert len(transcript_data.SMALL["hi"].split()) == 100
    for signs, sounds in (transcript_data.DEVANAGARI, transcript_data.URDU):
        assert len(signs) == len(sounds.split())


@pytest.mark.parametrize(
    ("text", "spelt"),
    [
        ("Doctor Brown keeps 42 dogs and 3 cats.", "Doctor Brown keeps forty two dogs and three cats."),
        ("10, 20 or 0?", "ten, twenty or zero?"),
        ("Call 555 at 5:30 on 4/7, or 05.", "Call 555 at 5:30 on 4/7, or 05."),
        ("It costs $3, 2.5 euros or 50% of 1,250.", "It costs $3, 2.5 euros or 50% of 1,250."),
        ("The 21st, a 20-year-old, B2 and 20 %.", "The 21st, a 20-year-old, B2 and 20 %."),
        ("-5 and 5+3 and 7\u2019s", "-5 and 5+3 and 7\u2019s"),
    ],
)
def test_small_numbers_that_stand_alone_become_words(text: str, spelt: str) -> None:
    assert transcript.spell_small(text) == spelt
