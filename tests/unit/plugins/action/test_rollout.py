# SPDX-License-Identifier: GPL-3.0-or-later
"""The action around plugin_utils/fleet/rollout.py: which facts it reads and sets."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import pytest
from ansible.errors import AnsibleActionFail
from ansible_collections.voicefleet.kokoro.plugins.action.rollout import ActionModule

DEFAULTS = {name: option.get("default") for name, option in ActionModule.SPEC.items()}


def run(task_vars: dict[str, Any], check_mode: bool = False, **arguments: Any) -> dict[str, Any]:
    task = SimpleNamespace(args={}, check_mode=check_mode, async_val=0, delegate_to=None, action="x", tags=["always"])
    action = ActionModule(task, MagicMock(), MagicMock(), MagicMock(), MagicMock(), MagicMock())
    result: dict[str, Any] = action.act({**DEFAULTS, **arguments}, task_vars)
    return result


def fleet(rollout: dict[str, Any] | None = None, **hosts: dict[str, Any]) -> dict[str, Any]:
    facts = {"voicefleet_rollout": rollout} if rollout else {}
    return {
        "hostvars": {**hosts, "localhost": {"ansible_facts": facts}},
        "ansible_play_hosts_all": list(hosts),
        "ansible_play_batch": list(hosts)[:1],
    }


def test_a_run_is_planned_begins_and_stops() -> None:
    planned = run(fleet(a={}, b={}), step="plan", canary=1)["ansible_facts"]["voicefleet_rollout"]
    assert (planned["serial"], planned["hosts"]) == ([1, "100%"], ["a", "b"])
    first = run(fleet(planned, a={}, b={}), step="begin")
    assert first["msg"] == "batch 1: a"
    note = run({"inventory_hostname": "a"}, step="note", task="Speak", why="Silence.")["ansible_facts"]
    second = run(fleet(first["ansible_facts"]["voicefleet_rollout"], a=note, b={}), step="begin")
    assert second["msg"] == "Stopped before the next batch: the canary failed: a."
    assert second["ansible_facts"]["voicefleet_rollout"]["stop"]


def test_all_invalid_settings_are_refused_at_once() -> None:
    with pytest.raises(AnsibleActionFail, match=r"voicefleet_canary applies to .*voicefleet_serial is 'some'"):
        run(fleet(a={"voicefleet_canary": 2}, b={}), step="plan", canary=2, serial="some")


@pytest.mark.parametrize(
    ("settings", "serial"), [({}, ["100%"]), ({"voicefleet_canary": 1}, [1, "100%"]), ({"voicefleet_serial": 2}, [2])]
)
def test_the_members_of_a_cluster_share_a_batch_by_default(settings: dict[str, Any], serial: list[Any]) -> None:
    member = {"xinference_topology": "cluster", **settings}
    given = {"canary": settings.get("voicefleet_canary", 1), "serial": settings.get("voicefleet_serial", "40%")}
    state = run(fleet(a=member, b=member), step="plan", **given)["ansible_facts"]["voicefleet_rollout"]
    assert state["serial"] == serial


def test_a_run_in_one_batch_forgets_the_previous_run() -> None:
    old = {"serial": [1], "canary": True, "limit": 0, "hosts": ["x"], "batches": [{"hosts": ["a"], "began": 1}]}
    state = run(fleet(old, a={}), step="begin", whole=True)["ansible_facts"]["voicefleet_rollout"]
    assert (len(state["batches"]), state["hosts"], state["stop"]) == (1, ["a"], "")


@pytest.mark.parametrize(
    ("check_mode", "arguments", "outcome", "why"),
    [
        (False, {}, "served", ""),
        (True, {}, "checked", ""),
        (False, {"task": "Speak", "why": "Silence."}, "failed", "Speak: Silence."),
        (False, {"task": "Speak", "why": "a: Silence."}, "failed", "Silence."),
        (False, {"task": "Speak", "why": "another failure"}, "failed", "Speak: another failure"),
        (False, {"task": "Look", "why": "a cannot be deployed."}, "failed", "cannot be deployed."),
        (False, {"task": "Look", "why": "a: not reached.", "not_reached": True}, "unreachable", "not reached."),
    ],
)
def test_the_outcome_of_a_host_is_noted(check_mode: bool, arguments: dict[str, Any], outcome: str, why: str) -> None:
    end = run({"inventory_hostname": "a"}, check_mode, step="note", **arguments)["ansible_facts"]["voicefleet_outcome"]
    assert (end["outcome"], end["why"]) == (outcome, why)


def test_the_last_step_reports_the_failures_to_ansible() -> None:
    failed = run({"voicefleet_outcome": {"outcome": "failed"}}, step="count")
    assert (failed.get("failed"), failed.get("unreachable")) == (True, None)
    silent = run({"voicefleet_outcome": {"outcome": "unreachable"}}, step="count")
    assert (silent.get("failed"), silent.get("unreachable")) == (None, True)


def test_a_run_that_ends_before_it_serves_is_reported_as_prepared() -> None:
    def outcome(**tags: list[str]) -> str:
        said: str = run({"inventory_hostname": "a", **tags}, step="note")["ansible_facts"]["voicefleet_outcome"][
            "outcome"
        ]
        return said

    assert outcome() == outcome(ansible_run_tags=["all"], ansible_skip_tags=[]) == "served"
    assert outcome(ansible_run_tags=["artifacts"]) == "prepared"
    assert outcome(ansible_run_tags=["all"], ansible_skip_tags=["serve", "releases"]) == "prepared"


def test_invalid_tags_are_refused_before_a_batch() -> None:
    for step in ("plan", "begin", "note"):
        with pytest.raises(AnsibleActionFail, match="Nothing was changed: the tags leave out artifacts"):
            run({**fleet(a={}), "ansible_run_tags": ["python_env"]}, step=step)
    with pytest.raises(AnsibleActionFail, match="has no phases"):
        run({**fleet(a={}), "ansible_run_tags": ["artifacts"]}, step="begin", whole=True)
