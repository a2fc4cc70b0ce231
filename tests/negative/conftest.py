# SPDX-License-Identifier: GPL-3.0-or-later
"""Hosts and damaged stores for the negative tests. bin/test makes the store and the images before it runs these."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CACHE = Path(os.environ.get("VOICEFLEET_CACHE", Path.home() / ".cache" / "voicefleet"))
STORE = CACHE / "store-test"


@dataclass
class Play:
    """The output and the exit status of a playbook."""

    status: int
    output: str

    @property
    def words(self) -> str:
        """Return the output without line breaks and indents, because the YAML callback wraps long messages."""
        return " ".join(self.output.split())


@dataclass
class Host:
    """A container that stands for a host without a network."""

    name: str

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(["docker", "exec", self.name, *command], capture_output=True, text=True, check=False)

    def was_touched(self) -> bool:
        """Whether anything of the collection is on the host: folders, unit, user."""
        places = "/opt/voicefleet /etc/voicefleet /var/lib/voicefleet* /etc/systemd/system/voicefleet*"
        found = self.run("sh", "-c", f"ls -d {places}")
        user = self.run("getent", "passwd", "voicefleet")
        return bool(found.stdout.strip() or user.stdout.strip())

    def deploy(self, store: Path, *extra: str) -> Play:
        """Run deploy.yml from the clone's playbooks/ against this host."""
        command = [
            str(Path(sys.executable).parent / "ansible-playbook"), "deploy.yml", "-i", f"{self.name},",
            "-e", "voicefleet_hosts=all",
            "-e", "ansible_connection=community.docker.docker", "-e", "ansible_become=false",
            "-e", f"artifact_store_path={store}", "-e", "preflight_accept_unpublished=true",
            "-e", f"synthesis_report_dir={ROOT}/build/negative", "-e", '{"kokoro_voices": ["af_heart"]}', *extra,
        ]  # fmt: skip
        done = subprocess.run(
            command,
            cwd=ROOT / "playbooks",
            env={**os.environ, "ANSIBLE_COLLECTIONS_PATH": str(ROOT / ".cache" / "tree")},
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
        )
        return Play(done.returncode, done.stdout + done.stderr)


def _start(name: str, image: str) -> Iterator[Host]:
    subprocess.run(["docker", "rm", "--force", "--volumes", name], capture_output=True, check=False)
    subprocess.run([ROOT / "bin" / "host-run", name, image], check=True)
    yield Host(name)
    subprocess.run(["docker", "rm", "--force", "--volumes", name], capture_output=True, check=False)


@pytest.fixture(scope="session")
def host() -> Iterator[Host]:
    """A healthy Debian 12. No test changes it."""
    yield from _start("vf-negative", "debian12")


@pytest.fixture(scope="session")
def host_with_new_python() -> Iterator[Host]:
    """Debian 13, whose only Python is 3.13."""
    yield from _start("vf-negative-13", "debian13")


@pytest.fixture
def store_copy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[], Path]]:
    """Return a function that copies the store with hard links: tests replace files and never write into them."""

    def copy() -> Path:
        folder = CACHE / "negative" / tmp_path_factory.mktemp("store").name
        subprocess.run(["rm", "-rf", str(folder)], check=True)
        folder.parent.mkdir(exist_ok=True)
        subprocess.run(["cp", "-al", str(STORE), str(folder)], check=True)
        copies.append(folder)
        return folder

    copies: list[Path] = []
    yield copy
    for folder in copies:
        subprocess.run(["rm", "-rf", str(folder)], check=True)


def replace(path: Path, data: bytes) -> None:
    """Give a file new contents without changing its other links."""
    path.unlink()
    path.write_bytes(data)
