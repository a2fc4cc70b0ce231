# SPDX-License-Identifier: GPL-3.0-or-later
"""A cluster behind its gateway changes, and no request is lost. Each test begins where the last one ended."""

from __future__ import annotations

import contextlib
import json
import os
from typing import Any

import deploys
import loaded
import pytest
import testinfra
from deployed import UNIT
from testinfra.host import Host

SUPERVISOR, WORKER = "vf-gapless-cluster-s", "vf-gapless-cluster-w"
PLACE = ("https://localhost:9443", "/etc/voicefleet/keys/shop.key", "/etc/voicefleet-gateway/ca.pem")
LEFT = ("/etc/systemd/system/voicefleet-candidate.service", "/var/lib/voicefleet-candidate",
        "/etc/voicefleet-candidate", "/run/voicefleet-gateway/candidate.conf")  # fmt: skip
OTHER = {"kokoro_voices": ["af_heart"]}
LONGER = {**OTHER, "xinference_text_characters": 9000}
DROP_IN = f"/etc/systemd/system/{UNIT}.d/strike.conf"


def load() -> contextlib.AbstractContextManager[list[dict[str, Any]]]:
    return loaded.load(SUPERVISOR, *PLACE)


def variables(**given: Any) -> tuple[str, str]:
    return "-e", json.dumps(given)


@pytest.fixture(scope="module")
def members() -> list[Host]:
    """Supervisor and worker, without Ansible, which would be slow."""
    return [testinfra.get_host(f"docker://{name}") for name in (SUPERVISOR, WORKER)]


def assert_none_lost(members: list[Host], rows: list[dict[str, Any]]) -> None:
    loaded.assert_none_lost(rows)
    assert [path for host in members for path in LEFT if host.file(path).exists] == []


def releases(members: list[Host]) -> set[str]:
    return {deploys.current(host) for host in members}


def processes(members: list[Host]) -> list[str]:
    """The main process of each member."""
    return [host.check_output("systemctl show --property MainPID --value %s", UNIT) for host in members]


def seconds(members: list[Host]) -> list[dict[str, float]]:
    """The phases of the last deploy of each member."""
    return [deploys.ledger(host)[-1]["seconds"] for host in members]


@pytest.fixture(scope="module")
def first(members: list[Host]) -> set[str]:
    return releases(members)


@pytest.fixture(scope="module")
def upgraded(members: list[Host], first: set[str]) -> set[str]:
    with load() as rows:
        said = deploys.succeed(*variables(**OTHER))
    assert_none_lost(members, rows)
    assert "clients wait while the service restarts" not in said
    return releases(members)


def test_an_upgrade_of_all_members_loses_no_request(members: list[Host], first: set[str], upgraded: set[str]) -> None:
    assert (len(first), len(upgraded)) == (1, 1)
    assert upgraded != first
    of_supervisor, of_worker = seconds(members)
    assert of_supervisor["candidate"] > 0
    assert "candidate" not in of_worker
    assert [each for each in (of_supervisor, of_worker) if "gap" in each] == []


def test_another_setting_restarts_all_members_and_loses_no_request(members: list[Host], upgraded: set[str]) -> None:
    before = processes(members)
    with load() as rows:
        deploys.succeed(*variables(**LONGER))
    assert_none_lost(members, rows)
    assert not set(processes(members)) & set(before)
    assert releases(members) == upgraded


def test_an_unchanged_cluster_needs_no_candidate(members: list[Host], upgraded: set[str]) -> None:
    before = processes(members)
    said = deploys.succeed(*variables(**LONGER))
    assert [deploys.changed(said, host) for host in members] == [0, 0]
    assert "Run the candidate" not in said
    assert processes(members) == before


def test_an_upgrade_whose_worker_does_not_start_loses_no_request(members: list[Host], upgraded: set[str]) -> None:
    """The candidate passes its proof. Then the worker starts only with the former release, and all members go back."""
    (former,) = upgraded
    fails = f"[Service]\nExecStartPre=/bin/grep -q releases/{former}/ /etc/systemd/system/{UNIT}\n"
    _supervisor, worker = members
    worker.run("mkdir -p %s && printf %s >%s && systemctl daemon-reload", os.path.dirname(DROP_IN), fails, DROP_IN)
    with load() as rows:
        status, said = deploys.deploy(*variables(xinference_text_characters=9000))
    assert status != 0
    assert said.count(f"The previous release {former} serves again.") >= 2
    assert f"failed in it: {WORKER}" in said
    assert_none_lost(members, rows)
    assert releases(members) == upgraded
    worker.run("rm %s && systemctl daemon-reload", DROP_IN)


def test_a_rollback_of_all_members_loses_no_request(members: list[Host], first: set[str], upgraded: set[str]) -> None:
    with load() as rows:
        deploys.succeed(play="rollback")
    assert_none_lost(members, rows)
    assert releases(members) == first


def test_without_a_candidate_the_gap_is_announced_and_measured(members: list[Host], upgraded: set[str]) -> None:
    said = deploys.succeed(*variables(**OTHER, xinference_candidate="never"))
    assert said.count("clients wait while the service restarts, because xinference_candidate is never") == 1
    of_supervisor, of_worker = seconds(members)
    print(f"The gap took {of_supervisor['gap']:.0f} s.")
    assert of_supervisor["gap"] > 0
    assert "gap" not in of_worker
    assert releases(members) == upgraded
