# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.voicefleet.kokoro.plugins.module_utils.host.systemd_unit import Unit
from ansible_collections.voicefleet.kokoro.plugins.module_utils.proof import ladder, offline, phonemes, proof
from ansible_collections.voicefleet.kokoro.plugins.module_utils.proof.acoustics import Finding
from ansible_collections.voicefleet.kokoro.plugins.module_utils.proof.ladder import Place, climb
from ansible_collections.voicefleet.kokoro.plugins.module_utils.proof.performance import Load
from ansible_collections.voicefleet.kokoro.plugins.module_utils.proof.proof import Sample, Wanted
from ansible_collections.voicefleet.kokoro.plugins.module_utils.proof.speech import Reply, SpeechError
from ansible_collections.voicefleet.kokoro.plugins.module_utils.proof.terms import LEVELS
from ansible_collections.voicefleet.kokoro.tests.unit.plugins.module_utils.signals import pcm, speech_like, wav

SPEECH = pcm(speech_like(seed=1))


class Endpoint:
    """In place of SpeechClient: longer texts are longer sounds."""

    endpoint = "http://127.0.0.1:9997"
    timeout = 5.0

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, str]] = []
        self.error: SpeechError | None = None

    def speak(self, model: str, text: str, voice: str, audio_format: str, speed: float = 1.0) -> Reply:
        self.asked.append((model, text, voice))
        if self.error is not None:
            raise self.error
        return Reply(wav(SPEECH[: 1500 * len(text)]), "audio/wav", 0.2, 0.3)


def wanted(**changes: Any) -> Wanted:
    return Wanted(
        **{
            "release_id": "1.2.3-abc",
            "model": "kokoro",
            "voices": ["af_heart", "am_michael", "bf_emma"],
            "formats": ["wav"],
            "load": Load(requests=2, parallel=2),
            **changes,
        }
    )


def good(*levels: str) -> list[Finding]:
    return [Finding("x", level, True, None, "", "good") for level in levels]


def samples(*levels: str) -> list[Sample]:
    found = [Sample(voice, "wav", findings=good(*levels)) for voice in ("af_heart", "bf_emma")]
    proof.settle(found)
    return found


def named(findings: Sequence[Finding]) -> list[tuple[str, str, bool | None]]:
    return [(finding.level, finding.name, finding.ok) for finding in findings]


# --- the rule of the ladder


def test_the_findings_of_language_and_host_count_for_a_sample() -> None:
    found = samples("format", "acoustic", "intelligible")
    assert [sample.level for sample in found] == ["acoustic", "acoustic"]
    american = phonemes.Spoken("a", "American English", good("phonemes"))
    british = phonemes.Spoken("b", "British English", [Finding("invented", "phonemes", False, None, "", "left out")])
    proof.settle(found, [american, british], good("performance", "offline"))
    assert [sample.level for sample in found] == ["offline", "acoustic"]
    proof.settle(found, [american], [*good("performance"), offline.untried("not allowed")])
    assert [sample.level for sample in found] == ["performance", "acoustic"]


def test_a_level_counts_only_above_reached_levels() -> None:
    found = samples("format", "acoustic", "intelligible")
    proof.settle(found, [], good("performance", "offline"))
    assert {sample.level for sample in found} == {"acoustic"}  # nobody looked at the phonemes
    assert LEVELS == ("none", "format", "acoustic", "phonemes", "intelligible", "performance", "offline")


@pytest.mark.parametrize(
    ("required", "tried", "top"),
    [
        ("format", "", "acoustic"),
        ("acoustic", "acoustic", "acoustic"),
        ("phonemes", "acoustic", "phonemes"),
        ("acoustic", "offline", "offline"),
    ],
)
def test_the_levels_up_to_the_wanted_one_are_tried(required: str, tried: str, top: str) -> None:
    asked = wanted(required_level=required, tried_level=tried)
    assert asked.top == top
    untried = [finding.level for finding in proof.untried(asked)]
    assert untried == list(LEVELS[LEVELS.index(top) + 1 :])
    assert [level for level in LEVELS[1:] if not asked.tries(level)] == untried


def test_a_quick_proof_makes_no_further_requests() -> None:
    endpoint = Endpoint()
    found = climb(endpoint, wanted(), samples("format", "acoustic"), Place())  # type: ignore[arg-type]
    assert endpoint.asked == []
    assert {name for _level, name, ok in named(found.findings) if ok is None} == {"untried"}


# --- each level where it is tried


def test_phonemes_are_tried_once_for_each_language_with_its_model(tmp_path: Path) -> None:
    endpoint = Endpoint()
    place = Place(python=str(tmp_path / "none"))
    found = climb(endpoint, wanted(tried_level="phonemes"), samples("format", "acoustic"), place)  # type: ignore[arg-type]
    assert [spoken.language for spoken in found.languages] == ["a", "b"]
    assert endpoint.asked == [
        ("kokoro", "The dog.", "af_heart"),
        ("kokoro", "The zorblaxen glimbrious dog.", "af_heart"),
        ("kokoro", "The dog.", "bf_emma"),
        ("kokoro", "The zorblaxen glimbrious dog.", "bf_emma"),
    ]
    for spoken in found.languages:
        assert {finding.name: finding.ok for finding in spoken.findings} == {"sentence": None, "invented_audio": True}
        assert "no release on this host" in spoken.findings[0].sentence
    assert [each["ok"] for each in found.facts()["phonemes"]] == [None, None]
    # The report has all findings that are not of one sample in one list.
    assert [each["level"] for each in found.facts()["findings"][:4]] == ["phonemes"] * 4


