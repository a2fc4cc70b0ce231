# SPDX-License-Identifier: GPL-3.0-or-later
"""Find the words of a text in sound files, with pocketsphinx and the model of US English in its wheel.

This file is also a program: ``recogniser`` sends its source to the interpreter of a release, which has pocketsphinx,
numpy and soundfile. So it imports nothing of this collection. It reads one JSON object from standard input and
writes one to standard output::

    {"text": "The quick brown fox ...", "seconds": 60, "samples": [{"audio": "<base64 of a file>", "british": false}]}
    {"words": ["the", "quick", ...], "unknown": [], "samples": [{"heard": ["the", "quick", ...]}, {"error": "..."}]}

A recogniser that is asked whether a sentence was said says yes too easily. One that may write any words knows too
little of voices and words. So at the place of each word of the text it chooses between that word, eight words that
sound different, the text's other words, and none. If it chose every word of the text, the text was said. Missing or
exchanged words, another order, other sentences, other languages and noises lead to other choices.
"""

from __future__ import annotations

import base64
import importlib
import io
import json
import os
import re
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from typing import Any, TextIO

Json = dict[str, Any]
Phones = tuple[str, ...]

RATE = 16000  # Hz, what the model was trained on
LONGEST = 60.0  # seconds of audio: anything longer is not an answer to a sentence, and would take minutes
DECOYS = 8  # other words at each place
SHORTEST = 3  # sounds that a word needs to be told from others
UNLIKE = 0.8  # share of a decoy's sounds that differ from the word's
NEAR = 5  # how many places away the text's own words are taken from
# Drop a path if another is this much likelier. With pocketsphinx's own limits a sentence takes twice as long, 2 s for
# each of its seconds, with the same result.
BEAMS = {"beam": 1e-40, "pbeam": 1e-40, "wbeam": 1e-25}
# The probability of the text's word before it is heard. Decoys share half of the rest.
TRUST = 0.9999
# Common words of one to three syllables, with all sounds of English. Those that sound different become decoys.
_COMMON = """
    water people thousand morning under never always children mountain window yellow orange purple silver table
    paper music letter number seven eleven twenty house street school church road friend mother father sister ship
    boat train plane horse sheep chicken spider bird fish cat mouse box clock card hand foot head face eat drink
    sleep walk run sing laugh cry push pull think know say tell ask give take make good bad hot cold big small long
    short green black white red blue slow fast happy in on at by with from to and or but if when why how this that
    those my your his her it we they please again later system error today city tonight enough fruit voice judge
    month vision
"""
COMMON = _COMMON.split()
_VOWELS = "AEIOU"


def words_of(text: str) -> list[str]:
    """Return the words of a text in lower case. A spoken sign, such as & or $, is a word."""
    return re.findall(
        r"[^\W_]+(?:'[^\W_]+)*|[^\w\s.,;:!?'\"()\[\]\u201c\u201d„«»\u2018…–—-]", text.lower().replace("\u2019", "'")
    )


def distance(first: Sequence[str], second: Sequence[str]) -> int:
    """Return how many words, or phones, must be added, removed or exchanged to turn one into the other."""
    row = list(range(len(second) + 1))
    for i, here in enumerate(first, 1):
        before, row[0] = row[:], i
        for j, there in enumerate(second, 1):
            row[j] = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (here != there))
    return row[-1]


def read_dictionary(lines: Iterable[str]) -> dict[str, list[Phones]]:
    """Return the pronunciations of each word, from a dictionary in CMU's form: ``word(2) W ER D``."""
    said: dict[str, list[Phones]] = {}
    for line in lines:
        word, *phones = line.split()
        said.setdefault(word.partition("(")[0], []).append(tuple(phones))
    return said


def british(phones: Phones) -> list[Phones]:
    """Return British pronunciations in the phones of US English: an r only before a vowel, and other o's."""
    quiet: list[str] = []
    for phone, after in zip(phones, (*phones[1:], "")):
        voiced = after[:1] in _VOWELS and bool(after)
        if phone == "ER":
            quiet += ["AH", "R"] if voiced else ["AH"]
        elif phone != "R" or voiced:
            quiet.append(phone)
    changes: list[dict[str, str]] = [{}, {"AA": "AO"}, *({"AA": "AO", "OW": o} for o in ("AH", "ER", "UH"))]
    return [tuple(change.get(phone, phone) for phone in quiet) for change in changes]


def unlike(first: Iterable[Phones], second: Iterable[Phones]) -> float:
    """Return the share of sounds in which two words differ, for their most similar pronunciations."""
    others = list(second)
    return min(distance(one, two) / max(len(one), len(two)) for one in first for two in others)


def is_short(ways: Iterable[Phones]) -> bool:
    """Whether a word is too short to be told from others."""
    return max(map(len, ways)) < SHORTEST


def vowels(ways: Iterable[Phones]) -> set[str]:
    """Return the vowels of a word in all its pronunciations."""
    return {phone for phones in ways for phone in phones if phone[0] in _VOWELS}


