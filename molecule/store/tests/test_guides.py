# SPDX-License-Identifier: GPL-3.0-or-later
"""The guides' commands for the connected machine, as they are printed. Only the folder /srv has another name."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import guides
import pytest
import yaml

PROJECT = Path(os.environ["MOLECULE_PROJECT_DIRECTORY"])
CACHE = Path(os.environ["VOICEFLEET_CACHE"])
WORK = Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"]) / "guides"


@pytest.fixture(scope="module", autouse=True)
def clone() -> Path:
    """A clone with the inventory of README. The tests know other sources of the models, and a cache of downloads."""
    shutil.rmtree(WORK, ignore_errors=True)
    shutil.copytree(PROJECT / "playbooks", WORK / "playbooks", ignore=shutil.ignore_patterns("collections", "store*"))
    (WORK / "srv/voicefleet").mkdir(parents=True)
    (WORK / "playbooks/inventory.yml").write_text(guides.inventory().replace("/srv/", f"{WORK}/srv/"))
    known = {
        "artifact_store_spacy_source": f"file://{CACHE}/standins/spacy",
        "artifact_store_kokoro_source": f"file://{CACHE}/standins/kokoro",
        "artifact_store_cache": f"{CACHE}/downloads",
    }
    (WORK / "playbooks/group_vars").mkdir()
    (WORK / "playbooks/group_vars/all.yml").write_text(yaml.safe_dump(known))
    return WORK


def run(command: str) -> str:
    environment = {**os.environ, "ANSIBLE_COLLECTIONS_PATH": str(PROJECT / ".cache/ws"), "ANSIBLE_NOCOLOR": "1"}
    environment.pop("ANSIBLE_CONFIG", None)  # Molecule's own
    here = command.replace("/srv/", f"{WORK}/srv/")
    done = subprocess.run(
        ["bash", "-euc", here], cwd=WORK / "playbooks", env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{here}\n{done.stdout}{done.stderr}"
    return done.stdout


def test_five_minutes() -> None:
    for command in guides.printed("README.md", "ansible-playbook fetch.yml "):
        run(command)
    manifest = json.loads((WORK / "srv/voicefleet/store/manifest.json").read_text())
    names = {row["name"] for row in manifest["artifacts"]}
    assert {"xinference", "kokoro", "af_heart", "am_michael"} <= names
    assert "bf_emma" not in names


def test_upgrade_to_another_version() -> None:
    before = (WORK / "srv/voicefleet/store/manifest.json").read_bytes()
    for command in guides.printed("docs/upgrading.md", "ansible-playbook lock.yml "):
        assert "4.0.1" in run(command)
    inventory = WORK / "playbooks/inventory.yml"
    inventory.write_text(
        inventory.read_text().replace(
            "all:\n  vars:\n", f"all:\n  vars:\n    artifact_store_locks: {WORK}/srv/voicefleet/locks\n"
        )
    )
    for command in guides.printed("docs/upgrading.md", "ansible-playbook fetch.yml "):
        run(command)
    after = (WORK / "srv/voicefleet/store/manifest.json").read_bytes()
    versions = [
        {row["version"] for row in json.loads(each)["artifacts"] if row["name"] == "xinference"}
        for each in (before, after)
    ]
    assert versions[0] != versions[1] == {"4.0.1"}
