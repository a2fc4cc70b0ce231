# SPDX-License-Identifier: GPL-3.0-or-later
"""Faults interrupt the making of a release, one after the other. The next run finishes it."""

from __future__ import annotations

import re

import pytest
from deployed import Speaker
from deploys import changed, current, ledger, struck, succeed
from testinfra.host import Host

NEW = ("--extra-vars", '{"kokoro_voices": ["am_michael"]}')
FAULTS = {
    "full_disk_at_artifacts": ("full", "MB are missing"),
    "full_disk_at_install": ("The disk is full: the file system of /opt/voicefleet/releases/", "MB are missing"),
    "killed_module": ("What failed: Install the locked packages",),
    "corrupt_byte": (
        "These files changed on the host between arrival and installation: kokoro/Kokoro-82M/voices/am_michael.pt",
    ),
    "cut_connection": ("What failed: Wait until the model is ready",),
}


@pytest.mark.parametrize("fault", [*FAULTS, "power_loss_at_install"])
def test_the_former_release_serves(host: Host, fault: str) -> None:
    met = struck(fault)
    assert met.status != 0, met.said
    assert (met.current, met.answer) == (current(host), "200"), met.said


@pytest.mark.parametrize("fault", FAULTS)
def test_the_message_names_the_failure_the_host_and_the_kept_files(host: Host, fault: str) -> None:
    said = struck(fault).said
    for words in (*FAULTS[fault], f"The previous release {current(host)} continues to serve without a gap", "is kept"):
        assert words in said
    assert re.search(r"vf-faults: release [\d.]+-[0-9a-f]{12}", said)


def test_the_message_names_a_lost_host() -> None:
    said = struck("power_loss_at_install").said
    assert "vf-faults" in said
    # SSH reports UNREACHABLE. Docker's connection does not.
    assert "is not running" in said or "UNREACHABLE!" in said
    assert "Install the locked packages" in said


def test_the_ledger_has_each_failure_with_its_phase(host: Host) -> None:
    failures = [line for line in ledger(host) if line.get("event") == "failed"][-len(FAULTS) :]
    assert [line["phase"] for line in failures] == ["artifacts", "python_env", "python_env", "kokoro", "candidate"]
    assert len({line["attempted"] for line in failures}) == 1
    for line in failures:
        assert line["current"] == current(host)
        assert line["seconds"]["total"] >= line["seconds"][line["phase"]] >= 0
        assert line["operator"]
        assert line["message"]


def test_the_next_run_finishes_the_release(host: Host, speaker: Speaker) -> None:
    former = current(host)
    said = succeed(*NEW)
    assert current(host) != former
    assert speaker.ask("am_michael").status == 200
    receipt = ledger(host)[-1]
    assert (receipt["release"], receipt["previous"], receipt["proof_level"]) == (current(host), former, "acoustic")
    # The last fault came after the release was complete, so this run does not build it.
    assert set(receipt["seconds"]) == {"preflight", "candidate", "start", "proof", "total"}
    assert all(len(digest) == 64 for digest in receipt["artifacts"].values())
    assert "/opt/voicefleet/releases/.../.spacy" not in host.check_output("find /opt/voicefleet/releases -name '.*'")
    assert changed(said, host)
    assert changed(succeed(*NEW), host) == 0


def test_the_fleets_table_shows_who_when_and_how_long(host: Host) -> None:
    said = succeed(play="receipts")
    receipt = ledger(host)[-1]
    known = (receipt["release"], receipt["time"], receipt["operator"], receipt["manifest_sha256"][:12], "acoustic")
    for words in known:
        assert words in said
    assert f" {receipt['seconds']['total']:.0f} s" in said
