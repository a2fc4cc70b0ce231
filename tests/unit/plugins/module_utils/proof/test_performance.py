# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import http.client
import threading
import time

import pytest
from ansible_collections.voicefleet.kokoro.plugins.module_utils.proof import performance
from ansible_collections.voicefleet.kokoro.plugins.module_utils.proof.performance import (
    Load,
    gpu_finding,
    measure,
    percentile,
    prove,
)
from ansible_collections.voicefleet.kokoro.plugins.module_utils.proof.speech import Reply, SpeechError
from ansible_collections.voicefleet.kokoro.tests.unit.plugins.module_utils.signals import pcm, speech_like, wav

TWO_SECONDS = wav(pcm(speech_like(seed=1))[:48000])


class Endpoint:
    """Answers with two seconds of sound, says that it took longer each time, and counts who asks at once."""

    def __init__(self, wait: float = 0.0, fails_from: int | None = None) -> None:
        self.wait, self.fails_from = wait, fails_from
        self.voices: list[str] = []
        self.now = self.most = 0
        self.lock = threading.Lock()

    def ask(self, voice: str) -> Reply:
        with self.lock:
            self.voices.append(voice)
            number = len(self.voices)
            self.now += 1
            self.most = max(self.most, self.now)
        time.sleep(self.wait)
        with self.lock:
            self.now -= 1
        if self.fails_from is not None and number >= self.fails_from:
            raise SpeechError("failed", f"answered 500 at request {number}")
        return Reply(TWO_SECONDS, "audio/wav", 0.1 * number, 0.2 * number)


def test_a_percentile_is_the_nearest_rank() -> None:
    values = [float(number) for number in range(20, 0, -1)]
    assert (percentile(values, 0.5), percentile(values, 0.95), percentile(values, 1.0)) == (10.0, 19.0, 20.0)
    assert (percentile([7.0], 0.5), percentile([7.0], 0.95)) == (7.0, 7.0)
    assert percentile([1.0, 9.0], 0.95) == 9.0


def test_a_series_has_percentiles_and_counts() -> None:
    endpoint = Endpoint()
    series = measure(endpoint.ask, ["a", "b"], 10, 1)
    assert endpoint.voices == ["a", "b"] * 5
    assert endpoint.most == 1
    assert series.summary() == {
        "first_byte": {"p50": 0.5, "p95": 1.0},
        "latency": {"p50": 1.0, "p95": 2.0},
        "real_time_factor": {"p50": 0.5, "p95": 1.0},
        "requests": 10,
        "errors": 0,
    }


def test_no_more_requests_run_at_once_than_wanted() -> None:
    endpoint = Endpoint(wait=0.05)
    series = measure(endpoint.ask, ["a"], 12, 4)
    assert endpoint.most == 4
    assert series.requests == 12
    # Fewer requests than places would not measure that many at once.
    assert measure(Endpoint().ask, ["a"], 2, 8).requests == 8


def test_a_slow_server_gets_only_one_round() -> None:
    assert measure(Endpoint(wait=0.05).ask, ["a"], 100, 2, seconds=0.01).requests == 2


def test_the_warm_up_comes_first_and_does_not_count() -> None:
    endpoint = Endpoint()
    numbers, findings = prove(endpoint.ask, ["a", "b"], Load(requests=4, parallel=2))
    assert endpoint.voices[:2] == ["a", "b"]
    assert numbers["parallel"]["1"]["requests"] == numbers["parallel"]["2"]["requests"] == 4
    assert numbers["parallel"]["1"]["latency"]["p50"] == pytest.approx(
        0.8
    )  # the third and fourth request, not the first
    assert [finding.name for finding in findings] == [
        *("first_byte", "latency", "real_time_factor"),
        *("parallel_first_byte", "parallel_latency", "parallel_real_time_factor"),
    ]
    assert {(finding.level, finding.ok, finding.limit) for finding in findings} == {("performance", True, "none")}


def test_one_request_at_once_makes_one_series() -> None:
    numbers, findings = prove(Endpoint().ask, ["a"], Load(requests=3, parallel=1))
    assert list(numbers["parallel"]) == ["1"]
    assert len(findings) == 3


def test_a_limit_applies_to_95_of_100_requests() -> None:
    series = measure(Endpoint().ask, ["a"], 10, 1)
    limits = {"latency": 1.9, "first_byte": 1.0, "parallel_real_time_factor": 0.01}
    found = {finding.name: finding for finding in performance.judge(series, limits)}
    assert {name: finding.ok for name, finding in found.items()} == {
        "first_byte": True,
        "latency": False,
        "real_time_factor": True,
    }
    assert (
        "whole answer 1.00 s in the middle, 2.00 s for 95 of 100; over the limit of 1.9 s" in found["latency"].sentence
    )
    assert found["latency"].limit == "1.9 s"


def test_a_failed_request_ends_the_series() -> None:
    endpoint = Endpoint(fails_from=4)
    numbers, findings = prove(endpoint.ask, ["a"], Load(requests=50, parallel=4))
    assert len(endpoint.voices) == 4
    assert numbers["parallel"]["1"]["errors"] == 1
    assert (findings[0].name, findings[0].ok) == ("answers", False)
    assert "1 of 3 requests, one at a time, failed: answered 500 at request 4" in findings[0].sentence
    cold, findings = prove(Endpoint(fails_from=1).ask, ["a"], Load())
    assert cold["parallel"] == {}
    assert [finding.ok for finding in findings] == [False]
    assert "the warm-up failed: answered 500" in findings[0].sentence


