# SPDX-License-Identifier: GPL-3.0-or-later
"""Deliver by swarm: who is whose peer, the torrent, and the controller's own peer, which is the first seed.

The inventory is the list of peers, so no tracker is needed. Peers must be few: with all hosts as peers of each other, a
swarm of 100 hosts took 6 to 20 times as long as one host. With six each it took 2.1 times as long.
"""

from __future__ import annotations

import hashlib
import ipaddress
import json
import os
import platform
import shutil
import signal
import socket
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...module_utils.release import swarm_engine

# Three rings give each peer six neighbours.
RINGS = 3
# `auto` chooses the swarm from so many hosts on. `bench/fanout --mb 64` gave, in times of one copy over one link: push
# 1.1 for 1 host and 4.2 for 4; the swarm 2.3 and 2.5. docs/performance.md has the table.
LEAST_HOSTS = 4
# ... and only if a host lacks so much. Below this, the swarm's fixed costs exceed what it saves.
LEAST_BYTES = 100_000_000
# The controller's name in the graph. No inventory host has it.
CONTROLLER = ""
# At most so many pieces: the torrent has 32 bytes for each, and hosts tell their peers about each.
PIECES = 2000
LEAST_PIECE, MOST_PIECE = 1 << 18, 1 << 24
# How many torrents stay in the controller's cache.
KEPT = 8
# The controller's peer ends this long after the last host has everything.
LINGER = 3600.0


# What to do about a store without an engine. preflight says so first.
NO_ENGINE = (
    "the store carries no engine for a swarm. Run playbooks/fetch.yml with artifact_store_swarm: true on the connected "
    "machine, and carry the store again"
)


class SwarmError(Exception):
    """There can be no swarm, with the reason."""


def neighbours(names: Iterable[str]) -> dict[str, list[str]]:
    """The peers of each member: three rings through all members, each in an order of its own.

    One ring already connects everybody. The order depends on the names alone, so every run finds the same graph.
    """
    members = sorted({*names})
    found: dict[str, set[str]] = {name: set() for name in members}
    for ring in range(RINGS):
        order = sorted(members, key=lambda name: hashlib.sha256(f"{ring}/{name}".encode()).digest())
        for one, other in zip(order, [*order[1:], *order[:1]], strict=True):
            if one != other:
                found[one].add(other)
                found[other].add(one)
    return {name: sorted(peers) for name, peers in found.items()}


def is_worth(hosts: int, size: int) -> bool:
    """Whether a swarm is faster than pushes: ``size`` is what the host that lacks most lacks, in bytes."""
    return hosts >= LEAST_HOSTS and size >= LEAST_BYTES


def piece_size(size: int) -> int:
    """The size of a piece: a power of two."""
    piece = LEAST_PIECE
    while piece < MOST_PIECE and size > piece * PIECES:
        piece *= 2
    return piece


def tag(version: Sequence[int] = tuple(sys.version_info[:2]), machine: str = "") -> str:
    """The engine that fits a Python and a machine, such as ``cp311-x86_64``."""
    return f"cp{version[0]}{version[1]}-{machine or platform.machine()}"


def tags_of(wheel: str) -> str:
    """The same for the file name of an engine's wheel."""
    stem = wheel.removesuffix(".whl").split("-")
    machine = next((name for name in ("x86_64", "aarch64") if stem[-1].endswith(name)), stem[-1])
    return f"{stem[-3]}-{machine}"


