# SPDX-License-Identifier: GPL-3.0-or-later
"""Check a host, choose its release, and report every problem at once."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail, AnsibleConnectionFailure
from ansible_collections.voicefleet.kokoro.plugins.module_utils.release import patches
from ansible_collections.voicefleet.kokoro.plugins.module_utils.state.host_facts import summary
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.action.base import (
    DEFAULTS,
    ControllerAction,
    display,
    verified_digest,
)
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.fleet import (
    cluster,
    deploy_lock,
    gpu,
    preflight,
    service,
)
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.fleet.settings import Hosts
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.store.manifest import ManifestError, read_verified
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.store.selection import given

# The task passes these. All others are settings.
ASKED = ("accelerator", "accept_unpublished", "any_platform", "supervisor_cpus")


class ActionModule(ControllerAction):
    _requires_connection = True

    def act(self, arguments: dict[str, Any], task_vars: dict[str, Any]) -> dict[str, Any]:
        host = str(task_vars.get("inventory_hostname", "host"))
        settings = self.settings(task_vars)
        store = Path(settings["artifact_store_path"]).absolute()
        try:
            manifest, digest = read_verified(store, verified_digest(task_vars))
        except ManifestError as error:
            raise AnsibleActionFail(f"{host}: nothing was changed: {error}.") from None
        independent = settings["xinference_topology"] != "cluster"
        members, faults = (None, []) if independent else self._cluster(host, task_vars)
        own = service.member(settings, host, members) if members else service.whole(settings, host)
        wanted = preflight.Wanted(
            **given(preflight.Wanted, settings),
            **{name: arguments[name] for name in ASKED},
            patches=patches.choose(arguments["patches"]),
            host=host,
            # A variable of the role artifacts. Its default needs nothing.
            transport=str(self._templar.template(task_vars.get("artifacts_transport", ""))),
            cluster=members,
            cluster_faults=faults,
            open=independent and own.open,
            service=own.gateway,
        )
        rows = [preflight.row_of(artifact) for artifact in manifest.artifacts]
        asked = {
            "subsets": ["platform", "gpu", "drift", "artifacts"],
            "root": wanted.root,
            "home": wanted.home,
            "places": wanted.places,
            "user": settings["xinference_user"],
            "artifacts": rows,
            "releases": preflight.candidates(manifest, wanted),
        }
        lock = deploy_lock.owner(os.getppid()) if arguments["lock"] and not self.check_mode else {}
        try:
            answer = self._look(host, asked, lock, settings["voicefleet_lock_seconds"], task_vars)
        except AnsibleConnectionFailure as error:
            # Turn this into a failure: Ansible ends the whole run if no host of a batch can be reached.
            raise AnsibleActionFail(
                f"{host}: the host cannot be reached: {str(error).strip().rstrip('.')}. Nothing was changed there. Run "
                "the playbook for it again when it answers.",
                result={"not_reached": True},
            ) from None
        if answer["errors"]:
            self._give_back(lock, task_vars)
            raise AnsibleActionFail(f"{host}: nothing was changed. {answer['msg']}")
        state = answer["state"]
        facts = {**state["platform"], "gpu": state["gpu"]}
        held = {**state["artifacts"], "drift": state["drift"]}
        about = summary(facts) + (f", {gpu.describe(facts['gpu'])}" if facts["gpu"]["vendor"] != "none" else "")
        verdict = preflight.judge(manifest, digest, str(store), facts, held, wanted, time.time())
        findings = [vars(finding) for finding in verdict.findings]
        if verdict.failures or verdict.plan is None:
            self._give_back(lock, task_vars)
            lines = "\n".join(f"  {finding}" for finding in verdict.findings)
            raise AnsibleActionFail(
                f"{host} cannot be deployed, nothing was changed. {about}.\n{lines}", result={"findings": findings}
            )
        for finding in verdict.findings:
            display.warning(f"{host}: {finding}")
        plan = replace(verdict.plan, lock=lock)
        if self._task.diff:
            # This is no change, so the callback would not show it.
            display.display("\n".join(f"{host}: {line}" for line in preflight.table(plan)))
        todo = f"{len(plan.missing)} files, {plan.bytes / 1e6:.0f} MB to send" if plan.missing else "nothing to send"
        return {
            "changed": False,
            "msg": f"{about}; profile {plan.profile}, release {plan.release.id} ({preflight.state_of(plan)}), {todo}",
            "findings": findings,
            "table": preflight.table(plan),
            "cores": facts["cpus"],
            "plan": plan.as_dict(),
        }

    def _give_back(self, lock: dict[str, Any], task_vars: dict[str, Any]) -> None:
        if lock:
            self.module("voicefleet.kokoro.deploy_lock", {"owner": lock}, task_vars)

    def _cluster(self, host: str, task_vars: dict[str, Any]) -> tuple[cluster.Cluster | None, list[str]]:
        """The host's cluster, or its faults. Members that are missing from this run are a fault too."""
        try:
            hosts = Hosts(task_vars["hostvars"], DEFAULTS)
            found = cluster.read(hosts, task_vars["groups"], host)
        except cluster.ClusterError as error:
            return None, error.faults
        lacking = cluster.absent(found, task_vars["ansible_play_batch"])
        return found, [lacking] if lacking else []

    def _look(
        self, host: str, asked: dict[str, Any], lock: dict[str, Any], seconds: int, task_vars: dict[str, Any]
    ) -> dict[str, Any]:
        """The host's state, read while its lock is ours. Raises AnsibleActionFail if another play holds it."""

        def look(more: dict[str, Any]) -> dict[str, Any]:
            return self.module("voicefleet.kokoro.host_state", {**asked, **more}, task_vars)

        if not lock:
            return look({})
        return self.locked(lambda wanted: look({"lock": wanted}), host, lock, seconds)
