#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: host_state
short_description: Read the state of a host, in one call
description:
  - Reads the O(subsets) that are asked for and changes nothing. A subset that cannot be read is reported with the
    reason, and the others are still read.
  - M(voicefleet.kokoro.preflight) runs it and judges what it found. M(voicefleet.kokoro.service_state) reads what the
    doctor needs.
version_added: "0.1.0"
author: voicefleet (@voicefleet)
options:
  subsets:
    description:
      - V(platform) is the operating system, Pythons, disks, memory, ports, systemd, the sealed releases, and what a
        gateway asks.
      - V(gpu) is the GPUs and their driver, as the PCI bus, C(nvidia-smi) and NVIDIA's library C(libnvidia-ml.so.1)
        report them. A host needs none of these. If the driver hangs, that is reported after 40 seconds.
      - V(drift) compares the files of O(releases) with the lists that were made when the releases were sealed.
      - V(artifacts) looks for O(artifacts) in the host's cache.
      - V(receipts) is the ledger, the current release and the releases that a rollback can use.
    type: list
    elements: str
    choices: [platform, gpu, drift, artifacts, receipts]
    required: true
  receipts:
    description: The host's ledger, with one JSON object on each line.
    type: path
    default: /var/lib/voicefleet-evidence/receipts.jsonl
  releases:
    description: The ids of the releases that V(drift) compares.
    type: list
    elements: str
    default: []
  artifacts:
    description: The artifacts that V(artifacts) looks for, as the manifest lists them.
    type: list
    elements: dict
    default: []
  places:
    description: Folders, by the variables that name them. V(platform) says which of them belong to others.
    type: dict
    default: {}
  user:
    description: The service's user. V(platform) says whether the account belongs to others.
    type: str
    default: ""
  lock:
    description:
      - The deploy lock to take before anything is read. No lock is taken without this option, or in check mode.
    type: dict
    suboptions:
      owner:
        description: What distinguishes this deploy from others.
        type: dict
        required: true
      seconds:
        description: How long another owner may show no sign of life before its lock is taken over.
        type: int
        required: true
      dead:
        description: An owner that is known to have ended. Its lock is taken over at once.
        type: dict
extends_documentation_fragment: [voicefleet.kokoro.host, voicefleet.kokoro.attributes.unchanging]
"""

EXAMPLES = r"""
- name: Read the GPUs of a host
  voicefleet.kokoro.host_state:
    subsets: [gpu]
  register: host

- name: Read the platform and look for the artifacts of the plan
  voicefleet.kokoro.host_state:
    subsets: [platform, artifacts]
    artifacts: "{{ voicefleet_plan.artifacts }}"
  register: host
"""

RETURN = r"""
state:
  description: What was read, by subset.
  returned: unless another deploy holds the lock
  type: dict
  contains:
    platform:
      description: Platform, Pythons, file systems, memory, CPUs, addresses, listeners, systemd, releases and time.
      type: dict
      returned: when it was asked for
      sample: {architecture: x86_64, cpus: 16}
    gpu:
      description:
        - C(vendor) is V(nvidia), V(amd) or V(none). C(driver) is the driver's version, C(cuda) the newest CUDA that it
          runs, C(kernel) the version of the loaded module, and C(source) who reported it.
        - Each of C(cards) has the C(index) of nvidia-smi, C(name), C(uuid), C(memory) in bytes, compute
          C(capability), whether C(mig) is on and its C(instances), C(ecc) errors and C(compute_mode).
        - Each of C(processes) has C(pid), C(name), C(type), C(memory) in bytes and the index of its C(card).
        - C(pci), C(modules) and C(nodes) are what the kernel shows. C(container) names the host's container, if any.
        - C(hung) means that the driver did not answer. C(messages) are its errors.
      type: dict
      returned: when it was asked for
      sample: {vendor: nvidia, driver: 580.95.05, cuda: [13, 0], cards: [{index: 0, name: NVIDIA L40S}]}
    drift:
      description:
        - What changed since the seal, by release. Releases that are unfinished or unchanged are left out.
        - Each has C(missing), C(changed) and C(added), with their C(count) and C(first) paths.
      type: dict
      returned: when it was asked for
      sample: {1.2.3-3f9a1c2b7d5e: {missing: {count: 1, first: [env/bin/xinference-local]}}}
    artifacts:
      description:
        - C(missing) are digests of artifacts that the host lacks.
        - C(stale) are digests of artifacts that were never verified, or changed since then.
        - C(surplus) are other files, by digest, name and size.
        - C(arrived) is the number of bytes of an interrupted delivery. The next delivery uses or removes them.
      type: dict
      returned: when it was asked for
      sample: {missing: [], stale: [], surplus: [], arrived: 0}
    receipts:
      description:
        - C(current), an id or null, C(whole), the releases that are complete, and C(receipts), oldest first, without
          their C(artifacts).
      type: dict
      returned: when it was asked for
      sample: {current: 1.2.3-3f9a1c2b7d5e, whole: [1.2.3-3f9a1c2b7d5e], receipts: []}
