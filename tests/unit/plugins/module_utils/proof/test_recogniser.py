# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.voicefleet.kokoro.plugins.module_utils.proof import (
    interpreter,
    proof,
    recogniser,
    recogniser_program,
)
from ansible_collections.voicefleet.kokoro.plugins.module_utils.proof.recogniser import Recording
from ansible_collections.voicefleet.kokoro.plugins.module_utils.proof.speech import SpeechError

WORDS = ["the", "quick", "brown", "fox", "jumps", "over", "the", "lazy", "dog"]
# Of CMU's dictionary.
DICTIONARY = """the DH AH
the(2) DH IY
quick K W IH K
brown B R AW N
fox F AA K S
over OW V ER
dog D AO G
dogs D AO G Z
horse HH AO R S
water W AO T ER
when W EH N
""".splitlines()
SAID = recogniser_program.read_dictionary(DICTIONARY)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("The quick — brown \u201cfox\u201d (jumps)!", ["the", "quick", "brown", "fox", "jumps"]),
        ("Don\u2019t stop, it's well-known.", ["don't", "stop", "it's", "well", "known"]),
        ("5 & 6 cost $3", ["5", "&", "6", "cost", "$", "3"]),
        (" … ", []),
    ],
)
def test_a_text_is_split_into_words(text: str, words: list[str]) -> None:
    assert recogniser_program.words_of(text) == words


def test_the_distance_counts_added_missing_and_exchanged_words() -> None:
    count = recogniser_program.distance
    assert count("kitten", "sitting") == 3
    assert (count(WORDS, WORDS), count(WORDS, []), count([], WORDS)) == (0, 9, 9)


def test_a_word_has_several_pronunciations() -> None:
    assert SAID["the"] == [("DH", "AH"), ("DH", "IY")]


def test_a_british_r_is_silent_before_a_consonant() -> None:
    assert ("HH", "AO", "S") in recogniser_program.british(("HH", "AO", "R", "S"))
    assert ("AH", "V", "AH") in recogniser_program.british(("OW", "V", "ER"))
    assert recogniser_program.british(("B", "R", "AW", "N"))[0] == ("B", "R", "AW", "N")


def test_the_grammar_offers_words_that_sound_different() -> None:
    words = ["the", "dog", "over", "dogs"]
    assert recogniser_program.choices(words, 0, SAID) == []
    # Of the common words water sounds like it, with its vowel, and of the text's own dogs.
    assert recogniser_program.choices(words, 1, SAID) == ["when", "over"]
    text = recogniser_program.grammar(words, SAID)
    assert "( /0.9999/ the | /0.000050000000/ <NULL> )" in text
    assert "( /0.9999/ dog | /0.000050000000/ (when | over) | /0.000050000000/ <NULL> )" in text


def judged(heard: str, british: bool = False) -> bool | None:
    return recogniser.judge(WORDS, heard.split(), british).ok


def test_the_exact_words_pass() -> None:
    assert judged(" ".join(WORDS)) is True


@pytest.mark.parametrize(
    ("heard", "ok"),
    [
        ("the quick brown fox jumps over the lazy clock", None),
        # A word that is missing is not one that was misheard.
        ("the quick fox jumps over the lazy dog", False),
        ("month", False),
        ("the slow green frog sleeps under the busy cat", False),
        ("", False),
    ],
)
def test_other_words_do_not_pass(heard: str, ok: bool | None) -> None:
    assert judged(heard) is ok


def test_more_words_of_a_british_voice_may_be_misheard() -> None:
    heard = "the quick brown fox dog with the lazy cold"
    assert (judged(heard), judged(heard, british=True)) == (False, None)


def test_the_finding_names_the_heard_words() -> None:
    assert "heard 'month' instead of 'the quick" in recogniser.judge(WORDS, ["month"], False).sentence
    assert "heard nothing instead of" in recogniser.judge(WORDS, [], False).sentence


