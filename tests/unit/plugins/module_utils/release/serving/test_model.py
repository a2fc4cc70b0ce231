# SPDX-License-Identifier: GPL-3.0-or-later
"""What the model's class does with a text. The scenario service tries it with the real model."""

from __future__ import annotations

import sys
import types
from collections.abc import Iterator
from typing import Any

import pytest
from ansible_collections.voicefleet.kokoro.plugins.module_utils.release.serving import encoding, model
from ansible_collections.voicefleet.kokoro.plugins.module_utils.release.serving.request import Settings, Speech
from ansible_collections.voicefleet.kokoro.plugins.module_utils.xinference import config

numpy = pytest.importorskip("numpy")


class Kokoro:
    """Speaks each text as a tone, with the given phonemes."""

    _model_path = "/model"

    def __init__(self, phonemes: str) -> None:
        self.phonemes = phonemes

    def _model(self, text: str, voice: str, speed: float) -> Iterator[tuple[str, str, Any]]:
        yield text, self.phonemes, numpy.full(encoding.RATE, 0.5, "float32")


@pytest.fixture(autouse=True)
def _seed(monkeypatch: pytest.MonkeyPatch) -> None:
    name = "xinference.model.audio.utils"
    monkeypatch.setitem(sys.modules, name, types.SimpleNamespace(apply_audio_seed=lambda _seed: None))  # type: ignore[arg-type]


def spoken(text: str, phonemes: str) -> list[Any]:
    return [sound for sound, _more in model._spoken(Kokoro(phonemes), Speech(text, ("af_heart",), "wav", 1.0))]


@pytest.mark.parametrize("text", ["...", "***", "?!", "\u2026", "\U0001f600", " \n- "])
def test_a_text_without_any_word_is_a_short_silence(text: str) -> None:
    """Kokoro would speak half a second of noise."""
    (silence,) = spoken(text, "\u2026")
    assert len(silence) == int(model.WORDLESS * encoding.RATE)
    assert not silence.any()


def test_an_emoji_that_the_voice_reads_by_name_is_spoken() -> None:
    (sound,) = spoken("\U0001f600", "k\u02c8a\u027ea s\u02cconri\u02c8\u025bndo")
    assert sound.any()


def test_words_that_the_voice_cannot_read_are_no_silence() -> None:
    """The request is then refused."""
    assert spoken("\u4f60\u597d", "\u2753") == []


def test_marks_beside_words_add_no_noise() -> None:
    class Beside(Kokoro):
        def _model(self, text: str, voice: str, speed: float) -> Iterator[tuple[str, str, Any]]:
            self.phonemes = "" if text == "***" else "\u0259"
            yield from super()._model(text, voice, speed)

    found = list(model._spoken(Beside(""), Speech("One.\n***\nTwo.", ("af_heart",), "wav", 1.0)))
    assert len(found) == 2


class Clauses(Kokoro):
    """Speaks each clause of a part on its own, as Kokoro does with long ones."""

    def _model(self, text: str, voice: str, speed: float) -> Iterator[tuple[str, str, Any]]:
        for clause in text.split(","):
            yield from super()._model(clause, voice, speed)


@pytest.mark.parametrize(
    ("text", "turns"),
    [
        ("It rains.", 1),
        ("It rains, and we stay.", 2),
        ("The rain fell on the old harbour all night.\nNobody spoke of it, and we stay.", 3),
    ],
)
def test_the_end_of_a_text_takes_no_turn_of_its_own(text: str, turns: int) -> None:
    """Otherwise each short text waits for a part of every other one after it was spoken."""
    work, found = model._spoken(Clauses("\u0259"), Speech(text, ("af_heart",), "wav", 1.0)), []
    more = True
    while more:
        sounds, more = model._next(work)
        found.append(len(sounds))
    assert found == [1] * turns


def test_what_the_model_speaks_after_the_texts_last_sign_is_kept() -> None:
    """The end is a guess: the model may repeat a text, or speak of it in other signs."""

    class Twice(Kokoro):
        def _model(self, text: str, voice: str, speed: float) -> Iterator[tuple[str, str, Any]]:
            yield from [*super()._model(text, voice, speed)] * 2

    work = model._spoken(Twice("\u0259"), Speech("It rains.", ("af_heart",), "wav", 1.0))
    sounds, more = model._next(work)
    assert (len(sounds), more) == (2, False)


def test_further_names_of_the_model_that_hears_mean_the_one_that_is_served() -> None:
    assert Settings().hearing == config.HEARING_UID
