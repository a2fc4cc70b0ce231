#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: balancer
short_description: Run HAProxy as one address in front of several nodes
version_added: "0.1.0"
author: voicefleet (@voicefleet)
description:
  - Checks all nodes and keys before anything changes, and reports all faults at once.
  - Makes a key for clients on this host once, unless the operator gives keys. Only root can read the files with keys.
  - Writes configuration and unit, and lets HAProxy test them. If HAProxy refuses them, the former files are restored.
  - Reloads HAProxy, which loses no request. If the unit changed, restarts HAProxy.
  - Reports the state of each node. Fails if no node is ready in time, with the reason for each.
options:
  state:
    description: V(absent) stops the unit, and removes it and O(folder), including the clients' key.
    type: str
    choices: [present, absent]
    default: present
  nodes:
    description: The nodes.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: The name of the node in logs and states.
        type: str
        required: true
      address:
        description: The address of the node, as this host reaches it.
        type: str
        required: true
      port:
        description: The port of the node's API or gateway.
        type: int
        required: true
      key:
        description: The API key that the node accepts.
        type: str
        required: true
      ca:
        description: The authority of the node's certificate in PEM form. Without it, HAProxy uses plain HTTP.
        type: str
      server_name:
        description: The name in the node's certificate.
        type: str
      hears:
        description: Whether the node serves Whisper. Requests for transcriptions go only to such nodes.
        type: bool
        default: false
      languages:
        description: The languages that the node speaks. A warning names those that another node lacks.
        type: list
        elements: str
        choices: [a, b, e, f, h, i, j, p, z]
        default: []
      mandarin:
        description: Whether the node serves the newer Mandarin model, too. Requests for it go only to such nodes.
        type: bool
        default: false
  client_keys:
    description: Keys that clients may use. If empty, the host makes one and keeps it.
    type: list
    elements: str
    default: []
  folder:
    description: Root-only folder of the configuration.
    type: path
    default: /etc/voicefleet-balancer
  files:
    description: The texts of C(haproxy.cfg) and the other files in O(folder), by name.
    type: dict
    default: {}
  unit:
    description: The name of the unit.
    type: str
    default: voicefleet-balancer.service
  unit_content:
    description: The text of the unit. It must contain the line C(# Managed by voicefleet.kokoro).
    type: str
    default: ""
  haproxy:
    description: The program HAProxy.
    type: path
    default: /usr/sbin/haproxy
  body_bytes:
    description: The largest request, in bytes.
    type: int
    default: 65536
  long_bytes:
    description: Requests with more bytes than this are long texts.
    type: int
    default: 1500
  admin_socket:
    description: HAProxy's admin socket, from which the module reads the state of each node.
    type: path
    default: /run/voicefleet-balancer/admin.sock
  ready_seconds:
    description: How long to wait until all nodes are ready. After that, one ready node is enough.
    type: int
    default: 30
extends_documentation_fragment: [voicefleet.kokoro.attributes]
"""

EXAMPLES = r"""
- name: Remove the balancer
  voicefleet.kokoro.balancer:
    state: absent
"""

RETURN = r"""
changes:
  description: What changed and why. In check mode, what would change.
  returned: success
  type: list
  elements: str
action:
  description: What was done to HAProxy. V(none), V(started), V(restarted) or V(reloaded).
  returned: success
  type: str
nodes:
  description: A sentence for each node.
  returned: when HAProxy was asked
  type: list
  elements: str
  sample: [speech-01 is ready, "speech-02 is DOWN: it answers, but its model is not READY"]
"""

import os
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.voicefleet.kokoro.plugins.module_utils.front import balancer
from ansible_collections.voicefleet.kokoro.plugins.module_utils.front.front import (
    Front,
    selinux_warnings,
    version_fault,
)
from ansible_collections.voicefleet.kokoro.plugins.module_utils.host import layout, private_files, systemd_unit
from ansible_collections.voicefleet.kokoro.plugins.module_utils.host.managed import File, ManagedError
from ansible_collections.voicefleet.kokoro.plugins.module_utils.xinference import config as xinference_config

# http_auth_bearer came with HAProxy 2.5. 2.6 is the oldest version that is tested.
OLDEST = (2, 6)
KEY = "client.key"
HEADER = "client.header"


def client_keys(given: list[str], folder: str) -> list[str]:
    """The operator's keys, or the host's key, or a new key."""
    stored = (private_files.read_text(os.path.join(folder, KEY)) or "").strip()
    return given or [stored or xinference_config.make_secret("client_key")]


def files_of(params: dict[str, Any], nodes: list[balancer.Node]) -> list[File]:
    """All files, in the order in which they are written. The unit is last."""
    folder = params["folder"]
    keys = client_keys(params["client_keys"], folder)
    texts = {
        "keys.cfg": balancer.keys_file(nodes),
        "clients.lst": "".join(key + "\n" for key in keys),
        KEY: keys[0] + "\n",
        HEADER: f"Authorization: Bearer {keys[0]}\n",
    }
    files = [File(os.path.join(folder, name), text, 0o600, secret=True) for name, text in texts.items()]
    for number, node in enumerate(nodes, 1):
        if node.ca:
            files.append(File(os.path.join(folder, f"node-{number}.ca.pem"), node.ca.rstrip() + "\n", 0o600))
    files += [File(os.path.join(folder, name), text, 0o600) for name, text in sorted(params["files"].items())]
    return [*files, File(os.path.join(layout.UNIT_FOLDER, params["unit"]), params["unit_content"])]


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "nodes": {
                "type": "list",
                "elements": "dict",
                "default": [],
                "options": {
                    "name": {"type": "str", "required": True},
                    "address": {"type": "str", "required": True},
                    "port": {"type": "int", "required": True},
                    "key": {"type": "str", "required": True, "no_log": True},
                    "ca": {"type": "str"},
                    "server_name": {"type": "str"},
                    "hears": {"type": "bool", "default": False},
                    "languages": {"type": "list", "elements": "str", "choices": list("abefhijpz"), "default": []},
                    "mandarin": {"type": "bool", "default": False},
                },
            },
            "client_keys": {"type": "list", "elements": "str", "default": [], "no_log": True},
            "folder": {"type": "path", "default": layout.BALANCER},
            "files": {"type": "dict", "default": {}},
            "unit": {"type": "str", "default": layout.BALANCER_UNIT},
            "unit_content": {"type": "str", "default": ""},
            "haproxy": {"type": "path", "default": "/usr/sbin/haproxy"},
            "body_bytes": {"type": "int", "default": 65536},
            "long_bytes": {"type": "int", "default": 1500},
            "admin_socket": {"type": "path", "default": layout.BALANCER_SOCKET},
            "ready_seconds": {"type": "int", "default": 30},
        },
        supports_check_mode=True,
    )
    params = module.params
    unit = systemd_unit.Unit(params["unit"])
    record = os.path.join(params["folder"], layout.LOADED_FILE)
    if params["state"] == "absent":
        unit_file = File(unit.path, "")
        try:
            module.exit_json(**Front(unit, [unit_file], [], record, module.check_mode).remove([params["folder"]]))
        except (systemd_unit.SystemdError, OSError) as error:
            module.fail_json(msg=f"The balancer was not completely removed: {error}")
    nodes = [balancer.Node.parse(node) for node in params["nodes"]]
    faults = balancer.faults(nodes, params["client_keys"])
    if not params["long_bytes"] < params["body_bytes"]:
        faults.append("balancer_long_bytes must be less than balancer_body_bytes.")
    if not os.access(params["haproxy"], os.X_OK):
        faults.append(
            f"{params['haproxy']} is not there. Install the distribution's package haproxy (2.6 or newer), or set"
            " balancer_install: true where this host reaches a mirror of its distribution."
        )
    elif old := version_fault(params["haproxy"], "-v", OLDEST):
        faults.append(f"{old} Install a newer package of HAProxy, or name it in balancer_haproxy.")
    if faults:
        module.fail_json(msg="The balancer was not changed. " + " ".join(faults))
    for warning in [*balancer.lacking(nodes), *selinux_warnings("haproxy_connect_any")]:
        module.warn(warning)
    folder = params["folder"]
    parts = [part for name in ("keys.cfg", "haproxy.cfg") for part in ("-f", os.path.join(folder, name))]
    try:
        result = Front(
            unit,
            files_of(params, nodes),
            [params["haproxy"], "-c", *parts],
            record,
            module.check_mode,
            [*params["client_keys"], *(node.key for node in nodes)],
        ).apply()
        if module.check_mode:
            module.exit_json(**result)
        states = balancer.wait_ready(params["admin_socket"], params["ready_seconds"])
    except ManagedError as error:
        module.fail_json(msg=str(error))
    except (systemd_unit.SystemdError, OSError) as error:
        module.fail_json(msg=f"The balancer does not run: {error}")
    result["nodes"] = [state.sentence() for state in states]
    down = [state for state in states if not state.up]
    if not any(state.up and not state.task for state in states):
        module.fail_json(
            msg="The balancer runs, but no node is ready, so every text gets a 503. " + "; ".join(result["nodes"]),
            changes=result["changes"],
            nodes=result["nodes"],
        )
    for state in down:
        module.warn(state.sentence())
    module.exit_json(**result)


if __name__ == "__main__":
    main()
