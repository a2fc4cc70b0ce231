#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) voicefleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Read what the doctor judges."""

from __future__ import annotations

DOCUMENTATION = r"""
module: doctor_facts
short_description: Read the state of a host and of its service, whatever is broken
description:
  - Reads the platform, the unit and its processes, memory, kernel OOM lines, the port, files that must be closed to
    others, the current release, proxies, the ledger, the API over loopback, and known failures in the logs.
  - Changes nothing. What can't be read is named in RV(facts) with the reason, and the rest is read all the same.
  - It is run by M(voicefleet.kokoro.doctor), which judges what it found.
version_added: "0.1.0"
author:
  - voicefleet (@voicefleet)
options:
  receipts:
    description: The host's ledger.
    type: path
    default: /var/lib/voicefleet-evidence/receipts.jsonl
extends_documentation_fragment:
  - voicefleet.kokoro.host
  - voicefleet.kokoro.host.service
  - voicefleet.kokoro.host.api
attributes:
  check_mode:
    support: full
    description: Nothing is ever changed.
  diff_mode:
    support: none
    description: Nothing is ever changed.
notes:
  - The client's key is sent only where the service's database knows it, as bad ones count towards a ban of the address.
"""

EXAMPLES = r"""
- name: Read the state of a host
  voicefleet.kokoro.doctor_facts:
  register: state
"""

RETURN = r"""
facts:
  description: What was read, by part; C(errors) names the parts that could not be, with the reason.
  returned: always
  type: dict
  sample: {unit: {ActiveState: active}, errors: {}}
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.voicefleet.kokoro.plugins.module_utils.host import layout
from ansible_collections.voicefleet.kokoro.plugins.module_utils.state import doctor_facts


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec={
            "root": {"type": "path", "default": layout.ROOT},
            "home": {"type": "path", "default": layout.HOME},
            "secrets_dir": {"type": "path", "default": layout.SECRETS, "no_log": False},
            "unit": {"type": "str", "default": layout.UNIT},
            "host": {"type": "str", "default": "127.0.0.1"},
            "port": {"type": "int", "default": 9997},
            "own_port": {"type": "int", "default": 9997},
            "model": {"type": "str", "default": "kokoro"},
            "receipts": {"type": "path", "default": layout.RECEIPTS},
            "speak": {"type": "bool", "default": True},
            "timeout": {"type": "int", "default": 60},
        },
        supports_check_mode=True,
    )
    module.exit_json(changed=False, facts=doctor_facts.gather(doctor_facts.Options(**module.params)))


if __name__ == "__main__":
    main()
