# SPDX-License-Identifier: GPL-3.0-or-later
"""Every transport, undisturbed and disturbed: what is refused, what is kept, what the next run sends, the messages."""

from __future__ import annotations

import functools
import hashlib
import http.server
import json
import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import testinfra
from relay import Fault, Relay, cut, flip
from testinfra.host import Host

PROJECT = Path(os.environ["MOLECULE_PROJECT_DIRECTORY"])
INVENTORY = os.environ["MOLECULE_INVENTORY_FILE"]
ONE, TWO = "vf-delivery-1", "vf-delivery-2"
MB = 1_000_000
SIZES = (0, 100_000, 7 * MB, 25 * MB)
TOTAL = sum(SIZES)
PLAY = "molecule/delivery/deliver.yml"
PUSHES = ("rsync", "connection")


def make_store(folder: Path, seed: int) -> Path:
    """A small store of made-up wheels."""
    generator = random.Random(seed)
    rows = []
    for number, size in enumerate(SIZES):
        data = generator.randbytes(size)
        path = f"wheels/part{number}-1+cpu-py3-none-any.whl"
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)
        row = {"path": path, "sha256": hashlib.sha256(data).hexdigest(), "size": size, "source": "made-up"}
        rows.append({**row, "kind": "wheel", "name": f"part{number}", "version": "1"})
    head = {"schema": 2, "counter": 1, "time": "2026-01-31T12:00:00Z", "profiles": []}
    (folder / "manifest.json").write_text(json.dumps({**head, "artifacts": rows}))
    return folder


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_store(tmp_path_factory.mktemp("store"), 1)


@pytest.fixture(scope="session")
def gateway() -> str:
    """The controller's address on the hosts' network."""
    template = "{{(index .IPAM.Config 0).Gateway}}"
    command = ["docker", "network", "inspect", "vf-delivery", "--format", template]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


@dataclass
class Delivery:
    """A run of the role: exit status, output in one line, and the task's result if there is one."""

    status: int
    output: str
    result: dict[str, Any]

    def failed_with(self, *words: str) -> None:
        assert self.status != 0, self.output
        assert [word for word in words if word not in self.output] == [], self.output

    def went(self) -> dict[str, Any]:
        assert self.status == 0, self.output
        return self.result


@dataclass
class Target:
    """A host of the scenario, with its own root for each test."""

    name: str
    root: str
    store: Path
    scratch: Path
    host: Host = field(init=False)

    def __post_init__(self) -> None:
        self.host = testinfra.get_host(f"docker://{self.name}")

    def deliver(self, transport: str = "push", *extra: str, **more: Any) -> Delivery:
        """Run the role. ``more`` are its variables without their prefix, or variables of Ansible."""
        result = self.scratch / "result.json"
        result.unlink(missing_ok=True)
        given = {"transport": transport, "http_serve": False, **more}
        variables = {k if k.startswith("ansible_") else f"artifacts_{k}": v for k, v in given.items()}
        variables.update(artifact_store_path=str(self.store), root=self.root, result=str(result))
        done = subprocess.run(
            ["ansible-playbook", "-i", INVENTORY, "--limit", self.name, "-e", json.dumps(variables), *extra, PLAY],
            env={**os.environ, "ANSIBLE_COLLECTIONS_PATH": f"{PROJECT}/.cache/ws", "ANSIBLE_NOCOLOR": "1"},
            cwd=PROJECT,
            capture_output=True,
            text=True,
            check=False,
        )
        told = json.loads(result.read_text()) if result.exists() else {}
        return Delivery(done.returncode, " ".join((done.stdout + done.stderr).split()), told)

    def through(self, relay: Relay, transport: str) -> Delivery:
        """Deliver over an SSH connection that goes through a relay."""
        # With another port, Ansible does not reuse its open connection.
        conf = f"{os.environ['VOICEFLEET_CACHE']}/ssh/{self.name}.conf"
        words = f"-F {conf} -o HostName=127.0.0.1"
        return self.deliver(transport, ansible_ssh_common_args=words, ansible_port=relay.port)

    def relay(self, fault: Fault) -> Relay:
        """A relay in front of the host's SSH server."""
        return Relay((self.address, 22), fault, upstream=True)

    @property
    def address(self) -> str:
        template = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}"
        command = ["docker", "inspect", self.name, "--format", template]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    def arrived(self) -> int:
        """Bytes of files that have arrived in part."""
        sizes = self.host.run(f"find {self.root}/artifacts/.incoming -type f -printf '%s\\n'").stdout.split()
        return sum(map(int, sizes))

    def installed(self) -> set[str]:
        """Digests of the installed files, computed on the host."""
        found = self.host.run(f"find {self.root}/artifacts -name '*.whl' -exec sha256sum {{}} +").stdout
        return {line.split()[0] for line in found.splitlines()}

    def whole(self) -> bool:
        rows = json.loads((self.store / "manifest.json").read_text())["artifacts"]
        return self.installed() == {row["sha256"] for row in rows} and self.arrived() == 0


