# SPDX-License-Identifier: GPL-3.0-or-later
"""Print the summary of a run that Ansible ended before its last plays.

Ansible does so when it loses every host of a batch, for example a canary that crashes when the new release starts. This
lies next to the playbooks, so Ansible loads it with them and it needs no setting. If the run has already printed its
report, this prints nothing.
"""

from __future__ import annotations

import time
from typing import Any

from ansible.plugins.callback import CallbackBase
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.fleet import rollout
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.report import report, table as report_table

DOCUMENTATION = """
name: voicefleet_summary
type: aggregate
short_description: show the summary of a run that ended before its report
description:
  - For the playbooks of voicefleet.kokoro, which lie next to it.
"""


class CallbackModule(CallbackBase):  # type: ignore[misc]
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "voicefleet_summary"
    CALLBACK_NEEDS_ENABLED = False

    def __init__(self) -> None:
        super().__init__()
        self.state: dict[str, Any] = {}
        self.facts: dict[str, dict[str, Any]] = {}

    def v2_runner_on_ok(self, result: Any) -> None:
        """Keep the facts that roles set on a host. `voicefleet_to_count` means that the report was written."""
        facts = result.result.get("ansible_facts") or {}
        self.state = {} if "voicefleet_to_count" in facts else facts.get("voicefleet_rollout", self.state)
        self.facts.setdefault(result.host.get_name(), {}).update(
            {name: value for name, value in facts.items() if name.startswith("voicefleet_")}
        )

    def v2_playbook_on_stats(self, stats: Any) -> None:
        if self.state.get("batches"):
            for line in summary(self.state, self.facts, time.time()):
                self._display.display(line)


def summary(state: dict[str, Any], facts: dict[str, dict[str, Any]], now: float) -> list[str]:
    """The table of such a run and what is left, as lines for a terminal."""
    known = {host: facts.get(host, {}) for host in state["hosts"]}
    ends = rollout.result(state, {host: of.get("voicefleet_outcome", {}) for host, of in known.items()}, now)
    hosts = [
        report.Host(host, of.get("voicefleet_plan", {}), of.get("voicefleet_synthesis", {}), end=ends[host])
        for host, of in known.items()
    ]
    lost = f"every host of batch {len(state['batches'])} was lost or had failed"
    data = report.build(hosts, "", {**state, "stop": state["stop"] or lost})
    left = report.unfinished(data)
    return ["", *report_table.table(data), f"Not done on {len(left)} of {len(hosts)} hosts; no report was written."]
