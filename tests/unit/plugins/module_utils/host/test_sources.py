# SPDX-License-Identifier: GPL-3.0-or-later
"""Messages about files that are not the published ones."""

from __future__ import annotations

import pytest
from ansible_collections.voicefleet.kokoro.plugins.module_utils.host import sources

WEIGHTS, VOICE, SPACY = "kokoro/Kokoro-82M/w.pth", "kokoro/Kokoro-82M/voices/af_heart.pt", "spacy/en.tar.gz"


@pytest.mark.parametrize(
    ("unpublished", "source", "said"),
    [
        ({}, "published", ""),
        ({WEIGHTS: "converted"}, "converted", "Kokoro's voice, from an 8-bit copy, not the published file"),
        ({WEIGHTS: "converted", VOICE: "made-up"}, "made-up", "this audio is not Kokoro's voice"),
        # The voice is what counts: a made-up spaCy model does not change whose it is.
        ({WEIGHTS: "converted", SPACY: "made-up"}, "made-up", "Kokoro's voice, from an 8-bit copy"),
        ({SPACY: "converted"}, "converted", "other files are not the published ones"),
    ],
)
def test_the_worst_source_counts(unpublished: dict[str, str], source: str, said: str) -> None:
    assert sources.of(unpublished) == source
    assert said in sources.in_words(unpublished)
    assert bool(sources.in_words(unpublished)) == bool(unpublished)


def test_a_sentence_names_a_few_files() -> None:
    assert sources.sentence({}) == ""
    assert sources.sentence({WEIGHTS: "made-up"}) == f"MADE-UP WEIGHTS: this audio is not Kokoro's voice ({WEIGHTS})."
    many = {f"kokoro/{number}": "converted" for number in range(5)}
    assert sources.sentence(many).endswith("(kokoro/0, kokoro/1, kokoro/2 and 2 more).")
