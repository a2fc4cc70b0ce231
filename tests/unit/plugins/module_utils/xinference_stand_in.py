# SPDX-License-Identifier: GPL-3.0-or-later
"""A release whose ``xinference`` package has the few classes that the accounts program calls.

The tables and the signatures are Xinference's; hashing and encryption are stand-ins. With it, the program runs as its
own process in the release's interpreter, without the 2 GB of a real release.
"""

from __future__ import annotations

import sys
import venv
from pathlib import Path

CRYPTO = """
import hashlib

def sha256_hex(data):
    return hashlib.sha256(data.encode()).hexdigest()

def get_password_hash(password):
    return "$2b$" + sha256_hex("salt" + password)

def verify_password(password, hashed):
    if not hashed.startswith("$2b$"):
        raise ValueError("Invalid salt")
    return hashed == get_password_hash(password)

def derive_encryption_key(key_str):
    return hashlib.sha256(key_str.encode()).digest()

def aes_encrypt(plaintext, key):
    return bytes(a ^ b for a, b in zip(plaintext.encode(), key * 9))
"""

DATABASE = '''
import sqlite3
from contextlib import contextmanager
from pathlib import Path

SCHEMA = """
CREATE TABLE IF NOT EXISTS users (id INTEGER PRIMARY KEY, username TEXT NOT NULL, password_hash TEXT,
    source TEXT NOT NULL DEFAULT 'local', enabled INTEGER DEFAULT 1, token_version INTEGER NOT NULL DEFAULT 0);
CREATE UNIQUE INDEX IF NOT EXISTS idx_users ON users(source, username);
CREATE TABLE IF NOT EXISTS user_permissions (user_id INTEGER NOT NULL, permission TEXT NOT NULL,
    PRIMARY KEY (user_id, permission), FOREIGN KEY (user_id) REFERENCES users(id) ON DELETE CASCADE);
CREATE TABLE IF NOT EXISTS api_keys (id INTEGER PRIMARY KEY, user_id INTEGER NOT NULL, key_hash TEXT UNIQUE NOT NULL,
    key_encrypted TEXT NOT NULL, key_prefix TEXT NOT NULL, name TEXT NOT NULL, description TEXT,
    enabled INTEGER DEFAULT 1, expires_at TIMESTAMP,
    FOREIGN KEY (user_id) REFERENCES users(id) ON DELETE CASCADE);
CREATE UNIQUE INDEX IF NOT EXISTS idx_api_keys_name_unique ON api_keys(lower(name));
CREATE TABLE IF NOT EXISTS api_key_model_permissions (id INTEGER PRIMARY KEY, api_key_id INTEGER NOT NULL,
    permission_type TEXT NOT NULL, permission_value TEXT, UNIQUE(api_key_id, permission_type, permission_value),
    FOREIGN KEY (api_key_id) REFERENCES api_keys(id) ON DELETE CASCADE);
"""

class Database:
    def __init__(self, db_path):
        self._db_path = db_path
        Path(db_path).parent.mkdir(parents=True, exist_ok=True)
        with self._conn() as conn:
            conn.executescript(SCHEMA)

    @contextmanager
    def _conn(self):
        conn = sqlite3.connect(self._db_path)
        conn.execute("PRAGMA journal_mode=WAL")
        conn.execute("PRAGMA foreign_keys=ON")
        conn.row_factory = sqlite3.Row
        try:
            yield conn
            conn.commit()
        finally:
            conn.close()

    def _do(self, query, values=()):
        with self._conn() as conn:
            return conn.execute(query, values).lastrowid

    def _all(self, query, values=()):
        with self._conn() as conn:
            return [dict(row) for row in conn.execute(query, values)]

    def create_user(self, username, password_hash, permissions=None):
        user = self._do("INSERT INTO users (username, password_hash) VALUES (?, ?)", (username, password_hash))
        self.set_user_permissions(user, permissions or [])
        return user

    def get_user_by_username(self, username, source="local"):
        users = self._all("SELECT * FROM users WHERE username = ? AND source = ?", (username, source))
        if not users:
            return None
        rows = self._all("SELECT permission FROM user_permissions WHERE user_id = ?", (users[0]["id"],))
        return dict(users[0], permissions=[row["permission"] for row in rows])

    def update_user(self, user_id, **fields):
        self._do("UPDATE users SET enabled = ? WHERE id = ?", (fields["enabled"], user_id))

    def set_user_permissions(self, user_id, permissions):
        self._do("DELETE FROM user_permissions WHERE user_id = ?", (user_id,))
        for permission in permissions:
            self._do("INSERT INTO user_permissions VALUES (?, ?)", (user_id, permission))

    def update_password_and_revoke_tokens(self, user_id, password_hash):
        query = "UPDATE users SET password_hash = ?, token_version = token_version + 1 WHERE id = ?"
        self._do(query, (password_hash, user_id))

    def create_api_key(self, user_id, key_hash, key_encrypted, key_prefix, name, description=None,
                       expires_at=None):
        key = self._do(
            "INSERT INTO api_keys (user_id, key_hash, key_encrypted, key_prefix, name, description, expires_at)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            (user_id, key_hash, key_encrypted, key_prefix, name, description, expires_at))
        return key

    def list_api_keys(self):
        return self._all("SELECT * FROM api_keys")

    def get_api_key_by_hash(self, key_hash):
        keys = self._all("SELECT * FROM api_keys WHERE key_hash = ?", (key_hash,))
        if not keys:
            return None
        rows = self._all("SELECT * FROM api_key_model_permissions WHERE api_key_id = ?", (keys[0]["id"],))
        return dict(keys[0], model_permissions=rows)

    def update_api_key(self, key_id, **fields):
        for name, value in fields.items():
            self._do(f"UPDATE api_keys SET {name} = ? WHERE id = ?", (value, key_id))

    def delete_api_key(self, key_id):
        self._do("DELETE FROM api_keys WHERE id = ?", (key_id,))

    def set_api_key_model_permissions(self, key_id, permissions):
        self._do("DELETE FROM api_key_model_permissions WHERE api_key_id = ?", (key_id,))
        for item in permissions:
            self._do("INSERT INTO api_key_model_permissions (api_key_id, permission_type, permission_value)"
                     " VALUES (?, ?, ?)", (key_id, item["permission_type"], item["permission_value"]))
'''