@pytest.mark.parametrize("data", [b"", b"no sound", TWO_SECONDS[:5000]])
def test_an_incomplete_sound_is_a_failed_request(data: bytes) -> None:
    series = measure(lambda voice: Reply(data, "audio/wav", 0.1, 0.2), ["a"], 3, 1)
    assert (series.requests, len(series.errors)) == (0, 1)


@pytest.mark.parametrize(
    ("load", "words"),
    [
        (Load(requests=0), "synthesis_requests is 0; it must be 1 to 1000"),
        (Load(parallel=999), "synthesis_parallel is 999; it must be 1 to 256"),
        (Load(limits={"latency": 0.0}), "latency is 0.0; it must be a number above 0"),
        (Load(limits={"latency": float("inf")}), "a number above 0"),
        (Load(limits={"latency": float("nan")}), "a number above 0"),
        (Load(limits={"speed": 1.0}), "there is no limit 'speed'. Known limits: first_byte"),
    ],
)
def test_invalid_settings_of_a_load_are_named(load: Load, words: str) -> None:
    assert [words in fault for fault in load.faults()] == [True]
    assert Load().faults() == []


# --- the GPU, in what nvidia-smi says with --format=csv,noheader,nounits

CARDS = "0, GPU-11111111-aaaa-bbbb-cccc-000000000000\n1, GPU-22222222-aaaa-bbbb-cccc-000000000000\n"
APPS = "GPU-11111111-aaaa-bbbb-cccc-000000000000, 2201, 18432\nGPU-22222222-aaaa-bbbb-cccc-000000000000, 4711, 1250\n"


def test_the_service_holds_memory_on_the_configured_card() -> None:
    good = gpu_finding(True, [4700, 4711], APPS, CARDS, [1])
    assert (good.ok, good.level) == (True, "performance")
    assert good.sentence == "The service holds 1250 MiB by process 4711 on card 1, as configured."
    assert gpu_finding(True, [4711], APPS, CARDS).ok is True


def test_another_card_or_no_card_is_a_failure() -> None:
    stray = gpu_finding(True, [4711], APPS, CARDS, [0])
    assert stray.ok is False
    assert stray.sentence.endswith("the configured GPU is 0.")
    cpu = gpu_finding(True, [99], APPS, CARDS)
    assert cpu.ok is False
    assert cpu.sentence == "No process of the service holds memory on a GPU; 2 others do. The CPU does the work."
    assert gpu_finding(True, [99], "", CARDS).ok is False


def test_an_unknown_use_of_the_gpu_is_unverified() -> None:
    assert gpu_finding(None, [1], APPS).ok is None
    assert gpu_finding(True, [4711], None).ok is None
    assert gpu_finding(True, [], APPS).ok is None
    assert gpu_finding(True, [7], "", CARDS, contained=True).ok is None
    assert gpu_finding(True, [4711], APPS, "", [1]).ok is None
    # Drivers that may not tell of processes; MIG.
    assert gpu_finding(True, [7], "[Not Supported]\n", contained=True).ok is None
    assert gpu_finding(True, [4711], "GPU-1, 4711, [N/A]\n").ok is True


def test_a_release_for_cpus_needs_no_gpu() -> None:
    found = gpu_finding(False, [1], None)
    assert (found.ok, found.value) == (True, "cpu")


class Broken:
    """Answers every second request; the others raise what no client should raise."""

    def __init__(self, error: BaseException) -> None:
        self.error, self.asked, self.lock = error, 0, threading.Lock()

    def ask(self, voice: str) -> Reply:
        with self.lock:
            self.asked += 1
            odd = self.asked % 2
        if odd:
            return Reply(TWO_SECONDS, "audio/wav", 0.1, 0.2)
        raise self.error


@pytest.mark.parametrize("error", [http.client.IncompleteRead(b""), http.client.BadStatusLine("x"), KeyError("x")])
def test_any_exception_is_an_error_of_its_request(error: Exception) -> None:
    series = measure(Broken(error).ask, ["a"], 10, 1)
    assert (series.sent, series.requests, len(series.errors)) == (2, 1, 1)
    assert type(error).__name__ in series.errors[0]
    numbers, findings = prove(Broken(error).ask, ["a"], Load(requests=10))
    assert [(finding.name, finding.ok) for finding in findings][0] == ("answers", False)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_request_without_answer_and_error_fails_the_proof() -> None:
    """SystemExit ends a thread without a word."""
    series = measure(Broken(SystemExit()).ask, ["a"], 10, 1)
    assert (series.sent, series.requests, series.errors, series.missing) == (2, 1, [], 1)
    found = performance.judge(series, {})
    assert (found[0].name, found[0].ok, found[0].value) == ("answers", False, 1)
    assert "1 of 2 requests, one at a time, failed: there is no answer and no error" in found[0].sentence
    empty = performance.Series(1)
    assert [finding.ok for finding in performance.judge(empty, {})] == [False]


def test_threads_that_cannot_start_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    assert "4 requests at once are not possible" in measure(Endpoint().ask, ["a"], 4, 4).errors[0]
