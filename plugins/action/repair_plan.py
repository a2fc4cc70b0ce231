# SPDX-License-Identifier: GPL-3.0-or-later
"""Inspect a place that has Xinference, and plan its repair."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible_collections.voicefleet.kokoro.plugins.module_utils.release import patches
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.action.base import (
    ControllerAction,
    display,
    verified_digest,
)
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.fleet import repair
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.store.manifest import ManifestError, read_verified
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.store.selection import given


class ActionModule(ControllerAction):
    _requires_connection = True

    def act(self, arguments: dict[str, Any], task_vars: dict[str, Any]) -> dict[str, Any]:
        host = str(task_vars.get("inventory_hostname", "host"))
        settings = self.settings(task_vars)
        store = Path(settings["artifact_store_path"]).absolute()
        try:
            wanted = repair.Wanted(
                **given(repair.Wanted, settings),
                patches=patches.choose(arguments["patches"]),
                packages=arguments["packages"],
                settings={name: str(value) for name, value in arguments["settings"].items()},
                accept_unpublished=arguments["accept_unpublished"],
                parts=arguments["parts"],
            )
            manifest, digest = read_verified(store, verified_digest(task_vars))
            wish = repair.wishes(manifest, wanted)
            asked = {
                "state": "inspected", "plan": wish, "prefix": arguments["prefix"], "home": arguments["home"],
                "container": arguments["container"], "engine": arguments["engine"],
            }  # fmt: skip
            answer = self.module("voicefleet.kokoro.repair", asked, task_vars)
            verdict = repair.judge(manifest, digest, store, answer["report"], wanted)
        except (ManifestError, patches.PatchError, repair.Stop, ValueError) as error:
            raise AnsibleActionFail(f"{host}: nothing was changed: {str(error).rstrip('.')}.") from None
        findings = [vars(finding) for finding in verdict.findings]
        display.display("\n".join(f"{host}: {line}" for line in verdict.table))
        if verdict.errors:
            lines = "\n".join(f"  {finding}" for finding in verdict.findings)
            raise AnsibleActionFail(
                f"{host} cannot be repaired, nothing was changed.\n{lines}", result={"findings": findings}
            )
        for finding in verdict.findings:
            display.warning(f"{host}: {finding}")
        rows = verdict.plan["artifacts"]
        size = f"{verdict.plan['bytes'] / 1e6:.0f} MB"
        return {
            "changed": False,
            "msg": f"{answer['place']['name']}: {len(rows)} files, {size} to send" if rows else "nothing to send",
            "findings": findings,
            "table": verdict.table,
            "place": answer["place"],
            "report": answer["report"],
            "plan": verdict.plan,
        }
