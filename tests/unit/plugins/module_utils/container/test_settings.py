# SPDX-License-Identifier: GPL-3.0-or-later
"""What a container reads from its environment and from mounted files."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from ansible_collections.voicefleet.kokoro.plugins.module_utils.container import settings
from ansible_collections.voicefleet.kokoro.tests.unit.plugins.module_utils.release.test_bake import SETTINGS

KEY = "xf-0123456789abcdef"


def own() -> settings.Settings:
    return settings.Settings(**SETTINGS)


def test_the_key_comes_from_the_variable_a_named_file_or_the_folder_of_secrets(tmp_path: Path) -> None:
    folder = {"VOICEFLEET_SECRETS_DIR": str(tmp_path)}
    (tmp_path / "voicefleet_client_key").write_text("xf-from-the-folder-0\n")
    (tmp_path / "other").write_text("xf-from-a-named-file\n")
    assert settings.key(folder) == "xf-from-the-folder-0"
    assert settings.key({**folder, "VOICEFLEET_CLIENT_KEY_FILE": str(tmp_path / "other")}) == "xf-from-a-named-file"
    assert settings.key({**folder, "VOICEFLEET_CLIENT_KEY": KEY}) == KEY


def test_a_missing_key_is_explained(tmp_path: Path) -> None:
    with pytest.raises(settings.ContainerError, match="Mount a file at /run/secrets/voicefleet_client_key"):
        settings.secrets({"VOICEFLEET_SECRETS_DIR": str(tmp_path)})
    with pytest.raises(settings.ContainerError, match=r"nothing cannot be read by user \d+: No such file"):
        settings.secrets({"VOICEFLEET_CLIENT_KEY_FILE": str(tmp_path / "nothing")})


def test_a_bad_secret_is_never_shown(tmp_path: Path) -> None:
    with pytest.raises(settings.ContainerError, match="client_key must be 16 to 512") as caught:
        settings.secrets({"VOICEFLEET_CLIENT_KEY": "tooshort", "VOICEFLEET_SECRETS_DIR": str(tmp_path)})
    assert "tooshort" not in str(caught.value)


def test_other_secrets_are_made_anew_at_each_start(tmp_path: Path) -> None:
    environment = {"VOICEFLEET_CLIENT_KEY": KEY, "VOICEFLEET_SECRETS_DIR": str(tmp_path)}
    first, second = settings.secrets(environment), settings.secrets(environment)
    assert first["client_key"] == second["client_key"] == KEY
    assert first["jwt_secret"] != second["jwt_secret"]


def test_the_service_gets_only_the_secrets_that_it_needs(tmp_path: Path) -> None:
    environment = {
        "VOICEFLEET_CLIENT_KEY": KEY, "VOICEFLEET_ADMIN_PASSWORD": "an admin's password", "PATH": "/usr/bin",
        "http_proxy": "http://proxy", "VOICEFLEET_MODEL": "kokoro", "HOME": "/root",
        "VOICEFLEET_SECRETS_DIR": str(tmp_path),
    }  # fmt: skip
    secrets = settings.secrets(environment)
    found = settings.for_service(own(), environment, secrets)
    assert found["XOSCAR_AUTH_KEY"] == secrets["xoscar_auth_key"]
    assert found["VOICEFLEET_MODEL"] == "kokoro"
    assert found["HOME"] == "/var/lib/voicefleet/xinference"
    assert "http_proxy" not in found
    assert KEY not in found.values()
    assert "an admin's password" not in found.values()
    assert 1 <= int(found["OMP_NUM_THREADS"]) <= 8
    assert settings.for_service(own(), {"OMP_NUM_THREADS": "3"}, secrets)["OMP_NUM_THREADS"] == "3"


@pytest.mark.parametrize(
    ("files", "most"),
    [
        ({"cpu.max": "150000 100000\n"}, 2),
        ({"cpu.max": "max 100000\n"}, 1000),
        ({"cpu/cpu.cfs_quota_us": "100000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 1),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, 1000),
        ({}, 1000),
    ],
)
def test_cores_are_those_of_the_containers_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: dict[str, str], most: int
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: set(range(1000)))
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert settings.cores(str(tmp_path)) == most
