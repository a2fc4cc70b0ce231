# SPDX-License-Identifier: GPL-3.0-or-later
"""Keys of clients, in databases that xinference_setup made: real files, databases and processes."""

from __future__ import annotations

import datetime
import json
import os
import pwd
import sqlite3
import stat
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.voicefleet.kokoro.plugins.module_utils.xinference import (
    accounts as xinference_accounts,
    config as xinference_config,
    program as xinference_program,
)
from ansible_collections.voicefleet.kokoro.plugins.modules import xinference_api_key, xinference_setup
from ansible_collections.voicefleet.kokoro.tests.unit.plugins.module_utils import xinference_stand_in

USER = pwd.getpwuid(os.getuid()).pw_name


@pytest.fixture(scope="session")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return xinference_stand_in.make_release(tmp_path_factory.mktemp("release"))


class Host:
    """A host in one folder that was set up. ``run`` runs the module for the client ``shop``."""

    def __init__(self, folder: Path, release: Path) -> None:
        self.etc, self.home = folder / "etc", folder / "home"
        self.places = {
            "release_path": str(release),
            "user": USER,
            "home": str(self.home),
            "secrets_dir": str(self.etc),
            "deploy_user": "voicefleet-deploy",
        }

    def set_up(self) -> None:
        launch = {"model_name": "Kokoro-82M", "model_type": "audio", "model_uid": "kokoro"}
        own = {
            "admin_user": "admin",
            "client_key_name": "voicefleet-client",
            "node": "whole",
            "max_retries": 1,
            "retry_interval": 1,
        }
        nothing = dict.fromkeys(xinference_config.SECRETS)
        xinference_setup.Setup({**nothing, **self.places, **own, "models": [launch]}, False).run()

    def run(self, check: bool = False, **given: Any) -> dict[str, Any]:
        defaults = {
            "name": "shop", "state": "present", "models": ["kokoro"], "key": None, "rotation": "", "overlap": 3600,
            "expires_at": "",
        }  # fmt: skip
        return xinference_api_key.ApiKey({**defaults, **self.places, **given}, check).run()

    def key(self, name: str = "shop") -> str:
        return (self.etc / "keys" / f"{name}.key").read_text().strip()

    def good(self) -> dict[str, str | None]:
        """Return the keys that Xinference accepts, and when each expires."""
        observed = xinference_accounts.observe(str(self.home))["keys"]
        return {key["hash"]: key["expires_at"] for key in observed.values() if key["enabled"]}

    def sql(self, statement: str) -> None:
        connection = sqlite3.connect(self.home / "auth" / "auth.db")
        connection.execute(statement)
        connection.commit()
        connection.close()


