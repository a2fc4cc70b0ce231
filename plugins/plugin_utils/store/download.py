# SPDX-License-Identifier: GPL-3.0-or-later
"""Download files in parallel, with resume and retry. A file is kept only if its hash is right.

A download may be interrupted at any moment. Files are cached by digest, and many stores share the cache, so nothing is
fetched twice. urllib reads proxies and private CAs from the environment (``https_proxy``, ``no_proxy``,
``SSL_CERT_FILE``).
"""

from __future__ import annotations

import base64
import contextlib
import email.utils
import fcntl
import html.parser
import http.client
import io
import netrc
import os
import re
import shutil
import tempfile
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ...module_utils.host.hashing import Memo, digest_files, sha256_file
from ...module_utils.proxy import probe as proxy_probe

CHUNK = 1 << 20
_INDEX = "index+"
TIMEOUT = 60
# A server that sends less than this in TIMEOUT seconds has stalled.
LEAST = 60_000
# What a server may send, and for how long, before the first byte of a file and between two blocks of it. So headers,
# chunks, trailers and "100 Continue" end too, however they come.
BETWEEN_BYTES = 4 << 20
BETWEEN_SECONDS = 2 * TIMEOUT
# The limit of a file whose size neither the lock nor the catalogue states. The largest, a wheel of torch, has 0.9 GB.
LARGEST = 4 << 30
# The limit of a page of a package index. The largest of PyPI has 20 MB.
LARGEST_PAGE = 64 << 20
ATTEMPTS = 4
# A server that limits requests says how long to wait. No longer than this.
LONGEST_PAUSE = 300.0
# The hub's token and its own address, in the variables that the hub's programs read.
HUB, HUB_TOKEN, HUB_ADDRESS = "huggingface.co", "HF_TOKEN", "HF_ENDPOINT"
# Retrying does not change these answers.
FINAL_STATUS = (400, 401, 403, 404, 405, 407, 410, 451, 511)
# Of the failures caused by a proxy or a certificate, these may pass on a retry.
PASSING = ("PROXY_DEAD", "PROXY_TARGET", "TLS")


class DownloadError(Exception):
    """A file that could not be downloaded, with its address and the reason."""


@dataclass(frozen=True)
class Wanted:
    """One file: its name, its sources (tried in order) and its required digest.

    ``sha256`` is None only for files from a local folder that says they are not the published ones. ``size`` is in
    bytes, 0 if unknown. No more than that is downloaded.
    """

    name: str
    sources: tuple[str, ...]
    sha256: str | None
    size: int = 0


@dataclass(frozen=True)
class Obtained:
    """A cached file: its digest, its size in bytes and its source."""

    path: Path
    sha256: str
    size: int
    source: str


def without_credentials(url: str) -> str:
    """The URL without user, password, query and fragment, safe to print."""
    parts = urllib.parse.urlsplit(url)
    host = parts.hostname or ""
    if parts.port is not None:
        host = f"{host}:{parts.port}"
    return urllib.parse.urlunsplit((parts.scheme, host, parts.path, "", ""))


def local_path(source: str) -> Path | None:
    """The local file named by a ``file://`` URL or a plain path; None for anything on a network."""
    parts = urllib.parse.urlsplit(source)
    if parts.scheme == "file":
        return Path(urllib.request.url2pathname(parts.path))
    return Path(source) if not parts.scheme else None


def on_index(index: str, project: str, filename: str) -> str:
    """A source that stands for a project's file on a package index. The index page is read when the file is needed."""
    return f"{_INDEX}{project_page(index, project)}#{urllib.parse.quote(filename)}"


def project_page(index: str, project: str) -> str:
    """The address of a project's page on a package index."""
    name = re.sub(r"[-_.]+", "-", project).lower()
    return f"{index.rstrip('/')}/{name}/"


