# SPDX-License-Identifier: GPL-3.0-or-later
"""Problems with a proxy, made with real sockets and certificates: one clear line for each."""

from __future__ import annotations

import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from ansible_collections.voicefleet.kokoro.plugins.module_utils.proxy import probe as proxy_probe
from ansible_collections.voicefleet.kokoro.plugins.module_utils.proxy.settings import Settings
from ansible_collections.voicefleet.kokoro.tests.unit.plugins.module_utils.hostile import ANSWERS, serving
from ansible_collections.voicefleet.kokoro.tests.unit.plugins.plugin_utils.proxies import Proxy, issue, page, web

URL = "https://mirror.lab/simple"
PASSWORD = "p#a@s/s"
CA = issue("Lab CA", ca=True)


@pytest.fixture
def tls(tmp_path: Path) -> int:
    return web(page(), issue("mirror.lab", CA).save(tmp_path / "server.pem"))


def codes(settings: Settings, target: str = URL) -> list[str]:
    findings = proxy_probe.probe(settings, ["localhost"], target)
    assert not any(PASSWORD in finding.text for finding in findings)
    return [finding.code for finding in findings]


def through(proxy: Proxy, trust: bool = True, **more: object) -> Settings:
    return Settings(http=proxy.url, https=proxy.url, certificates=(CA.pem,) if trust else (), **more)  # type: ignore[arg-type]


def test_an_open_way_gives_no_finding(tls: int) -> None:
    proxy = Proxy(tls, login=f"kim:{PASSWORD}")
    assert codes(through(proxy, username="kim", password=PASSWORD)) == []
    assert proxy.requests == ["CONNECT mirror.lab:443 HTTP/1.1"]
    plain = Proxy(web(page()), login=f"kim:{PASSWORD}")
    assert codes(through(plain, username="kim", password=PASSWORD), "http://mirror.lab/simple") == []
    assert plain.requests == ["GET http://mirror.lab/simple HTTP/1.1"]


@pytest.mark.parametrize("url", [URL, "http://mirror.lab/simple"])
def test_a_wrong_or_missing_password_is_found(url: str, tls: int) -> None:
    proxy = Proxy(tls, login="kim:right")
    (finding,) = proxy_probe.probe(through(proxy, username="kim", password=PASSWORD), [], url)
    assert (finding.code, "'kim'" in finding.text) == ("PROXY_AUTH", True)
    (finding,) = proxy_probe.probe(through(proxy), [], url)
    assert "but none are set" in finding.text


def test_a_proxy_with_kerberos_needs_a_relay(tls: int) -> None:
    proxy = Proxy(tls, login="kim:right", scheme="Negotiate")
    (finding,) = proxy_probe.probe(through(proxy, username="kim", password="x"), [], URL)
    assert "cntlm" in finding.text
    assert "http://127.0.0.1:3128" in finding.text


def test_a_proxy_that_does_not_answer_is_found() -> None:
    (finding,) = proxy_probe.probe(Settings(https="http://127.0.0.1:1"), [], URL)
    assert (finding.code, "127.0.0.1:1" in finding.text) == ("PROXY_DEAD", True)


def test_a_login_page_is_found_in_three_forms(tmp_path: Path, tls: int) -> None:
    form = page('<form><input type="password" name="p"></form>')
    redirect = page(status="302 Found", extra="Location: https://portal.corp/login\r\n")
    assert codes(through(Proxy(answer=redirect))) == ["LOGIN_PAGE"]
    assert codes(through(Proxy(answer=page(status="511 Network Authentication Required")))) == ["LOGIN_PAGE"]
    server = issue("mirror.lab", CA).save(tmp_path / "form.pem")
    assert codes(through(Proxy(web(form, server)))) == ["LOGIN_PAGE"]
    # The proxy agrees and then answers itself, in plain text.
    assert codes(through(Proxy(web(form)))) == ["NO_TLS"]


def test_a_proxy_that_refuses_or_cannot_reach_the_target_is_found() -> None:
    assert codes(through(Proxy(answer=page(status="403 Forbidden")))) == ["PROXY_POLICY"]
    assert codes(through(Proxy(answer=page(status="503 Service Unavailable")))) == ["PROXY_TARGET"]
    # Without a target, it does not matter what the proxy allows.
    assert codes(through(Proxy(answer=page(status="403 Forbidden"))), "") == []


def test_a_server_that_is_not_an_http_proxy_is_found() -> None:
    assert codes(through(Proxy(answer=b"\x05\x00\x00\x00\r\n\r\n"))) == ["NO_HTTP"]


def test_an_untrusted_issuer_is_found(tls: int) -> None:
    assert codes(through(Proxy(tls), trust=False)) == ["UNKNOWN_ISSUER"]


def test_a_certificate_for_another_name_is_found(tmp_path: Path) -> None:
    server = web(page(), issue("other.lab", CA).save(tmp_path / "other.pem"))
    assert codes(through(Proxy(server))) == ["WRONG_NAME"]


