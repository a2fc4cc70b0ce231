#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: deploy_lock
short_description: Take or release a host's deploy lock
description:
  - With the lock, one play at a time changes a host. M(voicefleet.kokoro.preflight) takes it for a deploy, this module
    for other plays. This module also releases it, but never the lock of another play.
  - The lock belongs to the running play, not to the host's state. So the module never reports a change. In check mode,
    it takes and releases no lock.
version_added: "0.1.0"
author: voicefleet (@voicefleet)
options:
  state:
    description:
      - V(taken) takes the lock for this play, and fails if another play holds it. It takes over the lock of a play that
        gave no sign of life for O(seconds), or that is known to have ended.
      - V(free) releases the lock.
    type: str
    choices: [taken, free]
    default: free
  owner:
    description: For O(state=free), the owner. Empty if no lock was taken.
    type: dict
  seconds:
    description: After this time without a sign of life, the lock of another play is taken over.
    type: int
    default: 7200
  dead:
    description: An owner that is known to have ended. Set by the action.
    type: dict
extends_documentation_fragment: [voicefleet.kokoro.attributes.unchanging]
"""

EXAMPLES = r"""
- name: Take the host's lock
  voicefleet.kokoro.deploy_lock:
    state: taken
  register: lock

- name: Release the host's lock
  voicefleet.kokoro.deploy_lock:
    owner: "{{ lock.owner }}"
"""

RETURN = r"""
released:
  description: Whether the lock was this owner's and is now free.
  returned: when O(state=free)
  type: bool
  sample: true
owner:
  description: The owner of the lock, for releasing it. Empty in check mode.
  returned: when O(state=taken)
  type: dict
  sample: {controller: fetch1, user: kim, pid: 4242, started: "..."}
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.voicefleet.kokoro.plugins.module_utils.host import deploy_lock


def main() -> None:
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
            module.fail_json(msg=f"The lock {deploy_lock.LOCK_FILE} cannot be taken: {error.strerror}.")
        module.exit_json(changed=False, lock=held)
    if module.check_mode or not owner:
        module.exit_json(changed=False, released=False)
    try:
        module.exit_json(changed=False, released=deploy_lock.release(owner))
    except OSError as error:
        module.fail_json(msg=f"The lock {deploy_lock.LOCK_FILE} cannot be released: {error.strerror}.")


if __name__ == "__main__":
    main()
