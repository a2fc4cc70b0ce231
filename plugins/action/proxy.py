# SPDX-License-Identifier: GPL-3.0-or-later
"""Configure a host's clients for proxies, with certificates and peers that only the controller knows."""

from __future__ import annotations

from typing import Any

from ansible.errors import AnsibleActionFail
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.action.base import ControllerAction, display
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.fleet import proxy


class ActionModule(ControllerAction):
    _requires_connection = True

    def act(self, arguments: dict[str, Any], task_vars: dict[str, Any]) -> dict[str, Any]:
        host = str(task_vars.get("inventory_hostname", "host"))
        absent = arguments["state"] == "absent"
        passed: dict[str, Any] = {"state": "absent"}
        if not absent:
            try:
                settings = proxy.settings_of(arguments, arguments["peers"])
            except proxy.ProxyError as error:
                lines = str(error).replace("\n", "\n  ")
                raise AnsibleActionFail(
                    f"{host}: nothing was changed, because these settings cannot work:\n  {lines}"
                ) from None
            if not settings.anything:
                return {"changed": False, "msg": "no proxy, mirror or CA is set: nothing to do"}
            passed = {name: value for name, value in arguments.items() if name != "ca_certificates"}
            passed |= {name: list(getattr(settings, name)) for name in ("no_proxy", "peers", "certificates")}
        try:
            result = self.module("voicefleet.kokoro.proxy_settings", passed, task_vars)
        except AnsibleActionFail as error:
            raise AnsibleActionFail(f"{host}: {error}", result=error.result) from None
        for line in result["cautions"]:
            display.warning(f"{host}: {line}")
        for line in result["notes"]:
            display.v(f"{host}: {line}")
        # The arguments would list thousands of peers.
        result.pop("invocation", None)
        return {**result, "msg": "; ".join(result["changes"]) or f"as wanted ({arguments['state']})"}