def choices(words: Sequence[str], place: int, said: dict[str, list[Phones]]) -> list[str]:
    """Return the words that may be heard instead of a word.

    A word of two sounds, such as `of`, has none and is none: it is too easily swallowed to be told from others. Whether
    it was left out is heard anyway.
    """
    word = words[place]
    if is_short(said[word]):
        return []
    length = len(said[word][0])
    fit = [
        other
        for other in COMMON
        if other in said
        and other not in words
        and not is_short(said[other])
        and abs(len(said[other][0]) - length) <= 1
        and unlike(said[other], said[word]) >= UNLIKE
    ]
    others = fit if len(fit) <= DECOYS else [fit[i * len(fit) // DECOYS] for i in range(DECOYS)]
    # The text's own words show whether any were exchanged. They cannot be selected, so they must sound entirely
    # different: `knows` is easily taken for `old`.
    own = [
        other
        for other in dict.fromkeys(words[max(0, place - NEAR) : place + NEAR + 1])
        if not is_short(said[other])
        and unlike(said[other], said[word]) >= UNLIKE
        and not vowels(said[other]) & vowels(said[word])
    ]
    return others + own


def grammar(words: Sequence[str], said: dict[str, list[Phones]]) -> str:
    """Return the grammar, in JSGF, of everything that may be heard."""
    rest = f"/{(1 - TRUST) / 2:.12f}/"
    places = []
    for place, word in enumerate(words):
        others = choices(words, place, said)
        instead = f"{rest} ({' | '.join(others)}) | " if others else ""
        places.append(f"( /{TRUST}/ {word} | {instead}{rest} <NULL> )")
    # Speech before or after the text is heard as one of the common words.
    more = [word for word in COMMON[::12] if word in said and word not in words]
    beside = f"( /{TRUST}/ <NULL> | {rest} ({' | '.join(more)}) )"
    return f"#JSGF V1.0;\ngrammar text;\npublic <text> = {beside} {' '.join(places)} {beside};\n"


class Listener:
    """Hears one text, in American or British English."""

    def __init__(self, words: Sequence[str], said: dict[str, list[Phones]], in_england: bool) -> None:
        self._sphinx: Any = importlib.import_module("pocketsphinx")
        vocabulary = {word: list(said[word]) for word in dict.fromkeys([*words, *COMMON]) if word in said}
        if in_england:
            for ways in vocabulary.values():
                ways += [way for phones in list(ways) for way in british(phones)]
        with tempfile.NamedTemporaryFile("w", suffix=".dict", encoding="ascii") as file:
            for word, ways in vocabulary.items():
                for number, phones in enumerate(dict.fromkeys(ways), 1):
                    file.write(f"{word}{f'({number})' if number > 1 else ''} {' '.join(phones)}\n")
            file.flush()
            # Normalise each file by itself: earlier files must not matter.
            self._decoder = self._sphinx.Decoder(lm=None, dict=file.name, cmn="batch", loglevel="FATAL", **BEAMS)
        self._decoder.add_jsgf_string("text", grammar(words, vocabulary))
        self._decoder.activate_search("text")

    def hear(self, pcm: bytes) -> list[str]:
        """Return the words in 16-bit mono samples of RATE."""
        self._decoder.start_utt()
        self._decoder.process_raw(pcm, no_search=False, full_utt=True)
        self._decoder.end_utt()
        best = self._decoder.hyp()
        return best.hypstr.split() if best is not None else []


def samples_of(data: bytes) -> bytes:
    """Return a sound file as 16-bit mono samples of RATE, with quiet at both ends. Raises ValueError, RuntimeError."""
    numpy: Any = importlib.import_module("numpy")
    soundfile: Any = importlib.import_module("soundfile")
    sound, rate = soundfile.read(io.BytesIO(data), frames=int(LONGEST * 48000) + 1, always_2d=True)
    if len(sound) > LONGEST * rate:
        raise ValueError(f"it is longer than {LONGEST:.0f} s")
    quiet = numpy.zeros(rate // 4)
    signal = numpy.concatenate([quiet, sound[:, 0], quiet])
    # Resample in the spectrum: it cuts off sharply what RATE cannot carry, so there is no aliasing.
    count = len(signal) * RATE // rate
    spectrum = numpy.fft.rfft(signal)[: count // 2 + 1]
    signal = numpy.fft.irfft(spectrum, count)
    peak = numpy.abs(signal).max()
    if peak > 0:
        signal *= 0.5 / peak
    # Perfect silence has no logarithm.
    signal += numpy.random.RandomState(0).randn(count) * 1e-4
    return bytes((signal.clip(-1, 1) * 32767).astype("<i2").tobytes())


def answer(request: Json) -> Json:
    """Return what was heard in each sample; see the top of this file."""
    give_up = time.monotonic() + request["seconds"]
    sphinx: Any = importlib.import_module("pocketsphinx")
    with open(os.path.join(sphinx.get_model_path(), "en-us", "cmudict-en-us.dict"), encoding="utf-8") as lines:
        said = read_dictionary(lines)
    words = words_of(request["text"])
    unknown = sorted({word for word in words if word not in said})
    done: Json = {"words": words, "unknown": unknown, "samples": []}
    if unknown or not words:
        return done
    listeners: dict[bool, Listener] = {}
    for sample in request["samples"]:
        if time.monotonic() > give_up:
            done["samples"].append({"error": f"the recogniser did not reach it within {request['seconds']} s"})
            continue
        try:
            pcm = samples_of(base64.b64decode(sample["audio"]))
            in_england = bool(sample["british"])
            if in_england not in listeners:
                listeners[in_england] = Listener(words, said, in_england)
            done["samples"].append({"heard": listeners[in_england].hear(pcm)})
        except (ValueError, RuntimeError) as error:
            done["samples"].append({"error": str(error)})
    return done


def main(source: TextIO, sink: TextIO) -> None:
    json.dump(answer(json.load(source)), sink)


if __name__ == "__main__":
    main(sys.stdin, sys.stdout)
