# SPDX-License-Identifier: GPL-3.0-or-later
"""The guides' commands that need neither hosts nor internet, as they are printed, on a small store.

Only the folders have other names. molecule/_shared/guides.py says where the other commands run."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.store import signature
from ansible_collections.voicefleet.kokoro.tests.command.runs import PLAYBOOKS
from ansible_collections.voicefleet.kokoro.tests.unit.plugins.plugin_utils.stores import tree, write_store

guides = pytest.importorskip("guides", reason="molecule/ is not shipped")
SEPTEMBER = {"wheels/torch.whl": b"torch", "kokoro/voices/af_heart.pt": b"heart"}
OCTOBER = {"wheels/torch.whl": b"newer torch", "kokoro/voices/af_heart.pt": b"heart"}


@dataclass
class Machine:
    """A machine with the clone of README and its inventory."""

    folder: Path
    media: Path

    @property
    def store(self) -> Path:
        return self.folder / "srv/voicefleet/store"

    def run(self, command: str, where: str = "playbooks", **environment: str) -> str:
        """Run a printed command. /srv and /media/usb are folders of the test."""
        here = command.replace("/srv/", f"{self.folder}/srv/").replace("/media/usb", str(self.media))
        found = [path for path in sys.path if (Path(path) / "ansible_collections" / "voicefleet").is_dir()]
        done = subprocess.run(
            ["bash", "-euc", here],
            cwd=self.folder / where,
            env={
                **os.environ,
                "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
                "ANSIBLE_COLLECTIONS_PATH": found[0],
                "VOICEFLEET_CACHE": str(self.folder / "cache"),
                **environment,
            },
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{here}\n{done.stdout}{done.stderr}"
        return done.stdout


def machine(folder: Path, media: Path) -> Machine:
    made = Machine(folder, media)
    shutil.copytree(PLAYBOOKS, folder / "playbooks", ignore=shutil.ignore_patterns("collections"))
    text = guides.inventory().replace("/srv/", f"{folder}/srv/")
    (folder / "playbooks/inventory.yml").write_text(text, encoding="utf-8")
    media.mkdir(exist_ok=True)
    made.store.parent.mkdir(parents=True)
    return made


@pytest.fixture
def connected(tmp_path: Path) -> Machine:
    return machine(tmp_path / "connected", tmp_path / "usb")


@pytest.fixture
def behind(tmp_path: Path) -> Machine:
    """The controller behind the gap."""
    return machine(tmp_path / "behind", tmp_path / "usb")


def test_five_minutes(connected: Machine) -> None:
    write_store(connected.store, SEPTEMBER)
    subprocess.run(["git", "init", "--quiet"], cwd=connected.folder, check=True)
    (connected.folder / ".cache").mkdir()
    (connected.folder / ".cache/large").write_bytes(b"?")
    for command in guides.printed("README.md", "rsync "):
        connected.run(command)
    assert tree(connected.media / "store") == tree(connected.store)
    clone = connected.media / connected.folder.name
    assert (clone / "playbooks/deploy.yml").is_file()
    assert not (clone / ".cache").exists()


def test_carry_the_store_over_the_gap(connected: Machine, behind: Machine) -> None:
    # September was carried whole.
    write_store(connected.store, SEPTEMBER)
    connected.run("ansible-playbook export.yml -i inventory.yml -e artifact_store_export_path=/srv/september")
    shutil.copytree(connected.folder / "srv/september", connected.media / "september")
    behind.run("ansible-playbook import.yml -i inventory.yml -e artifact_store_import_path=/media/usb/september")
    write_store(connected.store, OCTOBER, counter=2)
    for command in guides.printed("roles/artifact_store/README.md", "ansible-playbook export.yml "):
        connected.run(command)
    assert (connected.media / "october/export.json").is_file()
    for command in guides.printed("roles/artifact_store/README.md", "ansible-playbook import.yml "):
        behind.run(command)
    assert tree(behind.store) == tree(connected.store)


def test_sign_a_store_and_check_its_provenance(connected: Machine) -> None:
    for command in guides.printed("roles/artifact_store/README.md", "ssh-keygen "):
        connected.run(f"{command} -N ''", "srv/voicefleet")  # a person is asked for a passphrase
    for command in guides.printed("roles/artifact_store/README.md", "echo "):
        connected.run(command, "srv/voicefleet")
    write_store(connected.store, SEPTEMBER)
    (connected.store / "provenance.json").write_text("{}")
    signature.sign(connected.store, connected.folder / "srv/voicefleet/store-key", "provenance.json")
    for command in guides.printed("docs/supply-chain.md", "ssh-keygen -Y verify "):
        assert "Good" in connected.run(command, "srv/voicefleet")


def test_say_what_the_store_holds(connected: Machine) -> None:
    write_store(connected.store, SEPTEMBER)
    for command in guides.printed("docs/supply-chain.md", "ansible-playbook contents.yml "):
        assert "torch.whl" in connected.run(command)
    rows = json.loads((connected.folder / "playbooks/contents/contents.json").read_text())
    assert "torch.whl" in str(rows)


def test_write_the_files_for_prometheus_and_grafana(connected: Machine) -> None:
    for command in guides.printed("roles/monitoring/README.md", "ansible-playbook monitoring.yml "):
        connected.run(command)
    targets = json.loads((connected.folder / "playbooks/voicefleet-monitoring/targets.json").read_text())
    assert "speech-01" in str(targets)
