# SPDX-License-Identifier: GPL-3.0-or-later
"""The doctor's explanations of failures in tasks that are not ours, in real plays."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from ansible_collections.voicefleet.kokoro.plugins.module_utils.doctor.diagnosis import HEADING, recognise

COLLECTION = Path(__file__).resolve().parents[3]
KNOWN = "Max retries exceeded with url: /explosion/spacy-models/master/compatibility.json"


def run(folder: Path, command: str = "", **task: Any) -> subprocess.CompletedProcess[str]:
    """A play of one task on two hosts, by default one that writes a text to standard error and fails."""
    failing = {"ansible.builtin.command": {"argv": ["sh", "-c", f"echo '{command}' >&2; exit 1"]}} if command else {}
    play = {"hosts": "all", "connection": "local", "gather_facts": False, "tasks": [{**failing, **task}]}
    (folder / "play.yml").write_text(json.dumps([play]))
    (folder / "callback_plugins").symlink_to(COLLECTION / "playbooks" / "callback_plugins")
    (folder / "ansible_collections" / "voicefleet").mkdir(parents=True)
    (folder / "ansible_collections" / "voicefleet" / "kokoro").symlink_to(COLLECTION)
    paths = {"ANSIBLE_COLLECTIONS_PATH": str(folder), "ANSIBLE_HOME": str(folder), "HOME": str(folder)}
    done = subprocess.run(
        # Not `-m ansible playbook`: in ansible-test's environment Ansible has no entry points.
        [sys.executable, "-c", "from ansible.cli.playbook import main; main()", "play.yml", "-i", "s1,s2"]
        + ["-e", f"ansible_python_interpreter={sys.executable}"],
        cwd=folder, env={**os.environ, **paths},
        capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert done.returncode == (0 if task.get("ignore_errors") else 2), done.stderr
    return done


def test_a_known_failure_of_any_task_is_explained_once_for_all_hosts(tmp_path: Path) -> None:
    said = run(tmp_path, KNOWN).stdout
    assert said.count(f": {HEADING}") == 1
    assert recognise(KNOWN).code in said.partition(HEADING)[2]  # type: ignore[union-attr]


def test_an_unknown_failure_is_not_explained(tmp_path: Path) -> None:
    assert HEADING not in run(tmp_path, "a thing").stdout


def test_an_ignored_failure_is_not_explained(tmp_path: Path) -> None:
    assert HEADING not in run(tmp_path, KNOWN, ignore_errors=True).stdout


def test_an_explained_failure_is_not_explained_again(tmp_path: Path) -> None:
    fail = {"ansible.builtin.fail": {"msg": f"{KNOWN}\n{HEADING}\n  as was said."}}
    said = run(tmp_path, **fail).stdout
    assert HEADING in said
    assert f": {HEADING}" not in said
