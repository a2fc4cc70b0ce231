# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import cmath
import math
import time
from array import array
from collections.abc import Callable
from dataclasses import replace

import pytest
from ansible_collections.voicefleet.kokoro.plugins.module_utils.proof import acoustics
from ansible_collections.voicefleet.kokoro.plugins.module_utils.proof.acoustics import (
    Expectation,
    judge,
    judge_voice,
    measure,
)
from ansible_collections.voicefleet.kokoro.plugins.module_utils.proof.audio import decode_wav
from ansible_collections.voicefleet.kokoro.tests.unit.plugins.module_utils.signals import (
    RATE,
    babble,
    fixture_wav,
    mix,
    pcm,
    pink,
    silence,
    sine,
    speech_like,
    white,
)

SENTENCE = Expectation(1.0, 6.0)


def refused(values: list[float], expected: Expectation = SENTENCE) -> dict[str, str]:
    """The findings that are not good: name and sentence."""
    return {f.name: f.sentence for f in judge(measure(pcm(values), RATE), expected) if f.ok is not True}


@pytest.fixture(scope="module")
def speech() -> list[float]:
    return speech_like()


@pytest.mark.parametrize("name", ["espeak_ng", "flite_rms"])
def test_speech_is_accepted(name: str) -> None:
    samples, rate = decode_wav(fixture_wav(name))
    findings = judge(measure(samples, rate), SENTENCE)
    assert [f.sentence for f in findings if not f.ok] == []
    assert {f.level for f in findings} == {"acoustic"}
    assert len(findings) >= 10


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_sounds_that_move_like_speech_are_accepted(seed: int) -> None:
    assert refused(speech_like(seed=seed)) == {}


def test_silence_is_the_only_finding_of_a_silent_file() -> None:
    assert list(refused(silence(3))) == ["silence"]
    assert list(refused([0.2] * (3 * RATE))) == ["silence"]
    assert list(refused(white(3, level=0.0005))) == ["silence"]
    assert list(refused([])) == ["silence"]


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (white(3), "white noise"),
        (pink(3), "pink noise"),
        (mix(white(3), sine(3, 4800, 0.05), sine(3, 9600, 0.07)), "is noise"),
    ],
)
def test_noise_is_refused_by_name(values: list[float], kind: str) -> None:
    found = refused(values)
    assert list(found) == ["noise"]
    assert kind in found["noise"]


def test_noise_that_pulses_like_syllables_is_noise() -> None:
    pulsing = [value * (1 + math.sin(2 * math.pi * 4 * i / RATE)) for i, value in enumerate(white(3))]
    assert "noise" in refused(pulsing)


@pytest.mark.parametrize(
    "values",
    [
        sine(3, 440),
        [0.4 if value > 0 else -0.4 for value in sine(3, 120)],
        mix(sine(3, 262, 0.2), sine(3, 330, 0.2), sine(3, 392, 0.2)),
        sine(1, 262) + sine(1, 330) + sine(1, 392),
        [0.5 * math.sin(2 * math.pi * (100 * t + 500 * t * t)) for t in (i / RATE for i in range(3 * RATE))],
    ],
    ids=["sine", "square", "chord", "melody", "sweep"],
)
def test_tones_are_refused_by_name(values: list[float]) -> None:
    found = refused(values)
    assert list(found) == ["tone"]
    assert "constant tone" in found["tone"]


@pytest.mark.parametrize("gain", [4.0, 10.0])
def test_clipped_speech_is_refused_by_name(speech: list[float], gain: float) -> None:
    assert "clipped" in refused([value * gain for value in speech])


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_babble_without_breath_is_no_voice(seed: int) -> None:
    assert {"narrow", "breath"} & {*refused(babble(seed=seed))}
    assert {"narrow", "breath"} & {*refused(babble(seed=seed)[::-1])}


