# SPDX-License-Identifier: GPL-3.0-or-later
"""Fetch files of a store over HTTP in slices of a few seconds, and resume each file at the byte where it stopped.

Never use a proxy, whatever the environment says: the server is on the hosts' side of the gap. Nothing that arrives is
trusted here; :mod:`artifacts` hashes it before it moves it into place.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import http.client
import io
import os
import socket
import ssl
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import IO, Any

from ..host.hashing import LIMIT

CHUNK = 1 << 20
# A server that sends nothing for this long has stalled.
TIMEOUT = 30.0
# A request that began in a slice may end so many seconds after it.
GRACE = 5.0
# Bytes a second. A server without ranges must send a whole file in one slice, at least this fast.
SLOWEST = 100_000
# Of headers and of the body of a redirect, which urllib reads whole.
HEAD_BYTES = 4 << 20
# Whatever a server sends, it must not end in a traceback.
FAILURES = (OSError, http.client.HTTPException, ValueError)


class SourceError(Exception):
    """The address is invalid, or the server does not answer like one that has a store; the message says why."""


class Unreachable(SourceError):
    """The server did not answer. Another machine may still reach it."""


@dataclass(frozen=True)
class Source:
    """Where a store is served: address of the folder that holds ``manifest.json``, login, CA certificates as PEM."""

    url: str
    user: str = ""
    password: str = field(default="", repr=False)
    ca: str = field(default="", repr=False)
    timeout: float = TIMEOUT


@dataclass
class Slice:
    """Result of one slice: bytes of files, bytes including HTTP headers, and what went wrong.

    ``left`` holds the digests of files that are not complete yet. ``refused`` says, by digest, why the server does not
    send a file. ``error`` is set if the slice ended early.
    """

    arrived: int = 0
    wire: int = 0
    left: list[str] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)
    error: str = ""


def check_url(url: str) -> str:
    """Return the address without a final slash. Raises SourceError if it cannot lead to a store."""
    if "@" in url:
        raise SourceError(
            "the address contains a user or a password, which logs would show. Set artifacts_http_user and "
            "artifacts_http_password instead"
        )
    try:
        parts = urllib.parse.urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise SourceError(f"{url!r} is not a valid address: {error}") from None
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0:
        raise SourceError(f"{url!r} is not a valid address. It should look like http://server:8080/store")
    if parts.query or parts.fragment or any(character.isspace() for character in url):
        raise SourceError(f"{url!r} contains a query, a fragment or a space. Name the folder that holds manifest.json")
    return url.rstrip("/")


class Deadline:
    """Cuts the connections that are made in the block at a time, whatever the other end sends until then.

    A timeout of a socket begins anew with each byte, so headers that arrive byte by byte would outlast it.
    """

    def __init__(self, seconds: float) -> None:
        self.passed = False
        self.socket: socket.socket | None = None
        self.end = time.monotonic() + seconds
        self.timer = threading.Timer(max(0.0, seconds), self._cut)
        self.timer.daemon = True

    def __enter__(self) -> Deadline:
        self.timer.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self.timer.cancel()
        self._forget()

    def extend(self, seconds: float) -> None:
        """Cut so many seconds from now instead."""
        self.timer.cancel()
        self.timer = threading.Timer(seconds, self._cut)
        self.timer.daemon = True
        self.timer.start()

    def watch(self, connection: socket.socket) -> None:
        """Take a new connection. TLS moves it into another object, so keep a descriptor of our own."""
        self._forget()
        self.socket = connection.dup()
        if self.passed:
            self._cut()

    def _cut(self) -> None:
        self.passed = True
        if self.socket is not None:
            with contextlib.suppress(OSError):
                self.socket.shutdown(socket.SHUT_RDWR)

    def _forget(self) -> None:
        if self.socket is not None:
            self.socket.close()
        self.socket = None


class _Reader(io.RawIOBase):
    """What arrives on a connection until the deadline. A cut connection still gives what the other end sends.

    ``room`` is how many bytes may come before the body; None in the body, whose reader counts.
    """

    def __init__(self, raw: io.RawIOBase, deadline: Deadline) -> None:
        super().__init__()
        self.raw, self.deadline = raw, deadline
        self.room: int | None = HEAD_BYTES

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> Any:
        if self.deadline.passed:
            raise TimeoutError("timed out")
        count = self.raw.readinto(buffer)
        if self.room is not None:
            self.room -= count or 0
            if self.room < 0:
                raise http.client.HTTPException("its headers or its redirect are endless")
        return count

    def close(self) -> None:
        self.raw.close()
        super().close()


def _open(source: Source, path: str, headers: Mapping[str, str], deadline: Deadline) -> http.client.HTTPResponse:
    """Request a file of the store. Raises FAILURES (HTTPError for an error status)."""

    class Response(http.client.HTTPResponse):
        def __init__(self, *arguments: Any, **named: Any) -> None:
            super().__init__(*arguments, **named)
            self.reader = _Reader(self.fp.detach(), deadline)
            self.fp = io.BufferedReader(self.reader)

    class Plain(http.client.HTTPConnection):
        response_class = Response

        def connect(self) -> None:
            super().connect()
            deadline.watch(self.sock)

    class Tls(http.client.HTTPSConnection, Plain):
        """Its connection is watched before the handshake."""

    class Handler(urllib.request.HTTPHandler):
        def http_open(self, req: urllib.request.Request) -> Any:
            return self.do_open(Plain, req)

        def https_open(self, req: urllib.request.Request) -> Any:
            return self.do_open(Tls, req, context=ssl.create_default_context(cadata=source.ca or None))

        https_request = urllib.request.HTTPHandler.http_request

    # No handlers of proxies, files and FTP: a redirect cannot lead there.
    opener = urllib.request.OpenerDirector()
    for handler in (
        Handler(),
        urllib.request.HTTPRedirectHandler(),
        urllib.request.HTTPErrorProcessor(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.UnknownHandler(),
    ):
        opener.add_handler(handler)
    request = urllib.request.Request(f"{source.url}/{urllib.parse.quote(path)}", headers=dict(headers))
    if source.user or source.password:
        token = base64.b64encode(f"{source.user}:{source.password}".encode()).decode()
        # Do not send it to another server after a redirect.
        request.add_unredirected_header("Authorization", f"Basic {token}")
    timeout = max(0.1, min(source.timeout, deadline.end - time.monotonic()))
    response: Response = opener.open(request, timeout=timeout)
    response.reader.room = None
    return response


def _reason(error: Exception) -> str:
    if isinstance(error, urllib.error.HTTPError):
        return f"HTTP {error.code} {error.reason}"
    reason = getattr(error, "reason", None) or error
    if isinstance(reason, (TimeoutError, OSError)) and "timed out" in str(reason):
        return "no answer in time"
    if isinstance(reason, OSError) and reason.strerror:
        return reason.strerror
    return str(reason) or type(reason).__name__


def manifest_digest(source: Source) -> str:
    """Return the SHA-256 of the server's manifest. Raises SourceError, or Unreachable if there is no answer."""
    digest, size = hashlib.sha256(), 0
    try:
        with Deadline(2 * source.timeout) as deadline, _open(source, "manifest.json", {}, deadline) as response:
            while size <= LIMIT:
                block = response.read1(CHUNK)
                if deadline.passed:
                    raise TimeoutError("timed out")
                if not block:
                    return digest.hexdigest()
                digest.update(block)
                size += len(block)
        raise SourceError(f"{source.url}/manifest.json has more than {LIMIT} bytes: it is not the manifest of a store")
    except urllib.error.HTTPError as error:
        error.close()
        hints = {401: " (check artifacts_http_user, artifacts_http_password)", 404: " (is this the store's folder?)"}
        raise SourceError(f"{source.url}/manifest.json: {_reason(error)}{hints.get(error.code, '')}") from None
    except FAILURES as error:
        if isinstance(error, ssl.SSLError) or isinstance(getattr(error, "reason", None), ssl.SSLError):
            advice = "If a CA of your own signed the certificate, set artifacts_http_ca"
            raise SourceError(f"{source.url}: {_reason(error)}. {advice}") from None
        raise Unreachable(f"{source.url} does not answer: {_reason(error)}") from None


