#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: xinference_model
short_description: Bring a model of the local Xinference to READY, or stop it
version_added: "0.1.0"
author: voicefleet (@voicefleet)
description:
  - Waits until the service answers and the model's instance is READY. Autostart launches the model with the service. If
    it did not, or if the model is in state ERROR, the module launches it by REST.
  - A model that runs with other parameters is launched again, with a gap of about 20 s for its clients. Replicas are
    added and stopped without a gap. Xinference gives a further replica the parameters of the first one, so other
    changes cannot be made that way.
  - On failure, the message holds Xinference's own error without addresses, its meaning and remedy, and the last lines
    of the journal and of Xinference's log.
  - Runs on the host itself, as root, and reads the credentials from O(secrets_dir). It uses no proxy, limits the time
    of each request, and never retries a rejected credential, because ten of them ban an address for an hour.
attributes:
  check_mode:
    support: full
    description: Looks once. Reports a change if the model would be waited for, launched or stopped.
  diff_mode:
    support: none
    description: A running model has no text to compare. RV(changes) holds the reasons.
options:
  launch:
    description:
      - The payload of C(POST /v1/models), at least C(model_name), C(model_type) and C(model_uid). C(replica),
        C(device), C(n_gpu), C(gpu_idx), C(worker_ip) and C(request_limits) are fields of it.
    type: dict
    required: true
  state:
    description:
      - Whether the model should serve. V(absent) stops it and waits until it is gone; requests in flight are lost. An
        autostart entry starts it again with the service, see M(voicefleet.kokoro.xinference_setup).
    type: str
    choices: [present, absent]
    default: present
  languages:
    description:
      - Kokoro's languages by their letters. The model is launched once and speaks all of them, with the first one as
        C(lang_code).
    type: list
    elements: str
    default: []
  language_models:
    description:
      - Languages that another model speaks, each with that model's name. It lies beside the first model. It is launched
        too, under the uid of O(launch) and the language's letter, such as C(kokoro-z).
    type: dict
    default: {}
  hearing_model:
    description:
      - The name of a model that hears, such as V(whisper-base). It lies beside the first model, and is launched under
        the uid C(whisper). Empty means none.
    type: str
    default: ""
  host:
    description: The address on which the service listens.
    type: str
    default: 127.0.0.1
  port:
    description: The port on which the service listens.
    type: int
    default: 9997
  timeout:
    description:
      - Seconds for the service and the model together. Each takes 10 to 30 s, and more on a busy host.
    type: int
    default: 180
  unit:
    description: The service's systemd unit, watched while waiting.
    type: str
    default: voicefleet-xinference.service
  home:
    description: C(XINFERENCE_HOME) of the service.
    type: path
    default: /var/lib/voicefleet
  secrets_dir:
    description: The folder of M(voicefleet.kokoro.xinference_setup).
    type: path
    default: /etc/voicefleet
  deploy_user:
    description: The account that launches models.
    type: str
    default: voicefleet-deploy
  workers:
    description:
      - The workers of a cluster, on its supervisor. The module waits for all of them, and adds a replica to each one
        that has no READY replica.
      - Requests go to the replicas in turn. The module sends short requests until each worker has answered one.
    type: list
    elements: dict
    default: []
    suboptions:
      address:
        description: C(host:port) by which the supervisor knows it.
        type: str
        required: true
      metrics:
        description: C(host:port) of its metrics, which count its requests.
        type: str
        required: true
notes:
  - The API does not say from which folder a running model was loaded. It is read from Xinference's own recovery file
    below O(home). If that file is missing, a READY model counts as the wanted one.
seealso:
  - module: voicefleet.kokoro.xinference_setup
  - module: voicefleet.kokoro.xinference_service
"""

EXAMPLES = r"""
- name: Wait until Kokoro speaks
  voicefleet.kokoro.xinference_model:
    launch:
      model_name: Kokoro-82M
      model_type: audio
      model_uid: kokoro
      model_path: /opt/voicefleet/releases/1.2.3-3f9a1c2b7d5e/models/Kokoro-82M
      enable_virtual_env: false
      lang_code: a
"""

RETURN = r"""
changes:
  description: Whether and why this task launched the model. Empty if autostart did, or if it was READY.
  returned: success
  type: list
  elements: str
  sample: ["launched (it was in state ERROR)"]
course:
  description: The states that each model went through, and when. On failure, the message holds them.
  returned: success
  type: dict
  sample: {"kokoro": ["0 s: absent", "3 s: CREATING, 0 %", "14 s: CREATING, 80 %", "16 s: READY"]}
