# SPDX-License-Identifier: GPL-3.0-or-later
"""A run refuses values that cannot work, in one line each, before any task that changes something."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.voicefleet.kokoro.tests.command.runs import PLAYBOOKS, ansible_playbook, local_inventory


def run(folder: Path, playbook: str, given: dict[str, Any]) -> tuple[int, str]:
    more = {"ansible_become": False, **given}
    inventory = local_inventory(folder, "speech-01")
    done = ansible_playbook(folder, str(PLAYBOOKS / playbook), "-i", str(inventory), "--check", "-e", json.dumps(more))
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("playbook", "given", "words"),
    [
        ("gateway.yml", {"gateway_body_bytes": 0}, "gateway_body_bytes: 0 is not a whole number from 1024"),
        ("doctor.yml", {"xinference_replicas": 0}, "xinference_replicas: 0 is not a whole number from 1 to 64"),
        ("verify.yml", {"xinference_environment": {"A": "x\nB=+y"}}, "xinference_environment[A]: 'x\\nB=+y' is"),
        ("rollback.yml", {"balancer_host": "* ssl crt /x"}, "balancer_host: '* ssl crt /x' is not an IP address"),
    ],
)  # fmt: skip
def test_a_value_that_cannot_work_is_refused(tmp_path: Path, playbook: str, given: dict[str, Any], words: str) -> None:
    status, said = run(tmp_path, playbook, given)
    assert f"speech-01: nothing was changed: {words}" in said
    assert status != 0
    assert "changed=0" in said


def test_a_secret_is_refused_without_its_value(tmp_path: Path) -> None:
    status, said = run(tmp_path, "gateway.yml", {"xinference_client_key": "s3cr\nt", "gateway_burst": "many"})
    assert status == 2
    assert "gateway_burst: 'many' is not a whole number from 1 to 100000" in said
    assert "xinference_client_key: its value, which is secret, is not 16 to 512 letters" in said
    assert "s3cr" not in said


def test_defaults_pass(tmp_path: Path) -> None:
    _status, said = run(tmp_path, "gateway.yml", {"gateway_nginx": "/no/nginx"})
    assert "nothing was changed" not in said
    assert "/no/nginx is not there" in said
