# SPDX-License-Identifier: GPL-3.0-or-later
"""Fetch from real servers: with and without ranges, trusted or not, failing or with wrong answers."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import random
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.voicefleet.kokoro.plugins.module_utils.release import http_fetch
from ansible_collections.voicefleet.kokoro.plugins.module_utils.release.http_fetch import (
    Source,
    SourceError,
    Unreachable,
)

BIG = random.Random(3).randbytes(300_000)
FILES = {"wheels/a+cpu.whl": BIG, "wheels/empty.whl": b"", "manifest.json": b"{}"}
ROWS = [
    {"path": path, "sha256": hashlib.sha256(data).hexdigest(), "size": len(data)}
    for path, data in FILES.items()
    if path != "manifest.json"
]
BIG_SHA = ROWS[0]["sha256"]


class Server(ThreadingHTTPServer):
    """The server's behaviour: whether it supports ranges, when it closes the connection, which login it requires."""

    daemon_threads = True
    ranges = True
    hang_up = 1 << 30
    slow = 0.0
    login = ""
    fail = 0
    asked: list[str]
    logins: list[str]


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.asked.append(self.headers.get("Range", ""))
        self.server.logins.append(self.headers.get("Authorization", ""))
        data = FILES.get(self.path.replace("%2B", "+").lstrip("/"))
        if self.server.login and self.headers.get("Authorization") != self.server.login:
            self.send_error(401)
            return
        if self.server.fail or data is None:
            self.send_error(self.server.fail or 404)
            return
        first = int(self.headers.get("Range", "bytes=0-")[6:].split("-")[0]) if self.server.ranges else 0
        ranged = self.server.ranges and "Range" in self.headers
        self.send_response(206 if ranged else 200)
        if ranged:
            self.send_header("Content-Range", f"bytes {first}-{len(data) - 1}/{len(data)}")
        self.send_header("Content-Length", str(len(data) - first))
        self.end_headers()
        for at in range(first, len(data), 50_000):
            if at >= self.server.hang_up:
                return
            self.wfile.write(data[at : min(at + 50_000, self.server.hang_up)])
            time.sleep(self.server.slow)

    def log_message(self, format: str, *args: Any) -> None:
        """Log nothing."""


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server(("127.0.0.1", 0), Handler)
    made.asked, made.logins = [], []
    threading.Thread(target=made.serve_forever, daemon=True).start()
    yield made
    made.shutdown()
    made.server_close()


def source_of(server: Server, **more: Any) -> Source:
    return Source(f"http://127.0.0.1:{server.server_port}", timeout=5.0, **more)


def part(folder: Path, sha256: str = BIG_SHA) -> Path:
    return folder / f"{sha256}.part"


@pytest.mark.parametrize("ranges", [True, False])
@pytest.mark.parametrize("have", [0, 1, 200_000, 300_000])
def test_a_fetch_resumes_where_it_stopped(server: Server, tmp_path: Path, ranges: bool, have: int) -> None:
    server.ranges = ranges
    part(tmp_path).write_bytes(BIG[:have])
    done = http_fetch.fetch(source_of(server), ROWS, str(tmp_path), 60)
    assert (done.left, done.refused, done.error) == ([], {}, "")
    assert part(tmp_path).read_bytes() == BIG
    assert part(tmp_path, ROWS[1]["sha256"]).read_bytes() == b""
    moved = 0 if have == len(BIG) else len(BIG) - have if ranges else len(BIG)
    assert done.arrived == moved
    assert moved <= done.wire <= moved + 1000


def test_a_slice_ends_in_time_and_the_next_one_resumes(server: Server, tmp_path: Path) -> None:
    server.slow = 0.05
    slices = 0
    left = [BIG_SHA]
    while left:
        done = http_fetch.fetch(source_of(server), ROWS, str(tmp_path), 0.1)
        left = done.left
        slices += 1
        assert not done.error
    assert slices > 1
    assert part(tmp_path).read_bytes() == BIG


def test_without_ranges_a_slice_fetches_the_whole_file(server: Server, tmp_path: Path) -> None:
    server.slow, server.ranges = 0.05, False
    assert http_fetch.fetch(source_of(server), ROWS[:1], str(tmp_path), 0.1).left == []
    assert part(tmp_path).read_bytes() == BIG


