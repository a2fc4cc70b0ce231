# SPDX-License-Identifier: GPL-3.0-or-later
"""`ansible-galaxy collection build` packs the right files, and the playbooks of a clone run in any folder."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
NOT_COPIED = (
    ".cache",
    ".git",
    "build",
    "molecule",
    "tests",
    "collections",
    "__pycache__",
    ".mypy_cache",
    ".ruff_cache",
)
# What runs of the playbooks leave in a clone. A store or an export may have any name.
LEFT = [
    "playbooks/october/export.json",
    "playbooks/october/volume-0001.tar",
    "speech/manifest.json",
    "speech/manifest.json.sig",
    "speech/sbom.cdx.json",
    "speech/provenance.json.sig",
    "speech/advisories.json",
    "speech/locks/pylock.cpu-py311-x86_64.toml",
    "speech/dictionaries/unidic-3.1.0.zip",
    "speech/kokoro/Kokoro-82M/config.json",
    "speech/kokoro/Kokoro-82M/voices/af_heart.pt",
    "speech/spacy/en_core_web_sm.tar.gz",
    "speech/python/cpython.tar.gz",
    "speech/wheels/kokoro-py3-none-any.whl",
    "playbooks/store/manifest.json",
    "playbooks/store/wheels/torch-2.0-py3-none-any.whl",
    "playbooks/store/kokoro/kokoro-v1_0.pth",
    "playbooks/voicefleet-report/index.html",
    "playbooks/voicefleet-report/audio/speech-01/af_heart.wav",
    "playbooks/voicefleet-monitoring/targets.json",
    "playbooks/inventory.yml",
    "playbooks/inventory/hosts.yml",
    "playbooks/group_vars/all/vault.yml",
    "playbooks/host_vars/speech-01.yml",
    "playbooks/support.tar.gz",
    "playbooks/deploy.retry",
    "playbooks/collections/ansible_collections/voicefleet/kokoro/README.md",
    "inventory.yml",
    "store/manifest.json",
    "voicefleet-report/report.json",
    "signing.key",
]
BIN = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A copy of the checkout in a folder of any name."""
    folder = tmp_path / "a clone"
    shutil.copytree(ROOT, folder, symlinks=True, ignore=shutil.ignore_patterns(*NOT_COPIED))
    return folder


def packed(clone: Path) -> set[str]:
    out = clone.parent / "dist"
    command = [sys.executable, "-m", "ansible", "galaxy", "collection", "build", "--force", "--output-path", str(out)]
    subprocess.run([*command, str(clone)], env=BIN, check=True, capture_output=True)
    [tarball] = out.glob("*.tar.gz")
    with tarfile.open(tarball) as archive:
        return {member.name for member in archive.getmembers() if member.isfile()}


def test_files_that_runs_leave_in_a_clone_are_not_packed(clone: Path) -> None:
    clean = packed(clone)
    for name in LEFT:
        (clone / name).parent.mkdir(parents=True, exist_ok=True)
        (clone / name).write_text("mine\n")
    assert packed(clone) == clean


def test_every_file_of_the_collection_is_packed(clone: Path) -> None:
    shipped = {
        str(path.relative_to(clone))
        for folder in ("docs", "meta", "playbooks", "plugins", "roles")
        for path in (clone / folder).rglob("*")
        if path.is_file()
    }
    assert shipped <= packed(clone)


def test_nothing_in_the_clone_is_a_link(clone: Path) -> None:
    """A copy to exFAT would lose it."""
    assert [path for path in clone.rglob("*") if path.is_symlink()] == []


@pytest.mark.skipif(not (ROOT / "bin" / "collection").exists(), reason="the collection is shipped without bin/")
def test_the_playbooks_of_a_clone_find_its_collection(clone: Path) -> None:
    environment = {name: value for name, value in BIN.items() if not name.startswith("ANSIBLE_")}
    subprocess.run(["bash", str(clone / "bin" / "collection")], env=environment, check=True)
    run = ["ansible-playbook", "deploy.yml", "--syntax-check"]
    done = subprocess.run(run, cwd=clone / "playbooks", env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
