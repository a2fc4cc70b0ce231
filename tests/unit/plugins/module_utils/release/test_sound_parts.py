# SPDX-License-Identifier: GPL-3.0-or-later
"""What the repair whisper-soundfile brings into a release: a long sound is divided where nobody speaks."""

from __future__ import annotations

from typing import Any

import numpy
import pytest
from ansible_collections.voicefleet.kokoro.plugins.module_utils.release import patches, sound_parts

RATE = 16000


def speech(seconds: float, *pauses: float) -> Any:
    """Return noise with silence of 0.3 s around each of these times."""
    sound = numpy.random.default_rng(1).normal(0, 0.1, int(seconds * RATE)).astype("float32")
    for at in pauses:
        sound[int((at - 0.15) * RATE) : int((at + 0.15) * RATE)] *= 0.001
    return sound


def ends(sound: Any) -> list[float]:
    """Return where each part ends, in seconds."""
    lengths = [len(part) for part in sound_parts.parts(sound, RATE)]
    return [float(end / RATE) for end in numpy.cumsum(lengths)]


@pytest.mark.parametrize("seconds", [0.0, 0.01, 4.0, 30.0])
def test_what_whisper_hears_at_once_stays_whole(seconds: float) -> None:
    assert ends(speech(seconds)) == [pytest.approx(seconds)]


def test_a_long_sound_is_divided_in_its_pauses_and_nothing_is_lost() -> None:
    sound = speech(75.0, 3, 10, 22, 44, 60)
    assert ends(sound) == [pytest.approx(22, abs=0.1), pytest.approx(44, abs=0.1), pytest.approx(60, abs=0.1), 75]
    assert numpy.array_equal(numpy.concatenate(list(sound_parts.parts(sound, RATE))), sound)


def test_of_two_pauses_the_later_one_divides() -> None:
    sound = speech(50.0)
    for at in (18, 27):
        sound[at * RATE : at * RATE + RATE // 2] = 0
    assert ends(sound) == [pytest.approx(27.25, abs=0.3), 50]


@pytest.mark.parametrize("seconds", [30.001, 31.0, 44.9, 60.0, 61.0, 3600.0])
def test_no_part_is_longer_than_whisper_hears_and_the_last_one_is_not_a_mere_rest(seconds: float) -> None:
    """Without any pause, too: in noise, or where a recording has music."""
    found = list(sound_parts.parts(speech(seconds) if seconds < 3600 else numpy.zeros(3600 * RATE), RATE))
    lengths = [len(part) / RATE for part in found]
    assert max(lengths) <= 30
    assert min(lengths) >= 5 - 0.02
    assert sum(lengths) == pytest.approx(seconds, abs=0.001)


def test_the_repair_adds_the_file_to_a_release() -> None:
    added = patches.CATALOGUE["whisper-soundfile"].added
    assert b"def parts(" in added["xinference/model/audio/voicefleet_parts.py"]