def test_a_closed_connection_keeps_what_arrived(server: Server, tmp_path: Path) -> None:
    server.hang_up = 120_000
    done = http_fetch.fetch(source_of(server), ROWS, str(tmp_path), 60)
    assert "connection ended" in done.error
    assert BIG_SHA in done.left
    assert part(tmp_path).read_bytes() == BIG[:120_000]
    server.hang_up = 1 << 30
    assert http_fetch.fetch(source_of(server), ROWS, str(tmp_path), 60).arrived == len(BIG) - 120_000
    assert part(tmp_path).read_bytes() == BIG


def test_a_silent_server_does_not_block_the_host(server: Server, tmp_path: Path) -> None:
    server.slow = 2.0
    done = http_fetch.fetch(Source(f"http://127.0.0.1:{server.server_port}", timeout=0.3), ROWS, str(tmp_path), 60)
    assert done.error == "no answer in time"


@pytest.mark.parametrize(("status", "refused"), [(404, True), (403, True), (503, False)])
def test_a_refusal_is_final_and_a_server_error_is_not(
    server: Server, tmp_path: Path, status: int, refused: bool
) -> None:
    server.fail = status
    done = http_fetch.fetch(source_of(server), ROWS[:1], str(tmp_path), 60)
    assert (BIG_SHA in done.refused) is refused
    assert (BIG_SHA in done.left) is not refused
    assert bool(done.error) is not refused


class Hostile:
    """A server that answers every request with the bytes of ``answer``, one piece each ``pause`` seconds, for ever."""

    def __init__(self, head: bytes, piece: bytes, pause: float) -> None:
        self.head, self.piece, self.pause = head, piece, pause
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.source = Source(f"http://127.0.0.1:{self.listener.getsockname()[1]}", timeout=1.0)
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                peer = self.listener.accept()[0]
            except OSError:
                return
            threading.Thread(target=self._answer, args=(peer,), daemon=True).start()

    def _answer(self, peer: socket.socket) -> None:
        with peer, contextlib.suppress(OSError):
            peer.recv(4096)
            peer.sendall(self.head)
            while self.piece:
                peer.sendall(self.piece)
                time.sleep(self.pause)