class _Wire(io.RawIOBase):
    """What arrives on a connection: so many bytes and seconds until :meth:`renew`."""

    def __init__(self, raw: io.RawIOBase) -> None:
        self.raw = raw
        self.renew()

    def renew(self) -> None:
        self.room, self.end = BETWEEN_BYTES, time.monotonic() + BETWEEN_SECONDS

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> Any:
        if time.monotonic() > self.end:
            raise TimeoutError(f"its headers or chunks take more than {BETWEEN_SECONDS:g} s")
        count = self.raw.readinto(buffer)
        self.room -= count or 0
        if self.room < 0:
            raise http.client.HTTPException("its headers or chunks are endless")
        return count

    def close(self) -> None:
        self.raw.close()
        super().close()


class _Answer(http.client.HTTPResponse):
    """An answer whose headers, chunks and trailers have a limit. Answers of a proxy are of this kind too."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.wire = _Wire(self.fp.detach())
        self.fp = io.BufferedReader(self.wire)


class _Plain(http.client.HTTPConnection):
    response_class = _Answer


class _Tls(http.client.HTTPSConnection):
    response_class = _Answer


class _Handler(urllib.request.HTTPHandler):
    def http_open(self, req: urllib.request.Request) -> Any:
        return self.do_open(_Plain, req)

    def https_open(self, req: urllib.request.Request) -> Any:
        return self.do_open(_Tls, req)

    https_request = urllib.request.HTTPHandler.http_request


def _open(request: urllib.request.Request) -> _Answer:
    """The answer to a request, through the proxy of the environment. Raises OSError, HTTPException, ValueError."""
    # A new opener reads the current proxy variables. It has no handlers of files and FTP: a redirect cannot lead there.
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        _Handler(),
        urllib.request.HTTPRedirectHandler(),
        urllib.request.HTTPErrorProcessor(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.UnknownHandler(),
    ):
        opener.add_handler(handler)
    answer: _Answer = opener.open(request, timeout=TIMEOUT)
    answer.wire.renew()
    return answer


def _request(url: str, headers: Mapping[str, str]) -> urllib.request.Request:
    """A request with credentials from its URL or ``~/.netrc``. A redirect never carries them on."""
    parts = urllib.parse.urlsplit(url)
    login = (urllib.parse.unquote(parts.username or ""), urllib.parse.unquote(parts.password or ""))
    if parts.username is None:
        with contextlib.suppress(OSError, netrc.NetrcParseError):
            known = netrc.netrc().authenticators(parts.hostname or "")
            login = (known[0] or "", known[2] or "") if known else login
    clean = urllib.parse.urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
    request = urllib.request.Request(clean, headers={"User-Agent": "voicefleet.kokoro", **headers})
    if any(login):
        token = base64.b64encode(":".join(login).encode()).decode()
        request.add_unredirected_header("Authorization", f"Basic {token}")
    elif os.environ.get(HUB_TOKEN) and _is_hub(parts):
        request.add_unredirected_header("Authorization", f"Bearer {os.environ[HUB_TOKEN].strip()}")
    return request


def _is_hub(parts: urllib.parse.SplitResult) -> bool:
    """Whether an address is the model hub's, over TLS."""
    own = urllib.parse.urlsplit(os.environ.get(HUB_ADDRESS, "")).hostname
    return parts.scheme == "https" and parts.hostname in {HUB, own}


def _wait_of(error: urllib.error.HTTPError) -> float:
    """The seconds that a server asks to wait, 0 if it does not ask. It sends a number or a date."""
    text = (error.headers.get("Retry-After") or "").strip()
    if text.isdecimal():
        return float(text[:9])
    with contextlib.suppress(ValueError, TypeError):
        return max(0.0, email.utils.parsedate_to_datetime(text).timestamp() - time.time())
    return 0.0


def _limited(error: urllib.error.HTTPError, url: str, reason: str) -> str:
    """The reason of a failure, with what helps if the server limits requests."""
    if error.code != 429:
        return reason
    token = f", or set {HUB_TOKEN}" if _is_hub(urllib.parse.urlsplit(url)) and not os.environ.get(HUB_TOKEN) else ""
    return f"{reason}: the server limits requests. Run the fetch again later{token}"


