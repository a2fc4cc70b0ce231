# SPDX-License-Identifier: GPL-3.0-or-later
"""Test a proxy before anything relies on it, and report each problem in a sentence.

One target is enough: the configured mirror. It gets only a request for its page. The same sentences explain downloads
that fail with an exception.
"""

from __future__ import annotations

import base64
import calendar
import contextlib
import email.utils
import glob
import http.client
import os
import re
import socket
import ssl
import time
import urllib.error
import urllib.parse
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ..host import direct as peers, layout
from .settings import RELAY, Settings, address_of, applies

SECONDS = 10.0
# Certificates and tokens are usually valid from the minute in which they are made.
CLOCK_SECONDS = 300
# Requested if no mirror is configured. Only the proxy's own answer counts, not whether it allows this page.
ANY_TARGET = "https://pypi.org/simple/"
_MOST = 1 << 16

_LOGIN_PLACE = re.compile(r"log-?in|sign-?in|sso|portal|captive|/auth", re.IGNORECASE)
_LOGIN_FORM = re.compile(rb"<input[^>]{1,500}?type\s{0,9}=\s{0,9}[\"']?password", re.IGNORECASE)
# basicConstraints (2.5.29.19), critical or not: a SEQUENCE that begins with TRUE (RFC 5280, 4.2.1.9).
_IS_CA = re.compile(rb"\x06\x03\x55\x1d\x13(?:\x01\x01\xff)?\x04.\x30.\x01\x01\xff", re.DOTALL)

_NOT_YET, _EXPIRED, _SELF_SIGNED, _SELF_SIGNED_CHAIN, _NO_ISSUER, _NO_LEAF_ISSUER, _NAME = 9, 10, 18, 19, 20, 21, 62


@dataclass(frozen=True)
class Finding:
    """One problem. Programs can rely on ``code``, which never changes."""

    code: str
    text: str

    def __str__(self) -> str:
        return f"{self.code}: {self.text}"


# --- messages ----------------------------------------------------------------------------------------


def refused_login(place: str, username: str, methods: str = "") -> Finding:
    """Explain a 407. ``methods`` are the schemes of Proxy-Authenticate, if they are known."""
    if methods and "basic" not in methods.lower():
        return Finding("PROXY_AUTH", f"the proxy {place} requires {methods} (407). {RELAY}")
    if not username:
        return Finding(
            "PROXY_AUTH",
            f"the proxy {place} requires a user and a password (407), but none are set. Set proxy_username and"
            " proxy_password",
        )
    return Finding(
        "PROXY_AUTH",
        f"the proxy {place} rejects the password of {username!r} (407). Correct proxy_username and proxy_password, and"
        " write them unencoded",
    )


def login_page(place: str) -> Finding:
    """Say that a login page answered instead of the target."""
    return Finding(
        "LOGIN_PAGE",
        f"{place} answers with a login page. Log this machine in there, or ask the proxy's owner to"
        " let it through without a login. Otherwise the page would be saved in place of a wheel or a model",
    )


def not_answering(place: str, error: object) -> Finding:
    """Say that the proxy does not answer."""
    return Finding(
        "PROXY_DEAD",
        f"the proxy {place} does not answer ({error}). Check the name and port in proxy_http or proxy_https. Otherwise"
        " the proxy is down, or a firewall blocks the way",
    )


