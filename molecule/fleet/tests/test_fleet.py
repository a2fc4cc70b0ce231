# SPDX-License-Identifier: GPL-3.0-or-later
"""Five hosts that serve, and what happens to the others when one of them fails or is off.

Read from top to bottom: each part starts from five hosts that serve, and leaves them so. To make a proof fail, a host
is required to say a text intelligibly that its stand-in does not know. No part of the product is replaced.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import testinfra
from deployed import Speaker

INVENTORY = os.environ["MOLECULE_INVENTORY_FILE"]
REPORTS = Path(os.environ["MOLECULE_PROJECT_DIRECTORY"]) / "build" / "molecule" / "fleet"
HOSTS = [f"vf-fleet-{number}" for number in range(1, 6)]
CANARY, OTHERS = HOSTS[0], HOSTS[1:]
# For the hosts that are to fail.
FAIL = {"synthesis_text": "All is well on this host, and it says so.", "synthesis_required_level": "intelligible"}


@dataclass
class Run:
    """The output of a run, its report, and Ansible's recap by host."""

    status: int
    output: str
    report: dict[str, Any]

    @property
    def words(self) -> str:
        return " ".join(self.output.split())

    @property
    def outcomes(self) -> dict[str, str]:
        return {row["host"]: row["outcome"] for row in self.report["hosts"]}

    @property
    def recap(self) -> dict[str, dict[str, int]]:
        """Ansible's recap by host, without zeros."""
        rows = re.findall(r"^(\S+)\s+: (ok=.*)$", self.output.rpartition("PLAY RECAP")[2], re.MULTILINE)
        return {host: {k: int(v) for k, v in re.findall(r"(\w+)=(\d+)", counts)} for host, counts in rows}

    def table_names(self) -> set[str]:
        """The hosts that have a row in the table that the operator sees."""
        rows = re.search(r"^host  .*\blevel\b.*\n((?:vf-fleet-\d  .*\n)*)", self.output, re.MULTILINE)
        return {row.split()[0] for row in rows[1].splitlines()} if rows else set()


def deploy(folder: Path, *arguments: str, hosts: dict[str, dict[str, Any]] | None = None, **variables: Any) -> Run:
    """Run deploy.yml; `hosts` are variables of single hosts, which a second inventory adds."""
    more = folder / "more.yml"
    more.write_text(json.dumps({"all": {"hosts": hosts or {}}}), encoding="utf-8")
    done = subprocess.run(
        [
            str(Path(sys.executable).parent / "ansible-playbook"), "voicefleet.kokoro.deploy",
            "-i", INVENTORY, "-i", str(more), "-e", json.dumps(variables), *arguments,
        ],
        capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL,
        # What a terminal shows must not depend on who runs the test.
        env={**os.environ, "ANSIBLE_NOCOLOR": "1", "ANSIBLE_CALLBACK_RESULT_FORMAT": "yaml"},
    )  # fmt: skip
    print(done.stdout + done.stderr)
    return Run(done.returncode, done.stdout + done.stderr, json.loads((REPORTS / "report.json").read_text()))


def docker(*arguments: str) -> str:
    return subprocess.run(["docker", *arguments], check=True, capture_output=True, text=True).stdout


@contextmanager
def unreachable(name: str) -> Iterator[None]:
    """Stop the host's SSH server. The host continues to serve."""
    docker("exec", name, "systemctl", "stop", "ssh.service")
    subprocess.run(["docker", "exec", name, "pkill", "-x", "sshd"], check=False)
    try:
        yield
    finally:
        docker("exec", name, "systemctl", "start", "ssh.service")


def visits(name: str) -> int:
    """How often somebody became root on the host. Sudo writes to its log before it runs the command."""
    return docker("exec", name, "cat", "/var/log/sudo.log").count("COMMAND=")


def speaks(name: str) -> bool:
    return Speaker(testinfra.get_host(f"docker://{name}")).ask().status == 200


# --- all is well ------------------------------------------------------------------------------------------------------


def test_the_canary_went_first_alone() -> None:
    """According to the report of Molecule's own run before."""
    report = json.loads((REPORTS / "report.json").read_text())
    assert report["batches"] == [[CANARY], OTHERS[:3], OTHERS[3:]]
    assert {row["outcome"] for row in report["hosts"]} == {"served"}


@pytest.mark.parametrize("name", HOSTS)
def test_it_speaks(name: str) -> None:
    assert speaks(name)


