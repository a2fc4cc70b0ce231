# SPDX-License-Identifier: GPL-3.0-or-later
"""The program of one peer of a swarm: a session of libtorrent that knows nobody but the peers in its order.

It runs as an unprivileged user on each host, and on the controller as the first seed. It needs the standard library
and libtorrent. Its results are never trusted: the host hashes each file against the manifest afterwards.

``python swarm_engine.py own FOLDER EXAMPLE`` gives the files in FOLDER to the owner of EXAMPLE (as root).
``python swarm_engine.py run ORDER`` takes part in the swarm until SIGTERM, or until nobody needs it any more.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import stat
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

# The folder in the torrent. Each file in it has its SHA-256 as its name.
NAME = "voicefleet"
# Listen on every address of the machine.
ANY = "any"
# Try absent peers again after so many seconds.
CONNECT_SECONDS = 2.0
# A super-seeding controller that sends nothing for so long, while a peer lacks something, becomes a plain seed.
# libtorrent itself reveals the first pieces 10 seconds after a peer has connected.
QUIET_SECONDS = 15.0
# No tracker, DHT, local discovery, port mapping or uTP: TCP to the peers of the order is all there is.
SETTINGS = {
    "enable_dht": False,
    "enable_lsd": False,
    "enable_upnp": False,
    "enable_natpmp": False,
    "enable_incoming_utp": False,
    "enable_outgoing_utp": False,
    "user_agent": "voicefleet",
    "connections_limit": 64,
    # Peers are few. Those that have everything stay, so that each knows what the others have.
    "close_redundant_connections": False,
    "max_retry_port_bind": 0,
    "listen_system_port_fallback": False,
    "unchoke_slots_limit": 32,
    "unchoke_interval": 2,
    "allowed_fast_set_size": 0,
    "min_reconnect_time": 1,
    "max_failcount": 1000000,
    "peer_connect_timeout": 5,
    "peer_timeout": 30,
    "request_timeout": 10,
    "piece_timeout": 10,
    "hashing_threads": 2,
    "aio_threads": 4,
}


class EngineError(Exception):
    """The engine cannot work, with the reason."""


def load(library: str) -> Any:
    """libtorrent, from the folder of an unpacked wheel. Raises EngineError."""
    if library:
        sys.path.insert(0, library)
    try:
        return importlib.import_module("libtorrent")
    except ImportError as error:
        raise EngineError(f"libtorrent cannot be loaded: {error}") from error


def write_json(path: str, value: Mapping[str, Any]) -> None:
    """Replace a file in one step."""
    new = path + ".new"
    with open(new, "w", encoding="ascii") as handle:
        json.dump(value, handle)
    os.replace(new, path)


def is_running(pid: int, start: str) -> bool:
    """Whether a process still runs. ``start`` is its start as ``/proc`` tells it; "" if the system has no ``/proc``."""
    if start:
        return start_of(pid) == start
    with suppress(ProcessLookupError):
        os.kill(pid, 0)
        return True
    return False


def start_of(pid: int) -> str:
    """When a process started, as ``/proc`` tells it. Empty if it does not run."""
    with suppress(OSError, IndexError), open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as handle:
        return handle.read().rpartition(")")[2].split()[19]
    return ""


class Engine:
    """One peer. ``order`` is described in :func:`order_of`."""

    def __init__(self, library: Any, order: Mapping[str, Any]) -> None:
        self.lt, self.order = library, order
        with open(order["torrent"], "rb") as handle:
            self.info = library.torrent_info(handle.read())
        self.files = self.info.files()
        pad = library.file_flags_t.flag_pad_file
        self.names = {
            index: os.path.basename(self.files.file_path(index))
            for index in range(self.files.num_files())
            if not self.files.file_flags(index) & pad
        }
        self.wanted = set(order["wanted"])
        self.have = set(order["have"])
        self.size = sum(self.files.file_size(index) for index, name in self.names.items() if name in self.wanted)
        self.began = self.asked = self.moved = self.needed = time.monotonic()
        self.sent = 0
        self.super = bool(order["seed"]) and order["quiet"] > 0
        self.error = ""
        self.spread = [False] * self.info.num_pieces()
        self.session = library.session(self._settings(), flags=0)
        self.session.set_ip_filter(self._filter())
        flags = library.torrent_flags
        # The controller's files were verified in this run.
        first = [flags.seed_mode] if order["seed"] else []
        self.handle = self._add(*first, *([flags.super_seeding] if self.super else []))

    def _settings(self) -> dict[str, Any]:
        listen, port = self.order["listen"], self.order["port"]
        places = ("0.0.0.0", "::") if listen == ANY else (listen,)
        listening = ",".join(f"[{place}]:{port}" if ":" in place else f"{place}:{port}" for place in places)
        found = {**SETTINGS, "listen_interfaces": listening, "alert_mask": self._errors()}
        if listen != ANY:
            found["outgoing_interfaces"] = listen
        if self.order.get("upload_limit"):
            found["upload_rate_limit"] = int(self.order["upload_limit"])
        return found

    def _errors(self) -> int:
        return int(self.lt.alert.category_t.error_notification)

    def _filter(self) -> Any:
        """Nobody may connect, and nobody is connected to, except the peers of the order."""
        found = self.lt.ip_filter()
        found.add_rule("0.0.0.0", "255.255.255.255", 1)
        found.add_rule("::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", 1)
        for address in self.order["allow"]:
            found.add_rule(address, address, 0)
        return found

    def _add(self, *more: Any) -> Any:
        flags = self.lt.torrent_flags
        chosen = flags.apply_ip_filter | flags.disable_dht | flags.disable_lsd | flags.disable_pex
        for flag in more:
            chosen = chosen | flag
        params = self.lt.add_torrent_params()
        params.ti = self.info
        params.save_path = self.order["folder"]
        params.flags = chosen
        if not self.order["seed"]:  # libtorrent does not take a peer with unwanted files for a seed
            params.file_priorities = [self._priority(index) for index in range(self.files.num_files())]
        return self.session.add_torrent(params)

    def _priority(self, index: int) -> int:
        name = self.names.get(index)
        return 4 if name in self.wanted else 1 if name in self.have else 0

    def turn(self) -> bool:
        """Connect, and write the status. False if nobody needs this peer any more."""
        now = time.monotonic()
        status = self.handle.status()
        peers = self.handle.get_peer_info()
        lacking = [peer for peer in peers if not peer.flags & peer.seed]
        self._alerts()
        if self.error:
            self._write(status, peers)
            return False
        if (not status.is_finished or self.order["seed"]) and now - self.asked >= CONNECT_SECONDS:
            self._connect(peers)
            self.asked = now
        if status.total_payload_upload != self.sent:
            self.sent, self.moved = status.total_payload_upload, now
        if not lacking:
            self.moved = now
        if self.super and now - self.moved > self.order["quiet"]:
            self._plain()
        if not status.is_finished or lacking:
            self.needed = now
        self._write(status, peers)
        watch = self.order.get("watch")
        if watch and not is_running(watch["pid"], watch["start"]):
            return False
        return now - self.needed < float(self.order["linger"])

    def _alerts(self) -> None:
        for alert in self.session.pop_alerts():
            if isinstance(alert, self.lt.listen_failed_alert):
                self.error = f"port {self.order['port']} cannot be used: {alert.message()[:300]}"
            elif isinstance(alert, (self.lt.file_error_alert, self.lt.torrent_error_alert)):
                self.error = alert.message()[:300]

    def _connect(self, peers: Sequence[Any]) -> None:
        there = {peer.ip[0] for peer in peers}
        for address, port in self.order["peers"]:
            if address not in there:
                self.handle.connect_peer((address, int(port)))

    def _plain(self) -> None:
        """Offer all pieces to everybody. Peers learn this only when they connect again."""
        self.super = False
        self.session.remove_torrent(self.handle)
        self.handle = self._add(self.lt.torrent_flags.seed_mode)
        self.sent = 0

    def _out(self, peers: Sequence[Any]) -> bool:
        """Whether the peers together received everything that this seed offers."""
        for peer in peers:
            if not all(self.spread) and len(peer.pieces) == len(self.spread):
                self.spread = [known or has for known, has in zip(self.spread, peer.pieces)]
        return all(self.spread)

    def _write(self, status: Any, peers: Sequence[Any], last: bool = False) -> None:
        state: dict[str, Any] = {
            "pid": os.getpid(),
            "time": time.time(),
            "size": self.size,
            "have": min(int(status.total_wanted_done), int(status.total_wanted)),
            "wanted": int(status.total_wanted),
            "finished": bool(status.is_finished) and "check" not in str(status.state),
            "checking": "check" in str(status.state),
            "down": int(status.total_payload_download),
            "up": int(status.total_payload_upload),
            "peers": len([peer for peer in peers if not peer.flags & peer.connecting]),
            "failed": int(status.total_failed_bytes),
            "super": self.super,
            "out": bool(self.order["seed"]) and self._out(peers),
            "error": self.error,
        }
        if last or state["finished"]:
            state["complete"], state["prefix"] = self.complete()
        write_json(self.order["status"], state)

    def complete(self) -> tuple[list[str], dict[str, int]]:
        """The wanted files that are complete, and how many bytes from the start of each other one are right."""
        done: list[str] = []
        prefix: dict[str, int] = {}
        length = self.info.piece_length()
        for index, name in self.names.items():
            if name not in self.wanted:
                continue
            size = self.files.file_size(index)
            first = self.files.file_offset(index) // length
            count = -(-size // length)
            good = next((n for n in range(count) if not self.handle.have_piece(first + n)), count)
            if good == count:
                done.append(name)
            elif good:
                prefix[name] = good * length
        return done, prefix

    def close(self) -> None:
        """Write everything to disk and say what is there."""
        self._write(self.handle.status(), [], last=True)
        self.handle.pause()
        self.session.remove_torrent(self.handle)
        until = time.monotonic() + 10
        while self.session.get_torrents() and time.monotonic() < until:
            time.sleep(0.1)


def order_of(
    torrent: str,
    folder: str,
    status: str,
    port: int,
    peers: Sequence[Sequence[Any]],
    wanted: Sequence[str] = (),
    have: Sequence[str] = (),
    listen: str = ANY,
    seed: bool = False,
    linger: float = 600.0,
    library: str = "",
    watch: Mapping[str, Any] | None = None,
    allow: Sequence[str] = (),
    quiet: float = QUIET_SECONDS,
) -> dict[str, Any]:
    """An order: the torrent's file, the folder that holds ``voicefleet/``, and the file for the status.

    ``peers`` are addresses with ports. ``allow`` names further addresses that may connect. ``wanted`` and ``have`` are
    digests to receive, and to offer only. A ``seed`` has everything. It super-seeds until it sent nothing for ``quiet``
    seconds. ``watch`` is a process without which this one ends.
    """
    return {
        "torrent": torrent, "folder": folder, "status": status, "port": port, "listen": listen,
        "peers": [list(peer) for peer in peers], "allow": sorted({*(str(peer[0]) for peer in peers), *allow}),
        "wanted": sorted(wanted), "have": sorted(have), "seed": seed, "linger": linger, "library": library,
        "watch": dict(watch) if watch else None, "quiet": quiet,
    }  # fmt: skip


def run(order: Mapping[str, Any]) -> int:
    """Take part until SIGTERM, or until nobody needs this peer any more."""
    stopped: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda got, _frame: stopped.append(got))
    try:
        engine = Engine(load(order["library"]), order)
    except Exception as error:  # libtorrent's own errors have no common base
        write_json(order["status"], {"pid": os.getpid(), "error": str(error)[:500]})
        return 1
    while not stopped and engine.turn():
        time.sleep(0.5)
    engine.close()
    return 1 if engine.error else 0


def own(folder: str, example: str) -> None:
    """Give a folder and the plain files in it to the owner of another folder. Links and other files stay root's."""
    owner = os.stat(example)
    for place, folders, names in os.walk(folder):
        for path in (place, *(os.path.join(place, name) for name in (*folders, *names))):
            found = os.lstat(path)
            if stat.S_ISDIR(found.st_mode) or (stat.S_ISREG(found.st_mode) and found.st_nlink == 1):
                os.chown(path, owner.st_uid, owner.st_gid, follow_symlinks=False)


def main(arguments: Sequence[str]) -> int:
    if len(arguments) == 3 and arguments[0] == "own":
        own(arguments[1], arguments[2])
        return 0
    with open(arguments[1], encoding="ascii") as handle:
        return run(json.load(handle))


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
