#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) voicefleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Seal a release, or make it the current one."""

from __future__ import annotations

DOCUMENTATION = r"""
module: release
short_description: Seal a release, or make it the current one
description:
  - O(state=sealed) makes everything in a release root's and unwritable for others, lists its files in C(files.txt), and
    writes C(release.json), the last file of a release. One that lacks anything is refused.
  - O(state=current) points C(current) to it in one rename and adds a receipt to the host's ledger. Only after a
    proof of speech.
version_added: "0.1.0"
author:
  - voicefleet (@voicefleet)
options:
  plan:
    description: The plan that M(voicefleet.kokoro.preflight) made for the host.
    type: dict
    required: true
  state:
    description: What the release shall be.
    type: str
    choices: [sealed, current]
    required: true
  proof:
    description: The proof of speech on which the switch rests. Required for O(state=current).
    type: dict
  operator:
    description: Who deploys, for the receipt.
    type: str
    default: ""
  receipts:
    description: The host's ledger, one JSON object a line.
    type: path
    default: /var/lib/voicefleet-evidence/receipts.jsonl
attributes:
  check_mode:
    support: full
    description: Says whether something would change.
  diff_mode:
    support: full
    description: Shows where C(current) points before and after.
"""

EXAMPLES = r"""
- name: Seal the release
  voicefleet.kokoro.release:
    plan: "{{ voicefleet_plan }}"
    state: sealed
"""

RETURN = r"""
release:
  description: The release's id.
  returned: always
  type: str
  sample: 4.1.0-3f9a1c2b7d5e
previous:
  description: The release that was current before.
  returned: when state is current
  type: str
  sample: 4.1.0-77aa0c1e9f10
"""

import time
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.voicefleet.kokoro.plugins.module_utils import layout, release

KEPT = ("manifest_sha256", "profile", "python", "model", "languages", "voices", "synthetic", "artifacts")


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec={
            "plan": {"type": "dict", "required": True},
            "state": {"type": "str", "choices": ["sealed", "current"], "required": True},
            "proof": {"type": "dict"},
            "operator": {"type": "str", "default": ""},
            "receipts": {"type": "path", "default": layout.RECEIPTS},
        },
        required_if=[("state", "current", ["proof"])],
        supports_check_mode=True,
    )
    plan = module.params["plan"]
    identity, path = plan["release"]["id"], plan["release"]["path"]
    paths = layout.Paths(plan["paths"]["root"])
    try:
        if module.params["state"] == "sealed":
            seal(module, plan, identity, path)
        else:
            make_current(module, plan, identity, paths)
    except release.ReleaseError as error:
        module.fail_json(msg=str(error))
    except OSError as error:
        module.fail_json(msg=f"{error.strerror}: {error.filename}. The release that serves was not touched.")


def seal(module: AnsibleModule, plan: dict[str, Any], identity: str, path: str) -> None:
    """Write ``release.json``, unless it is there."""
    drift = release.drift(path)
    # A drifted release was reopened by the first step of its mending; in check mode that has not come to pass.
    if drift is not None and not (module.check_mode and drift):
        module.exit_json(changed=False, release=identity)
    if module.check_mode:
        module.exit_json(changed=True, release=identity)
    models = [row["name"] for row in plan["artifacts"] if row["kind"] == "spacy-model"]
    gaps = release.gaps(path, plan["model"]["path"], plan["voices"], models, plan["python"]["version"])
    if gaps:
        module.fail_json(msg=f"The release {identity} is not whole and was not sealed. It lacks: {', '.join(gaps)}")
    contents = {"id": identity, "made": int(time.time()), **{key: plan[key] for key in KEPT}}
    release.seal(path, contents)
    module.exit_json(changed=True, release=identity)


def make_current(module: AnsibleModule, plan: dict[str, Any], identity: str, paths: layout.Paths) -> None:
    """Switch, and write the receipt."""
    before = release.current(paths)
    diff = {"before": f"current -> {before or 'nothing'}\n", "after": f"current -> {identity}\n"}
    if before == identity:
        module.exit_json(changed=False, release=identity, previous=before)
    if module.check_mode:
        module.exit_json(changed=True, release=identity, previous=before, diff=diff)
    release.switch(paths, identity)
    proof = module.params["proof"]
    receipt = {
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "operator": module.params["operator"],
        "release": identity,
        "previous": before,
        "manifest_sha256": plan["manifest_sha256"],
        "profile": plan["profile"],
        "proof_level": proof.get("level"),
        "synthetic": plan["synthetic"],
        "note": "made-up models: the audio is not speech" if plan["synthetic"] else "",
        "artifacts": {row["path"]: row["sha256"] for row in plan["artifacts"]},
    }
    release.append_receipt(module.params["receipts"], receipt)
    module.exit_json(changed=True, release=identity, previous=before, diff=diff)


if __name__ == "__main__":
    main()
