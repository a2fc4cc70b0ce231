#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: service_state
short_description: Read the state of a host and of its service, whatever is broken
description:
  - Reads the O(subsets) that are asked for and changes nothing. A subset that cannot be read is reported with the
    reason, and the others are still read.
  - M(voicefleet.kokoro.doctor) runs it, judges the facts and packs the texts of all hosts into one archive.
version_added: "0.1.0"
author: voicefleet (@voicefleet)
options:
  subsets:
    description:
      - V(health) is the platform, the unit and its processes, memory, kernel OOM lines, the port, files that must be
        closed to others, the current release, proxies, the ledger, the service's API, and known failures in the logs.
        A part that cannot be read is reported with the reason, and the rest is still read.
      - V(support) is a fixed list of texts for a support bundle, such as the journal and log of the service, its unit,
        versions and receipts. The host removes its secrets and everything that looks like one. All texts together have
        at most 4 MiB. Of a longer text, the end is kept.
    type: list
    elements: str
    choices: [health, support]
    required: true
  receipts:
    description: The host's ledger.
    type: path
    default: /var/lib/voicefleet-evidence/receipts.jsonl
  peer_host:
    description: The address of another host's service, to try a connection. Empty means none.
    type: str
    default: ""
  peer_port:
    description: The port of that service.
    type: int
    default: 0
extends_documentation_fragment:
  - voicefleet.kokoro.host
  - voicefleet.kokoro.host.service
  - voicefleet.kokoro.host.api
  - voicefleet.kokoro.attributes.unchanging
notes:
  - The client's key is sent only if the service's database knows it. Wrong keys count towards a ban of the address.
"""

EXAMPLES = r"""
- name: Read the health of a service
  voicefleet.kokoro.service_state:
    subsets: [health]
  register: service
"""

RETURN = r"""
state:
  description: What was read, by subset.
  returned: always
  type: dict
  contains:
    health:
      description: What was read, by part. C(errors) names the parts that could not be read, with the reason.
      type: dict
      returned: when it was asked for
      sample: {unit: {ActiveState: active}, errors: {}}
    support:
      description: Texts by name.
      type: dict
      returned: when it was asked for
      sample: {packages.txt: "xinference 1.2.3"}
errors:
  description: The subsets that could not be read, with the reason.
  returned: always
  type: dict
"""

from collections.abc import Callable
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.voicefleet.kokoro.plugins.module_utils.host import layout, masking, reading
from ansible_collections.voicefleet.kokoro.plugins.module_utils.state import doctor_facts, support


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "subsets": {"type": "list", "elements": "str", "choices": ["health", "support"], "required": True},
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
            "peer_host": {"type": "str", "default": ""},
            "peer_port": {"type": "int", "default": 0},
        },
        supports_check_mode=True,
    )
    params: dict[str, Any] = dict(module.params)
    asked = params.pop("subsets")
    # Ansible may print parts of the result.
    masking.hide(module, support.secrets_of(params["secrets_dir"]))
    places = {name: params[name] for name in ("root", "home", "secrets_dir", "unit")}
    readers: dict[str, Callable[[], Any]] = {
        "health": lambda: doctor_facts.gather(doctor_facts.Options(**params)),
        "support": lambda: support.collect(**places),
    }
    module.exit_json(**reading.subsets(asked, readers))


if __name__ == "__main__":
    main()
