# SPDX-License-Identifier: GPL-3.0-or-later
"""Print lines in the terminal as they are."""

from __future__ import annotations

from typing import Any

from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.action.base import ControllerAction, show


class ActionModule(ControllerAction):
    def act(self, arguments: dict[str, Any], task_vars: dict[str, Any]) -> dict[str, Any]:
        title = [arguments["title"]] if arguments["title"] else []
        show([*title, *arguments["lines"]])
        return {"changed": False}
