# SPDX-License-Identifier: GPL-3.0-or-later
"""Wanted state, observed state and differences, without Xinference and without a host."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from ansible_collections.voicefleet.kokoro.plugins.module_utils.xinference import config
from ansible_collections.voicefleet.kokoro.plugins.module_utils.xinference.accounts import digest

SECRETS = {
    "xoscar_auth_key": "x" * 32,
    "jwt_secret": "j" * 32,
    "encryption_key": "e" * 32,
    "admin_password": "admin password",
    "deploy_password": "deploy password",
    "client_key": "xf-" + "k" * 48,
}
LAUNCH = {"model_name": "Kokoro-82M", "model_type": "audio", "model_uid": "kokoro", "model_path": "/r/1", "n_gpu": None}
NAMES = config.Names()


def entries(**launch: Any) -> list[dict[str, Any]]:
    return [config.autostart_entry({**LAUNCH, **launch}, 1000, 10)]


def converged() -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the databases after a run, and its record."""
    observed = {
        "accounts": {
            "admin": {"enabled": True, "permissions": sorted(config.ADMIN_PERMISSIONS), "password": "hash-a"},
            "voicefleet-deploy": {
                "enabled": True,
                "permissions": sorted(config.DEPLOY_PERMISSIONS),
                "password": "hash-d",
            },
            "somebody": {"enabled": True, "permissions": [], "password": "hash-s"},
        },
        "keys": {
            "voicefleet-client": {
                "hash": digest(SECRETS["client_key"]),
                "enabled": True,
                "expires_at": None,
                "owner": "voicefleet-deploy",
                "models": [["model_id", "kokoro"]],
            },
            "somebody's": {"hash": "h", "enabled": False, "expires_at": None, "owner": "somebody", "models": []},
        },
        "autostart": {"kokoro": dict(entries()[0], owner="voicefleet-deploy")},
    }
    wanted = config.wanted_state(SECRETS, NAMES, entries(), observed, {})
    return observed, config.applied_state(observed, wanted)


def found(observed: dict[str, Any], applied: dict[str, Any], secrets: Any = None, **launch: Any) -> list[str]:
    wanted = config.wanted_state(secrets or SECRETS, NAMES, entries(**launch), observed, applied)
    return config.differences(observed, wanted, applied)


def test_a_correct_host_has_no_differences() -> None:
    observed, applied = converged()
    assert found(observed, applied) == []


def test_a_fresh_host_lacks_everything() -> None:
    assert found(config.NOTHING, {}) == [
        "account admin: missing",
        "account voicefleet-deploy: missing",
        "API key voicefleet-client: missing",
        "autostart of model kokoro: missing",
    ]


@pytest.mark.parametrize(
    ("where", "value", "said"),
    [
        (("accounts", "admin", "password"), "other", "account admin: the password is not known to be the wanted one"),
        (("accounts", "admin", "enabled"), False, "account admin: disabled"),
        (("accounts", "voicefleet-deploy", "permissions"), ["admin"], "account voicefleet-deploy: other permissions"),
        (("keys", "voicefleet-client", "hash"), "other", "API key voicefleet-client: another value"),
        (("keys", "voicefleet-client", "owner"), "somebody", "API key voicefleet-client: another owner"),
        (("keys", "voicefleet-client", "enabled"), False, "API key voicefleet-client: disabled"),
        (("keys", "voicefleet-client", "expires_at"), "2026-01-01", "API key voicefleet-client: it expires"),
        (
            ("keys", "voicefleet-client", "models"),
            [["all", None]],
            "API key voicefleet-client: other model permissions",
        ),
        (("autostart", "kokoro", "max_retries"), 3, "autostart of model kokoro: other retries or owner"),
        (("autostart", "kokoro", "owner"), "admin", "autostart of model kokoro: other retries or owner"),
        (("autostart", "kokoro", "launch"), None, "autostart of model kokoro: other model_name, model_path, "),
    ],
)
def test_drift_is_found_and_named(where: tuple[str, str, str], value: Any, said: str) -> None:
    observed, applied = converged()
    observed[where[0]][where[1]][where[2]] = value
    (line,) = found(observed, applied)
    assert line.startswith(said)


