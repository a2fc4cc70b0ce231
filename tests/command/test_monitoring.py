# SPDX-License-Identifier: GPL-3.0-or-later
"""The files for Prometheus and Grafana on the controller."""

from __future__ import annotations

import json
import stat
from pathlib import Path

from ansible_collections.voicefleet.kokoro.tests.command.runs import PLAYBOOKS, ansible_playbook, local_inventory


def test_the_files_are_written_and_a_private_folder_stays_private(tmp_path: Path) -> None:
    private = tmp_path / "private"
    private.mkdir(mode=0o700)
    inventory = str(local_inventory(tmp_path, "speech-01"))
    for folder in (private, tmp_path / "new"):
        done = ansible_playbook(
            tmp_path, str(PLAYBOOKS / "monitoring.yml"), "-i", inventory, "-e", f"monitoring_dir={folder}"
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert isinstance(json.loads((folder / "targets.json").read_text()), list)
        assert "panels" in json.loads((folder / "dashboard.json").read_text())
    assert stat.S_IMODE(private.stat().st_mode) == 0o700
