# SPDX-License-Identifier: GPL-3.0-or-later
"""Nodes behind a balancer change their release, and no request is lost. Each test begins where the last one ended."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import deploys
import loaded
import pytest
import testinfra
from deployed import UNIT
from testinfra.host import Host

NODES = ("vf-rolling-upgrade-1", "vf-rolling-upgrade-2")
FRONT = "vf-rolling-upgrade"
# The stand-in for Kokoro does not know this text, so its proof fails.
FAIL = {"synthesis_text": "All is well on this host, and it says so.", "synthesis_required_level": "intelligible"}


def host(name: str) -> Host:
    return testinfra.get_host(f"docker://{name}")


def releases() -> list[str]:
    return [deploys.current(host(name)) for name in NODES]


def processes() -> list[str]:
    """The main process of each node's service."""
    return [host(name).check_output("systemctl show --property MainPID --value %s", UNIT) for name in NODES]


def load() -> contextlib.AbstractContextManager[list[dict[str, Any]]]:
    return loaded.load(FRONT, "http://127.0.0.1:9990")


@pytest.fixture(scope="module", autouse=True)
def first() -> list[str]:
    return releases()


@pytest.fixture(scope="module")
def upgraded(first: list[str]) -> tuple[list[dict[str, Any]], str]:
    with load() as rows:
        said = deploys.succeed("-e", json.dumps({"kokoro_voices": ["af_heart"]}))
    return rows, said


def test_an_upgrade_loses_no_request(first: list[str], upgraded: tuple[list[dict[str, Any]], str]) -> None:
    rows, said = upgraded
    loaded.assert_none_lost(rows)
    assert not set(releases()) & set(first)
    assert f"changed: [{NODES[0]} -> {FRONT}]" in said
    assert "The restart of its service ends what is left" not in said


def test_both_nodes_get_requests_again(upgraded: tuple[list[dict[str, Any]], str]) -> None:
    assert host(FRONT).run("ls /run/voicefleet-balancer/drained-*").rc != 0
    stat = host(FRONT).check_output(
        "python3 -c 'import socket; c = socket.socket(socket.AF_UNIX);"
        ' c.connect("/run/voicefleet-balancer/admin.sock"); c.sendall(b"show stat\\n")\n'
        'while part := c.recv(65536): print(part.decode(), end="")\''
    )
    states = [row.split(",")[17] for row in stat.splitlines() if row.startswith("nodes,vf-")]
    assert states == ["UP", "UP"]


def test_a_release_that_fails_takes_only_the_canary_and_goes_back_by_itself(
    upgraded: tuple[list[dict[str, Any]], str],
) -> None:
    before, untouched = releases(), processes()[1]
    with load() as rows:
        status, said = deploys.deploy("-e", json.dumps({"kokoro_voices": ["af_heart", "am_michael"], **FAIL}))
    loaded.assert_none_lost(rows)
    assert status != 0
    assert f"The previous release {before[0]} serves again." in said
    assert releases() == before
    assert processes()[1] == untouched


def test_a_rollback_loses_no_request(first: list[str], upgraded: tuple[list[dict[str, Any]], str]) -> None:
    with load() as rows:
        deploys.succeed(play="rollback")
    loaded.assert_none_lost(rows)
    assert releases() == first


def test_a_new_key_for_clients_loses_no_request() -> None:
    old = host(FRONT).file("/etc/voicefleet-balancer/client.key").content_string.strip()
    with load() as rows:
        deploys.succeed("-e", json.dumps({"balancer_client_keys": ["xf-rolling-0123456789", old]}), play="balancer")
    assert [row for row in rows if row["status"] != 200 or not row["sound"]] == []
    assert host(FRONT).file("/etc/voicefleet-balancer/client.key").content_string.strip() != old


def test_a_new_key_of_the_nodes_loses_no_request() -> None:
    def keys() -> list[str]:
        return [host(name).file("/etc/voicefleet/keys/balancer.key").content_string.strip() for name in NODES]

    before = keys()
    with load() as rows:
        deploys.succeed("-e", json.dumps({"xinference_clients": [{"name": "balancer", "rotation": "second"}]}))
        deploys.succeed(play="balancer")
    loaded.assert_none_lost(rows)
    assert not set(keys()) & set(before)
