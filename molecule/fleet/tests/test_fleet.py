# SPDX-License-Identifier: GPL-3.0-or-later
"""A fleet of three hosts that serve and 32 light ones, and what happens to the others when one fails or is off.

Read from top to bottom: each part starts from three hosts that serve, and leaves them so. To make a proof fail, a host
is required to say a text intelligibly that its stand-in does not know. The light hosts have no service. Preflight
refuses them if they must have more memory than there is. No part of the product is replaced.
"""

from __future__ import annotations

import json
import os
import re
import runpy
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import testinfra
from deployed import Speaker

Watch = runpy.run_path(str(Path(os.environ["MOLECULE_PROJECT_DIRECTORY"]) / "bench" / "memory.py"))["Watch"]
INVENTORY = os.environ["MOLECULE_INVENTORY_FILE"]
PROJECT = Path(os.environ["MOLECULE_PROJECT_DIRECTORY"])
REPORTS = PROJECT / "build" / "molecule" / "fleet"
HOSTS = [f"vf-fleet-{number}" for number in range(1, 4)]
CANARY, OTHERS = HOSTS[0], HOSTS[1:]
LIGHT = [f"vf-fleet-light-{number:02}" for number in range(1, 33)]
# For the hosts that are to fail, and for the light ones that preflight is to refuse.
FAIL = {"synthesis_text": "All is well on this host, and it says so.", "synthesis_required_level": "intelligible"}
REFUSE = {"voicefleet_minimum_memory_mb": 10_000_000}
# A run over all hosts takes a canary and two batches.
WIDE: dict[str, Any] = {"voicefleet_serial": "50%", "voicefleet_max_fail_percentage": 100}
# The controller's processes together take this much at most, with 20 forks.
MOST_MB = 1500
ALL_UP_TO = 20  # with more hosts, the table lists only those to look at


@dataclass
class Run:
    """The output of a run, its report, Ansible's recap by host, and the most memory of all its processes in MB."""

    status: int
    output: str
    report: dict[str, Any]
    megabytes: float

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
        rows = re.search(r"^host  .*\blevel\b.*\n((?:vf-fleet-\S+  .*\n)*)", self.output, re.MULTILINE)
        return {row.split()[0] for row in rows[1].splitlines()} if rows else set()


def play(
    name: str, folder: Path, *arguments: str, light: Sequence[str] = (), hosts: dict[str, Any] | None = None,
    refuse: dict[str, Any] | None = None, **variables: Any,
) -> tuple[int, str, float]:  # fmt: skip
    """Run a playbook over the hosts that serve and `light` ones. A second inventory adds these, and variables.

    `hosts` are variables of single hosts, `refuse` of all light ones. Returns exit status, output, and memory in MB.
    """
    more = folder / "more.yml"
    groups = {"all": {"hosts": hosts or {}}, "voicefleet": {"hosts": dict.fromkeys(light, {})}}
    more.write_text(json.dumps({**groups, "light": {"vars": refuse or {}}}), encoding="utf-8")
    said = folder / "said"
    with said.open("w", encoding="utf-8") as output:
        running = subprocess.Popen(
            [
                str(Path(sys.executable).parent / "ansible-playbook"), f"voicefleet.kokoro.{name}",
                "-i", INVENTORY, "-i", str(more), "-e", json.dumps(variables), *arguments,
            ],
            stdout=output, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
            # What a terminal shows must not depend on who runs the test.
            env={**os.environ, "ANSIBLE_NOCOLOR": "1", "ANSIBLE_CALLBACK_RESULT_FORMAT": "yaml"},
        )  # fmt: skip
        watch = Watch(running.pid)
        status = running.wait()
        watch.ended.set()
        watch.join()
    text = said.read_text(encoding="utf-8")
    print(text)
    return status, text, watch.most


def deploy(folder: Path, *arguments: str, **more: Any) -> Run:
    """Run deploy.yml. `more` are as for `play`."""
    status, output, megabytes = play("deploy", folder, *arguments, **more)
    return Run(status, output, json.loads((REPORTS / "report.json").read_text()), megabytes)


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
    return docker("exec", name, "find", "/var/log", "-name", "sudo.log", "-exec", "cat", "{}", "+").count("COMMAND=")


def speaks(name: str) -> bool:
    return Speaker(testinfra.get_host(f"docker://{name}")).ask().status == 200


# --- all is well ------------------------------------------------------------------------------------------------------


def test_the_canary_went_first_alone() -> None:
    """According to the report of Molecule's own run before."""
    report = json.loads((REPORTS / "report.json").read_text())
    assert report["batches"] == [[CANARY], OTHERS]
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
    last = LIGHT[:2]
    before = {name: visits(name) for name in [*HOSTS, *last]}
    run = deploy(tmp_path, light=last, hosts={OTHERS[0]: FAIL})
    assert {name for name, count in before.items() if visits(name) != count} == set(HOSTS)
    assert run.status != 0
    assert run.report["batches"] == [[CANARY], OTHERS]
    assert run.outcomes == {**dict.fromkeys(HOSTS, "served"), OTHERS[0]: "failed", **dict.fromkeys(last, "not tried")}
    assert {host for host, counts in run.recap.items() if counts["failed"]} == {OTHERS[0]}
    assert "in batch 2, 1 of 2 hosts failed, more than the 0 %" in run.words
    assert "did not reach the level intelligible" in run.report["hosts"][1]["why"]
    assert run.table_names() == {*HOSTS, *last}