@pytest.mark.parametrize(
    ("voice", "language", "british"),
    [("af_heart", "en", False), ("bf_emma", "en", True), ("jf_alpha", "ja", False), ("fable", "en", False)],
)
def test_the_name_of_a_voice_gives_its_language(voice: str, language: str, british: bool) -> None:
    recording = Recording(voice, "a.wav", b"")
    assert (recording.language, recording.british) == (language, british)


def sentence_of(text: str, python: str | None, voice: str = "af_heart") -> str:
    (finding,) = recogniser.hear([Recording(voice, "a.wav", b"")], text, python)
    assert (finding.ok, finding.level) == (None, "intelligible")
    return finding.sentence


def python_that(tmp_path: Path, does: str) -> str:
    """A stand-in for an interpreter; whoever runs the tests may run it, as nobody too."""
    script = tmp_path / "python"
    script.write_text(f"#!/bin/sh\n{does}\n")
    script.chmod(0o755)
    return str(script)


@pytest.fixture(autouse=True)
def _as_the_one_who_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interpreter, "as_nobody", dict)


def test_an_unheard_sample_is_unverified_with_the_reason(tmp_path: Path) -> None:
    text = "One two three."
    assert "fewer than 3 words" in sentence_of("Two words.", sys.executable)
    assert "ff_siwis speaks another language" in sentence_of(text, sys.executable, "ff_siwis")
    assert "no Python with pocketsphinx" in sentence_of(text, None)
    assert "No such file" in sentence_of(text, str(tmp_path / "nothing"))
    old = python_that(tmp_path, "echo \"ModuleNotFoundError: No module named 'pocketsphinx'\" >&2; exit 1")
    assert "the release is older than this collection. Run fetch.yml" in sentence_of(text, old)
    assert "Segmentation" in sentence_of(text, python_that(tmp_path, "echo Segmentation fault >&2; exit 139"))
    assert "could not recognise the words" in sentence_of(text, python_that(tmp_path, "echo no JSON"))
    unknown = {"words": ["call", "555"], "unknown": ["555"], "samples": []}
    assert "dictionary lacks '555'" in sentence_of(text, python_that(tmp_path, f"echo '{json.dumps(unknown)}'"))


