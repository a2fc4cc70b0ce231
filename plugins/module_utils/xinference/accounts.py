# SPDX-License-Identifier: GPL-3.0-or-later
"""Accounts, API keys and autostart entries of one Xinference, without HTTP.

This file is also a program. ``xinference_setup`` sends its source to the release's interpreter and runs it as the
service's user, before the first start or beside the running service. (SQLite runs in WAL mode, and Xinference sees at
once what another process wrote.) It therefore imports nothing of this collection.

It reads one JSON object from standard input, so that no secret is a process argument. It writes one to standard
output::

    {"action": "observe", "home": "/var/lib/voicefleet"}                   -> {"observed": {...}}
    {"action": "converge", "home": "/var/lib/voicefleet", "wanted": {...}} -> {"done": ["..."], "observed": {...}}
    {"action": "keys", "home": "/var/lib/voicefleet", "wanted": {...}}     -> {"done": ["..."], "observed": {...}}
    {"action": "copy", "home": "/var/lib/voicefleet-candidate", "wanted": {"from": "/var/lib/voicefleet"}}
    (a fault)                                                              -> {"error": "..."}

``observed``::

    {"accounts":  {"admin": {"enabled": true, "permissions": ["admin", ...], "password": "<sha256 of its hash>"}},
     "keys":      {"voicefleet-client": {"hash": "<sha256 of the key>", "enabled": true, "expires_at": null,
                                         "owner": "voicefleet-deploy", "models": [["model_id", "kokoro"]]}},
     "autostart": {"kokoro": {"owner": "voicefleet-deploy", "priority": 100, "max_retries": 1000,
                              "retry_interval_seconds": 10, "launch": {"model_name": "Kokoro-82M", ...}}}}

``wanted``::

    {"accounts":  [{"name": "admin", "password": "...", "permissions": ["admin", ...]}],
     "key":       {"name": "...", "value": "xf-...", "owner": "...", "models": ["kokoro"], "recreate": false},
     "encryption_key": "...",
     "autostart": [{"priority": 100, "max_retries": 1000, "retry_interval_seconds": 10, "launch": {...}}],
     "autostart_owner": "...", "autostart_remove": ["old-uid"]}

and for the action ``keys``. There ``models`` may be None for all models. If a key's value changes, the old key stays
valid under the name in ``former`` until it expires (times as Xinference keeps them: ISO, UTC, without a zone)::

    {"keys":   [{"name": "shop", ..., "expires_at": null, "former": {"name": "shop (former)", "expires_at": "..."}}],
     "remove": ["old-name"], "encryption_key": "..."}

``copy`` replaces all accounts, keys and logins by those of another home, beside both running services.

Observing and copying need only the standard library (50 ms). Converging imports Xinference's own classes (one or two
seconds), so that Xinference itself hashes, encrypts and lays out the tables. The calls come from Xinference's
``api/oauth2/advanced/database.py``, ``crypto.py`` and ``core/launch_history_store.py``.
"""

from __future__ import annotations

import base64
import hashlib
import importlib
import json
import os
import sqlite3
import sys
from typing import Any, TextIO

Json = dict[str, Any]

AUTH_DB = os.path.join("auth", "auth.db")
LAUNCH_DB = "launch_history.db"


def digest(text: str) -> str:
    """SHA-256 of a text, as 64 hex digits."""
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def _rows(path: str, query: str) -> list[sqlite3.Row]:
    """Return the rows of a query; none if the file or the table does not exist yet.

    Open for writing, although this only reads: a database in WAL mode needs its -shm file, which the owner may create.
    """
    if not os.path.exists(path):
        return []
    connection = sqlite3.connect("file:{}?mode=rw".format(path.replace("?", "%3f")), uri=True, timeout=10)
    connection.row_factory = sqlite3.Row
    try:
        return connection.execute(query).fetchall()
    except sqlite3.OperationalError as error:
        if "no such table" in str(error):
            return []
        raise
    finally:
        connection.close()