class _Links(html.parser.HTMLParser):
    """The links on an index page."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "a":
            self.addresses += [value for name, value in attrs if name == "href" and value]


def _origin(parts: urllib.parse.SplitResult) -> tuple[str, str, int | None]:
    """Scheme, host and port. Credentials belong to all three. Raises ValueError."""
    port = parts.port if parts.port is not None else {"http": 80, "https": 443}.get(parts.scheme)
    return parts.scheme, parts.hostname or "", port


def _body(response: _Answer, limit: int) -> bytes:
    """An answer of at most ``limit`` bytes. Raises DownloadError, OSError, HTTPException."""
    data = bytearray()
    for block in _blocks(response, limit):
        data += block
    if len(data) > limit:
        raise DownloadError(f"{without_credentials(response.url)}: the answer has more than {limit} bytes")
    return bytes(data)


def _blocks(response: _Answer, limit: int) -> Iterator[bytes]:
    """An answer in blocks, as they arrive, to the first byte behind the limit. Raises TimeoutError if it trickles."""
    left, since, got = limit + 1, time.monotonic(), 0
    while left and (block := response.read1(min(CHUNK, left))):
        response.wire.renew()
        left -= len(block)
        got += len(block)
        yield block
        if time.monotonic() - since > TIMEOUT:
            if got < LEAST:
                raise TimeoutError(f"only {got} bytes arrived in {TIMEOUT} s")
            since, got = time.monotonic(), 0


def _on_page(page: str, base: str, text: str, wanted: str) -> str | None:
    """The URL of a file that the text of an index page lists; None if it does not list it. Raises ValueError."""
    links = _Links()
    links.feed(text)
    for address in links.addresses:
        path = urllib.parse.urlsplit(address).path
        if urllib.parse.unquote(path.rsplit("/", 1)[-1]) == urllib.parse.unquote(wanted):
            found = urllib.parse.urlsplit(urllib.parse.urljoin(base, address.split("#", 1)[0]))
            if found.scheme not in ("http", "https"):
                raise ValueError(f"it has a link to {found.scheme}:")
            asked = urllib.parse.urlsplit(page)
            if found.username is None:
                # Files on the index's own host need the same credentials as its page. No other place gets them.
                netloc = asked.netloc if _origin(found) == _origin(asked) else found.netloc
                if _origin(found) != _origin(asked) and (found.hostname == asked.hostname or found.scheme == "http"):
                    # ~/.netrc knows neither scheme nor port. An empty user keeps its login back.
                    netloc = f"@{found.netloc}"
                found = found._replace(netloc=netloc)
            return str(urllib.parse.urlunsplit(found))
    return None


def _page(url: str, accept: str, pause: Callable[[float], None]) -> tuple[str, str]:
    """The text of an index page, and the address that answered. Raises DownloadError, OSError, HTTPException."""
    for attempt in range(ATTEMPTS):
        try:
            with _open(_request(url, {"Accept": accept})) as response:
                return _body(response, LARGEST_PAGE).decode("utf-8", "replace"), response.url
        except urllib.error.HTTPError as error:
            wait = _wait_of(error)
            if attempt == ATTEMPTS - 1 or error.code not in (429, 503) or wait > LONGEST_PAUSE:
                raise
            error.close()
            pause(max(wait, 2.0**attempt))
    raise AssertionError("the loop returns or raises")


def page_text(page: str, accept: str, pause: Callable[[float], None] = time.sleep) -> tuple[str, str]:
    """The text of an index page, and the address that answered. Raises DownloadError."""
    try:
        return _page(page, accept, pause)
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise DownloadError(f"{without_credentials(page)}: {_reason(error, page)}") from error


def _resolved(source: str, pause: Callable[[float], None]) -> str:
    """The URL of a source. A source on an index is looked up on its page. Raises DownloadError, OSError."""
    if not source.startswith(_INDEX):
        return source
    page, _mark, wanted = source[len(_INDEX) :].partition("#")
    # Every index serves HTML, but some answer in JSON unless asked for HTML.
    text, address = page_text(page, "text/html", pause)
    try:
        found = _on_page(page, address, text, wanted)
    except (ValueError, AssertionError) as error:
        raise DownloadError(f"{without_credentials(page)}: {_reason(error, page)}") from error
    if found is None:
        raise DownloadError(f"{without_credentials(page)} does not list {urllib.parse.unquote(wanted)}")
    return found


class Cache:
    """Files by digest below ``folder``, next to unfinished downloads."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.partial = folder / "partial"
        self.partial.mkdir(parents=True, exist_ok=True)
        self.memo = Memo(str(folder / "memo.json"))

    def has(self, sha256: str) -> bool:
        """Whether the cache has the whole file. An altered file is dropped, because stores hard-link to the cache."""
        path = self.path_of(sha256)
        digest = digest_files([str(path)], self.memo, workers=1)[str(path)]
        if digest == sha256:
            return True
        path.unlink(missing_ok=True)
        return False

    def path_of(self, sha256: str) -> Path:
        return self.folder / "sha256" / sha256[:2] / sha256

    @contextlib.contextmanager
    def partial_of(self, sha256: str) -> Iterator[Path]:
        """The unfinished download of a file, which another fetch cannot touch meanwhile. It waits for the other."""
        path = self.partial / sha256
        while True:
            handle = open(path, "ab")  # noqa: SIM115  # closed below, or by the with statement
            fcntl.flock(handle, fcntl.LOCK_EX)
            # The other fetch may have moved or removed the file that we waited for.
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(handle.fileno()), os.stat(path)):
                    break
            handle.close()
        with handle:
            yield path

    def keep_copy(self, source: Path, sha256: str) -> Path:
        """Copy a file into the cache."""
        descriptor, name = tempfile.mkstemp(prefix=f"{sha256}.", dir=self.partial)
        os.close(descriptor)
        shutil.copyfile(source, name)
        os.chmod(name, 0o644)
        return self.keep(Path(name), sha256)

    def keep(self, temporary: Path, sha256: str) -> Path:
        target = self.path_of(sha256)
        target.parent.mkdir(parents=True, exist_ok=True)
        os.replace(temporary, target)
        return target


