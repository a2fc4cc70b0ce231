# SPDX-License-Identifier: GPL-3.0-or-later
"""The keepers of a host's models, and what they find without changing anything."""

from __future__ import annotations

from typing import Any

from ..host import layout, systemd_unit
from . import api, config, launch

Json = dict[str, Any]

# The options of the module xinference_model.
OPTIONS: Json = {
    "launch": {"type": "dict", "required": True},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "languages": {"type": "list", "elements": "str", "default": []},
    "language_models": {"type": "dict", "default": {}},
    "hearing_model": {"type": "str", "default": ""},
    "host": {"type": "str", "default": "127.0.0.1"},
    "port": {"type": "int", "default": 9997},
    "timeout": {"type": "int", "default": 180},
    "unit": {"type": "str", "default": layout.UNIT},
    "home": {"type": "path", "default": layout.HOME},
    "secrets_dir": {"type": "path", "default": layout.SECRETS, "no_log": False},
    "deploy_user": {"type": "str", "default": "voicefleet-deploy"},
    "workers": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {"address": {"type": "str", "required": True}, "metrics": {"type": "str", "required": True}},
    },
}


def make_keepers(params: Json, secrets: dict[str, str]) -> list[launch.Keeper]:
    """Return a keeper for each wanted model. It looks with the API key and launches with the deploy user's token.

    All share one client, so that one login is enough and a rejected credential is not tried again.
    """
    client = api.XinferenceClient(api.base_url(params["host"], params["port"]), token=secrets.get("client_key"))
    unit = systemd_unit.Unit(params["unit"])

    def login() -> None:
        client.login(params["deploy_user"], secrets.get("deploy_password", ""))

    addresses = tuple(worker["address"] for worker in params["workers"])
    return [
        launch.Keeper(
            client, login, unit, config.autostart_entry(payload, 1, 1)["launch"], params["home"], workers=addresses
        )
        for payload in config.launches(
            params["launch"], params["languages"], params["language_models"], params["hearing_model"]
        )
    ]


def look(keepers: list[launch.Keeper], params: Json) -> Json:
    """Return what check mode finds, without changing anything."""
    present = params["state"] == "present"
    changes: list[str] = []
    statuses = []
    try:
        keepers[0].client.status()
        for keeper in keepers:
            instance = keeper.look()
            status = instance.status if instance is not None else "absent"
            if not present:
                found = [f"model {keeper.uid} is {status}; it would be stopped"] if keeper.runs(instance) else []
            elif instance is None or status != api.READY:
                found = [f"model {keeper.uid} is {status}; it would be waited for or launched"]
            else:
                names = keeper.differing(instance)
                found = [f"model {keeper.uid} would be launched again with other {', '.join(names)}"] if names else []
                found += keeper.unscaled(instance)
            changes += found
            statuses.append((not found, status))
    except api.Unreachable:
        why = "the service does not answer; the module would wait for the model"
        return {"changed": present, "changes": [why] if present else [], "status": "unreachable"}
    except api.Unauthorized as error:
        why = f"the stored credentials are rejected. xinference_setup would first correct accounts and key: {error}"
        return {"changed": True, "changes": [why], "status": "unauthorized"}
    return {"changed": bool(changes), "changes": changes, "status": min(statuses)[1]}
