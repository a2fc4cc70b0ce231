# SPDX-License-Identifier: GPL-3.0-or-later
"""Proxies on the controller: read certificates, check the settings, and use a proxy for a fetch."""

from __future__ import annotations

import contextlib
import os
import re
import ssl
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from ...module_utils.proxy import probe as proxy_probe, settings as proxy

_PEM = re.compile(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)
_PEER = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.:-]*[A-Za-z0-9_])?")


class ProxyError(Exception):
    """Settings that cannot be used. The message has one sentence a line, and no secret."""


def read_certificates(paths: Iterable[str], now: float | None = None) -> tuple[str, ...]:
    """The CAs in PEM files, one text each. Raises ProxyError with every problem."""
    found: list[str] = []
    wrong: list[str] = []
    for path in paths:
        try:
            text = Path(path).read_text(encoding="ascii")
        except (OSError, UnicodeDecodeError) as error:
            why = getattr(error, "strerror", None) or "it is not PEM; convert it: openssl x509 -inform der -in FILE"
            wrong.append(f"proxy_ca_certificates: {path} cannot be read: {why}")
            continue
        if "PRIVATE KEY-----" in text:
            wrong.append(f"proxy_ca_certificates: {path} holds a private key, which must not be sent to hosts")
            continue
        blocks = [block + "\n" for block in _PEM.findall(text)]
        if not blocks:
            wrong.append(f"proxy_ca_certificates: {path} holds no certificate (-----BEGIN CERTIFICATE-----)")
        for number, block in enumerate(blocks, 1):
            place = path if len(blocks) == 1 else f"{path}, certificate {number}"
            problem = _certificate_problem(block, time.time() if now is None else now)
            if problem:
                wrong.append(f"proxy_ca_certificates: {place} {problem}")
            found.append(block)
    if wrong:
        raise ProxyError("\n".join(wrong))
    return tuple(dict.fromkeys(found))


def _certificate_problem(pem: str, now: float) -> str | None:
    try:
        der = ssl.PEM_cert_to_DER_cert(pem)
        store = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        store.load_verify_locations(cadata=pem)
    except (ValueError, ssl.SSLError) as error:
        return f"is damaged ({error})"
    if not proxy_probe.is_ca(der):
        return "is a server's certificate, not a CA's: use the certificate of the CA that issued it"
    (known,) = store.get_ca_certs()
    ends, begins = (ssl.cert_time_to_seconds(str(known[key])) for key in ("notAfter", "notBefore"))
    if now > ends:
        return f"has expired ({known['notAfter']}), or this machine's clock is wrong"
    if now < begins:
        return f"is not valid before {known['notBefore']}: this machine's clock is behind"
    return None


def settings_of(arguments: dict[str, Any], peers: Iterable[str] = ()) -> proxy.Settings:
    """Checked settings from a task's arguments. Raises ProxyError with every problem."""
    wrong: list[str] = []
    certificates: tuple[str, ...] = ()
    try:
        certificates = read_certificates(arguments["ca_certificates"])
    except ProxyError as error:
        wrong.append(str(error))
    given = {
        **arguments,
        "no_proxy": [entry.strip() for line in arguments["no_proxy"] for entry in line.split(",") if entry.strip()],
        # A name with a space, such as `web server`, cannot be the name of a host in the network.
        "peers": list(dict.fromkeys(peer for peer in peers if _PEER.fullmatch(peer))),
        "certificates": certificates,
    }
    settings = proxy.Settings.of(given)
    wrong += proxy.problems(settings)
    if wrong:
        raise ProxyError("\n".join(wrong))
    return settings


# --- the controller's own way out -----------------------------------------------------------------


def unfit_for_fetch(settings: proxy.Settings) -> list[str]:
    """Proxies that a fetch cannot use, because it uses urllib."""
    found = []
    if settings.all and not (settings.http or settings.https):
        found.append("proxy_all alone does not help a fetch: urllib uses proxy_http and proxy_https, but no SOCKS")
    found += [
        f"proxy_{name}: urllib does not speak TLS to a proxy; name its http:// port"
        for name, url in settings.proxies.items()
        if url.startswith("https://") and name != "all"
    ]
    return found


def bundle(certificates: Sequence[str], folder: Path) -> Path:
    """A file with this machine's CAs and the private CAs, because the variable that names it replaces all others."""
    known = ssl.get_default_verify_paths()
    public = next((path for path in (known.cafile, known.openssl_cafile) if path and os.path.isfile(path)), None)
    text = Path(public).read_text(encoding="utf-8", errors="replace").rstrip() + "\n" if public else ""
    target = folder / "ca-bundle.pem"
    target.write_text(text + "".join(certificates), encoding="utf-8")
    return target


Asked = Callable[[Sequence[str]], None]


@contextlib.contextmanager
def way_out(arguments: dict[str, Any] | None, folder: Path) -> Iterator[Asked]:
    """Set the proxy in the environment, which urllib and uv read, and restore the environment afterwards.

    Yields a function that asks the proxy for the needed addresses. Wrong settings and that function raise ProxyError
    with every problem. If nothing is set, the environment does not change.
    """
    settings = settings_of(arguments) if arguments else proxy.Settings()
    wrong = unfit_for_fetch(settings)
    if wrong:
        raise ProxyError("\n".join(wrong))
    direct = proxy.no_proxy(settings, ())

    def asked(addresses: Sequence[str]) -> None:
        if not (arguments and arguments["probe"] and (settings.proxies or settings.certificates)):
            return
        targets = [arguments["probe_url"]] if arguments["probe_url"] else [a for a in addresses if a.startswith("http")]
        findings = [f for target in targets or [""] for f in proxy_probe.probe(settings, direct.entries, target)]
        if findings:
            raise ProxyError("\n".join(map(str, dict.fromkeys(findings))))

    trusted = str(bundle(settings.certificates, folder)) if settings.certificates else ""
    variables = proxy.environment(settings, direct, trusted, secret=True)
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield asked
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