class Progress:
    """Counts bytes and files and reports them every few seconds."""

    def __init__(self, say: Callable[[str], None], files: int, size: int, every: float = 5.0) -> None:
        self.say, self.files, self.size, self.every = say, files, size, every
        self.done_files = self.done_bytes = 0
        self.started = self.told = time.monotonic()
        self.lock = threading.Lock()

    def add(self, size: int) -> None:
        with self.lock:
            self.done_bytes += size
            now = time.monotonic()
            if now - self.told >= self.every:
                self.told = now
                self._tell(now)

    def finish(self) -> None:
        with self.lock:
            self.done_files += 1

    def _tell(self, now: float) -> None:
        rate = self.done_bytes / max(now - self.started, 0.001) / 1e6
        of = f" of {self.size / 1e6:.0f}" if self.size else ""
        self.say(f"{self.done_files} of {self.files} files, {self.done_bytes / 1e6:.0f}{of} MB, {rate:.1f} MB/s")


def _way(url: str) -> tuple[str, str]:
    """The proxy that urllib uses for a URL, and the user it sends; both empty if there is none."""
    parts = urllib.parse.urlsplit(url)
    proxy = urllib.request.getproxies().get(parts.scheme, "")
    if not proxy or urllib.request.proxy_bypass(parts.netloc.rpartition("@")[2]):
        return "", ""
    return proxy, urllib.parse.unquote(urllib.parse.urlsplit(proxy).username or "")


