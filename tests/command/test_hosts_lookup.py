# SPDX-License-Identifier: GPL-3.0-or-later
"""The playbooks act on the group voicefleet, or on what voicefleet_hosts names, and never on a whole inventory."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from ansible_collections.voicefleet.kokoro.tests.command.runs import PLAYBOOKS, ansible_playbook

HOSTS = "\"{{ lookup('voicefleet.kokoro.hosts') }}\""
INVENTORY = """
all:
  hosts:
    printer: {}
  children:
    balancers: {hosts: {front-01: {}}}
"""
SPEAKERS = "voicefleet: {hosts: {speech-01: {}, speech-02: {}}}\n"


@pytest.fixture
def run(tmp_path: Path):  # type: ignore[no-untyped-def]
    """Which hosts a play acts on, by ansible-playbook itself."""
    play = tmp_path / "play.yml"
    play.write_text(
        f"- hosts: {HOSTS}\n  gather_facts: false\n  connection: local\n  tasks: [{{ansible.builtin.debug: {{}}}}]\n"
    )

    def call(inventory: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        (tmp_path / "inventory.yml").write_text(inventory)
        return ansible_playbook(tmp_path, str(play), "-i", "inventory.yml", *arguments)

    return call


def acted_on(done: subprocess.CompletedProcess[str]) -> list[str]:
    assert done.returncode == 0, done.stdout + done.stderr
    return re.findall(r"^([\w-]+) +: ok=1", done.stdout, flags=re.MULTILINE)


def test_the_group_is_the_default(run) -> None:  # type: ignore[no-untyped-def]
    assert acted_on(run(INVENTORY + SPEAKERS)) == ["speech-01", "speech-02"]
    assert acted_on(run(INVENTORY + SPEAKERS, "--limit", "speech-02")) == ["speech-02"]


def test_another_pattern_can_be_named(run) -> None:  # type: ignore[no-untyped-def]
    assert acted_on(run(INVENTORY, "-e", "voicefleet_hosts=balancers")) == ["front-01"]


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        ((), "The inventory has no hosts in voicefleet. Nothing was changed. Write the hosts into the inventory:"),
        (("--limit", "printer"), "The inventory has no hosts in voicefleet."),
        (("-e", "voicefleet_hosts=speakers"), "No host matches voicefleet_hosts=speakers."),
    ],
)
def test_an_inventory_without_the_group_is_refused_with_an_example(run, arguments: tuple[str, ...], what: str) -> None:  # type: ignore[no-untyped-def]
    done = run(INVENTORY, *arguments)
    assert done.returncode != 0
    assert what in done.stderr
    assert "speech-01: {ansible_host: 10.20.0.11}" in done.stderr
    assert "printer" not in done.stdout


def test_a_playbook_parses_without_an_inventory(run) -> None:  # type: ignore[no-untyped-def]
    for look in ("--syntax-check", "--list-tags", "--list-tasks"):
        assert run("", look).returncode == 0


def test_all_playbooks_name_their_hosts_in_the_same_way() -> None:
    """Every play is for these hosts, for the controller, for the balancers, or for those whose failure is counted."""
    failed = "\"{{ hostvars.localhost.ansible_facts.voicefleet_to_count | default(['all:!all'], true) }}\""
    found = {
        line.strip().removeprefix("hosts: ")
        for path in PLAYBOOKS.glob("*.yml")
        for line in path.read_text(encoding="utf-8").splitlines()
        if line.strip().startswith("hosts: ")
    }
    assert found == {HOSTS, failed, "localhost", "balancers"}
