# SPDX-License-Identifier: GPL-3.0-or-later
"""Measure deliveries to many hosts, and model them for more. bench/fanout starts it and describes the arguments.

The JSON holds `measured` ([{"way", "hosts", "seconds", "times", "copies"}]), `model` (the same for a swarm) and
`machine`. `times` is the time over that of one link for one copy. `copies` is what the controller sent over
their size.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ansible_collections.voicefleet.kokoro.plugins.module_utils.release import http_fetch, swarm_engine
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.delivery import delivery, serve, swarm
from targets import machine

ROOT = Path(__file__).resolve().parents[1]
PREFIX = "vf-fan"
SWITCH = f"{PREFIX}-switch"
MBIT = 50
PORT = 6891
# Ansible's own number of hosts at the same time.
FORKS = 5
FILES = 30
SECONDS = 900.0
COUNTS = (1, 4, 8, 16)
MODELLED = (4, 8, 16, 100, 1000)
TARGET_TIMES, TARGET_COPIES = 2.0, 1.5
# The model's only figure that is not computed: libtorrent reveals the first pieces after so many seconds.
START_SECONDS = 11.0


@dataclass
class Point:
    """One delivery: how, to how many hosts, in what time, and how much the controller sent."""

    way: str
    hosts: int
    seconds: float
    times: float
    copies: float


# --- the model ---


def simulate(hosts: int, pieces: int, seed: int = 1) -> tuple[int, float]:
    """Slots until all hosts have all pieces, and the copies that the controller sent.

    In one slot each peer sends at most one piece and receives at most one. It may pass on a piece one slot after it
    received it. Peers are those of the inventory's graph. A peer sends the rarest of three pieces that its neighbour
    lacks; the controller sends the one that is rarest of all. Nothing is lost, and all links are equal.
    """
    rng = random.Random(seed)
    names = [swarm.CONTROLLER, *(f"host{number}" for number in range(hosts))]
    number = {name: index for index, name in enumerate(names)}
    every = swarm.neighbours(names)
    graph = [[number[peer] for peer in every[name]] for name in names]
    whole = (1 << pieces) - 1
    have = [whole, *([0] * hosts)]
    count = [0] * pieces
    slots = sent = 0
    while any(mask != whole for mask in have):
        slots += 1
        arriving: dict[int, int] = {}
        order = list(range(1, len(names)))
        rng.shuffle(order)
        for sender in (0, *order):
            if not have[sender]:
                continue
            offers = [
                (peer, have[sender] & ~have[peer])
                for peer in graph[sender]
                if peer != 0 and peer not in arriving and have[sender] & ~have[peer]
            ]
            if not offers:
                continue
            peer, lacking = rng.choice(offers)
            some = _bits(lacking) if sender == 0 else _some(lacking, pieces, rng)
            piece = min(some, key=lambda bit: (count[bit], rng.random()))
            arriving[peer] = piece
            sent += sender == 0
            # The controller counts what it gave away at once, so that it gives away everything once first.
            count[piece] += sender == 0
        for peer, piece in arriving.items():
            have[peer] |= 1 << piece
            count[piece] += 1
    return slots, sent / pieces


def _bits(mask: int) -> Iterator[int]:
    while mask:
        low = mask & -mask
        yield low.bit_length() - 1
        mask ^= low


def _some(mask: int, pieces: int, rng: random.Random) -> list[int]:
    """Three pieces of a mask, chosen by chance."""
    found = []
    for _try in range(3):
        start = rng.randrange(pieces)
        above = mask >> start
        chosen = above << start if above else mask
        found.append((chosen & -chosen).bit_length() - 1)
    return found


def modelled(counts: Sequence[int], size: int) -> list[Point]:
    """The model for a size in bytes, with the links of the measurement."""
    ideal = size * 8 / MBIT / 1e6
    pieces = max(1, -(-size // swarm.piece_size(size)))
    found = []
    for hosts in counts:
        slots, copies = simulate(hosts, pieces)
        seconds = START_SECONDS + slots / pieces * ideal
        found.append(Point("model", hosts, round(seconds, 1), round(seconds / ideal, 2), round(copies, 2)))
    return found


# --- the measurement ---


def run(*command: str) -> None:
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def name_of(number: int) -> str:
    return f"{PREFIX}-{number}"


def address_of(number: int) -> str:
    return f"10.199.0.{number + 1}"


def inside(number: int, *command: str, **more: Any) -> subprocess.Popen[bytes]:
    """Start a command in a namespace. Number 0 is the controller."""
    return subprocess.Popen(["ip", "netns", "exec", name_of(number), *command], **more)


@contextmanager
def network(hosts: int) -> Iterator[None]:
    """A controller and hosts behind one bridge, each link limited in both directions."""
    clear(hosts)
    limit = ["root", "tbf", "rate", f"{MBIT}mbit", "burst", "128kb", "latency", "100ms"]
    try:
        run("ip", "netns", "add", SWITCH)
        run("ip", "-n", SWITCH, "link", "add", "br0", "type", "bridge")
        run("ip", "-n", SWITCH, "link", "set", "br0", "up")
        for number in range(hosts + 1):
            name, port = name_of(number), f"p{number}"
            run("ip", "netns", "add", name)
            run("ip", "-n", SWITCH, "link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", name)
            run("ip", "-n", SWITCH, "link", "set", port, "master", "br0", "up")
            run("ip", "-n", name, "link", "set", "lo", "up")
            run("ip", "-n", name, "address", "add", f"{address_of(number)}/24", "dev", "eth0")
            run("ip", "-n", name, "link", "set", "eth0", "up")
            run("tc", "-n", SWITCH, "qdisc", "add", "dev", port, *limit)
            run("tc", "-n", name, "qdisc", "add", "dev", "eth0", *limit)
        yield
    finally:
        clear(hosts)


def clear(hosts: int) -> None:
    for name in (SWITCH, *(name_of(number) for number in range(hosts + 1))):
        subprocess.run(["ip", "netns", "delete", name], check=False, stderr=subprocess.DEVNULL)


def sent_by_controller() -> int:
    found = subprocess.run(
        ["ip", "netns", "exec", name_of(0), "cat", "/sys/class/net/eth0/statistics/tx_bytes"],
        check=True, capture_output=True,
    )  # fmt: skip
    return int(found.stdout)


def make_files(folder: Path, size: int) -> list[dict[str, Any]]:
    """Files of different sizes, as in a release."""
    rng = random.Random(1)
    shares = [rng.random() ** 3 + 0.02 for _ in range(FILES)]
    rows = []
    for index, share in enumerate(shares):
        data = rng.randbytes(max(1, int(size * share / sum(shares))))
        (folder / f"{index}.whl").write_bytes(data)
        rows.append({"path": f"{index}.whl", "sha256": hashlib.sha256(data).hexdigest(), "size": len(data)})
    return rows


@dataclass
class Bench:
    """A store, its rows, and folders for the hosts."""

    folder: Path
    rows: list[dict[str, Any]]
    hosts: int

    @property
    def size(self) -> int:
        return sum(row["size"] for row in self.rows)

    def place(self, number: int) -> Path:
        made = self.folder / f"host{number}"
        made.mkdir(parents=True, exist_ok=True)
        return made

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-W", "ignore", __file__, "node", *arguments]

    def check(self, named: Callable[[str], str]) -> None:
        for number in range(1, self.hosts + 1):
            for row in self.rows:
                data = (self.place(number) / named(row["sha256"])).read_bytes()
                if hashlib.sha256(data).hexdigest() != row["sha256"]:
                    raise SystemExit(f"host {number} has other bytes than {row['path']}")

    def empty(self) -> None:
        for number in range(1, self.hosts + 1):
            shutil.rmtree(self.place(number))


def wait_for(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    end = time.monotonic() + SECONDS
    for process in processes:
        if process.wait(max(1.0, end - time.monotonic())) != 0:
            raise SystemExit(f"{process.args} failed")


def stop(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    for process in processes:
        process.terminate()
    for process in processes:
        with suppress(subprocess.TimeoutExpired):
            process.wait(20)


def ready(*files: Path) -> float:
    """When all these files are there: the time at which a delivery begins."""
    end = time.monotonic() + SECONDS
    while not all(file.exists() for file in files):
        if time.monotonic() > end:
            raise SystemExit(f"{files} did not appear")
        time.sleep(0.05)
    return time.monotonic()


def by_push(bench: Bench) -> float:
    numbers = range(1, bench.hosts + 1)
    servers = [inside(n, *bench.command("receive", str(bench.place(n)))) for n in numbers]
    try:
        started = ready(*(bench.place(n) / "ready" for n in numbers))
        for first in range(0, bench.hosts, FORKS):
            group = numbers[first : first + FORKS]
            wait_for([inside(0, *bench.command("push", str(bench.folder), address_of(n))) for n in group])
        bench.check(lambda sha256: f"{sha256}.part")
        return time.monotonic() - started
    finally:
        stop(servers)


def by_http(bench: Bench) -> float:
    server = inside(0, *bench.command("serve", str(bench.folder)))
    try:
        started = ready(bench.folder / "ready")
        numbers = range(1, bench.hosts + 1)
        wait_for([inside(n, *bench.command("fetch", str(bench.folder), str(bench.place(n)))) for n in numbers])
        bench.check(lambda sha256: f"{sha256}.part")
        return time.monotonic() - started
    finally:
        stop([server])
        (bench.folder / "ready").unlink(missing_ok=True)


def by_swarm(bench: Bench) -> float:
    import libtorrent

    seed = bench.folder / "seed"
    rows = swarm.lay_out(bench.rows, bench.folder, seed)
    torrent = bench.folder / "store.torrent"
    torrent.write_bytes(swarm.make_torrent(libtorrent, rows, seed))
    members = {str(n): swarm.Member(str(n), address_of(n), ()) for n in range(1, bench.hosts + 1)}
    peers = swarm.Swarm(members, PORT, address_of(0)).peers()
    running = []
    started = time.monotonic()
    try:
        for number in range(bench.hosts + 1):
            place = bench.place(number) if number else seed
            name = str(number) if number else swarm.CONTROLLER
            every = [row["sha256"] for row in rows]
            order = swarm_engine.order_of(
                str(torrent), str(place), str(place / "status.json"), PORT, peers[name],
                wanted=every if number else [], have=[] if number else every, seed=not number,
            )  # fmt: skip
            swarm_engine.write_json(str(place / "order.json"), order)
            command = [sys.executable, "-W", "ignore", swarm_engine.__file__, "run", str(place / "order.json")]
            running.append(inside(number, *command))
        end = time.monotonic() + SECONDS
        while not all(_finished(bench.place(number)) for number in range(1, bench.hosts + 1)):
            if time.monotonic() > end:
                raise SystemExit("the swarm did not finish")
            time.sleep(0.2)
        bench.check(lambda sha256: f"{swarm_engine.NAME}/{sha256}")
        return time.monotonic() - started
    finally:
        stop(running)


def _finished(place: Path) -> bool:
    try:
        return bool(json.loads((place / "status.json").read_text()).get("finished"))
    except (OSError, ValueError):
        return False


WAYS: dict[str, Callable[[Bench], float]] = {"push": by_push, "http": by_http, "swarm": by_swarm}


def measured(counts: Sequence[int], size: int, ways: Sequence[str]) -> Iterator[Point]:
    ideal = size * 8 / MBIT / 1e6
    with tempfile.TemporaryDirectory(prefix="fanout-") as name:
        rows = make_files(Path(name), size)
        (Path(name) / "rows.json").write_text(json.dumps(rows))
        for hosts in counts:
            for way in ways:
                bench = Bench(Path(name), rows, hosts)
                with network(hosts):
                    before = sent_by_controller()
                    seconds = WAYS[way](bench)
                    copies = (sent_by_controller() - before) / bench.size
                bench.empty()
                yield Point(way, hosts, round(seconds, 1), round(seconds / ideal, 2), round(copies, 2))


# --- the programs in the namespaces ---


def node(arguments: Sequence[str]) -> int:
    """One end of a push or of a fetch."""
    import socket

    what, folder, *more = arguments
    store = Path(folder)
    if what == "receive":
        with socket.create_server(("0.0.0.0", PORT)) as server:
            (store / "ready").touch()
            connection, _peer = server.accept()
            return subprocess.run([sys.executable, "-I", "-c", delivery.RECEIVER, folder], stdin=connection).returncode
    rows = json.loads((store / "rows.json").read_text())
    if what == "push":
        with socket.create_connection((more[0], PORT)) as connection:
            for message in delivery.pieces([(r["sha256"], store / r["path"], r["size"]) for r in rows], {}, 4 << 20):
                connection.sendall(delivery.encode(message))
            connection.shutdown(socket.SHUT_WR)
            connection.settimeout(SECONDS)
            with suppress(ConnectionResetError):
                connection.recv(1)
        return 0
    if what == "serve":
        server = serve._Server(folder, {row["path"]: row["size"] for row in rows}, "0.0.0.0", PORT)
        (store / "ready").touch()
        server.serve_forever()
    source = http_fetch.Source(f"http://{address_of(0)}:{PORT}")
    while rows:
        left = set(http_fetch.fetch(source, rows, more[0], 5.0).left)
        rows = [row for row in rows if row["sha256"] in left]
    return 0


def table(points: Sequence[Point]) -> None:
    print(f"{'':8} {'hosts':>6} {'seconds':>8} {'x ideal':>8} {'copies':>7}")
    for point in points:
        print(f"{point.way:8} {point.hosts:6} {point.seconds:8.1f} {point.times:8.2f} {point.copies:7.2f}", flush=True)


def main() -> int:
    if sys.argv[1:2] == ["node"]:
        return node(sys.argv[2:])
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mb", type=int, default=160)
    parser.add_argument("--hosts", default=",".join(map(str, COUNTS)))
    parser.add_argument("--ways", default=",".join(WAYS))
    parser.add_argument("--model", action="store_true")
    given = parser.parse_args()
    size = given.mb * 1_000_000
    counts = [int(each) for each in given.hosts.split(",")]
    ways = given.ways.split(",")
    if not set(ways) <= set(WAYS):
        parser.error(f"--ways takes {', '.join(WAYS)}")
    print(f"{given.mb} MB in {FILES} files, links of {MBIT} Mbit/s, {size * 8 / MBIT / 1e6:.1f} s for one copy\n")
    points: list[Point] = []
    if not given.model:
        if os.geteuid() != 0:
            raise SystemExit("the measurement needs root, for network namespaces: use sudo, or --model")
        for point in measured(counts, size, ways):
            points.append(point)
            table([point])
        print("\nMeasured:")
        table(points)
    print("\nModel of a swarm (equal links, nothing lost, first pieces after", f"{START_SECONDS:.0f} s):")
    model = modelled(MODELLED, size)
    table(model)
    for point in points:
        same = next((each for each in model if each.hosts == point.hosts and point.way == "swarm"), None)
        if same:
            print(f"{point.hosts} hosts: measured {point.times:.2f}, model {same.times:.2f}", end="; ")
            print(f"copies {point.copies:.2f}, model {same.copies:.2f}")
    out = ROOT / "build" / "bench"
    out.mkdir(parents=True, exist_ok=True)
    data = {"measured": [asdict(p) for p in points], "model": [asdict(p) for p in model], "machine": machine()}
    (out / "fanout.json").write_text(json.dumps(data, indent=2) + "\n")
    last = next((point for point in points if point.way == "swarm" and point.hosts == max(COUNTS)), None)
    if last is None:
        return 0
    met = last.times <= TARGET_TIMES and last.copies <= TARGET_COPIES
    print(f"target at {last.hosts} hosts: {TARGET_TIMES} x, {TARGET_COPIES} copies: {'met' if met else 'MISSED'}")
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
