#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) voicefleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Read a host's ledger."""

from __future__ import annotations

DOCUMENTATION = r"""
module: receipts
short_description: Read a host's ledger and the release that serves
description:
  - Reads the ledger, one receipt for each switch, and where C(current) points. Changes nothing.
version_added: "0.1.0"
author:
  - voicefleet (@voicefleet)
options:
  root:
    description: The folder that holds the releases.
    type: path
    default: /opt/voicefleet
  receipts:
    description: The host's ledger, one JSON object a line.
    type: path
    default: /var/lib/voicefleet-evidence/receipts.jsonl
attributes:
  check_mode:
    support: full
    description: Nothing is ever changed.
  diff_mode:
    support: none
    description: Nothing is ever changed.
seealso:
  - module: voicefleet.kokoro.receipts_summary
"""

EXAMPLES = r"""
- name: Read the ledger
  voicefleet.kokoro.receipts:
"""

RETURN = r"""
ansible_facts:
  description:
    - The fact C(voicefleet_receipts) with C(current), an id or null, C(whole), the releases that one can go back to,
      and C(receipts), oldest first.
  returned: success
  type: dict
  sample: {voicefleet_receipts: {current: 1.2.3-3f9a1c2b7d5e, whole: [1.2.3-3f9a1c2b7d5e], receipts: []}}
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.voicefleet.kokoro.plugins.module_utils.host import layout
from ansible_collections.voicefleet.kokoro.plugins.module_utils.release import ledger, release


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec={
            "root": {"type": "path", "default": layout.ROOT},
            "receipts": {"type": "path", "default": layout.RECEIPTS},
        },
        supports_check_mode=True,
    )
    paths = layout.Paths(module.params["root"])
    try:
        receipts = ledger.read(module.params["receipts"])
    except OSError as error:
        module.fail_json(msg=f"The ledger can't be read: {error.strerror}: {error.filename}.")
    found = {"current": release.current(paths), "whole": sorted(release.whole(paths)), "receipts": receipts}
    module.exit_json(changed=False, ansible_facts={"voicefleet_receipts": found})


if __name__ == "__main__":
    main()
