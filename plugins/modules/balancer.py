#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) voicefleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Run HAProxy as one address before several speech nodes."""

from __future__ import annotations

DOCUMENTATION = r"""
module: balancer
short_description: Run HAProxy as one address before several speech nodes
version_added: "0.1.0"
author:
  - voicefleet (@voicefleet)
description:
  - Checks nodes and keys, all at once and before anything changes.
  - Makes the clients' key on this host once, where the operator gives none, and keeps all keys in files for root alone.
  - Writes configuration and unit, lets HAProxy try them, and puts back what it refuses. Then reloads, without a lost
    request, or restarts where the unit itself changed.
  - Says how each node is seen. Fails where no node is ready in time, with the reason for each.
attributes:
  check_mode:
    support: full
    description: Says what would be written and whether HAProxy would be reloaded.
  diff_mode:
    support: full
    description: Shows configuration and unit. Files with keys are never shown.
options:
  state:
    description: V(absent) stops the unit and removes it with the folder, the clients' key included.
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
        description: The node's name, for logs and states.
        type: str
        required: true
      address:
        description: Where it is reached from here.
        type: str
        required: true
      port:
        description: The port of its API, or of its gateway.
        type: int
        required: true
      key:
        description: The API key that the node accepts.
        type: str
        required: true
      ca:
        description: The authority of the node's certificate in PEM form. Without it, plain HTTP is spoken.
        type: str
      server_name:
        description: The name in the node's certificate.
        type: str
  client_keys:
    description: Keys that clients may use. Without any, one is made on the host and kept.
    type: list
    elements: str
    default: []
  folder:
    description: Folder of the configuration, for root alone.
    type: path
    default: /etc/voicefleet-balancer
  files:
    description: The texts of C(haproxy.cfg) and what else belongs into O(folder), by name.
    type: dict
    default: {}
  unit:
    description: The unit's name.
    type: str
    default: voicefleet-balancer.service
  unit_content:
    description: The unit's text. It must hold the line C(# Managed by voicefleet.kokoro).
    type: str
    default: ""
  haproxy:
    description: The program.
    type: path
    default: /usr/sbin/haproxy
  body_bytes:
    description: The largest request.
    type: int
    default: 16384
  long_bytes:
    description: Requests above this are long texts.
    type: int
    default: 1500
  admin_socket:
    description: HAProxy's socket, to ask how it sees the nodes.
    type: path
    default: /run/voicefleet-balancer/admin.sock
  ready_seconds:
    description: How long to wait until each node is ready. One suffices afterwards.
    type: int
    default: 30
"""

EXAMPLES = r"""
- name: Remove the balancer
  voicefleet.kokoro.balancer:
    state: absent
"""

RETURN = r"""
changes:
  description: What was changed and why, or in check mode what would be.
  returned: success
  type: list
  elements: str
action:
  description: What was done to the process, V(none), V(started), V(restarted) or V(reloaded).
  returned: success
  type: str
nodes:
  description: A sentence for each node.
  returned: where it was asked
  type: list
  elements: str
  sample: [speech-01 is ready, "speech-02 is DOWN: it answers, and its model is not READY"]
"""

import os
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.voicefleet.kokoro.plugins.module_utils.front import balancer
from ansible_collections.voicefleet.kokoro.plugins.module_utils.front.front import Front
from ansible_collections.voicefleet.kokoro.plugins.module_utils.host import layout, private_files, systemd_unit
from ansible_collections.voicefleet.kokoro.plugins.module_utils.host.managed import File, ManagedError
from ansible_collections.voicefleet.kokoro.plugins.module_utils.xinference import config as xinference_config

KEY = "client.key"
HEADER = "client.header"


def client_keys(given: list[str], folder: str) -> list[str]:
    """The operator's keys, else the one that the host has, else a new one."""
    stored = (private_files.read_text(os.path.join(folder, KEY)) or "").strip()
    return given or [stored or xinference_config.make_secret("client_key")]


def files_of(params: dict[str, Any], nodes: list[balancer.Node]) -> list[File]:
    """All files in the order in which they are written; the unit is the last."""
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
    """Entry point."""
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
                },
            },
            "client_keys": {"type": "list", "elements": "str", "default": [], "no_log": True},
            "folder": {"type": "path", "default": layout.BALANCER},
            "files": {"type": "dict", "default": {}},
            "unit": {"type": "str", "default": layout.BALANCER_UNIT},
            "unit_content": {"type": "str", "default": ""},
            "haproxy": {"type": "path", "default": "/usr/sbin/haproxy"},
            "body_bytes": {"type": "int", "default": 16384},
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
            module.fail_json(msg=f"The balancer was not removed as a whole: {error}")
    nodes = [balancer.Node.parse(node) for node in params["nodes"]]
    faults = balancer.faults(nodes, params["client_keys"])
    if not params["long_bytes"] < params["body_bytes"]:
        faults.append("balancer_long_bytes must be less than balancer_body_bytes.")
    if not os.access(params["haproxy"], os.X_OK):
        faults.append(
            f"{params['haproxy']} is not there. Install the distribution's package haproxy (2.6 or newer), or set"
            " balancer_install: true where this host reaches a mirror of its distribution."
        )
    if faults:
        module.fail_json(msg="The balancer was not touched. " + " ".join(faults))
    folder = params["folder"]
    parts = [part for name in ("keys.cfg", "haproxy.cfg") for part in ("-f", os.path.join(folder, name))]
    try:
        result = Front(
            unit, files_of(params, nodes), [params["haproxy"], "-c", *parts], record, module.check_mode
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
    if len(down) == len(states):
        module.fail_json(
            msg="The balancer runs, and no node is ready, so every request is answered with 503. "
            + "; ".join(result["nodes"]),
            changes=result["changes"],
            nodes=result["nodes"],
        )
    for state in down:
        module.warn(state.sentence())
    module.exit_json(**result)


if __name__ == "__main__":
    main()
