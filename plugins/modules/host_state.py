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
  root:
    description: The folder that holds artifacts and releases.
    type: path
    default: /opt/voicefleet
  home:
    description: The service's home.
    type: path
    default: /var/lib/voicefleet
extends_documentation_fragment:
  - voicefleet.kokoro.artifacts
attributes:
  check_mode:
    support: full
    description: Nothing is ever changed.
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
  description: Platform, pythons, filesystems, memory, cpus, listeners, systemd, releases and time of the host.
  returned: always
  type: dict
  sample: {architecture: x86_64, cpus: 16}
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
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.voicefleet.kokoro.plugins.module_utils import artifacts, host_facts
from ansible_collections.voicefleet.kokoro.plugins.module_utils.arguments import artifact_list


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec={
            "root": {"type": "path", "default": "/opt/voicefleet"},
            "home": {"type": "path", "default": "/var/lib/voicefleet"},
            "artifacts": artifact_list(),
        },
        supports_check_mode=True,
    )
    root = module.params["root"]
    module.exit_json(
        changed=False,
        state=host_facts.gather(root, module.params["home"]),
        **artifacts.survey(root, module.params["artifacts"]),
    )


if __name__ == "__main__":
    main()