HISTORY = '''
import json
import sqlite3

SCHEMA = """
CREATE TABLE IF NOT EXISTS launch_history (id INTEGER PRIMARY KEY AUTOINCREMENT, model_name TEXT NOT NULL,
    model_uid TEXT NOT NULL, data TEXT NOT NULL, autostart_enabled INTEGER NOT NULL DEFAULT 0,
    autostart_priority INTEGER NOT NULL DEFAULT 100, autostart_max_retries INTEGER NOT NULL DEFAULT 3,
    autostart_retry_interval_seconds INTEGER NOT NULL DEFAULT 30, created_by TEXT DEFAULT '');
CREATE UNIQUE INDEX IF NOT EXISTS idx_launch ON launch_history(model_name, model_uid, created_by);
CREATE TABLE IF NOT EXISTS launch_runtime (model_uid TEXT NOT NULL, python_executable TEXT NOT NULL);
"""

class LaunchHistoryStore:
    def __init__(self, db_path):
        self._conn = sqlite3.connect(db_path, isolation_level=None)
        self._conn.row_factory = sqlite3.Row
        self._conn.executescript(SCHEMA)

    def list_autostart(self):
        return [
            {"enabled": True, "priority": row["autostart_priority"], "max_retries": row["autostart_max_retries"],
             "retry_interval_seconds": row["autostart_retry_interval_seconds"], "launch": json.loads(row["data"]),
             "created_by": row["created_by"]}
            for row in self._conn.execute("SELECT * FROM launch_history WHERE autostart_enabled = 1")
        ]

    def clear_launch_runtime(self, model_uid):
        self._conn.execute("DELETE FROM launch_runtime WHERE model_uid = ?", (model_uid,))

    def upsert_autostart(self, entry, username=""):
        launch = entry["launch"]
        self.remove_autostart(launch["model_uid"])
        self._conn.execute(
            "INSERT INTO launch_history (model_name, model_uid, data, created_by, autostart_enabled,"
            " autostart_priority, autostart_max_retries, autostart_retry_interval_seconds)"
            " VALUES (?, ?, ?, ?, 1, ?, ?, ?) ON CONFLICT(model_name, model_uid, created_by) DO UPDATE SET"
            " data = excluded.data, autostart_enabled = 1, autostart_priority = excluded.autostart_priority,"
            " autostart_max_retries = excluded.autostart_max_retries,"
            " autostart_retry_interval_seconds = excluded.autostart_retry_interval_seconds",
            (launch["model_name"], launch["model_uid"], json.dumps(launch), username, entry["priority"],
             entry["max_retries"], entry["retry_interval_seconds"]))

    def remove_autostart(self, model_uid):
        query = "UPDATE launch_history SET autostart_enabled = 0 WHERE model_uid = ? AND autostart_enabled = 1"
        return self._conn.execute(query, (model_uid,)).rowcount > 0
'''

AUTOSTART = """
def normalize_autostart_model_entry(entry):
    return entry
"""


def make_release(path: Path) -> Path:
    """A release at a path: a virtual environment of this interpreter with the stand-in package."""
    env = path / "env"
    venv.create(env, symlinks=True, with_pip=False)
    site = env / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}" / "site-packages"
    # An import that prints must not spoil the answer.
    files = {
        "__init__.py": "print('noise of an import')\n",
        "api/oauth2/advanced/crypto.py": CRYPTO,
        "api/oauth2/advanced/database.py": DATABASE,
        "core/launch_history_store.py": HISTORY,
        "core/autostart.py": AUTOSTART,
    }
    for name, text in files.items():
        target = site / "xinference" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
    return path
