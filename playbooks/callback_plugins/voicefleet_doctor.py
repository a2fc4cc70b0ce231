# SPDX-License-Identifier: GPL-3.0-or-later
"""Print the doctor's explanation below a failed task that has none yet.

The collection's own modules already explain their errors. This covers Ansible's own tasks and lost connections. It lies
next to the playbooks, so Ansible loads it with each of them and it needs no setting.
"""

from __future__ import annotations

from typing import Any

from ansible.plugins.callback import CallbackBase
from ansible_collections.voicefleet.kokoro.plugins.filter.diagnose import diagnose
from ansible_collections.voicefleet.kokoro.plugins.module_utils.doctor import diagnosis

DOCUMENTATION = """
name: voicefleet_doctor
type: aggregate
short_description: explain a failed task and say what to do
description:
  - For the playbooks of voicefleet.kokoro, which lie next to it.
  - Prints the code, cause and remedy of a known failure, once for all affected hosts.
"""


class CallbackModule(CallbackBase):  # type: ignore[misc]
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "voicefleet_doctor"
    CALLBACK_NEEDS_ENABLED = False

    def __init__(self) -> None:
        super().__init__()
        self.told: set[str] = set()

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:
        if not ignore_errors:
            self._explain(result)

    def v2_runner_on_unreachable(self, result: Any) -> None:
        self._explain(result)

    def _explain(self, result: Any) -> None:
        meaning = meaning_of(result.result)
        if meaning and meaning not in self.told:
            self.told.add(meaning)
            self._display.display(f"{result.host.get_name()}: {meaning}")


def meaning_of(result: dict[str, Any]) -> str:
    """The explanation of a failed task or loop item. Empty if the failure is unknown or already explained."""
    # Of a loop, only the failed items: the result that callbacks get for the whole task does not say that it failed.
    failed = [result, *(item for item in result.get("results") or [] if {"failed", "unreachable"} & item.keys())]
    if any(diagnosis.HEADING in str(part.get("msg")) for part in failed):
        return ""
    said = (diagnose(part).partition(diagnosis.HEADING) for part in failed)
    return next((heading + words for _message, heading, words in said if heading), "")
