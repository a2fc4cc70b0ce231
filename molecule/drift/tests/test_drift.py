# SPDX-License-Identifier: GPL-3.0-or-later
"""Faults in the deployed host: --check reports each one and changes nothing, and a deploy repairs it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable

import pytest
from deployed import UNIT, Speaker
from deploys import changed, command, deploy, environment, succeed
from testinfra.host import Host

CURRENT = "/opt/voicefleet/current"
LOCK = "/run/voicefleet-deploy.json"


def state(host: Host) -> str:
    """Return everything that a deploy may change: files with owner, mode, size and time, and the service's process."""
    places = "/opt/voicefleet /etc/voicefleet /etc/systemd/system /var/lib/voicefleet-evidence"
    files = host.check_output(f"find {places} -printf '%p %u %m %s %T@ %l\\n' | sort | sha256sum")
    return files + host.run("systemctl show --property=MainPID,ActiveState %s", UNIT).stdout


def check_and_repair(host: Host, speaker: Speaker, *words: str) -> None:
    """A check prints these words and changes nothing. A deploy repairs."""
    before = state(host)
    said = succeed("--check")
    for word in words:
        assert word in said
    # It reports a change, or a warning that names the drift.
    assert changed(said, host) or "DRIFT" in said
    assert state(host) == before
    assert changed(succeed(), host)
    assert speaker.ask().status == 200


def test_missing_changed_foreign_and_world_writable_files_of_the_release_are_repaired(
    host: Host, speaker: Speaker
) -> None:
    site = host.check_output(f"echo {CURRENT}/env/lib/python3.*/site-packages")
    gone, altered = f"{site}/xinference/__init__.py", f"{site}/kokoro/__init__.py"
    opened, foreign = f"{CURRENT}/env/bin/xinference-local", f"{site}/surprise.pth"
    host.check_output(f"rm {gone}; echo '# by hand' >> {altered}; chmod 777 {opened}; chown nobody {site}/torch; "
                      f"touch {foreign}")  # fmt: skip
    pid = host.check_output("systemctl show --property=MainPID --value %s", UNIT)
    names = ("xinference/__init__.py", "kokoro/__init__.py", "env/bin/xinference-local", "surprise.pth", "torch")
    check_and_repair(host, speaker, "DRIFT", "1 missing", "3 changed", "1 added", *names)
    assert host.file(gone).exists
    assert "by hand" not in host.file(altered).content_string
    assert host.file(opened).mode == 0o755
    assert host.file(f"{site}/torch").user == "root"
    assert not host.file(foreign).exists
    assert host.check_output("systemctl show --property=MainPID --value %s", UNIT) != pid


def test_a_corrupt_byte_in_a_linked_artifact_is_repaired(host: Host, speaker: Speaker) -> None:
    voice = host.check_output(f"readlink -f {CURRENT}/models/Kokoro-82M/voices/af_heart.pt")
    digest = host.check_output("sha256sum %s", voice)
    host.check_output(f"printf x | dd of={voice} bs=1 seek=100 conv=notrunc status=none")
    assert host.check_output("sha256sum %s", voice) != digest
    check_and_repair(host, speaker, "DRIFT", "voices/af_heart.pt")
    assert host.check_output("sha256sum %s", voice) == digest


def test_an_edited_unit_a_lost_environment_file_and_a_stopped_service_are_repaired(
    host: Host, speaker: Speaker
) -> None:
    unit = f"/etc/systemd/system/{UNIT}"
    before = host.file(unit).content_string
    host.check_output(
        f"sed -i s/^LimitCORE=0/LimitCORE=1/ {unit}; rm /etc/voicefleet/xinference.env; systemctl stop {UNIT}"
    )
    check_and_repair(host, speaker)
    assert host.file(unit).content_string == before
    assert host.file("/etc/voicefleet/xinference.env").mode == 0o600
    # After all these repairs, a deploy changes nothing.
    assert changed(succeed(), host) == 0


def test_a_killed_model_is_started_again(host: Host, speaker: Speaker) -> None:
    """Xinference starts a model's process again by itself. A deploy meanwhile waits for it."""
    model = host.check_output("pgrep --newest --uid voicefleet")
    host.check_output("kill -KILL %s", model)
    succeed()
    assert host.run("kill -0 %s", model).rc != 0
    assert speaker.ask().status == 200


def holder(host: Host) -> dict[str, object]:
    content = host.file(LOCK).content_string
    return dict(json.loads(content)["owner"]) if content else {}


def test_another_controllers_deploy_is_not_disturbed(host: Host) -> None:
    owner = {"controller": "elsewhere", "user": "kim", "pid": 42, "started": "1"}
    uptime = float(host.check_output("cat /proc/uptime").split()[0])
    lock = json.dumps({"owner": owner, "time": uptime})
    host.run("printf %%s %s > %s", lock, LOCK)
    before = state(host)
    status, said = deploy()
    assert status != 0
    assert "is being deployed to by kim on elsewhere (process 42)" in said
    assert "nothing was changed" in said
    assert state(host) == before
    assert holder(host) == owner
    # A deploy takes over an expired lock, says so, and releases it.
    said = succeed("--extra-vars", "voicefleet_lock_seconds=1")
    assert "its lock is taken over" in said
    assert holder(host) == {}


def wait_for(what: Callable[[], bool], seconds: float) -> None:
    end = time.monotonic() + seconds
    while not what():
        if time.monotonic() > end:
            pytest.fail(f"not within {seconds} s")
        time.sleep(0.5)


def test_if_the_controller_dies_the_host_keeps_serving_and_the_next_run_finishes(host: Host, speaker: Speaker) -> None:
    former = host.check_output(f"readlink {CURRENT}")
    # Fewer voices make another release. Its packages are installed anew, so that the controller can die meanwhile.
    options = ("--extra-vars", '{"kokoro_voices": ["af_heart"], "python_env_reuse": false}')
    play = subprocess.Popen(
        command(*options),
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )
    wait_for(lambda: host.run("ls -d /opt/voicefleet/releases/*/.build/wheels").rc == 0, 120)
    os.killpg(play.pid, signal.SIGKILL)
    play.wait()
    assert host.check_output(f"readlink {CURRENT}") == former
    assert speaker.ask().status == 200
    assert holder(host)["pid"] == play.pid
    # The dead controller's task is still running on the host. The next run waits for it.
    said = succeed(*options)
    assert "its lock is taken over" in said
    assert host.check_output(f"readlink {CURRENT}") != former
    assert speaker.ask().status == 200
    assert holder(host) == {}
