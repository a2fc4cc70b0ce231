#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: release
short_description: Seal a release, make it current, record its failure, or plan a rollback
description:
  - O(state=sealed) gives everything in a release to root, unwritable for others. It lists the files in C(files.txt) and
    writes C(release.json) as the last file. It refuses a release that lacks anything.
  - O(state=current) points C(current) to the release by one rename and adds a receipt to the host's ledger. It requires
    a proof of speech. If a run was interrupted between the two, the next run adds the receipt.
  - O(state=failed) adds a line to the ledger that says what failed and in which phase. It changes nothing else. It
    never fails itself, so that the original failure is reported.
  - O(state=planned) makes the plan of a finished release of the host, for a rollback without a store. It refuses a
    release that is missing, unfinished or damaged, and names the complete ones. It changes nothing.
version_added: "0.1.0"
author: voicefleet (@voicefleet)
options:
  plan:
    description:
      - The plan that M(voicefleet.kokoro.preflight) made for the host. Required for O(state=sealed),
        O(state=current) and O(state=failed).
    type: dict
  state:
    description: The wanted state of the release.
    type: str
    choices: [sealed, current, failed, planned]
    required: true
  release:
    description:
      - The id of the release to plan. Empty means the previous release, according to the ledger.
      - Only for O(state=planned).
    type: str
    default: ""
  root:
    description: The folder that holds the releases. Only for O(state=planned); a plan names its own.
    type: path
    default: /opt/voicefleet
  lock:
    description: Who holds the host's lock, for the plan. Only for O(state=planned).
    type: dict
    default: {}
  verified:
    description:
      - The digest of the manifest that was verified in this run. O(state=sealed) and O(state=current) refuse a plan
        that was made from another one. Empty means that the plan comes from no store, as for a rollback.
    type: str
    default: ""
  proof:
    description: The proof of speech on which the switch rests. Required for O(state=current).
    type: dict
  failure:
    description: What failed. Required for O(state=failed).
    type: dict
    suboptions:
      task:
        description: The task's name.
        type: str
        required: true
      reason:
        description: The task's message.
        type: str
        required: true
  operator:
    description: Who deploys, for the receipt. Empty means the user who holds the host's lock.
    type: str
    default: ""
  receipts:
    description: The host's ledger, with one JSON object per line.
    type: path
    default: /var/lib/voicefleet-evidence/receipts.jsonl
extends_documentation_fragment: [voicefleet.kokoro.attributes]
"""

EXAMPLES = r"""
- name: Seal the release
  voicefleet.kokoro.release:
    plan: "{{ voicefleet_plan }}"
    state: sealed

- name: Plan a rollback to the previous release
  voicefleet.kokoro.release:
    state: planned
"""

RETURN = r"""
release:
  description: The release's id.
  returned: always
  type: str
  sample: 1.2.3-3f9a1c2b7d5e
previous:
  description: The release that was current before.
  returned: when state is current
  type: str
  sample: 1.2.3-77aa0c1e9f10
failure:
  description: What failed, in one paragraph.
  returned: when state is failed
  type: str
  sample: "Wait until the model is ready: Model kokoro is not ready: ..."
phase:
  description: The phase in which it failed, according to the host's lock.
  returned: when state is failed
  type: str
  sample: python_env
plan:
  description: The plan, as M(voicefleet.kokoro.preflight) returns it.
  returned: when state is planned
  type: dict
  sample: {release: {id: 1.2.3-77aa0c1e9f10}}
