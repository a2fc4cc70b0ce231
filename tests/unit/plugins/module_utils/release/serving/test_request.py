# SPDX-License-Identifier: GPL-3.0-or-later
"""A request for speech is either served as it is, or refused in a sentence that says what would be right."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.voicefleet.kokoro.plugins.module_utils.release.serving import request as serving

SERVED = ["af_bella", "af_heart", "af_sky", "am_michael", "bf_emma", "zf_xiaobei"]
SETTINGS = serving.Settings(voices={"alloy": "af_sky", "echo": "am_echo"}, characters=100)


def checked(**given: Any) -> serving.Speech:
    asked: dict[str, Any] = {"text": "Good night.", "voice": "af_heart", "form": "wav", "speed": 1.0, "extras": {}}
    return serving.checked(**{**asked, **given}, served=SERVED, settings=SETTINGS)


def refusal(**given: Any) -> tuple[str, str, str]:
    with pytest.raises(serving.Refusal) as found:
        checked(**given)
    message, param, code = found.value.args
    return message, param, code


def test_an_ordinary_request_is_served() -> None:
    assert checked() == serving.Speech("Good night.", ("af_heart",), "wav", 1.0)
    assert checked(form=None).format == "mp3"
    assert checked(form="FLAC").format == "flac"
    assert checked(speed=None).speed == 1.0
    assert checked(speed="0.25").speed == 0.25
    assert checked(extras={"seed": 7, "request_id": "x"}).seed == 7
    assert checked(voice="zf_xiaobei").language == "z"


@pytest.mark.parametrize(
    "voice", ["../voices/af_heart", "/etc/passwd", "af_heart.pt", "af_heart\x00", "x" * 5000, "..", "+"]
)
def test_a_voice_is_a_name_of_the_list_and_nothing_else(voice: str) -> None:
    message, param, code = refusal(voice=voice)
    assert (param, code) == ("voice", "unknown_voice")
    assert "GET /v1/audio/voices" in message
    assert len(message) < 250
    assert message.isprintable()


def test_an_unknown_voice_is_answered_with_the_nearest_ones_and_no_hub() -> None:
    message, _param, _code = refusal(voice="af_hart")
    assert message.startswith('There is no voice "af_hart". The nearest: af_heart')
    assert "hub" not in message.lower()


@pytest.mark.parametrize(
    "speed", [0.05, 0.2499, 4.01, -1, 0, float("nan"), float("inf"), True, "fast", [], {}, 10**400]
)
def test_a_speed_that_openai_does_not_allow_is_refused(speed: Any) -> None:
    message, param, _code = refusal(speed=speed)
    assert param == "speed"
    assert "from 0.25 to 4" in message


@pytest.mark.parametrize("text", ["", "  \n", None, 7, ["a"], "\ud800"])
def test_a_text_that_cannot_be_spoken_is_refused(text: Any) -> None:
    assert refusal(text=text)[1] == "input"


def test_the_longest_text_is_served_and_a_longer_one_is_refused() -> None:
    assert checked(text="x" * 100)
    message, _param, code = refusal(text="x" * 101)
    assert code == "text_too_long"
    assert "101 characters. 100 are allowed" in message


@pytest.mark.parametrize("form", ["m4a", "ogg", 7, "../wav", {}])
def test_an_unknown_format_is_answered_with_the_list(form: Any) -> None:
    message, param, _code = refusal(form=form)
    assert param == "response_format"
    assert message.endswith("Supported formats: mp3, opus, aac, flac, wav, pcm.")


@pytest.mark.parametrize(
    "extras", [{"split_pattern": "(a+)+$"}, {"model": None}, {"seed": "7"}, {"seed": -1}, {"seed": True}]
)
def test_nothing_but_a_seed_reaches_kokoro(extras: dict[str, Any]) -> None:
    assert refusal(extras=extras)[1] == "kwargs"


def test_a_further_name_stands_for_a_voice_or_for_the_default_one() -> None:
    assert checked(voice="alloy").voices == ("af_sky",)
    assert checked(voice="echo").voices == ("af_heart",)  # am_echo is not served
    assert checked(voice="").voices == ("af_heart",)
    assert serving.default_voice(["bf_emma", "bm_fable"]) == "bf_emma"
    with pytest.raises(serving.Refusal, match="has no voices"):
        serving.default_voice([])


def test_a_blend_names_each_voice_as_often_as_its_share() -> None:
    assert checked(voice="af_bella(2)+af_sky(1)").voices == ("af_bella", "af_bella", "af_sky")
    assert checked(voice="af_bella + alloy").voices == ("af_bella", "af_sky")


@pytest.mark.parametrize(
    "voice",
    ["af_bella+bf_emma", "af_bella(0)+af_sky", "af_bella(11)", "+".join(["af_sky"] * 9), "af_bella(2", "af_bella+"],
)
def test_an_impossible_blend_is_refused(voice: str) -> None:
    assert refusal(voice=voice)[1] == "voice"


def test_the_list_names_language_and_model_of_each_voice() -> None:
    rows = serving.rows("kokoro", ["af_sky", "zf_xiaobei"], {"alloy": "af_sky", "echo": "am_echo"})
    assert [row["id"] for row in rows] == ["af_sky", "zf_xiaobei", "alloy", "echo"]
    assert rows[1] == {
        "id": "zf_xiaobei",
        "name": "zf_xiaobei",
        "voice": "zf_xiaobei",
        "model": "kokoro",
        "language": "zh",
        "gender": "female",
    }
    assert (rows[3]["name"], rows[3]["voice"]) == ("echo (af_sky)", "af_sky")
    assert serving.rows("whisper", [], {"alloy": "af_sky"}) == []


def test_the_settings_come_from_the_environment_of_the_service() -> None:
    read = serving.Settings.read
    assert read({}) == serving.Settings()
    assert read(
        {
            "VOICEFLEET_MODEL": "speech",
            "VOICEFLEET_MODEL_NAMES": "tts-1,tts-1-hd",
            "VOICEFLEET_VOICE_NAMES": "alloy=af_alloy,nova=",
            "VOICEFLEET_HEARING_NAMES": "whisper-1",
            "VOICEFLEET_TEXT_CHARACTERS": "500",
            "VOICEFLEET_UPLOAD_BYTES": "7000",
        }
    ) == serving.Settings(
        "speech", ("tts-1", "tts-1-hd"), hearing_names=("whisper-1",), voices={"alloy": "af_alloy"}, characters=500,
        upload=7000,
    )  # fmt: skip
