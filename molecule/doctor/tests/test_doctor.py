# SPDX-License-Identifier: GPL-3.0-or-later
"""All faults here are real. The order matters: every test except the last one leaves the host healthy."""

from __future__ import annotations

import json
import os
import re
import subprocess
import tarfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from deployed import UNIT, Speaker
from testinfra.host import Host

PROJECT = Path(os.environ["MOLECULE_PROJECT_DIRECTORY"])
INVENTORY = os.environ["MOLECULE_INVENTORY_FILE"]
# In seconds. On a busy machine, a service needs time to recover.
PATIENCE = 600
SECRETS = "/etc/voicefleet"
CURRENT = "/opt/voicefleet/current"


@dataclass(frozen=True)
class Said:
    """The doctor's exit status and its findings by host."""

    status: int
    hosts: dict[str, list[dict[str, str]]]

    def bad(self, host: str) -> dict[str, str]:
        """The codes of findings that are not OK, with their level."""
        return {row["code"]: row["level"] for row in self.hosts[host] if row["level"] != "OK"}

    def of(self, host: str, code: str) -> str:
        [row] = [row for row in self.hosts[host] if row["code"] == code]
        return f"{row['cause']} {row['remedy']}"


def run(*options: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "ANSIBLE_COLLECTIONS_PATH": str(PROJECT / ".cache/ws"), "ANSIBLE_NOCOLOR": "1"}
    command = [str(PROJECT / "playbooks" / "voicefleet-doctor"), "-i", INVENTORY, *options]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=600)


def examine(*options: str) -> Said:
    done = run("--json", *options)
    report = json.loads(done.stdout)
    assert report["status"] == done.returncode
    return Said(done.returncode, {name: row["findings"] for name, row in report["hosts"].items()})


def name_of(host: Host) -> str:
    return str(host.backend.get_hostname())


def state(host: Host) -> set[str]:
    """All our files and the unit's state. Files in the service's home change by themselves: only names and modes."""
    places = "/opt /etc /var/lib/voicefleet-evidence /root /tmp /run/voicefleet*"
    # Only what is below them: Ansible's temporary folder changes /tmp itself.
    what = f"find {places} -mindepth 1 -not -path '/root/.ansible*'"
    fixed = host.check_output(f"{what} -printf '%p %u %m %s %T@ %l\\n'")
    home = host.check_output("find /var/lib/voicefleet -not -path '*.db-*' -printf '%p %u %m\\n'")
    unit = host.check_output(f"systemctl show --property=MainPID,ActiveState,NRestarts,ActiveEnterTimestamp {UNIT}")
    return set(f"{fixed}\n{home}\n{unit}".splitlines())


@contextmanager
def broken(host: Host, command: str, mend: str) -> Iterator[None]:
    host.check_output(command)
    try:
        yield
    finally:
        host.check_output(mend)


def test_a_healthy_host_is_reported_as_ok(host: Host, speaker: Speaker) -> None:
    speaker.wait(PATIENCE)
    said = examine()
    assert said.bad(name_of(host)) == {}
    assert said.status == 0
    codes = {row["code"] for row in said.hosts[name_of(host)]}
    assert {"MODEL", "SPEECH", "RELEASE", "DRIFT", "FILES", "UNIT", "LOGS", "PORT", "RECEIPT", "CLOCK"} <= codes
    done = run()
    assert done.returncode == 0
    assert f"OK   {name_of(host)} MODEL: the model is READY." in done.stdout
    assert done.stdout.splitlines()[-1].startswith("1 host: 0 FAIL, 0 WARN, ")


def test_the_doctor_changes_nothing(host: Host) -> None:
    run()  # creates Ansible's own folder on the host
    before = state(host)
    assert run("--bundle", "/tmp/vf-doctor-support.tar.gz").returncode == 0
    assert state(host) ^ before == set()


def test_a_support_bundle_contains_logs_and_no_secret(host: Host, tmp_path: Path) -> None:
    archive = tmp_path / "support.tar.gz"
    secrets = json.loads(host.file(f"{SECRETS}/secrets.json").content_string)
    log = "/var/lib/voicefleet/logs/xinference.log"
    host.check_output(f"tail -n 0 {log}; printf 'by hand: %s\\n' {' '.join(secrets.values())} >> {log}")
    assert run("--bundle", str(archive)).returncode == 0
    assert archive.stat().st_size < 5_000_000
    texts = {}
    with tarfile.open(archive) as tar:
        for member in tar:
            content = tar.extractfile(member)
            assert content is not None
            texts[member.name.split("/")[-1]] = content.read().decode()
    assert "by hand: [hidden]" in texts["xinference.log"]
    assert re.search(r"^xinference \d", texts["packages.txt"], re.MULTILINE)
    assert UNIT in texts["unit.txt"]
    for text in texts.values():
        for value in secrets.values():
            assert value not in text


