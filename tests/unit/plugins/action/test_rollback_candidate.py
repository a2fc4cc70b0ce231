# SPDX-License-Identifier: GPL-3.0-or-later
"""A rollback proves a candidate only if that can answer the gateway's clients."""

from __future__ import annotations

import copy
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import pytest
from ansible.errors import AnsibleActionFail
from ansible_collections.voicefleet.kokoro.plugins.action.rollback_candidate import ActionModule
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.action.base import DEFAULTS
from ansible_collections.voicefleet.kokoro.tests.unit.plugins.plugin_utils.fleet import test_preflight as fleet

FORMER, NOW = "1.2.3-111111111111", "1.2.3-000000000000"


MEMBER = {"xinference_topology": "cluster", "xinference_supervisor": "s", "xinference_workers": ["w"]}
HOSTVARS = {"s": {**MEMBER, "xinference_address": "10.0.0.10"}, "w": {**MEMBER, "xinference_address": "10.0.0.11"}}


def run(facts: dict[str, Any], host: str = "speech-01") -> dict[str, Any]:
    """The plan's candidate on a host behind a gateway. ``s`` and ``w`` are a cluster."""
    task = SimpleNamespace(args={}, check_mode=False, async_val=0, delegate_to=None, action="x")
    action = ActionModule(task, MagicMock(), MagicMock(), MagicMock(), MagicMock(), MagicMock())
    platform = {**copy.deepcopy(fleet.FACTS), "gateway": fleet.GATEWAY, **facts}
    platform["systemd"] = {**platform["systemd"], "service_active": True}
    platform["releases"] = {"complete": [FORMER, NOW], "current": NOW}
    asked: list[Any] = []

    def module(name: str, wanted: dict[str, Any], _task_vars: dict[str, Any]) -> dict[str, Any]:
        asked.append((name, wanted["subsets"]))
        return {"errors": {}, "state": {"platform": platform, "gpu": platform["gpu"]}}

    own = {**DEFAULTS, **HOSTVARS.get(host, {})}
    action.settings = lambda _vars: own  # type: ignore[method-assign, assignment]
    action.module = module  # type: ignore[method-assign]
    plan = {"release": {"id": FORMER}, "accelerator": "cpu", "languages": ["a"], "candidate": {"wanted": False}}
    result = action.act({"plan": plan}, {"inventory_hostname": host, "hostvars": HOSTVARS, "groups": {}})
    assert result["changed"] is False
    assert {name: result["plan"][name] for name in ("release", "accelerator")} == {
        "release": {"id": FORMER},
        "accelerator": "cpu",
    }
    assert asked == ([] if host == "w" else [("voicefleet.kokoro.host_state", ["platform", "gpu"])])
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


def test_of_a_cluster_the_supervisor_has_a_candidate() -> None:
    found = run({"gateway": {**fleet.GATEWAY, "service": "10.0.0.10:9997"}}, "s")
    assert (found["wanted"], found["stays"], found["gap"], found["port"]) == (True, True, "", 9999)
    # Whoever asks loopback does not ask the supervisor.
    assert run({}, "s")["gap"].startswith("no gateway of this collection is in front of it")
    assert run({}, "w") == {"wanted": False}


def test_a_rollback_of_a_cluster_that_the_inventory_does_not_describe_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(HOSTVARS["s"], "xinference_workers", [])
    with pytest.raises(AnsibleActionFail, match="s: nothing was changed: The cluster has no worker"):
        run({}, "s")
