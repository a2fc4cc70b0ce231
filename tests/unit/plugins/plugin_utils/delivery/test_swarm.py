# SPDX-License-Identifier: GPL-3.0-or-later
"""Delivery by swarm: graph, torrent, filter and engine. The last two use libtorrent between loopback addresses."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.voicefleet.kokoro.plugins.module_utils.release import swarm_engine
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.delivery import swarm

SECONDS = 60.0


def reached(graph: dict[str, list[str]], start: str, without: frozenset[str] = frozenset()) -> set[str]:
    found, todo = {start}, [start]
    while todo:
        for peer in graph[todo.pop()]:
            if peer not in found and peer not in without:
                found.add(peer)
                todo.append(peer)
    return found


@pytest.mark.parametrize("count", [1, 2, 3, 7, 16, 100, 1000])
def test_the_graph_is_connected_symmetric_and_gives_each_member_at_most_six_peers(count: int) -> None:
    names = [swarm.CONTROLLER, *(f"host{number}" for number in range(count))]
    graph = swarm.neighbours(names)
    assert reached(graph, swarm.CONTROLLER) == {*names}
    for name, peers in graph.items():
        assert len(peers) <= 6
        assert name not in peers
        assert all(name in graph[peer] for peer in peers)


def test_the_graph_depends_on_the_names_alone() -> None:
    names = [f"host{number}" for number in range(50)]
    shuffled = random.Random(1).sample(names, len(names))
    assert swarm.neighbours(names) == swarm.neighbours(shuffled)


def test_two_dead_hosts_cut_nobody_off() -> None:
    names = [f"host{number}" for number in range(30)]
    graph = swarm.neighbours(names)
    for dead in itertools.combinations(names[1:], 2):
        assert len(reached(graph, names[0], frozenset(dead))) == 28


def test_auto_chooses_the_swarm_above_the_declared_threshold_only() -> None:
    most = swarm.LEAST_BYTES
    assert swarm.is_worth(swarm.LEAST_HOSTS, most)
    assert not swarm.is_worth(swarm.LEAST_HOSTS - 1, 100 * most)
    assert not swarm.is_worth(1000, most - 1)


def test_a_torrent_has_a_bounded_number_of_pieces() -> None:
    for size in (1, 40_000_000, 600_000_000, 4_000_000_000, 20_000_000_000):
        piece = swarm.piece_size(size)
        assert piece & (piece - 1) == 0
        assert size <= piece * swarm.PIECES


def test_the_engine_of_a_python_and_a_machine_is_found_by_its_wheel() -> None:
    rows = [
        {"path": f"engine/libtorrent-1.2.3-{python}-{python}-manylinux_2_17_{machine}.manylinux2014_{machine}.whl"}
        for python in ("cp39", "cp311")
        for machine in ("x86_64", "aarch64")
    ]
    assert swarm.engine_for(swarm.tag((3, 11, 2), "aarch64"), rows) == rows[3]
    assert swarm.engine_for("cp313-x86_64", rows) is None


def test_each_member_gets_the_addresses_of_its_peers_and_of_nobody_else() -> None:
    members = {name: swarm.Member(name, f"10.0.0.{n}", ()) for n, name in enumerate("abcdefghij", 1)}
    peers = swarm.Swarm(members, 6891, "10.0.0.99").peers()
    graph = swarm.neighbours([swarm.CONTROLLER, *members])
    for name, addresses in peers.items():
        known = {"10.0.0.99" if peer == swarm.CONTROLLER else members[peer].address for peer in graph[name]}
        assert {address for address, _port in addresses} == known
        assert {port for _address, port in addresses} == {6891}


# --- with libtorrent ---


class Net:
    """Peers on loopback addresses, each an engine of its own process."""

    def __init__(self, folder: Path, base: int) -> None:
        self.lt = pytest.importorskip("libtorrent")
        self.folder, self.base = folder, base
        self.port = 20000 + base
        self.running: dict[int, subprocess.Popen[bytes]] = {}
        store = folder / "store"
        store.mkdir()
        sizes = (3, 1000, 300_000, 1_100_000, 262_144, 70_000)
        contents = [random.Random(number).randbytes(size) for number, size in enumerate(sizes)]
        self.data = {hashlib.sha256(content).hexdigest(): content for content in contents}
        rows = []
        for sha256, content in self.data.items():
            (store / f"{sha256[:8]}.whl").write_bytes(content)
            rows.append({"path": f"{sha256[:8]}.whl", "sha256": sha256, "size": len(content)})
        self.rows = swarm.lay_out(rows, store, folder / "seed")
        self.torrent = folder / "store.torrent"
        self.torrent.write_bytes(swarm.make_torrent(self.lt, self.rows, folder / "seed"))

    def address(self, number: int) -> str:
        return f"127.77.{self.base}.{number}"

    def place(self, number: int) -> Path:
        return self.folder / ("seed" if number == 1 else f"peer{number}")

    def order(self, number: int, peers: list[int], **more: Any) -> dict[str, Any]:
        folder = self.place(number)
        (folder / swarm_engine.NAME).mkdir(parents=True, exist_ok=True)
        given = {"wanted": [] if number == 1 else [*self.data], "seed": number == 1, "quiet": 0.0}
        given = {**given, "listen": self.address(number), **more}
        if number == 1:
            given["have"] = [*self.data]
        return swarm_engine.order_of(
            str(self.torrent), str(folder), str(folder / "status.json"), self.port,
            [(self.address(peer), self.port) for peer in peers], **given,
        )  # fmt: skip

    def start(self, number: int, peers: list[int], limit: int = 0, **more: Any) -> None:
        order = self.order(number, peers, **more)
        file = self.place(number) / "order.json"
        swarm_engine.write_json(str(file), {**order, "upload_limit": limit})
        command = [sys.executable, "-W", "ignore", swarm_engine.__file__, "run", str(file)]
        self.running[number] = subprocess.Popen(command)

    def stop(self, number: int, kill: bool = False) -> None:
        process = self.running.pop(number)
        (process.kill if kill else process.terminate)()
        process.wait(20)

    def status(self, number: int) -> dict[str, Any]:
        try:
            found: dict[str, Any] = json.loads((self.place(number) / "status.json").read_text())
        except (OSError, ValueError):
            return {}
        return found

    def until(self, what: Callable[[], bool], seconds: float = SECONDS) -> None:
        end = time.monotonic() + seconds
        while not what():
            assert time.monotonic() < end, {number: self.status(number) for number in (1, *self.running)}
            time.sleep(0.1)

    def finished(self, *numbers: int) -> None:
        self.until(lambda: all(self.status(number).get("finished") for number in numbers))

    def intact(self, number: int, names: list[str] | None = None) -> bool:
        place = self.place(number) / swarm_engine.NAME
        return all((place / name).read_bytes() == self.data[name] for name in names or self.data)


_bases = itertools.count(1 + os.getpid() % 150)


@pytest.fixture
def net(tmp_path: Path) -> Iterator[Net]:
    made = Net(tmp_path, next(_bases))
    yield made
    for number in list(made.running):
        made.stop(number, kill=True)


def test_the_torrent_is_private_and_names_no_tracker_no_web_seed_and_no_node(net: Net) -> None:
    raw = net.lt.bdecode(net.torrent.read_bytes())
    assert set(raw) <= {b"info", b"piece layers", b"creation date"}
    assert raw[b"info"][b"private"] == 1
    assert raw[b"info"][b"meta version"] == 2
    again = swarm.make_torrent(net.lt, net.rows, net.folder / "seed")
    assert again == net.torrent.read_bytes()


def test_the_session_uses_no_discovery_and_blocks_all_but_its_peers(net: Net) -> None:
    engine = swarm_engine.Engine(net.lt, net.order(2, [1, 3]))
    found = engine.session.get_settings()
    for name in ("enable_dht", "enable_lsd", "enable_upnp", "enable_natpmp", "enable_incoming_utp"):
        assert found[name] is False
    rules = engine.session.get_ip_filter()
    assert rules.access(net.address(1)) == rules.access(net.address(3)) == 0
    assert rules.access(net.address(4)) == rules.access("8.8.8.8") == rules.access("::1") == 1
    assert not engine.session.is_dht_running()
    assert engine.handle.trackers() == []


def test_hosts_pass_pieces_on_to_hosts_that_do_not_know_the_controller(net: Net) -> None:
    net.start(1, [2, 3], quiet=swarm_engine.QUIET_SECONDS)
    net.start(2, [1, 3, 4])
    net.start(3, [1, 2, 4])
    net.start(4, [2, 3])
    net.finished(2, 3, 4)
    assert all(net.intact(number) for number in (2, 3, 4))
    size = sum(map(len, net.data.values()))
    assert net.status(1)["up"] < 1.5 * size
    assert sorted(net.status(4)["complete"]) == sorted(net.data)


def test_a_host_receives_only_the_files_that_it_lacks_and_offers_those_that_it_has(net: Net) -> None:
    names = sorted(net.data)
    here = net.folder / "artifacts"
    here.mkdir()
    have, wanted = names[:3], names[3:5]
    for name in have:
        (here / name).write_bytes(net.data[name])
    order = net.order(2, [3], wanted=wanted, have=have)
    for name in have:
        (net.place(2) / swarm_engine.NAME / name).symlink_to(here / name)
    del order
    net.start(1, [3])
    net.start(3, [1, 2])
    net.start(2, [3], wanted=wanted, have=have)
    net.finished(2, 3)
    assert net.intact(2, wanted)
    assert not (net.place(2) / swarm_engine.NAME / names[5]).exists()
    assert net.status(2)["down"] <= sum(len(net.data[name]) for name in wanted) * 1.05 + 300_000


def test_the_controller_may_leave_after_one_copy_is_out(net: Net) -> None:
    net.start(1, [2, 3])
    net.start(2, [1, 3])
    net.start(3, [1, 2])
    net.until(lambda: bool(net.status(1).get("out")))
    net.stop(1, kill=True)
    net.finished(2, 3)
    assert net.intact(2)
    assert net.intact(3)


def test_a_dead_peer_delays_nobody_and_a_late_one_still_gets_everything(net: Net) -> None:
    net.start(1, [2, 3, 9])
    net.start(2, [1, 3, 4, 9])
    net.start(3, [1, 2, 4, 9])
    net.until(lambda: net.status(3).get("down", 0) > 0)
    net.stop(3, kill=True)
    net.finished(2)
    net.stop(1)
    net.start(4, [2, 3])
    net.finished(4)
    assert net.intact(4)


def test_a_slow_peer_delays_nobody(net: Net) -> None:
    """Each piece goes to one host first. A slow one would need minutes to pass its pieces on."""
    net.start(1, [2, 3, 4], quiet=2.0)
    net.start(2, [1, 3, 4])
    net.start(4, [1, 2, 3])
    net.start(3, [1, 2, 4], limit=4000)
    net.until(lambda: net.status(3).get("down", 0) > 0)
    net.finished(2, 4)
    assert net.intact(2)
    assert net.intact(4)


def test_a_host_that_has_most_of_the_data_receives_the_rest_only(net: Net) -> None:
    big = max(net.data, key=lambda name: len(net.data[name]))
    net.order(2, [1])
    for name, content in net.data.items():
        part = content[:600_000] if name == big else content
        (net.place(2) / swarm_engine.NAME / name).write_bytes(part)
    net.start(1, [2])
    net.start(2, [1])
    net.finished(2)
    assert net.intact(2)
    assert 0 < net.status(2)["down"] <= len(net.data[big]) - 2 * swarm.LEAST_PIECE + 16384


def test_a_corrupted_piece_is_refused_and_fetched_from_somebody_else(net: Net, monkeypatch: pytest.MonkeyPatch) -> None:
    big = max(net.data, key=lambda name: len(net.data[name]))
    net.order(3, [2])
    for name, content in net.data.items():
        wrong = bytes([content[0] ^ 1]) + content[1:] if name == big else content
        (net.place(3) / swarm_engine.NAME / name).write_bytes(wrong)
    # The liar takes what it has for right.
    monkeypatch.setitem(swarm_engine.SETTINGS, "disable_hash_checks", True)
    liar = swarm_engine.Engine(net.lt, net.order(3, [2]))
    net.until(lambda: bool(liar.handle.status().is_seeding))
    net.start(2, [1, 3])
    net.until(lambda: net.status(2).get("failed", 0) > 0)
    net.start(1, [2])
    net.finished(2)
    assert net.intact(2)


def test_a_peer_outside_the_order_gets_nothing(net: Net) -> None:
    net.start(1, [2])
    net.start(2, [1])
    net.start(3, [1, 2])
    net.finished(2)
    time.sleep(2)
    assert net.status(3).get("have", 0) == 0
    assert not net.status(3).get("finished")


def test_an_engine_that_is_stopped_says_what_is_complete_and_how_much_of_the_rest(net: Net) -> None:
    net.start(1, [2], limit=200_000)
    net.start(2, [1])
    net.until(lambda: net.status(2).get("have", 0) > 300_000)
    net.stop(2)
    last = net.status(2)
    place = net.place(2) / swarm_engine.NAME
    assert last["complete"] or last["prefix"]
    for name in last["complete"]:
        assert (place / name).read_bytes() == net.data[name]
    for name, length in last["prefix"].items():
        assert (place / name).read_bytes()[:length] == net.data[name][:length]


def test_a_port_that_is_taken_is_reported(net: Net) -> None:
    net.start(1, [2])
    net.until(lambda: bool(net.status(1)))
    net.start(2, [1], listen=net.address(1))
    assert net.running[2].wait(SECONDS) == 1
    assert str(net.port) in net.status(2)["error"]


def test_the_seed_of_the_controller_ends_with_the_playbook(net: Net) -> None:
    play = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)"])
    seed = swarm.Seed(net.folder / "seed")
    seed.torrent.write_bytes(net.torrent.read_bytes())
    members = {"a": swarm.Member("a", net.address(2), ())}
    seed.start(None, swarm.Swarm(members, net.port, net.address(1)), play.pid, listen=net.address(1))
    pid = seed.status()["pid"]
    start = swarm_engine.start_of(pid)
    assert start
    play.kill()
    play.wait()
    net.until(
        lambda: not swarm_engine.is_running(pid, start) or Path(f"/proc/{pid}/stat").read_text().split()[2] == "Z"
    )


def test_stopping_the_seed_removes_its_folder(net: Net) -> None:
    seed = swarm.Seed(net.folder / "seed")
    seed.torrent.write_bytes(net.torrent.read_bytes())
    members = {"a": swarm.Member("a", net.address(2), ())}
    seed.start(None, swarm.Swarm(members, net.port, net.address(1)), os.getpid(), listen=net.address(1))
    assert seed.stop()["pid"] > 0
    assert not seed.folder.exists()
