# SPDX-License-Identifier: GPL-3.0-or-later
"""A table is printed line by line, however long its lines are."""

from __future__ import annotations

from pathlib import Path

import yaml
from ansible_collections.voicefleet.kokoro.tests.command.runs import PLAYBOOKS, ansible_playbook, local_inventory

LINES = ["host       release        " + "x " * 100, "speech-01  0123456789ab: y"]


def test_lines_are_printed_as_they_are(tmp_path: Path) -> None:
    task = {"voicefleet.kokoro.show": {"title": "{{ inventory_hostname }}", "lines": LINES}}
    play = [{"hosts": "all", "gather_facts": False, "tasks": [task]}]
    (tmp_path / "play.yml").write_text(yaml.safe_dump(play))
    done = ansible_playbook(tmp_path, "play.yml", "-i", str(local_inventory(tmp_path, "speech-01")))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "\n".join(["speech-01", *LINES]) in done.stdout


def test_no_task_shows_lines_in_a_way_that_folds_them() -> None:
    """A `debug` of a list, or of the lines that an action returned, is folded by the YAML of a result."""
    roles = PLAYBOOKS.parent / "roles"
    files = [*PLAYBOOKS.rglob("*.yml"), *roles.rglob("tasks/*.yml")]
    assert len(files) > 40
    for file in files:
        for before in file.read_text(encoding="utf-8").split("ansible.builtin.debug:")[1:]:
            assert "lines }}" not in before.split("- name:")[0], file
            assert "var:" not in before.split("- name:")[0], file
