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
  - xinference 4.1 in the release
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
from collections.abc import Mapping
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.voicefleet.kokoro.plugins.module_utils.doctor import diagnosis
from ansible_collections.voicefleet.kokoro.plugins.module_utils.host import (
    deploy_lock,
    layout,
    ownership,
    private_files,
)
from ansible_collections.voicefleet.kokoro.plugins.module_utils.host.redaction import Redactor
from ansible_collections.voicefleet.kokoro.plugins.module_utils.xinference import config, program
from ansible_collections.voicefleet.kokoro.plugins.module_utils.xinference.program import SetupError

Json = dict[str, Any]


class Setup(program.Step):
    """One run of the module."""

    def __init__(self, params: Mapping[str, Any], check: bool) -> None:
        super().__init__(params, check)
        self.secrets_dir: str = params["secrets_dir"]
        self.names = config.Names(params["admin_user"], params["deploy_user"], params["client_key_name"])
        self.models = [
            launch
            for model in params["models"]
            for launch in config.launches(
                model,
                params.get("languages") or [],
                params.get("language_models") or {},
                params.get("hearing_model") or "",
            )
        ]
        self.secrets: dict[str, str] = {}

    def path(self, name: str) -> str:
        return os.path.join(self.secrets_dir, name)

    # -- secrets and their files

    def keep_secrets(self) -> None:
        """Determine all secrets and write their files if content, owner or mode differ."""
        self.keep_folder(self.secrets_dir)
        worker = self.params["node"] == "worker"
        stored = config.load_secrets(
            private_files.read_text(self.path(config.SECRETS_FILE)) if os.path.isdir(self.secrets_dir) else None
        )
        given = {name: self.params[name] for name in config.SECRETS}
        if worker and self.check and not all(given[n] or stored.get(n) for n in config.WORKER_SECRETS):
            self.changes.append("the cluster's secrets would be brought from the supervisor")
            return
        self.secrets, events = config.merge_secrets(given, stored, worker)
        self.changes += events
        for name, text in config.files(self.secrets, self.params["node"] == "supervisor").items():
            self.keep_file(self.path(name), text)

    # -- the service's home

    def keep_home(self, owner: tuple[int, int]) -> None:
        """Give the home and the important files in it to the service's user, closed to others."""
        why = ownership.keep(self.home, 0o700, *owner, check=self.check)
        if why is not None:
            self.changes.append(f"{self.home} made the service's own ({why})")
        for parts, mode, folder in config.PRIVATE:
            path = os.path.join(self.home, *parts)
            why = private_files.wrong(path, mode, *owner, folder=folder)
            if why is not None and why.startswith("not a "):
                raise SetupError(f"{path} is {why} and was not touched. Move it away, then run again")
            if why not in (None, "missing"):
                self.changes.append(f"{path} made the service's own ({why})")
                if not self.check:
                    private_files.own_below(self.home, parts, mode, *owner)

    # -- databases

    def observe(self, owner: tuple[int, int] | None) -> Json:
        if owner is None or not program.has_databases(self.home):
            return config.NOTHING
        observed: Json = self.ask("observe", owner, self.secrets.values())["observed"]
        return observed

    def keep_databases(self, owner: tuple[int, int] | None) -> None:
        entries = [
            config.autostart_entry(model, self.params["max_retries"], self.params["retry_interval"])
            for model in self.models
        ]
        applied_path = self.path(config.APPLIED_FILE)
        applied = config.load_applied(
            private_files.read_text(applied_path) if os.path.isdir(self.secrets_dir) else None
        )
        observed = self.observe(owner)
        wanted = config.wanted_state(self.secrets, self.names, entries, observed, applied)
        found = config.differences(observed, wanted, applied)
        if found and (self.check or owner is None):
            self.changes += found
        elif found and owner is not None:
            applied = program.correct(
                lambda action, state: self.ask(action, owner, self.secrets.values(), state),
                self.secrets, self.names, entries, wanted, self.changes,
            )  # fmt: skip
            self.record(applied_path, applied)

    def run(self) -> Json:
        self.keep_secrets()
        owner = program.account(self.params["user"], self.check)
        if owner is not None:
            self.keep_home(owner)
        if self.params["node"] != "worker":
            self.keep_databases(owner)
        kept = "secrets" if self.params["node"] == "worker" else "accounts, key and autostart"
        return {
            **self.result(f"{kept} are as wanted"),
            "cores": len(os.sched_getaffinity(0)),
            "environment_file": self.path(config.ENVIRONMENT_FILE),
            "header_file": self.path(config.HEADER_FILE),
            "model_uids": [model["model_uid"] for model in self.models],
        }


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "node": {"type": "str", "choices": ["whole", "supervisor", "worker"], "default": "whole"},
            "release_path": {"type": "path", "required": True},
            "models": {"type": "list", "elements": "dict", "required": True},
            "languages": {"type": "list", "elements": "str", "default": []},
            "language_models": {"type": "dict", "default": {}},
            "hearing_model": {"type": "str", "default": ""},
            "user": {"type": "str", "default": "voicefleet"},
            "home": {"type": "path", "default": layout.HOME},
            "secrets_dir": {"type": "path", "default": layout.SECRETS, "no_log": False},
            "candidate": {"type": "bool", "default": False},
            "admin_user": {"type": "str", "default": "admin"},
            "deploy_user": {"type": "str", "default": "voicefleet-deploy"},
            "client_key_name": {"type": "str", "default": "voicefleet-client", "no_log": False},
            **{name: {"type": "str", "no_log": True} for name in config.SECRETS},
            "max_retries": {"type": "int", "default": 1000},
            "retry_interval": {"type": "int", "default": 10},
        },
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
