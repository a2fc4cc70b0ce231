# SPDX-License-Identifier: GPL-3.0-or-later
"""Secrets, accounts and autostart of one host's Xinference: what is wanted, what exists, and what to do.

All root-only files lie in one folder (``/etc/voicefleet``, 0700):

- ``secrets.json``: the six secrets, given by the operator or made here once;
- ``xinference.env``: the three that the service itself needs, for ``EnvironmentFile=``;
- ``client.key`` and ``client.header``: the API key alone, and as one header line for ``curl -H @file``;
- ``keys/``: the API keys of further clients;
- ``cluster.json``, on the supervisor of a cluster: the two that its workers need;
- ``applied.json``: digests of what was last written to Xinference's databases. Passwords are stored there as bcrypt
  hashes, and each takes 0.25 s to check. The digests show at once whether one changed on either side.

Nothing here starts a process or knows Xinference's classes; :mod:`xinference_accounts` does both.
"""

from __future__ import annotations

import datetime
import json
import os
import re
import secrets
import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .accounts import digest, grants

Json = dict[str, Any]

SECRETS_FILE = "secrets.json"
ENVIRONMENT_FILE = "xinference.env"
KEY_FILE = "client.key"
HEADER_FILE = "client.header"
APPLIED_FILE = "applied.json"
KEYS_FOLDER = "keys"
HEARING_UID = "whisper"  # under which clients find the model that hears
CLUSTER_FILE = "cluster.json"

# What the service reads from its environment (Xinference's constants.py, and xoscar).
ENVIRONMENT = {
    "xoscar_auth_key": "XOSCAR_AUTH_KEY",
    "jwt_secret": "XINFERENCE_AUTH_JWT_SECRET_KEY",
    "encryption_key": "XINFERENCE_AUTH_ENCRYPTION_KEY",
}
PASSWORDS = ("admin_password", "deploy_password")
SECRETS = (*ENVIRONMENT, *PASSWORDS, "client_key")
# A worker of a cluster has no accounts. It shows the first of these to its siblings and uses the second for the API.
WORKER_SECRETS = ("xoscar_auth_key", "client_key")

# All permissions of Xinference's first administrator (api/oauth2/advanced/auth_service.py).
ADMIN_PERMISSIONS = [
    "admin", "models:list", "models:read", "models:write", "models:register", "keys:create", "keys:manage",
    "users:manage", "cache:list", "cache:delete", "virtualenv:list", "virtualenv:delete", "logs:list",
    "model_requests:read_body", "monitor:view", "settings:read", "settings:write", "routers:list", "routers:read",
    "routers:write", "routers:operate",
]  # fmt: skip
# Enough to launch models, keep autostart and manage keys, but not workers, cluster or settings.
DEPLOY_PERMISSIONS = ["models:list", "models:read", "models:write", "keys:create", "keys:manage"]

# What below the service's home must belong to it and be closed to others: path, mode, whether it is a folder.
PRIVATE = ((("auth",), 0o700, True), (("auth", "auth.db"), 0o600, False), (("launch_history.db",), 0o600, False))
NOTHING: Json = {"accounts": {}, "keys": {}, "autostart": {}}

PASSWORD_MIN_LENGTH = 8  # XINFERENCE_PASSWORD_MIN_LENGTH's default
PASSWORD_MAX_BYTES = 72  # bcrypt refuses longer ones
# One token that is safe without quoting in an EnvironmentFile, a header and JSON.
_TOKEN = re.compile(r"[A-Za-z0-9._~+/=:@%^-]{16,512}\Z")

_KEY_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z")


class ConfigError(ValueError):
    """A secret or option cannot be used; the message never contains the value."""


def make_secret(name: str) -> str:
    """Make a new secret: 256 bits, or for the client key Xinference's form: ``xf-`` and 48 letters and digits."""
    if name == "client_key":
        alphabet = string.ascii_letters + string.digits
        return "xf-" + "".join(secrets.choice(alphabet) for dummy in range(48))
    return secrets.token_hex(32)


def check_secret(name: str, value: str) -> None:
    """Raise :class:`ConfigError` if a secret would be refused or misread later."""
    if name in PASSWORDS:
        fitting = len(value) >= PASSWORD_MIN_LENGTH and len(value.encode("utf-8", "replace")) <= PASSWORD_MAX_BYTES
        if not fitting or not value.isprintable():
            raise ConfigError(
                f"{name} must have {PASSWORD_MIN_LENGTH} printable characters or more, and at most"
                f" {PASSWORD_MAX_BYTES} bytes"
            )
    elif not _TOKEN.match(value):
        raise ConfigError(f"{name} must be 16 to 512 characters out of letters, digits and ._~+/=:@%^-")


def load_secrets(text: str | None) -> dict[str, str]:
    """Return the secrets of ``secrets.json``; empty if it is missing. Raises :class:`ConfigError` if it is damaged."""
    if text is None:
        return {}
    try:
        stored = json.loads(text)
        return {name: stored[name] for name in SECRETS if isinstance(stored.get(name), str) and stored[name]}
    except (ValueError, AttributeError):
        raise ConfigError(
            f"{SECRETS_FILE} in the secrets' folder is not JSON. Restore it from a backup, or delete it. If you delete"
            " it, all secrets are made again, and clients need the new key"
        ) from None