@pytest.mark.parametrize(
    ("kind", "name"), [("accounts", "admin"), ("keys", "voicefleet-client"), ("autostart", "kokoro")]
)
def test_what_was_deleted_is_missing(kind: str, name: str) -> None:
    observed, applied = converged()
    del observed[kind][name]
    (line,) = found(observed, applied)
    assert line.endswith(": missing")


def test_other_accounts_and_keys_are_left_alone() -> None:
    observed, applied = converged()
    del observed["accounts"]["somebody"]
    del observed["keys"]["somebody's"]
    assert found(observed, applied) == []


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("admin_password", "account admin: the password is not known to be the wanted one"),
        ("deploy_password", "account voicefleet-deploy: the password is not known to be the wanted one"),
        ("client_key", "API key voicefleet-client: another value"),
        ("encryption_key", "API key voicefleet-client: encrypted with another encryption key"),
    ],
)
def test_a_new_secret_converges(name: str, said: str) -> None:
    observed, applied = converged()
    assert found(observed, applied, dict(SECRETS, **{name: "another-secret-of-mine"})) == [said]


@pytest.mark.parametrize("name", ["jwt_secret", "xoscar_auth_key"])
def test_secrets_of_the_process_alone_leave_the_databases_alone(name: str) -> None:
    observed, applied = converged()
    assert found(observed, applied, dict(SECRETS, **{name: "another-secret-of-mine"})) == []


def test_a_new_release_changes_only_autostart() -> None:
    observed, applied = converged()
    assert found(observed, applied, model_path="/r/2") == ["autostart of model kokoro: other model_path"]


def test_a_model_of_another_name_replaces_the_one_we_made() -> None:
    observed, applied = converged()
    observed["autostart"]["theirs"] = dict(entries(model_uid="theirs")[0], owner="somebody")
    assert found(observed, applied, model_uid="tts") == [
        "API key voicefleet-client: other model permissions",
        "autostart of model tts: missing",
        "autostart of model kokoro: no longer wanted",
    ]


def test_differences_and_record_hold_no_secret() -> None:
    observed, applied = converged()
    changed = {name: value + "2" for name, value in SECRETS.items()}
    told = json.dumps([found(observed, applied, changed), applied])
    for value in (*SECRETS.values(), *changed.values()):
        assert value not in told


def test_secrets_are_made_once() -> None:
    made, events = config.merge_secrets({}, {})
    assert sorted(made) == sorted(config.SECRETS)
    assert len(set(made.values())) == len(made)
    assert events == [f"{name} made on the host" for name in config.SECRETS]
    assert made["client_key"].startswith("xf-")
    assert len(made["client_key"]) == 51
    assert config.merge_secrets(dict.fromkeys(made, ""), made) == (made, [])
    assert config.merge_secrets({}, {})[0] != made


def test_the_operators_secret_wins_and_stays() -> None:
    made, events = config.merge_secrets({"jwt_secret": "my-own-jwt-secret-1"}, SECRETS)
    assert made["jwt_secret"] == "my-own-jwt-secret-1"
    assert events == ["jwt_secret changed by the operator"]
    assert config.merge_secrets({}, made) == (made, [])
    assert "jwt_secret taken from the operator" in config.merge_secrets({"jwt_secret": "my-own-jwt-secret-1"}, {})[1]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("admin_password", "short"),
        ("deploy_password", "two\nlines of it"),
        ("admin_password", "\u00e4" * 37),
        ("client_key", "short"),
        ("client_key", "with a space in it, long enough"),
        ("xoscar_auth_key", "new\nLD_PRELOAD=/tmp/x.so;long-enough"),
        ("jwt_secret", 'quoted"quoted"quoted"'),
        ("encryption_key", "a" * 513),
    ],
)
def test_unusable_secrets_are_refused_without_being_shown(name: str, value: str) -> None:
    with pytest.raises(config.ConfigError) as caught:
        config.merge_secrets({name: value}, SECRETS)
    assert name in str(caught.value)
    assert value not in str(caught.value)