def test_the_run_continues_until_more_hosts_fail_than_the_limit_allows(tmp_path: Path) -> None:
    tried, spared = LIGHT[:2], LIGHT[2:4]
    run = deploy(
        tmp_path, light=LIGHT[:4], hosts={OTHERS[0]: FAIL}, refuse=REFUSE, voicefleet_max_fail_percentage=50
    )  # fmt: skip
    assert run.status != 0
    assert run.report["batches"] == [[CANARY], OTHERS, tried]
    bad = [OTHERS[0], *tried]
    assert run.outcomes == {
        **dict.fromkeys(HOSTS, "served"), **dict.fromkeys(bad, "failed"), **dict.fromkeys(spared, "not tried"),
    }  # fmt: skip
    assert {host for host, counts in run.recap.items() if counts["failed"]} == set(bad)
    assert "in batch 3, 2 of 2 hosts failed, more than the 50 %" in run.words
    assert run.table_names() == {*HOSTS, *LIGHT[:4]}


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
    off = OTHERS[0]
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


# --- 35 hosts ---------------------------------------------------------------------------------------------------------


def test_all_hosts_are_prepared_in_three_batches(tmp_path: Path) -> None:
    run = deploy(tmp_path, "--tags", "preflight", light=LIGHT, **WIDE)
    assert run.status == 0
    assert run.report["batches"] == [[CANARY], [*OTHERS, *LIGHT[:15]], LIGHT[15:]]
    assert run.outcomes == dict.fromkeys([*HOSTS, *LIGHT], "prepared")
    assert "35 prepared" in run.words
    assert run.megabytes < MOST_MB


def test_hosts_that_are_refused_or_off_are_reported_and_hold_up_no_other(tmp_path: Path) -> None:
    off, refused = LIGHT[4], [name for name in LIGHT if name != LIGHT[4]]
    with unreachable(off):
        run = deploy(tmp_path, light=LIGHT, refuse=REFUSE, **WIDE)
    assert run.status != 0
    assert run.outcomes == {**dict.fromkeys(HOSTS, "served"), **dict.fromkeys(refused, "failed"), off: "unreachable"}
    assert {host for host, counts in run.recap.items() if counts["failed"]} == set(refused)
    assert {host for host, counts in run.recap.items() if counts["unreachable"]} == {off}
    # For those that serve, it is an unchanged run.
    assert {host: run.recap[host]["changed"] for host in HOSTS} == dict.fromkeys(HOSTS, 0)
    assert max(run.recap[host]["ok"] for host in HOSTS) <= 12
    # The table lists the worst, and says what they have in common once.
    assert len(run.table_names() - set(HOSTS)) == len(run.table_names()) == ALL_UP_TO
    assert re.search(r"Not listed here: .{0,40}\d+ more failed or stand out", run.words)
    assert run.words.count("and 19 more: cannot be deployed, nothing was changed.") == 1
    assert (REPORTS / "retry").read_text().split() == LIGHT
    assert (REPORTS / "index.html").read_text().count("vf-fleet-light-") >= len(LIGHT)
    assert run.megabytes < MOST_MB

    again = deploy(tmp_path, "--tags", "preflight", "--limit", f"@{REPORTS}/retry", light=LIGHT, **WIDE)
    assert again.status == 0
    assert again.outcomes == dict.fromkeys(LIGHT, "prepared")
    assert not (REPORTS / "retry").exists()


def test_the_summary_of_the_ledgers_has_all_hosts(tmp_path: Path) -> None:
    status, said, megabytes = play("receipts", tmp_path, light=LIGHT)
    assert status == 0
    summary = json.loads((REPORTS / "receipts.json").read_text())
    assert {row["host"] for row in summary["hosts"] if row["current"]} == set(HOSTS)
    assert len(summary["hosts"]) == 35
    assert summary["not_read"] == []
    assert list(summary["releases"].values()) == [3]
    assert re.search(r"^32 hosts: nothing$", said, re.MULTILINE)
    assert megabytes < MOST_MB


def test_the_doctor_examines_all_hosts_and_says_each_finding_once(tmp_path: Path) -> None:
    file = tmp_path / "doctor.json"
    status, said, megabytes = play("doctor", tmp_path, light=LIGHT, doctor_json_file=str(file), doctor_timeout=120)
    assert status != 0
    found = json.loads(file.read_text())["hosts"]
    assert found.keys() == {*HOSTS, *LIGHT}
    assert {name for name, host in found.items() if host["status"] == 2} == set(LIGHT)
    assert re.search(r"^35 hosts: \d+ FAIL, ", said, re.MULTILINE)
    assert len(re.findall(r"^(?:OK|WARN|FAIL) ", said, re.MULTILINE)) < 100
    assert megabytes < MOST_MB
