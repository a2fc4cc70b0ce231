# SPDX-License-Identifier: GPL-3.0-or-later
"""Write the report on the proofs of speech of all hosts, on the controller."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible_collections.voicefleet.kokoro.plugins.module_utils.hashing import canonical_json, write_atomic
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils import junit, report
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.action import ControllerAction


class ActionModule(ControllerAction):
    """``voicefleet.kokoro.synthesis_report``: see the module's documentation."""

    SPEC = {"report_dir": {"type": "path", "required": True}}

    def act(self, arguments: dict[str, Any], task_vars: dict[str, Any]) -> dict[str, Any]:
        folder = Path(arguments["report_dir"]).absolute()
        hosts = [
            report.Host(name, plan, synthesis, report.load_clips(folder, name, synthesis))
            for name, plan, synthesis in gather(task_vars.get("hostvars") or {}, folder)
        ]
        now = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime())
        data = report.build(hosts, now)
        page, record, cases = folder / "index.html", folder / "report.json", folder / "junit.xml"
        lines = report.table(data)
        result = {
            "html": str(page),
            "json": str(record),
            "junit": str(cases),
            "level": data["level"],
            "synthetic": data["synthetic"],
            "lines": [*lines, f"Report: {page}"],
            "changed": False,
        }
        if not hosts:
            result["lines"] = ["No host was proved or planned in this run: no report was written."]
        elif not self.check_mode:
            html = report.render(data, {host.name: host.clips for host in hosts})
            try:
                folder.mkdir(parents=True, exist_ok=True)
                write_atomic(str(record), canonical_json(data))
                write_atomic(str(cases), junit.render(data))
                write_atomic(str(page), html.encode("utf-8"))
            except OSError as error:
                raise AnsibleActionFail(f"The report can't be written: {error.strerror}: {error.filename}") from None
        return result


def gather(hostvars: Any, folder: Path) -> list[tuple[str, dict[str, Any], dict[str, Any]]]:
    """Name, plan and proof of every host that has either.

    A proof that failed sets no fact: then what the host's check left beside the report counts, if it is of the plan's
    release.
    """
    found = []
    for name in sorted(map(str, hostvars)):
        plan = fact(hostvars[name], "voicefleet_plan")
        synthesis = fact(hostvars[name], "voicefleet_synthesis")
        if plan and not synthesis:
            synthesis = left_behind(folder / "hosts" / f"{report.folder_name(name)}.json", plan["release"]["id"])
        if plan or synthesis:
            found.append((name, plan, synthesis))
    return found


def fact(variables: Any, name: str) -> dict[str, Any]:
    """A fact of a host, whether or not facts are also variables there; empty where it was not set."""
    value = variables.get(name) or (variables.get("ansible_facts") or {}).get(name) or {}
    return dict(value)


def left_behind(path: Path, release_id: str) -> dict[str, Any]:
    """The proof in a host's record beside the report, if it is of that release."""
    try:
        synthesis = json.loads(path.read_text(encoding="utf-8"))["synthesis"]
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    return synthesis if synthesis.get("release_id") == release_id else {}
