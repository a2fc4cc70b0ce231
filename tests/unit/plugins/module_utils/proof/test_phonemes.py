# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
import os
import sys
import unicodedata
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible_collections.voicefleet.kokoro.plugins.module_utils.proof import phonemes
from ansible_collections.voicefleet.kokoro.plugins.module_utils.proof.phonemes import (
    REFERENCES,
    ask,
    count,
    judge,
    prove,
)

# A misaki that knows the references by heart, prints as the real one does, and leaves out what it is told to.
MISAKI = """
import json, os
TABLE = json.load(open(os.path.join(os.path.dirname(__file__), "table.json"), encoding="utf-8"))
def speak(language):
    def g2p(text):
        print("TODO", text)
        return TABLE[language][text], None
    return g2p
"""
EN = """
import spacy.cli, spacy.util
from . import speak
def G2P(trf, british, fallback, unk):
    if not spacy.util.is_package("en_core_web_sm"):
        spacy.cli.download("en_core_web_sm")
    assert trf is False and unk == "" and fallback.british == british
    return speak("b" if british else "a")
"""
ESPEAK = """
from . import speak
class EspeakFallback:
    def __init__(self, british): self.british = british
def EspeakG2P(language):
    return speak({"es": "e", "fr-fr": "f", "hi": "h", "it": "i", "pt-br": "p"}[language])
"""


# A Kokoro that may cut what is too long, as the real one does. It marks the text that it divides.
KOKORO = """
from misaki import en, espeak, ja, zh
class KPipeline:
    def __init__(self, lang_code, repo_id, model):
        assert model is False
        self.repo = repo_id
        self.g2p = lambda text: (("x" * CUT[1]) if repo_id.endswith(CUT[2]) else "x" * 9, None)
    def __call__(self, text):
        part = type("Result", (), {"phonemes": "x" * CUT[0]})
        return [part] * (len(text) > 40)
"""


def table() -> dict[str, dict[str, str]]:
    return {
        language: {**{line[1]: line[2] for line in reference.lines}, **dict([reference.plain])}
        for language, reference in REFERENCES.items()
    }


class Interpreter:
    """An interpreter with a made-up misaki and spaCy; run as the test's own user."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "misaki").mkdir(parents=True)
        (folder / "spacy").mkdir()
        (folder / "misaki/__init__.py").write_text(MISAKI)
        (folder / "misaki/en.py").write_text(EN)
        (folder / "misaki/espeak.py").write_text(ESPEAK)
        (folder / "misaki/ja.py").write_text("from . import speak\ndef JAG2P(): return speak('j')\n")
        (folder / "misaki/zh.py").write_text(
            "from . import speak\ndef ZHG2P(version): return speak('z' + (version or ''))\n"
        )
        (folder / "spacy/__init__.py").write_text("")
        (folder / "spacy/cli.py").write_text("def download(name): raise OSError('no network')\n")
        (folder / "kokoro").mkdir()
        (folder / "kokoro/voicefleet_text.py").write_text("def clean(text, language): return text\n")
        self.has_model(True)
        self.knows(table())
        self.speaks(720, 720)
        path = folder / "python"
        path.write_text(
            "#!/bin/sh\n"
            f"exec '{sys.executable}' -I -c 'import sys; sys.path.insert(0, \"{folder}\"); exec(sys.argv[1])' \"$3\"\n"
        )
        path.chmod(0o755)
        self.path = str(path)

    def has_model(self, there: bool) -> None:
        (self.folder / "spacy/util.py").write_text(f"def is_package(name): return {there}\n")

    def speaks(self, parts: int, whole: int, model: str = "") -> None:
        (self.folder / "kokoro/__init__.py").write_text(f"CUT = {parts}, {whole}, {model!r}\n{KOKORO}")

    def knows(self, texts: dict[str, dict[str, str]]) -> None:
        (self.folder / "misaki/table.json").write_text(json.dumps(texts), encoding="utf-8")


@pytest.fixture
def misaki(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Interpreter:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    return Interpreter(tmp_path / "release")


def answer(language: str, **changes: str) -> dict[str, Any]:
    """What misaki says of a language's texts, with some lines changed by the name of their finding."""
    reference = REFERENCES[language]
    return {"phonemes": [*(changes.get(name, said) for name, _text, said in reference.lines), reference.plain[1]]}


def results(spoken: phonemes.Spoken) -> dict[str, bool | None]:
    return {finding.name: finding.ok for finding in spoken.findings}


