# SPDX-License-Identifier: GPL-3.0-or-later
"""Manage a run in batches: plan it, begin a batch or stop, and note the outcome of each host."""

from __future__ import annotations

import re
import time
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.action.base import ControllerAction, fact
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.fleet import lines, phases, rollout

SETTINGS = ("voicefleet_canary", "voicefleet_serial", "voicefleet_max_fail_percentage")


class ActionModule(ControllerAction):
    def act(self, arguments: dict[str, Any], task_vars: dict[str, Any]) -> dict[str, Any]:
        hostvars = task_vars.get("hostvars") or {}
        run = self._phases(task_vars)
        all_hosts = [str(host) for host in task_vars.get("ansible_play_hosts_all") or []]
        if run != list(phases.PHASES) and (arguments["whole"] or not arguments["phases"]):
            raise AnsibleActionFail("This playbook has no phases: run it without --tags and --skip-tags.")
        if arguments["step"] == "plan":
            return self._plan(arguments, hostvars, all_hosts)
        if arguments["step"] == "begin":
            state = (
                rollout.new(0, "100%", 0) if arguments["whole"] else fact(hostvars["localhost"], "voicefleet_rollout")
            )
            return self._begin(
                state, hostvars, all_hosts, [str(host) for host in task_vars.get("ansible_play_batch") or []]
            )
        if arguments["step"] == "note":
            return self._note(arguments, str(task_vars.get("inventory_hostname", "")), "serve" in run)
        return self._count(fact(task_vars, "voicefleet_outcome"))

    def _phases(self, task_vars: dict[str, Any]) -> list[str]:
        """How far the tags let this run go."""
        asked, skipped = (task_vars.get(f"ansible_{name}_tags") or [] for name in ("run", "skip"))
        try:
            return phases.chosen(asked, skipped, own=self._task.tags)
        except phases.PhaseError as error:
            raise AnsibleActionFail(f"Nothing was changed: {error}.") from None

    def _plan(self, arguments: dict[str, Any], hostvars: Any, hosts: list[str]) -> dict[str, Any]:
        settings = {}
        for host in hosts:
            variables = hostvars[host]
            settings[host] = {name: variables[name] for name in SETTINGS if name in variables}
        mistakes = rollout.differing(settings)
        canary, serial = arguments["canary"], arguments["serial"]
        # Members of a cluster change together. If the operator sets smaller batches, preflight reports it.
        if any(hostvars[host].get("xinference_topology") == "cluster" for host in hosts):
            known = {name for of_host in settings.values() for name in of_host}
            canary = canary if "voicefleet_canary" in known else 0
            serial = serial if "voicefleet_serial" in known else "100%"
        try:
            state = rollout.new(canary, serial, arguments["max_fail_percentage"])
        except rollout.RolloutError as error:
            mistakes.append(str(error))
        if mistakes:
            raise AnsibleActionFail(f"The batches are invalid, nothing was changed: {'; '.join(mistakes)}.")
        return {"changed": False, "ansible_facts": {"voicefleet_rollout": {**state, "hosts": hosts}}}

    def _begin(self, state: dict[str, Any], hostvars: Any, hosts: list[str], batch: list[str]) -> dict[str, Any]:
        # Only the outcomes of the previous batch: reading all hosts each time would take long.
        last = state["batches"][-1]["hosts"] if state["batches"] else []
        ends = {host: fact(hostvars[host], "voicefleet_outcome") for host in last}
        state = rollout.begin(state, hosts, batch, ends, time.time())
        said = f"batch {len(state['batches'])}: {lines.names(batch)}"
        if state["stop"]:
            said = f"Stopped before the next batch: {state['stop']}."
        return {"changed": False, "msg": said, "ansible_facts": {"voicefleet_rollout": state}}

    def _note(self, arguments: dict[str, Any], host: str, serves: bool) -> dict[str, Any]:
        outcome, why = rollout.SERVED if serves else rollout.PREPARED, ""
        if self.check_mode:
            outcome = rollout.CHECKED
        if arguments["task"]:
            outcome = rollout.UNREACHABLE if arguments["not_reached"] else rollout.FAILED
            # A sentence that begins with the host's name is ours, and needs no task name before it. Without the name,
            # the report says it once for all hosts.
            ours = re.match(rf"{re.escape(host)}:? ", arguments["why"])
            why = arguments["why"][ours.end() :] if ours else f"{arguments['task']}: {arguments['why']}"
        end = {"outcome": outcome, "why": why, "at": time.time()}
        return {"changed": False, "ansible_facts": {"voicefleet_outcome": end}}

    def _count(self, end: dict[str, Any]) -> dict[str, Any]:
        """Report the outcome to Ansible, which took the failure for rescued."""
        said = f"{end.get('outcome', rollout.LOST)}; the summary above says why"
        if end.get("outcome") == rollout.UNREACHABLE:
            return {"changed": False, "unreachable": True, "msg": said}
        return {"changed": False, "failed": True, "msg": said}
