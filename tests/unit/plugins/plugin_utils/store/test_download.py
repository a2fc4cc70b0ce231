# SPDX-License-Identifier: GPL-3.0-or-later
"""Downloads against a local server that cuts, stalls at a range, corrupts and redirects."""

from __future__ import annotations

import contextlib
import hashlib
import http.server
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.store import download
from ansible_collections.voicefleet.kokoro.tests.unit.plugins.module_utils.hostile import ANSWERS, forever, serving

BODY = bytes(range(256)) * 4000
DIGEST = hashlib.sha256(BODY).hexdigest()


class Server(http.server.ThreadingHTTPServer):
    """Answers by path, and counts the requests and their first bytes."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: Counter[str] = Counter()
        self.ranges: list[str | None] = []
        self.logins: list[str | None] = []
        self.stop = threading.Event()

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/{path}"


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def log_message(self, *_arguments: object) -> None:
        pass

    def do_GET(self) -> None:
        path = self.path.strip("/")
        self.server.asked[path] += 1
        first = self.server.asked[path] == 1
        span = self.headers.get("Range")
        self.server.ranges.append(span)
        start = int(span[6:-1]) if span else 0
        self.server.logins.append(self.headers.get("Authorization"))
        if path == "stall" and first:
            self.server.stop.wait(5)
            return
        if path in ("endless", "trickle"):
            self.send_response(200)
            self.end_headers()
            with contextlib.suppress(OSError):
                while not self.server.stop.wait(0.01 if path == "trickle" else 0):
                    self.wfile.write(b"x" if path == "trickle" else bytes(10_000))
            return
        if path in ("simple/my-project", "private/my-project"):
            if path.startswith("private") and not self.headers.get("Authorization"):
                self.send_error(401)
                return
            links = b'<a href="../../whole#sha256=0">other-1.whl</a> <a href="/files/my_project-1%2Bcpu.whl#x">file</a>'
            self.send_response(200)
            self.send_header("Content-Length", str(len(links)))
            self.end_headers()
            self.wfile.write(links)
            return
        if path == "moved":
            self.send_response(302)
            self.send_header("Location", self.server.url("whole"))
            self.end_headers()
            return
        if path.startswith("limited") and first:
            # "limited-7" asks for seven seconds, "limited-date" for a time that has passed.
            how = path.rsplit("/", 1)[-1].partition("-")[2]
            self.send_response(429)
            self.send_header("Retry-After", "Wed, 21 Oct 2015 07:28:00 GMT" if how == "date" else how)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        if path in ("absent", "forbidden") or (path == "busy" and first):
            self.send_error({"absent": 404, "forbidden": 403}.get(path, 503))
            return
        body = BODY
        if path == "corrupt" or (path == "flaky" and first):
            body = b"x" + BODY[1:]
        if path == "portal":
            body = b"<html>please log in</html>"
        start = 0 if path == "plain" else start
        part = body[start:]
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(part)))
        self.end_headers()
        self.wfile.write(part[: len(part) // 2] if path == "cut" and first else part)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield running
        running.stop.set()
        running.shutdown()
        thread.join()


@pytest.fixture
def cache(tmp_path: Path) -> download.Cache:
    return download.Cache(tmp_path / "cache")


def obtain(cache: download.Cache, *sources: str, sha256: str | None = DIGEST) -> download.Obtained:
    return download.obtain(download.Wanted("file", sources, sha256, len(BODY)), cache, pause=lambda _seconds: None)


@pytest.mark.parametrize("path", ["whole", "moved", "busy", "flaky"])
def test_a_file_arrives_intact_despite(server: Server, cache: download.Cache, path: str) -> None:
    got = obtain(cache, server.url(path))
    assert got.path.read_bytes() == BODY
    assert (got.sha256, got.size) == (DIGEST, len(BODY))


def test_an_interrupted_download_continues_where_it_stopped(server: Server, cache: download.Cache) -> None:
    obtain(cache, server.url("cut"))
    assert server.ranges == [None, f"bytes={len(BODY) // 2}-"]


@pytest.mark.parametrize("path", ["whole", "endless"])
def test_no_more_is_downloaded_than_the_file_has(server: Server, cache: download.Cache, path: str) -> None:
    wanted = download.Wanted("file", (server.url(path),), "0" * 64, 1000)
    progress = download.Progress(lambda _line: None, 1, 10)
    with pytest.raises(download.DownloadError, match="sends more than the 1000 bytes"):
        download.obtain(wanted, cache, progress, pause=lambda _seconds: None)
    assert progress.done_bytes == 1001
    assert server.asked[path] == 1
    assert not list(cache.partial.iterdir())


def test_a_file_of_unknown_size_has_a_limit_too(
    server: Server, cache: download.Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "LARGEST", 5000)
    with pytest.raises(download.DownloadError, match="sends more than the 5000 bytes"):
        download.obtain(download.Wanted("file", (server.url("endless"),), "0" * 64), cache, pause=lambda _seconds: None)


def test_an_endless_index_page_is_refused(
    server: Server, cache: download.Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "LARGEST_PAGE", 5000)
    with pytest.raises(download.DownloadError, match="the answer has more than 5000 bytes"):
        obtain(cache, f"index+{server.url('endless')}#a.whl")


def test_a_server_that_trickles_has_stalled(
    server: Server, cache: download.Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "TIMEOUT", 0.2)
    monkeypatch.setattr(download, "ATTEMPTS", 1)
    with pytest.raises(download.DownloadError, match=r"only \d+ bytes arrived in 0\.2 s"):
        obtain(cache, server.url("trickle"))


# The address of each request leads to the same server, whose redirects have no end.
REDIRECT = b"HTTP/1.1 302 Found\r\nLocation: /x\r\n\r\n"


@pytest.mark.parametrize("name", [*sorted(ANSWERS), "a redirect without end"])
def test_a_hostile_server_ends_in_words_and_in_time(
    name: str, cache: download.Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without limits for what comes before and behind a body, a fetch would wait for ever."""
    monkeypatch.delenv("http_proxy", raising=False)
    monkeypatch.setattr(download, "TIMEOUT", 0.5)
    monkeypatch.setattr(download, "BETWEEN_SECONDS", 0.5)
    monkeypatch.setattr(download, "BETWEEN_BYTES", 200_000)
    monkeypatch.setattr(download, "LARGEST_PAGE", 10_000)
    monkeypatch.setattr(download, "ATTEMPTS", 1)

    def answer() -> Iterable[bytes]:
        return forever(b"x", REDIRECT) if name.startswith("a redirect") else ANSWERS[name]()

    begin = time.monotonic()
    with serving(answer()) as url, pytest.raises(download.DownloadError):
        download.obtain(download.Wanted("file", (f"{url}/x",), DIGEST, 1000), cache, pause=lambda _seconds: None)
    with serving(answer()) as url, contextlib.suppress(download.DownloadError):
        download.page_text(f"{url}/simple/a/", "text/html", pause=lambda _seconds: None)
    assert time.monotonic() - begin < 15


