#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: artifacts
short_description: Deliver artifacts of the store to a host
description:
  - Delivers what a host lacks over Ansible's own connection, by rsync over its SSH, or by HTTP. It resumes where an
    interrupted delivery stopped. The host hashes each file before it moves the file to C(artifacts/<sha256>/).
  - An action on the controller sends the bytes; this module is the receiving end on the host.
  - Writes nothing to Ansible's remote temporary folder.
version_added: "0.1.0"
author: voicefleet (@voicefleet)
options:
  store:
    description: The store on the controller.
    type: path
    required: true
  manifest_sha256:
    description: The digest that the manifest must have, also at O(http.url). If unset, any digest is accepted.
    type: str
  chunk_mb:
    description: Size of one message. A larger size is faster and needs more memory on the controller.
    type: int
    default: 32
  http:
    description: Where a host fetches from. No proxy is used.
    type: dict
    default: {}
    suboptions:
      url:
        description: The address of the folder that holds C(manifest.json), without user and password.
        type: str
      user:
        description: The user for basic authentication.
        type: str
      password:
        description: The password for basic authentication.
        type: str
      ca:
        description: A PEM file on the controller with the CA certificates for an C(https) server.
        type: path
      certificates:
        description: The content of that file. Set by the action.
        type: str
      serve:
        description: Serve the store from the controller while the task runs, by one server for all hosts.
        type: bool
        default: false
      bind:
        description: The address that this server listens on.
        type: str
        default: 0.0.0.0
      port:
        description: The port that it listens on. V(0) means any free port.
        type: int
        default: 0
      address:
        description:
          - The controller's name or address as the hosts reach it. If unset, the address that the controller uses to
            reach the host.
        type: str
  seconds:
    description: How long one step of a fetch takes. Set by the action.
    type: float
    default: 5
  step:
    description: Which end of the delivery the module plays. Set by the action.
    type: str
    choices: [prepare, manifest, fetch, commit]
    default: prepare
extends_documentation_fragment:
  - voicefleet.kokoro.artifacts
  - voicefleet.kokoro.artifacts.transport
  - voicefleet.kokoro.attributes
"""

EXAMPLES = r"""
- name: Deliver what the host lacks
  voicefleet.kokoro.artifacts:
    store: "{{ voicefleet_plan.store }}"
    artifacts: "{{ voicefleet_plan.artifacts }}"
"""

RETURN = r"""
transport:
  description: The way that was used.
  returned: always
  type: str
  sample: rsync
sent:
  description: Paths in the store of the sent files.
  returned: always
  type: list
  elements: str
  sample: [wheels/torch-1.2.3+cpu-cp311-cp311-manylinux_2_28_x86_64.whl]
bytes:
  description: How many bytes of files were sent. In check mode, how many would be.
  returned: always
  type: int
  sample: 191794682
swarm_bytes:
  description: How many bytes a swarm had brought before.
  returned: when something was sent
  type: int
  sample: 0
wire_bytes:
  description:
    - The same with the transport's own data, which is messages and the command that receives them, rsync's protocol in
      both directions, or HTTP headers. Data of SSH itself and Ansible's modules are not counted.
  returned: when something was sent
  type: int
  sample: 191801231
seconds:
  description: Duration of the delivery, including hashing on the host.
  returned: when something was sent
  type: float
  sample: 4.2
mb_per_s:
  description: Megabytes per second, of 1,000,000 bytes.
  returned: when something was sent
  type: float
  sample: 45.7
"""

import shutil

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.voicefleet.kokoro.plugins.module_utils.host import deploy_lock, disk
from ansible_collections.voicefleet.kokoro.plugins.module_utils.host.arguments import artifact_options, transport_option
from ansible_collections.voicefleet.kokoro.plugins.module_utils.host.layout import Paths
from ansible_collections.voicefleet.kokoro.plugins.module_utils.host.systemd_unit import SystemdError
from ansible_collections.voicefleet.kokoro.plugins.module_utils.release import artifacts as received, http_fetch, swarm


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "store": {"type": "path", "required": True},
            "manifest_sha256": {"type": "str"},
            **artifact_options(),
            **transport_option(),
            "chunk_mb": {"type": "int", "default": 32},
            "http": {
                "type": "dict",
                "default": {},
                "options": {
                    "url": {"type": "str"},
                    "user": {"type": "str"},
                    "password": {"type": "str", "no_log": True},
                    "ca": {"type": "path"},
                    "certificates": {"type": "str"},
                    "serve": {"type": "bool", "default": False},
                    "bind": {"type": "str", "default": "0.0.0.0"},
                    "port": {"type": "int", "default": 0},
                    "address": {"type": "str"},
                },
            },
            "seconds": {"type": "float", "default": 5.0},
            "step": {"type": "str", "choices": ["prepare", "manifest", "fetch", "commit"], "default": "prepare"},
        },
        supports_check_mode=True,
    )
    root, wanted, step, http = (module.params[name] for name in ("root", "artifacts", "step", "http"))
    url, user, password, certificates = (http.get(name) or "" for name in ("url", "user", "password", "certificates"))
    source = http_fetch.Source(url, user, password, certificates)
    if step == "manifest":
        try:
            module.exit_json(changed=False, manifest_sha256=http_fetch.manifest_digest(source), error="")
        except http_fetch.SourceError as error:
            module.exit_json(changed=False, manifest_sha256="", error=str(error))
    if not module.check_mode:
        deploy_lock.mark("artifacts")
    absent = set(received.missing(root, wanted))
    lacking = [artifact for artifact in wanted if artifact["sha256"] in absent]
    rsync = shutil.which("rsync") is not None
    if module.check_mode:
        there = set(received.reprove(root, lacking, check=True))
        missing = [artifact["sha256"] for artifact in lacking if artifact["sha256"] not in there]
        module.exit_json(changed=bool(missing), missing=missing, offsets={}, rsync=rsync)
    try:
        if step == "prepare":
            if swarm.left_over(root):
                # An interrupted play left it. What arrived there counts.
                swarm.Host(root).leave()
            there = set(received.reprove(root, lacking))
            lacking = [artifact for artifact in lacking if artifact["sha256"] not in there]
            module.exit_json(
                changed=False,
                missing=[artifact["sha256"] for artifact in lacking],
                offsets=received.prepare(root, lacking) if lacking else {},
                free=disk.free(Paths(root).incoming),
                incoming=Paths(root).incoming,
                rsync=rsync,
            )
        if step == "fetch":
            done = http_fetch.fetch(source, lacking, Paths(root).incoming, module.params["seconds"])
            module.exit_json(changed=True, **vars(done))
        kept, wrong = received.commit(root, lacking)
    except SystemdError as error:
        module.fail_json(msg=f"the swarm of an interrupted play cannot be stopped: {error}")
    except OSError as error:
        full = disk.advice(str(error), root, sum(artifact["size"] for artifact in lacking))
        module.fail_json(
            msg=f"{error.filename or root}: {error.strerror}. {full} What has arrived is kept for the next run."
        )
    module.exit_json(changed=bool(kept), kept=kept, wrong=wrong)


if __name__ == "__main__":
    main()
