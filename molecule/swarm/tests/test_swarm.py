# SPDX-License-Identifier: GPL-3.0-or-later
"""Three hosts pass files on to each other: undisturbed, interrupted, behind a firewall, and with an update."""

from __future__ import annotations

import hashlib
import json
import os
import random
import re
import signal
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import testinfra

PROJECT = Path(os.environ["MOLECULE_PROJECT_DIRECTORY"])
INVENTORY = os.environ["MOLECULE_INVENTORY_FILE"]
CACHE = Path(os.environ["VOICEFLEET_CACHE"])
HOSTS = ("vf-swarm-1", "vf-swarm-2", "vf-swarm-3")
MB = 1_000_000
SIZES = (0, 100_000, 7 * MB, 25 * MB)
PORT = 6891
UNIT = "voicefleet-swarm.service"


def engines() -> list[dict[str, Any]]:
    """The published engines for this machine, from the cache of downloads."""
    data = json.loads((PROJECT / "plugins/plugin_utils/store/data/engine.json").read_text())
    rows = [build for build in data["builds"] if build["architecture"] == os.uname().machine]
    for row in rows:
        file = CACHE / "engine" / row["filename"]
        if not file.exists():
            file.parent.mkdir(parents=True, exist_ok=True)
            with urllib.request.urlopen(row["address"], timeout=120) as answer:
                content = answer.read(row["size"])
            assert hashlib.sha256(content).hexdigest() == row["sha256"]
            file.write_bytes(content)
    return rows


def make_store(folder: Path, seed: int, former: Path | None = None) -> Path:
    """A store of made-up wheels, and the engine. With ``former``, only the second file differs from that store's."""
    generator = random.Random(seed)
    rows = []
    for number, size in enumerate(SIZES):
        path = f"wheels/part{number}-1+cpu-py3-none-any.whl"
        data = (former / path).read_bytes() if former and number != 1 else generator.randbytes(size)
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)
        row = {"path": path, "sha256": hashlib.sha256(data).hexdigest(), "size": size, "source": "made-up"}
        rows.append({**row, "kind": "wheel", "name": f"part{number}", "version": "1"})
    (folder / "engine").mkdir()
    for build in engines():
        path = f"engine/{build['filename']}"
        (folder / path).write_bytes((CACHE / "engine" / build["filename"]).read_bytes())
        row = {"path": path, "sha256": build["sha256"], "size": build["size"], "kind": "engine"}
        rows.append({**row, "name": "libtorrent", "version": "1", "source": "published"})
    head = {"schema": 2, "counter": 1, "time": "2026-01-31T12:00:00Z", "profiles": []}
    (folder / "manifest.json").write_text(json.dumps({**head, "artifacts": rows}))
    return folder


class Fleet:
    """The hosts, with a root of their own for each test."""

    def __init__(self, store: Path, scratch: Path, root: str) -> None:
        self.store, self.scratch, self.root = store, scratch, root
        self.hosts = {name: testinfra.get_host(f"docker://{name}") for name in HOSTS}

    def start(self, transport: str = "swarm") -> subprocess.Popen[str]:
        variables = {
            "artifacts_transport": transport, "artifact_store_path": str(self.store), "root": self.root,
            "result": str(self.scratch),
        }  # fmt: skip
        return subprocess.Popen(
            ["ansible-playbook", "-i", INVENTORY, "-e", json.dumps(variables), "molecule/swarm/deliver.yml"],
            env={**os.environ, "ANSIBLE_COLLECTIONS_PATH": f"{PROJECT}/.cache/ws", "ANSIBLE_NOCOLOR": "1"},
            cwd=PROJECT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
        )  # fmt: skip

    def deliver(self, transport: str = "swarm") -> str:
        play = self.start(transport)
        output, _none = play.communicate()
        assert play.returncode == 0, output
        return output

    def result(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.scratch / f"{name}.json").read_text())
        return found

    def files(self) -> set[str]:
        rows = json.loads((self.store / "manifest.json").read_text())["artifacts"]
        return {row["sha256"] for row in rows if row["kind"] != "engine"}

    def whole(self, name: str) -> bool:
        host = self.hosts[name]
        found = host.run(f"find {self.root}/artifacts -name 'part*.whl' -exec sha256sum {{}} +").stdout
        return {line.split()[0] for line in found.splitlines()} == self.files()

    def clean(self, name: str) -> bool:
        host = self.hosts[name]
        left = host.run(f"ls -d {self.root}/artifacts/.swarm /etc/systemd/system/{UNIT} /run/voicefleet-swarm").stdout
        # The brackets keep pgrep from finding the shell that runs it.
        return not left and not host.run(f"pgrep -f '{self.root}/artifacts/[.]swarm'").stdout

    def seeds(self) -> list[Path]:
        return [*(CACHE / "swarm").glob("run-*")]


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_store(tmp_path_factory.mktemp("store"), 1)


