# SPDX-License-Identifier: GPL-3.0-or-later
"""The real HAProxy or nginx with a role's own template, in front of nodes that a test scripts. All on loopback."""

from __future__ import annotations

import contextlib
import csv
import http.client
import json
import re
import select
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from ansible_collections.voicefleet.kokoro.plugins.module_utils.front import balancer
from ansible_collections.voicefleet.kokoro.tests.unit.roles.test_templates import BALANCER, GATEWAY, ROLES, rendered

KEY = "xf-0123456789abcdef"
CLIENT = "xf-client-0123456789"
LIMIT = 60.0  # seconds in which each answer must come


def in_pieces(kind: str, read: threading.Semaphore) -> Callable[[Request], None]:
    """A node that sends six pieces, each only after its client has read the one before."""

    def behave(request: Request) -> None:
        request.begin_stream(kind)
        for number in range(6):
            request.piece(b"data: piece%d\n\n" % number)
            assert read.acquire(timeout=LIMIT)
        request.piece(b"")

    return behave


def in_seven_seconds(request: Request) -> None:
    """A node that sends a piece each second."""
    request.begin_stream()
    for _each in range(7):
        request.piece(b"x")
        time.sleep(1)
    request.piece(b"")


class Request(BaseHTTPRequestHandler):
    """One request at a node. ``body`` is what came of it."""

    protocol_version = "HTTP/1.1"
    node: Node
    body: bytes

    def log_message(self, *_arguments: object) -> None:
        pass

    def handle(self) -> None:
        with contextlib.suppress(OSError):
            super().handle()

    def do_GET(self) -> None:
        self.body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.path.startswith("/v1/models/instances"):
            uid = self.path.rpartition("=")[2]
            self.node.checks.append(self)
            self.answer(200, json.dumps([{"status": "READY"}] if uid in self.node.ready else []))
            return
        self.node.asked.append(self)
        self.node.behave(self)

    do_POST = do_HEAD = do_GET

    def answer(self, status: int, text: str = "sound", **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    def begin_stream(self, kind: str = "audio/pcm") -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()

    def piece(self, data: bytes) -> None:
        """Send a piece of a stream. An empty one ends it."""
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))

    def works(self, seconds: float) -> bool:
        """Work so long, as a node does that notices a client's leave. Say whether the client is still there."""
        readable, _writable, _errors = select.select([self.connection], [], [], seconds)
        try:
            gone = bool(readable) and not self.connection.recv(1, socket.MSG_PEEK)
        except ConnectionResetError:
            gone = True
        if gone:
            self.node.left.append(self)
            self.close_connection = True
        else:
            self.node.done.append(self)
        return not gone

    def die(self) -> None:
        """Close the connection without an answer, as a node whose process ends."""
        self.connection.shutdown(socket.SHUT_RDWR)
        self.close_connection = True


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 512


class Node:
    """A stand-in for Xinference. ``behave`` answers each request that is no check."""

    def __init__(self, name: str, behave: Callable[[Request], None], ready: tuple[str, ...]) -> None:
        self.name, self.behave, self.ready = name, behave, ready
        self.asked: list[Request] = []
        self.checks: list[Request] = []
        self.left: list[Request] = []  # clients that left during work
        self.done: list[Request] = []  # clients that stayed
        self.server = Server(("127.0.0.1", 0), type("Handler", (Request,), {"node": self}))
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def stop(self) -> None:
        """Refuse connections from now on."""
        self.server.shutdown()
        self.server.server_close()


def speak(request: Request) -> None:
    request.answer(200)


def until(true: Callable[[], Any], what: str, seconds: float = LIMIT) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, f"not in {seconds:.0f} s: {what}"
        time.sleep(0.02)


class Front:
    """A running proxy and its nodes."""

    def __init__(self, folder: Path, port: int, nodes: list[Node]) -> None:
        self.folder, self.port, self.nodes = folder, port, nodes

    def connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=LIMIT)

    def send(
        self, body: dict[str, Any] | bytes | None = None, path: str = "/v1/audio/speech", **headers: str
    ) -> http.client.HTTPConnection:
        """Send a request, and leave the answer to the caller."""
        connection = self.connect()
        data = json.dumps(body).encode() if isinstance(body, dict) else body
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(
            "GET" if data is None else "POST", path, data, {"Authorization": f"Bearer {CLIENT}", **given}
        )
        return connection

    def ask(self, *arguments: Any, **headers: str) -> tuple[int, str, dict[str, str]]:
        """Status, text and headers of one answer."""
        with contextlib.closing(self.send(*arguments, **headers)) as connection:
            answer = connection.getresponse()
            return answer.status, answer.read().decode(), dict(answer.getheaders())

    @property
    def asked(self) -> dict[str, int]:
        """How many requests each node got."""
        return {node.name: len(node.asked) for node in self.nodes}

    def rows(self) -> list[dict[str, str]]:
        """HAProxy's own table."""
        answer = balancer.ask(str(self.folder / "admin.sock"), "show stat")
        return list(csv.DictReader(answer.lstrip("# ").splitlines()))

    def states(self) -> dict[str, str]:
        """HAProxy's state of each node, by the name of its section."""
        rows = [row for row in self.rows() if re.match(r"(node|hears|mandarin)-\d", row["pxname"])]
        return {row["pxname"]: row["status"] for row in rows if row["svname"] not in ("FRONTEND", "BACKEND")}

    def queued(self) -> int:
        """How many requests wait in the balancer."""
        return sum(int(row["qcur"] or 0) for row in self.rows() if row["svname"] == "BACKEND")

    def wait(self, section: str, state: str) -> None:
        until(lambda: self.states()[section].startswith(state), f"{section} is {state}")


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@contextlib.contextmanager
def started(command: list[str], folder: Path, port: int) -> Iterator[None]:
    """Run a program until the end of the block. Wait until its port is open."""
    with (folder / "log").open("w") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        try:
            end = time.monotonic() + LIMIT
            while True:
                assert process.poll() is None, (folder / "log").read_text()
                assert time.monotonic() < end, (folder / "log").read_text()
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                    break
                time.sleep(0.05)
            yield
        finally:
            process.kill()