@pytest.fixture
def one(store: Path, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Target]:
    yield from target(ONE, store, tmp_path, request)


@pytest.fixture
def two(store: Path, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Target]:
    yield from target(TWO, store, tmp_path, request)


def target(name: str, store: Path, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Target]:
    made = Target(name, "/opt/" + hashlib.sha256(request.node.name.encode()).hexdigest()[:8], store, tmp_path)
    yield made
    made.host.check_output(f"umount {made.root} 2>/dev/null; rm -rf {made.root}; true")


@pytest.fixture
def depot(store: Path) -> Iterator[http.server.ThreadingHTTPServer]:
    """An operator's server of the simplest kind: it does not support ranges."""
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(store))
    server = http.server.ThreadingHTTPServer(("0.0.0.0", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


# --- the deployed store ---


@pytest.mark.parametrize("name", [ONE, TWO])
def test_all_artifacts_are_on_the_host_and_match_the_manifest(name: str) -> None:
    host = testinfra.get_host(f"docker://{name}")
    files = host.check_output("cd /opt/voicefleet/artifacts && find . -mindepth 2 -type f -exec sha256sum {} +")
    rows = [line.split(maxsplit=1) for line in files.splitlines() if "/.incoming/" not in line]
    assert len(rows) > 100
    assert [path for digest, path in rows if path.split("/")[1] != digest] == []
    assert host.run("ls /opt/voicefleet/artifacts/.incoming").stdout == ""


# --- each transport, undisturbed ---


@pytest.mark.parametrize("transport", PUSHES)
@pytest.mark.parametrize("name", [ONE, TWO])
def test_a_push_arrives_as_root_and_by_sudo(
    name: str, transport: str, store: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    for host in target(name, store, tmp_path, request):
        planned = host.deliver(transport, "--check").went()
        assert (planned["changed"], planned["bytes"], host.installed()) == (True, TOTAL, set())
        result = host.deliver(transport).went()
        assert host.whole()
        assert result["transport"] == transport
        assert result["bytes"] == TOTAL
        assert TOTAL < result["wire_bytes"] < TOTAL * 1.01
        assert not host.deliver(transport).went()["changed"]


def test_push_uses_rsync_or_the_connection_if_the_host_has_no_rsync(one: Target) -> None:
    assert one.deliver("push", "--check").went()["transport"] == "rsync"
    one.host.check_output("mv /usr/bin/rsync /usr/bin/rsync.away")
    try:
        one.deliver("rsync").failed_with("rsync is not installed on the host", "Nothing was sent")
        assert one.installed() == set()
        delivery = one.deliver("push")
        assert delivery.went()["transport"] == "connection"
        assert "rsync is not installed on the host" in delivery.output
        assert one.whole()
    finally:
        one.host.check_output("mv /usr/bin/rsync.away /usr/bin/rsync")


def test_a_host_fetches_from_the_controller_and_the_server_ends(one: Target, gateway: str) -> None:
    result = one.deliver("http", http_serve=True, http_address=gateway).went()
    assert one.whole()
    assert (result["transport"], result["bytes"]) == ("http", TOTAL)
    assert one.deliver("http", http_serve=True, http_address=gateway).went()["changed"] is False
    server = f"{PROJECT}/.cache/ws/.*/[s]erve.py"
    ended = f"for i in $(seq 40); do pgrep -f '{server}' >/dev/null || exit 0; sleep 0.5; done; exit 1"
    subprocess.run(["sh", "-c", ended], check=True)


def test_a_host_fetches_from_a_server_without_ranges(
    one: Target, gateway: str, depot: http.server.ThreadingHTTPServer
) -> None:
    assert one.deliver("http", http_url=f"http://{gateway}:{depot.server_port}/").went()["bytes"] == TOTAL
    assert one.whole()


# --- a slow host ---


@contextmanager
def slow(target: Target) -> Iterator[None]:
    """Limit what the host receives to 4 Mbit/s: on the controller's end of its link, by a container with that right."""
    index = target.host.check_output("cat /sys/class/net/eth0/iflink")

    def limit(verb: str, how: str = "") -> None:
        find = f"ip -oneline link | sed -n 's/^{index}: \\([^:@]*\\).*/\\1/p'"
        words = ["docker", "run", "--rm", "--network", "host", "--cap-add", "NET_ADMIN", "voicefleet-host:debian12-ssh"]
        subprocess.run([*words, "sh", "-euc", f"tc qdisc {verb} dev $({find}) root {how}"], check=True)

    limit("add", "tbf rate 4mbit burst 128kb latency 400ms")
    try:
        yield
    finally:
        limit("del")


@pytest.mark.parametrize("transport", [*PUSHES, "http"])
def test_a_slow_host_does_not_delay_the_files_of_others(
    one: Target, two: Target, transport: str, gateway: str, tmp_path: Path
) -> None:
    variables = {
        "artifact_store_path": str(one.store), "root": one.root, "result": f"{tmp_path}/{{{{ inventory_hostname }}}}",
        "artifacts_transport": transport, "artifacts_http_serve": transport == "http",
        "artifacts_http_address": gateway,
    }  # fmt: skip
    with (tmp_path / "said").open("w+") as said:
        with slow(one):
            play = subprocess.Popen(
                ["ansible-playbook", "-i", INVENTORY, "-e", json.dumps(variables), PLAY],
                env={**os.environ, "ANSIBLE_COLLECTIONS_PATH": f"{PROJECT}/.cache/ws"},
                cwd=PROJECT, stdin=subprocess.DEVNULL, stdout=said, stderr=subprocess.STDOUT,
            )  # fmt: skip
            try:
                end = time.monotonic() + 600
                while not (two.whole() and one.arrived()):
                    assert play.poll() is None, Path(said.name).read_text()
                    assert time.monotonic() < end
                    time.sleep(0.1)
                assert one.installed() == set()
            except BaseException:
                play.kill()
                raise
        assert play.wait() == 0, Path(said.name).read_text()
    assert one.whole()


# --- bad input ---


def test_bad_settings_are_refused_before_anything_is_sent(
    one: Target, gateway: str, depot: http.server.ThreadingHTTPServer, tmp_path: Path
) -> None:
    served = f"http://{gateway}:{depot.server_port}"
    one.deliver("carrier pigeon").failed_with("value of artifacts_transport must be one of")
    one.deliver("http").failed_with("needs artifacts_http_url", "artifacts_http_serve", "Nothing was sent")
    one.deliver("http", http_url="depot/store").failed_with("is not a valid address", "Nothing was sent")
    secret = one.deliver("http", http_url=f"http://kim:hush@{gateway}/")
    secret.failed_with("artifacts_http_password", "Nothing was sent")
    assert "hush" not in secret.output
    one.deliver("http", http_url=f"http://{gateway}:9/").failed_with("does not answer", "Nothing was sent")
    one.deliver("http", http_url=f"{served}/wheels").failed_with("HTTP 404", "is this the store's folder?")
    one.store = make_store(tmp_path / "other", 2)
    one.deliver("http", http_url=served).failed_with("serves another store", "Nothing was sent")
    assert one.host.run(f"test -e {one.root}/artifacts/.incoming").rc == 0
    assert one.arrived() == 0
    assert one.installed() == set()


# --- a byte that changes in flight ---


def test_a_file_with_a_changed_byte_is_refused_and_sent_again(
    one: Target, gateway: str, depot: http.server.ThreadingHTTPServer
) -> None:
    with Relay(("127.0.0.1", depot.server_port), flip(5 * MB)) as relay:
        delivery = one.deliver("http", http_url=f"http://{gateway}:{relay.port}")
    assert "arrived with sha256" in delivery.output
    assert TOTAL < delivery.went()["bytes"] < 2 * TOTAL
    assert one.whole()


def test_files_that_always_change_are_named_and_nothing_else_changes(
    one: Target, gateway: str, depot: http.server.ThreadingHTTPServer
) -> None:
    one.root = "/opt/voicefleet"
    ours = "-path '*/.incoming' -prune -o -path '*/.stamps.json' -prune"
    state = f"find /opt/voicefleet {ours} -o -type f -printf '%p %s %T@ %i\\n' | sort"
    before = one.host.check_output(state)
    # At least twice in each of the two big files. The manifest does not pass the relay.
    with Relay(("127.0.0.1", depot.server_port), flip(MB, 3 * MB)) as relay:
        delivery = one.deliver("http", http_url=f"http://{gateway}:{relay.port}")
    delivery.failed_with(
        "2 file(s) did not arrive intact in 2 attempts",
        "wheels/part2-1+cpu-py3-none-any.whl: arrived with sha256",
        "wheels/part3-1+cpu-py3-none-any.whl: arrived with sha256",
        "nothing was installed",
    )
    assert one.arrived() == 0
    after = one.host.check_output(state).splitlines()
    assert set(before.splitlines()) <= set(after)
    added = {line.split()[0].rsplit("/", 1)[1] for line in set(after) - set(before.splitlines())}
    assert added == {"part0-1+cpu-py3-none-any.whl", "part1-1+cpu-py3-none-any.whl"}
    one.root = "/opt/unused"


@pytest.mark.parametrize("transport", PUSHES)
def test_a_changed_byte_ends_ssh_and_the_next_run_continues(one: Target, transport: str) -> None:
    with one.relay(flip(20 * MB)) as relay:
        delivery = one.through(relay, transport)
    delivery.failed_with("the delivery stopped", "run the play again, and it continues there")
    goes_on(one, transport)


# --- a connection that is cut ---


def goes_on(target: Target, transport: str, **more: Any) -> None:
    """The next run sends only what is missing."""
    there = target.arrived()
    assert 0 < there < TOTAL
    assert target.installed() == set()
    assert target.deliver(transport, **more).went()["bytes"] == TOTAL - there
    assert target.whole()


@pytest.mark.parametrize("transport", PUSHES)
def test_a_cut_connection_is_reported_and_the_next_run_continues(two: Target, transport: str) -> None:
    with two.relay(cut(20 * MB)) as relay:
        delivery = two.through(relay, transport)
    delivery.failed_with(two.name, "the delivery stopped", "cut", "run the play again, and it continues there")
    goes_on(two, transport)


def test_a_dead_server_is_reported_and_the_next_run_continues(one: Target, gateway: str, store: Path) -> None:
    sys.path.insert(0, str(PROJECT / "plugins" / "plugin_utils" / "delivery"))
    from serve import shared_server

    files = {path.relative_to(store).as_posix(): path.stat().st_size for path in store.rglob("*") if path.is_file()}
    with shared_server(store, files, "0.0.0.0", 0) as port:
        with Relay(("127.0.0.1", port), cut(20 * MB)) as relay:
            delivery = one.deliver("http", http_url=f"http://{gateway}:{relay.port}")
        delivery.failed_with("the delivery stopped after", "of 32.1 MB", "Connection refused", "it continues there")
        goes_on(one, "http", http_url=f"http://{gateway}:{port}")


# --- a disk that is full ---


@pytest.mark.parametrize("transport", [*PUSHES, "http"])
def test_a_disk_that_is_too_small_is_reported_before_anything_is_sent(
    one: Target, transport: str, gateway: str
) -> None:
    one.host.check_output(f"mkdir -p {one.root} && mount -t tmpfs -o size=20m tmpfs {one.root}")
    more = {"http_serve": True, "http_address": gateway} if transport == "http" else {}
    delivery = one.deliver(transport, **more)
    delivery.failed_with(f"The disk is full: the file system of {one.root} ", "MB are missing", "Nothing was sent")
    assert one.arrived() == 0
    one.host.check_output(f"mount -o remount,size=80m {one.root}")
    assert one.deliver(transport, **more).went()["bytes"] == TOTAL
    assert one.whole()


@pytest.mark.parametrize("transport", PUSHES)
def test_a_disk_that_fills_up_is_reported_and_the_next_run_continues(one: Target, transport: str) -> None:
    one.host.check_output(f"mkdir -p {one.root} && mount -t tmpfs -o size=48m tmpfs {one.root}")
    filled: list[int] = []

    def fill(passed: int, block: bytes) -> bytes:
        if passed > 10 * MB and not filled:
            one.host.check_output(f"fallocate -l 30m {one.root}/other || true")
            filled.append(passed)
        return block

    with one.relay(fill) as relay:
        delivery = one.through(relay, transport)
    assert filled
    delivery.failed_with(f"The disk is full: the file system of {one.root} ", "MB are missing", "it continues there")
    one.host.check_output(f"rm {one.root}/other")
    goes_on(one, transport)
