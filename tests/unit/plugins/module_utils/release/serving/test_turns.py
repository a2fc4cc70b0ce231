# SPDX-License-Identifier: GPL-3.0-or-later
"""Requests take turns. A short one waits for one part of a long one, and a long one still ends."""

from __future__ import annotations

import threading
from concurrent.futures import Future
from typing import Any

import pytest
from ansible_collections.voicefleet.kokoro.plugins.module_utils.release.serving.turns import Busy, Job, Turns

LONG = 10  # seconds after which a hanging test fails


class Model:
    """Work that waits until the test lets it go on, so that the order is known."""

    def __init__(self) -> None:
        self.now = 0.0
        self.order: list[str] = []
        self.turns = Turns(patience=100, waiting=5, clock=lambda: self.now)
        self._gate = threading.Event()
        self._started = threading.Event()
        # While this holds the thread, the test queues what it wants.
        self.held = self.turns.submit(Job(), self._hold)
        assert self._started.wait(LONG)

    def _hold(self) -> None:
        self._started.set()
        assert self._gate.wait(LONG)

    def queue(self, name: str, job: Job, seconds: float = 1.0) -> Future[str]:
        def work() -> str:
            self.order.append(name)
            self.now += seconds
            return name

        return self.turns.submit(job, work)

    def go(self, *futures: Future[Any]) -> list[str]:
        self._gate.set()
        for future in futures:
            future.result(LONG)
        return self.order


def used(seconds: float) -> Job:
    job = Job()
    job.used = seconds
    return job


def test_the_request_that_had_the_least_time_comes_next() -> None:
    model = Model()
    long, other = used(60), used(5)
    futures = [model.queue("long", long), model.queue("other", other), model.queue("new", Job())]
    assert model.go(*futures) == ["new", "other", "long"]
    assert (long.used, other.used) == (61, 6)


def test_requests_with_the_same_time_come_in_their_order() -> None:
    model = Model()
    futures = [model.queue(name, Job()) for name in "abc"]
    assert model.go(*futures) == ["a", "b", "c"]


def test_a_request_that_waited_too_long_comes_first() -> None:
    model = Model()
    first = model.queue("long", used(60))
    model.now += 101
    assert model.go(first, model.queue("new", Job())) == ["long", "new"]


def test_work_of_a_client_that_left_is_left_out() -> None:
    model = Model()
    gone, stays = model.queue("gone", Job()), model.queue("stays", Job())
    assert gone.cancel()
    assert model.go(stays) == ["stays"]


def test_an_error_reaches_its_request_alone() -> None:
    model = Model()

    def fail() -> None:
        raise ValueError("no phonemes")

    failed, next_one = model.turns.submit(Job(), fail), model.queue("next", Job())
    assert model.go(next_one) == ["next"]
    with pytest.raises(ValueError, match="no phonemes"):
        failed.result(LONG)


def test_too_many_requests_are_refused_and_cancelled_ones_do_not_count() -> None:
    model = Model()
    futures = [model.queue(str(number), Job()) for number in range(5)]
    with pytest.raises(Busy, match="5 requests wait already"):
        model.queue("sixth", Job())
    futures[0].cancel()
    assert model.go(model.queue("sixth", Job()), *futures[1:]) == ["1", "2", "3", "4", "sixth"]


def test_a_short_request_waits_for_one_part_of_a_long_one() -> None:
    model = Model()
    long = Job()
    parts: list[Future[str]] = []

    def next_part(_part: Future[Any]) -> None:
        if len(parts) < 5:
            parts.append(model.queue(f"part {len(parts)}", long))
            parts[-1].add_done_callback(next_part)

    def done() -> bool:
        return len(parts) == 5 and all(part.done() for part in parts)

    model.held.add_done_callback(next_part)
    short = model.queue("short", Job())
    model.go(short)
    for _each in range(1000):
        if done():
            break
        threading.Event().wait(0.01)
    assert model.order.index("short") <= 1
    assert model.order[-1] == "part 4"