@contextlib.contextmanager
def nodes_of(count: int, behave: Callable[[Request], None], ready: tuple[str, ...]) -> Iterator[list[Node]]:
    nodes = [Node(f"n{number}", behave, ready) for number in range(1, count + 1)]
    try:
        yield nodes
    finally:
        for node in nodes:
            node.stop()


def write_balancer(folder: Path, rows: list[dict[str, Any]], values: dict[str, Any], clients: list[str]) -> list[str]:
    """Write the balancer's files. Return HAProxy's command. It runs as the user of the test."""
    for file in (ROLES / "balancer" / "files").iterdir():
        shutil.copy(file, folder)
    more = {"__balancer_folder": str(folder), "__balancer_run": str(folder)}
    given = {"balancer_host": "127.0.0.1", "balancer_check_seconds": 1, **values, "balancer_nodes": rows}
    text = re.sub(r"(?m)^ +(user|group) haproxy$| user haproxy$", "", rendered(*BALANCER, given, **more))
    (folder / "haproxy.cfg").write_text(text, encoding="utf-8")
    (folder / "keys.cfg").write_text(balancer.keys_file([balancer.Node.parse(row) for row in rows]), encoding="utf-8")
    (folder / "clients.lst").write_text("".join(key + "\n" for key in clients), encoding="utf-8")
    return ["haproxy", "-db", "-f", str(folder / "keys.cfg"), "-f", str(folder / "haproxy.cfg")]


@contextlib.contextmanager
def balancing(
    count: int = 3,
    behave: Callable[[Request], None] = speak,
    ready: tuple[str, ...] = ("kokoro",),
    hears: bool = False,
    mandarin: bool = False,
    **values: Any,
) -> Iterator[Front]:
    """A balancer in front of so many nodes, all of which are up."""
    # A socket's path may have 107 bytes, so pytest's folder is too deep.
    with tempfile.TemporaryDirectory() as name, nodes_of(count, behave, ready) as nodes:
        serves = {"key": KEY, "hears": hears, "mandarin": mandarin}
        rows = [{"name": node.name, "address": "127.0.0.1", "port": node.port, **serves} for node in nodes]
        folder, port = Path(name), free_port()
        command = write_balancer(folder, rows, {"balancer_port": port, **values}, [CLIENT])
        with started(command, folder, port):
            front = Front(folder, port, nodes)
            until(lambda: all(node.checks for node in nodes), "every node was checked")
            if "kokoro" in ready:
                for number in range(1, count + 1):
                    front.wait(f"node-{number}", "UP")
            yield front


@contextlib.contextmanager
def guarded(behave: Callable[[Request], None] = speak, masters: bool = False, **values: Any) -> Iterator[Front]:
    """A gateway in front of one node. It speaks plain HTTP here, which spares the tests a certificate.

    With ``masters``, nginx has a master process, so it can be reloaded. Its file for candidates is in the folder.
    """
    with tempfile.TemporaryDirectory() as name, nodes_of(1, behave, ()) as nodes:
        folder, port = Path(name), free_port()
        given = {
            "gateway_host": "127.0.0.1", "gateway_port": port, "gateway_upstream": f"127.0.0.1:{nodes[0].port}",
            "gateway_requests_per_minute": 1000000, "gateway_burst": 1000, **values,
        }  # fmt: skip
        text = re.sub(r"(?m)^ +ssl_.*\n", "", rendered(*GATEWAY, given, __gateway_folder=name))
        text = text.replace("/run/voicefleet-gateway/", f"{folder}/run/")
        (folder / "x.conf").write_text(text.replace(f":{port} ssl;", f":{port};"), encoding="utf-8")
        places = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        temporary = " ".join(f"{place}_temp_path {folder}/{place};" for place in places)
        (folder / "nginx.conf").write_text(
            f"daemon off; master_process {'on' if masters else 'off'}; error_log stderr; pid {folder}/pid;"
            " events {}\n"
            # As Debian's nginx.conf: compression is on, here for all types.
            f"http {{ access_log off; gzip on; gzip_types *; {temporary} include {folder}/x.conf; }}\n"
        )
        # Its workers may open the folder of the test.
        folder.chmod(0o755)
        with started(["nginx", "-c", str(folder / "nginx.conf")], folder, port):
            yield Front(folder, port, nodes)