@pytest.mark.parametrize("days", [(-30, -1), (1, 30)])
def test_a_certificate_that_is_not_valid_now_is_found(tmp_path: Path, days: tuple[int, int]) -> None:
    server = web(page(), issue("mirror.lab", CA, days=days).save(tmp_path / "late.pem"))
    assert codes(through(Proxy(server))) == ["CLOCK"]


@pytest.mark.parametrize(("minutes", "way"), [(-60, "ahead of"), (60, "behind")])
def test_a_wrong_clock_is_found(tmp_path: Path, minutes: int, way: str) -> None:
    answer = page(date=time.time() + minutes * 60)
    proxy = Proxy(web(answer, issue("mirror.lab", CA).save(tmp_path / "server.pem")))
    (finding,) = proxy_probe.probe(through(proxy), [], URL)
    assert (finding.code, f"60 minutes {way}" in finding.text) == ("CLOCK", True)


def test_a_ca_certificate_used_by_a_server_is_found(tmp_path: Path) -> None:
    itself = issue("mirror.lab", ca=True)
    proxy = Proxy(web(page(), itself.save(tmp_path / "itself.pem")))
    assert codes(through(proxy, trust=False)) == ["UNKNOWN_ISSUER", "CA_AS_SERVER"]
    trusted = Settings(https=proxy.url, certificates=(itself.pem,))
    assert codes(trusted) == ["CA_AS_SERVER"]
    assert not proxy_probe.is_ca(issue("mirror.lab", CA).certificate.public_bytes(_der()))


def _der() -> object:
    from cryptography.hazmat.primitives.serialization import Encoding

    return Encoding.DER


def test_no_proxy_is_used_for_direct_targets(tls: int) -> None:
    dead = Settings(https="http://127.0.0.1:1")
    assert [f.code for f in proxy_probe.probe(dead, ["mirror.lab"], URL)] == ["PROXY_DEAD"]
    proxy = Proxy(tls)
    assert codes(through(proxy), f"https://localhost:{tls}/") == ["WRONG_NAME"]
    assert proxy.requests == []
    (finding,) = proxy_probe.probe(through(proxy), ["localhost"], "http://localhost:1/")
    assert (finding.code, "NO_PROXY" in finding.text) == ("TARGET_DEAD", True)


def test_missing_packages_for_socks_are_found(tmp_path: Path) -> None:
    site = tmp_path / "opt/voicefleet/current/env/lib/python3.11/site-packages"
    for name in ("requests", "httpx"):
        (site / name).mkdir(parents=True)
    settings = Settings(all="socks5h://127.0.0.1:1080")
    (finding,) = proxy_probe.socks_findings(settings, str(tmp_path))
    assert "PySocks and socksio" in finding.text
    (site / "socks.py").touch()
    (site / "socksio").mkdir()
    assert proxy_probe.socks_findings(settings, str(tmp_path)) == []
    assert proxy_probe.socks_findings(Settings(http="http://127.0.0.1:1"), str(tmp_path)) == []


def asked_by_urllib(url: str, proxy: str) -> BaseException:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({"https": proxy, "http": proxy}))
    with pytest.raises(urllib.error.URLError) as caught:
        opener.open(url, timeout=10)
    return caught.value


def test_failures_of_urllib_get_the_same_explanation(tls: int) -> None:
    locked = Proxy(tls, login="kim:right")
    address = locked.url.replace("://", f"://kim:{'wrong'}@")
    for url, proxy, code in (
        (URL, address, "PROXY_AUTH"),
        ("http://mirror.lab/", address, "PROXY_AUTH"),
        (URL, Proxy(tls).url, "UNKNOWN_ISSUER"),
        (URL, Proxy(answer=page(status="403 Forbidden")).url, "PROXY_POLICY"),
        (URL, "http://127.0.0.1:1", "PROXY_DEAD"),
    ):
        finding = proxy_probe.reason_of(asked_by_urllib(url, proxy), "mirror.lab", proxy, "kim")
        assert finding is not None
        assert finding.code == code
        assert "wrong" not in finding.text


def test_other_failures_get_no_explanation() -> None:
    missing = urllib.error.HTTPError(URL, 404, "Not Found", None, None)  # type: ignore[arg-type]
    assert proxy_probe.reason_of(missing, "mirror.lab", "http://proxy.lab:3128") is None
    assert proxy_probe.reason_of(ConnectionResetError(), "mirror.lab", "http://proxy.lab:3128") is None
    assert proxy_probe.reason_of(urllib.error.URLError("x"), "mirror.lab", "") is None


@pytest.mark.parametrize("name", ["a header byte by byte", "100 Continue without end", "headers without end"])
def test_a_hostile_target_ends_in_time(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proxy_probe, "SECONDS", 1.0)
    begin = time.monotonic()
    with serving(ANSWERS[name]()) as url:
        (finding,) = proxy_probe.probe(Settings(), [], url)
    assert finding.code in ("TARGET_DEAD", "NO_HTTP")
    assert time.monotonic() - begin < 60
