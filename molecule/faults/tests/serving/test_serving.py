# SPDX-License-Identifier: GPL-3.0-or-later
"""Faults while the service changes to another release, and two controllers at once."""

from __future__ import annotations

import re
import subprocess

import pytest
from deployed import UNIT, Speaker
from deploys import changed, command, current, environment, folded, ledger, struck, succeed
from testinfra.host import Host

FAULTS = {
    "unit_that_does_not_start": ("serves again", "What failed: Write the unit and start or restart the service"),
    "synthesis_that_fails": ("serves again", "did not reach the level intelligible"),
    "model_that_does_not_launch": ("continues to serve without a gap", "What failed: Wait until the model is ready"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_the_former_release_serves(host: Host, fault: str) -> None:
    """The previous group left this release. The power loss prevented the receipt after it."""
    met = struck(fault)
    assert met.status != 0, met.said
    former = [line["release"] for line in ledger(host) if "release" in line][-1]
    assert (met.current, met.answer) == (former, "200"), met.said
    assert re.search(r"vf-faults: release [\d.]+-[0-9a-f]{12}", met.said)
    for words in (f"The previous release {former} {FAULTS[fault][0]}", FAULTS[fault][1]):
        assert words in met.said


def test_the_ledger_has_each_failure_with_its_phase(host: Host) -> None:
    failures = [line for line in ledger(host) if line.get("event") == "failed"][-len(FAULTS) :]
    assert [line["phase"] for line in failures] == ["start", "proof", "candidate"]


def test_after_a_power_loss_at_the_switch_the_next_run_writes_the_receipt(host: Host, speaker: Speaker) -> None:
    met = struck("power_loss_at_switch")
    assert (met.status != 0, met.answer) == (True, "200"), met.said
    assert current(host) == met.current
    before = ledger(host)
    former = [line["release"] for line in before if "release" in line][-1]
    assert former != met.current
    succeed()
    assert current(host) == met.current
    assert speaker.ask().status == 200
    assert ledger(host)[:-1] == before
    receipt = ledger(host)[-1]
    assert (receipt["release"], receipt["previous"]) == (met.current, former)
    assert changed(succeed(), host) == 0


def test_of_two_controllers_at_once_one_wins_and_the_other_reports_it(host: Host, speaker: Speaker) -> None:
    pid = host.check_output("systemctl show --property=MainPID --value %s", UNIT)
    both = [
        subprocess.Popen(
            command(),
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for _controller in range(2)
    ]
    said = [folded(play.communicate(timeout=900)[0]) for play in both]
    assert sorted(play.returncode == 0 for play in both) == [False, True], said
    winner, loser = sorted(both, key=lambda play: play.returncode)
    refused = said[both.index(loser)]
    assert f"vf-faults is being deployed to by root on {host_name()} (process {winner.pid})" in refused
    assert "nothing was changed" in refused
    assert host.check_output("systemctl show --property=MainPID --value %s", UNIT) == pid
    assert speaker.ask().status == 200


def host_name() -> str:
    """Return the controller's name. The tests run on the controller."""
    return subprocess.run(["hostname"], capture_output=True, text=True, check=True).stdout.strip()
