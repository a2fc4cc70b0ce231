# SPDX-License-Identifier: GPL-3.0-or-later
"""Each worker's own counters show that it speaks, even if other clients send requests too."""

from __future__ import annotations

import time

import pytest
from ansible_collections.voicefleet.kokoro.plugins.module_utils.xinference import workers
from ansible_collections.voicefleet.kokoro.tests.unit.plugins.module_utils.hostile import ANSWERS, serving

METRICS = """
# HELP xinference:model_request_total Total number of model requests.
# TYPE xinference:model_request_total counter
xinference:model_request_total{model="kokoro-rep0",stream="false",type="audio"} 5
xinference:model_request_total{model="kokoro-rep0",stream="unknown",type="audio"} 1
xinference:model_request_errors_total{model="kokoro-rep0",type="audio"} 2
xinference:model_request_duration_seconds_count{model="kokoro-rep0"} 5
"""


class Cluster:
    """Two workers. ``turns`` says which one answers each request; the last one repeats, None is a failure."""

    def __init__(self, *turns: str | None) -> None:
        self.turns = list(turns)
        self.counts = {"a:1": 7, "b:1": 0}
        self.errors = 3
        self.asked = 0

    def speak(self) -> None:
        self.asked += 1
        turn = self.turns.pop(0) if len(self.turns) > 1 else self.turns[0]
        if turn is None:
            self.errors += 1
        else:
            self.counts[turn] += 1

    def read(self, metrics: str) -> str:
        count = self.counts[metrics.replace("m:", "")]
        return f"{workers.TOTAL} {count + self.errors}\n{workers.ERRORS} {self.errors}\n"

    def hear(self) -> dict[str, int]:
        return workers.hear_each({"a:1": "m:a:1", "b:1": "m:b:1"}, self.speak, self.read)


def test_errors_do_not_count_as_answers() -> None:
    assert workers.answered(METRICS) == 4
    assert workers.answered("") == 0


def test_requests_continue_until_each_worker_has_answered() -> None:
    cluster = Cluster("a:1", "b:1")
    assert cluster.hear() == {"a:1": 1, "b:1": 1}
    assert cluster.asked == 2


def test_other_clients_may_take_turns() -> None:
    cluster = Cluster("a:1", "a:1", "a:1", "b:1")
    assert set(cluster.hear()) == {"a:1", "b:1"}


@pytest.mark.parametrize("turns", [("a:1",), ("a:1", None)])
def test_a_silent_worker_is_named(turns: tuple[str | None, ...]) -> None:
    cluster = Cluster(*turns)
    with pytest.raises(workers.WorkerSilent, match="the worker b:1 answered none"):
        cluster.hear()
    assert cluster.asked == 8


def test_unreadable_metrics_are_reported() -> None:
    with pytest.raises(workers.WorkerSilent, match="127.0.0.1:1 cannot be read"):
        workers.read_metrics("127.0.0.1:1", 2)


@pytest.mark.parametrize("name", ["a header byte by byte", "chunks without end", "another protocol"])
def test_hostile_metrics_are_reported_in_time(name: str) -> None:
    begin = time.monotonic()
    with serving(ANSWERS[name]()) as url, pytest.raises(workers.WorkerSilent, match="cannot be read"):
        workers.read_metrics(url.split("//")[1], 1.0)
    assert time.monotonic() - begin < 60


def test_odd_lines_in_metrics_count_nothing() -> None:
    odd = f"{workers.TOTAL} 1e+e+\n{workers.TOTAL}{{{'x' * (1 << 20)}\n" + "a" * (1 << 20) + f"\n{workers.TOTAL} 2\n"
    assert workers.answered(odd) == 2
