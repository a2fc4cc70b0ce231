# SPDX-License-Identifier: GPL-3.0-or-later
"""Batches, the decision between two of them, and the outcome of every host."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.fleet import rollout

HOSTS = ["a", "b", "c", "d", "e"]


def end(outcome: str = rollout.SERVED, at: float = 150.0, why: str = "") -> dict[str, Any]:
    return {"outcome": outcome, "at": at, "why": why}


def begun(*batches: list[str], limit: float = 0) -> dict[str, Any]:
    """A run with a canary whose batches began at 100, 200, ... seconds."""
    state = rollout.new(1, "100%", limit)
    return {
        **state,
        "hosts": HOSTS,
        "batches": [{"hosts": hosts, "began": 100.0 * (number + 1)} for number, hosts in enumerate(batches)],
    }


def next_stop(state: dict[str, Any], ends: dict[str, Any]) -> str:
    after = rollout.begin(state, HOSTS, ["e"], ends, 900.0)
    # A batch begins or the run stops, never both.
    assert bool(after["stop"]) == (len(after["batches"]) == len(state["batches"]))
    return str(after["stop"])


@pytest.mark.parametrize(
    ("canary", "serial", "made"),
    [
        (1, "25%", [1, "25%"]),
        ("2", 3, [2, 3]),
        ("10%", "100%", ["10%", "100%"]),
        (0, "50%", ["50%"]),
        ("0%", " 4 ", [4]),
    ],
)
def test_batches_are_as_ansible_takes_them(canary: Any, serial: Any, made: list[Any]) -> None:
    state = rollout.new(canary, serial, 0)
    assert (state["serial"], state["canary"]) == (made, len(made) == 2)


def test_all_mistakes_are_reported_at_once() -> None:
    with pytest.raises(rollout.RolloutError) as told:
        rollout.new("one", 0, "101")
    for part in ("voicefleet_canary is 'one'", "voicefleet_serial is 0", "voicefleet_max_fail_percentage is '101'"):
        assert part in str(told.value)


@pytest.mark.parametrize("value", [-1, "120%", True, None, "1.5", [1, 2], ""])
def test_an_invalid_batch_size_is_refused(value: Any) -> None:
    with pytest.raises(rollout.RolloutError, match="voicefleet_serial"):
        rollout.new(1, value, 0)


def test_a_setting_that_differs_between_hosts_is_refused() -> None:
    same = {"a": {"voicefleet_serial": 2}, "b": {"voicefleet_serial": 2}}
    assert rollout.differing(same) == []
    [sentence] = rollout.differing({**same, "c": {}})
    assert "voicefleet_serial applies to the whole run" in sentence
    assert "2 for a, b" in sentence
    assert "not set for c" in sentence


def test_the_first_batch_always_begins() -> None:
    state = rollout.begin(rollout.new(1, "25%", 0), HOSTS, ["a"], {}, 100.0)
    assert state["batches"] == [{"hosts": ["a"], "began": 100.0}]
    assert (state["hosts"], state["stop"]) == (HOSTS, "")


def test_a_canary_that_serves_lets_the_others_begin() -> None:
    assert next_stop(begun(["a"]), {"a": end()}) == ""


def test_a_canary_that_fails_stops_whatever_the_limit() -> None:
    assert next_stop(begun(["a"], limit=100), {"a": end(rollout.FAILED)}) == "the canary failed: a"


@pytest.mark.parametrize("ends", [{"a": end(rollout.UNREACHABLE)}, {}])
def test_an_unreachable_canary_stops_the_run(ends: dict[str, Any]) -> None:
    assert "the canary could not be reached" in next_stop(begun(["a"]), ends)


def test_a_canary_of_two_continues_with_one_reachable_host() -> None:
    assert next_stop(begun(["a", "b"]), {"a": end(), "b": end(rollout.UNREACHABLE)}) == ""


def test_hosts_that_cannot_be_reached_do_not_count() -> None:
    ends = {"a": end(), "b": end(rollout.UNREACHABLE, 250)}
    assert next_stop(begun(["a"], ["b", "c"]), ends) == ""


def test_a_failure_stops_before_the_next_batch() -> None:
    ends = {"a": end(), "b": end(at=250), "c": end(rollout.FAILED, 250)}
    stop = next_stop(begun(["a"], ["b", "c"]), ends)
    assert "in batch 2, 1 of 2 hosts failed" in stop
    assert stop.endswith(": c")


@pytest.mark.parametrize(("limit", "stops"), [(49, True), (50, False)])
def test_the_limit_is_the_share_that_may_fail(limit: float, stops: bool) -> None:
    ends = {"a": end(), "b": end(at=250), "c": end(rollout.FAILED, 250)}
    assert bool(next_stop(begun(["a"], ["b", "c"], limit=limit), ends)) is stops


def test_a_batch_is_judged_once() -> None:
    ends = {"a": end(), "b": end(rollout.FAILED, 250), "c": end(at=250), "d": end(at=350)}
    assert next_stop(begun(["a"], ["b", "c"], ["d"]), ends) == ""


def test_every_host_has_an_outcome() -> None:
    ends = {"a": end(at=160), "b": end(rollout.FAILED, 230, "no sound"), "c": end(at=199)}
    found = rollout.result(begun(["a"], ["b", "c"]), ends, 300.0)
    assert list(found) == HOSTS
    assert found["a"] == rollout.End(rollout.SERVED, "", 60.0)
    assert found["b"] == rollout.End(rollout.FAILED, "no sound", 30.0)
    # Its outcome is older than its batch, so it belongs to another run. This run has none.
    assert (found["c"].outcome, found["c"].seconds) == (rollout.LOST, 100.0)
    assert found["d"] == found["e"] == rollout.End(rollout.NOT_TRIED)