@pytest.fixture
def host(tmp_path: Path, release: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    entry = pwd.getpwuid(os.getuid())
    monkeypatch.setattr(
        xinference_program.pwd, "getpwnam", lambda _name: entry.__class__((*entry[:3], os.getgid(), *entry[4:]))
    )
    host = Host(tmp_path, release)
    host.set_up()
    return host


def known(value: str) -> str:
    return xinference_accounts.digest(value)


def test_a_client_gets_a_key_of_its_own_once(host: Host) -> None:
    checked = host.run(check=True)
    assert checked["changed"]
    assert not (host.etc / "keys").exists()
    first = host.run()
    assert "API key shop created" in first["changes"]
    assert known(host.key()) in host.good()
    assert (host.etc / "keys/shop.header").read_text() == f"Authorization: Bearer {host.key()}\n"
    assert {stat.S_IMODE(path.stat().st_mode) for path in (host.etc / "keys").iterdir()} == {0o600}
    before = host.key()
    second = host.run()
    assert (second["changed"], second["changes"]) == (False, [])
    assert host.key() == before
    # The host's own key is unchanged.
    assert (host.etc / "client.key").read_text().strip() != before
    assert len(host.good()) == 2


@pytest.mark.parametrize(
    ("statement", "why"),
    [
        ("UPDATE api_keys SET enabled = 0 WHERE name = 'shop'", "disabled"),
        ("UPDATE api_keys SET expires_at = '2020-01-01T00:00:00' WHERE name = 'shop'", "it expires"),
        ("UPDATE api_keys SET user_id = 1 WHERE name = 'shop'", "another owner"),
        ("UPDATE api_key_model_permissions SET permission_value = 'bark'", "other model permissions"),
        ("DELETE FROM api_keys WHERE name = 'shop'", "missing"),
    ],
)
def test_manual_changes_are_corrected(host: Host, statement: str, why: str) -> None:
    host.run()
    before = host.key()
    host.sql(statement)
    assert host.run(check=True)["changes"] == [f"API key shop: {why}"]
    assert host.run()["changed"]
    assert host.run()["changed"] is False
    assert host.key() == before


def test_models_and_expiry_follow_the_options(host: Host) -> None:
    host.run()
    host.run(models=[], expires_at="2031-01-31T12:00:00Z")
    held = xinference_accounts.observe(str(host.home))["keys"]["shop"]
    assert held["models"] == [["all", None]]
    assert held["expires_at"] == "2031-01-31T12:00:00"
    host.run(models=["b", "a"])
    held = xinference_accounts.observe(str(host.home))["keys"]["shop"]
    assert (held["models"], held["expires_at"]) == ([["model_id", "a"], ["model_id", "b"]], None)
    assert host.run(models=["a", "b"])["changed"] is False


def test_a_rotation_happens_once_and_the_former_key_stays_valid_for_a_while(host: Host) -> None:
    host.run()
    former = host.key()
    assert "API key shop: another value" in host.run(check=True, rotation="2026-12")["changes"]
    assert host.key() == former
    soon = datetime.datetime.now(datetime.timezone.utc).replace(tzinfo=None) + datetime.timedelta(seconds=600)
    rotated = host.run(rotation="2026-12", overlap=600)
    assert host.key() != former
    end = host.good()[known(former)]
    assert end is not None
    assert abs(datetime.datetime.fromisoformat(end) - soon) < datetime.timedelta(seconds=30)
    assert f"API key shop replaced; the former one is valid until {end} UTC" in rotated["changes"]
    assert host.good()[known(host.key())] is None
    # Neither the same word nor an empty one requests another key.
    for rotation in ("2026-12", ""):
        assert host.run(rotation=rotation)["changed"] is False
    # The next rotation ends the first key.
    second = host.key()
    host.run(rotation="2027-01")
    assert known(former) not in host.good()
    assert host.good()[known(second)] is not None


def test_without_an_overlap_the_former_key_ends_at_once(host: Host) -> None:
    host.run()
    former = host.key()
    host.run(rotation="at once", overlap=0)
    assert set(host.good()) & {known(former)} == set()
    assert known(host.key()) in host.good()


def test_an_interrupted_run_keeps_the_clients_key_valid(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    host.run()
    former = host.key()

    def cut(*_request: Any, **_more: Any) -> Any:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        run = xinference_program.run
        patch.setattr(
            xinference_program,
            "run",
            lambda request, *more: (cut if request["action"] == "keys" else run)(request, *more),
        )
        with pytest.raises(KeyboardInterrupt):
            host.run(rotation="2026-12")
    host.run(rotation="2026-12")
    assert host.good()[known(former)] is not None
    assert known(host.key()) in host.good()


def test_an_operators_key_is_accepted_and_another_clients_key_is_refused(host: Host) -> None:
    host.run(key="sk-operators-own-key-1")
    assert host.key() == "sk-operators-own-key-1"
    with pytest.raises(xinference_program.SetupError, match="belongs to shop") as caught:
        host.run(name="kiosk", key="sk-operators-own-key-1")
    assert "sk-operators" not in str(caught.value)
    with pytest.raises(xinference_program.SetupError, match="role xinference keeps for the host"):
        host.run(name="voicefleet-client")


def test_absent_ends_the_key_and_the_former_one(host: Host) -> None:
    host.run()
    host.run(rotation="2026-12")
    assert host.run(check=True, state="absent")["changed"]
    assert len(host.good()) == 3
    host.run(state="absent")
    assert len(host.good()) == 1
    # The mark of ownership stays.
    assert [file.name for file in (host.etc / "keys").iterdir()] == [".voicefleet"]
    assert host.run(state="absent")["changed"] is False


def test_no_result_holds_a_key(host: Host) -> None:
    told = [host.run(), host.run(rotation="1"), host.run(check=True, key="sk-operators-own-key-1"), host.run()]
    told.append(host.run(key="sk-operators-own-key-1"))
    text = json.dumps(told)
    stored = json.loads((host.etc / "keys/shop.json").read_text())
    assert "sk-operators" not in text
    assert "xf-" not in text
    assert stored["key"] == "sk-operators-own-key-1"


def test_a_new_encryption_key_stores_the_same_key_again(host: Host) -> None:
    host.run()
    value = host.key()
    secrets = json.loads((host.etc / "secrets.json").read_text())
    (host.etc / "secrets.json").write_text(json.dumps({**secrets, "encryption_key": "n" * 32}))
    assert host.run()["changed"]
    assert host.key() == value
    assert known(value) in host.good()
    assert host.run()["changed"] is False


@pytest.mark.parametrize("name", ["", "../etc", "-x", "a b", "a/b", "a" * 65])
def test_names_that_are_not_file_names_are_refused(host: Host, name: str) -> None:
    with pytest.raises(xinference_config.ConfigError, match="client's name"):
        host.run(name=name)


def test_a_host_without_accounts_is_reported(tmp_path: Path, release: Path) -> None:
    bare = Host(tmp_path / "bare", release)
    with pytest.raises(xinference_program.SetupError, match="run xinference_setup first"):
        bare.run()
    assert bare.run(check=True)["changes"] == ["API key shop: missing"]


def test_the_module_fails_with_a_clear_message(host: Host, capfd: pytest.CaptureFixture[str]) -> None:
    arguments = {**host.places, "name": "shop", "expires_at": "soon"}
    with patch_module_args(arguments), pytest.raises(SystemExit):
        xinference_api_key.main()
    result = json.loads(capfd.readouterr().out)
    assert result["failed"]
    assert "'soon' is not a time" in result["msg"]
