# SPDX-License-Identifier: GPL-3.0-or-later
"""The deploy lock: one play gets it, the others learn who has it, and an abandoned lock is taken over."""

from __future__ import annotations

import json
import multiprocessing
import os
import time
from pathlib import Path

import pytest
from ansible_collections.voicefleet.kokoro.plugins.module_utils.host import deploy_lock

ANNA = {"controller": "anna", "user": "root", "pid": 1, "started": "b 1"}
BERT = {"controller": "bert", "user": "root", "pid": 2, "started": "c 2"}


@pytest.fixture
def file(tmp_path: Path) -> str:
    return str(tmp_path / "lock.json")


def leave_behind(file: str) -> None:
    """A lock whose owner showed no sign of life for hours."""
    Path(file).write_text(json.dumps({"owner": ANNA, "time": deploy_lock.clock() - 9000}))
    os.utime(file, (1, 1))


def test_one_play_gets_the_lock_and_the_other_learns_who_has_it(file: str) -> None:
    assert deploy_lock.take(ANNA, 60, file=file) == {"taken": True, "holder": None, "age": 0.0, "phase": ""}
    refused = deploy_lock.take(BERT, 60, file=file)
    assert (refused["taken"], refused["holder"]) == (False, ANNA)
    assert not deploy_lock.release(BERT, file)
    assert deploy_lock.release(ANNA, file)
    assert deploy_lock.take(BERT, 60, file=file)["taken"]


def test_the_same_play_may_take_the_lock_twice(file: str) -> None:
    deploy_lock.take(ANNA, 60, file=file)
    again = deploy_lock.take(ANNA, 60, file=file)
    assert (again["taken"], again["holder"]) == (True, None)


def test_an_old_lock_is_taken_over_and_its_holder_is_named(file: str) -> None:
    leave_behind(file)
    taken = deploy_lock.take(BERT, 60, file=file)
    assert (taken["taken"], taken["holder"]) == (True, ANNA)
    # If the former holder resumes, it does not give back the lock of another.
    assert not deploy_lock.release(ANNA, file)


def test_only_the_lock_of_a_dead_holder_is_taken_over(file: str) -> None:
    deploy_lock.take(ANNA, 60, file=file)
    assert not deploy_lock.take(BERT, 60, {**ANNA, "pid": 7}, file)["taken"]
    assert deploy_lock.take(BERT, 60, ANNA, file)["taken"]


@pytest.mark.parametrize("text", ["", "{", "[]", '{"owner": 1, "time": 5}', '{"owner": {}}'])
def test_a_damaged_lock_has_no_holder(file: str, text: str) -> None:
    Path(file).write_text(text)
    assert deploy_lock.take(ANNA, 60, file=file)["taken"]


def test_without_a_file_there_is_nothing_to_give_back(file: str) -> None:
    assert not deploy_lock.release(ANNA, file)
    assert not Path(file).exists()


def _try(file: str, number: int, results: multiprocessing.Queue[bool]) -> None:
    results.put(deploy_lock.take({"pid": number}, 60, file=file)["taken"])


def test_one_of_many_simultaneous_plays_gets_the_lock(file: str) -> None:
    # There is an old lock, so every play may take it over.
    leave_behind(file)
    context = multiprocessing.get_context("fork")
    results: multiprocessing.Queue[bool] = context.Queue()
    processes = [context.Process(target=_try, args=(file, number, results)) for number in range(12)]
    for process in processes:
        process.start()
    assert sum(results.get(timeout=30) for _row in processes) == 1
    for process in processes:
        process.join()


def test_a_play_that_marks_phases_keeps_the_lock(file: str) -> None:
    leave_behind(file)
    deploy_lock.mark("artifacts", file)
    refused = deploy_lock.take(BERT, 60, file=file)
    assert (refused["taken"], refused["holder"], refused["phase"]) == (False, ANNA, "artifacts")
    assert refused["age"] > 60, "long held, and alive"


@pytest.mark.parametrize("hours", [3, -3, 24 * 365])
def test_a_clock_that_is_set_neither_ends_a_lock_nor_keeps_it(
    file: str, monkeypatch: pytest.MonkeyPatch, hours: int
) -> None:
    now = [100_000.0]
    monkeypatch.setattr(deploy_lock, "clock", lambda: now[0])
    deploy_lock.take(ANNA, 7200, file=file)
    wrong = time.time() + hours * 3600
    os.utime(file, (wrong, wrong))
    assert not deploy_lock.take(BERT, 7200, file=file)["taken"]
    now[0] += 7201
    assert deploy_lock.take(BERT, 7200, file=file)["taken"]


def test_the_receiver_of_a_delivery_keeps_the_lock(file: str, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100_000.0]
    monkeypatch.setattr(deploy_lock, "clock", lambda: now[0])
    deploy_lock.take(ANNA, 7200, file=file)
    now[0] += 7000
    os.utime(file, (now[0], now[0]))
    now[0] += 7000
    assert not deploy_lock.take(BERT, 7200, file=file)["taken"]


def test_a_time_in_the_future_does_not_keep_a_lock(file: str) -> None:
    later = deploy_lock.clock() + 10**9
    Path(file).write_text(json.dumps({"owner": ANNA, "time": later, "alive": later}))
    assert deploy_lock.take(BERT, 0.001, file=file)["taken"]


def test_each_phase_has_a_duration(file: str, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr(deploy_lock, "clock", lambda: now[0])
    deploy_lock.take(ANNA, 60, file=file)
    for phase, seconds in (("artifacts", 2), ("artifacts", 3), ("start", 10), ("proof", 4), ("start", 1)):
        now[0] += seconds
        deploy_lock.mark(phase, file)
    now[0] += 5
    assert deploy_lock.progress(file) == {
        "phase": "start",
        "seconds": {"preflight": 2, "artifacts": 13, "start": 9, "proof": 1, "total": 25},
    }


def test_without_a_holder_no_phase_is_marked(file: str) -> None:
    deploy_lock.mark("artifacts", file)
    assert not Path(file).exists()
    assert deploy_lock.progress(file) == {"phase": "", "seconds": {}}
    deploy_lock.take(ANNA, 60, file=file)
    deploy_lock.release(ANNA, file)
    deploy_lock.mark("artifacts", file)
    assert Path(file).read_text() == ""
