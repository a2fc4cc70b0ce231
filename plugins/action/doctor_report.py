# SPDX-License-Identifier: GPL-3.0-or-later
"""Summarise the doctor's findings on all hosts, on the controller."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible_collections.voicefleet.kokoro.plugins.module_utils.host.hashing import write_atomic
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.action.base import ControllerAction, fact
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.fleet import doctor, odd
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.report import bundle, listing


class ActionModule(ControllerAction):
    def act(self, arguments: dict[str, Any], task_vars: dict[str, Any]) -> dict[str, Any]:
        hostvars = task_vars.get("hostvars") or {}
        found = {name: findings(hostvars.get(name, {})) for name in arguments["hosts"]}
        data = doctor.report(found, time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()))
        text = json.dumps(data, indent=2, sort_keys=True) + "\n"
        lines = [odd.printable(line) for line in doctor.lines(data, arguments["show_ok"])]
        try:
            if arguments["bundle"] and not self.check_mode:
                path = Path(arguments["bundle"]).absolute()
                size = bundle.pack(path, text, lines)
                lines.append(f"Support bundle: {path}, {size / 1e3:.0f} kB. Logs may name your hosts and addresses.")
            for name, content in (("json_file", text), ("text_file", "\n".join(lines) + "\n")):
                write(arguments[name], content)
            if arguments["html_file"]:
                write(arguments["html_file"], listing.examined(data))
        except OSError as error:
            raise AnsibleActionFail(f"The report cannot be written: {error.strerror}: {error.filename}") from None
        return {"changed": False, "lines": lines, "status": data["status"], "report": data}


def write(file: str, content: str) -> None:
    """Write a file that the operator named, if they named one. Raises OSError."""
    if file:
        path = Path(file).absolute()
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(str(path), content.encode())


def findings(variables: Any) -> list[dict[str, str]]:
    """The findings on a host, whether or not facts are also variables there."""
    value = fact(variables, "voicefleet_doctor")
    if not value:
        return doctor.as_rows(doctor.unreachable("the host was not examined in this run"))
    return [dict(row) for row in value["findings"]]