status:
  description:
    - V(READY) or V(absent). In check mode, the state that was found, which may also be V(unauthorized) or
      V(unreachable). With several models, it is the state of the first one that is not as wanted.
  returned: success
  type: str
  sample: READY
workers:
  description: In a cluster, how many of the module's short requests each worker answered; at least one.
  returned: success, not in check mode
  type: dict
  sample: {"10.0.0.11:30001": 1, "10.0.0.12:30001": 1}
waited:
  description: Seconds until READY.
  returned: success
  type: float
  sample: 24.3
"""

import os
import time
from collections.abc import Mapping
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.voicefleet.kokoro.plugins.module_utils.doctor import diagnosis
from ansible_collections.voicefleet.kokoro.plugins.module_utils.host import deploy_lock, masking, private_files
from ansible_collections.voicefleet.kokoro.plugins.module_utils.proof import proof, speech
from ansible_collections.voicefleet.kokoro.plugins.module_utils.xinference import api, config, launch, workers
from ansible_collections.voicefleet.kokoro.plugins.module_utils.xinference.keepers import OPTIONS, look, make_keepers

Json = dict[str, Any]


def keep(keepers: list[launch.Keeper], params: Json, module: AnsibleModule) -> Json:
    """Bring each model to the wanted state within one time limit for all; end the module on a failure."""
    end = time.monotonic() + params["timeout"]
    changes: list[str] = []
    course: dict[str, list[str]] = {}
    waited = 0.0
    present = params["state"] == "present"
    keeper = keepers[0]
    try:
        for keeper in keepers:
            left = max(1.0, end - time.monotonic())
            outcome = keeper.ensure(left, params["timeout"]) if present else keeper.end(left)
            changes += [change if len(keepers) == 1 else f"{keeper.uid}: {change}" for change in outcome.changes]
            course[keeper.uid] = outcome.course
            waited += outcome.waited
    except (launch.ModelError, api.XinferenceError) as error:
        module.fail_json(msg=keeper.explain(error), changes=changes)
    return {"changes": changes, "course": course, "waited": round(waited, 1)}


def hear_workers(params: Json, keeper: launch.Keeper, secrets: Mapping[str, str]) -> dict[str, int]:
    """Let each worker of the cluster answer a short request; return the counts. Raises WorkerSilent, SpeechError."""
    path = os.path.join(keeper.payload["model_path"], "voices")
    voices = sorted(name[:-3] for name in os.listdir(path) if name.endswith(".pt"))
    if not voices:
        raise workers.WorkerSilent(f"{path} holds no voice to try")
    endpoint = api.base_url(params["host"], params["port"])
    client = speech.SpeechClient(endpoint, secrets.get("client_key"), 120, 30)
    wanted = proof.Wanted("", keeper.uid, voices[:1], ["wav"], proof.LIVE_TEXT, "format")
    metrics = {worker["address"]: worker["metrics"] for worker in params["workers"]}
    return workers.hear_each(metrics, lambda: proof.still_alive(client, wanted))


def main() -> None:
    module = AnsibleModule(
        argument_spec=OPTIONS,
        supports_check_mode=True,
    )
    params = module.params
    path = os.path.join(params["secrets_dir"], config.SECRETS_FILE)
    try:
        secrets = config.load_secrets(private_files.read_text(path))
        if not secrets and not module.check_mode:
            module.fail_json(msg=f"{path} is missing: run xinference_setup first")
        keepers = make_keepers(params, secrets)
    except (config.ConfigError, OSError) as error:
        module.fail_json(msg=str(error))
    # Even if a server echoes a secret, it must not reach the result.
    masking.hide(module, secrets.values())
    if module.check_mode:
        module.exit_json(waited=0.0, course={}, **look(keepers, params))
    result = keep(keepers, params, module)
    present = params["state"] == "present"
    names = ", ".join(keeper.uid for keeper in keepers)
    try:
        heard = hear_workers(params, keepers[0], secrets) if params["workers"] and present else {}
    except (workers.WorkerSilent, speech.SpeechError, OSError) as error:
        module.fail_json(msg=diagnosis.explain(f"Model {names} is READY, but not every worker speaks: {error}"))
    progress = deploy_lock.progress()
    if progress["phase"] == deploy_lock.GAP:
        module.warn(f"clients got no answer for {progress['seconds'][deploy_lock.GAP]:.0f} s")
    status = api.READY if present else "absent"
    module.exit_json(
        changed=bool(result["changes"]),
        msg="; ".join(result["changes"]) or f"model {names} is {status}",
        status=status,
        workers=heard,
        **result,
    )


if __name__ == "__main__":
    main()
