# SPDX-License-Identifier: GPL-3.0-or-later
"""Secrets, accounts and autostart of one host's Xinference: what is wanted, what is there, what is to be done.

Everything root-only lies in one folder (``/etc/voicefleet``, 0700):

- ``secrets.json``: the six secrets, given by the operator or made here once;
- ``xinference.env``: the three that the service itself needs, for ``EnvironmentFile=``;
- ``client.key`` and ``client.header``: the API key alone, and as one header line for ``curl -H @file``;
- ``keys/``: the API keys of further clients;
- ``cluster.json``, on the supervisor of a cluster: the two that its workers need;
- ``applied.json``: digests of what was last brought into Xinference's databases. Passwords are stored there as bcrypt
  hashes, which take 0.25 s each to check; the digests tell in no time whether one was changed on either side.

Nothing in here starts a process or knows Xinference's classes; :mod:`xinference_accounts` does both.
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
from .languages import uid_of

Json = dict[str, Any]

SECRETS_FILE = "secrets.json"
ENVIRONMENT_FILE = "xinference.env"
KEY_FILE = "client.key"
HEADER_FILE = "client.header"
APPLIED_FILE = "applied.json"
KEYS_FOLDER = "keys"
CLUSTER_FILE = "cluster.json"

# What the service reads from its environment (Xinference's constants.py, and xoscar).
ENVIRONMENT = {
    "xoscar_auth_key": "XOSCAR_AUTH_KEY",
    "jwt_secret": "XINFERENCE_AUTH_JWT_SECRET_KEY",
    "encryption_key": "XINFERENCE_AUTH_ENCRYPTION_KEY",
}
PASSWORDS = ("admin_password", "deploy_password")
SECRETS = (*ENVIRONMENT, *PASSWORDS, "client_key")
# A worker of a cluster keeps no accounts: it shows its siblings the first of these, and asks the API with the second.
WORKER_SECRETS = ("xoscar_auth_key", "client_key")

# All that Xinference's first administrator gets (api/oauth2/advanced/auth_service.py).
ADMIN_PERMISSIONS = [
    "admin",
    "models:list",
    "models:read",
    "models:write",
    "models:register",
    "keys:create",
    "keys:manage",
    "users:manage",
    "cache:list",
    "cache:delete",
    "virtualenv:list",
    "virtualenv:delete",
    "logs:list",
    "model_requests:read_body",
    "monitor:view",
    "settings:read",
    "settings:write",
    "routers:list",
    "routers:read",
    "routers:write",
    "routers:operate",
]
# Enough to launch models, keep autostart and manage keys; refused on workers, cluster and settings.
DEPLOY_PERMISSIONS = ["models:list", "models:read", "models:write", "keys:create", "keys:manage"]

# What under the service's home must be its own and closed to others: path, mode, whether it is a folder.
PRIVATE = (
    (("auth",), 0o700, True),
    (("auth", "auth.db"), 0o600, False),
    (("launch_history.db",), 0o600, False),
)
NOTHING: Json = {"accounts": {}, "keys": {}, "autostart": {}}

PASSWORD_MIN_LENGTH = 8  # XINFERENCE_PASSWORD_MIN_LENGTH's default
# One token that is safe in an EnvironmentFile, in a header and in JSON, with no quoting anywhere.
_TOKEN = re.compile(r"[A-Za-z0-9._~+/=:@%^-]{16,512}\Z")

_KEY_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z")


class ConfigError(ValueError):
    """A secret or option can't be used; the message never holds the value."""


def make_secret(name: str) -> str:
    """A new secret: 256 bits, or for the client key Xinference's own form, ``xf-`` and 48 letters and digits."""
    if name == "client_key":
        alphabet = string.ascii_letters + string.digits
        return "xf-" + "".join(secrets.choice(alphabet) for dummy in range(48))
    return secrets.token_hex(32)


def check_secret(name: str, value: str) -> None:
    """Raise :class:`ConfigError` where a secret would be refused or misread later."""
    if name in PASSWORDS:
        if len(value) < PASSWORD_MIN_LENGTH or not value.isprintable():
            raise ConfigError(f"{name} must have at least {PASSWORD_MIN_LENGTH} printable characters")
    elif not _TOKEN.match(value):
        raise ConfigError(f"{name} must be 16 to 512 characters out of letters, digits and ._~+/=:@%^-")


def load_secrets(text: str | None) -> dict[str, str]:
    """The secrets of ``secrets.json``, empty where there is none. Raises :class:`ConfigError` where it is damaged."""
    if text is None:
        return {}
    try:
        stored = json.loads(text)
        return {name: stored[name] for name in SECRETS if isinstance(stored.get(name), str) and stored[name]}
    except (ValueError, AttributeError):
        raise ConfigError(
            f"{SECRETS_FILE} in the secrets' folder is not JSON. Restore it from a backup, or delete it: all secrets"
            " are then made anew, and clients need the new key"
        ) from None


