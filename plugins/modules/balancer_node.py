#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: balancer_node
short_description: Take a node out of a balancer, or return it
version_added: "0.1.0"
author: voicefleet (@voicefleet)
description:
  - Runs on a balancer of the role P(voicefleet.kokoro.balancer#role). It speaks with HAProxy's admin socket.
  - Changes nothing if no balancer runs on this host, or if the balancer does not know the node.
  - A node that an operator took out stays out.
options:
  node:
    description: The name of the node in the balancer.
    type: str
    required: true
  state:
    description:
      - V(drained) sends the node no new request, and waits until it has answered its last one.
      - V(ready) returns the node if V(drained) took it out, and waits until the balancer finds its models READY.
    type: str
    choices: [drained, ready]
    required: true
  seconds:
    description:
      - How long to wait. If requests are left after that, V(drained) warns and succeeds.
      - If the node is not READY after that, V(ready) fails. With 0 it does not wait and does not fail.
    type: int
    default: 600
  admin_socket:
    description: HAProxy's admin socket.
    type: path
    default: /run/voicefleet-balancer/admin.sock
extends_documentation_fragment: [voicefleet.kokoro.attributes]
"""

EXAMPLES = r"""
- name: Take a node out of the balancer for maintenance
  voicefleet.kokoro.balancer_node:
    node: speech-01
    state: drained
  delegate_to: front-01

- name: Return the node
  voicefleet.kokoro.balancer_node:
    node: speech-01
    state: ready
    seconds: 60
  delegate_to: front-01
"""

RETURN = r"""
msg:
  description: What happened, in one sentence.
  returned: success
  type: str
  sample: speech-01 gets no new requests, and it has answered its last one
left:
  description: How many requests the node still has.
  returned: when the node was drained
  type: int
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.voicefleet.kokoro.plugins.module_utils.front import balancer
from ansible_collections.voicefleet.kokoro.plugins.module_utils.host import layout


def drain(module: AnsibleModule, node: balancer.Drain) -> None:
    found = node.places()
    if not found:
        module.exit_json(changed=False, msg=f"This balancer does not know {node.node}.")
    if all(place.out for place in found) and not node.mine():
        module.exit_json(changed=False, msg=f"An operator took {node.node} out. It stays out.")
    changed = not all(place.out for place in found)
    if module.check_mode:
        module.exit_json(changed=changed, msg=f"{node.node} would get no new requests.")
    node.begin(found)
    left = node.wait_idle(module.params["seconds"])
    if left:
        requests = "1 request" if left == 1 else f"{left} requests"
        said = (
            f"{node.node} still has {requests} after {module.params['seconds']} s. The restart of its service ends"
            " what is left."
        )
        module.warn(said)
    else:
        said = f"{node.node} gets no new requests, and it has answered its last one."
    module.exit_json(changed=changed, msg=said, left=left)


def restore(module: AnsibleModule, node: balancer.Drain) -> None:
    if not node.mine():
        module.exit_json(changed=False, msg=f"{node.node} was not taken out.")
    if module.check_mode:
        module.exit_json(changed=True, msg=f"{node.node} would get requests again.")
    node.end(node.places())
    seconds = module.params["seconds"]
    down = node.wait_ready(seconds) if seconds else []
    if down:
        why = "; ".join(state.sentence() for state in down)
        module.fail_json(msg=f"The balancer sends {node.node} no requests, {seconds} s after its return: {why}.")
    module.exit_json(changed=True, msg=f"{node.node} gets requests again.")


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "node": {"type": "str", "required": True},
            "state": {"type": "str", "choices": ["drained", "ready"], "required": True},
            "seconds": {"type": "int", "default": 600},
            "admin_socket": {"type": "path", "default": layout.BALANCER_SOCKET},
        },
        supports_check_mode=True,
    )
    if not balancer.is_name(module.params["node"]):
        module.fail_json(msg=f"{module.params['node']!r} is not the name of a node: use letters, digits and ._- only.")
    node = balancer.Drain(module.params["admin_socket"], module.params["node"])
    try:
        (drain if module.params["state"] == "drained" else restore)(module, node)
    except (FileNotFoundError, ConnectionRefusedError):
        module.exit_json(changed=False, msg="No balancer runs on this host.")
    except OSError as error:
        module.fail_json(msg=f"The balancer did not take the command: {error}")


if __name__ == "__main__":
    main()