def merge_secrets(
    given: Mapping[str, str | None], stored: Mapping[str, str], worker: bool = False
) -> tuple[dict[str, str], list[str]]:
    """Return all secrets, and what happened to each. The operator's wins, then the host's, then a new one.

    A worker has two secrets, which come from its supervisor. It makes none.
    """
    merged: dict[str, str] = {}
    events = []
    for name in WORKER_SECRETS if worker else SECRETS:
        value = given.get(name) or stored.get(name)
        if value is None and worker:
            raise ConfigError(
                f"{name} did not come from the supervisor, which keeps it in {CLUSTER_FILE} of its secrets' folder. The"
                " supervisor's deploy writes that file: look there first"
            )
        if value is None:
            value = make_secret(name)
            events.append(f"{name} made on the host")
        elif name in stored and value != stored[name]:
            events.append(f"{name} changed by the {'supervisor' if worker else 'operator'}")
        elif name not in stored:
            events.append(f"{name} taken from the {'supervisor' if worker else 'operator'}")
        check_secret(name, value)
        merged[name] = value
    return merged, events


def files(all_secrets: Mapping[str, str], supervisor: bool = False) -> dict[str, str]:
    """Return the text of each root-only file that follows from the secrets, those of a worker or all."""
    environment = [
        "# Secrets of the service, made by voicefleet.kokoro; the role's variables take your own.",
        *(f"{variable}={all_secrets[name]}" for name, variable in ENVIRONMENT.items() if name in all_secrets),
    ]
    key = all_secrets["client_key"]
    shared = {name: all_secrets[name] for name in WORKER_SECRETS}
    return {
        SECRETS_FILE: json.dumps(dict(all_secrets), indent=2, sort_keys=True) + "\n",
        **({CLUSTER_FILE: json.dumps(shared, indent=2, sort_keys=True) + "\n"} if supervisor else {}),
        ENVIRONMENT_FILE: "\n".join(environment) + "\n",
        KEY_FILE: key + "\n",
        HEADER_FILE: f"Authorization: Bearer {key}\n",
    }


@dataclass(frozen=True)
class Names:
    """The accounts and the key that this collection manages. All others in the databases stay untouched."""

    admin: str = "admin"
    deploy: str = "voicefleet-deploy"
    key: str = "voicefleet-client"


def autostart_entry(launch: Mapping[str, Any], max_retries: int, retry_interval: int) -> Json:
    """Return one autostart entry as Xinference keeps it: no unset fields, and always a type (its default is LLM)."""
    payload = {key: value for key, value in launch.items() if value is not None}
    for field in ("model_name", "model_type", "model_uid"):
        if not isinstance(payload.get(field), str) or not payload[field].strip():
            raise ConfigError(f"a model to launch needs {field}")
    if "envs" in payload:
        raise ConfigError(
            "envs of a model may hold secrets, and Xinference stores them as plain text. Use the unit instead"
        )
    return {"priority": 100, "max_retries": max_retries, "retry_interval_seconds": retry_interval, "launch": payload}


def uids(uid: str, languages: Sequence[str], models: Mapping[str, str]) -> dict[str, str]:
    """Return the uids of models that speak one language alone, by language. ``models`` are their names.

    Kokoro-82M has the plain uid and speaks all other languages. If there is no other, the first of these has it.
    """
    own = [language for language in dict.fromkeys(languages) if language in models]
    plain = [] if set(languages) - set(own) else own[:1]
    return {language: uid if language in plain else f"{uid}-{language}" for language in own}


def launches(
    launch: Mapping[str, Any], languages: Sequence[str], models: Mapping[str, str] | None = None, hearing: str = ""
) -> list[Json]:
    """Return the payloads for some languages, or the payload itself if no language is named.

    The last one is that of the model that hears, if ``hearing`` names one. It has one replica.

    One process speaks every language, except those that ``models`` maps to the name of another model with weights of
    its own. It lies beside the payload's model.
    """
    others = uids(str(launch.get("model_uid")), languages, models or {})
    shared = [language for language in languages if language not in others]
    found = [{**launch, **({"lang_code": shared[0]} if shared else {})}] if shared or not languages else []
    for language, uid in others.items():
        name = (models or {})[language]
        path = os.path.join(os.path.dirname(str(launch.get("model_path"))), name)
        found.append({**launch, "lang_code": language, "model_uid": uid, "model_name": name, "model_path": path})
    if hearing:
        kept = {
            name: launch[name] for name in ("model_type", "enable_virtual_env", "device", "gpu_idx") if name in launch
        }
        path = os.path.join(os.path.dirname(str(launch.get("model_path"))), hearing)
        found.append({**kept, "model_uid": HEARING_UID, "model_name": hearing, "model_path": path, "replica": 1})
    taken = [payload.get("model_uid") for payload in found]
    if hearing and taken.count(HEARING_UID) > 1:
        raise ConfigError(f"{HEARING_UID} is the uid of the model that hears. Choose another xinference_model_uid")
    return found


