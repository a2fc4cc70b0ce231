# SPDX-License-Identifier: GPL-3.0-or-later
"""What a container reads from its environment and from mounted files."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from ansible_collections.voicefleet.kokoro.plugins.module_utils.host import container

KEY = "xf-0123456789abcdef"


def test_the_key_comes_from_the_variable_a_named_file_or_the_folder_of_secrets(tmp_path: Path) -> None:
    folder = {"VOICEFLEET_SECRETS_DIR": str(tmp_path)}
    (tmp_path / "voicefleet_client_key").write_text("xf-from-the-folder-0\n")
    (tmp_path / "other").write_text("xf-from-a-named-file\n")
    assert container.key(folder) == "xf-from-the-folder-0"
    assert container.key({**folder, "VOICEFLEET_CLIENT_KEY_FILE": str(tmp_path / "other")}) == "xf-from-a-named-file"
    assert container.key({**folder, "VOICEFLEET_CLIENT_KEY": KEY}) == KEY


def test_a_missing_key_is_explained(tmp_path: Path) -> None:
    with pytest.raises(container.ContainerError, match="Mount a file at /run/secrets/voicefleet_client_key"):
        container.key({"VOICEFLEET_SECRETS_DIR": str(tmp_path)})
    with pytest.raises(container.ContainerError, match=r"nothing cannot be read by user \d+: No such file"):
        container.key({"VOICEFLEET_CLIENT_KEY_FILE": str(tmp_path / "nothing")})


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
    assert container.cores(str(tmp_path)) == most
