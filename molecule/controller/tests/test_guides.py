# SPDX-License-Identifier: GPL-3.0-or-later
"""The guides' commands for the controller and for a host, as they are printed, with the inventory that README prints.

The order matters. molecule/_shared/guides.py says where the other commands run."""

from __future__ import annotations

import json
import subprocess
from typing import Any

import guides
import pytest
import testinfra
import yaml
from controllers import COLLECTION
from deployed import read_wav
from testinfra.host import Host

CONTROLLER = testinfra.get_host("docker://vf-controller-13")
PLAYBOOKS = f"{COLLECTION}/playbooks"
HOSTS = {"speech-01": "vf-controller-host-12", "speech-02": "vf-controller-host-13"}
SUBNET = ["docker", "network", "inspect", "--format", "{{(index .IPAM.Config 0).Subnet}}", "vf-controller"]


def write(path: str, text: str) -> None:
    command = ["docker", "exec", "-i", "vf-controller-13", "sh", "-c", f"mkdir -p $(dirname {path}) && cat >{path}"]
    subprocess.run(command, input=text, text=True, check=True)


def settings(**more: Any) -> None:
    """What the hosts of this scenario need beside the inventory."""
    subnet = subprocess.run(SUBNET, check=True, capture_output=True, text=True).stdout.strip()
    known = {
        "ansible_user": "deployer",
        "ansible_ssh_common_args": "-o StrictHostKeyChecking=accept-new",
        "preflight_accept_unpublished": True,  # the stand-ins of the tests
        "xinference_threads": 1,
        "xinference_ready_timeout": 900,
        "xinference_allowed_networks": ["localhost", subnet],
        "synthesis_try_level": "acoustic",
    }
    write(f"{PLAYBOOKS}/group_vars/voicefleet.yml", yaml.safe_dump({**known, **more}))


@pytest.fixture(scope="module", autouse=True)
def fleet() -> None:
    write(f"{PLAYBOOKS}/inventory.yml", guides.inventory())
    for name, container in HOSTS.items():
        write(f"{PLAYBOOKS}/host_vars/{name}.yml", yaml.safe_dump({"ansible_host": container}))
    settings()


def run(command: str, *statuses: int) -> str:
    """Run a command on the controller, in playbooks/. Returns its output."""
    ran = CONTROLLER.run(f"cd {PLAYBOOKS} && PATH=/root/venv/bin:$PATH timeout 1800 bash -euc %s </dev/null", command)
    assert ran.rc in (statuses or (0,)), f"{command}\n{ran.stdout}{ran.stderr}"
    return str(ran.stdout)


def host(name: str) -> Host:
    return testinfra.get_host(f"docker://{HOSTS[name]}")


def serving(name: str) -> str:
    return host(name).check_output("readlink /opt/voicefleet/current")


def once(*commands: list[str]) -> list[str]:
    return list(dict.fromkeys(command for each in commands for command in each))


def test_five_minutes() -> None:
    for command in once(
        guides.printed("README.md", "ansible-playbook deploy.yml "),
        guides.printed("docs/upgrading.md", "ansible-playbook deploy.yml "),
    ):
        run(command)
    for name in HOSTS:
        assert serving(name)


def test_clients() -> None:
    on = host("speech-01")
    for command in [
        *guides.printed("README.md", "curl "),
        *guides.printed("docs/clients.md", "curl "),
        *guides.printed("roles/xinference/README.md", "curl "),
    ]:
        on.check_output("cd /root && bash -euc %s", command)
    for file in ("speech.wav", "hello.wav"):
        assert read_wav(on.file(f"/root/{file}").content).getnframes() > 24000
    assert on.file("/root/evening.mp3").size > 1000


def test_proof_and_receipts() -> None:
    for command in guides.printed("README.md", "ansible-playbook verify.yml "):
        run(command)
    for command in guides.printed("README.md", "ansible-playbook receipts.yml "):
        said = run(command)
        assert all(name in said for name in HOSTS)
    report = json.loads(CONTROLLER.file(f"{PLAYBOOKS}/voicefleet-report/report.json").content_string)
    assert {row["host"] for row in report["hosts"]} == set(HOSTS)


DOCTOR = once(
    guides.printed("docs/doctor.md", "./voicefleet-doctor "),
    guides.printed("docs/troubleshooting.md", "./voicefleet-doctor "),
    guides.printed("roles/doctor/README.md", "./voicefleet-doctor "),
    guides.printed("roles/doctor/README.md", "ansible-playbook doctor.yml "),
    guides.printed("README.md", "./voicefleet-doctor "),
)


@pytest.mark.parametrize("command", DOCTOR)
def test_doctor(command: str) -> None:
    # 1: a container may have a warning, such as of its clock.
    run(command, 0, 1)


def test_the_doctor_left_its_page_and_its_bundle() -> None:
    for file in ("doctor.html", "support.tar.gz"):
        assert CONTROLLER.file(f"{PLAYBOOKS}/{file}").size > 1000


def unreached() -> dict[str, str]:
    """What the doctor says about ways between hosts, by the host from which it tried."""
    report = json.loads(run("./voicefleet-doctor -i inventory.yml --json", 0, 1))
    found = {name: [row for row in each["findings"] if row["code"] == "PEER"] for name, each in report["hosts"].items()}
    return {name: row["cause"] for name, rows in found.items() for row in rows if row["level"] != "OK"}


def test_the_doctor_finds_a_port_that_a_packet_filter_closes() -> None:
    assert unreached() == {}
    on = host("speech-02")
    on.check_output("nft add table inet closed")
    on.check_output("nft %s", "add chain inet closed input { type filter hook input priority -10; }")
    on.check_output("nft %s", 'add rule inet closed input iifname != "lo" tcp dport 9997 drop')
    try:
        found = unreached()
    finally:
        on.check_output("nft delete table inet closed")
    assert list(found) == ["speech-01"]
    assert f"the service of speech-02 is not reached from here, at {HOSTS['speech-02']}:9997" in found["speech-01"]
    assert unreached() == {}


def test_a_release_is_delivered_by_day_and_served_at_night() -> None:
    before = {name: serving(name) for name in HOSTS}
    settings(kokoro_voices=["am_michael"])
    *by_day, at_night = guides.printed("docs/playbooks.md", "ansible-playbook deploy.yml ")
    for command in by_day:
        run(command)
    assert {name: serving(name) for name in HOSTS} == before
    run(at_night)
    assert all(serving(name) != before[name] for name in HOSTS)


def test_rollback() -> None:
    for command in once(
        guides.printed("README.md", "ansible-playbook rollback.yml "),
        guides.printed("docs/upgrading.md", "ansible-playbook rollback.yml "),
        guides.printed("roles/releases/README.md", "ansible-playbook rollback.yml "),
    ):
        if "releases_rollback_to" in command:
            continue  # the printed release is made up
        before = {name: serving(name) for name in HOSTS}
        run(command)
        assert all(serving(name) != before[name] for name in HOSTS)
