#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: repair_model
short_description: Launch Kokoro in an Xinference that this collection did not install
description:
  - Waits until the service answers, then launches each model that does not run. Xinference finds the files in its own
    cache.
  - Launches the models without environments of their own, so that they use the packages of the service.
  - Writes no autostart entry. After a restart of the service, the models must be launched again.
version_added: "0.1.0"
author: voicefleet (@voicefleet)
attributes:
  check_mode:
    support: full
    description: Reports which models would be launched.
  diff_mode:
    support: none
    description: A running model has no text to compare.
options:
  endpoint:
    description: The address of the server, as the host reaches it, without a path. No proxy is used.
    type: str
    default: http://127.0.0.1:9997
  user:
    description: The user of Xinference who may launch models. Empty if authentication is off.
    type: str
    default: ""
  password_file:
    description: A file on the host that holds the user's password, in one line.
    type: path
  uid:
    description: The name by which clients ask for the model.
    type: str
    default: kokoro
  options:
    description: More fields of C(POST /v1/models).
    type: dict
    default: {}
  languages:
    description: Kokoro's languages by their letters. The model is launched for the first one.
    type: list
    elements: str
    default: [a]
  language_models:
    description: Languages that another model speaks, each with that model's name.
    type: dict
    default: {}
  hearing_model:
    description: The name of a model that hears. It is launched as C(whisper). Empty means none.
    type: str
    default: ""
  again:
    description: Whether to launch a running model again, with a gap for its clients.
    type: bool
    default: false
  timeout:
    description: How many seconds the service and each model may take.
    type: int
    default: 600
"""

EXAMPLES = r"""
- name: Launch Kokoro
  voicefleet.kokoro.repair_model:
    endpoint: http://127.0.0.1:9997
    user: admin
    password_file: /etc/xinference.password
"""

RETURN = r"""
launched:
  description: The uids of the models that were launched, or would be in check mode.
  returned: always
  type: list
  elements: str
  sample: [kokoro]
"""

import contextlib
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.voicefleet.kokoro.plugins.module_utils.doctor import diagnosis
from ansible_collections.voicefleet.kokoro.plugins.module_utils.host import hashing, masking
from ansible_collections.voicefleet.kokoro.plugins.module_utils.xinference import api, config

NAME = "Kokoro-82M"


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "endpoint": {"type": "str", "default": "http://127.0.0.1:9997"},
            "user": {"type": "str", "default": ""},
            "password_file": {"type": "path", "no_log": False},
            "uid": {"type": "str", "default": "kokoro"},
            "options": {"type": "dict", "default": {}},
            "languages": {"type": "list", "elements": "str", "default": ["a"]},
            "language_models": {"type": "dict", "default": {}},
            "hearing_model": {"type": "str", "default": ""},
            "again": {"type": "bool", "default": False},
            "timeout": {"type": "int", "default": 600},
        },
        supports_check_mode=True,
    )
    params = module.params
    client = api.XinferenceClient(params["endpoint"])
    try:
        if not (module.check_mode and not reachable(client)):
            client.wait_ready(params["timeout"])
            if params["user"]:
                secret = password(params["password_file"])
                # Even if a server echoes it, it must not reach the result.
                masking.hide(module, [secret])
                client.login(params["user"], secret)
        launched = bring(client, params, module.check_mode)
    except (api.XinferenceError, config.ConfigError, OSError) as error:
        why = str(error) or "Xinference gave no reason. Its log has it. A slow machine may need another try"
        module.fail_json(msg=diagnosis.explain(f"Kokoro does not run at {params['endpoint']}: {why}."))
    said = f"launched {', '.join(launched)}" if launched else "every model runs"
    module.exit_json(changed=bool(launched), launched=launched, msg=said)


def password(path: str | None) -> str:
    """The password in a file. Raises ConfigError, OSError."""
    if not path:
        raise config.ConfigError("repair_user needs repair_password_file")
    return hashing.read_bounded(path, 4096).decode("utf-8", "replace").strip()


def reachable(client: api.XinferenceClient) -> bool:
    try:
        return bool(client.status())
    except api.XinferenceError:
        return False


def payloads(params: dict[str, Any]) -> list[dict[str, Any]]:
    """What to launch. Without a path, Xinference takes each model from its cache. Raises ConfigError."""
    launch = {
        "model_name": NAME, "model_type": "audio", "model_uid": params["uid"], "enable_virtual_env": False,
        **params["options"],
    }  # fmt: skip
    rows = config.launches(launch, params["languages"], params["language_models"], params["hearing_model"])
    return [{name: value for name, value in row.items() if name != "model_path"} for row in rows]


def bring(client: api.XinferenceClient, params: dict[str, Any], check: bool) -> list[str]:
    """Launch what does not run, and return the uids. Raises XinferenceError, ConfigError."""
    launched = []
    for payload in payloads(params):
        uid = payload["model_uid"]
        if check and not reachable(client):
            launched.append(uid)
            continue
        found = client.instances(uid)
        ready = any(each.status == api.READY for each in found)
        if ready and not params["again"]:
            continue
        launched.append(uid)
        if check:
            continue
        if ready:
            client.terminate(uid)
        # An autostart entry of the operator may be quicker.
        with contextlib.suppress(api.AlreadyRunning):
            client.launch(payload, timeout=params["timeout"])
    return launched


if __name__ == "__main__":
    main()
