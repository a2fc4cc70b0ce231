# SPDX-License-Identifier: GPL-3.0-or-later
"""Fetch files of a store over HTTP in slices of a few seconds, and resume each file at the byte where it stopped.

Never use a proxy, whatever the environment says: the server is on the hosts' side of the gap. Nothing that arrives is
trusted here; :mod:`artifacts` hashes it before it moves it into place.
"""

from __future__ import annotations

import base64
import hashlib
import http.client
import os
import ssl
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import IO, Any

CHUNK = 1 << 20
# A server that sends nothing for this long has stalled.
TIMEOUT = 30.0


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


def _open(source: Source, path: str, headers: Mapping[str, str]) -> http.client.HTTPResponse:
    """Request a file of the store. Raises OSError (HTTPError for an error status), HTTPException."""
    context = ssl.create_default_context(cadata=source.ca or None)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context))
    request = urllib.request.Request(f"{source.url}/{urllib.parse.quote(path)}", headers=dict(headers))
    if source.user or source.password:
        token = base64.b64encode(f"{source.user}:{source.password}".encode()).decode()
        # Do not send it to another server after a redirect.
        request.add_unredirected_header("Authorization", f"Basic {token}")
    response: http.client.HTTPResponse = opener.open(request, timeout=source.timeout)
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
    digest = hashlib.sha256()
    try:
        with _open(source, "manifest.json", {}) as response:
            while True:
                block = response.read(CHUNK)
                if not block:
                    return digest.hexdigest()
                digest.update(block)
    except urllib.error.HTTPError as error:
        error.close()
        hints = {401: " (check artifacts_http_user, artifacts_http_password)", 404: " (is this the store's folder?)"}
        raise SourceError(f"{source.url}/manifest.json: {_reason(error)}{hints.get(error.code, '')}") from None
    except (OSError, http.client.HTTPException) as error:
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
    size = artifact["size"]
    try:
        # Always request a range: the answer then shows whether the server can resume in the middle of a file.
        response = _open(source, artifact["path"], {"Range": f"bytes={have}-", "Accept-Encoding": "identity"})
    except urllib.error.HTTPError as error:
        error.close()
        if error.code >= 500:
            done.error = f"{artifact['path']}: {_reason(error)}"
        else:
            done.refused[artifact["sha256"]] = _reason(error)
        return have
    except (OSError, http.client.HTTPException) as error:
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
            have = 0
            handle.truncate(0)
        handle.seek(have)
        while have < size:
            try:
                block = response.read(min(CHUNK, size - have))
            except (OSError, http.client.HTTPException) as error:
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
