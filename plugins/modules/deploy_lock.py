#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) voicefleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Take a host's deploy lock, or give it back."""

from __future__ import annotations

DOCUMENTATION = r"""
module: deploy_lock
short_description: Take a host's deploy lock, or give it back
description:
  - One play at a time changes a host. M(voicefleet.kokoro.preflight) takes the lock for a deploy, this module for other
    plays. It gives it back, too, and leaves one alone that another controller holds.
  - The lock is state of the running play, not of the host, so neither is a change.
version_added: "0.1.0"
author:
  - voicefleet (@voicefleet)
options:
  state:
    description:
      - V(taken) takes it for this play, over from one that gave no sign of life for O(seconds) or that is known to be
        dead, and fails where another play holds it.
      - V(free) gives it back.
    type: str
    choices: [taken, free]
    default: free
  owner:
    description: For O(state=free), who took it. Empty where none was taken.
    type: dict
  seconds:
    description: After how long without a sign of life the lock of another play counts as left behind.
    type: int
    default: 7200
  dead:
    description: An owner that is known to have ended. Set by the action.
    type: dict
attributes:
  check_mode:
    support: full
    description: No lock is taken in check mode, and none is given back.
  diff_mode:
    support: none
    description: There is nothing to compare.
"""

EXAMPLES = r"""
- name: Take the host's lock
  voicefleet.kokoro.deploy_lock:
    state: taken
  register: lock

- name: Give the host's lock back
  voicefleet.kokoro.deploy_lock:
    owner: "{{ lock.owner }}"
"""

RETURN = r"""
released:
  description: Whether the lock was this owner's and is free now.
  returned: when O(state=free)
  type: bool
  sample: true
owner:
  description: Who has the lock now, to give it back with. Empty in check mode.
  returned: when O(state=taken)
  type: dict
  sample: {controller: fetch1, user: kim, pid: 4242, started: "..."}
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.voicefleet.kokoro.plugins.module_utils.host import deploy_lock


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec={
            "state": {"type": "str", "choices": ["taken", "free"], "default": "free"},
            "owner": {"type": "dict"},
            "seconds": {"type": "int", "default": 7200},
            "dead": {"type": "dict"},
        },
        required_if=[("state", "taken", ["owner"])],
        supports_check_mode=True,
    )
    owner = module.params["owner"]
    if module.params["state"] == "taken" and not module.check_mode:
        try:
            held = deploy_lock.take(owner, module.params["seconds"], module.params["dead"])
        except OSError as error:
            module.fail_json(msg=f"The lock {deploy_lock.LOCK_FILE} can't be taken: {error.strerror}.")
        module.exit_json(changed=False, lock=held)
    if module.check_mode or not owner:
        module.exit_json(changed=False, released=False)
    try:
        module.exit_json(changed=False, released=deploy_lock.release(owner))
    except OSError as error:
        module.fail_json(msg=f"The lock {deploy_lock.LOCK_FILE} can't be given back: {error.strerror}.")


if __name__ == "__main__":
    main()
