# SPDX-License-Identifier: GPL-3.0-or-later
"""What the tests of all scenarios share: the deployed hosts, one `host` after the other, and their restarts."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Generator

import pytest
import testinfra
from deployed import UNIT, Speaker
from testinfra.host import Host
from testinfra.utils.ansible_runner import AnsibleRunner

INVENTORY = os.environ["MOLECULE_INVENTORY_FILE"]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Every test that asks for `host` runs once for each host of the scenario."""
    if "host" in metafunc.fixturenames:
        metafunc.parametrize("host", AnsibleRunner(INVENTORY).get_hosts("all"), indirect=True, scope="session")


@pytest.fixture(scope="session")
def host(request: pytest.FixtureRequest) -> Host:
    return testinfra.get_host(f"ansible://{request.param}", ansible_inventory=INVENTORY)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A test that failed on a host shows the end of the service's journal."""
    report = yield
    host = getattr(item, "funcargs", {}).get("host")
    if report.failed and host is not None:
        journal = host.run("journalctl --no-pager --lines 80 --unit %s", UNIT)
        report.sections.append((f"journal of {UNIT}", journal.stdout + journal.stderr))
    return report


@pytest.fixture(scope="session")
def speaker(host: Host) -> Speaker:
    return Speaker(host)


@pytest.fixture(scope="session")
def seconds_after_service_restart(host: Host, speaker: Speaker) -> float:
    """Restarts the service once, and waits until it speaks."""
    host.check_output("systemctl restart %s", UNIT)
    return speaker.wait()


@pytest.fixture(scope="session")
def seconds_after_reboot(host: Host, speaker: Speaker) -> float:
    """Restarts the container once: systemd stops everything and boots anew."""
    subprocess.run(["docker", "restart", "--time", "60", host.backend.get_hostname()], check=True, capture_output=True)
    return speaker.wait()