def tls_failure(host: str, error: ssl.SSLError) -> Finding:
    """Explain a failed handshake by OpenSSL's message."""
    code = getattr(error, "verify_code", 0)
    said = getattr(error, "verify_message", "") or getattr(error, "reason", "") or str(error)
    if code in (_NOT_YET, _EXPIRED):
        clock = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime())
        return Finding(
            "CLOCK",
            f"the certificate of {host} is not valid by this clock ({said}; here it is {clock}). Set the clock,"
            " or have the certificate renewed",
        )
    if code in (_NO_ISSUER, _NO_LEAF_ISSUER, _SELF_SIGNED_CHAIN):
        return Finding(
            "UNKNOWN_ISSUER",
            f"the certificate of {host} is signed by a CA that this host does not trust ({said}). The proxy inspects"
            " TLS, or the mirror is private. Add its CA's certificate to proxy_ca_certificates",
        )
    if code == _SELF_SIGNED:
        return Finding(
            "UNKNOWN_ISSUER",
            f"{host} has a self-signed certificate, which uv refuses. Let a CA issue one, and add the CA's certificate"
            " to proxy_ca_certificates",
        )
    if code == _NAME:
        return Finding(
            "WRONG_NAME",
            f"the certificate of {host} is for another name ({said}). Write the mirror's address with a name from the"
            " certificate",
        )
    if "WRONG_VERSION_NUMBER" in said.upper():
        return Finding(
            "NO_TLS", f"{host} answers in plain text instead of TLS. It is a login page or a port without TLS"
        )
    return Finding("TLS", f"the TLS connection to {host} failed: {said}")


def reason_of(error: BaseException, host: str, proxy: str, username: str = "") -> Finding | None:
    """Explain a failed request of urllib; None if neither a proxy nor a certificate caused it."""
    place = proxy.partition("://")[2].rpartition("@")[2].rstrip("/")
    if isinstance(error, urllib.error.HTTPError):
        if error.code == 407:
            return refused_login(place, username, _methods(error.headers))
        return login_page(host) if error.code == 511 else None
    # URLError comes from sending the request, not from reading the answer.
    asked = isinstance(error, urllib.error.URLError)
    cause = error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(cause, ssl.SSLError):
        return tls_failure(host, cause)
    tunnel = re.search(r"Tunnel connection failed: (\d{3})\s*(.*)", str(cause))
    if tunnel:
        return _tunnel_answer(int(tunnel[1]), tunnel[2], place, host, username, "", "")
    return not_answering(place, cause) if place and asked else None


def _tunnel_answer(
    status: int, said: str, place: str, host: str, username: str, methods: str, location: str
) -> Finding | None:
    """Explain a proxy's answer to CONNECT; None if it agrees."""
    if status == 200:
        return None
    if status == 407:
        return refused_login(place, username, methods)
    if status == 511 or (300 <= status < 400 and _LOGIN_PLACE.search(location or "login")):
        return login_page(f"the proxy {place}")
    if status in (403, 405):
        return Finding(
            "PROXY_POLICY",
            f"the proxy {place} does not let this machine reach {host} ({status} {said}). Ask its owner to allow it",
        )
    return Finding(
        "PROXY_TARGET",
        f"the proxy {place} answers, but cannot reach {host} ({status} {said}). Is the name right, and does the proxy"
        " resolve it?",
    )


def _methods(headers: object) -> str:
    """Return the schemes that a proxy offers, such as ``Negotiate, NTLM``."""
    offered = getattr(headers, "get_all", lambda _name: None)("Proxy-Authenticate") or []
    return ", ".join(dict.fromkeys(str(line).split()[0].rstrip(",") for line in offered if str(line).split()))


# --- requests ---------------------------------------------------------------------------------------


def is_ca(der: bytes) -> bool:
    """Whether a certificate says that it is a CA's."""
    return _IS_CA.search(der) is not None


def context_of(certificates: Sequence[str]) -> ssl.SSLContext:
    """Return a context that trusts what this machine trusts, and private CAs too."""
    context = ssl.create_default_context()
    if certificates:
        context.load_verify_locations(cadata="\n".join(certificates))
    return context


Connect = Callable[["tuple[str, int]", float], socket.socket]