@pytest.fixture
def fleet(store: Path, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Fleet]:
    made = Fleet(store, tmp_path, "/opt/" + hashlib.sha256(request.node.name.encode()).hexdigest()[:8])
    yield made
    for host in made.hosts.values():
        host.run(f"systemctl stop {UNIT}; rm -f /etc/systemd/system/{UNIT}; rm -rf {made.root}; nft flush ruleset")


def test_hosts_pass_files_on_and_nothing_stays(fleet: Fleet) -> None:
    output = fleet.deliver()
    for name in HOSTS:
        assert fleet.whole(name)
        assert fleet.clean(name)
        assert fleet.result(name)["swarm_bytes"] == sum(SIZES)
        assert fleet.result(name)["bytes"] == 0
    found = re.search(r"The controller sent ([0-9.]+) copies", output)
    assert found
    assert 0.9 < float(found[1]) < 2.0
    assert fleet.seeds() == []


def test_an_update_moves_only_what_changed(fleet: Fleet, tmp_path: Path) -> None:
    fleet.deliver()
    fleet.store = make_store(tmp_path / "next", 2, fleet.store)
    fleet.deliver()
    for name in HOSTS:
        found = fleet.hosts[name].run(f"find {fleet.root}/artifacts -name 'part*.whl' -exec sha256sum {{}} +").stdout
        assert fleet.files() <= {line.split()[0] for line in found.splitlines()}
        assert fleet.result(name)["sent"] == ["wheels/part1-1+cpu-py3-none-any.whl"]


def wait(condition: Callable[[], bool], play: subprocess.Popen[str]) -> None:
    """Wait until a condition holds. Fails when the play ends before."""
    end = time.monotonic() + 300
    while not condition():
        assert play.poll() is None, play.communicate()[0]
        assert time.monotonic() < end
        time.sleep(0.1)


def interrupted(fleet: Fleet) -> None:
    """Kill a play when all hosts have joined. The controller's peer pauses, so that no host is done before."""
    play = fleet.start()
    wait(lambda: any((seed / "status.json").exists() for seed in fleet.seeds()), play)
    (seed,) = fleet.seeds()
    pid = json.loads((seed / "status.json").read_text())["pid"]
    os.kill(pid, signal.SIGSTOP)
    try:
        wait(lambda: all(host.run(f"systemctl is-active {UNIT}").rc == 0 for host in fleet.hosts.values()), play)
        os.killpg(play.pid, signal.SIGKILL)
        play.communicate()
    finally:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


def test_an_interrupted_play_leaves_a_confined_peer_and_the_next_run_completes(fleet: Fleet) -> None:
    interrupted(fleet)
    host = fleet.hosts[HOSTS[0]]
    pid = host.check_output(f"systemctl show {UNIT} --property=MainPID --value")
    assert host.check_output(f"stat -c %u /proc/{pid}") != "0"
    status = host.check_output(f"cat /proc/{pid}/status")
    assert re.search(r"CapEff:\s+0+$", status, re.MULTILINE)
    uid = host.check_output(f"stat -c %u /proc/{pid}")
    writable = host.run(f"find / -xdev -uid {uid} -not -path '/proc/*'").stdout.split()
    assert writable
    assert all(path.startswith(f"{fleet.root}/artifacts/.swarm/own") for path in writable)
    fleet.deliver()
    for name in HOSTS:
        assert fleet.whole(name)
        assert fleet.clean(name)
    assert fleet.seeds() == []


def test_a_push_after_an_interrupted_swarm_cleans_up(fleet: Fleet) -> None:
    interrupted(fleet)
    fleet.deliver("connection")
    for name in HOSTS:
        assert fleet.whole(name)
        assert fleet.clean(name)


def test_a_host_behind_a_firewall_is_pushed_to_and_the_message_names_the_port(fleet: Fleet) -> None:
    host = fleet.hosts[HOSTS[2]]
    host.check_output("nft add table inet closed")
    for hook in ("input", "output"):
        host.check_output(
            f"nft add chain inet closed {hook} '{{ type filter hook {hook} priority 0; }}' && "
            f"nft add rule inet closed {hook} tcp dport {PORT} drop"
        )
    output = fleet.deliver()
    assert f"TCP port {PORT}" in " ".join(output.split())
    for name in HOSTS:
        assert fleet.whole(name)
        assert fleet.clean(name)
