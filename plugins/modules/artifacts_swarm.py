#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: artifacts_swarm
short_description: Let hosts pass artifacts on to each other
description:
  - Hosts that receive the same files pass them on to each other with libtorrent, whose wheel travels in the store. The
    controller sends little more than one copy.
  - It only brings bytes to the host. The module M(voicefleet.kokoro.artifacts) hashes them afterwards, and delivers in
    another way what did not arrive.
  - An action on the controller leads; this module runs on the host.
version_added: "0.1.0"
author: voicefleet (@voicefleet)
options:
  state:
    description:
      - V(planned) chooses the hosts and their peers, makes the torrent and starts the controller's peer. Run it once.
      - V(joined) starts the host's peer, V(waited) waits until it has everything, and V(left) ends it.
      - V(ended) ends the controller's peer. Run it once.
    type: str
    choices: [planned, joined, waited, left, ended]
    default: planned
  store:
    description: The store on the controller.
    type: path
    required: true
  manifest_sha256:
    description: The digest that the manifest must have.
    type: str
    required: true
  port:
    description: The TCP port on which hosts and controller reach each other.
    type: int
    default: 6891
  controller:
    description: The controller's address as the hosts see it. If unset, the address that it uses to reach them.
    type: str
  folder:
    description: The folder of the swarm on the controller, as V(planned) returned it.
    type: path
  engine:
    description: The engine's row of the manifest. Set by the action.
    type: dict
  torrent:
    description: The torrent in base64. Set by the action.
    type: str
  peers:
    description: Addresses and ports of the host's peers. Set by the action.
    type: list
    elements: list
  seconds:
    description: How long to wait at most. Set by the action.
    type: float
    default: 5
  step:
    description: What the module does on the host. Set by the action.
    type: str
    choices: [prepare, join, wait, leave]
    default: leave
extends_documentation_fragment:
  - voicefleet.kokoro.artifacts
  - voicefleet.kokoro.artifacts.transport
  - voicefleet.kokoro.attributes
attributes:
  check_mode:
    support: none
  diff_mode:
    support: none
"""

EXAMPLES = r"""
- name: Plan the swarm
  voicefleet.kokoro.artifacts_swarm:
    state: planned
    transport: swarm
    store: "{{ voicefleet_plan.store }}"
    manifest_sha256: "{{ voicefleet_plan.manifest_sha256 }}"
    artifacts: "{{ voicefleet_plan.artifacts }}"
  run_once: true
"""

RETURN = r"""
wanted:
  description: Whether there is a swarm.
  returned: if O(state=planned)
  type: bool
folder:
  description: The folder of the swarm on the controller. Empty if there is no swarm.
  returned: if O(state=planned)
  type: str
joined:
  description: Whether the host's peer runs. If not, the host gets its files in another way.
  returned: if O(state=joined)
  type: bool
complete:
  description: Whether everything arrived.
  returned: if O(state=waited)
  type: bool
copies:
  description: How many copies of the torrent's files the controller sent.
  returned: if O(state=ended)
  type: float
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.voicefleet.kokoro.plugins.module_utils.host import deploy_lock
from ansible_collections.voicefleet.kokoro.plugins.module_utils.host.arguments import artifact_options, transport_option
from ansible_collections.voicefleet.kokoro.plugins.module_utils.host.systemd_unit import SystemdError
from ansible_collections.voicefleet.kokoro.plugins.module_utils.release import swarm


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "state": {
                "type": "str",
                "choices": ["planned", "joined", "waited", "left", "ended"],
                "default": "planned",
            },
            "store": {"type": "path", "required": True},
            "manifest_sha256": {"type": "str", "required": True},
            **transport_option(),
            "port": {"type": "int", "default": 6891},
            "controller": {"type": "str"},
            "folder": {"type": "path"},
            "engine": {"type": "dict"},
            "torrent": {"type": "str"},
            "peers": {"type": "list", "elements": "list"},
            "seconds": {"type": "float", "default": 5.0},
            "step": {"type": "str", "choices": ["prepare", "join", "wait", "leave"], "default": "leave"},
            **artifact_options(),
        }
    )
    given = module.params
    host = swarm.Host(given["root"])
    deploy_lock.mark("artifacts")
    try:
        if given["step"] == "prepare":
            module.exit_json(changed=False, **host.prepare(given["artifacts"]))
        if given["step"] == "join":
            wanted = host.join(given["engine"], given["torrent"], given["artifacts"], given["peers"], given["port"])
            module.exit_json(changed=True, lacking=wanted)
        if given["step"] == "wait":
            module.exit_json(changed=False, **host.wait(given["seconds"]))
        left = host.leave()
    except (swarm.SwarmError, SystemdError) as error:
        module.fail_json(msg=str(error))
    except OSError as error:
        module.fail_json(msg=f"{error.filename or given['root']}: {error.strerror}")
    module.exit_json(changed=left["files"] + left["partial"] > 0, **left)


if __name__ == "__main__":
    main()
