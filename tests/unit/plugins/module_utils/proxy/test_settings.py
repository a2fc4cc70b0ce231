# SPDX-License-Identifier: GPL-3.0-or-later
"""Settings of a proxy: what is refused with which message, how credentials are encoded, and what NO_PROXY holds."""

from __future__ import annotations

import urllib.parse
import urllib.request

import pytest
from ansible_collections.voicefleet.kokoro.plugins.module_utils.proxy import settings as proxy

PASSWORD = "p#a@s/s:w %41\"x$'\\é"
HTTP = "http://proxy.corp:3128"


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"http": "proxy.corp:3128"}, "does not begin with http://"),
        ({"http": "http://proxy.corp"}, "names no port"),
        ({"http": "http://proxy.corp:3128/path"}, "more than a host and a port"),
        ({"http": "http://proxy.corp:none"}, "cannot be parsed"),
        ({"http": "http://pro xy.corp:3128"}, "contains a space"),
        ({"http": "http://:3128"}, "names no host"),
        ({"http": "http://[::g]:3128"}, "cannot be parsed"),
        ({"http": "http://pro_xy!:3128"}, "is not a host name"),
        ({"http": "ftp://proxy.corp:3128"}, "support no ftp:// proxies"),
        ({"http": "socks5://proxy.corp:1080"}, "set a SOCKS proxy in proxy_all"),
        ({"all": "socks://proxy.corp:1080"}, "Write socks5h://"),
        ({"http": HTTP, "username": "kim"}, "proxy_password is not"),
        ({"http": HTTP, "password": "secret"}, "proxy_username is not"),
        ({"http": HTTP, "username": "a:b", "password": "secret"}, "contains a colon"),
        ({"http": HTTP, "username": "kim", "password": "sec\nret"}, "line break"),
        ({"username": "kim", "password": "secret"}, "neither proxy_http"),
        ({"pip_index_url": "mirror/simple"}, "is not a valid address"),
        ({"pip_index_url": "https://mirror/$(id)"}, "is not a valid address"),
        ({"hf_endpoint": "https://me:secret@mirror/hf"}, "~/.netrc"),
        ({"http": HTTP, "no_proxy": ("*",)}, "proxy_state: absent"),
        ({"http": HTTP, "no_proxy": ("http://a.corp",)}, "Name only the host"),
        ({"http": HTTP, "no_proxy": ("a b",)}, "is not a name"),
        ({"http": HTTP, "no_proxy": ("10.0.0.0/99",)}, "is not a name"),
        ({"http": HTTP, "no_proxy": ("fe80::1%a\nLD_PRELOAD=/x",)}, "is not a name"),
    ],
)
def test_a_setting_that_cannot_work_is_refused_in_one_sentence(settings: dict, words: str) -> None:
    (sentence,) = proxy.problems(proxy.Settings(**settings))
    assert words in sentence
    assert "sec" not in sentence


@pytest.mark.parametrize("url", ["http://kim:p#s@w@proxy.corp:3128", "http://kim:se%23cret@proxy.corp:3128"])
def test_credentials_in_an_address_are_refused_and_not_repeated(url: str) -> None:
    (sentence,) = proxy.problems(proxy.Settings(http=url))
    assert "proxy_username and proxy_password" in sentence
    assert "kim" not in sentence


def test_all_mistakes_are_reported_at_once() -> None:
    assert len(proxy.problems(proxy.Settings(http="x", https="y", no_proxy=("*",), password="p"))) == 4


@pytest.mark.parametrize("url", [HTTP, "http://10.0.0.1:8080/", "http://[fd00::1]:3128", "https://proxy.corp:443"])
def test_valid_addresses_are_accepted(url: str) -> None:
    assert proxy.problems(proxy.Settings(http=url, https=url, all="socks5h://proxy.corp:1080")) == []


def test_every_character_of_a_password_survives_encoding_and_decoding() -> None:
    settings = proxy.Settings(http=HTTP, username="CORP\\kim", password=PASSWORD)
    address = settings.with_credentials(HTTP)
    parts = urllib.parse.urlsplit(address)
    assert (parts.hostname, parts.port) == ("proxy.corp", 3128)
    assert urllib.parse.unquote(parts.username or "") == "CORP\\kim"
    assert urllib.parse.unquote(parts.password or "") == PASSWORD
    assert not set(address) & set("#\"'$\\ `")
    assert PASSWORD not in repr(settings)


def test_no_proxy_holds_loopback_the_host_and_its_peers() -> None:
    settings = proxy.Settings(http=HTTP, no_proxy=(".corp", "*.lab", "[fd00::7]"), peers=("gpu2", "10.9.0.2"))
    direct = proxy.no_proxy(settings, ["gpu1", "10.9.0.1"])
    assert direct.entries[:6] == ("localhost", "127.0.0.1", "::1", "0.0.0.0", "gpu1", "10.9.0.1")
    assert {"gpu2", "10.9.0.2", ".corp", ".lab", "fd00::7"} <= set(direct.entries)
    # httpx fails on brackets.
    assert "[" not in direct.value
    assert any("*.lab" in note for note in direct.notes)


