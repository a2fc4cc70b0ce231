# SPDX-License-Identifier: GPL-3.0-or-later
"""A deploy that is killed at each of its tasks in turn: each next run repairs what was left and goes on."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path

import pytest
from deployed import Speaker
from deploys import PROJECT, changed, command, current, environment, folded, succeed
from testinfra.host import Host

LOCK = "/run/voicefleet-deploy.json"
# More kills mean that the same place is struck again.
MOST = 80
# Another release than that of the image, so that it is built here. Then an upgrade to the image's, with a candidate.
FIRST = ("--extra-vars", '{"kokoro_voices": ["af_heart"]}')
UPGRADE: tuple[str, ...] = ()


@pytest.fixture(scope="module")
def record(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The places of all kills, of both deploys. A place of the first one is not struck again in the upgrade."""
    return tmp_path_factory.mktemp("struck") / "places"


def struck(record: Path) -> list[str]:
    return record.read_text(encoding="utf-8").splitlines() if record.exists() else []


def deploy_with_kills(record: Path, *options: str) -> list[str]:
    """Run deploys until none is killed. Return the places of the kills."""
    strike = {
        "ANSIBLE_CALLBACK_PLUGINS": str(PROJECT / "molecule/_shared/callback"),
        "ANSIBLE_CALLBACKS_ENABLED": "strike",
        "VOICEFLEET_STRUCK": str(record),
    }
    before = struck(record)
    for _number in range(MOST):
        done = subprocess.run(
            command(*options),
            env={**environment(), **strike},
            capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        if done.returncode == 0:
            return struck(record)[len(before) :]
        assert done.returncode == -signal.SIGKILL, folded(done.stdout + done.stderr)
        print("killed", struck(record)[-1], flush=True)
    pytest.fail(f"{MOST} deploys were killed: {struck(record)}")


def left(host: Host) -> list[str]:
    """What a killed deploy may leave: builds, releases without a seal, parts of a candidate, the lock.

    A later deploy removes the part of a file that a killed write left, but only after an hour. Unit tests show it.
    """
    builds = host.check_output("find /opt/voicefleet -name .build -o -name 'python-*.new' -o -name 'python-*.old'")
    parts = host.run("ls -d /etc/systemd/system/*candidate* /etc/*-candidate /var/lib/*-candidate").stdout
    unsealed = "for release in /opt/voicefleet/releases/*; do [ -e $release/release.json ] || echo $release; done"
    # A lock that is free is an empty file.
    return [
        *builds.split(),
        *parts.split(),
        *host.check_output(unsealed).split(),
        *host.run(f"cat {LOCK}").stdout.split(),
    ]


def whole(host: Host, speaker: Speaker, *options: str) -> None:
    """One more deploy changes nothing, the host speaks, and nothing is half-made."""
    assert changed(succeed(*options), host) == 0
    assert speaker.ask().status == 200
    assert left(host) == []


def test_a_first_deploy_that_is_killed_at_every_task_ends_whole(host: Host, speaker: Speaker, record: Path) -> None:
    places = deploy_with_kills(record, *FIRST)
    text = "\n".join(places)
    for task in (
        "Deliver what the host lacks",
        "Install the locked packages",
        "Install the spaCy models",
        "Put Kokoro's weights",
        "Seal the release",
        "Give Xinference its secrets",
        "Write the unit",
        "Wait until the model is ready",
        "Prove that speech comes out",
        "Make the release current",
    ):
        assert task in text, text
    whole(host, speaker, *FIRST)


def test_an_upgrade_that_is_killed_at_every_task_of_its_candidate_ends_whole(
    host: Host, speaker: Speaker, record: Path
) -> None:
    former = current(host)
    places = deploy_with_kills(record, *UPGRADE)
    assert sum("Try the release beside" in place for place in places) >= 3, places
    assert current(host) != former
    whole(host, speaker, *UPGRADE)
