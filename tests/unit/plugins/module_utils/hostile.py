# SPDX-License-Identifier: GPL-3.0-or-later
"""A server that answers each request with prepared bytes, in any pace and without end if a test wants so."""

from __future__ import annotations

import contextlib
import re
import socket
import threading
import time
from collections.abc import Iterable, Iterator
from typing import Callable

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: audio/wav\r\n"


def slowly(data: bytes, pause: float = 0.05) -> Iterator[bytes]:
    """One byte at a time."""
    for number in range(len(data)):
        yield data[number : number + 1]
        time.sleep(pause)


def forever(data: bytes, first: bytes = b"") -> Iterator[bytes]:
    """The same bytes again and again."""
    yield first
    block = data * (1 + (1 << 16) // len(data))
    while True:
        yield block


def _body_slowly() -> Iterator[bytes]:
    yield HEAD + b"Content-Length: 5000\r\n\r\n"
    yield from slowly(bytes(5000))


def _error_slowly() -> Iterator[bytes]:
    yield b"HTTP/1.1 500 Oops\r\nContent-Length: 5000\r\n\r\n"
    yield from slowly(b"x" * 5000)


# Answers that are not a whole answer of HTTP, or come too slowly. Each is a function, so that it can be given twice.
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
ANSWERS: dict[str, Callable[[], Iterable[bytes]]] = {
    "a header byte by byte": lambda: slowly(HEAD * 100),
    "a body byte by byte": _body_slowly,
    "an error's body byte by byte": _error_slowly,
    "100 Continue without end": lambda: forever(b"HTTP/1.1 100 Continue\r\n\r\n"),
    "chunks without end": lambda: forever(b"1000\r\n" + bytes(4096) + b"\r\n", CHUNKED),
    "chunks of one byte": lambda: forever(b"1\r\nx\r\n", CHUNKED),
    "trailers without end": lambda: forever(b"A: b\r\n", CHUNKED + b"0\r\n"),
    "a body without end": lambda: forever(bytes(4096), HEAD + b"\r\n"),
    "headers without end": lambda: forever(b"A: b\r\n", HEAD),
    "a line without end": lambda: forever(b"x"),
    "nothing": lambda: [],
    "an empty line": lambda: [b"\r\n\r\n"],
    "another protocol": lambda: [b"SSH-2.0-OpenSSH_9.2\r\n"],
    "a status that is no number": lambda: [b"HTTP/1.1 OK\r\n\r\n"],
    "a chunk with a bad size": lambda: [CHUNKED + b"zz\r\n"],
    "a chunk with a negative size": lambda: [CHUNKED + b"-5\r\nabc"],
    "a chunk that is cut": lambda: [CHUNKED + b"ff\r\nabc"],
    "a chunk of 10^30 bytes": lambda: [CHUNKED + b"f" * 30 + b"\r\nabc"],
    "a body that is cut": lambda: [HEAD + b"Content-Length: 99\r\n\r\nabc"],
    "a body of 10^30 bytes": lambda: [HEAD + b"Content-Length: 1" + b"0" * 30 + b"\r\n\r\nabc"],
    "JSON that is nested too deeply": lambda: [HEAD + b"\r\n" + b"[" * 200_000],
}


def _read_request(connection: socket.socket) -> None:
    data = b""
    while b"\r\n\r\n" not in data:
        data += connection.recv(1 << 16) or b"\r\n\r\n"
    head, _end, body = data.partition(b"\r\n\r\n")
    length = re.search(rb"Content-Length: (\d+)", head)
    missing = int(length[1]) - len(body) if length else 0
    while missing > 0:
        missing -= len(connection.recv(1 << 16)) or missing


@contextlib.contextmanager
def serving(*answers: Iterable[bytes]) -> Iterator[str]:
    """Give one answer to each connection, the last one without end; yield the server's address."""
    listener = socket.create_server(("127.0.0.1", 0))
    ended = threading.Event()

    def answer(connection: socket.socket, parts: Iterable[bytes]) -> None:
        with connection, contextlib.suppress(OSError):
            connection.settimeout(10)
            _read_request(connection)
            for part in parts:
                if ended.is_set():
                    return
                connection.sendall(part)

    def serve() -> None:
        waiting = list(answers)
        with contextlib.suppress(OSError):
            while True:
                connection, _address = listener.accept()
                parts = waiting.pop(0) if len(waiting) > 1 else waiting[0]
                threading.Thread(target=answer, args=(connection, parts), daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        ended.set()
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