def wanted_state(
    all_secrets: Mapping[str, str], names: Names, entries: list[Json], observed: Json, applied: Json
) -> Json:
    """Return the request's ``wanted`` of :mod:`xinference_accounts`."""
    uids = sorted(entry["launch"]["model_uid"] for entry in entries)
    remembered = applied.get("models", [])
    return {
        "accounts": [
            {"name": names.admin, "password": all_secrets["admin_password"], "permissions": ADMIN_PERMISSIONS},
            {"name": names.deploy, "password": all_secrets["deploy_password"], "permissions": DEPLOY_PERMISSIONS},
        ],
        "key": {
            "name": names.key,
            "value": all_secrets["client_key"],
            "owner": names.deploy,
            "models": uids,
            # Xinference can show a key again only if it was encrypted with the service's present encryption key.
            "recreate": bool(observed["keys"].get(names.key))
            and applied.get("encryption_key") != digest(all_secrets["encryption_key"]),
        },
        "encryption_key": all_secrets["encryption_key"],
        "autostart": entries,
        "autostart_owner": names.deploy,
        "autostart_remove": [uid for uid in remembered if uid not in uids and uid in observed["autostart"]],
    }


def differences(observed: Json, wanted: Json, applied: Json) -> list[str]:
    """Return why the databases must be corrected, one line each, without secrets; empty if nothing is to do."""
    found = []
    for account in wanted["accounts"]:
        name = account["name"]
        held = observed["accounts"].get(name)
        if held is None:
            found.append(f"account {name}: missing")
            continue
        if applied.get("accounts", {}).get(name) != [digest(account["password"]), held["password"]]:
            found.append(f"account {name}: the password is not known to be the wanted one")
        if held["permissions"] != sorted(account["permissions"]):
            found.append(f"account {name}: other permissions")
        if not held["enabled"]:
            found.append(f"account {name}: disabled")

    found += key_differences(observed["keys"].get(wanted["key"]["name"]), wanted["key"])

    for entry in wanted["autostart"]:
        uid = entry["launch"]["model_uid"]
        held = observed["autostart"].get(uid)
        if held is None:
            found.append(f"autostart of model {uid}: missing")
        elif held != dict(entry, owner=wanted["autostart_owner"]):
            was = held["launch"] or {}
            fields = [key for key in sorted({*was, *entry["launch"]}) if was.get(key) != entry["launch"].get(key)]
            found.append(f"autostart of model {uid}: other {', '.join(fields) or 'retries or owner'}")
    found += [f"autostart of model {uid}: no longer wanted" for uid in wanted["autostart_remove"]]
    return found


def key_differences(held: Json | None, key: Json) -> list[str]:
    """Return why one API key must be corrected, without secrets. ``held`` was observed, ``key`` is wanted."""
    if held is None:
        return [f"API key {key['name']}: missing"]
    return [
        f"API key {key['name']}: {why}"
        for differs, why in (
            (held["hash"] != digest(key["value"]), "another value"),
            (key["recreate"], "encrypted with another encryption key"),
            (held["owner"] != key["owner"], "another owner"),
            (not held["enabled"], "disabled"),
            (held["expires_at"] != key.get("expires_at"), "it expires" if held["expires_at"] else "it does not expire"),
            (held["models"] != grants(key["models"]), "other model permissions"),
        )
        if differs
    ]


def check_key_name(name: str) -> str:
    """Return a client's name, which is also a file name, unchanged. Raises :class:`ConfigError` if it is unfit."""
    if not _KEY_NAME.match(name):
        raise ConfigError(
            f"{name!r} is not a valid client's name: 1 to 64 letters, digits and ._-, no sign at the start"
        )
    return name


def check_time(text: str) -> str | None:
    """Return a time as Xinference keeps it (ISO, UTC, to the second), None for none. Raises :class:`ConfigError`."""
    if not text:
        return None
    try:
        time = datetime.datetime.fromisoformat(text[:-1] if text.endswith("Z") else text)
    except ValueError:
        raise ConfigError(f"{text!r} is not a time such as 2027-01-31 or 2027-01-31T12:00:00") from None
    if time.tzinfo is not None:
        time = time.astimezone(datetime.timezone.utc).replace(tzinfo=None)
    return time.isoformat(timespec="seconds")


def applied_state(observed: Json, wanted: Json) -> Json:
    """Return the content of ``applied.json`` once the databases are in the wanted state."""
    return {
        "accounts": {
            account["name"]: [digest(account["password"]), observed["accounts"][account["name"]]["password"]]
            for account in wanted["accounts"]
        },
        "encryption_key": digest(wanted["encryption_key"]),
        "models": wanted["key"]["models"],
    }


def load_applied(text: str | None) -> Json:
    """Return ``applied.json``; empty if it is missing or damaged, because it can always be rebuilt."""
    try:
        loaded = json.loads(text or "{}")
    except ValueError:
        return {}
    return loaded if isinstance(loaded, dict) else {}
