# SPDX-License-Identifier: GPL-3.0-or-later
"""A single host behind its gateway changes, and no request is lost. Each test begins where the last one ended."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
from typing import Any

import deploys
import loaded
import pytest
import testinfra
from deployed import UNIT
from testinfra.host import Host

KEY, CA = "/etc/voicefleet/keys/shop.key", "/etc/voicefleet-gateway/ca.pem"
CANDIDATE = "/run/voicefleet-gateway/candidate.conf"
LEFT = ("/etc/systemd/system/voicefleet-candidate.service", "/var/lib/voicefleet-candidate",
        "/etc/voicefleet-candidate", CANDIDATE)  # fmt: skip
OTHER = {"kokoro_voices": ["af_heart"]}
LONGER = {**OTHER, "xinference_text_characters": 9000}
DROP_IN = f"/etc/systemd/system/{UNIT}.d/strike.conf"


def load(box: Host) -> contextlib.AbstractContextManager[list[dict[str, Any]]]:
    return loaded.load(box.backend.get_hostname(), "https://localhost:9443", KEY, CA)


def assert_none_lost(box: Host, rows: list[dict[str, Any]]) -> None:
    loaded.assert_none_lost(rows)
    assert [path for path in LEFT if box.file(path).exists] == []


def process(box: Host) -> str:
    """The main process of the service."""
    return box.check_output("systemctl show --property MainPID --value %s", UNIT)


def variables(given: dict[str, Any]) -> tuple[str, str]:
    return "-e", json.dumps(given)


@pytest.fixture(scope="module")
def box() -> Host:
    """The host, without Ansible, which would be slow."""
    return testinfra.get_host("docker://vf-seamless")


@pytest.fixture(scope="module")
def first(box: Host) -> str:
    return deploys.current(box)


@pytest.fixture(scope="module")
def upgraded(box: Host, first: str) -> str:
    with load(box) as rows:
        said = deploys.succeed(*variables(OTHER))
    assert_none_lost(box, rows)
    assert "clients wait while the service restarts" not in said
    return deploys.current(box)


def test_an_upgrade_loses_no_request(box: Host, first: str, upgraded: str) -> None:
    assert upgraded != first
    seconds = deploys.ledger(box)[-1]["seconds"]
    assert seconds["candidate"] > 0
    assert "gap" not in seconds


def test_another_setting_loses_no_request(box: Host, upgraded: str) -> None:
    before = process(box)
    with load(box) as rows:
        deploys.succeed(*variables(LONGER))
    assert_none_lost(box, rows)
    assert process(box) != before
    assert "VOICEFLEET_TEXT_CHARACTERS=9000" in box.file(f"/etc/systemd/system/{UNIT}").content_string


def test_a_new_key_and_a_new_certificate_lose_no_request_and_restart_nothing(box: Host, upgraded: str) -> None:
    before, key = process(box), box.file(KEY).content_string
    certificate = box.file("/etc/voicefleet-gateway/server.pem").content_string
    with load(box) as rows:
        deploys.succeed(*variables({**LONGER, "xinference_clients": [{"name": "shop", "rotation": "next"}]}))
        deploys.succeed(*variables({"gateway_names": ["localhost", "another.example"]}), play="gateway")
    assert_none_lost(box, rows)
    assert process(box) == before
    assert box.file(KEY).content_string != key
    assert box.file("/etc/voicefleet-gateway/server.pem").content_string != certificate


def test_an_upgrade_whose_service_does_not_start_loses_no_request(box: Host, first: str, upgraded: str) -> None:
    """The candidate passes its proof. Then the service starts only with the former release, which comes back."""
    fails = f"[Service]\nExecStartPre=/bin/grep -q releases/{upgraded}/ /etc/systemd/system/{UNIT}\n"
    box.run("mkdir -p %s && printf %s >%s && systemctl daemon-reload", os.path.dirname(DROP_IN), fails, DROP_IN)
    with load(box) as rows:
        status, said = deploys.deploy(*variables({"xinference_text_characters": 9000}))
    assert status != 0
    assert f"The previous release {upgraded} serves again." in said
    assert_none_lost(box, rows)
    assert deploys.current(box) == upgraded
    box.run("rm %s && systemctl daemon-reload", DROP_IN)


def test_a_rollback_that_is_killed_and_run_again_loses_no_request(box: Host, first: str, upgraded: str) -> None:
    """It is killed as soon as the candidate answers, so while the service restarts."""
    with load(box) as rows:
        command = deploys.command(play="rollback")
        with subprocess.Popen(
            command, env=deploys.environment(), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL, start_new_session=True,
        ) as play:  # fmt: skip
            while not box.file(CANDIDATE).exists:
                assert play.poll() is None
                time.sleep(0.5)
            os.killpg(play.pid, signal.SIGKILL)
        assert deploys.current(box) == upgraded
        deploys.succeed(play="rollback")
    assert_none_lost(box, rows)
    assert deploys.current(box) == first
