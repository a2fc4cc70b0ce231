# SPDX-License-Identifier: GPL-3.0-or-later
"""What a failed task's result means, for the last words of a play."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Callable

from ansible_collections.voicefleet.kokoro.plugins.module_utils.doctor import diagnosis

DOCUMENTATION = r"""
name: diagnose
short_description: Say what a failure means and what to do
version_added: "0.1.0"
author:
  - voicefleet (@voicefleet)
description:
  - Gives a failed task's message, and under it, for the failures that are known, the code, the cause in plain words and
    the remedy. The codes are listed in C(docs/doctor.md).
  - A message that has been explained before stays as it is, and one that is not known gets no guess.
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
  description: The message, and what it means where that is known.
  type: str
"""


def diagnose(result: Any) -> str:
    """The message of a task's result, explained, with what its command said where the message says nothing."""
    if not isinstance(result, Mapping):
        return diagnosis.explain(str(result))
    said = [str(result[name]) for name in ("stderr", "module_stderr", "stdout", "module_stdout") if result.get(name)]
    return diagnosis.explain(str(result.get("msg") or "see above"), "\n".join(said))


class FilterModule:
    """The collection's filters."""

    def filters(self) -> dict[str, Callable[[Any], str]]:
        return {"diagnose": diagnose}