def observe(home: str) -> Json:
    """Return what the databases under ``home`` hold, with every secret reduced to a digest. Raises sqlite3.Error."""
    auth = os.path.join(home, AUTH_DB)
    accounts: Json = {}
    names: dict[int, str] = {}
    for row in _rows(auth, "SELECT id, username, enabled, password_hash FROM users WHERE source = 'local'"):
        names[row["id"]] = row["username"]
        accounts[row["username"]] = {
            "enabled": bool(row["enabled"]),
            "permissions": [],
            "password": digest(row["password_hash"] or ""),
        }
    for row in _rows(auth, "SELECT user_id, permission FROM user_permissions ORDER BY permission"):
        if row["user_id"] in names:
            accounts[names[row["user_id"]]]["permissions"].append(row["permission"])

    keys: Json = {}
    key_names: dict[int, str] = {}
    for row in _rows(auth, "SELECT id, name, user_id, key_hash, enabled, expires_at FROM api_keys"):
        key_names[row["id"]] = row["name"]
        keys[row["name"]] = {
            "hash": row["key_hash"],
            "enabled": bool(row["enabled"]),
            "expires_at": row["expires_at"],
            "owner": names.get(row["user_id"]),
            "models": [],
        }
    permissions = "SELECT api_key_id, permission_type, permission_value FROM api_key_model_permissions ORDER BY 2, 3"
    for row in _rows(auth, permissions):
        if row["api_key_id"] in key_names:
            models = keys[key_names[row["api_key_id"]]]["models"]
            models.append([row["permission_type"], row["permission_value"]])

    autostart: Json = {}
    for row in _rows(
        os.path.join(home, LAUNCH_DB),
        "SELECT model_uid, data, created_by, autostart_priority AS priority, autostart_max_retries AS max_retries,"
        " autostart_retry_interval_seconds AS retry FROM launch_history WHERE autostart_enabled = 1",
    ):
        try:
            launch = json.loads(row["data"])
        except ValueError:
            launch = None
        autostart[row["model_uid"]] = {
            "owner": row["created_by"],
            "priority": row["priority"],
            "max_retries": row["max_retries"],
            "retry_interval_seconds": row["retry"],
            "launch": launch,
        }
    return {"accounts": accounts, "keys": keys, "autostart": autostart}


def _verified(crypto: Any, password: str, stored: str | None) -> bool:
    """Whether a password matches the stored hash. An invalid hash matches nothing."""
    try:
        return bool(stored) and bool(crypto.verify_password(password, stored))
    except ValueError:
        return False


def _converge_account(database: Any, crypto: Any, wanted: Json) -> list[str]:
    """Create or correct one local account; return what was done."""
    name = wanted["name"]
    user = database.get_user_by_username(name)
    if user is None:
        database.create_user(name, crypto.get_password_hash(wanted["password"]), permissions=wanted["permissions"])
        return [f"account {name} created"]
    done = []
    if not _verified(crypto, wanted["password"], user["password_hash"]):
        # This also ends every session that was opened with the old password.
        database.update_password_and_revoke_tokens(user["id"], crypto.get_password_hash(wanted["password"]))
        done.append(f"account {name}: password changed, its sessions ended")
    if sorted(user["permissions"]) != sorted(wanted["permissions"]):
        database.set_user_permissions(user["id"], wanted["permissions"])
        done.append(f"account {name}: permissions corrected")
    if not user["enabled"]:
        database.update_user(user["id"], enabled=1)
        done.append(f"account {name}: enabled")
    return done


def grants(models: list[str] | None) -> list[list[str | None]]:
    """Return what a key may use, in the form of :func:`observe`: models by uid, or all of them for None."""
    return [["all", None]] if models is None else [["model_id", uid] for uid in sorted(models)]


def _retire(database: Any, key: Json, former: Json) -> str:
    """Keep a key valid for a while under another name; return until when. A key retired earlier is removed."""
    for older in _named(database, former["name"]):
        database.delete_api_key(older["id"])
    end = min(filter(None, (former["expires_at"], key["expires_at"])))
    database.update_api_key(key["id"], name=former["name"], expires_at=end)
    return str(end)


def _named(database: Any, name: str) -> list[Json]:
    return [key for key in database.list_api_keys() if key["name"].lower() == name.lower()]


def _converge_key(database: Any, crypto: Any, wanted: Json, encryption_key: str) -> list[str]:
    """Create or correct one API key, found by its name; return what was done."""
    name = wanted["name"]
    owner = database.get_user_by_username(wanted["owner"])["id"]
    granted = grants(wanted["models"])
    models = [{"permission_type": kind, "permission_value": value} for kind, value in granted]
    key_hash = crypto.sha256_hex(wanted["value"])
    expires = wanted.get("expires_at")
    done = []
    for key in _named(database, name):
        if key["key_hash"] != key_hash and wanted.get("former"):
            end = _retire(database, key, wanted["former"])
            done.append(f"API key {name} replaced; the former one is valid until {end} UTC")
        elif key["key_hash"] != key_hash or key["user_id"] != owner or wanted["recreate"]:
            database.delete_api_key(key["id"])
            done.append(f"API key {name} replaced")
    kept = database.get_api_key_by_hash(key_hash)
    if kept is None:
        encrypted = crypto.aes_encrypt(wanted["value"], crypto.derive_encryption_key(encryption_key))
        created = database.create_api_key(
            owner,
            key_hash,
            base64.b64encode(encrypted).decode("ascii"),
            wanted["value"][:7],
            name,
            description="Managed by voicefleet.kokoro",
            expires_at=expires,
        )
        # A separate step: it clears what a row deleted by hand may have left for this id.
        database.set_api_key_model_permissions(created, models)
        return done or [f"API key {name} created"]
    if kept["name"] != name:
        database.update_api_key(kept["id"], name=name)
        done.append("API key {} renamed from {}".format(name, kept["name"]))
    if not kept["enabled"] or kept["expires_at"] != expires:
        database.update_api_key(kept["id"], enabled=1, expires_at=expires)
        done.append(f"API key {name}: enabled, " + (f"until {expires} UTC" if expires else "without end"))
    held = sorted([item["permission_type"], item["permission_value"] or ""] for item in kept["model_permissions"])
    if held != [[kind, value or ""] for kind, value in granted]:
        database.set_api_key_model_permissions(kept["id"], models)
        done.append(f"API key {name}: model permissions corrected")
    return done