def test_an_unchanged_run(tmp_path: Path) -> None:
    run = deploy(tmp_path)
    assert run.status == 0
    assert run.table_names() == set(HOSTS)
    assert {host: counts["changed"] for host, counts in run.recap.items()} == dict.fromkeys(HOSTS, 0)
    assert max(counts["ok"] for counts in run.recap.values()) <= 12


# --- a proof fails ----------------------------------------------------------------------------------------------------


def test_a_canary_that_fails_is_the_only_host_that_was_touched(tmp_path: Path) -> None:
    before = {name: visits(name) for name in HOSTS}
    # This does not depend on the limit of other batches.
    run = deploy(tmp_path, hosts={CANARY: FAIL}, voicefleet_max_fail_percentage=100)
    assert {name for name in HOSTS if visits(name) != before[name]} == {CANARY}
    assert run.status != 0
    assert run.outcomes == {CANARY: "failed", **dict.fromkeys(OTHERS, "not tried")}
    assert {host for host, counts in run.recap.items() if counts["failed"]} == {CANARY}
    assert run.table_names() == set(HOSTS)
    assert f"STOPPED before the next batch: the canary failed: {CANARY}" in run.words
    assert f"--limit '@{REPORTS}/retry'" in run.words
    assert speaks(CANARY)


def test_after_a_failure_the_batch_ends_and_no_other_begins(tmp_path: Path) -> None:
    before = {name: visits(name) for name in HOSTS}
    run = deploy(tmp_path, hosts={OTHERS[1]: FAIL})
    assert {name for name in HOSTS if visits(name) != before[name]} == set(HOSTS[:4])
    assert run.status != 0
    expected = {**dict.fromkeys(HOSTS[:4], "served"), OTHERS[1]: "failed", **dict.fromkeys(OTHERS[3:], "not tried")}
    assert run.outcomes == expected
    assert {host for host, counts in run.recap.items() if counts["failed"]} == {OTHERS[1]}
    assert "in batch 2, 1 of 3 hosts failed, more than the 0 %" in run.words
    assert "did not reach the level intelligible" in run.report["hosts"][2]["why"]
    assert run.table_names() == set(HOSTS)


def test_the_run_continues_below_the_failure_limit(tmp_path: Path) -> None:
    run = deploy(tmp_path, hosts={OTHERS[1]: FAIL}, voicefleet_max_fail_percentage=34)
    assert run.status != 0
    assert run.outcomes == {**dict.fromkeys(HOSTS, "served"), OTHERS[1]: "failed"}
    assert {host for host, counts in run.recap.items() if counts["failed"]} == {OTHERS[1]}
    assert run.table_names() == set(HOSTS)


# --- a host is off ----------------------------------------------------------------------------------------------------


def test_an_unreachable_canary_stops_the_run_with_a_clear_message(tmp_path: Path) -> None:
    with unreachable(CANARY):
        run = deploy(tmp_path)
    assert run.status != 0
    assert run.outcomes == {CANARY: "unreachable", **dict.fromkeys(OTHERS, "not tried")}
    assert "the canary could not be reached, so the release is not proved anywhere" in run.words
    assert run.table_names() == set(HOSTS)


def test_an_unreachable_host_stops_no_other_and_the_next_run_finishes_it(tmp_path: Path) -> None:
    """The host was torn down before, so the next run has work. It is alone in its batch, so it stops no other host."""
    off = OTHERS[2]
    playbook = str(Path(sys.executable).parent / "ansible-playbook")
    subprocess.run(
        [playbook, "voicefleet.kokoro.teardown", "-i", INVENTORY, "--limit", off, "-e", "teardown_confirm=true"],
        check=True, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    with unreachable(off):
        run = deploy(tmp_path, voicefleet_serial=1)
    assert run.status != 0
    assert run.outcomes == {**dict.fromkeys(HOSTS, "served"), off: "unreachable"}
    assert {host for host, counts in run.recap.items() if counts["unreachable"]} == {off}
    # One may be proved again, because a test above required more of its voices than they can do.
    assert {host for host, counts in run.recap.items() if counts["failed"]} == set()
    assert run.table_names() == set(HOSTS)

    again = deploy(tmp_path, "--limit", f"@{REPORTS}/retry")
    assert again.status == 0
    assert again.outcomes == {off: "served"}
    assert "Check every file of the store against the manifest" in again.output
    assert speaks(off)
    assert not (REPORTS / "retry").exists()
