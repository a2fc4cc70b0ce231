# SPDX-License-Identifier: GPL-3.0-or-later
"""Run ansible-playbook in a test, on this machine alone."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

PLAYBOOKS = Path(__file__).resolve().parents[2] / "playbooks"


def ansible_playbook(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """A run started in this folder, with the collection as this test finds it, and more variables of environment."""
    found = [path for path in sys.path if (Path(path) / "ansible_collections" / "voicefleet").is_dir()]
    return subprocess.run(
        [sys.executable, "-m", "ansible", "playbook", *arguments],
        cwd=folder,
        env={**os.environ, "ANSIBLE_COLLECTIONS_PATH": found[0], "ANSIBLE_LOCALHOST_WARNING": "false", **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def local_inventory(folder: Path, *hosts: str) -> Path:
    """An inventory whose group voicefleet is this machine, under these names."""
    lines = [
        f"    {host}: {{ansible_connection: local, ansible_python_interpreter: {sys.executable}}}" for host in hosts
    ]
    file = folder / "inventory.yml"
    file.write_text("\n".join(["voicefleet:", "  hosts:", *lines, ""]), encoding="utf-8")
    return file
