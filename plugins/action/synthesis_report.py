# SPDX-License-Identifier: GPL-3.0-or-later
"""Write the report on the proofs of speech of all hosts, on the controller."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible_collections.voicefleet.kokoro.plugins.module_utils.host.hashing import (
    canonical_json,
    parse_json,
    read_bounded,
    write_atomic,
)
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.action.base import ControllerAction, fact, show
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.fleet import rollout
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.report import junit, page, report, table


class ActionModule(ControllerAction):
    def act(self, arguments: dict[str, Any], task_vars: dict[str, Any]) -> dict[str, Any]:
        folder = Path(arguments["report_dir"]).absolute()
        hostvars = task_vars.get("hostvars") or {}
        now = time.time()
        state, ends = run_of(hostvars, now)
        hosts = []
        for name, plan, synthesis in gather(hostvars, folder, ends):
            host = report.Host(name, plan, synthesis, end=ends.get(name))
            host.clips = report.load_clips(folder, name, host.synthesis)
            hosts.append(host)
        data = report.build(hosts, time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now)), state)
        html, record, cases = folder / "index.html", folder / "report.json", folder / "junit.xml"
        again = folder / "retry"
        unfinished = report.unfinished(data)
        lines = table.table(data)
        if unfinished:
            where = f"@{again}" if not self.check_mode else ",".join(unfinished)
            lines.append(
                f"Not done on {len(unfinished)} of {len(hosts)} hosts. After the repair, add --limit '{where}'"
            )
        result = {
            "html": str(html),
            "json": str(record),
            "junit": str(cases),
            "level": data["level"],
            "unpublished": data["unpublished"],
            "lines": [*lines, f"Report: {html}"],
            "unfinished": unfinished,
            "changed": False,
        }
        # The next play makes Ansible count these failures. The other hosts were never started.
        result["ansible_facts"] = {"voicefleet_to_count": counted(ends)}
        if not hosts:
            result["lines"] = ["No host was proved or planned in this run: no report was written."]
        elif not self.check_mode:
            clips = {host.name: host.clips for host in hosts}
            text = page.render(data, clips, arguments["audio_mb"])
            try:
                folder.mkdir(parents=True, exist_ok=True)
                write_atomic(str(record), canonical_json(report.for_machines(data)))
                write_atomic(str(cases), junit.render(data))
                write_atomic(str(html), text.encode("utf-8"))
                if unfinished:
                    write_atomic(str(again), "".join(f"{host}\n" for host in unfinished).encode("utf-8"))
                else:
                    again.unlink(missing_ok=True)
            except OSError as error:
                raise AnsibleActionFail(f"The report cannot be written: {error.strerror}: {error.filename}") from None
        show(result["lines"])
        return result


def run_of(hostvars: Any, now: float) -> tuple[dict[str, Any], dict[str, rollout.End]]:
    """Return the run that the playbook counted and the outcome of its hosts, both empty if there was none."""
    state = fact(hostvars["localhost"], "voicefleet_rollout") if "localhost" in hostvars else {}
    if not state:
        return {}, {}
    return state, rollout.result(
        state, {host: fact(hostvars[host], "voicefleet_outcome") for host in state["hosts"]}, now
    )


def counted(ends: dict[str, rollout.End]) -> list[str]:
    """Return the hosts whose failure was noted. Ansible itself has counted those that it lost on the way."""
    return [host for host, end in ends.items() if end.outcome in (rollout.FAILED, rollout.UNREACHABLE)]


def gather(
    hostvars: Any, folder: Path, ends: dict[str, rollout.End]
) -> list[tuple[str, dict[str, Any], dict[str, Any]]]:
    """Return name, plan and proof of every host of the run, or if no run was counted, of every host that has either.

    A failed proof sets no fact. Then the host's record beside the report counts, if it is of the plan's release.
    """
    found = []
    for name in sorted(ends or map(str, hostvars)):
        plan = fact(hostvars[name], "voicefleet_plan")
        synthesis = fact(hostvars[name], "voicefleet_synthesis")
        if plan and not synthesis:
            synthesis = left_behind(folder / "hosts" / f"{report.folder_name(name)}.json", name, plan.get("release"))
        if plan or synthesis or name in ends:
            found.append((name, plan, synthesis))
    return found


def left_behind(path: Path, host: str, release: Any) -> dict[str, Any]:
    """Return the proof in a host's record beside the report, if it is of that host and release."""
    try:
        record = parse_json(read_bounded(str(path)))
        found = record["host"] == host and record["synthesis"]["release_id"] == release["id"]
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    return dict(record["synthesis"]) if found else {}
