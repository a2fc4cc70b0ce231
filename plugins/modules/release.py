#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) voicefleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Seal a release, make it the current one, or plan the way back to a former one."""

from __future__ import annotations

DOCUMENTATION = r"""
module: release
short_description: Seal a release, make it the current one, or plan the way back to a former one
description:
  - O(state=sealed) makes everything in a release root's and unwritable for others, lists its files in C(files.txt), and
    writes C(release.json), the last file of a release. One that lacks anything is refused.
  - O(state=current) points C(current) to it in one rename and adds a receipt to the host's ledger. Only after a
    proof of speech.
  - O(state=planned) makes the plan of a finished release of the host, to go back to it without a store. One that is
    not there, unfinished or damaged is refused, and those that are whole are named. Changes nothing.
version_added: "0.1.0"
author:
  - voicefleet (@voicefleet)
options:
  plan:
    description:
      - The plan that M(voicefleet.kokoro.preflight) made for the host. Required for O(state=sealed) and
        O(state=current).
    type: dict
  state:
    description: What the release shall be.
    type: str
    choices: [sealed, current, planned]
    required: true
  release:
    description:
      - The release to plan, by its id. Empty means the one that served before the current one, by the ledger.
      - For O(state=planned) alone.
    type: str
    default: ""
  root:
    description: The folder that holds the releases. For O(state=planned) alone; a plan has its own.
    type: path
    default: /opt/voicefleet
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

- name: Plan the way back to the release before
  voicefleet.kokoro.release:
    state: planned
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
ansible_facts:
  description: The fact C(voicefleet_plan), as M(voicefleet.kokoro.preflight) sets it.
  returned: when state is planned
  type: dict
  sample: {voicefleet_plan: {release: {id: 4.1.0-77aa0c1e9f10}}}
"""

import time
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.voicefleet.kokoro.plugins.module_utils import layout, ledger, release

KEPT = ("manifest_sha256", "profile", "python", "model", "languages", "voices", "synthetic", "patches", "artifacts")


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec={
            "plan": {"type": "dict"},
            "state": {"type": "str", "choices": ["sealed", "current", "planned"], "required": True},
            "release": {"type": "str", "default": ""},
            "root": {"type": "path", "default": "/opt/voicefleet"},
            "proof": {"type": "dict"},
            "operator": {"type": "str", "default": ""},
            "receipts": {"type": "path", "default": layout.RECEIPTS},
        },
        required_if=[("state", "sealed", ["plan"]), ("state", "current", ["plan", "proof"])],
        supports_check_mode=True,
    )
    if module.params["state"] == "planned":
        plan_former(module)
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


def plan_former(module: AnsibleModule) -> None:
    """Return the plan of the release to go back to."""
    paths = layout.Paths(module.params["root"])
    try:
        contents = release.choose_former(paths, module.params["release"], ledger.read(module.params["receipts"]))
    except (release.ReleaseError, OSError) as error:
        module.fail_json(msg=f"Nothing was changed: {error}.")
    plan = release.plan_of(paths, contents)
    serves = "serves now" if plan["current"] == contents["id"] else f"to follow {plan['current'] or 'nothing'}"
    said = f"release {contents['id']}, {serves}"
    module.exit_json(changed=False, msg=said, release=contents["id"], ansible_facts={"voicefleet_plan": plan})


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
