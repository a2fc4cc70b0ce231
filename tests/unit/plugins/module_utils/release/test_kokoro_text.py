# SPDX-License-Identifier: GPL-3.0-or-later
"""What the repair kokoro-words brings into a release: every word of a text reaches the model, in parts that fit."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from ansible_collections.voicefleet.kokoro.plugins.module_utils.release import kokoro_text as text

PARAGRAPHS: dict[str, str] = json.loads(
    (Path(__file__).parents[4] / "audio/paragraphs.json").read_text(encoding="utf-8")
)
# About how many phonemes a letter of each language becomes.
RATES = {"j": 2, "z": 3}
MARKS = '.,;:!?¿¡…—()\u201c\u201d"、，。！？；：'


def phonemes_of(language: str) -> Any:
    """Stand in for a front end: it repeats each sign, as often as the language needs phonemes for it."""
    return lambda part: ("".join(sign * (1 if sign == " " else RATES.get(language, 1)) for sign in part), None)


def bare(line: str) -> str:
    return "".join(line.split())


@pytest.fixture(autouse=True)
def jieba(monkeypatch: pytest.MonkeyPatch) -> None:
    """Words of two signs, as most Chinese words are."""
    module = ModuleType("jieba")
    module.cut = lambda line: [line[at : at + 2] for at in range(0, len(line), 2)]  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "jieba", module)


def split(line: str, language: str) -> list[text.Piece]:
    return list(text.pieces(line, language, phonemes_of(language)))


@pytest.mark.parametrize("language", PARAGRAPHS)
def test_a_paragraph_is_spoken_whole_and_divided_at_sentence_ends(language: str) -> None:
    line = text.clean(PARAGRAPHS[language], language)
    found = split(line, language)
    assert bare("".join(piece.text for piece in found)) == bare(line)
    assert all(0 < len(piece.phonemes) <= text.LIMIT for piece in found)
    assert all(piece.text[-1] in ".?!。？！" for piece in found)
    assert {piece.after for piece in found[:-1]} | {piece.before for piece in found[1:]} <= {text.PAUSE}
    assert (found[0].before, found[-1].after) == (None, None)


@pytest.mark.parametrize("language", PARAGRAPHS)
def test_one_long_sentence_is_divided_at_clauses(language: str) -> None:
    comma = "，" if language == "z" else "、" if language == "j" else ","
    line = PARAGRAPHS[language].translate({ord(mark): comma for mark in ".?!;:।。？！；："}) * 3
    found = split(line, language)
    assert len(found) > 1
    assert bare("".join(piece.text for piece in found)) == bare(line)
    assert all(len(piece.phonemes) <= text.LIMIT for piece in found)
    assert [piece.after for piece in found] == [text.PAUSE] * (len(found) - 1) + [None]
    assert {piece.text[-1] for piece in found} == {comma}


@pytest.mark.parametrize("language", PARAGRAPHS)
def test_words_without_any_mark_are_divided_between_words(language: str) -> None:
    line = "".join(sign for sign in PARAGRAPHS[language] if sign not in MARKS + "।-«»") * 3
    found = split(line, language)
    assert len(found) > 1
    assert bare("".join(piece.text for piece in found)) == bare(line)
    assert all(len(piece.phonemes) <= text.LIMIT for piece in found)
    assert [piece.before for piece in found] == [None] + [text.NO_PAUSE] * (len(found) - 1)
    assert [piece.after for piece in found] == [text.NO_PAUSE] * (len(found) - 1) + [None]
    if language not in "jz":
        assert {word for piece in found for word in piece.text.split()} == {*line.split()}


@pytest.mark.parametrize(
    ("line", "parts"),
    [
        ("Bueno. ¿Dos? ¡Tres! «Cuatro.» Cinco…", ["Bueno. ", "¿Dos? ", "¡Tres! ", "«Cuatro.» ", "Cinco…"]),
        ("La Sra. Gil y J. R. pagan 3.50 hoy. Fin.", ["La Sra. Gil y J. R. pagan 3.50 hoy. ", "Fin."]),
        ("今天很好。「你好！」他说？好", ["今天很好。", "「你好！」", "他说？", "好"]),
        ("今日は良い。はい！", ["今日は良い。", "はい！"]),
        ("Siehe example.org und los", ["Siehe example.org und los"]),
        ("Bonjour ! Ça va ?", ["Bonjour ! ", "Ça va ?"]),
    ],
)
def test_sentence_ends(line: str, parts: list[str]) -> None:
    assert text.sentences(line) == parts


def test_clause_ends() -> None:
    assert text.clauses("Él, 1,5 kg; (no) sí — fin") == ["Él, ", "1,5 kg; ", "(no) ", "sí — ", "fin"]
    assert text.clauses("春天，花、草：好") == ["春天，", "花、", "草：", "好"]


def test_hindi_sentences_end_at_a_danda() -> None:
    line = "यह पहला है। यह दूसरा है॥"
    assert text.sentences(line) == ["यह पहला है। ", "यह दूसरा है॥"]
    assert text.sentences(text.clean(line, "h")) == ["यह पहला है.  ", "यह दूसरा है. "]


def test_japanese_phrases_begin_after_hiragana() -> None:
    assert text.words("私の家に図書館がある", "j") == ["私の", "家に", "図書館がある"]


def test_parts_are_of_similar_length() -> None:
    line = "Esta frase tiene cuarenta letras justas. " * 20
    lengths = [len(piece.phonemes) for piece in split(line, "e")]
    assert len(lengths) == 3
    assert max(lengths) - min(lengths) <= 41


def test_a_very_long_word_is_divided_by_its_phonemes() -> None:
    found = split("x" * 1200, "e")
    assert [len(piece.phonemes) for piece in found] == [510, 510, 180]
    assert [piece.after for piece in found] == [text.NO_PAUSE, text.NO_PAUSE, None]


def test_a_short_line_is_one_part_and_an_empty_one_none() -> None:
    assert [(piece.text, piece.phonemes) for piece in split(" Hola. ", "e")] == [("Hola.", "Hola.")]
    assert split("  ", "e") == []
    assert list(text.pieces("☃", "e", lambda _part: ("", None))) == []


def test_typographic_marks_are_replaced_where_they_are_misread() -> None:
    assert text.clean("No, it wasn\u2019t \u2018so\u2019 „good\u201c.", "a") == "No, it wasn't 'so' \u201cgood\u201c."
    assert text.clean("L\u2019été, l'hiver", "f") == "L'été, l'hiver"
    assert text.clean("他说\u2018好\u2019。", "z") == "他说\u2018好\u2019。"


@pytest.mark.parametrize(
    ("language", "line", "said"),
    [
        ("e", "1.250,75 y 2.000.000 o 3.14 o 12.05.2024", "1250,75 y 2000000 o 3.14 o 12.05.2024"),
        ("p", "R$ 1.250", "R$ 1250"),
        ("h", "1,250.75 और 12,34,567", "1250.75 और 1234567"),
        ("z", "1,250.75元，1,2,3", "1250.75元，1,2,3"),
        ("a", "1,250 and 1.250", "1,250 and 1.250"),
    ],
)
def test_thousands_are_one_number(language: str, line: str, said: str) -> None:
    assert text.clean(line, language) == said


def test_english_keeps_its_own_parts_and_loses_no_phoneme() -> None:
    found = list(
        text.english([("One, ", "wˈʌn,", [1]), ("two", "tˈu", [2]), ("long", "a" * 300 + " " + "b" * 300, [3])])
    )
    assert [(len(piece.phonemes), piece.before, piece.after, piece.tokens) for piece in found] == [
        (5, None, text.PAUSE, [1]),
        (3, text.PAUSE, text.NO_PAUSE, [2]),
        (300, text.NO_PAUSE, text.NO_PAUSE, [3]),
        (300, text.NO_PAUSE, None, [3]),
    ]


@pytest.mark.parametrize("hostile", ["." * 300_000, "a. " * 100_000, "," * 300_000, '."' * 150_000, "1." * 150_000])
def test_a_hostile_text_is_divided_in_linear_time(hostile: str) -> None:
    """Quadratic patterns would need many minutes for these."""
    cleaned = text.clean(hostile, "e")
    assert "".join(text.sentences(cleaned)) == "".join(text.clauses(cleaned)) == cleaned


class Audio(list[float]):
    """What the division uses of a tensor."""

    def max(self) -> float:
        return max(self)

    def min(self) -> float:
        return min(self)


def test_silence_is_limited_where_parts_meet_and_kept_elsewhere() -> None:
    audio = Audio([0.0] * 5000 + [0.5] * 15000 + [0.0] * 4000)

    def length(**kept: int) -> int:
        return len(text.Piece("x", **kept).trimmed(SimpleNamespace(audio=audio)).audio)

    assert length() == 24000
    assert length(before=100) == 24000 - 5000 + 100
    assert length(after=100) == 20000 + 100
    assert length(before=100, after=0) == 15000 + 100
    assert length(before=9000, after=9000) == 24000
    silent = SimpleNamespace(audio=Audio([0.0] * 100))
    assert len(text.Piece("x", before=0, after=0).trimmed(silent).audio) == 100


class Library:
    """The C library, which holds so many bytes."""

    def __init__(self, held: int) -> None:
        self.held, self.trims = held, 0

    def mallinfo2(self) -> SimpleNamespace:
        return SimpleNamespace(fordblks=self.held)

    def malloc_trim(self, pad: int) -> None:
        assert pad == 0
        self.trims += 1


@pytest.mark.parametrize(("held", "trims"), [(0, 0), (text.HELD, 0), (text.HELD + 1, 1)])
def test_memory_goes_back_to_the_system_when_much_is_held(
    held: int, trims: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = Library(held)
    monkeypatch.setattr(text, "_glibc", lambda: library)
    text.release_memory()
    assert library.trims == trims


def test_a_library_that_cannot_say_what_it_holds_gives_it_back(monkeypatch: pytest.MonkeyPatch) -> None:
    trims: list[int] = []
    monkeypatch.setattr(text, "_glibc", lambda: SimpleNamespace(malloc_trim=trims.append))
    text.release_memory()
    assert trims == [0]
    monkeypatch.setattr(text, "_glibc", SimpleNamespace)
    text.release_memory()


def test_glibc_keeps_a_freed_array_and_then_gives_it_back() -> None:
    """In a process of its own, because the settings stay. The array is larger than what glibc would map by itself."""
    code = """if True:
        import ctypes, resource
        import kokoro_text as text
        library, size = text._glibc(), 64 << 20
        library.malloc.restype, library.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
        library.free.argtypes = [ctypes.c_void_p]
        resident = lambda: int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize()
        array, last = library.malloc(size), library.malloc(64)
        ctypes.memset(array, 1, size)
        library.free(array)
        held, before = library.mallinfo2().fordblks, resident()
        text.release_memory()
        kept = resident()
        text.HELD = size // 2
        text.release_memory()
        print(held - size, before - kept, before - resident() - size)
    """
    folder = Path(text.__file__).parent
    ran = subprocess.run([sys.executable, "-B", "-c", code], cwd=folder, capture_output=True, text=True, check=True)
    # Each is a difference from what is expected, in bytes.
    assert all(abs(int(each)) < 16 << 20 for each in ran.stdout.split()), ran.stdout


def test_memory_is_released_after_each_part(monkeypatch: pytest.MonkeyPatch) -> None:
    released: list[int] = []
    monkeypatch.setattr(text, "release_memory", lambda: released.append(1))
    assert len(split("Hola. " * 200, "e")) == len(released) == 3
    assert len(list(text.english([("One", "wˈʌn", []), ("two", "tˈu", [])]))) == 2
    assert len(released) == 5