def engine_for(wanted: str, engines: Iterable[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """The row of the engine with this tag; None if the store carries none."""
    return next((row for row in engines if tags_of(os.path.basename(row["path"])) == wanted), None)


def unpack(wheel: Path, sha256: str, cache: Path) -> Path:
    """The folder of an unpacked wheel, to import libtorrent from. Raises SwarmError, OSError."""
    target = cache / f"engine-{sha256[:16]}"
    if target.is_dir():
        return target
    data = wheel.read_bytes()
    if hashlib.sha256(data).hexdigest() != sha256:
        raise SwarmError(f"{wheel} is not the file of the manifest")
    new = cache / f".{target.name}.{os.getpid()}"
    shutil.rmtree(new, ignore_errors=True)
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(new)
    with suppress(OSError):  # another play was faster
        new.rename(target)
    shutil.rmtree(new, ignore_errors=True)
    return target


def resolve(name: str, wanted: str) -> str:
    """A host's address, as the controller resolves it. Raises SwarmError."""
    try:
        found = ipaddress.ip_address(wanted)
    except ValueError:
        try:
            found = ipaddress.ip_address(socket.getaddrinfo(wanted, None, type=socket.SOCK_STREAM)[0][4][0])
        except (OSError, UnicodeError, ValueError):
            raise SwarmError(
                f"{name}: the controller cannot resolve {wanted!r}. Set artifacts_swarm_address to the address at which"
                " the other hosts reach it"
            ) from None
    if found.is_loopback or found.is_unspecified or found.is_multicast:
        raise SwarmError(f"{name}: {found} is no address at which other hosts reach it. Set artifacts_swarm_address")
    return str(found)


def check_addresses(members: Iterable[Member]) -> None:
    """Raises SwarmError if two hosts have one address."""
    seen: dict[str, str] = {}
    for member in members:
        other = seen.setdefault(member.address, member.name)
        if other != member.name:
            raise SwarmError(
                f"{other} and {member.name} have the same address, {member.address}. Set artifacts_swarm_address"
            )


def own_address(towards: str) -> str:
    """The controller's address on the way to a host. Nothing is sent to find it. Raises SwarmError."""
    try:
        with socket.socket(socket.AF_INET6 if ":" in towards else socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.connect((towards, 9))
            return str(probe.getsockname()[0])
    except OSError as error:
        raise SwarmError(
            f"the controller's address on the way to {towards} could not be determined ({error}). Set"
            " artifacts_swarm_controller"
        ) from None


def keep(file: Path, data: bytes) -> None:
    """Keep a torrent for the next run, and of the former ones the newest."""
    new = file.with_suffix(f".{os.getpid()}")
    new.write_bytes(data)
    new.rename(file)
    for old in sorted(file.parent.glob("*.torrent"), key=lambda path: path.stat().st_mtime)[:-KEPT]:
        old.unlink(missing_ok=True)


def lay_out(rows: Iterable[dict[str, Any]], store: Path, folder: Path) -> list[dict[str, Any]]:
    """Link the files of a torrent below a folder, by digest. Returns the rows, sorted. Empty files are left out."""
    place = folder / swarm_engine.NAME
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    found = {str(row["sha256"]): row for row in rows if row["size"] > 0}
    for sha256, row in found.items():
        (place / sha256).symlink_to((store / row["path"]).absolute())
    return [found[sha256] for sha256 in sorted(found)]


def make_torrent(library: Any, rows: Sequence[Mapping[str, Any]], folder: Path) -> bytes:
    """The torrent of the files below a folder: version 2, private, without tracker and web seed. Raises SwarmError.

    Each file begins with a piece of its own, so that a host receives nothing of files that it does not want.
    """
    files = library.file_storage()
    for row in rows:
        files.add_file(f"{swarm_engine.NAME}/{row['sha256']}", int(row["size"]))
    torrent = library.create_torrent(
        files, piece_size(sum(int(row["size"]) for row in rows)), flags=library.create_torrent.v2_only
    )
    torrent.set_priv(True)
    torrent.set_creation_date(0)
    try:
        library.set_piece_hashes(torrent, str(folder))
    except RuntimeError as error:
        raise SwarmError(f"the torrent could not be made: {error}") from error
    return bytes(library.bencode(torrent.generate()))


@dataclass(frozen=True)
class Member:
    """A host of the swarm: its address, and what it lacks."""

    name: str
    address: str
    missing: tuple[str, ...]


@dataclass(frozen=True)
class Swarm:
    """Who takes part. ``controller`` is the controller's address, as the hosts see it."""

    members: Mapping[str, Member]
    port: int
    controller: str

    def peers(self) -> dict[str, list[tuple[str, int]]]:
        """The addresses of each member's peers; the controller's under its own name."""
        address = {name: member.address for name, member in self.members.items()}
        address[CONTROLLER] = self.controller
        graph = neighbours([CONTROLLER, *self.members])
        return {name: [(address[peer], self.port) for peer in peers] for name, peers in graph.items()}


class Seed:
    """The controller's peer: a process of its own, which ends with the playbook."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.status_file = folder / "status.json"

    @property
    def torrent(self) -> Path:
        return self.folder / "store.torrent"

    def start(
        self, library: Path | None, swarm: Swarm, watched: int, listen: str = swarm_engine.ANY, seconds: float = 60.0
    ) -> None:
        """Start the process, and wait until it serves. It ends with the process ``watched``. Raises SwarmError."""
        self.status_file.unlink(missing_ok=True)
        peers = swarm.peers()[CONTROLLER]
        order = swarm_engine.order_of(
            str(self.torrent), str(self.folder), str(self.status_file), swarm.port, peers, listen=listen, seed=True,
            have=[path.name for path in (self.folder / swarm_engine.NAME).iterdir()], linger=LINGER,
            library=str(library or ""), watch={"pid": watched, "start": swarm_engine.start_of(watched)},
        )  # fmt: skip
        swarm_engine.write_json(str(self.folder / "order.json"), order)
        with open(self.folder / "log", "wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-I", "-W", "ignore", swarm_engine.__file__, "run", str(self.folder / "order.json")],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        until = time.monotonic() + seconds
        while time.monotonic() < until and process.poll() is None:
            status = self.status()
            if status.get("error"):
                break
            if status:
                return
            time.sleep(0.2)
        said = (self.folder / "log").read_text(errors="replace").strip()[-300:]
        process.terminate()
        raise SwarmError(f"the controller's peer did not start: {self.status().get('error') or said or 'no reason'}")

    def status(self) -> dict[str, Any]:
        """What the process wrote last. Empty if it wrote nothing."""
        try:
            found = json.loads(self.status_file.read_bytes())
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}

    def stop(self, seconds: float = 15.0) -> dict[str, Any]:
        """End the process and remove its folder. Returns its last status."""
        pid = int(self.status().get("pid") or 0)
        ours = b"\0" + os.fsencode(self.folder / "order.json") + b"\0"

        def runs() -> bool:
            with suppress(OSError):
                return ours in Path(f"/proc/{pid}/cmdline").read_bytes()
            return False

        if pid and runs():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
            until = time.monotonic() + seconds
            while runs() and time.monotonic() < until:
                time.sleep(0.1)
        last = self.status()
        shutil.rmtree(self.folder, ignore_errors=True)
        return last


def sweep(cache: Path) -> None:
    """Remove what ended plays left in the folder of seeds."""
    for folder in cache.glob("run-*"):
        pid = folder.name.rpartition("-")[2]
        if not pid.isdigit() or not Path(f"/proc/{pid}").exists():
            Seed(folder).stop()
