#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: xinference_api_key
short_description: Manage one client's API key of the local Xinference
version_added: "0.1.0"
author: voicefleet (@voicefleet)
description:
  - Makes an API key for one client, valid for the named models, or takes the operator's. Corrects its value, models,
    owner and expiry if they were changed. Rotates it, so that the former key stays valid for a while. Removes it.
  - The key lies on the host in files that only root can read. It never appears as a process argument, in the result,
    in the difference or in a log.
  - Writes to Xinference's databases with Xinference's own classes, beside the running service, which sees the change at
    its next request. It makes no HTTP request, so it never adds to the bad tokens that ban an address.
options:
  name:
    description: The client. This is the key's name in Xinference and the name of its files.
    type: str
    required: true
  state:
    description: Whether the client has a key. V(absent) also ends a rotated key that is still valid.
    type: str
    choices: [present, absent]
    default: present
  models:
    description: The models that the key is valid for, by uid. Empty means all.
    type: list
    elements: str
    default: []
  key:
    description: The key's value, 16 characters or more. If unset, it is made once on the host.
    type: str
  rotation:
    description:
      - Any word, such as the month. If it differs from the last one, a new key is made. So you request a rotation once,
        any run carries it out, and a second run changes nothing.
    type: str
    default: ""
  overlap:
    description:
      - Seconds that the former key stays valid after its value changed, by O(rotation) or another O(key). V(0) ends it
        at once. A further change within that time ends the older key.
    type: int
    default: 3600
  expires_at:
    description: When the key expires, in UTC, such as C(2027-01-31) or C(2027-01-31T12:00:00). Empty means never.
    type: str
    default: ""
  release_path:
    description: The release whose C(env/bin/python) and Xinference classes are used.
    type: path
    default: /opt/voicefleet/current
  user:
    description: The service's system user, who owns O(home).
    type: str
    default: voicefleet
  home:
    description: C(XINFERENCE_HOME) of the service.
    type: path
    default: /var/lib/voicefleet
  secrets_dir:
    description:
      - The folder of M(voicefleet.kokoro.xinference_setup). The key goes to its folder C(keys/), as C(NAME.key), as
        C(NAME.header) (one line for C(curl -H @file)) and, for this module, as C(NAME.json).
    type: path
    default: /etc/voicefleet
  deploy_user:
    description: The account that owns the key.
    type: str
    default: voicefleet-deploy
extends_documentation_fragment: [voicefleet.kokoro.attributes]
requirements:
  - the locked Xinference in the release
  - root
seealso:
  - module: voicefleet.kokoro.xinference_setup
"""

EXAMPLES = r"""
- name: Give the shop a key for one model
  voicefleet.kokoro.xinference_api_key:
    name: shop
    models: [kokoro]

- name: Rotate the key in December; the former one stays valid for a day
  voicefleet.kokoro.xinference_api_key:
    name: shop
    models: [kokoro]
    rotation: "2026-12"
    overlap: 86400

- name: Remove the key
  voicefleet.kokoro.xinference_api_key:
    name: shop
    state: absent
"""

RETURN = r"""
changes:
  description: What was changed and why, or would be in check mode, without secrets.
  returned: always
  type: list
  elements: str
  sample: [API key shop replaced; the former one is valid until 2026-12-02T08:00:00 UTC]
key_file:
  description: The file with the key.
  returned: when state is present
  type: str
  sample: /etc/voicefleet/keys/shop.key
header_file:
  description: The file with the header line, for C(curl -H @file).
  returned: when state is present
  type: str
  sample: /etc/voicefleet/keys/shop.header