def merge_secrets(
    given: Mapping[str, str | None], stored: Mapping[str, str], worker: bool = False
) -> tuple[dict[str, str], list[str]]:
    """All secrets, and what happened to which: given by the operator wins, then what the host has, then a new one.

    A worker has two, which come from its supervisor; none is made there.
    """
    merged: dict[str, str] = {}
    events = []
    for name in WORKER_SECRETS if worker else SECRETS:
        value = given.get(name) or stored.get(name)
        if value is None and worker:
            raise ConfigError(
                f"{name} did not come from the supervisor. It keeps it in {CLUSTER_FILE} of its secrets' folder, made"
                " when it is deployed: look there first"
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
    """The text of each root-only file that follows from the secrets, those of a worker or all."""
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
    """The accounts and the key that this collection manages; all others in the databases are left alone."""

    admin: str = "admin"
    deploy: str = "voicefleet-deploy"
    key: str = "voicefleet-client"


def autostart_entry(launch: Mapping[str, Any], max_retries: int, retry_interval: int) -> Json:
    """One autostart entry as Xinference keeps it: nothing unset, the type always named (its default is LLM)."""
    payload = {key: value for key, value in launch.items() if value is not None}
    for field in ("model_name", "model_type", "model_uid"):
        if not isinstance(payload.get(field), str) or not payload[field].strip():
            raise ConfigError(f"a model to launch needs {field}")
    if "envs" in payload:
        raise ConfigError(
            "envs of a model may hold secrets, and Xinference keeps them in plain text: use the unit instead"
        )
    return {
        "priority": 100,
        "max_retries": max_retries,
        "retry_interval_seconds": retry_interval,
        "launch": payload,
    }


def launches(
    launch: Mapping[str, Any], languages: Sequence[str], models: Mapping[str, str] | None = None
) -> list[Json]:
    """One payload for each language, or the payload itself where none is named.

    ``models`` has the languages that another model speaks, and its name; it lies beside the payload's.
    """
    if not languages:
        return [dict(launch)]
    found = []
    for language in dict.fromkeys(languages):
        row = {**launch, "lang_code": language, "model_uid": uid_of(str(launch.get("model_uid")), language, languages)}
        name = (models or {}).get(language)
        if name:
            row["model_name"] = name
            row["model_path"] = os.path.join(os.path.dirname(str(launch.get("model_path"))), name)
        found.append(row)
    return found


def wanted_state(
    all_secrets: Mapping[str, str], names: Names, entries: list[Json], observed: Json, applied: Json
) -> Json:
    """The request's ``wanted`` of :mod:`xinference_accounts`."""
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
            # Xinference can show a key again only if it was encrypted with the key that the service has now.
            "recreate": bool(observed["keys"].get(names.key))
            and applied.get("encryption_key") != digest(all_secrets["encryption_key"]),
        },
        "encryption_key": all_secrets["encryption_key"],
        "autostart": entries,
        "autostart_owner": names.deploy,
        "autostart_remove": [uid for uid in remembered if uid not in uids and uid in observed["autostart"]],
    }


def differences(observed: Json, wanted: Json, applied: Json) -> list[str]:
    """Why the databases must be corrected, one line each, without a secret; empty where nothing is to be done."""
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
    """Why one API key must be corrected, without a secret; ``held`` is what was observed of it, ``key`` is wanted."""
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
    """A client's name, which is that of files too, unchanged. Raises :class:`ConfigError` for an unfit one."""
    if not _KEY_NAME.match(name):
        raise ConfigError(f"a client's name has 1 to 64 letters, digits and ._-, and begins with no sign: {name!r}")
    return name


def check_time(text: str) -> str | None:
    """A time as Xinference keeps it (ISO, UTC, to the second), None for none. Raises :class:`ConfigError`."""
    if not text:
        return None
    try:
        time = datetime.datetime.fromisoformat(text[:-1] if text.endswith("Z") else text)
    except ValueError:
        raise ConfigError(f"{text!r} is no time such as 2027-01-31 or 2027-01-31T12:00:00") from None
    if time.tzinfo is not None:
        time = time.astimezone(datetime.timezone.utc).replace(tzinfo=None)
    return time.isoformat(timespec="seconds")


def applied_state(observed: Json, wanted: Json) -> Json:
    """The content of ``applied.json`` after the databases were brought to the wanted state."""
    return {
        "accounts": {
            account["name"]: [digest(account["password"]), observed["accounts"][account["name"]]["password"]]
            for account in wanted["accounts"]
        },
        "encryption_key": digest(wanted["encryption_key"]),
        "models": wanted["key"]["models"],
    }


def load_applied(text: str | None) -> Json:
    """``applied.json``; empty where it is missing or damaged, as it can always be made anew."""
    try:
        loaded = json.loads(text or "{}")
    except ValueError:
        return {}
    return loaded if isinstance(loaded, dict) else {}
