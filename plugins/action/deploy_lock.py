# SPDX-License-Identifier: GPL-3.0-or-later
"""Take a host's deploy lock for this play, or give it back."""

from __future__ import annotations

import os
from typing import Any

from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.action.base import ControllerAction
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.fleet import deploy_lock

MODULE = "voicefleet.kokoro.deploy_lock"


class ActionModule(ControllerAction):
    _requires_connection = True
    SETS = frozenset({"dead"})

    def act(self, arguments: dict[str, Any], task_vars: dict[str, Any]) -> dict[str, Any]:
        if arguments["state"] == "free":
            return self.module(MODULE, {"owner": arguments["owner"] or {}}, task_vars)
        if self.check_mode:
            return {"changed": False, "owner": {}, "msg": "check mode takes no lock"}
        host = str(task_vars.get("inventory_hostname", "host"))
        # The play's main process, because this process ends with the task.
        owner = deploy_lock.owner(os.getppid())

        def look(wanted: dict[str, Any]) -> dict[str, Any]:
            return self.module(MODULE, {"state": "taken", **wanted}, task_vars)

        self.locked(look, host, owner, arguments["seconds"])
        return {"changed": False, "owner": owner}
