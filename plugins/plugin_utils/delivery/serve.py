# SPDX-License-Identifier: GPL-3.0-or-later
"""A temporary HTTP server for the files of a manifest: one for all hosts that a play serves at once.

Ansible handles each host in its own process. The first process starts the server. Every process holds a shared lock on
the server's file while it needs the server. The server keeps trying to take the exclusive lock. It succeeds once no
process is left, and then exits. So nobody has to stop it, and no failure leaves it running.

This file is also the server's program, so it uses only the standard library.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import re
import socket
import socketserver
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse
from collections.abc import Iterator, Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import IO, Any, cast

# The server waits so many seconds for another host before it ends.
LINGER = 3.0


class ServeError(Exception):
    """The server did not start, with the reason."""


@contextlib.contextmanager
def shared_server(store: Path, files: Mapping[str, int], bind: str, port: int) -> Iterator[int]:
    """The port of a server for ``files`` (path -> size) while the block runs. ``port`` 0 means any free port.

    Callers with the same store, files, address and port share one server. Raises ServeError with the server's reason,
    and OSError.
    """
    order = {"store": str(store), "files": dict(files), "bind": bind, "port": port}
    name = hashlib.sha256(json.dumps(order, sort_keys=True).encode()).hexdigest()[:16]
    folder = Path(tempfile.gettempdir()) / f"voicefleet-serve-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    status = folder.lstat()
    if not folder.is_dir() or folder.is_symlink() or status.st_uid != os.getuid() or status.st_mode & 0o077:
        raise ServeError(f"{folder} is not this user's own folder: remove it")
    # One at a time: the others wait here until the server runs.
    with _locked(folder):
        lease, found = _join(folder / f"{name}.json") or _start(folder / f"{name}.json", order)
    try:
        yield found
    finally:
        os.close(lease)


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Keep servers from starting and ending while the block runs."""
    with open(folder / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _join(file: Path) -> tuple[int, int] | None:
    """A lease on a running server, and its port; None if there is none or it is about to end."""
    try:
        lease = os.open(file, os.O_RDONLY)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(lease, fcntl.LOCK_SH | fcntl.LOCK_NB)
        state = json.loads(os.pread(lease, 1000, 0))
        # A killed server leaves its file, and another process may have its pid now.
        if b"\0" + os.fsencode(file) + b"\0" in Path(f"/proc/{state['pid']}/cmdline").read_bytes():
            return lease, int(state["port"])
    except (OSError, ValueError, KeyError):
        pass
    os.close(lease)
    return None


def _start(file: Path, order: Mapping[str, Any]) -> tuple[int, int]:
    """A new server's lease and port. Raises ServeError."""
    file.unlink(missing_ok=True)
    # Take the lease before the server starts, so that it does not end at once.
    lease = os.open(file, os.O_RDONLY | os.O_CREAT | os.O_EXCL, 0o600)
    fcntl.flock(lease, fcntl.LOCK_SH)
    try:
        server = subprocess.Popen(
            [sys.executable, "-I", __file__, str(file)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        orders, answers = cast(IO[bytes], server.stdin), cast(IO[bytes], server.stdout)
        with orders, answers:
            orders.write(json.dumps(order).encode())
            orders.close()
            answer = json.loads(answers.readline() or "{}")
        if "port" not in answer:
            raise ServeError(str(answer.get("error", "it ended at once")))
        return lease, int(answer["port"])
    except BaseException:
        os.close(lease)
        raise


# --- the server's own process -----------------------------------------------------------------------------------------


class _Server(socketserver.ThreadingMixIn, socketserver.TCPServer):
    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 256

    def __init__(self, store: str, files: Mapping[str, int], bind: str, port: int) -> None:
        self.store, self.files = store, files
        self.address_family = socket.AF_INET6 if ":" in bind else socket.AF_INET
        super().__init__((bind, port), _Handler)

    def handle_error(self, request: object, client_address: object) -> None:
        """A host that disconnects is no error."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "voicefleet"
    sys_version = ""
    timeout = 60
    server: _Server

    def do_GET(self) -> None:
        path = urllib.parse.unquote(urllib.parse.urlsplit(self.path).path).lstrip("/")
        size = self.server.files.get(path)
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", "bytes=0-"))
        if size is None:
            self.send_error(HTTPStatus.NOT_FOUND, "Not a file of this manifest")
            return
        first, last = (int(wanted[1]), min(int(wanted[2] or size), size - 1)) if wanted else (0, size - 1)
        if first > last and size:
            self.send_error(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE)
            return
        file = os.path.join(self.server.store, path)
        if not os.access(file, os.R_OK):
            self.send_error(HTTPStatus.NOT_FOUND, "The store no longer has this file")
            return
        with open(file, "rb") as handle:
            partial = wanted is not None and "Range" in self.headers
            self.send_response(HTTPStatus.PARTIAL_CONTENT if partial else HTTPStatus.OK)
            self.send_header("Content-Length", str(last - first + 1))
            self.send_header("Content-Type", "application/octet-stream")
            self.send_header("Accept-Ranges", "bytes")
            if partial:
                self.send_header("Content-Range", f"bytes {first}-{last}/{size}")
            self.end_headers()
            if last >= first:
                self.connection.sendfile(handle, first, last - first + 1)
            self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:
        """No log: the task reports what arrives."""


def _bound(order: Mapping[str, Any]) -> _Server:
    """The server at its address. A server for another store may hold the address until it ends. Raises OSError."""
    until = time.monotonic() + 2 * LINGER
    while True:
        try:
            return _Server(order["store"], order["files"], order["bind"], order["port"])
        except OSError as error:
            if error.errno != errno.EADDRINUSE or time.monotonic() > until:
                raise
            time.sleep(0.5)


def _nobody(lease: int) -> bool:
    """Whether no host holds a lease. If so, none gets one until this lock is released."""
    try:
        fcntl.flock(lease, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def main() -> None:
    """Serve the order from standard input, print the port or an error, and end when nobody holds a lease."""
    file = Path(sys.argv[1])
    order = json.load(sys.stdin)
    try:
        server = _bound(order)
    except (OSError, OverflowError) as error:
        print(json.dumps({"error": f"{order['bind']} port {order['port']}: {error}"}), flush=True)
        return
    port = server.server_address[1]
    lease = os.open(file, os.O_RDWR)
    os.write(lease, json.dumps({"pid": os.getpid(), "port": port}).encode())
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(json.dumps({"port": port}), flush=True)
    # Nobody reads any further output.
    os.close(sys.stdout.fileno())
    alone = 0.0
    while True:
        time.sleep(0.5)
        alone = alone + 0.5 if _nobody(lease) else 0.0
        fcntl.flock(lease, fcntl.LOCK_UN)
        if alone >= LINGER:
            with _locked(file.parent):
                if _nobody(lease):
                    file.unlink(missing_ok=True)
                    return


if __name__ == "__main__":
    main()