def all_heard(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Let the recogniser hear each word that it is asked for. Return the list of the texts that it gets."""
    asked: list[str] = []

    def run(request: dict[str, Any], python: str) -> dict[str, Any]:
        asked.append(request["text"])
        words = recogniser_program.words_of(request["text"])
        return {"words": words, "unknown": [], "samples": [{"heard": words}]}

    monkeypatch.setattr(recogniser, "run", run)
    return asked


def test_small_numbers_in_digits_are_heard_as_words(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = all_heard(monkeypatch)
    (finding,) = recogniser.hear([Recording("af_heart", "a.wav", b"")], "He keeps 42 dogs.", "python")
    assert asked == ["He keeps forty two dogs."]
    assert finding.ok


def test_a_text_that_would_take_minutes_is_unverified(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = all_heard(monkeypatch)
    found = [recogniser.hear([Recording("af_heart", "a.wav", b"")], "word " * count, "python")[0] for count in (30, 31)]
    assert [finding.ok for finding in found] == [True, None]
    assert "more than 30 words" in found[1].sentence
    assert len(asked) == 1


def test_a_recogniser_that_hangs_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recogniser, "START_SECONDS", 0.1)
    monkeypatch.setattr(recogniser, "SECONDS", 0.1)
    assert "did not finish within" in sentence_of("One two three.", python_that(tmp_path, "exec sleep 60"))


def test_the_program_names_unknown_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "en-us").mkdir()
    (tmp_path / "en-us" / "cmudict-en-us.dict").write_text("\n".join(DICTIONARY))

    class Sphinx:
        @staticmethod
        def get_model_path() -> str:
            return str(tmp_path)

    monkeypatch.setitem(sys.modules, "pocketsphinx", Sphinx)
    sink = io.StringIO()
    recogniser_program.main(io.StringIO('{"text": "The dog 7", "seconds": 1, "samples": [{}]}'), sink)
    assert json.loads(sink.getvalue()) == {"words": ["the", "dog", "7"], "unknown": ["7"], "samples": []}


@pytest.mark.parametrize(
    ("text", "heard", "language", "ok"),
    [
        ("One two three four five.", "one, two three four five", "en", True),
        ("One two three four five.", "One two tree four five.", "en", True),
        ("One two three four five.", "One two four.", "en", False),
        ("こんにちは世界", "こんにちは 世界。", "ja", True),
        ("こんにちは世界", "さようなら世界", "ja", False),
    ],
)
def test_a_transcription_is_judged_by_its_wrong_words(text: str, heard: str, language: str, ok: bool) -> None:
    finding = recogniser.compare(text, heard, language, 0.2)
    assert finding.ok is ok
    assert heard.rstrip("。")[:4] in finding.sentence


def test_a_transcriber_that_fails_proves_nothing() -> None:
    class Client:
        def transcribe(self, *_arguments: Any) -> str:
            raise SpeechError("no_model", "no model 'whisper' runs there.")

    client: Any = Client()
    (finding,) = recogniser.listen(client, [Recording("af_heart", "a.wav", b"")], "Any text.", None, "whisper")
    assert finding.ok is None
    assert "whisper did not transcribe it: no model" in finding.sentence


def test_each_recording_is_compared_with_its_own_text() -> None:
    class Client:
        def transcribe(self, *_arguments: Any) -> str:
            return "El zorro salta."

    client: Any = Client()
    recordings = [Recording("ef_dora", "e.wav", b"", "El zorro salta."), Recording("af_heart", "a.wav", b"")]
    findings = recogniser.listen(client, recordings, "The fox jumps.", None, "whisper")
    assert [finding.ok for finding in findings] == [True, False]
    rates = recogniser.error_rates([("ef_dora", findings[0]), ("em_alex", findings[1]), ("af_heart", findings[1])])
    assert rates == {"a": 1.0, "e": 0.5}
    assert recogniser.error_rates([("af_heart", recogniser.unverified("it is quiet."))]) == {}


@pytest.mark.parametrize(("kind", "requests"), [("no_model", 1), ("unauthorized", 1), ("timeout", 2), ("failed", 4)])
def test_a_transcriber_that_cannot_answer_is_not_asked_for_each_voice(kind: str, requests: int) -> None:
    asked: list[str] = []

    class Client:
        def transcribe(self, model: str, data: bytes, file_name: str, language: str) -> str:
            asked.append(file_name)
            raise SpeechError(kind, "no way")

    client: Any = Client()
    found = recogniser.listen(client, [Recording("af_heart", "a.wav", b"")] * 4, "The fox jumps.", None, "whisper")
    assert len(asked) == requests
    assert [finding.ok for finding in found] == [None] * 4
    assert all("no way" in finding.sentence for finding in found)


def test_a_voice_speaks_its_own_language_unless_a_text_is_given() -> None:
    def text_of(voice: str, **changes: Any) -> str:
        return proof.Wanted("1", "kokoro", [voice], ["wav"], **changes).text_of(voice)

    assert text_of("ff_siwis", transcriber="whisper").startswith("Demain matin")
    assert text_of("ff_siwis") == text_of("ff_siwis", transcriber="whisper")
    assert text_of("af_heart", transcriber="whisper") == text_of("bf_emma") == proof.TEXT
    # Other servers name their voices in other ways.
    assert text_of("echo", transcriber="whisper") == text_of("zf") == text_of("qf_x") == proof.TEXT
    assert text_of("ff_siwis", transcriber="whisper", text="Bonsoir.") == "Bonsoir."
    assert set(recogniser.SENTENCES) == set(recogniser.LANGUAGES) - {"a", "b"}
