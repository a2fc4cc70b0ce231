#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: release_prune
short_description: Remove old releases from a host
description:
  - Removes finished releases beyond O(keep), beginning with those that served longest ago. The current and the previous
    release always stay.
  - Removes the remains of unfinished releases that are older than a day.
  - With O(artifacts), removes artifacts that neither the plan nor a remaining release refers to. While there is an
    unfinished release younger than a day, all artifacts stay.
version_added: "0.1.0"
author: voicefleet (@voicefleet)
options:
  plan:
    description: The plan of the current release, or in check mode of the release that is to become current.
    type: dict
    required: true
  keep:
    description: How many releases stay beside the current one. The previous release is the first of them.
    type: int
    default: 2
  artifacts:
    description: Whether to remove artifacts that nothing refers to. The next release must then deliver them again.
    type: bool
    default: false
  receipts:
    description: The host's ledger, with one JSON object per line.
    type: path
    default: /var/lib/voicefleet-evidence/receipts.jsonl
extends_documentation_fragment: [voicefleet.kokoro.attributes]
"""

EXAMPLES = r"""
- name: Keep one release beside the current one
  voicefleet.kokoro.release_prune:
    plan: "{{ voicefleet_plan }}"
    keep: 1
"""

RETURN = r"""
stay:
  description: The releases that stay, last served first.
  returned: success
  type: list
  elements: str
  sample: [1.2.3-3f9a1c2b7d5e, 1.2.3-77aa0c1e9f10]
removed:
  description: Releases and remains of releases that were removed, or in check mode would be.
  returned: success
  type: list
  elements: str
  sample: [1.2.3-0123456789ab]
artifacts:
  description: Digests of artifacts that were removed, or in check mode would be.
  returned: success
  type: list
  elements: str
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.voicefleet.kokoro.plugins.module_utils.host import layout
from ansible_collections.voicefleet.kokoro.plugins.module_utils.release import ledger, retention


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "plan": {"type": "dict", "required": True},
            "keep": {"type": "int", "default": 2},
            "artifacts": {"type": "bool", "default": False},
            "receipts": {"type": "path", "default": layout.RECEIPTS},
        },
        supports_check_mode=True,
    )
    params, plan = module.params, module.params["plan"]
    if params["keep"] < 0:
        module.fail_json(msg=f"keep is {params['keep']}, but it must be 0 or more. Nothing was removed.")
    paths = layout.Paths(plan["paths"]["root"])
    wanted = {row["sha256"] for row in plan["artifacts"]} if params["artifacts"] else None
    try:
        receipts = ledger.read(params["receipts"])
        choice = retention.choose(paths, plan["release"]["id"], receipts, params["keep"], wanted)
        removed = [*choice.go, *choice.remnants]
        changed = bool(removed or choice.artifacts)
        if changed and not module.check_mode:
            retention.remove(paths, choice)
    except OSError as error:
        module.fail_json(msg=f"{error.strerror}: {error.filename}. The current release was not touched.")
    module.exit_json(
        changed=changed,
        msg=f"removed {', '.join(removed)}" if removed else "no old release to remove",
        stay=choice.stay,
        removed=removed,
        artifacts=choice.artifacts,
        diff={"before": choice.lines(after=False), "after": choice.lines(after=True)} if changed else {},
    )


if __name__ == "__main__":
    main()
