#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) voicefleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Read what a deploy must know of a host."""

from __future__ import annotations

DOCUMENTATION = r"""
module: host_state
short_description: Read what a deploy must know of a host, in one call
description:
  - Reads the platform, interpreters, disks, memory, ports, systemd, the releases and artifacts that are
    there. Changes nothing.
  - It is run by M(voicefleet.kokoro.preflight), which judges what it found.
version_added: "0.1.0"
author:
  - voicefleet (@voicefleet)
options:
  releases:
    description: Releases, by id, whose files are compared with what they were when they were sealed.
    type: list
    elements: str
    default: []
  lock:
    description:
      - Take the host's deploy lock before anything is read, C(owner) for at most C(seconds), over from a C(dead) owner.
      - Without it no lock is taken.
    type: dict
    suboptions:
      owner:
        description: What tells this deploy from others.
        type: dict
        required: true
      seconds:
        description: The age at which another's lock counts as left behind.
        type: int
        required: true
      dead:
        description: An owner that is known to have ended.
        type: dict
extends_documentation_fragment:
  - voicefleet.kokoro.host
  - voicefleet.kokoro.artifacts
attributes:
  check_mode:
    support: full
    description: Nothing is ever changed, and no lock is taken.
  diff_mode:
    support: none
    description: Nothing is ever changed.
"""

EXAMPLES = r"""
- name: Look at a host
  voicefleet.kokoro.host_state:
    artifacts: "{{ voicefleet_plan.artifacts }}"
  register: state
"""

RETURN = r"""
state:
  description: Platform, pythons, filesystems, memory, cpus, addresses, listeners, systemd, releases, time of the host.
  returned: always
  type: dict
  sample: {architecture: x86_64, cpus: 16}
lock:
  description:
    - Whether the lock was C(taken), and its other C(holder), if any, with the C(age) of that one's lock in seconds.
    - Where it was not taken, nothing else is read.
  returned: when O(lock) is given
  type: dict
  sample: {taken: true, holder: null, age: 0.0}
drift:
  description:
    - What is not as it was sealed, by release; those of O(releases) that are unfinished or as they were are left out.
    - Each has C(missing), C(changed) and C(added), with C(count) and the C(first) paths.
  returned: always
  type: dict
  sample: {1.2.3-3f9a1c2b7d5e: {missing: {count: 1, first: [env/bin/xinference-local]}}}
missing:
  description: Digests of the artifacts that the host does not hold.
  returned: always
  type: list
  elements: str
  sample: []
stale:
  description: Digests of artifacts that were touched since they were proved, or never were.
  returned: always
  type: list
  elements: str
  sample: []
surplus:
  description: Files that are none of the artifacts, by digest, name and size in bytes.
  returned: always
  type: list
  elements: dict
  sample: []
arrived:
  description: Bytes of a delivery that was cut, which the next one uses or removes.
  returned: always
  type: int
  sample: 0
"""

import os

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.voicefleet.kokoro.plugins.module_utils.host import deploy_lock, layout
from ansible_collections.voicefleet.kokoro.plugins.module_utils.host.arguments import artifact_list
from ansible_collections.voicefleet.kokoro.plugins.module_utils.release import artifacts, release
from ansible_collections.voicefleet.kokoro.plugins.module_utils.state import host_facts


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec={
            "root": {"type": "path", "default": layout.ROOT},
            "home": {"type": "path", "default": layout.HOME},
            "releases": {"type": "list", "elements": "str", "default": []},
            "lock": {
                "type": "dict",
                "options": {
                    "owner": {"type": "dict", "required": True},
                    "seconds": {"type": "int", "required": True},
                    "dead": {"type": "dict"},
                },
            },
            "artifacts": artifact_list(),
        },
        supports_check_mode=True,
    )
    root, lock = module.params["root"], {}
    # Whoever is not root is told so by preflight, with all else that is wrong.
    if module.params["lock"] and not module.check_mode and os.geteuid() == 0:
        try:
            lock = deploy_lock.take(**module.params["lock"])
        except OSError as error:
            module.fail_json(msg=f"The lock {deploy_lock.LOCK_FILE} can't be taken: {error.strerror}.")
        if not lock["taken"]:
            module.exit_json(changed=False, lock=lock)
    try:
        drifts = {name: release.drift(layout.Paths(root).release(name)) for name in module.params["releases"]}
    except OSError as error:
        module.fail_json(msg=f"The files of a release can't be listed: {error.strerror}: {error.filename}.")
    module.exit_json(
        changed=False,
        lock=lock,
        state=host_facts.gather(root, module.params["home"]),
        drift={name: drift.as_dict() for name, drift in drifts.items() if drift},
        **artifacts.survey(root, module.params["artifacts"]),
    )


if __name__ == "__main__":
    main()
