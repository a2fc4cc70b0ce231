#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: unchanged
short_description: Find out in one module call whether a deploy would change nothing on a host
description:
  - Asks the code of all modules that a deploy runs after M(voicefleet.kokoro.preflight) what they would change. If the
    answer is nothing, if the model speaks, and if its proof still holds, the deploy need not run them.
  - If anything differs, it says what, and the deploy runs all its modules. It never fails because of a difference.
  - If nothing differs, it also releases the host's deploy lock, because the deploy is done.
  - The action reads the arguments from the tasks of the roles C(xinference) and C(synthesis). So there is nothing to
    set in a task.
version_added: "0.1.0"
author: voicefleet (@voicefleet)
options:
  account:
    description: The options of C(ansible.builtin.user). Set by the action.
    type: dict
    required: true
  setup:
    description: The options of M(voicefleet.kokoro.xinference_setup), without secrets. Set by the action.
    type: dict
    required: true
  secrets:
    description: The secrets among the options of M(voicefleet.kokoro.xinference_setup). Set by the action.
    type: dict
    required: true
  service:
    description: The options of M(voicefleet.kokoro.xinference_service). Set by the action.
    type: dict
    required: true
  model:
    description: The options of M(voicefleet.kokoro.xinference_model). Set by the action.
    type: dict
    required: true
  proof:
    description: The options of M(voicefleet.kokoro.synthesis_check). Set by the action.
    type: dict
    required: true
  release:
    description: >-
      The release by C(id) and C(root), the file of C(receipts), the host's C(cores), and whether C(clients) have keys
      of their own. Set by the action.
    type: dict
    required: true
  lock:
    description: The owner of the deploy lock. Set by the action.
    type: dict
    required: true
extends_documentation_fragment: [voicefleet.kokoro.attributes.unchanging]
"""

EXAMPLES = r"""
- name: Find out whether the host already is as wanted
  voicefleet.kokoro.unchanged:
  register: voicefleet_unchanged
"""

RETURN = r"""
unchanged:
  description: Whether the host is in the wanted state, and its model speaks.
  returned: always
  type: bool
  sample: true
why:
  description: The first difference, or an empty text.
  returned: always
  type: str
  sample: the unit was changed by hand
restarts:
  description: Whether the deploy would restart the service or launch a model again, so that clients would wait.
  returned: if something differs
  type: bool
  sample: true
released:
  description: Whether the deploy lock was released.
  returned: always
  type: bool
  sample: true
synthesis:
  description: The kept proof of speech, as M(voicefleet.kokoro.synthesis_check) returns it.
  returned: if nothing differs
  type: dict
  sample: {level: acoustic}
"""

import os
import time
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible_collections.voicefleet.kokoro.plugins.module_utils.host import deploy_lock, masking
from ansible_collections.voicefleet.kokoro.plugins.module_utils.proof import textfile
from ansible_collections.voicefleet.kokoro.plugins.module_utils.state import kept, unchanged
from ansible_collections.voicefleet.kokoro.plugins.module_utils.xinference import keepers, service, setup

OPTIONS = {"setup": setup.OPTIONS, "service": service.OPTIONS, "model": keepers.OPTIONS, "proof": kept.OPTIONS}


def typed(params: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The options of each part, as its own module would read them. Raises ValueError."""
    found: dict[str, dict[str, Any]] = {"account": params["account"], "release": params["release"]}
    for part, options in OPTIONS.items():
        given = {**params[part], **(params["secrets"] if part == "setup" else {})}
        checked = ArgumentSpecValidator(options).validate(given)
        if checked.error_messages:
            raise ValueError(f"{part}: {'; '.join(checked.error_messages)}")
        found[part] = checked.validated_parameters
    return found


def main() -> None:
    parts = ("account", "setup", "service", "model", "proof", "release", "lock")
    module = AnsibleModule(
        argument_spec={
            **{name: {"type": "dict", "required": True} for name in parts},
            "secrets": {"type": "dict", "required": True, "no_log": True},
        },
        supports_check_mode=True,
    )
    os.umask(0o077)
    try:
        look = unchanged.Look(typed(module.params))
        why = look.difference()
    except ValueError as error:
        module.exit_json(changed=False, unchanged=False, why=str(error), released=False)
    masking.hide(module, look.secrets.values())
    if why or module.check_mode:
        restarts = bool(why) and look.restarts()
        module.exit_json(
            changed=False, unchanged=not why, why=why, restarts=restarts, released=False, synthesis=look.proof
        )
    folder = look.wanted["proof"]["textfile_dir"]
    try:
        if folder:
            textfile.write(folder, textfile.render(look.proof, look.proof["live_seconds"], time.time()))
        released = deploy_lock.release(module.params["lock"])
    except OSError as error:
        # The deploy's own tasks report it.
        module.exit_json(changed=False, unchanged=False, why=str(error), released=False)
    module.exit_json(changed=False, unchanged=True, why="", released=released, synthesis=look.proof)


if __name__ == "__main__":
    main()
