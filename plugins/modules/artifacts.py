#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) voicefleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Deliver artifacts of the store to a host."""

from __future__ import annotations

DOCUMENTATION = r"""
module: artifacts
short_description: Deliver artifacts of the store to a host
description:
  - Brings what a host lacks over the connection that Ansible has, goes on where a cut delivery stopped,
    and hashes each file on the host before it takes its place under C(artifacts/<sha256>/).
  - An action on the controller sends the bytes; this module is its other end on the host.
  - Nothing is written to Ansible's remote temporary folder.
version_added: "0.1.0"
author:
  - voicefleet (@voicefleet)
options:
  store:
    description: The store on the controller.
    type: path
  root:
    description: The folder on the host that holds C(artifacts/).
    type: path
    default: /opt/voicefleet
  chunk_mb:
    description: How much travels in one message. A larger one is faster and takes more memory on the controller.
    type: int
    default: 32
  step:
    description: Which end of the delivery the module plays. Set by the action.
    type: str
    choices: [prepare, commit]
    default: prepare
extends_documentation_fragment:
  - voicefleet.kokoro.artifacts
attributes:
  check_mode:
    support: full
    description: Says what would be sent.
  diff_mode:
    support: full
    description: Lists what is sent.
"""

EXAMPLES = r"""
- name: Bring what the host lacks
  voicefleet.kokoro.artifacts:
    store: "{{ voicefleet_plan.store }}"
    artifacts: "{{ voicefleet_plan.artifacts }}"
"""

RETURN = r"""
sent:
  description: Paths in the store of what was sent.
  returned: always
  type: list
  elements: str
  sample: [wheels/torch-2.13.0+cpu-cp311-cp311-manylinux_2_28_x86_64.whl]
bytes:
  description: How many bytes were sent.
  returned: always
  type: int
  sample: 191794682
seconds:
  description: How long the sending took.
  returned: when something was sent
  type: float
  sample: 4.2
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.voicefleet.kokoro.plugins.module_utils import artifacts as received
from ansible_collections.voicefleet.kokoro.plugins.module_utils import deploy_lock, disk
from ansible_collections.voicefleet.kokoro.plugins.module_utils.arguments import artifact_list
from ansible_collections.voicefleet.kokoro.plugins.module_utils.layout import Paths


def main() -> None:
    """Entry point on the host."""
    module = AnsibleModule(
        argument_spec={
            "store": {"type": "path"},
            "root": {"type": "path", "default": "/opt/voicefleet"},
            "artifacts": artifact_list(),
            "chunk_mb": {"type": "int", "default": 32},
            "step": {"type": "str", "choices": ["prepare", "commit"], "default": "prepare"},
        },
        supports_check_mode=True,
    )
    root, wanted = module.params["root"], module.params["artifacts"]
    if not module.check_mode:
        deploy_lock.mark("artifacts")
    absent = set(received.missing(root, wanted))
    lacking = [artifact for artifact in wanted if artifact["sha256"] in absent]
    if module.check_mode:
        there = set(received.reprove(root, lacking, check=True))
        lacking = [artifact for artifact in lacking if artifact["sha256"] not in there]
        module.exit_json(changed=bool(lacking), missing=[artifact["sha256"] for artifact in lacking], offsets={})
    try:
        if module.params["step"] == "prepare":
            there = set(received.reprove(root, lacking))
            lacking = [artifact for artifact in lacking if artifact["sha256"] not in there]
            offsets = received.prepare(root, lacking) if lacking else {}
            module.exit_json(
                changed=False,
                missing=[artifact["sha256"] for artifact in lacking],
                offsets=offsets,
                incoming=Paths(root).incoming,
                free=disk.free(Paths(root).incoming),
            )
        kept, wrong = received.commit(root, lacking)
    except OSError as error:
        full = disk.advice(str(error), root, sum(artifact["size"] for artifact in lacking))
        module.fail_json(
            msg=f"{error.filename or root}: {error.strerror}. {full} What had arrived is kept for the next run."
        )
    module.exit_json(changed=bool(kept), kept=kept, wrong=wrong)


if __name__ == "__main__":
    main()