def _named(error: Exception, url: str) -> proxy_probe.Finding | None:
    """How a proxy or a certificate caused a failure."""
    proxy, username = _way(url)
    return proxy_probe.reason_of(error, urllib.parse.urlsplit(url).hostname or "", proxy, username)


def _reason(error: Exception, url: str) -> str:
    finding = _named(error, url)
    if finding is not None:
        return finding.text
    if isinstance(error, urllib.error.HTTPError):
        return f"HTTP {error.code} {error.reason}"
    if isinstance(error, urllib.error.URLError):
        return str(error.reason)
    return str(error) or type(error).__name__


def _stream(url: str, partial: Path, progress: Progress | None, limit: int) -> None:
    """Download a URL into the existing file ``partial``, resuming an earlier attempt.

    Raises OSError, HTTPException, and DownloadError if there are more than ``limit`` bytes.
    """
    have = partial.stat().st_size
    span = {"Range": f"bytes={have}-"} if have else {}
    request = _request(url, {"Accept-Encoding": "identity", **span})
    try:
        response = _open(request)
    except urllib.error.HTTPError as error:
        if error.code != 416:
            raise
        # The server has nothing left to send. The digest decides whether the file is complete.
        error.close()
        return
    with response:
        resumed = have and response.status == 206
        expected = response.headers.get("Content-Length", "")
        got = 0
        # Not truncated by opening it anew: another fetch may wait for the lock on this very file.
        with open(partial, "r+b") as handle:
            handle.truncate(have if resumed else 0)
            handle.seek(0, os.SEEK_END)
            for block in _blocks(response, max(0, limit - handle.tell())):
                handle.write(block)
                got += len(block)
                if progress is not None:
                    progress.add(len(block))
            if handle.tell() > limit:
                handle.truncate(0)
                raise DownloadError(f"the server sends more than the {limit} bytes that the file may have")
        if expected.isdecimal() and got < int(expected[:20]):
            raise http.client.IncompleteRead(b"", int(expected[:20]) - got)


def _from_file(path: Path, wanted: Wanted, cache: Cache, public: str) -> Obtained:
    sha256 = sha256_file(str(path))
    if wanted.sha256 is not None and sha256 != wanted.sha256:
        raise DownloadError(f"{path} has sha256 {sha256}, but {wanted.sha256} is pinned")
    target = cache.path_of(sha256)
    if not cache.has(sha256):
        cache.keep_copy(path, sha256)
    return Obtained(target, sha256, target.stat().st_size, public)


def _from_url(
    url: str, wanted: Wanted, cache: Cache, progress: Progress | None, pause: Callable[[float], None]
) -> Obtained:
    if wanted.sha256 is None:
        raise DownloadError(f"{wanted.name}: a file from a network needs a pinned digest")
    with cache.partial_of(wanted.sha256) as partial:
        if cache.has(wanted.sha256):
            # Another fetch was faster.
            partial.unlink()
            target = cache.path_of(wanted.sha256)
            return Obtained(target, wanted.sha256, target.stat().st_size, without_credentials(url))
        return _attempts(url, wanted, wanted.sha256, cache, partial, progress, pause)


def _attempts(
    url: str,
    wanted: Wanted,
    pinned: str,
    cache: Cache,
    partial: Path,
    progress: Progress | None,
    pause: Callable[[float], None],
) -> Obtained:
    public = without_credentials(url)
    reason = ""
    wait = 0.0
    for attempt in range(ATTEMPTS):
        if attempt:
            pause(max(wait, min(2.0**attempt, 15.0)))
        try:
            _stream(url, partial, progress, wanted.size or LARGEST)
        except urllib.error.HTTPError as error:
            reason, wait = _limited(error, url, _reason(error, url)), _wait_of(error)
            error.close()
            if error.code in FINAL_STATUS or wait > LONGEST_PAUSE:
                break
            continue
        except DownloadError as error:
            reason = str(error)
            break
        except (OSError, http.client.HTTPException) as error:
            reason, wait = _reason(error, url), 0.0
            finding = _named(error, url)
            if finding is not None and finding.code not in PASSING:
                break
            continue
        sha256 = sha256_file(str(partial))
        if sha256 == pinned:
            target = cache.keep(partial, sha256)
            return Obtained(target, sha256, target.stat().st_size, public)
        with open(partial, "rb") as handle:
            head = handle.read(64)
        os.truncate(partial, 0)
        reason = f"got sha256 {sha256}, but {pinned} is pinned"
        if head.lstrip()[:1] == b"<":
            reason += " (the answer is a web page, probably from a proxy or a login form)"
        elif head.startswith(b"version https://git-lfs"):
            reason += " (the answer is a git-lfs pointer, not the file)"
    if not partial.stat().st_size:
        partial.unlink()
    raise DownloadError(f"{public}: {reason}")


