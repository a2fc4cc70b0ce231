# SPDX-License-Identifier: GPL-3.0-or-later
"""The module synthesis_check against a fake endpoint that speaks with espeak-ng: many texts, voices, faults."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.voicefleet.kokoro.plugins.module_utils.proof import interpreter
from ansible_collections.voicefleet.kokoro.plugins.modules import synthesis_check
from endpoint import KEY, Double, serving
from sounds import SENTENCE

Check = Callable[..., dict[str, Any]]
TEXTS = [
    "Please call the doctor and tell her that the children are asleep.",
    "Seven yellow trains left the station before the morning was over.",
    "Nobody knows why the old bridge across the river was closed.",
    "She bought three green apples and a small loaf of bread.",
    "The meeting on Thursday starts at half past nine in the large room.",
    "Turn left at the church, and then walk slowly up the hill.",
    "Our neighbours painted their garden fence in three different colours.",
    "The museum opens every day of the week except on Monday.",
    "My brother plays the violin, but he has never liked to sing.",
    "Two dozen eggs, some butter and a pound of flour will be enough.",
    "After the storm the fishermen repaired their boats and nets.",
    "Can you remember where we parked the car this afternoon?",
    "The engine makes a strange noise whenever it starts to rain.",
    "Children under twelve travel free of charge on all buses.",
]


@pytest.fixture
def double() -> Iterator[Double]:
    with serving() as server:
        yield server


@pytest.fixture
def check(double: Double, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Check:
    key = tmp_path / "key"
    key.write_text(f"{KEY}\n")
    # The user nobody cannot read the checkout's environment.
    monkeypatch.setattr(interpreter, "as_nobody", dict)

    def call(**arguments: Any) -> dict[str, Any]:
        given = {
            "endpoint": double.address,
            "api_key_file": str(key),
            "release_id": "1.2.3-abc",
            "voices": ["af_heart", "am_michael"],
            "formats": ["wav"],
            "text": SENTENCE,
            "evidence_dir": str(tmp_path / "evidence"),
            "python": str(Path(sys.prefix, "bin", "python")),
            "required_level": "acoustic",
            "try_level": "intelligible",
            **arguments,
        }
        with patch_module_args(given), pytest.raises(SystemExit):
            synthesis_check.main()
        return dict(json.loads(capfd.readouterr().out))

    return call


def words(result: dict[str, Any]) -> dict[str, bool | None]:
    """Return the finding on the words, by voice and format."""
    return {
        f"{sample['voice']} {sample['format']}": finding["ok"]
        for sample in result["samples"]
        for finding in sample["findings"]
        if finding["level"] == "intelligible"
    }


def findings(result: dict[str, Any]) -> set[str]:
    """Return the names of all findings that are not good."""
    return {each["name"] for sample in result["samples"] for each in sample["findings"] if each["ok"] is not True}


def test_any_text_is_heard_from_any_voice(check: Check) -> None:
    """One verdict in 20 may be wrong. One in 4 may be UNVERIFIED, because these voices are hard to understand."""
    voices, verdicts, lines = ["af_heart", "am_michael", "am_adam"], [], []
    for text in TEXTS:
        result = check(text=text, voices=voices)
        assert not result.get("failed"), result["msg"]
        verdicts += words(result).values()
        lines += result["lines"]
    assert len(verdicts) == len(TEXTS) * len(voices)
    assert verdicts.count(False) <= len(verdicts) / 20, "\n".join(lines)
    assert verdicts.count(True) >= len(verdicts) * 3 / 4, "\n".join(lines)


def test_a_lost_word_is_noticed_in_any_text(check: Check, double: Double) -> None:
    double.fault = "a word is lost"
    verdicts = [verdict for text in TEXTS for verdict in words(check(text=text, voices=["af_heart"])).values()]
    assert len(verdicts) == len(TEXTS)
    assert True not in verdicts
    # It is UNVERIFIED if the recogniser also misheard one of the other words.
    assert verdicts.count(False) >= len(TEXTS) / 2


def test_every_format_is_heard(check: Check) -> None:
    result = check(formats=["wav", "mp3", "flac", "ogg"], voices=["af_heart"])
    assert words(result) == dict.fromkeys(("af_heart wav", "af_heart mp3", "af_heart flac", "af_heart ogg"), True)


def test_a_british_and_a_french_voice_never_fail_without_a_fault(check: Check) -> None:
    """The recogniser knows neither well."""
    result = check(voices=["bf_emma", "ff_siwis"])
    found = words(result)
    assert found["bf_emma wav"] is not False
    assert found["ff_siwis wav"] is None
    assert "ff_siwis speaks another language" in "\n".join(result["lines"])


@pytest.mark.parametrize("fault", ["other words", "a word is lost", "backwards", "noise", "silence"])
def test_anything_but_the_text_is_not_intelligible(check: Check, double: Double, fault: str) -> None:
    double.fault = fault
    # Use one voice: two silent answers would be identical, which is another finding.
    result = check(voices=["am_michael"], required_level="intelligible")
    assert result["failed"]
    assert "did not reach the level intelligible" in result["msg"]
    assert words(result) == {"am_michael wav": False}
    assert "It is not intelligible. A recogniser heard" in result["msg"]


def test_faults_below_the_words_are_named(check: Check, double: Double) -> None:
    double.fault = "one voice for all"
    assert "distinct" in findings(check())
    double.fault = "half a file"
    assert "complete" in findings(check())
    double.fault = "error"
    assert "out of memory" in check()["msg"]


def test_a_wrong_key_is_reported_and_sent_once(check: Check, double: Double, tmp_path: Path) -> None:
    (tmp_path / "wrong").write_text("xf-wrong\n")
    result = check(api_key_file=str(tmp_path / "wrong"))
    assert "the key that was sent is not accepted" in result["msg"]
    assert double.asked == []


def test_small_numbers_in_digits_are_heard(check: Check, double: Double) -> None:
    text = "The old farmer keeps 42 horses and 3 sheep near the river."
    assert words(check(text=text)) == {"af_heart wav": True, "am_michael wav": True}
    double.fault = "other words"
    assert True not in words(check(text=text, refresh=True)).values()


def test_a_text_with_unknown_words_is_unverified(check: Check) -> None:
    result = check(text="Call 555 or write to Xqzvt before the end of the week.")
    assert not result.get("failed"), result["msg"]
    assert words(result) == {"af_heart wav": None, "am_michael wav": None}
    assert "dictionary lacks '555', 'xqzvt'" in "\n".join(result["lines"])
    assert check(required_level="intelligible", text="Call 555 before the end of the week.")["failed"]


def test_a_quick_check_does_not_listen(check: Check) -> None:
    assert words(check(try_level="acoustic")) == {}


def test_a_kept_proof_of_a_lower_level_does_not_hold(check: Check) -> None:
    """A kept proof of a higher level holds."""
    assert not check(try_level="acoustic")["live"]
    assert not check()["live"]
    assert check()["live"]
    assert check(try_level="acoustic")["live"]


def test_a_transcription_is_requested_in_the_language_of_the_voice(check: Check, double: Double) -> None:
    double.heard = "Portez ce vieux whisky au juge blond qui fume."
    text = "Portez ce vieux whisky au juge blond qui fume."
    result = check(voices=["ff_siwis"], text=text, transcriber="whisper")
    assert words(result) == {"ff_siwis wav": True}
    assert {"language": "fr"} in double.asked


def test_a_transcription_may_have_a_limited_share_of_wrong_words(check: Check, double: Double) -> None:
    double.heard = "the quick brown fox jumps over a lazy dog"
    assert words(check(voices=["af_heart"], transcriber="whisper")) == {"af_heart wav": True}
    assert words(check(voices=["af_heart"], transcriber="whisper", word_error_rate=0.1)) == {"af_heart wav": False}
    double.heard = "The quick brown fox"
    assert words(check(voices=["af_heart"], transcriber="whisper")) == {"af_heart wav": False}


def test_a_missing_transcriber_proves_nothing(check: Check) -> None:
    result = check(transcriber="nobody")
    assert words(result) == {"af_heart wav": None, "am_michael wav": None}
    assert "nobody did not transcribe it" in "\n".join(result["lines"])