def test_an_unreachable_host_has_its_own_row(host: Host, tmp_path: Path) -> None:
    other = tmp_path / "more.yml"
    other.write_text("voicefleet: {hosts: {vf-doctor-gone: {ansible_connection: community.docker.docker}}}\n")
    said = examine("-i", str(other))
    assert said.status == 2
    assert said.bad("vf-doctor-gone") == {"UNREACHABLE": "FAIL"}
    assert said.bad(name_of(host)) == {}


def test_open_secrets_a_proxy_and_a_full_noexec_folder_are_reported(host: Host) -> None:
    mend = f"umount /tmp; sed -i /^http_proxy=/d /etc/environment; chmod 600 {SECRETS}/xinference.env"
    with broken(
        host,
        f"chmod 644 {SECRETS}/xinference.env; echo http_proxy=http://proxy:3128 >> /etc/environment; "
        "mount -t tmpfs -o size=64m,noexec tmpfs /tmp",
        mend,
    ):
        said = examine()
    assert said.status == 2
    assert said.bad(name_of(host)) == {"FILES": "FAIL", "PROXY": "WARN", "DISK": "FAIL", "NOEXEC": "FAIL"}
    assert f"{SECRETS}/xinference.env (mode 0644)" in said.of(name_of(host), "FILES")
    assert "/tmp: 67 MB are free" in said.of(name_of(host), "DISK")


def test_a_key_that_the_service_does_not_know_is_never_sent(host: Host) -> None:
    audit = "/var/lib/voicefleet/logs/audit.log"
    refused = f"grep -c '\"status_code\": 40' {audit} || true"
    before = host.check_output(refused)
    with broken(
        host,
        f"cp -p {SECRETS}/client.key {SECRETS}/kept; printf xf-another > {SECRETS}/client.key",
        f"mv {SECRETS}/kept {SECRETS}/client.key",
    ):
        said = examine()
    assert said.bad(name_of(host)) == {"FILES": "FAIL", "API": "FAIL"}
    assert "was not sent" in said.of(name_of(host), "API")
    assert host.check_output(refused) == before


def test_a_killed_model_is_reported(host: Host, speaker: Speaker) -> None:
    host.check_output("pkill -KILL -f '^Model: '")
    speaker.wait(PATIENCE)  # Xinference restarts it by itself
    said = examine()
    assert said.bad(name_of(host)) == {"XI05": "WARN"}
    assert said.status == 1


def test_a_stopped_service_and_another_program_on_its_port_are_reported(host: Host) -> None:
    host.check_output("systemctl stop %s", UNIT)
    said = examine()
    assert said.status == 2
    assert {"UNIT": "FAIL", "API": "FAIL"}.items() <= said.bad(name_of(host)).items()
    assert "inactive" in said.of(name_of(host), "UNIT")
    stranger = "systemd-run --unit=stranger python3 -m http.server --bind 127.0.0.1 9997"
    with broken(host, stranger, "systemctl stop stranger"):
        said = wait_for(host, "PORT")
    assert "another process holds port" in said.of(name_of(host), "PORT")
    assert "something other than Xinference" in said.of(name_of(host), "API")


def wait_for(host: Host, code: str, seconds: float = PATIENCE) -> Said:
    """Wait until the doctor reports a code, and return its report."""
    end = time.monotonic() + seconds
    while code not in (said := examine()).bad(name_of(host)):
        if time.monotonic() > end:
            pytest.fail(f"no {code} within {seconds} s, but {said.bad(name_of(host))}")
        time.sleep(1)
    return said


def test_the_reason_why_a_service_cannot_start_is_reported(host: Host, speaker: Speaker) -> None:
    with broken(
        host,
        f"mv {SECRETS}/xinference.env {SECRETS}/kept; systemctl start {UNIT} || true",
        f"mv {SECRETS}/kept {SECRETS}/xinference.env; systemctl restart {UNIT}; systemctl reset-failed {UNIT}",
    ):
        said = wait_for(host, "SD02")
    bad = said.bad(name_of(host))
    assert bad["SD02"] == bad["FILES"] == bad["API"] == "FAIL"
    assert "Failed to load environment files" in said.of(name_of(host), "SD02")
    assert {"UNIT", "RESTARTS"} & set(bad)
    speaker.wait(PATIENCE)
    assert examine().bad(name_of(host)) == {}


def test_missing_files_of_a_release_are_reported(host: Host) -> None:
    model = f"{CURRENT}/models/Kokoro-82M"
    host.check_output(f"rm {model}/config.json; rm {CURRENT}/env/lib/python3.*/site-packages/kokoro/__init__.py")
    said = examine()
    assert said.status == 2
    assert {"RELEASE": "FAIL", "DRIFT": "WARN"}.items() <= said.bad(name_of(host)).items()
    assert "config.json" in said.of(name_of(host), "RELEASE")
    assert "2 missing" in said.of(name_of(host), "DRIFT")
