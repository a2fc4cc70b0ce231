#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: teardown
short_description: Remove what this collection installed on a host
description:
  - Stops, disables and removes the units that this collection wrote. Removes artifacts, releases, tools, secrets and
    the service's user. Also removes a candidate that a killed upgrade left.
  - Only folders and accounts with the mark of this collection go. If those folders hold anything else, it stays, and
    so do the folders. The result says what stays, for instance a folder behind a link.
  - Data and evidence stay unless you ask for their removal. While data stay, their user stays too. Otherwise another
    account could get its user ID and own the data.
  - Without O(confirmed), the module fails and lists what it would remove.
  - If the ledger stays, it gets a receipt of the teardown.
version_added: "0.1.0"
author: voicefleet (@voicefleet)
options:
  confirmed:
    description: Whether to remove anything.
    type: bool
    default: false
  root:
    description: The folder that holds artifacts and releases.
    type: path
    default: /opt/voicefleet
  secrets_dir:
    description: The folder of secrets.
    type: path
    default: /etc/voicefleet
  home:
    description: The service's home.
    type: path
    default: /var/lib/voicefleet
  worker_home:
    description: The home of a worker that runs beside a supervisor.
    type: path
    default: /var/lib/voicefleet-worker
  user:
    description: The service's user.
    type: str
    default: voicefleet
  evidence_dir:
    description: The folder of evidence and receipts.
    type: path
    default: /var/lib/voicefleet-evidence
  data:
    description: Whether to remove O(home) and O(worker_home) too. They must belong to O(user).
    type: bool
    default: false
  evidence:
    description: Whether to remove O(evidence_dir) too.
    type: bool
    default: false
  operator:
    description: Who tears down, for the receipt.
    type: str
    default: ""
extends_documentation_fragment: [voicefleet.kokoro.attributes]
"""

EXAMPLES = r"""
- name: Remove all but data and evidence
  voicefleet.kokoro.teardown:
    confirmed: true
"""

RETURN = r"""
removed:
  description: What was removed, or would be in check mode.
  returned: always
  type: list
  elements: str
  sample: [unit voicefleet-xinference.service, /opt/voicefleet/releases]
stay:
  description: What stays on the host, with the reason.
  returned: always
  type: list
  elements: str
  sample: ["/var/lib/voicefleet: data (teardown_data)"]
"""

import os
import time

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.voicefleet.kokoro.plugins.module_utils.host import layout, systemd_unit
from ansible_collections.voicefleet.kokoro.plugins.module_utils.release import ledger, release
from ansible_collections.voicefleet.kokoro.plugins.module_utils.state import removal


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "confirmed": {"type": "bool", "default": False},
            "root": {"type": "path", "default": layout.ROOT},
            "secrets_dir": {"type": "path", "default": layout.SECRETS, "no_log": False},
            "home": {"type": "path", "default": layout.HOME},
            "worker_home": {"type": "path", "default": layout.WORKER_HOME},
            "user": {"type": "str", "default": "voicefleet"},
            "evidence_dir": {"type": "path", "default": layout.EVIDENCE},
            "data": {"type": "bool", "default": False},
            "evidence": {"type": "bool", "default": False},
            "operator": {"type": "str", "default": ""},
        },
        supports_check_mode=True,
    )
    params = module.params
    places = removal.Places(
        root=params["root"],
        secrets=params["secrets_dir"],
        home=params["home"],
        evidence=params["evidence_dir"],
        worker_home=params["worker_home"],
        worker_secrets=layout.WORKER_SECRETS,
        candidate_secrets=layout.CANDIDATE_SECRETS,
        user=params["user"],
        remove_data=params["data"],
        remove_evidence=params["evidence"],
    )
    receipt = {
        "event": "teardown",
        "operator": params["operator"],
        "release": None,
        "previous": release.current(layout.Paths(places.root)),
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }
    try:
        found = removal.survey(places)
        lines = found.lines()
        if not lines:
            module.exit_json(changed=False, msg="nothing is installed", removed=[], stay=found.stay)
        if not module.check_mode:
            if not params["confirmed"]:
                listed = "".join(f"\n  {line}" for line in lines)
                stays = "".join(f"\n  {line}" for line in found.stay) or " nothing"
                module.fail_json(
                    msg="Nothing was removed. To confirm the removal, add -e teardown_confirm=true. It would remove:"
                    f"{listed}\nWhat stays:{stays}",
                    removed=lines,
                    stay=found.stay,
                )
            removal.remove(found, places)
            receipts = os.path.join(places.evidence, os.path.basename(layout.RECEIPTS))
            if os.path.exists(receipts):
                ledger.append(receipts, receipt)
    except (removal.RemovalError, systemd_unit.SystemdError) as error:
        module.fail_json(msg=f"{error}. Fix that, then run the teardown again")
    except OSError as error:
        module.fail_json(msg=f"{error.strerror}: {error.filename}. Fix that, then run the teardown again.")
    diff = {"before": "".join(f"{line}\n" for line in lines), "after": ""}
    said = f"{'would remove' if module.check_mode else 'removed'} {len(lines)} things"
    module.exit_json(changed=True, msg=said, removed=lines, stay=found.stay, diff=diff)


if __name__ == "__main__":
    main()
