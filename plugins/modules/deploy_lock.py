#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) voicefleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Give a host's deploy lock back."""

from __future__ import annotations

DOCUMENTATION = r"""
module: deploy_lock
short_description: Give a host's deploy lock back
description:
  - M(voicefleet.kokoro.preflight) takes the lock, so that one controller at a time deploys to a host. This gives it
    back, and leaves one alone that another controller holds.
  - The lock is state of the running deploy, not of the host, so giving it back is no change.
version_added: "0.1.0"
author:
  - voicefleet (@voicefleet)
options:
  owner:
    description: Who took it, from C(voicefleet_plan.lock). Empty where none was taken.
    type: dict
    required: true
attributes:
  check_mode:
    support: full
    description: Nothing is done, as no lock is taken in check mode.
  diff_mode:
    support: none
    description: There is nothing to compare.
"""

EXAMPLES = r"""
- name: Give the host's lock back
  voicefleet.kokoro.deploy_lock:
    owner: "{{ voicefleet_plan.lock }}"
"""

RETURN = r"""
released:
  description: Whether the lock was this owner's and is free now.
  returned: always
  type: bool
  sample: true
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.voicefleet.kokoro.plugins.module_utils import deploy_lock


def main() -> None:
    """Entry point."""
    module = AnsibleModule(argument_spec={"owner": {"type": "dict", "required": True}}, supports_check_mode=True)
    owner = module.params["owner"]
    if module.check_mode or not owner:
        module.exit_json(changed=False, released=False)
    try:
        module.exit_json(changed=False, released=deploy_lock.release(owner))
    except OSError as error:
        module.fail_json(msg=f"The lock {deploy_lock.LOCK_FILE} can't be given back: {error.strerror}.")


if __name__ == "__main__":
    main()