@pytest.mark.parametrize("language", sorted(REFERENCES))
def test_a_reference_can_show_every_mistake(language: str) -> None:
    """Each line is there, and its invented words are phonemes that the plain text does not have."""
    reference = REFERENCES[language]
    lines = {name: (text, said) for name, text, said in reference.lines}
    assert {"sentence", "number", "invented"} <= set(lines) <= {"sentence", "number", "abbreviation", "invented"}
    assert list(lines)[-1] == "invented"
    assert any(sign.isdigit() for sign in lines["number"][0])
    text, said = lines["invented"]
    assert all(word in text for word in reference.plain[0].split())
    assert count(said) >= count(reference.plain[1]) + 8
    if language != "z1.1":  # its tones are digits
        assert all(not any(sign.isdigit() for sign in said) for _text, said in lines.values())


def test_phonemes_are_counted_without_stress_and_punctuation() -> None:
    assert count("ðə kwˈɪk, bɹˈWn.") == 10
    assert count("fˈɔːti") == 4
    assert count("mɛ̃") == count(unicodedata.normalize("NFC", "mɛ̃")) == 2
    assert count("") == 0


def test_the_right_phonemes_pass_in_every_unicode_form() -> None:
    for form in ("NFC", "NFD"):
        said = {name: unicodedata.normalize(form, words) for name, _text, words in REFERENCES["h"].lines}
        assert set(results(judge("h", answer("h", **said), None)).values()) == {True}


def test_missing_words_are_named() -> None:
    spoken = judge("a", answer("a", invented="ðə  dˈɔɡ."), None)
    assert results(spoken) == {"sentence": True, "number": True, "abbreviation": True, "invented": False}
    assert "the invented words of 'The zorblaxen glimbrious dog.' are left out" in spoken.findings[-1].sentence
    spoken = judge("a", answer("a", number=" dˈɔɡz.", abbreviation=""), None)
    assert results(spoken) == {"sentence": True, "number": False, "abbreviation": False, "invented": True}
    assert "/fˈɔɹTi tˈu dˈɔɡz./ was expected" in spoken.findings[1].sentence
    assert "no phoneme at all" in spoken.findings[2].sentence
    assert spoken.as_dict()["ok"] is False
    assert spoken.as_dict()["lines"][1] == {"text": "42 dogs.", "expected": "fˈɔɹTi tˈu dˈɔɡz.", "phonemes": " dˈɔɡz."}


def test_a_missing_misaki_is_unverified_and_a_broken_one_is_a_failure() -> None:
    assert results(judge("q", None, None)) == {"sentence": None}
    spoken = judge("a", None, "no release on this host")
    assert (results(spoken), spoken.as_dict()["ok"]) == ({"sentence": None}, None)
    assert "no release on this host" in spoken.findings[0].sentence
    spoken = judge("f", {"error": "RuntimeError: no espeak"}, None)
    assert (results(spoken), spoken.as_dict()["ok"]) == ({"sentence": False}, False)
    assert "The release's misaki cannot read French: RuntimeError: no espeak." in spoken.findings[0].sentence


def test_one_process_asks_the_releases_misaki(misaki: Interpreter) -> None:
    asked: list[tuple[str, str]] = []

    def seconds_of(language: str, text: str) -> float:
        asked.append((language, text))
        return 0.25 * len(text)

    languages = [key for key in sorted(REFERENCES) if len(key) == 1]
    found = prove([*languages, "q"], misaki.path, 30, seconds_of)
    assert {spoken.language: results(spoken) for spoken in found} == {
        **{
            language: dict.fromkeys(
                [*(line[0] for line in REFERENCES[language].lines), "long_line", "invented_audio"], True
            )
            for language in languages
        },
        "q": {"sentence": None},
    }
    assert asked[:2] == [("a", "The dog."), ("a", "The zorblaxen glimbrious dog.")]
    assert len(asked) == 2 * len(languages)


def test_the_newer_mandarin_model_has_its_own_reference(misaki: Interpreter) -> None:
    assert phonemes.reading("z", {}) == phonemes.reading("z", {"z": "Kokoro-82M"}) == "z"
    for models, first in (({}, "ʨi→"), ({"z": "Kokoro-82M-v1.1-zh"}, "ㄐ阴1")):
        (spoken,) = prove(["z"], misaki.path, 30, None, models)
        assert (spoken.language, spoken.as_dict()["ok"]) == ("z", True)
        assert spoken.lines[0]["phonemes"].startswith(first)


@pytest.mark.parametrize("language", sorted(REFERENCES))
def test_the_long_line_is_one_sentence_that_is_too_long_for_kokoro(language: str) -> None:
    line, (_name, text, said) = REFERENCES[language].long(language), REFERENCES[language].lines[0]
    assert line.count(text[:-1]) * len(said) >= phonemes.LONG
    assert sum(line.count(end) for end in ".!?\u3002\u0964") == 1
    assert line[-1] == text[-1]


