# SPDX-License-Identifier: GPL-3.0-or-later
"""Parts of the accounts program. test_xinference_setup.py runs it as a process."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.voicefleet.kokoro.plugins.module_utils.xinference import accounts

EMPTY: dict[str, Any] = {"accounts": {}, "keys": {}, "autostart": {}}


def test_nothing_is_there_before_the_first_start(tmp_path: Path) -> None:
    assert accounts.observe(str(tmp_path)) == EMPTY
    assert list(tmp_path.iterdir()) == []


def test_a_database_without_tables_is_empty(tmp_path: Path) -> None:
    (tmp_path / "auth").mkdir()
    sqlite3.connect(tmp_path / accounts.AUTH_DB).close()
    (tmp_path / accounts.AUTH_DB).touch()
    assert accounts.observe(str(tmp_path)) == EMPTY


def test_a_damaged_database_is_an_error_not_an_empty_one(tmp_path: Path) -> None:
    (tmp_path / "auth").mkdir()
    (tmp_path / accounts.AUTH_DB).write_text("this is no database, and longer than a header of one is " * 4)
    with pytest.raises(sqlite3.DatabaseError):
        accounts.observe(str(tmp_path))
    assert "not a database" in accounts.answer({"action": "observe", "home": str(tmp_path)})["error"]


def test_damaged_launch_data_counts_as_none(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / accounts.LAUNCH_DB) as connection:
        connection.execute(
            "CREATE TABLE launch_history (model_uid, data, created_by, autostart_priority, autostart_max_retries,"
            " autostart_retry_interval_seconds, autostart_enabled)"
        )
        connection.execute("INSERT INTO launch_history VALUES ('kokoro', '{', 'x', 100, 3, 30, 1)")
    assert accounts.observe(str(tmp_path))["autostart"]["kokoro"]["launch"] is None


class Crypto:
    @staticmethod
    def verify_password(password: str, stored: str) -> bool:
        if not stored.startswith("$2b$"):
            raise ValueError("Invalid salt")
        return stored == "$2b$" + password


@pytest.mark.parametrize(
    ("stored", "fits"), [("$2b$right", True), ("$2b$wrong", False), ("not a hash", False), ("", False), (None, False)]
)
def test_an_invalid_stored_hash_matches_nothing(stored: str | None, fits: bool) -> None:
    assert accounts._verified(Crypto, "right", stored) is fits


def test_without_xinference_converging_is_an_error(tmp_path: Path) -> None:
    answer = accounts.answer({"action": "converge", "home": str(tmp_path), "wanted": {}})
    assert "xinference" in answer["error"]


@pytest.mark.parametrize("newer", [True, False])
def test_an_older_xinference_has_no_record_of_the_interpreter_to_clear(newer: bool) -> None:
    seen: list[tuple[str, str]] = []

    class Older:
        def list_autostart(self) -> list[dict[str, Any]]:
            return []

        def upsert_autostart(self, entry: dict[str, Any], owner: str) -> None:
            seen.append((entry["launch"]["model_uid"], owner))

    class Newer(Older):
        def clear_launch_runtime(self, uid: str) -> None:
            seen.append((uid, "cleared"))

    wanted = {
        "autostart": [{"launch": {"model_uid": "kokoro"}}],
        "autostart_owner": "admin",
        "autostart_remove": [],
    }
    done = accounts._converge_autostart(Newer() if newer else Older(), dict, wanted)
    assert done == ["autostart of model kokoro created"]
    assert seen == [*([("kokoro", "cleared")] if newer else []), ("kokoro", "admin")]