def test_networks_are_kept_expanded_or_dropped_with_a_note() -> None:
    settings = proxy.Settings(http=HTTP, no_proxy=("10.0.0.0/8", "192.168.7.0/30", "fe80::/10", "fd00::/126"))
    direct = proxy.no_proxy(settings, [])
    assert {"10.0.0.0/8", "192.168.7.0/30", "192.168.7.1", "192.168.7.2", "fd00::2"} <= set(direct.entries)
    assert not any(":" in entry and "/" in entry for entry in direct.entries)
    assert [note.split(" ")[0] for note in direct.notes] == ["10.0.0.0/8", "fe80::/10"]


def test_urllib_uses_no_proxy_for_these_targets(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = proxy.Settings(http=HTTP, no_proxy=(".corp", "192.168.7.0/30"), peers=("gpu2",))
    direct = proxy.no_proxy(settings, ["gpu1"])
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.setenv("no_proxy", direct.value)
    for target in ("127.0.0.1:9997", "0.0.0.0:9997", "localhost", "gpu1", "gpu2:9997", "a.corp", "192.168.7.2"):
        assert urllib.request.proxy_bypass(target), target
    for target in ("pypi.org", "corp.org", "192.168.7.9"):
        assert not urllib.request.proxy_bypass(target), target


def test_a_short_list_keeps_the_most_important_entries() -> None:
    direct = proxy.NoProxy(("localhost", "127.0.0.1", *(f"gpu{number}.example.com" for number in range(1000))))
    short = direct.at_most(1000)
    assert short.entries[:2] == ("localhost", "127.0.0.1")
    assert 900 < len(short.value) <= 1000
    assert direct.at_most(10**6) is direct


def test_no_variable_is_longer_than_the_kernel_allows() -> None:
    peers = tuple(f"gpu{number}.a-rather-long-name.example.com" for number in range(5000))
    direct = proxy.no_proxy(proxy.Settings(http=HTTP, peers=peers), [])
    assert len(direct.value) < 128 * 1024
    assert any("of 5004 entries" in note for note in direct.notes)


def test_variables_have_both_spellings_and_every_name_of_a_bundle() -> None:
    settings = proxy.Settings(
        http=HTTP, https=HTTP, username="kim", password="a@b", certificates=("PEM",),
        pip_index_url="https://m/simple", hf_endpoint="https://m/hf/",
    )  # fmt: skip
    direct = proxy.no_proxy(settings, [])
    public = proxy.environment(settings, direct, "/bundle", secret=False)
    secret = proxy.environment(settings, direct, "/bundle", secret=True)
    assert secret["https_proxy"] == secret["HTTPS_PROXY"] == "http://kim:a%40b@proxy.corp:3128"
    assert public["http_proxy"] == public["HTTP_PROXY"] == HTTP
    assert "a%40b" not in str(public)
    assert "all_proxy" not in public
    assert public["no_proxy"] == public["NO_PROXY"] == direct.value
    assert public["SSL_CERT_FILE"] == public["REQUESTS_CA_BUNDLE"] == public["PIP_CERT"] == "/bundle"
    assert public["HF_HUB_DISABLE_XET"] == "1"
    assert public["XINFERENCE_MODEL_SRC"] == "huggingface"
    assert (public["HF_ENDPOINT"], public["UV_DEFAULT_INDEX"]) == ("https://m/hf", "https://m/simple")


def test_a_mirror_alone_sets_no_proxy_variables() -> None:
    settings = proxy.Settings(pip_index_url="https://m/simple")
    assert set(proxy.environment(settings, proxy.no_proxy(settings, []), "", True)) == {
        "PIP_INDEX_URL",
        "UV_DEFAULT_INDEX",
    }
    assert settings.anything
    assert not proxy.Settings().anything


def test_the_proxy_depends_on_scheme_and_host() -> None:
    settings = proxy.Settings(http=HTTP, all="socks5h://s:1080")
    assert proxy.applies(settings, "http://pypi.org/", ["localhost"]) == HTTP
    assert proxy.applies(settings, "https://pypi.org/", ["localhost"]) == "socks5h://s:1080"
    assert proxy.applies(settings, "https://a.corp/", [".corp"]) == ""


def test_shown_addresses_have_no_credentials() -> None:
    text = 'Acquire::http::Proxy "http://kim:a%40b@proxy.corp:3128";'
    assert proxy.masked(text) == 'Acquire::http::Proxy "http://***@proxy.corp:3128";'


@pytest.mark.parametrize(("password", "count"), [("a%40b", 1), ("a%zzb", 0), ("a%4", 0)])
def test_a_password_that_looks_encoded_gives_a_warning(password: str, count: int) -> None:
    sentences = proxy.cautions(proxy.Settings(http=HTTP, username="kim", password=password))
    assert len(sentences) == count
    assert password not in str(sentences)
