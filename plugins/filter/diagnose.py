# SPDX-License-Identifier: GPL-3.0-or-later
"""Explain the result of a failed task."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Callable

from ansible_collections.voicefleet.kokoro.plugins.module_utils.doctor import diagnosis

DOCUMENTATION = r"""
name: diagnose
short_description: Explain a failure and name the remedy
version_added: "0.1.0"
author: voicefleet (@voicefleet)
description:
  - Returns a failed task's message. If the failure is known, its code, cause and remedy follow the message.
    C(docs/doctor.md) lists the codes.
  - A message that already has an explanation stays as it is. An unknown message gets no guess.
options:
  _input:
    description: A task's result, such as C(ansible_failed_result), or a text.
    type: raw
    required: true
seealso:
  - module: voicefleet.kokoro.doctor
"""

EXAMPLES = r"""
- name: Say what failed
  ansible.builtin.fail:
    msg: "{{ ansible_failed_result | voicefleet.kokoro.diagnose }}"
"""

RETURN = r"""
_value:
  description: The message, with an explanation if the failure is known.
  type: str
"""


def diagnose(result: Any) -> str:
    """The explained message of a task's result. The output of its command also counts for the explanation."""
    if not isinstance(result, Mapping):
        return diagnosis.explain(str(result))
    said = [str(result[name]) for name in ("stderr", "module_stderr", "stdout", "module_stdout") if result.get(name)]
    return diagnosis.explain(str(result.get("msg") or "see above"), "\n".join(said))


class FilterModule:
    """The collection's filters."""

    def filters(self) -> dict[str, Callable[[Any], str]]:
        return {"diagnose": diagnose}