def test_performance_is_measured_and_reported() -> None:
    found = climb(
        Endpoint(),  # type: ignore[arg-type]
        wanted(tried_level="performance", load=Load(2, 3, {"latency": 0.1})),
        samples("format", "acoustic"),
        Place(profile="cpu-py311-x86_64"),
    )
    assert found.performance["parallel"]["1"]["latency"] == {"p50": 0.3, "p95": 0.3}
    assert found.performance["parallel"]["3"]["requests"] == 3
    told = {name: ok for level, name, ok in named(found.findings) if level == "performance"}
    assert told == {
        **{"first_byte": True, "latency": False, "real_time_factor": True},
        **{"parallel_first_byte": True, "parallel_latency": True, "parallel_real_time_factor": True},
        "gpu": True,
    }


def test_a_silent_host_is_not_measured() -> None:
    endpoint = Endpoint()
    silent = [Sample("af_heart", "wav")]
    found = climb(endpoint, wanted(tried_level="offline"), silent, Place(restart=True, unit="x.service"))  # type: ignore[arg-type]
    assert endpoint.asked == []
    assert ("performance", "answers", None) in named(found.findings)
    assert ("offline", "watched", None) in named(found.findings)
    assert silent[0].level == "none"


@pytest.mark.parametrize(
    ("profile", "apps", "ok"),
    [
        (None, "", None),
        ("cpu-py311-x86_64", "", True),
        ("cuda-py311-x86_64", "GPU-1, 4711, 1250\n", True),
        ("cuda-py311-x86_64", None, None),
    ],
)
def test_the_gpu_is_checked_for_a_gpu_release(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, profile: str | None, apps: str | None, ok: bool | None
) -> None:
    monkeypatch.setattr(Unit, "processes", lambda _self: [4711])

    def run(command: Sequence[str], _timeout: float) -> tuple[int, str]:
        assert command[0] == "nvidia-smi"
        return (127, "not found") if apps is None else (0, "0, GPU-1\n" if "query-gpu" in command[1] else apps)

    place = Place(profile=profile, unit="x.service", gpu_indexes=(0,))
    assert ladder._gpu(place, run).ok is ok


# --- offline is asked for, and never in another's way


@pytest.fixture
def proved(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The units that were restarted and watched."""
    units: list[str] = []

    def prove(unit: Unit, spoken: Any, _seconds: float) -> Any:
        units.append(unit.name)
        spoken()
        return {"unit": unit.name}, good("offline")

    monkeypatch.setattr(offline, "prove", prove)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(ladder.deploy_lock, "look", lambda: None)
    return units


def offline_of(place: Place) -> Finding:
    found = climb(Endpoint(), wanted(tried_level="offline", voices=["af_heart"]), samples("format"), place)  # type: ignore[arg-type]
    return next(finding for finding in found.findings if finding.level == "offline")


def test_the_service_is_watched_if_a_restart_is_allowed(proved: list[str]) -> None:
    assert offline_of(Place(restart=True, unit="x.service")).ok is True
    assert proved == ["x.service"]


@pytest.mark.parametrize(
    ("place", "words"),
    [
        (Place(unit="x.service"), "synthesis_restart: true"),
        (Place(restart=True), "No service of this host is named"),
    ],
)
def test_the_level_is_unverified_without_a_restart(proved: list[str], place: Place, words: str) -> None:
    finding = offline_of(place)
    assert finding.ok is None
    assert words in finding.sentence
    assert proved == []


def test_nothing_restarts_during_another_deploy(proved: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    owner = {"controller": "fetch1", "pid": 1}
    monkeypatch.setattr(ladder.deploy_lock, "look", lambda: {"owner": owner, "time": 1.0})
    assert "A deploy is changing this host" in offline_of(Place(restart=True, unit="x.service")).sentence
    assert proved == []
    assert offline_of(Place(restart=True, unit="x.service", lock_owner=owner)).ok is True


def test_an_account_that_is_not_root_restarts_nothing(proved: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert "The check needs root" in offline_of(Place(restart=True, unit="x.service")).sentence
    assert proved == []


def test_the_check_waits_until_the_service_speaks_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ladder.time, "sleep", lambda _seconds: None)
    errors = [SpeechError("refused", "no"), SpeechError("no_model", "not yet"), SpeechError("loading", "soon")]

    def still_alive(_client: Any, _wanted: Wanted) -> float:
        if errors:
            raise errors.pop(0)
        return 0.4

    monkeypatch.setattr(proof, "still_alive", still_alive)
    unit = Unit("x.service", runner=lambda _command, _timeout: (0, "ActiveState=active"))
    assert ladder._spoken(Endpoint(), wanted(), unit, 60) == 0.4  # type: ignore[arg-type]
    for error in (SpeechError("unauthorized", "no"), SpeechError("refused", "no")):
        errors.append(error)
        with pytest.raises(SpeechError):
            ladder._spoken(Endpoint(), wanted(), unit, -1 if error.kind == "refused" else 60)  # type: ignore[arg-type]
    errors.append(SpeechError("refused", "no"))
    dead = Unit("x.service", runner=lambda _command, _timeout: (0, "ActiveState=failed"))
    with pytest.raises(SpeechError, match="x.service failed"):
        ladder._spoken(Endpoint(), wanted(), dead, 60)  # type: ignore[arg-type]