def fetch(source: Source, artifacts: Iterable[Mapping[str, Any]], incoming: str, seconds: float) -> Slice:
    """Fetch artifacts (``sha256``, ``path``, ``size``) into ``<incoming>/<sha256>.part``, for about ``seconds``.

    Raises OSError if the host's own disk fails.
    """
    done = Slice()
    until = time.monotonic() + seconds
    for artifact in sorted(artifacts, key=lambda row: str(row["path"])):
        sha256, size = artifact["sha256"], artifact["size"]
        if time.monotonic() >= until or done.error:
            done.left.append(sha256)
            continue
        descriptor = os.open(os.path.join(incoming, sha256 + ".part"), os.O_WRONLY | os.O_CREAT, 0o600)
        with os.fdopen(descriptor, "wb") as handle:
            have = os.fstat(descriptor).st_size
            if have < size:
                have = _fetch_file(source, artifact, handle, have, until, done)
        if have < size and sha256 not in done.refused:
            done.left.append(sha256)
    return done


def _fetch_file(
    source: Source, artifact: Mapping[str, Any], handle: IO[bytes], have: int, until: float, done: Slice
) -> int:
    """Resume a file at byte ``have`` and return how many bytes it has now. Raises OSError only for the host's disk."""
    with Deadline(until - time.monotonic() + GRACE) as deadline:
        now = _request_file(source, artifact, handle, have, until, done, deadline)
        if deadline.passed and now == have:
            done.error = "no answer in time"
        elif deadline.passed:
            # Enough for this slice. The next one continues.
            done.error = ""
    return now


def _request_file(
    source: Source,
    artifact: Mapping[str, Any],
    handle: IO[bytes],
    have: int,
    until: float,
    done: Slice,
    deadline: Deadline,
) -> int:
    size = artifact["size"]
    try:
        # Always request a range: the answer then shows whether the server can resume in the middle of a file.
        headers = {"Range": f"bytes={have}-", "Accept-Encoding": "identity"}
        response = _open(source, artifact["path"], headers, deadline)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code >= 500:
            done.error = f"{artifact['path']}: {_reason(error)}"
        else:
            done.refused[artifact["sha256"]] = _reason(error)
        return have
    except FAILURES as error:
        done.error = _reason(error)
        return have
    with response:
        done.wire += len(str(response.headers)) + len(f"HTTP/1.1 {response.status} {response.reason}\r\n")
        ranged = response.status == 206
        if ranged and not str(response.headers.get("Content-Range", "")).startswith(f"bytes {have}-"):
            done.error = f"{artifact['path']}: the server sent a different part than requested"
            return have
        if not ranged:
            # The server sends the whole file, so read all of it: in slices it would start over each time.
            deadline.extend(source.timeout + size / SLOWEST)
            have = 0
            handle.truncate(0)
        handle.seek(have)
        while have < size:
            try:
                block = response.read1(min(CHUNK, size - have))
            except FAILURES as error:
                done.error = _reason(error)
                return have
            if not block:
                done.error = f"the connection ended {(size - have) / 1e6:.1f} MB before the end of {artifact['path']}"
                return have
            handle.write(block)
            have += len(block)
            done.arrived += len(block)
            done.wire += len(block)
            if ranged and time.monotonic() >= until:
                break
        return have