def obtain(
    wanted: Wanted, cache: Cache, progress: Progress | None = None, pause: Callable[[float], None] = time.sleep
) -> Obtained:
    """One file, from the cache or the first source that has it. Raises DownloadError with every failed source."""
    # A local folder means nothing to readers of the manifest, so record the file's public address.
    remotes = (s for s in wanted.sources if local_path(s) is None and not s.startswith(_INDEX))
    remote = next(remotes, None)
    public = without_credentials(remote) if remote is not None else f"file:{wanted.name.rsplit('/', 1)[-1]}"
    if wanted.sha256 is not None and cache.has(wanted.sha256):
        kept = cache.path_of(wanted.sha256)
        return Obtained(kept, wanted.sha256, kept.stat().st_size, public)
    failures = []
    for source in wanted.sources:
        path = local_path(source)
        try:
            if path is None:
                got = _from_url(_resolved(source, pause), wanted, cache, progress, pause)
                return replace(got, source=public) if source.startswith(_INDEX) else got
            if path.is_file():
                return _from_file(path, wanted, cache, public)
            failures.append(f"{path}: there is no such file")
        except (DownloadError, OSError) as error:
            failures.append(str(error))
    raise DownloadError(f"{wanted.name}: " + "; ".join(failures or ["no source is configured"]))


def obtain_all(
    wanted: Sequence[Wanted],
    cache: Cache,
    say: Callable[[str], None],
    workers: int = 8,
    before: Callable[[], None] = lambda: None,
) -> dict[str, Obtained]:
    """Many files at once, by name. Raises DownloadError with every failed file; the others stay in the cache.

    ``before`` is called once if a network is needed. It may raise.
    """
    missing = [w for w in wanted if w.sha256 is None or not cache.has(w.sha256)]
    if any(local_path(source) is None for w in missing for source in w.sources[:1]):
        before()
    if missing:
        size = sum(w.size for w in missing)
        at_hand = len(wanted) - len(missing)
        say(f"{at_hand} of {len(wanted)} files are already here; fetching {len(missing)} ({size / 1e6:.0f} MB)")
    progress = Progress(say, len(missing), sum(w.size for w in missing))
    found: dict[str, Obtained] = {}
    failures: list[str] = []

    def work(item: Wanted) -> None:
        try:
            found[item.name] = obtain(item, cache, progress)
        except DownloadError as error:
            failures.append(str(error))
        finally:
            progress.finish()

    with ThreadPoolExecutor(max_workers=workers) as pool:
        # Largest first, so that a long download does not run alone at the end.
        list(pool.map(work, sorted(wanted, key=lambda w: -w.size)))
    if failures:
        raise DownloadError("\n".join(sorted(failures)))
    return found


def find_links(environment: Iterable[tuple[str, str]]) -> list[Path]:
    """Folders of wheels named by pip's and uv's variables, separated by spaces or commas."""
    values = dict(environment)
    folders: list[Path] = []
    for name in ("UV_FIND_LINKS", "PIP_FIND_LINKS"):
        for entry in values.get(name, "").replace(",", " ").split():
            path = local_path(entry)
            if path is not None and path.is_dir() and path not in folders:
                folders.append(path)
    return folders
