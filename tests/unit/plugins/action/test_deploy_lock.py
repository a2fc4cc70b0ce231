# SPDX-License-Identifier: GPL-3.0-or-later
"""The lock of plays without preflight, and what every action refuses."""

from __future__ import annotations

import os
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import pytest
from ansible.errors import AnsibleActionFail
from ansible_collections.voicefleet.kokoro.plugins.action.deploy_lock import ActionModule
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.action.base import refuse_misspelt

FREE = {"lock": {"taken": True, "holder": None, "age": 0.0, "phase": ""}}
HELD = {
    "lock": {"taken": False, "holder": {"controller": "anna", "user": "kim", "pid": 42}, "age": 600.0, "phase": "proof"}
}


def run(answer: dict[str, Any], check: bool = False, **arguments: Any) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """What the action returns, and the options that it passed to the module on the host."""
    task = SimpleNamespace(args={}, check_mode=check, async_val=0, delegate_to=None, action="x")
    action = ActionModule(task, MagicMock(), MagicMock(), MagicMock(), MagicMock(), MagicMock())
    asked: list[dict[str, Any]] = []

    def module(_name: str, wanted: dict[str, Any], _task_vars: dict[str, Any]) -> dict[str, Any]:
        asked.append(wanted)
        return answer

    action.module = module  # type: ignore[method-assign]
    wanted = {"state": "free", "owner": None, "seconds": 60, **arguments}
    return action.act(wanted, {"inventory_hostname": "speech-01"}), asked


def test_the_lock_is_taken_for_the_play_and_released_with_its_owner() -> None:
    result, asked = run(FREE, state="taken")
    assert asked == [{"state": "taken", "owner": result["owner"], "seconds": 60}]
    assert (result["changed"], result["owner"]["pid"]) == (False, os.getppid())
    _result, asked = run({"released": True}, owner=result["owner"])
    assert asked == [{"owner": result["owner"]}]


def test_the_lock_of_another_play_is_refused_with_its_owner_and_phase() -> None:
    words = r"speech-01 is being deployed to by kim on anna \(process 42\), 10 minutes ago, last at proof: nothing was"
    with pytest.raises(AnsibleActionFail, match=words):
        run(HELD, state="taken")


def test_check_mode_takes_no_lock() -> None:
    result, asked = run(HELD, check=True, state="taken")
    assert (result["owner"], asked) == ({}, [])


def test_every_action_refuses_a_misspelt_variable() -> None:
    with pytest.raises(
        AnsibleActionFail, match="speech-01: nothing was changed: variable teardown_confrim does not exist"
    ):
        refuse_misspelt({"inventory_hostname": "speech-01", "teardown_confrim": True})
    refuse_misspelt({"teardown_confirm": True, "artifacts_of_another_product": 1})
