# SPDX-License-Identifier: GPL-3.0-or-later
"""Deploys that a test runs itself, and the results of deploys that a side effect disturbed."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from testinfra.host import Host

PROJECT = Path(os.environ["MOLECULE_PROJECT_DIRECTORY"])
LEDGER = "/var/lib/voicefleet-evidence/receipts.jsonl"


def command(*options: str, play: str = "deploy") -> list[str]:
    return [
        "ansible-playbook",
        f"voicefleet.kokoro.{play}",
        "--inventory",
        os.environ["MOLECULE_INVENTORY_FILE"],
        *options,
    ]


def environment() -> dict[str, str]:
    return {
        **os.environ,
        "ANSIBLE_COLLECTIONS_PATH": str(PROJECT / ".cache/ws"),
        "ANSIBLE_NOCOLOR": "1",
        "ANSIBLE_FORCE_COLOR": "0",
        # Keeps the report of Molecule's own run.
        "MOLECULE_SCENARIO_NAME": os.environ["MOLECULE_SCENARIO_NAME"] + "-again",
    }


def folded(text: str) -> str:
    """A text without line breaks, so that a test can search it."""
    return " ".join(text.split())


def deploy(*options: str, play: str = "deploy") -> tuple[int, str]:
    """Run deploy.yml or another playbook. Returns its exit status and its output, folded."""
    done = subprocess.run(
        command(*options, play=play),
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    return done.returncode, folded(done.stdout + done.stderr)


def succeed(*options: str, play: str = "deploy") -> str:
    status, said = deploy(*options, play=play)
    assert status == 0, said
    return said


def changed(said: str, host: Host) -> int:
    """How many tasks changed the host, from the recap."""
    recap = said[said.index("PLAY RECAP") :]
    return int(recap[recap.index(host.backend.get_hostname()) :].split("changed=")[1].split()[0])


def current(host: Host) -> str:
    """The id of the current release."""
    return os.path.basename(host.check_output("readlink /opt/voicefleet/current"))


def ledger(host: Host) -> list[dict[str, Any]]:
    """The lines of the host's ledger. Each must be complete."""
    return [json.loads(line) for line in host.file(LEDGER).content_string.splitlines()]


@dataclass(frozen=True)
class Struck:
    """A deploy with a fault: exit status and output, and afterwards the current release and the answer of the API."""

    status: int
    said: str
    current: str
    answer: str


def struck(fault: str) -> Struck:
    """The result that a side effect wrote to a file."""
    record = Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"]) / f"{fault}.json"
    found = json.loads(record.read_text(encoding="utf-8"))
    return Struck(found["status"], folded(found["said"]), found["current"], found["answer"])
