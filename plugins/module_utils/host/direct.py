# SPDX-License-Identifier: GPL-3.0-or-later
"""Requests to hosts of the fleet: without a proxy, and without redirects, which could carry a key elsewhere.

A peer may be broken or hostile. So a request has one limit of time, from the connection to the last byte of the answer,
and one of bytes. Headers that come byte by byte, endless chunks and endless "100 Continue" end at these limits too.
Only the look-up of a name has its own limit, the resolver's.
"""

from __future__ import annotations

import contextlib
import http.client
import io
import socket
import ssl
import time
import urllib.parse
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

ERROR_BYTES = 1 << 16  # of the body of an error answer; the rest is not read
_BLOCK = 1 << 16


class PeerError(Exception):
    """There is no usable answer. The text says what the server did, without subject and full stop.

    ``kind`` is ``refused``, ``timeout``, ``unreachable`` (no connection, or it broke) or ``odd``.
    """

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


@dataclass(frozen=True)
class Answer:
    """One answer, whatever its status. Of an error answer, ``data`` may be only a part."""

    status: int
    reason: str
    content_type: str
    data: bytes
    first_byte_seconds: float  # until the headers were complete
    seconds: float  # until the last byte

    @property
    def good(self) -> bool:
        return 200 <= self.status < 300


def left(end: float) -> float:
    """Return the seconds until a moment of the monotonic clock. Raises socket.timeout if it has passed."""
    seconds = end - time.monotonic()
    if seconds <= 0:
        raise socket.timeout("timed out")
    return seconds


class _Wire(io.RawIOBase):
    """What a socket receives, until a moment and up to a number of bytes."""

    def __init__(self, sock: socket.socket, end: float, most: int) -> None:
        self._sock, self._end, self._room = sock, end, most

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        self._sock.settimeout(left(self._end))
        count = self._sock.recv_into(buffer)
        self._room -= count
        if self._room < 0:
            raise http.client.HTTPException("its headers or chunks are endless")
        return count


def receive(sock: socket.socket, method: str, end: float, most: int) -> http.client.HTTPResponse:
    """Return the answer on a socket; its headers are read. ``most`` limits the body. Raises OSError, HTTPException."""
    answer = http.client.HTTPResponse(sock, method=method)
    answer.fp.close()
    answer.fp = io.BufferedReader(_Wire(sock, end, 2 * most + (1 << 20)))
    try:
        answer.begin()
    except BaseException:
        answer.close()
        raise
    return answer


def place(url: str) -> urllib.parse.SplitResult:
    """Return the parts of an address. Raises PeerError if no request can go there."""
    try:
        parts = urllib.parse.urlsplit(url)
        usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0 and "@" not in parts.netloc
    except ValueError:
        usable = None
    if not usable or not url.isprintable() or " " in url:
        raise PeerError("odd", f"cannot be asked: {url!r} is not an address such as http://127.0.0.1:9997")
    return parts


def _connect(host: str, port: int, end: float) -> socket.socket:
    failure = OSError("its name has no address")
    for family, kind, protocol, _name, address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
        sock = socket.socket(family, kind, protocol)
        try:
            sock.settimeout(left(end))
            sock.connect(address)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except OSError as error:
            sock.close()
            failure = error
        else:
            return sock
    raise failure


def _parts(sock: socket.socket, body: bytes, end: float) -> Iterator[bytes]:
    """Yield a body in blocks, and give each the time that is left."""
    for at in range(0, len(body), _BLOCK):
        sock.settimeout(left(end))
        yield body[at : at + _BLOCK]


def _body(answer: http.client.HTTPResponse, most: int) -> bytes:
    data = bytearray()
    while True:
        part = answer.read(_BLOCK)
        data += part
        if len(data) > most:
            raise PeerError("odd", f"sent more than {most >> 20} MiB")
        if not part:
            break
    if answer.length:
        raise PeerError("odd", f"broke off after {len(data)} of {len(data) + answer.length} bytes")
    return bytes(data)


def _start(answer: http.client.HTTPResponse) -> bytes:
    """Return the first bytes of an error answer. Its status counts, so a broken body is no further error."""
    data = bytearray()
    most = ERROR_BYTES if answer.length is None else min(ERROR_BYTES, answer.length)
    with contextlib.suppress(OSError, http.client.HTTPException, ValueError):
        while len(data) < most:
            part = answer.read1(most - len(data))
            if not part:
                break
            data += part
    return bytes(data)


def ask(
    method: str,
    url: str,
    seconds: float,
    most: int,
    headers: Mapping[str, str] | None = None,
    body: bytes | None = None,
    context: ssl.SSLContext | None = None,
    server_name: str | None = None,
) -> Answer:
    """Send one request and return the answer, within ``seconds`` and with ``most`` bytes of body. Raises PeerError.

    ``context`` verifies the server's certificate. ``server_name`` is the name in it, if the address has another.
    """
    begin = time.monotonic()
    end = begin + seconds
    parts = place(url)
    host, tls = str(parts.hostname), parts.scheme == "https"
    port = parts.port or (443 if tls else 80)
    path = urllib.parse.urlunsplit(("", "", parts.path or "/", parts.query, ""))
    known = {"Connection": "close", **(headers or {})}
    if body is not None:
        known["Content-Length"] = str(len(body))
    try:
        with contextlib.ExitStack() as stack:
            sock = stack.enter_context(_connect(host, port, end))
            if tls:
                sock.settimeout(left(end))
                trust = context or ssl.create_default_context()
                sock = stack.enter_context(trust.wrap_socket(sock, server_hostname=server_name or host))
            connection = http.client.HTTPConnection(host, port)
            connection.sock = sock
            sock.settimeout(left(end))
            connection.request(method, path, None if body is None else _parts(sock, body, end), known)
            answer = stack.enter_context(contextlib.closing(receive(sock, method, end, most)))
            first = time.monotonic() - begin
            data = _body(answer, most) if 200 <= answer.status < 300 else _start(answer)
            kind = answer.headers.get_content_type()
            return Answer(answer.status, answer.reason, kind, data, first, time.monotonic() - begin)
    except (socket.timeout, TimeoutError):
        raise PeerError("timeout", f"did not answer within {seconds:g} s") from None
    except ConnectionRefusedError as error:
        raise PeerError("refused", f"refused the connection: {error}") from None
    except OSError as error:
        raise PeerError("unreachable", f"cannot be reached: {error}") from None
    except (http.client.HTTPException, ValueError, ArithmeticError) as error:
        said = f"{type(error).__name__} {error}".strip()[:200]
        raise PeerError("odd", f"does not speak HTTP properly: {said}") from None
