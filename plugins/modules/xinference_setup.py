#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: xinference_setup
short_description: Set up Xinference's secrets, accounts, API key and autostart
version_added: "0.1.0"
author: voicefleet (@voicefleet)
description:
  - Makes the secrets of one host's Xinference once, or takes them from the operator. Keeps them in a folder that only
    root can read.
  - Writes an administrator, a deploy user with few rights, one API key for clients and the autostart entries of models
    to Xinference's databases. It does so before the first start or beside the running service. It makes no HTTP
    request, so it spends no password attempt and prints no setup token.
  - If nothing changed, a run reads the databases in about 50 ms. It finds and corrects manual changes to a password, a
    permission, the key, an autostart entry or a file's mode. Accounts, keys and entries with other names stay as they
    are. In check mode on a host without a release, all is reported as missing.
  - No secret appears as a process argument, in the result, in the difference or in a log.
options:
  node:
    description:
      - The kind of node. V(whole) is a node of its own.
      - The V(supervisor) of a cluster also keeps C(cluster.json), with the two secrets that its workers need.
      - A V(worker) keeps only O(xoscar_auth_key) and O(client_key), both given. It has no accounts and no autostart.
    type: str
    choices: [whole, supervisor, worker]
    default: whole
  release_path:
    description: The release whose C(env/bin/python) and Xinference classes are used.
    type: path
    required: true
  models:
    description:
      - Payloads of C(POST /v1/models) for the models to start with the service, each with at least C(model_name),
        C(model_type) and C(model_uid).
      - The client's API key is valid only for these models.
    type: list
    elements: dict
    required: true
  languages:
    description:
      - Kokoro's languages by their letters. Each of O(models) starts once and speaks all of them, with the first one as
        C(lang_code).
    type: list
    elements: str
    default: []
  language_models:
    description:
      - Languages that another model speaks, each with that model's name. It lies beside the first model. It starts
        too, under the uid of O(models) and the language's letter, such as C(kokoro-z).
    type: dict
    default: {}
  hearing_model:
    description:
      - The name of a model that hears, such as V(whisper-base). It lies beside O(models), and starts under the uid
        C(whisper). Empty means none.
    type: str
    default: ""
  user:
    description: The service's system user, who owns O(home). It must exist, except in check mode.
    type: str
    default: voicefleet
  home:
    description:
      - C(XINFERENCE_HOME) of the service. Created if missing; its parent must exist. A folder that others use is
        refused.
    type: path
    default: /var/lib/voicefleet
  secrets_dir:
    description:
      - Root-only folder (mode 0700) for C(secrets.json), C(xinference.env) (the service's three secrets, for
        C(EnvironmentFile=)), C(client.key), C(client.header) (one line for C(curl -H @file)) and C(applied.json).
      - Created if missing; its parent must exist. A folder that others use is refused.
    type: path
    default: /etc/voicefleet
  candidate:
    description: Whether this is the trial of an upgrade, beside the service that clients use.
    type: bool
    default: false
  secrets_from:
    description:
      - The folder of secrets of the service beside a candidate. A candidate without secrets takes these, because it may
        answer the service's clients.
    type: path
  home_from:
    description: The service's O(home). A candidate without accounts and keys takes those from there.
    type: path
  admin_user:
    description: Name of the administrator's account.
    type: str
    default: admin
  deploy_user:
    description: Name of the account that launches models. It has no rights on users, workers or settings.
    type: str
    default: voicefleet-deploy
  client_key_name:
    description: Name of the API key for clients.
    type: str
    default: voicefleet-client
  admin_password:
    description: The administrator's password, 8 characters or more. If unset, it is made once on the host.
    type: str
  deploy_password:
    description: The deploy user's password, 8 characters or more. If unset, it is made once on the host.
    type: str
  client_key:
    description: The API key's value, 16 characters or more. If unset, it is made once on the host.
    type: str
  xoscar_auth_key:
    description:
      - The key by which Xinference's own processes recognise each other. All hosts of a cluster have the same key.
      - Without it, any local user could run code as the service. If unset, it is made once on the host.
    type: str
  jwt_secret:
    description: The secret that signs users' tokens. If unset, it is made once on the host.
    type: str
  encryption_key:
    description: The secret that encrypts stored API keys. If unset, it is made once on the host.
    type: str
  max_retries:
    description: How often a failed start of a model is retried. Xinference counts until it succeeds.
    type: int
    default: 1000
  retry_interval:
    description: Seconds between two attempts to start a model.
    type: int
    default: 10
extends_documentation_fragment: [voicefleet.kokoro.attributes]
requirements:
  - the locked Xinference in the release
  - root
"""

EXAMPLES = r"""
- name: Give Xinference its secrets, accounts, client key and models
  voicefleet.kokoro.xinference_setup:
    release_path: /opt/voicefleet/releases/1.2.3-3f9a1c2b7d5e
    models:
      - model_name: Kokoro-82M
        model_type: audio
        model_uid: kokoro
        model_path: /opt/voicefleet/releases/1.2.3-3f9a1c2b7d5e/models/Kokoro-82M
        enable_virtual_env: false
        lang_code: a

- name: Take the administrator's password from the vault
  voicefleet.kokoro.xinference_setup:
    release_path: /opt/voicefleet/current
    admin_password: "{{ vault_xinference_admin_password }}"
    models: "{{ my_models }}"
"""

RETURN = r"""
changes:
  description: What was changed and why, or would be in check mode, without secrets.
  returned: always
  type: list
  elements: str
  sample:
    - client_key made on the host
    - /etc/voicefleet/client.key written (missing)
    - account admin created
cores:
  description: Number of cores that this host may use, for thread counts.
  returned: always
  type: int
  sample: 8
environment_file:
  description: The file with the service's secrets, for C(EnvironmentFile=).
  returned: always
  type: str
  sample: /etc/voicefleet/xinference.env
header_file:
  description: The file with the client's header line, for C(curl -H @file).
  returned: always
  type: str
  sample: /etc/voicefleet/client.header
model_uids:
  description: The names of the models that start with the service, as clients request them.
  returned: always
  type: list
  elements: str
  sample: [kokoro, kokoro-z]
"""

import os

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.voicefleet.kokoro.plugins.module_utils.doctor import diagnosis
from ansible_collections.voicefleet.kokoro.plugins.module_utils.host import deploy_lock
from ansible_collections.voicefleet.kokoro.plugins.module_utils.host.redaction import Redactor
from ansible_collections.voicefleet.kokoro.plugins.module_utils.xinference import config
from ansible_collections.voicefleet.kokoro.plugins.module_utils.xinference.program import SetupError
from ansible_collections.voicefleet.kokoro.plugins.module_utils.xinference.setup import OPTIONS, Setup


def main() -> None:
    module = AnsibleModule(
        argument_spec=OPTIONS,
        supports_check_mode=True,
    )
    os.umask(0o077)
    try:
        setup = Setup(module.params, module.check_mode)
    except config.ConfigError as error:
        module.fail_json(msg=str(error), changes=[])
    if not module.check_mode:
        deploy_lock.mark("candidate" if module.params["candidate"] else "start")
    try:
        result = setup.run()
    except (SetupError, config.ConfigError, OSError) as error:
        said = Redactor(setup.secrets.values()).known(str(error))
        module.fail_json(msg=diagnosis.explain(said), changes=setup.changes)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
