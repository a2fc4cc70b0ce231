# SPDX-License-Identifier: GPL-3.0-or-later
"""What the action plugins share: arguments that are checked before anything happens, and failures in words."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display
from ansible_collections.voicefleet.kokoro.plugins.module_utils import diagnosis

display = Display()


def cache_folder() -> Path:
    """Where the controller keeps downloads and remembered digests: ``VOICEFLEET_CACHE``, else the user's cache."""
    named = os.environ.get("VOICEFLEET_CACHE")
    if named:
        return Path(named).expanduser()
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "voicefleet"


def memo_path() -> str:
    """The controller's remembered digests of store files."""
    return str(cache_folder() / "digests.json")


class ControllerAction(ActionBase):
    """An action that does its work in Python on the controller.

    ``SPEC`` is an argument spec as modules have; a subclass implements ``act`` and may raise AnsibleActionFail. Under
    its message stands what it means, where that is known.
    """

    _requires_connection = False
    _supports_check_mode = True
    SPEC: dict[str, Any] = {}

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        _validated, arguments = self.validate_argument_spec(argument_spec=self.SPEC)
        try:
            result.update(self.act(arguments, task_vars or {}))
        except AnsibleActionFail as error:
            said = str(error)
            explained = diagnosis.explain(said)
            if explained == said:
                raise
            raise AnsibleActionFail(explained, result=error.result) from None
        return result

    def act(self, arguments: dict[str, Any], task_vars: dict[str, Any]) -> dict[str, Any]:
        """Do the work and return the task's result."""
        raise NotImplementedError

    @property
    def check_mode(self) -> bool:
        return bool(self._task.check_mode)

    def module(self, name: str, arguments: dict[str, Any], task_vars: dict[str, Any]) -> dict[str, Any]:
        """Run a module on the host. Raises AnsibleActionFail with the module's own result where it failed."""
        result: dict[str, Any] = self._execute_module(module_name=name, module_args=arguments, task_vars=task_vars)
        if result.get("failed") or result.get("unreachable"):
            raise AnsibleActionFail(str(result.get("msg", "the module failed")), result=result)
        return result
