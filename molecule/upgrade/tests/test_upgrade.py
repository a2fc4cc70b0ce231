# SPDX-License-Identifier: GPL-3.0-or-later
"""An upgrade tries the new release as a candidate beside the current one, while a client sends requests all the time.

Two upgrades, in this order: a good one, and one whose proof must fail, because the stand-in does not know its text.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from deployed import UNIT, Speaker
from testinfra.host import Host

CURRENT = "/opt/voicefleet/current"
FAIL = {"synthesis_text": "All is well on this host, and it says so.", "synthesis_required_level": "intelligible"}
LEFTOVERS = (
    "/etc/systemd/system/voicefleet-candidate.service",
    "/var/lib/voicefleet-candidate",
    "/etc/voicefleet-candidate",
)


@dataclass
class Upgrade:
    """The result of a run of deploy.yml, and the requests of a client during it."""

    status: int
    output: str
    before: str
    after: str
    requests: list[dict[str, Any]] = field(default_factory=list)

    @property
    def words(self) -> str:
        return " ".join(self.output.split())

    @property
    def beside(self) -> list[dict[str, Any]]:
        """Return the requests that were sent while the candidate ran."""
        return [row for row in self.requests if row["beside"]]

    @property
    def gap(self) -> float:
        """Seconds from the first request without an answer to the next answer; 0 if all were answered."""
        silent = [row for row in self.requests if row["status"] != 200]
        if not silent:
            return 0.0
        later = [row["at"] + row["seconds"] for row in self.requests if row["at"] > silent[-1]["at"]]
        return (later[0] if later else float("inf")) - silent[0]["at"]


def release(host: Host) -> str:
    return str(json.loads(host.file(f"{CURRENT}/release.json").content_string)["id"])


def upgrade(host: Host, **variables: Any) -> Upgrade:
    """Deploy with other variables while a client sends requests without a pause."""
    before = release(host)
    program = (Path(__file__).parents[1] / "probe.py").read_text(encoding="utf-8")
    with tempfile.TemporaryFile("w+") as told:
        probe = ["docker", "exec", "--interactive", host.backend.get_hostname(), "python3", "-c", program]
        with subprocess.Popen(probe, stdin=subprocess.PIPE, stdout=told) as client:
            try:
                done = subprocess.run(
                    [
                        str(Path(sys.executable).parent / "ansible-playbook"), "voicefleet.kokoro.deploy",
                        "-i", os.environ["MOLECULE_INVENTORY_FILE"], "-e", json.dumps(variables),
                    ],
                    capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL,
                )  # fmt: skip
            finally:
                client.communicate(b"end\n", timeout=180)
        told.seek(0)
        requests = [json.loads(line) for line in told]
    return Upgrade(done.returncode, done.stdout + done.stderr, before, release(host), requests)


def assert_nothing_is_left(host: Host) -> None:
    assert [path for path in LEFTOVERS if host.file(path).exists] == []
    assert "voicefleet-candidate" not in host.check_output("systemctl list-units --all --no-legend")
    ports = host.check_output("cat /proc/net/tcp").splitlines()
    assert [line for line in ports if line.split()[1].endswith(f":{9998:04X}") and line.split()[3] == "0A"] == []


@pytest.fixture(scope="module")
def good(host: Host) -> Upgrade:
    return upgrade(host, kokoro_voices=["af_heart"])


@pytest.fixture(scope="module")
def bad(host: Host, good: Upgrade) -> Upgrade:
    """Try to return to the first release, with a text that the stand-in does not know."""
    return upgrade(host, kokoro_voices=["af_heart", "am_michael"], **FAIL)


def test_a_good_release_becomes_current(host: Host, good: Upgrade) -> None:
    assert good.status == 0, good.output[-3000:]
    assert good.after != good.before
    start = host.check_output("systemctl show --property ExecStart --value %s", UNIT)
    assert f"/releases/{good.after}/" in start


def test_the_former_release_answers_every_request_beside_the_candidate(good: Upgrade) -> None:
    assert len(good.beside) > 5
    assert {row["status"] for row in good.beside} == {200}
    assert len({row["pid"] for row in good.beside}) == 1


def test_requests_are_lost_only_during_the_restart(good: Upgrade) -> None:
    """Requests are lost only after the candidate is gone, and then answers come again."""
    silent = [row for row in good.requests if row["status"] != 200]
    assert silent
    assert silent[0]["at"] > good.beside[-1]["at"]
    assert good.requests[-1]["status"] == 200
    print(f"gap: {good.gap:.1f} s of {good.requests[-1]['at'] - good.requests[0]['at']:.0f} s")
    assert good.gap < 240


def test_a_passed_candidate_leaves_nothing(host: Host, good: Upgrade) -> None:
    assert_nothing_is_left(host)


def test_a_release_that_fails_its_proof_is_not_made_current(good: Upgrade, bad: Upgrade) -> None:
    assert bad.status != 0
    assert bad.before == bad.after == good.after != good.before
    assert f"The previous release {good.after} continues to serve without a gap" in bad.words
    assert "did not reach the level intelligible" in bad.words


def test_no_request_fails_during_a_failed_upgrade(bad: Upgrade) -> None:
    assert len(bad.beside) > 5
    assert {row["status"] for row in bad.requests} == {200}
    assert len({row["pid"] for row in bad.requests}) == 1


def test_a_failed_candidate_leaves_nothing(host: Host, speaker: Speaker, bad: Upgrade) -> None:
    assert_nothing_is_left(host)
    assert speaker.ask().status == 200