@pytest.mark.parametrize(("parts", "ok"), [(720, True), (706, True), (705, False), (510, False), (0, False)])
def test_a_long_line_that_is_cut_is_noticed(misaki: Interpreter, parts: int, ok: bool) -> None:
    misaki.speaks(parts, 720)
    (spoken,) = prove(["e"], misaki.path, 30, None)
    assert results(spoken)["long_line"] is ok
    words = "is spoken whole" if ok else f"of a sentence of 720 phonemes only {parts} are spoken"
    assert words in spoken.findings[-1].sentence


def test_a_long_line_is_read_by_the_model_that_speaks_the_language(misaki: Interpreter) -> None:
    misaki.speaks(720, 720, "-v1.1-zh")
    for models, ok in (({}, True), ({"z": "Kokoro-82M-v1.1-zh"}, True)):
        (spoken,) = prove(["z"], misaki.path, 30, None, models)
        assert results(spoken)["long_line"] is ok
        # The other model reads nine phonemes only.
        assert spoken.findings[-1].value == (1.0 if models else 80.0)


def test_a_release_whose_kokoro_fails_is_unverified(misaki: Interpreter) -> None:
    (misaki.folder / "kokoro/__init__.py").write_text("raise ImportError('no torch')\n")
    (spoken,) = prove(["e"], misaki.path, 30, None)
    assert results(spoken)["long_line"] is None
    assert "no torch" in spoken.findings[-1].sentence


def test_no_temporary_folder_is_left_behind(
    misaki: Interpreter, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(phonemes, "scratch_base", lambda: str(scratch))
    assert ask(misaki.path, {"i": ["La volpe"]}, 30) == ({"i": {"phonemes": ["la vˈolpe"]}}, None)
    assert list(scratch.iterdir()) == []


def test_a_missing_spacy_model_is_not_downloaded(misaki: Interpreter) -> None:
    misaki.has_model(False)
    (a, e) = prove(["a", "e"], misaki.path, 30, None)
    assert results(a) == {"sentence": False}
    assert "en_core_web_sm is not installed" in a.findings[0].sentence
    assert set(results(e).values()) == {True}


def test_an_interpreter_that_fails_gives_the_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert ask(None, {"a": ["x"]}, 5) == ({}, "no release's Python with misaki is named")
    assert "no release on this host" in str(ask(str(tmp_path / "none"), {"a": ["x"]}, 5)[1])

    def program(text: str) -> str:
        path = tmp_path / "broken"
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)
        return str(path)

    assert str(ask(program("echo Killed >&2; exit 137"), {"a": ["x"]}, 5)[1]).endswith("gave no phonemes: Killed")
    assert str(ask(program("echo hello"), {"a": ["x"]}, 5)[1]).endswith("gave no phonemes: its answer is not JSON")
    assert "did not finish within 0.2 s" in str(ask(program("exec sleep 60"), {"a": ["x"]}, 0.2)[1])
    for spoken in prove(["a", "b"], program("exit 3"), 5, None):
        assert results(spoken) == {"sentence": None}
        assert "exit status 3" in spoken.findings[0].sentence


def test_invented_words_must_make_the_audio_longer() -> None:
    good = phonemes.judge_lengths("a", 0.6, 1.9)
    assert (good.ok, good.value) == (True, 1.3)
    assert "zorblaxen and glimbrious make the audio 1.30 s longer" in good.sentence
    lost = phonemes.judge_lengths("a", 0.6, 0.62)
    assert lost.ok is False
    assert "Words that are in no dictionary are left out" in lost.sentence


def test_an_endpoint_that_does_not_speak_the_words_is_a_failure(misaki: Interpreter) -> None:
    (spoken,) = prove(["p"], misaki.path, 30, lambda _language, _text: "answered 500")
    assert spoken.findings[-1].ok is False
    assert "'A raposa' could not be spoken: answered 500" in spoken.findings[-1].sentence


def test_the_scratch_folder_is_not_on_a_noexec_file_system(monkeypatch: pytest.MonkeyPatch) -> None:
    flags = {"/tmp": os.ST_NOEXEC, "/var/tmp": 0}
    monkeypatch.setattr(os, "statvfs", lambda path: SimpleNamespace(f_flag=flags[path]))
    assert phonemes.scratch_base() == "/var/tmp"

    def missing(path: str) -> None:
        raise FileNotFoundError(path)

    monkeypatch.setattr(os, "statvfs", missing)
    assert phonemes.scratch_base() == "/var/lib"
