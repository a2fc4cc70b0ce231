# SPDX-License-Identifier: GPL-3.0-or-later
"""The proxy action: what it passes to the host, and that bad settings reach no host."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import pytest
from ansible.errors import AnsibleActionFail
from ansible_collections.voicefleet.kokoro.plugins.action import proxy as actions

WAY = {"http": "http://proxy.corp:3128", "https": "http://proxy.corp:3128", "username": "kim", "password": "p#a@s"}


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> MagicMock:
    display = MagicMock()
    monkeypatch.setattr(actions, "display", display)
    return display


def run(answer: Any = None, **arguments: Any) -> tuple[dict[str, Any], MagicMock]:
    task = SimpleNamespace(args={}, check_mode=False, async_val=0, delegate_to=None, action="proxy")
    action = actions.ActionModule(task, *(MagicMock() for _each in range(5)))
    default = {
        "changes": ["x written"],
        "cautions": [],
        "notes": [],
        "changed": True,
        "invocation": {"module_args": {}},
    }
    action._execute_module = MagicMock(return_value=answer or default)
    defaults = {name: option.get("default") for name, option in actions.ActionModule.SPEC.items()}
    return action.act({**defaults, **arguments}, {"inventory_hostname": "gpu1"}), action._execute_module


def test_the_host_gets_checked_settings_and_its_peers(shown: MagicMock) -> None:
    result, module = run(**WAY, peers=["gpu1", "10.0.0.2"], no_proxy=["a.lab,b.lab"])
    passed = module.call_args.kwargs["module_args"]
    assert module.call_args.kwargs["module_name"] == "voicefleet.kokoro.proxy_settings"
    assert (passed["peers"], passed["no_proxy"]) == (["gpu1", "10.0.0.2"], ["a.lab", "b.lab"])
    assert passed["password"] == "p#a@s"
    assert (result["changed"], result["msg"]) == (True, "x written")
    assert "invocation" not in result


def test_without_settings_nothing_is_done() -> None:
    result, module = run()
    assert result["changed"] is False
    assert not module.called


def test_absent_needs_no_settings() -> None:
    _result, module = run(state="absent", http="not even an address")
    assert module.call_args.kwargs["module_args"] == {"state": "absent"}


def test_bad_settings_reach_no_host() -> None:
    with pytest.raises(AnsibleActionFail) as caught:
        run(http="http://kim:p#a@s@proxy.corp:3128", ca_certificates=["/none.pem"])
    lines = str(caught.value).splitlines()
    assert len(lines) == 3
    assert lines[0].startswith("gpu1: nothing was changed")
    assert "p#a" not in str(caught.value)


def test_cautions_and_notes_are_shown(shown: MagicMock) -> None:
    answer = {"changes": [], "cautions": ["pip.conf was left alone"], "notes": ["a note"], "changed": False}
    result, _module = run(answer, **WAY)
    shown.warning.assert_called_once_with("gpu1: pip.conf was left alone")
    shown.v.assert_called_once_with("gpu1: a note")
    assert result["msg"] == "as wanted (present)"


def test_the_message_names_the_host_that_failed() -> None:
    with pytest.raises(AnsibleActionFail, match="^gpu1: nothing was changed"):
        run({"failed": True, "msg": "nothing was changed, because of these problems"}, **WAY)
