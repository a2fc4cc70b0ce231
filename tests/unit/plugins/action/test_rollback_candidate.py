# SPDX-License-Identifier: GPL-3.0-or-later
"""A rollback proves a candidate only if that can answer the gateway's clients."""

from __future__ import annotations

import copy
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import pytest
from ansible_collections.voicefleet.kokoro.plugins.action.rollback_candidate import ActionModule
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.action.base import DEFAULTS
from ansible_collections.voicefleet.kokoro.tests.unit.plugins.plugin_utils.fleet import test_preflight as fleet

FORMER, NOW = "1.2.3-111111111111", "1.2.3-000000000000"


def run(facts: dict[str, Any], **settings: Any) -> dict[str, Any]:
    """The plan's candidate on a host behind a gateway."""
    task = SimpleNamespace(args={}, check_mode=False, async_val=0, delegate_to=None, action="x")
    action = ActionModule(task, MagicMock(), MagicMock(), MagicMock(), MagicMock(), MagicMock())
    platform = {**copy.deepcopy(fleet.FACTS), "gateway": fleet.GATEWAY, **facts}
    platform["systemd"] = {**platform["systemd"], "service_active": True}
    platform["releases"] = {"complete": [FORMER, NOW], "current": NOW}
    asked: list[Any] = []

    def module(name: str, wanted: dict[str, Any], _task_vars: dict[str, Any]) -> dict[str, Any]:
        asked.append((name, wanted["subsets"]))
        return {"errors": {}, "state": {"platform": platform, "gpu": platform["gpu"]}}

    action.settings = lambda _vars: {**DEFAULTS, **settings}  # type: ignore[method-assign, assignment]
    action.module = module  # type: ignore[method-assign]
    plan = {"release": {"id": FORMER}, "accelerator": "cpu", "languages": ["a"], "candidate": {"wanted": False}}
    result = action.act({"plan": plan}, {"inventory_hostname": "speech-01"})
    assert result["changed"] is False
    assert {name: result["plan"][name] for name in ("release", "accelerator")} == {
        "release": {"id": FORMER},
        "accelerator": "cpu",
    }
    assert asked == ([] if settings else [("voicefleet.kokoro.host_state", ["platform", "gpu"])])
    return dict(result["plan"]["candidate"])


def test_behind_a_gateway_the_former_release_answers_before_the_service_restarts() -> None:
    found = run({})
    assert (found["wanted"], found["stays"], found["gap"]) == (True, True, "")
    assert found["secrets_dir"] == "/etc/voicefleet-candidate"


@pytest.mark.parametrize(
    ("facts", "why"),
    [
        ({"gateway": {**fleet.GATEWAY, "running": False}}, "no gateway of this collection is in front of it"),
        ({"memory": {"total": 4e9, "available": 2e9}}, "2.0 GB of memory are free"),
    ],
)
def test_without_room_or_gateway_the_rollback_needs_no_candidate(facts: dict[str, Any], why: str) -> None:
    found = run(facts)
    assert (found["wanted"], found["stays"]) == (False, False)
    assert found["gap"].startswith(why)


def test_a_cluster_rolls_back_as_a_whole() -> None:
    assert run({}, xinference_topology="cluster") == {"wanted": False}
