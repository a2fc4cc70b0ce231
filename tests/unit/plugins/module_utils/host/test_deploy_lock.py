# SPDX-License-Identifier: GPL-3.0-or-later
"""The deploy lock of a host: one wins, the other is told who; what was left behind is taken over."""

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
    """A lock whose owner gave no sign of life for hours."""
    Path(file).write_text(json.dumps({"owner": ANNA, "time": 1000}))
    os.utime(file, (1000, 1000))


def test_one_wins_and_the_other_is_told_who(file: str) -> None:
    assert deploy_lock.take(ANNA, 60, file=file) == {"taken": True, "holder": None, "age": 0.0, "phase": ""}
    refused = deploy_lock.take(BERT, 60, file=file)
    assert (refused["taken"], refused["holder"]) == (False, ANNA)
    assert not deploy_lock.release(BERT, file)
    assert deploy_lock.release(ANNA, file)
    assert deploy_lock.take(BERT, 60, file=file)["taken"]


def test_the_same_play_may_take_it_twice(file: str) -> None:
    deploy_lock.take(ANNA, 60, file=file)
    again = deploy_lock.take(ANNA, 60, file=file)
    assert (again["taken"], again["holder"]) == (True, None)


def test_an_old_lock_is_taken_over_and_its_holder_named(file: str) -> None:
    leave_behind(file)
    taken = deploy_lock.take(BERT, 60, file=file)
    assert (taken["taken"], taken["holder"]) == (True, ANNA)
    # The former holder, should it wake, does not give back what is not its own.
    assert not deploy_lock.release(ANNA, file)


def test_a_dead_holders_lock_is_taken_over_and_another_ones_is_not(file: str) -> None:
    deploy_lock.take(ANNA, 60, file=file)
    assert not deploy_lock.take(BERT, 60, {**ANNA, "pid": 7}, file)["taken"]
    assert deploy_lock.take(BERT, 60, ANNA, file)["taken"]


@pytest.mark.parametrize("text", ["", "{", "[]", '{"owner": 1, "time": 5}', '{"owner": {}}'])
def test_a_torn_lock_is_nobodys(file: str, text: str) -> None:
    Path(file).write_text(text)
    assert deploy_lock.take(ANNA, 60, file=file)["taken"]


def test_there_is_nothing_to_give_back_where_there_is_no_file(file: str) -> None:
    assert not deploy_lock.release(ANNA, file)
    assert not Path(file).exists()


def _try(file: str, number: int, results: multiprocessing.Queue[bool]) -> None:
    results.put(deploy_lock.take({"pid": number}, 60, file=file)["taken"])


def test_of_many_who_come_at_once_one_wins(file: str) -> None:
    # An old lock lies there, so that all of them may take it over.
    leave_behind(file)
    context = multiprocessing.get_context("fork")
    results: multiprocessing.Queue[bool] = context.Queue()
    processes = [context.Process(target=_try, args=(file, number, results)) for number in range(12)]
    for process in processes:
        process.start()
    assert sum(results.get(timeout=30) for _row in processes) == 1
    for process in processes:
        process.join()


def test_whoever_works_keeps_the_lock(file: str) -> None:
    leave_behind(file)
    deploy_lock.mark("artifacts", file)
    refused = deploy_lock.take(BERT, 60, file=file)
    assert (refused["taken"], refused["holder"], refused["phase"]) == (False, ANNA, "artifacts")
    assert refused["age"] > 60, "long held, and alive"


def test_phases_have_their_times(file: str, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr(time, "time", lambda: now[0])
    deploy_lock.take(ANNA, 60, file=file)
    for phase, seconds in (("artifacts", 2), ("artifacts", 3), ("start", 10), ("proof", 4), ("start", 1)):
        now[0] += seconds
        deploy_lock.mark(phase, file)
    now[0] += 5
    assert deploy_lock.progress(file) == {
        "phase": "start",
        "seconds": {"preflight": 2, "artifacts": 13, "start": 9, "proof": 1, "total": 25},
    }


def test_without_a_holder_nothing_is_marked(file: str) -> None:
    deploy_lock.mark("artifacts", file)
    assert not Path(file).exists()
    assert deploy_lock.progress(file) == {"phase": "", "seconds": {}}
    deploy_lock.take(ANNA, 60, file=file)
    deploy_lock.release(ANNA, file)
    deploy_lock.mark("artifacts", file)
    assert Path(file).read_text() == ""
