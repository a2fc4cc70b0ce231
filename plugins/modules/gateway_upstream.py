#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: gateway_upstream
short_description: Let a candidate answer the gateway's clients while the service restarts
version_added: "0.1.0"
author: voicefleet (@voicefleet)
description:
  - Runs on a host with a gateway of the role P(voicefleet.kokoro.gateway#role). A reload of nginx moves its clients.
    Then the module waits until the other side has answered its last request. No request is lost.
  - Changes nothing if no gateway runs on this host, or if the gateway does not ask this service.
options:
  state:
    description:
      - V(candidate) first gives the candidate the accounts and keys of the service. It fails if the candidate then
        does not accept the service's key, or has a model that is not READY.
      - V(service) lets the service answer again. If its models are not READY and those of the candidate are, the
        candidate goes on answering, and the module warns.
    type: str
    choices: [candidate, service]
    required: true
  service:
    description: The service's address and port, as the gateway's configuration names them.
    type: str
    default: 127.0.0.1:9997
  port:
    description:
      - The candidate's port on loopback. Required for O(state=candidate).
      - With O(state=service), the module waits for requests at this candidate even if the service already answers. A
        run that was killed in its wait may have left them.
    type: int
  gateway_port:
    description: The port on which nginx listens for clients.
    type: int
    default: 9443
  seconds:
    description: How long to wait for the last request. If requests are left after that, the module warns and succeeds.
    type: int
    default: 600
  home:
    description: C(XINFERENCE_HOME) of the service.
    type: path
    default: /var/lib/voicefleet
  candidate_home:
    description: C(XINFERENCE_HOME) of the candidate. Required for O(state=candidate).
    type: path
  secrets_dir:
    description: The service's folder of secrets, with its key for clients.
    type: path
    default: /etc/voicefleet
  user:
    description: The system user of service and candidate.
    type: str
    default: voicefleet
  release_path:
    description: The candidate's release. Its Python copies accounts and keys.
    type: path
    default: /opt/voicefleet/current
extends_documentation_fragment: [voicefleet.kokoro.attributes]
requirements:
  - root
"""

EXAMPLES = r"""
- name: Let the service answer again
  voicefleet.kokoro.gateway_upstream:
    state: service
"""

RETURN = r"""
answers:
  description: Who answers the gateway's clients now, V(service) or V(candidate).
  returned: success
  type: str
  sample: service
left:
  description: How many connections to the other side were left when the wait ended.
  returned: when the clients were moved
  type: int
  sample: 0
"""

import os
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.voicefleet.kokoro.plugins.module_utils.host import layout, masking, private_files, systemd_unit
from ansible_collections.voicefleet.kokoro.plugins.module_utils.host.managed import ManagedError
from ansible_collections.voicefleet.kokoro.plugins.module_utils.host.upstream import Upstream
from ansible_collections.voicefleet.kokoro.plugins.module_utils.xinference import api, config, program

FAULTS = (ManagedError, systemd_unit.SystemdError, config.ConfigError, program.SetupError, OSError)


def unready(address: str, key: str) -> str:
    """Why the Xinference at an address cannot answer clients; "" if it can."""
    try:
        instances = api.XinferenceClient(f"http://{address}", token=key).instances()
    except api.XinferenceError as error:
        return str(error)
    waiting = [f"model {each.uid} is {each.status}" for each in instances if each.status != api.READY]
    return "; ".join(waiting) if instances else "it has no model"


def to_candidate(module: AnsibleModule, upstream: Upstream, secrets: dict[str, str]) -> None:
    params, facts = module.params, upstream.facts()
    if not (facts["running"] and facts["movable"] and facts["service"] == params["service"]):
        module.exit_json(changed=False, answers="service", msg=f"No gateway leads to {params['service']}.")
    moved = facts["candidate"] == params["port"]
    if module.check_mode:
        module.exit_json(changed=not moved, answers="candidate", msg="The candidate would answer.")
    owner = program.account(params["user"], check=False)
    request = {"action": "copy", "home": params["candidate_home"], "wanted": {"from": params["home"]}}
    program.run(request, params["release_path"], params["user"], owner or (0, 0), secrets.values())
    why = unready(f"127.0.0.1:{params['port']}", secrets.get("client_key", ""))
    if why:
        raise ManagedError(f"the candidate cannot answer the service's clients: {why}. The service was not touched")
    # Also if they were moved: the wait of a run that was killed may not have ended.
    left = upstream.move(params["port"], params["gateway_port"], params["seconds"])
    finish(module, not moved, "candidate", left, "service")


def to_service(module: AnsibleModule, upstream: Upstream, secrets: dict[str, str]) -> None:
    params = module.params
    if not os.path.exists(upstream.file):
        facts = upstream.facts()
        if params["port"] and facts["running"] and facts["movable"] and not module.check_mode:
            left = upstream.settle(params["port"], params["gateway_port"], params["seconds"])
            finish(module, False, "service", left, "candidate")
        module.exit_json(changed=False, answers="service", msg="The service answers.")
    if module.check_mode:
        module.exit_json(changed=True, answers="service", msg="The service would answer.")
    candidate = upstream.facts()["candidate"]
    if not candidate:  # no gateway runs now
        os.unlink(upstream.file)
        module.exit_json(changed=True, answers="service", msg="No gateway runs.")
    key = secrets.get("client_key", "")
    why = unready(upstream.service, key)
    if why and not unready(f"127.0.0.1:{candidate}", key):
        said = f"The candidate goes on answering the gateway's clients, because the service does not: {why}."
        module.warn(said)
        module.exit_json(changed=False, answers="candidate", msg=said)
    left = upstream.back(params["gateway_port"], params["seconds"])
    finish(module, True, "service", left, "candidate")


def finish(module: AnsibleModule, changed: bool, answers: str, left: int, former: str) -> None:
    said = f"The {answers} answers the gateway's clients."
    if left:
        said += f" The {former} still had {left} of their connections after {module.params['seconds']} s."
        module.warn(said)
    module.exit_json(changed=changed, answers=answers, left=left, msg=said)


def main() -> None:
    options: dict[str, Any] = {
        "state": {"type": "str", "choices": ["candidate", "service"], "required": True},
        "service": {"type": "str", "default": "127.0.0.1:9997"},
        "port": {"type": "int"},
        "gateway_port": {"type": "int", "default": 9443},
        "seconds": {"type": "int", "default": 600},
        "home": {"type": "path", "default": layout.HOME},
        "candidate_home": {"type": "path"},
        "secrets_dir": {"type": "path", "default": layout.SECRETS, "no_log": False},
        "user": {"type": "str", "default": "voicefleet"},
        "release_path": {"type": "path", "default": layout.CURRENT},
    }
    module = AnsibleModule(
        argument_spec=options,
        required_if=[("state", "candidate", ["port", "candidate_home"])],
        supports_check_mode=True,
    )
    path = os.path.join(module.params["secrets_dir"], config.SECRETS_FILE)
    try:
        secrets = config.load_secrets(private_files.read_text(path))
        masking.hide(module, secrets.values())
        upstream = Upstream(systemd_unit.Unit(layout.GATEWAY_UNIT))
        (to_candidate if module.params["state"] == "candidate" else to_service)(module, upstream, secrets)
    except FAULTS as error:
        module.fail_json(msg=str(error))


if __name__ == "__main__":
    main()
