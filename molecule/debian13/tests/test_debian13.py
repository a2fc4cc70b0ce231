# SPDX-License-Identifier: GPL-3.0-or-later
"""Debian 13 has Python 3.13, which Kokoro cannot use: the release runs on the Python of the store."""

from __future__ import annotations

import json

from deployed import UNIT, Speaker, read_wav
from testinfra.host import Host

CURRENT = "/opt/voicefleet/current"


def test_the_host_has_no_python_for_kokoro(host: Host) -> None:
    assert host.check_output("python3 --version").startswith("Python 3.13.")
    assert host.run("command -v python3.10 python3.11 python3.12").stdout == ""


def test_the_release_uses_the_stores_python(host: Host) -> None:
    python = host.check_output(f"readlink -f {CURRENT}/env/bin/python")
    assert python.startswith("/opt/voicefleet/tools/python-3.11.")
    release = json.loads(host.file(f"{CURRENT}/release.json").content_string)
    assert release["python"]["version"] == "3.11"
    assert release["python"]["path"] == python
    assert release["python"]["artifact"] in {row["sha256"] for row in release["artifacts"] if row["kind"] == "python"}
    # Only root may write it, like everything that the service runs.
    assert host.check_output("find /opt/voicefleet/tools ! -user root -o -perm /022 ! -type l | head -3") == ""


def test_every_process_of_the_service_runs_on_it(host: Host) -> None:
    group = host.check_output("systemctl show --property ControlGroup --value %s", UNIT)
    pids = host.check_output(
        "cat /sys/fs/cgroup/systemd%s/cgroup.procs 2>/dev/null || cat /sys/fs/cgroup%s/cgroup.procs", group, group
    ).split()
    assert len(pids) >= 3
    # Root in a container may not look into processes of others; their own user may.
    programs = {host.check_output("runuser -u voicefleet -- readlink /proc/%s/exe", pid) for pid in pids}
    assert all(program.startswith("/opt/voicefleet/tools/python-3.11.") for program in programs), programs


def test_it_speaks(speaker: Speaker) -> None:
    answer = speaker.ask("am_michael")
    assert answer.status == 200, answer.body[:500]
    with read_wav(answer.body) as wav:
        assert wav.getframerate() == 24000


def test_it_speaks_after_a_reboot(seconds_after_reboot: float) -> None:
    assert seconds_after_reboot < 240