def test_the_files_of_the_secrets() -> None:
    texts = config.files(SECRETS)
    assert config.load_secrets(texts[config.SECRETS_FILE]) == SECRETS
    assert texts[config.KEY_FILE] == SECRETS["client_key"] + "\n"
    assert texts[config.HEADER_FILE] == f"Authorization: Bearer {SECRETS['client_key']}\n"
    lines = [line for line in texts[config.ENVIRONMENT_FILE].splitlines() if not line.startswith("#")]
    assert lines == [
        "XOSCAR_AUTH_KEY=" + SECRETS["xoscar_auth_key"],
        "XINFERENCE_AUTH_JWT_SECRET_KEY=" + SECRETS["jwt_secret"],
        "XINFERENCE_AUTH_ENCRYPTION_KEY=" + SECRETS["encryption_key"],
    ]
    # The service gets the secrets that it needs, but no password.
    assert "password" not in texts[config.ENVIRONMENT_FILE]


@pytest.mark.parametrize("text", ["{", "[]", "3"])
def test_damaged_secrets_stop_instead_of_being_replaced(text: str) -> None:
    with pytest.raises(config.ConfigError, match="Restore it from a backup"):
        config.load_secrets(text)


@pytest.mark.parametrize("text", [None, "", "{", "[]"])
def test_a_damaged_record_counts_as_empty(text: str) -> None:
    assert config.load_applied(text) == {}


def test_an_autostart_entry_is_what_xinference_would_keep() -> None:
    (entry,) = entries()
    assert "n_gpu" not in entry["launch"]
    assert (entry["max_retries"], entry["retry_interval_seconds"]) == (1000, 10)


@pytest.mark.parametrize("missing", ["model_name", "model_type", "model_uid"])
def test_an_incomplete_model_is_refused(missing: str) -> None:
    with pytest.raises(config.ConfigError, match=missing):
        entries(**{missing: None})


def test_environment_of_a_model_is_refused() -> None:
    with pytest.raises(config.ConfigError, match="plain text"):
        entries(envs={"HF_TOKEN": "x"})


def test_wanted_state_does_not_change_what_it_was_given() -> None:
    observed, applied = converged()
    before = copy.deepcopy((observed, applied))
    found(observed, applied, model_uid="tts")
    assert (observed, applied) == before


def test_one_launch_speaks_all_languages() -> None:
    launch = {"model_name": "Kokoro-82M", "model_uid": "kokoro"}
    assert config.launches(launch, []) == [launch]
    assert config.launches(launch, ["b", "a", "b"]) == [{**launch, "lang_code": "b"}]


@pytest.mark.parametrize(
    ("languages", "launched"),
    [
        (["a", "z", "b"], {"kokoro": ("a", "Kokoro-82M"), "kokoro-z": ("z", "Newer")}),
        (["z", "a"], {"kokoro": ("a", "Kokoro-82M"), "kokoro-z": ("z", "Newer")}),
        (["z"], {"kokoro": ("z", "Newer")}),
        (["a"], {"kokoro": ("a", "Kokoro-82M")}),
    ],
)
def test_a_model_with_weights_of_its_own_is_a_launch_of_its_own(
    languages: list[str], launched: dict[str, tuple[str, str]]
) -> None:
    launch = {"model_name": "Kokoro-82M", "model_uid": "kokoro", "model_path": "/models/Kokoro-82M"}
    found = config.launches(launch, languages, {"z": "Newer"})
    assert {row["model_uid"]: (row["lang_code"], row["model_name"]) for row in found} == launched
    assert all(row["model_path"] == f"/models/{row['model_name']}" for row in found)
