# SPDX-License-Identifier: GPL-3.0-or-later
"""Find out whether a deploy would change nothing on a host, with the arguments of the deploy's own tasks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ansible.errors import AnsibleError
from ansible_collections.voicefleet.kokoro.plugins.action.synthesis_check import keep_proof
from ansible_collections.voicefleet.kokoro.plugins.module_utils.host import layout
from ansible_collections.voicefleet.kokoro.plugins.module_utils.xinference import config
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.action.base import (
    ControllerAction,
    display,
    verified_digest,
)

MODULE = "voicefleet.kokoro.unchanged"
ROLES = Path(__file__).resolve().parents[2] / "roles"
# Each part with the role and the module of its task.
TASKS = {
    "account": ("xinference", "ansible.builtin.user"),
    "setup": ("xinference", "voicefleet.kokoro.xinference_setup"),
    "service": ("xinference", "voicefleet.kokoro.xinference_service"),
    "model": ("xinference", "voicefleet.kokoro.xinference_model"),
    "proof": ("synthesis", "voicefleet.kokoro.synthesis_check"),
}


class ActionModule(ControllerAction):
    _requires_connection = True
    SETS = frozenset({*TASKS, "secrets", "release", "lock"})

    def act(self, arguments: dict[str, Any], task_vars: dict[str, Any]) -> dict[str, Any]:
        plan = task_vars["voicefleet_plan"]
        verified = verified_digest(task_vars)
        if verified and verified != plan["manifest_sha256"]:
            return self._differs("the store has another manifest now")
        try:
            given = self._parts(task_vars)
            answer = self.module(MODULE, given, task_vars)
        except AnsibleError as error:
            # The deploy's own tasks say what is wrong, and where.
            return self._differs(str(error))
        if self.check_mode:  # of a supervisor: its cluster has other members
            return self._differs("it is a member of a cluster", bool(answer.get("restarts")))
        if not answer["unchanged"]:
            return self._differs(str(answer["why"]), bool(answer.get("restarts")))
        host = str(task_vars.get("inventory_hostname", "host"))
        proof = answer["synthesis"]
        said = proof.pop("msg")
        missing = keep_proof(self, given["proof"].get("report_dir"), host, proof, task_vars)
        kept = {name: answer[name] for name in ("changed", "unchanged", "why", "released", "synthesis")}
        return {**kept, "msg": f"Nothing differs. {said}", **({"warnings": missing} if missing else {})}

    def _differs(self, why: str, restarts: bool = False) -> dict[str, Any]:
        display.v(f"Not unchanged: {why}")
        return {"changed": False, "unchanged": False, "why": why, "restarts": restarts, "released": False, "msg": why}

    def _parts(self, task_vars: dict[str, Any]) -> dict[str, Any]:
        """The arguments of the deploy's tasks, as they would be given to the modules."""
        plan, checked = task_vars["voicefleet_plan"], task_vars["preflight_result"]
        folder = self._templar.template(task_vars["xinference_secrets_dir"])
        # What the tasks between would register.
        between = {
            "__xinference_setup": {
                "cores": checked["cores"],
                "environment_file": f"{folder}/{config.ENVIRONMENT_FILE}",
            },
            "__xinference_filter_state": {"filtered": True},  # a cluster needs the packet filter
        }
        templar = self._templar.copy_with_new_env(available_variables={**task_vars, **between})
        found = {part: templar.template(self._arguments(*task)) for part, task in TASKS.items()}
        setup = found["setup"]
        found["secrets"] = {name: setup.pop(name) for name in config.SECRETS if name in setup}
        found["release"] = {
            "id": plan["release"]["id"],
            "root": plan["paths"]["root"],
            "receipts": layout.RECEIPTS,
            "cores": checked["cores"],
            "clients": bool(self._templar.template(task_vars["xinference_clients"])),
        }
        found["lock"] = plan["lock"]
        return found

    def _arguments(self, role: str, module: str) -> dict[str, Any]:
        """The arguments of the only task of a role that runs this module."""
        path = str(ROLES / role / "tasks" / "main.yml")
        tasks = self._loader.load_from_file(path, trusted_as_template=True)
        (found,) = (task[module] for task in tasks if module in task)
        return dict(found)