"""

import time
from dataclasses import replace
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.voicefleet.kokoro.plugins.module_utils.host import deploy_lock, disk, layout, sources
from ansible_collections.voicefleet.kokoro.plugins.module_utils.release import ledger, release

# Maximum length of a message in the ledger: the last lines of a journal, but not a whole log.
MESSAGE = 4000


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "plan": {"type": "dict"},
            "state": {"type": "str", "choices": ["sealed", "current", "failed", "planned"], "required": True},
            "release": {"type": "str", "default": ""},
            "root": {"type": "path", "default": layout.ROOT},
            "lock": {"type": "dict", "default": {}},
            "verified": {"type": "str", "default": ""},
            "proof": {"type": "dict"},
            "failure": {
                "type": "dict",
                "options": {"task": {"type": "str", "required": True}, "reason": {"type": "str", "required": True}},
            },
            "operator": {"type": "str", "default": ""},
            "receipts": {"type": "path", "default": layout.RECEIPTS},
        },
        required_if=[
            ("state", "sealed", ["plan"]),
            ("state", "current", ["plan", "proof"]),
            ("state", "failed", ["plan", "failure"]),
        ],
        supports_check_mode=True,
    )
    if module.params["state"] == "planned":
        plan_former(module)
    plan = module.params["plan"]
    identity, path = plan["release"]["id"], plan["release"]["path"]
    paths = layout.Paths(plan["paths"]["root"])
    verified = module.params["verified"]
    if module.params["state"] != "failed" and verified and verified != plan["manifest_sha256"]:
        module.fail_json(
            msg=f"The release {identity} was not made {module.params['state']}. It was planned from a manifest with"
            f" sha256 {plan['manifest_sha256'][:12]}, but this run verified {verified[:12]}. Run the playbook again."
        )
    try:
        if module.params["state"] == "sealed":
            seal(module, plan, identity, path)
        elif module.params["state"] == "failed":
            note_failure(module, plan, identity, paths)
        else:
            make_current(module, plan, identity, paths)
    except release.ReleaseError as error:
        module.fail_json(msg=str(error))
    except OSError as error:
        full = disk.advice(str(error), paths.root, 1e6)
        module.fail_json(msg=f"{error.strerror}: {error.filename}. {full} The current release was not touched.")


def seal(module: AnsibleModule, plan: dict[str, Any], identity: str, path: str) -> None:
    """Write ``release.json``, unless it exists."""
    drift = release.drift(path)
    # The first step of the repair reopened a drifted release. In check mode that did not happen.
    if drift is not None and not (module.check_mode and drift):
        module.exit_json(changed=False, release=identity)
    if module.check_mode:
        module.exit_json(changed=True, release=identity)
    models = [row["name"] for row in plan["artifacts"] if row["kind"] == "spacy-model"]
    gaps = release.gaps(path, plan["model"]["path"], plan["voices"], models, plan["python"]["version"])
    if gaps:
        module.fail_json(msg=f"The release {identity} is incomplete and was not sealed. It lacks: {', '.join(gaps)}")
    deploy_lock.mark("seal")
    contents = {"id": identity, "made": int(time.time()), **{key: plan[key] for key in release.KEPT}}
    release.seal(path, contents)
    module.exit_json(changed=True, release=identity)


def plan_former(module: AnsibleModule) -> None:
    """Return the plan of the release to roll back to."""
    paths = layout.Paths(module.params["root"])
    try:
        contents = release.choose_former(paths, module.params["release"], ledger.read(module.params["receipts"]))
    except (release.ReleaseError, OSError) as error:
        module.fail_json(msg=f"Nothing was changed: {error}.")
    plan = replace(release.plan_of(paths, contents), lock=module.params["lock"])
    serves = "serves now" if plan.current == contents["id"] else f"to replace {plan.current or 'nothing'}"
    said = f"release {contents['id']}, {serves}"
    module.exit_json(changed=False, msg=said, release=contents["id"], plan=plan.as_dict())


def make_current(module: AnsibleModule, plan: dict[str, Any], identity: str, paths: layout.Paths) -> None:
    """Switch, and write the receipt."""
    before = release.current(paths)
    diff = {"before": f"current -> {before or 'nothing'}\n", "after": f"current -> {identity}\n"}
    if before == identity:
        receipts = ledger.switches(ledger.read(module.params["receipts"]))
        if receipts and receipts[-1].get("release") == identity:
            module.exit_json(changed=False, release=identity, previous=before)
        # Interrupted between the switch and its receipt, or the ledger was lost.
        before = ledger.previous(receipts, identity)
        diff = {"before": "", "after": f"a receipt of {identity}\n"}
    if module.check_mode:
        module.exit_json(changed=True, release=identity, previous=before, diff=diff)
    release.switch(paths, identity)
    receipt = {
        **common(module, plan),
        "release": identity,
        "previous": before,
        "proof_level": module.params["proof"].get("level"),
        "unpublished": plan["unpublished"],
        "note": sources.in_words(plan["unpublished"]),
        "seconds": deploy_lock.progress()["seconds"],
        "artifacts": {row["path"]: row["sha256"] for row in plan["artifacts"]},
    }
    ledger.append(module.params["receipts"], receipt)
    module.exit_json(changed=True, release=identity, previous=before, diff=diff)


def common(module: AnsibleModule, plan: dict[str, Any]) -> dict[str, Any]:
    """Return what every line of the ledger has: who, when, from what."""
    lock = plan["lock"]
    return {
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "operator": module.params["operator"] or lock.get("user", ""),
        "controller": lock.get("controller", ""),
        "manifest_sha256": plan["manifest_sha256"],
        "profile": plan["profile"],
    }


def note_failure(module: AnsibleModule, plan: dict[str, Any], identity: str, paths: layout.Paths) -> None:
    """Write the failure into the ledger."""
    failure, progress = module.params["failure"], deploy_lock.progress()
    said = f"{failure['task']}: {failure['reason'].strip()}"
    result = {"release": identity, "failure": said, "phase": progress["phase"]}
    if module.check_mode:
        module.exit_json(changed=False, **result)
    line = {
        **common(module, plan),
        "event": ledger.FAILED,
        "attempted": identity,
        "current": release.current(paths),
        "phase": progress["phase"],
        "task": failure["task"],
        "message": failure["reason"].strip()[:MESSAGE],
        "seconds": progress["seconds"],
    }
    try:
        ledger.append(module.params["receipts"], line)
    except OSError as error:
        lost = f"The failure could not be written into the ledger {module.params['receipts']}: {error.strerror}."
        module.warn(lost)
        module.exit_json(changed=False, msg=lost, **result)
    module.exit_json(changed=True, **result)


if __name__ == "__main__":
    main()
