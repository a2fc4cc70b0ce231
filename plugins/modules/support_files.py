#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) voicefleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Read what a support bundle holds of a host."""

from __future__ import annotations

DOCUMENTATION = r"""
module: support_files
short_description: Read a host's logs, versions and configuration for a support bundle, without secrets
description:
  - Reads a fixed list of things, the journal and log of the service, its unit, the release, versions, receipts, disks,
    memory, ports. Takes every secret out that lies on the host, and whatever has the shape of one. Changes nothing.
  - A host's texts are at most 4 MiB together; of longer ones the end is kept.
  - It is run by M(voicefleet.kokoro.doctor), which puts the texts of all hosts into one archive.
version_added: "0.1.0"
author:
  - voicefleet (@voicefleet)
extends_documentation_fragment:
  - voicefleet.kokoro.host
  - voicefleet.kokoro.host.service
attributes:
  check_mode:
    support: full
    description: Nothing is ever changed.
  diff_mode:
    support: none
    description: Nothing is ever changed.
"""

EXAMPLES = r"""
- name: Read what a support bundle holds of a host
  voicefleet.kokoro.support_files:
  register: support
"""

RETURN = r"""
files:
  description: Texts by name.
  returned: always
  type: dict
  sample: {packages.txt: "xinference 1.2.3"}
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.voicefleet.kokoro.plugins.module_utils.host import layout
from ansible_collections.voicefleet.kokoro.plugins.module_utils.state import support


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec={
            "root": {"type": "path", "default": layout.ROOT},
            "home": {"type": "path", "default": layout.HOME},
            "secrets_dir": {"type": "path", "default": layout.SECRETS, "no_log": False},
            "unit": {"type": "str", "default": layout.UNIT},
        },
        supports_check_mode=True,
    )
    # Also from what Ansible itself may show of the result.
    module.no_log_values.update(support.secrets_of(module.params["secrets_dir"]))
    module.exit_json(changed=False, files=support.collect(**module.params))


if __name__ == "__main__":
    main()
