# SPDX-License-Identifier: GPL-3.0-or-later
"""Rollback, refusals and teardown, in the order in which an operator would try them."""

from __future__ import annotations

import json
import os
import re
import subprocess
from typing import Any

import pytest
from deployed import UNIT, Speaker
from testinfra.host import Host

LEDGER = "/var/lib/voicefleet-evidence/receipts.jsonl"
RELEASES = "/opt/voicefleet/releases"


def play(name: str, *arguments: str) -> tuple[int, str]:
    """Run a playbook of the collection on the scenario's hosts. Return its exit status, and its output in one line."""
    workspace = os.path.join(os.environ["MOLECULE_PROJECT_DIRECTORY"], ".cache", "ws")
    done = subprocess.run(
        ["ansible-playbook", f"voicefleet.kokoro.{name}", "-i", os.environ["MOLECULE_INVENTORY_FILE"], *arguments],
        env={**os.environ, "ANSIBLE_COLLECTIONS_PATH": workspace, "ANSIBLE_NOCOLOR": "1", "ANSIBLE_FORCE_COLOR": "0"},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, " ".join((done.stdout + done.stderr).split())


def changes(output: str) -> int:
    return sum(map(int, re.findall(r" changed=(\d+)", output)))


def receipts(host: Host) -> list[dict[str, Any]]:
    return [json.loads(line) for line in host.file(LEDGER).content_string.splitlines()]


def current(host: Host) -> str:
    return os.path.basename(host.file("/opt/voicefleet/current").linked_to)


@pytest.fixture(scope="session")
def two(host: Host) -> str:
    """Return the release with two voices, which was deployed first."""
    return str(receipts(host)[0]["release"])


@pytest.fixture(scope="session")
def one(host: Host) -> str:
    """Return the release with one voice, which was deployed second."""
    return str(receipts(host)[1]["release"])


def test_the_previous_release_serves_after_the_rollback(host: Host, speaker: Speaker, one: str, two: str) -> None:
    assert one != two
    assert current(host) == two
    assert f"{RELEASES}/{two}/" in host.check_output("systemctl cat %s", UNIT)
    # Only this release has this voice.
    assert speaker.ask("am_michael").status == 200


def test_the_ledger_holds_all_three_switches(host: Host, one: str, two: str) -> None:
    assert [(line["release"], line["previous"]) for line in receipts(host)] == [(two, None), (one, two), (two, one)]
    last = receipts(host)[-1]
    assert last["proof_level"] == "acoustic"
    assert "made-up" in last["unpublished"].values()
    assert last["artifacts"] == receipts(host)[0]["artifacts"]
    assert last["manifest_sha256"] == receipts(host)[0]["manifest_sha256"]


def test_a_rollback_to_the_current_release_changes_nothing(host: Host, two: str) -> None:
    status, output = play("rollback", "-e", f"releases_rollback_to={two}")
    assert status == 0, output
    assert changes(output) == 0, output
    assert len(receipts(host)) == 3


def test_the_summary_names_the_current_release(host: Host, two: str) -> None:
    status, output = play("receipts")
    assert status == 0, output
    assert two in output
    assert "MADE-UP WEIGHTS" in output
    assert changes(output) == 0


def test_a_dry_run_switches_nothing(host: Host, two: str) -> None:
    status, output = play("rollback", "--check", "--diff")
    assert status == 0, output
    assert changes(output) > 0
    assert current(host) == two
    assert f"{RELEASES}/{two}/" in host.check_output("systemctl cat %s", UNIT)


def test_a_missing_release_is_refused(host: Host, speaker: Speaker, one: str, two: str) -> None:
    status, output = play("rollback", "-e", "releases_rollback_to=1.2.3-000000000000")
    assert status != 0
    assert "is not on this host" in output
    assert one in output
    assert f"{two} (current)" in output
    assert changes(output) == 0
    assert speaker.ask().status == 200


def test_a_damaged_release_is_refused(host: Host, speaker: Speaker, one: str, two: str) -> None:
    host.check_output("rm %s", f"{RELEASES}/{one}/models/Kokoro-82M/voices/af_heart.pt")
    status, output = play("rollback")
    assert status != 0
    assert f"release {one} is damaged" in output
    assert "af_heart.pt" in output
    assert changes(output) == 0
    assert current(host) == two
    assert speaker.ask().status == 200


def test_a_teardown_needs_confirmation(host: Host, speaker: Speaker) -> None:
    status, output = play("teardown")
    assert status != 0
    assert "Nothing was removed" in output
    for named in (f"unit {UNIT}", RELEASES, "/etc/voicefleet/secrets.json", "teardown_confirm=true"):
        assert named in output
    assert speaker.ask().status == 200


def test_a_teardown_removes_what_was_installed(host: Host) -> None:
    status, output = play("teardown", "-e", "teardown_confirm=true")
    assert status == 0, output
    for path in ("/opt/voicefleet", "/etc/voicefleet", f"/etc/systemd/system/{UNIT}"):
        assert not host.file(path).exists
    assert not host.service(UNIT).is_running
    assert "voicefleet" not in host.check_output("systemctl list-unit-files --no-legend --no-pager")
    # Data, their user and evidence stay.
    assert host.file("/var/lib/voicefleet").user == "voicefleet"
    assert receipts(host)[-1]["event"] == "teardown"


def test_a_second_teardown_changes_nothing(host: Host) -> None:
    before = host.file(LEDGER).content_string
    status, output = play("teardown", "-e", "teardown_confirm=true")
    assert status == 0, output
    assert changes(output) == 0, output
    assert host.file(LEDGER).content_string == before


def test_a_deploy_after_a_teardown_works(host: Host, speaker: Speaker, two: str) -> None:
    status, output = play("deploy")
    assert status == 0, output
    assert current(host) == two
    assert speaker.ask("am_michael").status == 200


def test_a_full_teardown_leaves_nothing(host: Host) -> None:
    told = ("teardown_confirm", "teardown_data", "teardown_evidence")
    status, output = play("teardown", *(word for name in told for word in ("-e", f"{name}=true")))
    assert status == 0, output
    assert not any(host.file(path).exists for path in ("/opt/voicefleet", "/etc/voicefleet"))
    assert not any(host.file(path).exists for path in ("/var/lib/voicefleet", "/var/lib/voicefleet-evidence"))
    assert not host.user("voicefleet").exists
