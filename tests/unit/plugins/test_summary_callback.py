# SPDX-License-Identifier: GPL-3.0-or-later
"""A run that Ansible ends before its report still shows a summary. This is a real run with a missing host."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

COLLECTION = Path(__file__).resolve().parents[3]
PLAYBOOK = """
- hosts: all
  gather_facts: false
  tasks:
    - name: Plan
      voicefleet.kokoro.rollout: {step: plan, canary: 1}
      run_once: true
      delegate_to: localhost
      delegate_facts: true
- hosts: all
  gather_facts: false
  serial: "{{ hostvars.localhost.voicefleet_rollout.serial }}"
  tasks:
    - name: Begin
      voicefleet.kokoro.rollout: {step: begin}
      run_once: true
      delegate_to: localhost
      delegate_facts: true
    - name: Lose the connection
      ansible.builtin.raw: "true"
      when: lost
    - name: Note
      voicefleet.kokoro.rollout: {step: note}
- hosts: all
  gather_facts: false
  tasks:
    - name: Report
      voicefleet.kokoro.synthesis_report: {report_dir: report}
      run_once: true
      delegate_to: localhost
      delegate_facts: true
"""


def run(folder: Path, lost: bool) -> subprocess.CompletedProcess[str]:
    (folder / "play.yml").write_text(PLAYBOOK)
    (folder / "callback_plugins").symlink_to(COLLECTION / "playbooks" / "callback_plugins")
    (folder / "ansible_collections" / "voicefleet").mkdir(parents=True)
    (folder / "ansible_collections" / "voicefleet" / "kokoro").symlink_to(COLLECTION)
    variables = {"ansible_connection": "ssh", "ansible_ssh_executable": "/bin/false", "lost": lost}
    paths = {"ANSIBLE_COLLECTIONS_PATH": str(folder), "ANSIBLE_HOME": str(folder), "HOME": str(folder)}
    return subprocess.run(
        # Not `-m ansible playbook`: in ansible-test's environment Ansible has no entry points.
        [sys.executable, "-c", "from ansible.cli.playbook import main; main()", "play.yml", "-i", "s1,s2"]
        + ["-e", json.dumps(variables)],
        cwd=folder, env={**os.environ, **paths},
        capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL,
    )  # fmt: skip


def test_a_run_that_lost_its_canary_reports_every_host(tmp_path: Path) -> None:
    done = run(tmp_path, lost=True)
    assert done.returncode != 0
    after = done.stdout.rpartition("PLAY RECAP")[2]
    assert "2 hosts: 1 lost on the way, 1 not tried." in after, done.stdout + done.stderr
    assert "s1    none   lost on the way" in after
    assert "s2    none   not tried" in after
    assert "every host of batch 1 was lost or had failed" in after
    assert not (tmp_path / "report").exists()


def test_a_run_with_a_report_gets_no_second_summary(tmp_path: Path) -> None:
    done = run(tmp_path, lost=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "report" / "retry").exists() is False
    assert "lost on the way" not in done.stdout
    assert "none   " not in done.stdout.rpartition("PLAY RECAP")[2]
