#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) voicefleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Read what a host has of graphics cards and their driver."""

from __future__ import annotations

DOCUMENTATION = r"""
module: gpu_facts
short_description: Read what a host has of graphics cards and their driver
description:
  - Asks the PCI bus, C(nvidia-smi) and, for what that does not tell, NVIDIA's library C(libnvidia-ml.so.1). None of
    them need be there, and a driver that hangs is a fact after O(seconds).
  - Facts alone. M(voicefleet.kokoro.preflight) reads them with all else of a host and judges them.
version_added: "0.1.0"
author:
  - voicefleet (@voicefleet)
options:
  seconds:
    description: How long the driver may take for its answers.
    type: float
    default: 40
attributes:
  check_mode:
    support: full
    description: Nothing is ever changed.
  diff_mode:
    support: none
    description: Nothing is ever changed.
"""

EXAMPLES = r"""
- name: Look for cards
  voicefleet.kokoro.gpu_facts:
  register: cards
"""

RETURN = r"""
gpu:
  description:
    - C(vendor) is V(nvidia), V(amd) or V(none). C(driver) and C(cuda) are the driver's version and the newest CUDA that
      it runs, C(kernel) the version of the module that is loaded, C(source) who told.
    - Each of C(cards) has the C(index) of nvidia-smi, C(name), C(uuid), C(memory) in bytes, compute C(capability),
      whether C(mig) is on and its C(instances), C(ecc) errors and C(compute_mode).
    - Each of C(processes) has C(pid), C(name), C(type), C(memory) in bytes and the index of its C(card).
    - C(pci), C(modules) and C(nodes) are what the kernel shows, C(container) the container that the host is, if any.
    - C(hung) says that the driver gave no answer, C(messages) what it complained of.
  returned: always
  type: dict
  sample: {vendor: nvidia, driver: 580.95.05, cuda: [13, 0], cards: [{index: 0, name: NVIDIA L40S, capability: [8, 9]}]}
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.voicefleet.kokoro.plugins.module_utils.host import gpu_facts


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec={"seconds": {"type": "float", "default": gpu_facts.SECONDS}}, supports_check_mode=True
    )
    module.exit_json(changed=False, gpu=gpu_facts.gather(seconds=module.params["seconds"]))


if __name__ == "__main__":
    main()