def test_a_hostile_proxy_ends_in_time(cache: download.Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "BETWEEN_BYTES", 200_000)
    monkeypatch.setattr(download, "ATTEMPTS", 1)
    monkeypatch.delenv("no_proxy", raising=False)
    with serving(forever(b"A: b\r\n", b"HTTP/1.1 200 OK\r\n")) as url:
        monkeypatch.setenv("https_proxy", url)
        with pytest.raises(download.DownloadError):
            obtain(cache, "https://files.example/x")


def test_a_redirect_leads_to_no_file_and_no_ftp(cache: download.Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("http_proxy", raising=False)
    monkeypatch.setattr(download, "ATTEMPTS", 1)
    answer = b"HTTP/1.1 302 Found\r\nLocation: ftp://127.0.0.1:9/x\r\nContent-Length: 0\r\n\r\n"
    with serving([answer]) as url, pytest.raises(download.DownloadError, match="unknown url type: ftp"):
        obtain(cache, f"{url}/x")


@pytest.mark.parametrize(
    ("link", "login"),
    [
        ("http://index.example/a.whl", None),
        ("https://index.example:8443/a.whl", None),
        ("http://other.example/a.whl", None),
        ("https://other.example/a.whl", "Basic dGhlaXJzOm90aGVy"),
    ],
)
def test_credentials_go_only_to_their_own_scheme_host_and_port(
    link: str, login: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".netrc").write_text(
        "machine index.example login me password secret\nmachine other.example login theirs password other\n"
    )
    (tmp_path / ".netrc").chmod(0o600)
    monkeypatch.setenv("HOME", str(tmp_path))
    page = "https://me:secret@index.example/simple/a/"
    base = "https://index.example/simple/a/"
    url = download._on_page(page, base, f'<a href="{link}">a</a>', "a.whl")
    request = download._request(str(url), {})
    assert (request.full_url, request.get_header("Authorization")) == (link, login)
    own = download._on_page(page, base, '<a href="https://index.example:443/a.whl#sha256=0">a</a>', "a.whl")
    assert own == "https://me:secret@index.example/a.whl"
    with pytest.raises(ValueError, match="a link to file:"):
        download._on_page(page, base, '<a href="file:///etc/a.whl">a</a>', "a.whl")


@pytest.mark.parametrize("path", ["whole", "plain"])
def test_two_fetches_at_once_share_a_cache(server: Server, tmp_path: Path, path: str) -> None:
    """Each has its own view of the cache, as two processes have. ``plain`` supports no ranges."""
    got: list[bytes] = []

    def fetch() -> None:
        got.append(obtain(download.Cache(tmp_path / "shared"), server.url(path)).path.read_bytes())

    threads = [threading.Thread(target=fetch) for _number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert got == [BODY] * 4
    assert server.asked[path] == 1
    assert not list((tmp_path / "shared/partial").iterdir())


def test_a_stalled_server_is_tried_again(
    server: Server, cache: download.Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "TIMEOUT", 0.2)
    assert obtain(cache, server.url("stall")).path.read_bytes() == BODY
    assert server.asked["stall"] == 2


@pytest.mark.parametrize(("path", "waited"), [("limited-7", 7.0), ("limited-date", 2.0), ("limited-soon", 2.0)])
def test_a_server_that_limits_requests_is_asked_again_when_it_says(
    server: Server, cache: download.Cache, path: str, waited: float
) -> None:
    pauses: list[float] = []
    got = download.obtain(download.Wanted("file", (server.url(path),), DIGEST, len(BODY)), cache, pause=pauses.append)
    assert (got.size, pauses) == (len(BODY), [waited])


def test_a_server_that_asks_for_too_long_a_wait_ends_the_download(server: Server, cache: download.Cache) -> None:
    with pytest.raises(download.DownloadError, match=r"HTTP 429 .*: the server limits requests\. Run the fetch again"):
        obtain(cache, server.url("limited-3600"))
    assert server.asked["limited-3600"] == 1


def test_an_index_that_limits_requests_is_asked_again(
    server: Server, cache: download.Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []
    source = download.on_index(server.url("limited"), "9", "whole")
    with pytest.raises(download.DownloadError, match="does not list whole"):
        download.obtain(download.Wanted("file", (source,), DIGEST, len(BODY)), cache, pause=pauses.append)
    assert pauses == [1.0]
    assert server.asked["limited/9"] == 2


def test_the_hubs_token_goes_to_the_hub_alone_and_only_over_tls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret\n")
    monkeypatch.setenv("HF_ENDPOINT", "https://hub.example:8443/hf")

    def sent(url: str) -> str | None:
        request = download._request(url, {})
        assert not request.headers.get("Authorization"), "a redirect would carry it on"
        return request.unredirected_hdrs.get("Authorization")

    assert sent("https://huggingface.co/hexgrad/Kokoro-82M/resolve/main/config.json") == "Bearer hf_secret"
    assert sent("https://hub.example:8443/hf/x") == "Bearer hf_secret"
    assert sent("https://user:word@huggingface.co/x") == "Basic dXNlcjp3b3Jk"
    for other in ("http://huggingface.co/x", "https://pypi.org/x", "https://cdn.huggingface.co/x", "https://hub/x"):
        assert sent(other) is None, other
    monkeypatch.delenv("HF_TOKEN")
    assert sent("https://huggingface.co/x") is None


def test_a_mirror_is_tried_first_and_the_manifest_names_the_public_address(
    server: Server, cache: download.Cache
) -> None:
    mirror = download.on_index(server.url("simple/"), "My_Project", "my_project-1+cpu.whl")
    got = obtain(cache, mirror, "https://files.invalid/my_project-1%2Bcpu.whl")
    assert got.path.read_bytes() == BODY
    assert got.source == "https://files.invalid/my_project-1%2Bcpu.whl"
    assert server.asked["files/my_project-1%2Bcpu.whl"] == 1


def test_a_mirror_without_the_file_leaves_it_to_the_next_source(server: Server, cache: download.Cache) -> None:
    mirror = download.on_index(server.url("simple"), "my-project", "my_project-2.whl")
    assert obtain(cache, mirror, server.url("whole")).size == len(BODY)
    with pytest.raises(download.DownloadError, match=r"does not list my_project-2\.whl"):
        obtain(cache, mirror, sha256="0" * 64)


def test_credentials_in_an_address_reach_its_host_and_no_message(server: Server, cache: download.Cache) -> None:
    index = server.url("private").replace("://", "://user:p%40ss@")
    mirror = download.on_index(index, "my-project", "my_project-1+cpu.whl")
    obtain(cache, mirror)
    assert server.logins == ["Basic dXNlcjpwQHNz"] * 2
    with pytest.raises(download.DownloadError, match="HTTP 404") as caught:
        obtain(cache, server.url("absent").replace("://", "://user:p%40ss@"), sha256="0" * 64)
    assert "p%40ss" not in str(caught.value)
    assert "p@ss" not in str(caught.value)


def test_credentials_come_from_netrc_and_stay_with_their_host(
    server: Server, cache: download.Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login me password secret\n")
    (tmp_path / ".netrc").chmod(0o600)
    monkeypatch.setenv("HOME", str(tmp_path))
    obtain(cache, server.url("whole"))
    assert server.logins == ["Basic bWU6c2VjcmV0"]


def test_nothing_is_fetched_twice(server: Server, cache: download.Cache) -> None:
    obtain(cache, server.url("whole"))
    again = obtain(cache, server.url("whole"))
    assert again.path.read_bytes() == BODY
    assert server.asked["whole"] == 1


def test_an_altered_file_in_the_cache_is_fetched_again(server: Server, cache: download.Cache) -> None:
    kept = obtain(cache, server.url("whole")).path
    kept.write_bytes(b"y" + BODY[1:])
    assert obtain(cache, server.url("whole")).path.read_bytes() == BODY
    assert server.asked["whole"] == 2


@pytest.mark.parametrize(
    ("path", "words", "asked"),
    [
        ("corrupt", f"but {DIGEST} is pinned", download.ATTEMPTS),
        ("portal", "web page", download.ATTEMPTS),
        ("absent", "HTTP 404", 1),
        ("forbidden", "HTTP 403", 1),
    ],
)
def test_a_wrong_answer_is_refused_with_the_reason(
    server: Server, cache: download.Cache, path: str, words: str, asked: int
) -> None:
    with pytest.raises(download.DownloadError, match=words):
        obtain(cache, server.url(path))
    assert server.asked[path] == asked
    assert not cache.path_of(DIGEST).exists()
    assert not list(cache.partial.iterdir())


def test_the_next_source_is_tried_and_all_failures_are_reported(
    server: Server, cache: download.Cache, tmp_path: Path
) -> None:
    assert obtain(cache, str(tmp_path / "no"), server.url("absent"), server.url("whole")).size == len(BODY)
    with pytest.raises(download.DownloadError, match=r"no such file.*HTTP 403"):
        obtain(cache, str(tmp_path / "no"), server.url("forbidden"), sha256="0" * 64)


def test_a_local_file_must_have_the_pinned_digest_unless_it_is_a_stand_in(
    cache: download.Cache, tmp_path: Path
) -> None:
    local = tmp_path / "file.pt"
    local.write_bytes(b"other")
    with pytest.raises(download.DownloadError, match="is pinned"):
        obtain(cache, local.as_uri())
    assert obtain(cache, local.as_uri(), sha256=None).path.read_bytes() == b"other"


def test_a_local_copy_is_recorded_under_its_public_address(cache: download.Cache, tmp_path: Path) -> None:
    local = tmp_path / "file.whl"
    local.write_bytes(BODY)
    got = obtain(cache, str(local), "https://user:secret@files.example/file.whl?token=1")
    assert got.source == "https://files.example/file.whl"


def test_all_failed_files_are_reported_and_the_others_kept(server: Server, cache: download.Cache) -> None:
    rows = [
        download.Wanted("good", (server.url("whole"),), DIGEST, len(BODY)),
        download.Wanted("one", (server.url("absent"),), "1" * 64, 1),
        download.Wanted("two", (server.url("forbidden"),), "2" * 64, 1),
    ]
    with pytest.raises(download.DownloadError, match=r"(?s)one:.*404.*two:.*403"):
        download.obtain_all(rows, cache, lambda _line: None)
    assert cache.has(DIGEST)


def test_find_links_reads_both_variables(tmp_path: Path) -> None:
    a, b = tmp_path / "a", tmp_path / "b"
    a.mkdir()
    b.mkdir()
    variables = {"UV_FIND_LINKS": f"{a},https://host/x", "PIP_FIND_LINKS": f"{b} {a} /absent"}
    assert download.find_links(variables.items()) == [a, b]
