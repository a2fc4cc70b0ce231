# SPDX-License-Identifier: GPL-3.0-or-later
"""No message of an action has control characters, whoever wrote it."""

from __future__ import annotations

from typing import Any
from unittest.mock import MagicMock

import pytest
from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible_collections.voicefleet.kokoro.plugins.action import proxy
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.action import base

ODD = "\x1b]0;title\x07red\x9b31m\r\nnext line"
PLAIN = "\ufffd]0;title\ufffdred\ufffd31m\ufffd\nnext line"


def run(monkeypatch: pytest.MonkeyPatch, act: Any) -> dict[str, Any]:
    monkeypatch.setattr(ActionBase, "run", lambda *_arguments: {})
    monkeypatch.setattr(ActionBase, "validate_argument_spec", lambda *_arguments, **_named: (None, {}))
    monkeypatch.setattr(proxy.ActionModule, "act", act)
    result: dict[str, Any] = proxy.ActionModule(*(MagicMock() for _each in range(6))).run(task_vars={})
    return result


def test_a_failure_and_a_result_have_no_control_characters(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_arguments: Any) -> dict[str, Any]:
        raise AnsibleActionFail(ODD, result={"msg": ODD, "rc": 3})

    with pytest.raises(AnsibleActionFail) as caught:
        run(monkeypatch, fail)
    assert str(caught.value) == PLAIN
    assert (caught.value.result["msg"], caught.value.result["rc"]) == (PLAIN, 3)
    assert run(monkeypatch, lambda *_arguments: {"msg": ODD}) == {"msg": PLAIN}


@pytest.mark.parametrize("way", ["display", "warning", "v"])
def test_what_the_terminal_shows_has_no_control_characters(monkeypatch: pytest.MonkeyPatch, way: str) -> None:
    ansible = MagicMock()
    monkeypatch.setattr(type(base.display), "ansible", ansible)
    getattr(base.display, way)(ODD)
    getattr(ansible, way).assert_called_once_with(PLAIN)


def test_no_action_shows_text_past_the_terminal_of_the_base() -> None:
    for path in (base.spec.PLUGINS / "action").glob("*.py"):
        assert "utils.display" not in path.read_text(encoding="utf-8"), path