"""

import datetime
import json
import os
from collections.abc import Mapping
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.voicefleet.kokoro.plugins.module_utils.host import layout, private_files
from ansible_collections.voicefleet.kokoro.plugins.module_utils.host.redaction import Redactor
from ansible_collections.voicefleet.kokoro.plugins.module_utils.xinference import accounts, config, program
from ansible_collections.voicefleet.kokoro.plugins.module_utils.xinference.program import SetupError

Json = dict[str, Any]

SUFFIXES = (".json", ".key", ".header")


class ApiKey(program.Step):
    """One run of the module."""

    def __init__(self, params: Mapping[str, Any], check: bool) -> None:
        super().__init__(params, check)
        self.name = config.check_key_name(params["name"])
        self.former = f"{self.name} (former)"
        self.folder = os.path.join(params["secrets_dir"], config.KEYS_FOLDER)
        self.secrets: list[str] = []

    def path(self, suffix: str) -> str:
        return os.path.join(self.folder, self.name + suffix)

    def stored(self) -> Json:
        """Return what this module keeps of the key: ``{"key": str, "rotation": str, "encryption_key": "<sha256>"}``."""
        text = private_files.read_text(self.path(".json")) if os.path.isdir(self.folder) else None
        try:
            stored = json.loads(text or "{}")
            return {name: str(stored[name]) for name in ("key", "rotation", "encryption_key") if name in stored}
        except (ValueError, TypeError):
            raise SetupError(
                f"{self.path('.json')} is damaged. Restore it from a backup, or delete it. The client then gets a new"
                " key, and the former one stays valid for the overlap"
            ) from None

    def present(self, owner: tuple[int, int], observed: Json, all_secrets: Mapping[str, str]) -> None:
        """Determine the key's value, then write record, database and files, in this order."""
        self.keep_folder(self.folder)
        stored = self.stored()
        rotation = self.params["rotation"] or stored.get("rotation", "")
        value = self.params["key"] or (stored.get("key") if rotation == stored.get("rotation", "") else None)
        if value is None:
            value = config.make_secret("client_key")
        self.secrets += [value, stored.get("key", value)]
        config.check_secret("key", value)
        self.refuse_anothers(observed["keys"], value, all_secrets.get("client_key", ""))
        encryption = accounts.digest(all_secrets["encryption_key"])
        wanted: Json = {
            "name": self.name,
            "value": value,
            "owner": self.params["deploy_user"],
            "models": sorted(set(self.params["models"])) or None,
            # Xinference can show a key again only if it was encrypted with the service's present encryption key.
            "recreate": stored.get("encryption_key", encryption) != encryption,
            "expires_at": config.check_time(self.params["expires_at"]),
        }
        if self.params["overlap"] > 0:
            end = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=self.params["overlap"])
            wanted["former"] = {"name": self.former, "expires_at": end.strftime("%Y-%m-%dT%H:%M:%S")}
        # Write the record first. Otherwise a run that is interrupted after the database would not know the key that it
        # made there. It would make another and end the one that the client has.
        record = {"key": value, "rotation": rotation, "encryption_key": encryption}
        if stored != record and not self.check:
            self.record(self.path(".json"), record)
        found = config.key_differences(observed["keys"].get(self.name), wanted)
        if found and self.check:
            self.changes += found
        elif found:
            request = {"keys": [wanted], "remove": [], "encryption_key": all_secrets["encryption_key"]}
            reply = self.ask("keys", owner, self.secrets, request)
            self.changes += reply["done"]
            left = config.key_differences(reply["observed"]["keys"].get(self.name), {**wanted, "recreate": 0})
            if left:
                raise SetupError("Xinference's databases were corrected but still differ: " + "; ".join(left))
        self.keep_file(self.path(".key"), value + "\n")
        self.keep_file(self.path(".header"), f"Authorization: Bearer {value}\n")

    def refuse_anothers(self, keys: Json, value: str, client_key: str) -> None:
        """Refuse what is not this client's: the role's own key, and a value that another client has."""
        held = keys.get(self.name, {}).get("hash")
        if client_key and held == accounts.digest(client_key):
            raise SetupError(
                f"{self.name} is the key that the role xinference keeps for the host itself (xinference_client_key)."
                " Choose another name"
            )
        others = [
            name
            for name, key in keys.items()
            if key["hash"] == accounts.digest(value) and name not in (self.name, self.former)
        ]
        if others:
            raise SetupError(f"the key given for {self.name} belongs to {others[0]}. Each client needs its own key")

    def absent(self, owner: tuple[int, int], observed: Json) -> None:
        names = [name for name in (self.name, self.former) if name in observed["keys"]]
        if names and self.check:
            self.changes += [f"API key {name}: no longer wanted" for name in names]
        elif names:
            request = {"keys": [], "remove": names, "encryption_key": ""}
            self.changes += self.ask("keys", owner, self.secrets, request)["done"]
        for path in filter(os.path.lexists, map(self.path, SUFFIXES)):
            self.changes.append(f"{path} removed")
            if not self.check:
                os.unlink(path)

    def run(self) -> Json:
        """The module's result. Raises SetupError, ConfigError, OSError."""
        secrets_file = os.path.join(self.params["secrets_dir"], config.SECRETS_FILE)
        all_secrets = config.load_secrets(private_files.read_text(secrets_file))
        self.secrets += all_secrets.values()
        owner = program.account(self.params["user"], self.check)
        there = owner is not None and bool(all_secrets) and program.has_databases(self.home)
        result: Json = {}
        if self.params["state"] == "present":
            result = {"key_file": self.path(".key"), "header_file": self.path(".header")}
        if not there or owner is None:
            if not self.check:
                raise SetupError(f"Xinference in {self.home} has no accounts yet: run xinference_setup first")
            if self.params["state"] == "present":
                self.changes.append(f"API key {self.name}: missing")
        else:
            observed = self.ask("observe", owner, self.secrets)["observed"]
            if self.params["state"] == "absent":
                self.absent(owner, observed)
            elif self.params["deploy_user"] not in observed["accounts"]:
                raise SetupError(f"there is no account {self.params['deploy_user']}: run xinference_setup first")
            else:
                self.present(owner, observed, all_secrets)
        return {**result, **self.result(f"the key of {self.name} is as wanted")}


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "models": {"type": "list", "elements": "str", "default": []},
            "key": {"type": "str", "no_log": True},
            "rotation": {"type": "str", "default": ""},
            "overlap": {"type": "int", "default": 3600},
            "expires_at": {"type": "str", "default": ""},
            "release_path": {"type": "path", "default": layout.CURRENT},
            "user": {"type": "str", "default": "voicefleet"},
            "home": {"type": "path", "default": layout.HOME},
            "secrets_dir": {"type": "path", "default": layout.SECRETS, "no_log": False},
            "deploy_user": {"type": "str", "default": "voicefleet-deploy"},
        },
        supports_check_mode=True,
    )
    os.umask(0o077)
    secrets: list[str] = []
    try:
        key = ApiKey(module.params, module.check_mode)
        secrets = key.secrets
        result = key.run()
    except (SetupError, config.ConfigError, OSError) as error:
        module.fail_json(msg=Redactor(secrets).known(str(error)))
    module.exit_json(**result)


if __name__ == "__main__":
    main()
