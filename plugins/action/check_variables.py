# SPDX-License-Identifier: GPL-3.0-or-later
"""Refuse values that cannot work, before anything changes."""

from __future__ import annotations

from typing import Any

from ansible.errors import AnsibleActionFail, AnsibleError
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.action.base import KNOWN, ControllerAction
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.fleet import values

OPTIONS = {name: option for options in KNOWN.values() for name, option in options.items() if option}


class ActionModule(ControllerAction):
    def act(self, arguments: dict[str, Any], task_vars: dict[str, Any]) -> dict[str, Any]:
        # A task that runs once for all hosts would end the run of all for the value of one. Each is checked later.
        if self._task.run_once:
            return {"changed": False, "skipped": True, "skip_reason": "each host is checked in a play of its own"}
        wrong = values.problems(self._given(task_vars), OPTIONS)
        if wrong:
            host = task_vars.get("inventory_hostname", "localhost")
            raise AnsibleActionFail("\n  ".join([f"{host}: nothing was changed: {wrong[0]}", *wrong[1:]]))
        return {"changed": False}

    def _given(self, task_vars: dict[str, Any]) -> dict[str, Any]:
        """The variables of the roles that are set. Those that need a fact of a later task are left out."""
        found = {}
        for name in OPTIONS.keys() & task_vars.keys():
            try:
                found[name] = self._templar.template(task_vars[name])
            except AnsibleError:
                continue
        return found
