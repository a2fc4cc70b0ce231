# SPDX-License-Identifier: GPL-3.0-or-later
"""A text is divided into whole sentences: the first alone, so that a stream begins soon, the others in groups."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from ansible_collections.voicefleet.kokoro.plugins.module_utils.release import kokoro_text
from ansible_collections.voicefleet.kokoro.plugins.module_utils.release.serving.sentences import DENSE, LEAST, parts

PARAGRAPHS: dict[str, str] = json.loads(
    (Path(__file__).parents[5] / "audio/paragraphs.json").read_text(encoding="utf-8")
)


def divided(text: str, language: str = "a") -> list[str]:
    return list(parts(text, language, kokoro_text.sentences))


def test_a_short_text_is_one_part() -> None:
    assert divided("Good night.") == ["Good night."]
    assert divided("  Good night. \n\n") == ["Good night."]


def test_the_first_sentence_comes_alone_and_other_short_ones_in_groups() -> None:
    sentence = "The wind was strong that night. "
    found = divided(sentence * 7)
    assert found[0] == sentence.strip()
    assert [part.count(".") for part in found] == [1, 2, 2, 2]


def test_a_usual_sentence_is_a_part_of_its_own() -> None:
    """A short request waits for one part."""
    sentence = "The harbour was quiet, and the ships lay still on the water."
    assert divided(" ".join([sentence] * 82)) == [sentence] * 82


def test_a_very_short_first_sentence_takes_the_next_one_with_it() -> None:
    assert divided("Yes. I will come at noon. " + "And then we go. " * 3)[0] == "Yes. I will come at noon."


@pytest.mark.parametrize("title", ["Prof.", "Dr.", "Mrs.", "St.", "Capt."])
def test_a_title_does_not_end_a_sentence(title: str) -> None:
    text = f"Yesterday in the evening we met {title} Smith at the harbour. He was glad."
    assert divided(text)[0] == f"Yesterday in the evening we met {title} Smith at the harbour."


def test_a_small_letter_does_not_begin_a_sentence() -> None:
    text = "We brought fruit for everybody, e.g. apples and pears from the garden. It was good."
    assert divided(text)[0].endswith("from the garden.")


def test_lines_are_never_joined() -> None:
    assert divided("One line without an end\nAnother line") == ["One line without an end", "Another line"]


def test_languages_without_spaces_are_divided_too() -> None:
    text = "\u4eca\u65e5\u306f\u5929\u6c17\u304c\u3044\u3044\u3067\u3059\u3002" * 6
    found = divided(text, "j")
    assert "".join(found) == text
    assert len(found) > 2


@pytest.mark.parametrize("language", PARAGRAPHS)
def test_every_language_is_divided_at_its_own_sentence_ends(language: str) -> None:
    """A part is one sentence, or short ones that together are long enough only with the last of them."""
    least = LEAST / (DENSE if language in "jz" else 1)
    found = divided(PARAGRAPHS[language], language)
    assert len(found) > 3
    for part in found:
        ends = [end.end() for end in re.finditer("[.!?\u3002\uff01\uff1f\u0964]", part)]
        assert ends[-1] == len(part)
        assert all(end < least for end in ends[:-1])


@pytest.mark.parametrize("language", list("abefhijpz"))
def test_no_word_is_lost(language: str) -> None:
    text = 'He said: "Go!" Then... nothing; e.g. 3.14 or 1,250.50? Yes!! (Maybe.) Mr. X. left.\n\nThe end' * 20
    assert re.sub(r"\s", "", "".join(divided(text, language))) == re.sub(r"\s", "", text)


def test_a_long_row_of_marks_takes_no_long_time() -> None:
    assert divided("." * 20000)
    assert divided("A." * 10000)