def probe(
    settings: Settings, direct: Sequence[str], target: str = "", connect: Connect = socket.create_connection
) -> list[Finding]:
    """Test the way to the targets and return all problems. Changes nothing.

    ``target`` is an address to request. Without one, request the mirrors, or any page if there are none.
    """
    found: list[Finding] = []
    for url in dict.fromkeys(settings.proxies.values()):
        host, port = address_of(url)
        try:
            connect((host, port), SECONDS).close()
        except OSError as error:
            found.append(not_answering(f"{host}:{port}", error))
    if found:
        return found
    targets = [target] if target else [url for url in (settings.pip_index_url, settings.hf_endpoint) if url]
    # A SOCKS proxy does not speak HTTP.
    spoken = [url for url in settings.proxies.values() if not url.startswith("socks")]
    for url in targets or ([ANY_TARGET] if spoken else []):
        findings = _ask(settings, direct, url, connect)
        # For ANY_TARGET, count only what the proxy or its CA does to every request.
        found += [f for f in findings if targets or f.code not in ("PROXY_POLICY", "PROXY_TARGET", "TARGET_DEAD")]
    return list(dict.fromkeys(found))


class _Refused(Exception):
    """The proxy refused the connection."""

    def __init__(self, finding: Finding) -> None:
        super().__init__(str(finding))
        self.finding = finding


def _ask(settings: Settings, direct: Sequence[str], url: str, connect: Connect) -> list[Finding]:
    """Request one page as a client would, and return all problems."""
    parts = urllib.parse.urlsplit(url)
    host, tls = parts.hostname or "", parts.scheme == "https"
    port = parts.port or (443 if tls else 80)
    proxy = applies(settings, url, direct)
    if proxy.startswith("socks"):
        return []
    place = "{}:{}".format(*address_of(proxy)) if proxy else f"{host}:{port}"
    # Without TLS, the request for the page goes to the proxy.
    by_proxy = bool(proxy) and not tls
    found: list[Finding] = []
    try:
        with contextlib.ExitStack() as stack:
            sock = stack.enter_context(_reach(settings, proxy, host, port, tls, connect))
            if tls:
                try:
                    wrapped = context_of(settings.certificates).wrap_socket(sock, server_hostname=host)
                except ssl.SSLError as error:
                    der = _certificate(settings, proxy, host, port, connect)
                    return [tls_failure(host, error), *_ca_as_server(host, der)]
                sock = stack.enter_context(wrapped)
                found += _ca_as_server(host, wrapped.getpeercert(True) or b"")
            path = f"http://{parts.netloc}{parts.path or '/'}" if by_proxy else parts.path or "/"
            lines = [
                f"GET {path} HTTP/1.1",
                f"Host: {parts.netloc}",
                "Connection: close",
                "User-Agent: voicefleet.kokoro",
            ]
            answer = _send(sock, lines + (_authorization(settings) if by_proxy else []), "GET")
            return found + _page_findings(answer, settings, place, host, by_proxy)
    except _Refused as refusal:
        return [refusal.finding]
    except http.client.HTTPException as error:
        why = type(error).__name__
        return [Finding("NO_HTTP", f"{place} does not speak HTTP ({why}). If it is a SOCKS proxy, set it in proxy_all")]
    except OSError as error:
        if proxy:
            return [Finding("PROXY_DEAD", f"the proxy {place} broke the connection for {host} ({error})")]
        return [Finding("TARGET_DEAD", f"{place} does not answer ({error}). NO_PROXY says to use no proxy for it")]


def _reach(settings: Settings, proxy: str, host: str, port: int, tls: bool, connect: Connect) -> socket.socket:
    """Connect to a target, through the proxy if there is one. Raises OSError, HTTPException, _Refused."""
    address = address_of(proxy) if proxy else (host, port)
    place = "{}:{}".format(*address)
    sock = connect(address, SECONDS)
    try:
        if proxy.startswith("https://"):
            try:
                sock = context_of(settings.certificates).wrap_socket(sock, server_hostname=address[0])
            except ssl.SSLError as error:
                raise _Refused(tls_failure(f"the proxy {place}", error)) from None
        if not proxy or not tls:
            return sock
        lines = [f"CONNECT {host}:{port} HTTP/1.1", f"Host: {host}:{port}", *_authorization(settings)]
        answer = _send(sock, lines, "CONNECT")
        methods, location = _methods(answer.headers), answer.headers.get("Location") or ""
        finding = _tunnel_answer(answer.status, answer.reason, place, host, settings.username, methods, location)
        if finding is not None:
            raise _Refused(finding)
    except BaseException:
        sock.close()
        raise
    return sock


