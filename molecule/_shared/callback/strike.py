# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible callback: kill the play at a task where no earlier play was killed.

It kills as a task's module works, or right after a short task that changed something. The module goes on on the host.
The file $VOICEFLEET_STRUCK holds the tasks so far. So each of several plays is killed further on, and a play that
nothing kills ends as usual. A short task that changes nothing is left out: it leaves what an earlier one left.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
from pathlib import Path
from typing import Any

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = """
name: strike
type: aggregate
short_description: kills the play
description:
  - For the scenario interrupted of this checkout; not a part of the collection.
  - The file is named by the environment variable E(VOICEFLEET_STRUCK).
"""
# A module works from about one second after its task began.
MIDDLE_SECONDS = 1.5


def place(task: Any) -> str:
    """Return the names of a task, its role, and what includes it. The candidate's tasks are also the service's."""
    names, at = [task.get_name()], getattr(task, "_parent", None)
    while at is not None:
        names += [at.name] if getattr(at, "name", None) else []
        at = getattr(at, "_parent", None)
    return " < ".join(names)


class CallbackModule(CallbackBase):  # type: ignore[misc]
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "strike"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self) -> None:
        super().__init__()
        self.record = Path(os.environ["VOICEFLEET_STRUCK"])
        lines = self.record.read_text(encoding="utf-8").splitlines() if self.record.exists() else []
        self.struck = {line.split(" ", 1)[1] for line in lines}
        self.timer: threading.Timer | None = None

    def _strike(self, when: str, where: str) -> None:
        if where not in self.struck:
            with self.record.open("a", encoding="utf-8") as record:
                record.write(f"{when} {where}\n")
            # Each worker has a session of its own, and would end its task.
            for worker in multiprocessing.active_children():
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(worker.pid or 0, signal.SIGKILL)
            os.killpg(os.getpgid(0), signal.SIGKILL)

    def _ended(self) -> None:
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None

    def v2_runner_on_start(self, host: Any, task: Any) -> None:
        self._ended()
        self.timer = threading.Timer(MIDDLE_SECONDS, self._strike, ["during", place(task)])
        self.timer.daemon = True
        self.timer.start()

    def v2_runner_on_ok(self, result: Any, **_more: Any) -> None:
        self._ended()
        if result._result.get("changed"):
            self._strike("after", place(result._task))

    def v2_runner_on_failed(self, result: Any, **_more: Any) -> None:
        self._ended()

    def v2_runner_on_skipped(self, result: Any) -> None:
        self._ended()

    def v2_runner_on_unreachable(self, result: Any) -> None:
        self._ended()