def test_sines_that_swell_like_syllables_are_refused() -> None:
    swelling = [
        math.sin(2 * math.pi * 150 * (1 + i // 4800 % 3) * i / RATE) * math.sin(math.pi * (i % 4800) / 4800)
        for i in range(3 * RATE)
    ]
    assert {"narrow", "tone"} & {*refused([0.5 * value for value in swelling])}


@pytest.mark.parametrize("name", ["espeak_ng", "flite_rms"])
def test_sound_without_anything_above_4_khz_is_narrow(name: str) -> None:
    samples, _rate = decode_wav(fixture_wav(name))
    kept = [value / 32768 for value in samples]
    for _turn in range(4):  # moving sums of 4 and 5 samples: zeros at 6, 4.8 and 9.6 kHz
        for width in (4, 5):
            kept = [sum(kept[i : i + width]) / width for i in range(len(kept) - width)]
    narrow = [value for value in kept[::4] for _copy in range(4)]
    for _turn in range(6):
        narrow = [sum(narrow[i : i + 5]) / 5 for i in range(len(narrow) - 5)]
    assert measure(pcm(narrow), RATE).highest_db < measure(samples, RATE).highest_db - 15


def test_a_reversed_file_has_the_opposite_asymmetry(speech: list[float]) -> None:
    forth, back = measure(pcm(speech), RATE).asymmetry, measure(pcm(speech[::-1]), RATE).asymmetry
    assert forth > 0.3
    assert back == pytest.approx(-forth, abs=0.05)
    assert list(refused(speech[::-1])) == ["reversed"]


@pytest.mark.parametrize(
    ("asymmetry", "slope", "names"),
    [(-0.1, 1.6, ["reversed"]), (-0.1, -1.2, []), (-0.04, 1.6, []), (0.08, 3.0, []), (-0.2, -1.2, ["reversed"])],
    ids=["reversed Kokoro", "espeak-ng", "no side", "a question", "clear"],
)
def test_where_the_asymmetry_is_small_a_rising_voice_is_reversed(
    speech: list[float], asymmetry: float, slope: float, names: list[str]
) -> None:
    """Two voices of Kokoro have an asymmetry of 0.08 and 0.16, which espeak-ng has too. Its voice falls, though."""
    measured = replace(measure(pcm(speech), RATE), asymmetry=asymmetry, pitch_slope=slope)
    found = [finding for finding in judge(measured, SENTENCE) if finding.ok is not True]
    assert [finding.name for finding in found] == names
    assert ["rises by 1.6 semitones" in finding.sentence for finding in found] == [slope > 0 for _name in names]


@pytest.mark.parametrize(("first", "last"), [(220, 160), (100, 130), (150, 150)])
def test_the_pitch_of_a_voice_is_followed(first: float, last: float) -> None:
    seconds = 3
    turns = (first * t + (last - first) * t * t / (2 * seconds) for t in (i / RATE for i in range(seconds * RATE)))
    # Partials of a voice, and the swelling of syllables.
    values = [
        0.1 * sum(math.sin(2 * math.pi * k * turn) / k for k in range(1, 7)) * (1.2 + math.sin(i / 1000))
        for i, turn in enumerate(turns)
    ]
    found = measure(pcm(values), RATE)
    assert found.voiced_share > 0.9
    assert found.pitch_slope == pytest.approx(12 * math.log2(last / first) / seconds, abs=0.15)


def test_noise_has_no_pitch_that_moves() -> None:
    assert measure(pcm(white(3)), RATE).pitch_slope == 0


@pytest.mark.parametrize(
    "change",
    [
        lambda values: [v * 0.5 for v in values],
        lambda values: [v + 1 / 32768 * (i % 3 == 0) for i, v in enumerate(values)],
        lambda values: mix(values, white(len(values) / RATE, level=0.002)),
        lambda values: silence(0.033) + values + silence(0.1),
    ],
    ids=["another volume", "other last bits", "noise in the pauses", "shifted in time"],
)
def test_one_answer_for_two_voices_is_found_in_spite_of_small_changes(
    speech: list[float], change: Callable[[list[float]], list[float]]
) -> None:
    others: dict[str, list[float]] = {}
    assert judge_voice(pcm(speech), RATE, others, "af_heart") == []
    found = judge_voice(pcm(change(speech)), RATE, others, "am_michael")
    assert [each.ok for each in found] == [False]
    assert "It sounds like af_heart" in found[0].sentence


def test_noise_at_the_ends_does_not_move_an_outline() -> None:
    """A voice that speaks again has other noise in its breath, which must not decide where the sound begins."""
    values = silence(0.3) + speech_like() + silence(0.3)
    again = white(0.25, level=0.004) + values[int(0.25 * RATE) :]
    assert acoustics.apart(acoustics.outline(pcm(values), RATE), acoustics.outline(pcm(again), RATE)) < 1


def test_two_voices_that_say_the_same_text_are_told_apart() -> None:
    others: dict[str, list[float]] = {}
    for name in ("espeak_ng", "flite_rms"):
        found = judge_voice(*decode_wav(fixture_wav(name)), others, name)
    assert [each.ok for each in found] == [True]
    assert judge_voice(pcm(silence(1)), RATE, others, "silent") == []


def test_clipping_is_found_at_a_lower_volume(speech: list[float]) -> None:
    assert "clipped" in refused([0.3 * max(-1.0, min(1.0, value * 5)) for value in speech])


def test_truncated_speech_is_refused_by_name(speech: list[float]) -> None:
    loud = max(range(int(1.4 * RATE), int(1.9 * RATE)), key=lambda i: abs(speech[i]))
    assert "truncated" in refused(speech[:loud])
    assert "too_short" in refused(speech[: RATE // 2])


@pytest.mark.parametrize("decibel", [5, 10, 20])
def test_speech_in_noise_is_noisy_and_not_truncated(decibel: int) -> None:
    samples, rate = decode_wav(fixture_wav("espeak_ng"))
    values = [value / 32768 for value in samples]
    level = math.sqrt(sum(value * value for value in values) / len(values)) / 10 ** (decibel / 20)
    assert list(refused(mix(values, white(len(values) / rate, level=level)))) == ["noisy"]


def test_looped_speech_is_refused_by_name(speech: list[float]) -> None:
    assert "looped" in refused(speech * 2)
    assert "looped" in refused(speech[RATE // 2 : RATE] * 6)


def test_a_loop_is_found_after_a_lossy_codec(speech: list[float]) -> None:
    """No byte is the same any more: another level and some noise in each round."""
    rounds = [value * level for level in (1.0, 0.9) for value in speech]
    assert "looped" in refused(mix(rounds, white(len(rounds) / RATE, level=0.002)))


def test_level_pauses_and_offset_are_checked(speech: list[float]) -> None:
    assert "level" in refused([value * 0.02 for value in speech])
    assert "mostly_silent" in refused(speech + silence(10), Expectation(1, 20))
    assert "dc_offset" in refused([value * 0.8 + 0.1 for value in speech])


def test_the_length_must_fit_the_text(speech: list[float]) -> None:
    assert list(refused(speech, Expectation(3.5, 8))) == ["too_short"]
    assert list(refused(speech, Expectation(0.3, 1.5))) == ["too_long"]


def test_a_single_word_is_unverified() -> None:
    findings = judge(measure(pcm(silence(0.2) + sine(0.3, 440) + silence(0.2)), RATE), Expectation(0.1, 2))
    enough = next(f for f in findings if f.name == "enough")
    assert enough.ok is None
    assert "too little" in enough.sentence
    assert not {"tone", "noise"} & {f.name for f in findings}


def test_measurements_of_known_signals() -> None:
    tone = measure(pcm(sine(2, 1000)), RATE)
    assert tone.centroid_hz == pytest.approx(1000, abs=5)
    assert tone.rms_dbfs == pytest.approx(-9.03, abs=0.05)
    assert tone.peak == pytest.approx(0.5, abs=0.001)
    assert tone.seconds == tone.sounding_seconds == 2.0
    noise = measure(pcm(white(2)), RATE)
    assert noise.flatness == pytest.approx(0.56, abs=0.03)
    assert noise.tilt_db == pytest.approx(0, abs=0.5)
    assert measure(pcm(pink(2)), RATE).tilt_db == pytest.approx(-3, abs=0.7)


def test_the_fft_equals_the_definition() -> None:
    values = [complex(math.sin(i * i), math.cos(3 * i)) for i in range(64)]
    straight = [sum(v * cmath.exp(-2j * math.pi * k * n / 64) for n, v in enumerate(values)) for k in range(64)]
    assert acoustics.fft(values) == pytest.approx(straight)
    one, two = [v.real for v in values], [v.imag for v in values]
    first, second = acoustics.power_pair(one, two)
    assert first == pytest.approx([abs(v) ** 2 for v in acoustics.fft([complex(v) for v in one])[:32]])
    assert second == pytest.approx([abs(v) ** 2 for v in acoustics.fft([complex(v) for v in two])[:32]])


def test_ten_seconds_of_audio_are_measured_quickly() -> None:
    samples = array("h", (pcm(speech_like(5)) + pcm(speech_like(5, seed=9)))[: 10 * RATE])
    start = time.process_time()
    measure(samples, RATE)
    assert time.process_time() - start < 2
