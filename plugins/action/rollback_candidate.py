# SPDX-License-Identifier: GPL-3.0-or-later
"""Plan whether a candidate answers the gateway's clients during a rollback."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.action.base import DEFAULTS, ControllerAction
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.fleet import cluster, preflight, service
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.fleet.settings import Hosts
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.store.selection import given


class ActionModule(ControllerAction):
    _requires_connection = True

    def act(self, arguments: dict[str, Any], task_vars: dict[str, Any]) -> dict[str, Any]:
        plan, settings = arguments["plan"], self.settings(task_vars)
        host = str(task_vars.get("inventory_hostname", "host"))
        members = None
        if settings["xinference_topology"] == "cluster":
            try:
                members = cluster.read(Hosts(task_vars["hostvars"], DEFAULTS), task_vars["groups"], host)
            except cluster.ClusterError as error:
                raise AnsibleActionFail(f"{host}: nothing was changed: {error}") from None
            if host != members.supervisor.name:
                return {"changed": False, "plan": plan}
        own = service.member(settings, host, members) if members else service.whole(settings, host)
        wanted = preflight.Wanted(
            **{**given(preflight.Wanted, settings), "languages": plan["languages"]},
            host=host,
            service=own.gateway,
            cluster=members,
        )
        asked = {"subsets": ["platform", "gpu"], "root": wanted.root, "home": wanted.home}
        state = self.state("voicefleet.kokoro.host_state", asked, task_vars)
        accelerator = preflight.Accelerator(plan["accelerator"], tuple(wanted.cards))
        facts = {**state["platform"], "gpu": state["gpu"]}
        found, _obstacles = preflight.choose_candidate(facts, wanted, plan["release"]["id"], accelerator)
        candidate = asdict(replace(found, wanted=found.wanted and found.stays))
        return {"changed": False, "plan": {**plan, "candidate": candidate}}