def converge_keys(home: str, wanted: Json) -> list[str]:
    """Bring single API keys to the wanted state and remove others by name; return what was done."""
    crypto = importlib.import_module("xinference.api.oauth2.advanced.crypto")
    database = importlib.import_module("xinference.api.oauth2.advanced.database").Database(os.path.join(home, AUTH_DB))
    done: list[str] = []
    for name in wanted["remove"]:
        for key in _named(database, name):
            database.delete_api_key(key["id"])
            done.append("API key {} removed".format(key["name"]))
    for key in wanted["keys"]:
        done += _converge_key(database, crypto, key, wanted["encryption_key"])
    return done


def copy(home: str, source: str) -> None:
    """Replace the accounts, keys and logins under ``home`` by those under ``source``. One release made both tables."""
    paths = [os.path.join(folder, AUTH_DB).replace("?", "%3f") for folder in (source, home)]
    os.makedirs(os.path.join(home, os.path.dirname(AUTH_DB)), exist_ok=True)
    ends = [
        sqlite3.connect(f"file:{path}?mode={mode}", uri=True, timeout=10) for path, mode in zip(paths, ("rw", "rwc"))
    ]
    try:
        ends[0].backup(ends[1])
    finally:
        for connection in ends:
            connection.close()


def _converge_autostart(store: Any, normalize: Any, wanted: Json) -> list[str]:
    """Create or correct the autostart entries; return what was done."""
    fields = ("launch", "priority", "max_retries", "retry_interval_seconds")
    present = {entry["launch"]["model_uid"]: entry for entry in store.list_autostart()}
    done = []
    for raw in wanted["autostart"]:
        entry = normalize(dict(raw, enabled=True))
        uid = entry["launch"]["model_uid"]
        before = present.get(uid)
        if (
            before is not None
            and before["created_by"] == wanted["autostart_owner"]
            and all(before[field] == entry[field] for field in fields)
        ):
            continue
        # A reload keeps the interpreter on record; a new release must not start with the old one. An older Xinference
        # has no such record.
        forget = getattr(store, "clear_launch_runtime", None)
        if forget is not None:
            forget(uid)
        store.upsert_autostart(entry, wanted["autostart_owner"])
        done.append("autostart of model {} {}".format(uid, "created" if before is None else "changed"))
    for uid in wanted["autostart_remove"]:
        if store.remove_autostart(uid):
            done.append(f"autostart of model {uid} removed")
    return done


def converge(home: str, wanted: Json) -> list[str]:
    """Bring the databases under ``home`` to the wanted state with Xinference's own classes; return what was done."""
    crypto = importlib.import_module("xinference.api.oauth2.advanced.crypto")
    database = importlib.import_module("xinference.api.oauth2.advanced.database").Database(os.path.join(home, AUTH_DB))
    history = importlib.import_module("xinference.core.launch_history_store")
    autostart = importlib.import_module("xinference.core.autostart")

    done: list[str] = []
    for account in wanted["accounts"]:
        done += _converge_account(database, crypto, account)
    done += _converge_key(database, crypto, wanted["key"], wanted["encryption_key"])
    store = history.LaunchHistoryStore(os.path.join(home, LAUNCH_DB))
    done += _converge_autostart(store, autostart.normalize_autostart_model_entry, wanted)
    return done


def answer(request: Json) -> Json:
    """Carry out one request. An error becomes ``{"error": ...}``, because the caller sees no traceback."""
    try:
        result: Json = {}
        if request["action"] == "converge":
            result["done"] = converge(request["home"], request["wanted"])
        elif request["action"] == "keys":
            result["done"] = converge_keys(request["home"], request["wanted"])
        elif request["action"] == "copy":
            copy(request["home"], request["wanted"]["from"])
        result["observed"] = observe(request["home"])
        return result
    except Exception as error:  # the boundary of this process
        return {"error": f"{type(error).__name__}: {error}"}


def _main(source: TextIO) -> None:
    request = json.load(source)
    # Imports may print: send that to standard error, because standard output carries only the answer.
    sink = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    with sink:
        json.dump(answer(request), sink)


if __name__ == "__main__":
    _main(sys.stdin)