OK = b"HTTP/1.1 200 OK\r\n"
HOSTILE = [
    (b"HTTP/1.1 200 OK\r\nX: ", b"x", 0.05),  # a header, byte by byte
    (b"", b"HTTP/1.1 100 Continue\r\n\r\n", 0.01),
    (OK + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n", 0.05),
    (OK + b"\r\n", b"x", 0.05),
    (b"HTTP/1.1 206 Partial\r\nContent-Range: bytes 0-\r\n\r\n", b"x", 0.05),
    (OK + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n", b"", 0.0),
    (OK + b"Content-Length: x\r\n\r\n", b"", 0.0),
    (b"HTTP/1.1 302 Found\r\nLocation: http://[::1\r\n\r\n", b"", 0.0),
    (b"HTTP/1.1 302 Found\r\nLocation: ftp://127.0.0.1/x\r\n\r\n", b"", 0.0),
    (b"HTTP/1.1 302 Found\r\nLocation: /manifest.json\r\n\r\n", b"", 0.0),
    (b"\x00" * 100_000, b"", 0.0),
]


@pytest.mark.parametrize(("head", "piece", "pause"), HOSTILE)
def test_no_server_holds_a_slice_or_the_manifest_for_long(
    head: bytes, piece: bytes, pause: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_fetch, "GRACE", 0.3)
    monkeypatch.setattr(http_fetch, "SLOWEST", 1_000_000)
    hostile = Hostile(head, piece, pause)
    began = time.monotonic()
    done = http_fetch.fetch(hostile.source, ROWS[:1], str(tmp_path), 0.3)
    with contextlib.suppress(SourceError):
        http_fetch.manifest_digest(Source(hostile.source.url, timeout=0.3))
    assert time.monotonic() - began < 15
    assert done.arrived < len(BIG)
    assert done.left == [BIG_SHA] or done.refused
    assert part(tmp_path).stat().st_size <= len(BIG)
    hostile.listener.close()


def test_an_endless_manifest_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_fetch, "LIMIT", 1_000_000)
    hostile = Hostile(OK + b"\r\n", bytes(100_000), 0.0)
    with pytest.raises(SourceError, match="more than 1000000 bytes: it is not the manifest"):
        http_fetch.manifest_digest(Source(hostile.source.url, timeout=30.0))
    hostile.listener.close()


def test_an_endless_redirect_is_refused_before_it_fills_the_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """urllib reads the body of a redirect whole before it follows it."""
    monkeypatch.setattr(http_fetch, "HEAD_BYTES", 1_000_000)
    hostile = Hostile(b"HTTP/1.1 302 Found\r\nLocation: /x\r\n\r\n", bytes(100_000), 0.0)
    with pytest.raises(Unreachable, match="its headers or its redirect are endless"):
        http_fetch.manifest_digest(Source(hostile.source.url, timeout=3.0))
    done = http_fetch.fetch(Source(hostile.source.url, timeout=3.0), ROWS[:1], str(tmp_path), 3.0)
    assert "endless" in done.error
    hostile.listener.close()


def test_a_missing_server_is_reported(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        source = Source(f"http://127.0.0.1:{free.getsockname()[1]}")
        assert http_fetch.fetch(source, ROWS, str(tmp_path), 60).error == "Connection refused"
        with pytest.raises(Unreachable, match="does not answer: Connection refused"):
            http_fetch.manifest_digest(source)


def test_no_proxy_is_used(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    assert http_fetch.manifest_digest(source_of(server)) == hashlib.sha256(b"{}").hexdigest()


def test_a_redirect_does_not_get_the_login(server: Server) -> None:
    server.login = "Basic " + base64.b64encode(b"kim:hush").decode()
    assert http_fetch.manifest_digest(source_of(server, user="kim", password="hush"))
    with pytest.raises(SourceError, match="401 .*artifacts_http_password"):
        http_fetch.manifest_digest(source_of(server))
    assert "hush" not in repr(source_of(server, user="kim", password="hush"))

    class Away(Handler):
        def do_GET(self) -> None:
            self.send_response(302)
            self.send_header("Location", f"http://127.0.0.1:{server.server_port}/manifest.json")
            self.end_headers()

    server.login = ""
    server.logins.clear()
    other = ThreadingHTTPServer(("127.0.0.1", 0), Away)
    threading.Thread(target=other.serve_forever, daemon=True).start()
    http_fetch.manifest_digest(Source(f"http://127.0.0.1:{other.server_port}", "kim", "hush"))
    other.shutdown()
    other.server_close()
    assert server.logins == [""]


def test_a_certificate_needs_a_trusted_ca(server: Server, tmp_path: Path) -> None:
    key, certificate = tmp_path / "key", tmp_path / "certificate"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=depot"]
    command += ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(command, check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    address = f"https://127.0.0.1:{server.server_port}"
    assert http_fetch.manifest_digest(Source(address, ca=certificate.read_text(), timeout=60.0))
    with pytest.raises(SourceError, match="artifacts_http_ca") as caught:
        http_fetch.manifest_digest(Source(address, timeout=60.0))
    # Another machine would not trust the server either.
    assert not isinstance(caught.value, Unreachable)


@pytest.mark.parametrize(
    "url",
    ["", "depot/store", "ftp://depot/store", "http://", "http://depot:port/", "http://depot:0/", "http://depot/a b",
     "http://depot/?a=b", "http://depot/#a", "http://[::1", "http://kim:hush@depot/", "http://kim:hush@depot:port/"],
)  # fmt: skip
def test_an_invalid_address_is_refused(url: str) -> None:
    with pytest.raises(SourceError) as caught:
        http_fetch.check_url(url)
    assert "hush" not in str(caught.value)


def test_an_address_loses_its_final_slash() -> None:
    assert http_fetch.check_url("https://depot:8443/store/") == "https://depot:8443/store"
    assert http_fetch.check_url("http://[fd00::1]:8080") == "http://[fd00::1]:8080"
