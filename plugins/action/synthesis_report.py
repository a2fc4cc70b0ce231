# SPDX-License-Identifier: GPL-3.0-or-later
"""Write the report on the proofs of speech of all hosts, on the controller."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible_collections.voicefleet.kokoro.plugins.module_utils.host.hashing import canonical_json, write_atomic
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.action.base import ControllerAction, fact, show
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.fleet import rollout
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.report import (
    junit,
    report,
)
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.report import (
    page as report_page,
)
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.report import (
    table as report_table,
)


class ActionModule(ControllerAction):
    """``voicefleet.kokoro.synthesis_report``: see the module's documentation."""

    def act(self, arguments: dict[str, Any], task_vars: dict[str, Any]) -> dict[str, Any]:
        folder = Path(arguments["report_dir"]).absolute()
        hostvars = task_vars.get("hostvars") or {}
        now = time.time()
        state, ends = run_of(hostvars, now)
        hosts = [
            report.Host(name, plan, synthesis, report.load_clips(folder, name, synthesis), ends.get(name))
            for name, plan, synthesis in gather(hostvars, folder, ends)
        ]
        data = report.build(hosts, time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now)), state)
        page, record, cases = folder / "index.html", folder / "report.json", folder / "junit.xml"
        again = folder / "retry"
        unfinished = report.unfinished(data)
        lines = report_table.table(data)
        if unfinished:
            where = f"@{again}" if not self.check_mode else ",".join(unfinished)
            lines.append(f"Not done on {len(unfinished)} of {len(hosts)} hosts. Once mended: --limit '{where}'")
        result = {
            "html": str(page),
            "json": str(record),
            "junit": str(cases),
            "level": data["level"],
            "synthetic": data["synthetic"],
            "lines": [*lines, f"Report: {page}"],
            "unfinished": unfinished,
            "changed": False,
        }
        # The play that follows is for those on whom Ansible must count a failure; the others were never begun.
        result["ansible_facts"] = {"voicefleet_to_count": counted(ends)}
        if not hosts:
            result["lines"] = ["No host was proved or planned in this run: no report was written."]
        elif not self.check_mode:
            clips = {host.name: host.clips for host in hosts}
            html = report_page.render(data, clips, arguments["audio_mb"])
            try:
                folder.mkdir(parents=True, exist_ok=True)
                write_atomic(str(record), canonical_json(report.for_machines(data)))
                write_atomic(str(cases), junit.render(data))
                write_atomic(str(page), html.encode("utf-8"))
                if unfinished:
                    write_atomic(str(again), "".join(f"{host}\n" for host in unfinished).encode("utf-8"))
                else:
                    again.unlink(missing_ok=True)
            except OSError as error:
                raise AnsibleActionFail(f"The report can't be written: {error.strerror}: {error.filename}") from None
        show(result["lines"])
        return result


def run_of(hostvars: Any, now: float) -> tuple[dict[str, Any], dict[str, rollout.End]]:
    """The run that the playbook counted and what came of its hosts; both empty where none was counted."""
    state = fact(hostvars["localhost"], "voicefleet_rollout") if "localhost" in hostvars else {}
    if not state:
        return {}, {}
    return state, rollout.result(
        state, {host: fact(hostvars[host], "voicefleet_outcome") for host in state["hosts"]}, now
    )


def counted(ends: dict[str, rollout.End]) -> list[str]:
    """The hosts whose failure was noted; Ansible itself has counted those that it lost on the way."""
    return [host for host, end in ends.items() if end.outcome in (rollout.FAILED, rollout.UNREACHABLE)]


def gather(
    hostvars: Any, folder: Path, ends: dict[str, rollout.End]
) -> list[tuple[str, dict[str, Any], dict[str, Any]]]:
    """Name, plan and proof of every host of the run, or where none was counted, of every host that has either.

    A proof that failed sets no fact: then what the host's check left beside the report counts, if it is of the plan's
    release.
    """
    found = []
    for name in sorted(ends or map(str, hostvars)):
        plan = fact(hostvars[name], "voicefleet_plan")
        synthesis = fact(hostvars[name], "voicefleet_synthesis")
        if plan and not synthesis:
            synthesis = left_behind(folder / "hosts" / f"{report.folder_name(name)}.json", plan["release"]["id"])
        if plan or synthesis or name in ends:
            found.append((name, plan, synthesis))
    return found


def left_behind(path: Path, release_id: str) -> dict[str, Any]:
    """The proof in a host's record beside the report, if it is of that release."""
    try:
        synthesis = json.loads(path.read_text(encoding="utf-8"))["synthesis"]
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    return synthesis if synthesis.get("release_id") == release_id else {}
