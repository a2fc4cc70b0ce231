# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible callback: seconds per role and per task, and what each host ran, as JSON in the file $VOICEFLEET_PHASES.

    {"phases": {"start of ansible": s, role or lone task: s, ...}, "tasks": [[s, "role : task"], ...], "seconds": s,
     "hosts": {host: {"ok": n, "changed": n, "failures": n, "skipped": n, ...}}}

Phases are in the order of the run and add up to `seconds`: the time since $VOICEFLEET_BEGAN (seconds of the epoch),
when the command was started. `ok` is the number of tasks that a host executed.
"""

from __future__ import annotations

import json
import os
import time
from typing import Any

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = """
name: phase_times
type: aggregate
short_description: seconds per role as JSON
description:
  - For bin/quickstart and bench/phases of this checkout; not a part of the collection.
  - The file is named by the environment variable E(VOICEFLEET_PHASES).
"""


class CallbackModule(CallbackBase):  # type: ignore[misc]
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "phase_times"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self) -> None:
        super().__init__()
        self.began = float(os.environ.get("VOICEFLEET_BEGAN") or time.time())
        self.tasks: list[tuple[float, str, str]] = []

    def _start(self, task: Any) -> None:
        role = task._role.get_name(include_role_fqcn=False) if task._role else task.get_name()
        self.tasks.append((time.time(), str(role), str(task.get_name())))

    def v2_playbook_on_task_start(self, task: Any, is_conditional: bool) -> None:
        self._start(task)

    def v2_playbook_on_handler_task_start(self, task: Any) -> None:
        self._start(task)

    def v2_playbook_on_stats(self, stats: Any) -> None:
        target = os.environ.get("VOICEFLEET_PHASES")
        if not target:
            return
        end = time.time()
        phases = {"start of ansible": (self.tasks[0][0] if self.tasks else end) - self.began}
        tasks = []
        ends = [start for start, _role, _name in self.tasks[1:]] + [end]
        for (start, role, name), stop in zip(self.tasks, ends, strict=True):
            phases[role] = phases.get(role, 0.0) + stop - start
            tasks.append((round(stop - start, 3), name))
        result = {
            "phases": {role: round(seconds, 2) for role, seconds in phases.items()},
            "tasks": tasks,
            "seconds": round(end - self.began, 2),
            "hosts": {str(host): stats.summarize(host) for host in sorted(stats.processed)},
        }
        with open(target, "w", encoding="utf-8") as handle:
            json.dump(result, handle, indent=2)
            handle.write("\n")