errors:
  description: The subsets that could not be read, with the reason.
  returned: unless another deploy holds the lock
  type: dict
lock:
  description:
    - Whether the lock was C(taken), its other C(holder), if any, and the C(age) of that holder's lock in seconds.
    - If the lock was not taken, nothing else is read.
  returned: always
  type: dict
  sample: {taken: true, holder: null, age: 0.0}
"""

import os
from collections.abc import Callable
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.voicefleet.kokoro.plugins.module_utils.host import deploy_lock, gpu_facts, layout, reading
from ansible_collections.voicefleet.kokoro.plugins.module_utils.release import artifacts, ledger, release
from ansible_collections.voicefleet.kokoro.plugins.module_utils.state import host_facts

Json = dict[str, Any]


def drift(paths: layout.Paths, releases: list[str]) -> Json:
    """What changed since the seal, by release."""
    found = {name: release.drift(paths.release(name)) for name in releases}
    return {name: item.as_dict() for name, item in found.items() if item}


def receipts(paths: layout.Paths, file: str) -> Json:
    """The ledger and the releases that its receipts may name.

    The controller gets no lists of artifacts: each is some 200 lines long, and a fleet has many receipts.
    """
    found = [{key: value for key, value in each.items() if key != "artifacts"} for each in ledger.read(file)]
    return {"current": release.current(paths), "whole": sorted(release.whole(paths)), "receipts": found}


def readers(params: Json) -> dict[str, Callable[[], Any]]:
    """How each subset is read."""
    paths = layout.Paths(params["root"])
    return {
        "platform": lambda: host_facts.gather(params["root"], params["home"], params["places"], params["user"]),
        "gpu": gpu_facts.gather,
        "drift": lambda: drift(paths, params["releases"]),
        "artifacts": lambda: artifacts.survey(params["root"], params["artifacts"]),
        "receipts": lambda: receipts(paths, params["receipts"]),
    }


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "subsets": {
                "type": "list",
                "elements": "str",
                "choices": ["platform", "gpu", "drift", "artifacts", "receipts"],
                "required": True,
            },
            "receipts": {"type": "path", "default": layout.RECEIPTS},
            "root": {"type": "path", "default": layout.ROOT},
            "home": {"type": "path", "default": layout.HOME},
            "releases": {"type": "list", "elements": "str", "default": []},
            "places": {"type": "dict", "default": {}},
            "user": {"type": "str", "default": ""},
            "lock": {
                "type": "dict",
                "options": {
                    "owner": {"type": "dict", "required": True},
                    "seconds": {"type": "int", "required": True},
                    "dead": {"type": "dict"},
                },
            },
            "artifacts": {"type": "list", "elements": "dict", "default": []},
        },
        supports_check_mode=True,
    )
    lock: Json = {}
    # If the user is not root, preflight says so together with all other findings.
    if module.params["lock"] and not module.check_mode and os.geteuid() == 0:
        try:
            lock = deploy_lock.take(**module.params["lock"])
        except OSError as error:
            module.fail_json(msg=f"The lock {deploy_lock.LOCK_FILE} cannot be taken: {error.strerror}.")
        if not lock["taken"]:
            module.exit_json(changed=False, lock=lock)
    module.exit_json(lock=lock, **reading.subsets(module.params["subsets"], readers(module.params)))


if __name__ == "__main__":
    main()