def _authorization(settings: Settings) -> list[str]:
    if not settings.username:
        return []
    token = base64.b64encode(f"{settings.username}:{settings.password}".encode()).decode()
    return [f"Proxy-Authorization: Basic {token}"]


def _send(sock: socket.socket, lines: Sequence[str], method: str) -> http.client.HTTPResponse:
    sock.settimeout(SECONDS)
    sock.sendall(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1"))
    answer = peers.receive(sock, method, time.monotonic() + SECONDS, _MOST)
    sock.settimeout(SECONDS)
    return answer


def _page_findings(
    answer: http.client.HTTPResponse, settings: Settings, place: str, host: str, by_proxy: bool
) -> list[Finding]:
    """Return the problems that the answer itself shows."""
    found = []
    location = answer.headers.get("Location") or ""
    if by_proxy and answer.status in (403, 407, 502, 503, 504):
        methods = _methods(answer.headers)
        finding = _tunnel_answer(answer.status, answer.reason, place, host, settings.username, methods, "")
        found += [finding] if finding else []
    elif (
        answer.status == 511
        or (answer.status in (302, 303, 307) and _LOGIN_PLACE.search(location))
        or (answer.headers.get_content_type() == "text/html" and _LOGIN_FORM.search(answer.read(_MOST)))
    ):
        found.append(login_page(host))
    said = email.utils.parsedate(answer.headers.get("Date") or "")
    off = time.time() - calendar.timegm(said) if said else 0.0
    if abs(off) > CLOCK_SECONDS:
        way = "ahead of" if off > 0 else "behind"
        found.append(
            Finding(
                "CLOCK",
                f"the clock here is {abs(off) / 60:.0f} minutes {way} that of {host}. Set it: certificates and logins"
                " depend on it",
            )
        )
    return found


def _certificate(settings: Settings, proxy: str, host: str, port: int, connect: Connect) -> bytes:
    """Return the certificate of an untrusted host, to say what is wrong with it. Sends no request."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        sock = _reach(settings, proxy, host, port, True, connect)
        with sock, context.wrap_socket(sock, server_hostname=host) as wrapped:
            return wrapped.getpeercert(True) or b""
    except (OSError, http.client.HTTPException, _Refused):
        return b""


def _ca_as_server(host: str, der: bytes) -> list[Finding]:
    if not is_ca(der):
        return []
    return [
        Finding(
            "CA_AS_SERVER",
            f"{host} uses a CA's own certificate as its server certificate. uv refuses that even if the CA is trusted"
            " (CaUsedAsEndEntity). Issue a server certificate from it (CA:FALSE, serverAuth, with the name)",
        )
    ]


# --- SOCKS ----------------------------------------------------------------------------------------

_SITES = (
    "/usr/lib/python3*/dist-packages",
    "/usr/lib/python3*/site-packages",
    layout.CURRENT + "/env/lib/python3*/site-packages",
)
# What SOCKS needs: distribution, its module, and the clients that use it.
_SOCKS = (("PySocks", "socks.py", ("requests", "pip")), ("socksio", "socksio", ("httpx",)))


def socks_findings(settings: Settings, root: str = "") -> list[Finding]:
    """Report Python environments of a host that lack the package that their clients need for SOCKS."""
    if not settings.all.startswith("socks"):
        return []
    found = []
    for site in sorted({path for pattern in _SITES for path in glob.glob(root + pattern)}):
        there = set(os.listdir(site))
        lacks = [name for name, module, clients in _SOCKS if there.intersection(clients) and module not in there]
        if lacks:
            found.append(
                Finding(
                    "SOCKS_PACKAGE",
                    f"proxy_all is a SOCKS proxy, but {site[len(root) :]} lacks {' and '.join(lacks)}, so its clients"
                    " fail. Install it there, or use an HTTP proxy (proxy_http, proxy_https)",
                )
            )
    return found
