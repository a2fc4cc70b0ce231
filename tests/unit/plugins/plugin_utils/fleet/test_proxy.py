# SPDX-License-Identifier: GPL-3.0-or-later
"""Proxies on the controller: it reads CAs, fetches through a proxy and explains what prevents that."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.voicefleet.kokoro.plugins.module_utils.host.hashing import sha256_bytes
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.action import spec
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.fleet import proxy
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.store import download
from ansible_collections.voicefleet.kokoro.tests.unit.plugins.plugin_utils.proxies import Proxy, issue, page, web

CA = issue("Lab CA", ca=True)
PASSWORD = "p#a@s/s:w%41"


def arguments(**given: Any) -> dict[str, Any]:
    options = spec.of_module("proxy")
    return {name: given.get(name, option["default"]) for name, option in options.items()}


@pytest.fixture
def ca(tmp_path: Path) -> str:
    path = tmp_path / "ca.pem"
    path.write_text("Subject: Lab CA\n" + CA.pem)
    return str(path)


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [n for n in os.environ if n.lower().endswith("_proxy")] + ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"]:
        monkeypatch.delenv(name, raising=False)


def test_certificates_are_read_one_by_one(tmp_path: Path, ca: str) -> None:
    other = issue("Other CA", ca=True)
    chain = tmp_path / "chain.pem"
    chain.write_text(CA.pem + other.pem)
    assert [c.count("BEGIN") for c in proxy.read_certificates([ca, str(chain)])] == [1, 1]


def test_all_faults_of_certificates_are_reported_at_once(tmp_path: Path) -> None:
    texts = {
        "server.pem": issue("mirror.lab", CA).pem,
        "key.pem": CA.pem + CA.key_pem,
        "old.pem": issue("Old CA", ca=True, days=(-30, -1)).pem,
        "new.pem": issue("New CA", ca=True, days=(1, 30)).pem,
        "empty.pem": "nothing\n",
        "broken.pem": CA.pem.replace("M", "!", 3),
    }
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
    (tmp_path / "der.pem").write_bytes(b"\x30\x82\xff")
    names = [*texts, "der.pem", "missing.pem"]
    with pytest.raises(proxy.ProxyError) as caught:
        proxy.read_certificates([str(tmp_path / name) for name in names])
    lines = str(caught.value).splitlines()
    words = [
        "a server's certificate", "private key", "has expired", "clock is behind", "holds no certificate", "damaged",
        "not PEM", "No such file",
    ]  # fmt: skip
    assert [word for word, line in zip(words, lines, strict=True) if word in line] == words
    assert "PRIVATE" not in str(caught.value)


def test_settings_and_certificates_are_checked_together(tmp_path: Path) -> None:
    with pytest.raises(proxy.ProxyError) as caught:
        proxy.settings_of(arguments(http="proxy.corp:3128", ca_certificates=[str(tmp_path / "none.pem")]))
    assert len(str(caught.value).splitlines()) == 2


def test_peers_without_a_valid_name_are_left_out() -> None:
    settings = proxy.settings_of(
        arguments(no_proxy=["a.lab, b.lab", ".corp"]), ["gpu1", "10.0.0.1", "gpu1", "a b", "x,y"]
    )
    assert settings.peers == ("gpu1", "10.0.0.1")
    assert settings.no_proxy == ("a.lab", "b.lab", ".corp")


def test_a_fetch_refuses_proxies_that_urllib_cannot_use(tmp_path: Path) -> None:
    for given, words in (
        ({"all": "socks5h://proxy.lab:1080"}, "no SOCKS"),
        ({"https": "https://proxy.lab:443"}, "name its http:// port"),
    ):
        with pytest.raises(proxy.ProxyError, match=words), proxy.way_out(arguments(**given), tmp_path):
            pass


def test_the_environment_is_restored_afterwards(tmp_path: Path, ca: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "mine")
    before = dict(os.environ)
    given = arguments(http="http://proxy.lab:3128", username="kim", password=PASSWORD, ca_certificates=[ca])
    with proxy.way_out(given, tmp_path):
        assert os.environ["http_proxy"] == "http://kim:p%23a%40s%2Fs%3Aw%2541@proxy.lab:3128"
        assert CA.pem in Path(os.environ["SSL_CERT_FILE"]).read_text()
        assert Path(os.environ["SSL_CERT_FILE"]).read_text().count("BEGIN CERTIFICATE") > 1
    assert dict(os.environ) == before
    with proxy.way_out(None, tmp_path):
        assert dict(os.environ) == before


def test_a_file_is_fetched_through_a_proxy_that_inspects_tls(tmp_path: Path, ca: str) -> None:
    content = "a wheel"
    server = web(page(content), issue("mirror.lab", CA).save(tmp_path / "server.pem"))
    way = Proxy(server, login=f"kim:{PASSWORD}")
    wanted = download.Wanted("a.whl", ("https://mirror.lab/a.whl",), sha256_bytes(content.encode()))
    given = arguments(https=way.url, username="kim", password=PASSWORD, ca_certificates=[ca])
    with proxy.way_out(given, tmp_path) as asked:
        asked(["https://mirror.lab/"])
        got = download.obtain(wanted, download.Cache(tmp_path / "cache"))
    assert got.path.read_text() == content
    assert {line.rpartition(" ")[0] for line in way.requests} == {"CONNECT mirror.lab:443"}


@pytest.mark.parametrize(
    ("login", "trust", "words"),
    [("kim:other", True, "rejects the password of 'kim'"), ("", False, "proxy_ca_certificates")],
)
def test_a_permanent_obstacle_is_named_and_not_tried_again(
    tmp_path: Path, ca: str, login: str, trust: bool, words: str
) -> None:
    way = Proxy(web(page(), issue("mirror.lab", CA).save(tmp_path / "server.pem")), login=login)
    wanted = download.Wanted("a.whl", ("https://mirror.lab/a.whl",), "0" * 64)
    given = arguments(https=way.url, username="kim", password=PASSWORD, ca_certificates=[ca] if trust else [])
    with proxy.way_out(given, tmp_path) as asked:
        with pytest.raises(proxy.ProxyError, match=words):
            asked(["https://mirror.lab/"])
        way.requests.clear()
        with pytest.raises(download.DownloadError, match=words) as caught:
            download.obtain(wanted, download.Cache(tmp_path / "cache"), pause=time.sleep)
    assert len(way.requests) == 1
    assert PASSWORD not in str(caught.value)


def test_a_dead_proxy_is_named_and_tried_again(tmp_path: Path) -> None:
    wanted = download.Wanted("a.whl", ("https://mirror.lab/a.whl",), "0" * 64)
    pauses: list[float] = []
    with (
        proxy.way_out(arguments(https="http://127.0.0.1:1"), tmp_path),
        pytest.raises(download.DownloadError, match="the proxy 127.0.0.1:1 does not answer"),
    ):
        download.obtain(wanted, download.Cache(tmp_path / "cache"), pause=pauses.append)
    assert len(pauses) == download.ATTEMPTS - 1


def test_nothing_is_requested_if_no_network_is_needed(tmp_path: Path) -> None:
    (tmp_path / "a.whl").write_text("a wheel")
    wanted = [download.Wanted("a.whl", (str(tmp_path / "a.whl"),), None)]

    def never() -> None:
        raise AssertionError

    download.obtain_all(wanted, download.Cache(tmp_path / "cache"), print, before=never)
    far = [download.Wanted("b.whl", ("https://mirror.lab/b.whl",), "0" * 64)]
    with pytest.raises(AssertionError):
        download.obtain_all(far, download.Cache(tmp_path / "cache"), print, before=never)
