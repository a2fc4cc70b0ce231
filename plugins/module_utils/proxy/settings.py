# SPDX-License-Identifier: GPL-3.0-or-later
"""Proxy settings: check them, and compute the environment that clients read.

What each client reads was measured with requests 2.34, httpx 0.28, urllib, pip 23, uv 0.13 and curl. Both spellings of
each name are needed. httpx crashes on ``[::1]`` and on IPv6 networks in NO_PROXY. urllib and httpx support no networks
at all. requests and pip read only ``REQUESTS_CA_BUNDLE``; httpx, urllib and uv read only ``SSL_CERT_FILE``.
"""

from __future__ import annotations

import ipaddress
import re
import urllib.parse
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

# Spellings of loopback that every client accepts. httpx fails on `[::1]`, which only urllib needs; it accepts ::1.
LOOPBACK = ("localhost", "127.0.0.1", "::1", "0.0.0.0")
# A network of at most this many addresses is listed address by address, for clients that do not support networks.
EXPANDED = 256
# The kernel refuses a single variable of 128 KiB or more.
LONGEST = 120_000

RELAY = (
    "No client here supports NTLM or Kerberos with a proxy. Run a relay on the host (cntlm, px) and set proxy_http and"
    " proxy_https to it, such as http://127.0.0.1:3128, without proxy_username"
)

_URL = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://(?P<rest>.*)")
_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?")
_NAME = re.compile(r"\.?[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_])?")
_SECRET = re.compile(r"(?<=://)[^/\s\"']*@")


def masked(text: str) -> str:
    """Return a text without the credentials of the addresses in it."""
    return _SECRET.sub("***@", text)


@dataclass(frozen=True)
class Settings:
    """What was configured. Addresses hold no credentials; ``username`` and ``password`` are not encoded."""

    http: str = ""
    https: str = ""
    all: str = ""
    no_proxy: tuple[str, ...] = ()
    username: str = ""
    password: str = field(default="", repr=False)
    pip_index_url: str = ""
    hf_endpoint: str = ""
    peers: tuple[str, ...] = ()  # names and addresses of the other hosts
    certificates: tuple[str, ...] = ()  # private CAs, one PEM text each

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> Settings:
        """Return the settings among a module's options, whose types Ansible has checked."""
        given: dict[str, Any] = {each.name: options[each.name] for each in fields(cls)}
        given.update((name, tuple(value)) for name, value in given.items() if isinstance(value, list))
        return cls(**given)

    @property
    def proxies(self) -> dict[str, str]:
        """The proxies that are set: {"http": ..., "https": ..., "all": ...}."""
        every = {"http": self.http, "https": self.https, "all": self.all}
        return {name: url for name, url in every.items() if url}

    @property
    def anything(self) -> bool:
        """Whether there is anything to set up."""
        return bool(self.proxies or self.pip_index_url or self.hf_endpoint or self.certificates)

    def with_credentials(self, url: str) -> str:
        """Return a proxy's address with user and password, percent-encoded."""
        if not self.username:
            return url
        scheme, _colon, rest = url.partition("://")
        login = f"{urllib.parse.quote(self.username, safe='')}:{urllib.parse.quote(self.password, safe='')}"
        return f"{scheme}://{login}@{rest}"


def address_of(url: str) -> tuple[str, int]:
    """Return host and port of a proxy's address that was checked."""
    parts = urllib.parse.urlsplit(url)
    return parts.hostname or "", parts.port or 0


def _url_problem(name: str, url: str) -> str | None:
    """Say what is wrong with a proxy's address; None if nothing is."""
    shown = masked(url)
    example = f"write it as http://proxy.example.com:3128 ({name})"
    if not url.isprintable() or " " in url:
        return f"{name} contains a space or an unprintable character; {example}"
    match = _URL.fullmatch(url)
    if match is None:
        return f"{name}: {shown!r} does not begin with http://; {example}"
    scheme, rest = match["scheme"].lower(), match["rest"]
    if "@" in rest:
        return (
            f"{name} contains a user or a password. Set proxy_username and proxy_password instead, unencoded. The role"
            " encodes characters such as # @ : / % and keeps both in files that only root can read"
        )
    if scheme == "socks":
        return f"{name}: no client here supports socks://. Write socks5h:// (the proxy resolves names) or socks5://"
    if scheme.startswith("socks") and name != "proxy_all":
        return f"{name}: set a SOCKS proxy in proxy_all. urllib (Ansible's uri and get_url, fetch.yml) cannot use it"
    if scheme not in ("http", "https") and not (name == "proxy_all" and scheme in ("socks5", "socks5h")):
        return f"{name}: the clients support no {scheme}:// proxies; {example}"
    host_port = rest[:-1] if rest.endswith("/") else rest
    if any(sign in host_port for sign in "/?#%\\"):
        return f"{name}: {shown!r} contains more than a host and a port; {example}"
    try:
        parts = urllib.parse.urlsplit(f"{scheme}://{host_port}")
        host, port = parts.hostname, parts.port
    except ValueError as error:
        return f"{name}: {shown!r} cannot be parsed ({error}); {example}"
    if not host:
        return f"{name}: {shown!r} names no host; {example}"
    if ":" in host:
        try:
            ipaddress.IPv6Address(host)
        except ValueError:
            return f"{name}: {host!r} is not an IPv6 address; {example}"
    elif _HOST.fullmatch(host) is None:
        return f"{name}: {host!r} is not a host name; {example}"
    if not port:
        return f"{name}: {shown!r} names no port, and clients have different defaults; {example}"
    return None


def _mirror_problem(name: str, url: str) -> str | None:
    """Say what is wrong with a mirror's address; None if nothing is."""
    # Refuse characters that a shell or systemd would interpret.
    if re.fullmatch(r"https?://[A-Za-z0-9._~:/?#\[\]@!&()*+,;=%-]+", url) is None:
        return f"{name}: {masked(url)!r} is not a valid address. Write it as https://mirror.example.com/path"
    if "@" in urllib.parse.urlsplit(url).netloc:
        return f"{name} contains a user or a password, but every user of the host can read it. Put them into ~/.netrc"
    return None


def problems(settings: Settings) -> list[str]:
    """Return everything that is wrong with the settings themselves, one sentence each, without secrets."""
    found = [_url_problem(f"proxy_{name}", url) for name, url in settings.proxies.items()]
    mirrors = {"proxy_pip_index_url": settings.pip_index_url, "proxy_hf_endpoint": settings.hf_endpoint}
    found += [_mirror_problem(name, url) for name, url in mirrors.items() if url]
    if settings.password and not settings.username:
        found.append("proxy_password is set but proxy_username is not: a proxy needs both")
    if settings.username and not settings.password:
        found.append("proxy_username is set but proxy_password is not: a proxy needs both")
    if ":" in settings.username:
        found.append("proxy_username contains a colon, where a proxy would split it")
    if not (settings.username + settings.password).isprintable():
        found.append("proxy_username or proxy_password contains a line break or another unprintable character")
    if settings.username and not settings.proxies:
        found.append("proxy_username is set, but neither proxy_http, proxy_https nor proxy_all")
    for entry in settings.no_proxy:
        found += _entry_problems(entry)
    return [sentence for sentence in found if sentence]


def _entry_problems(entry: str) -> list[str]:
    """Say what is wrong with one entry of the operator's NO_PROXY."""
    if entry == "*":
        return ["proxy_no_proxy: '*' would switch all proxies off. To do that, set proxy_state: absent"]
    if "://" in entry:
        return [f"proxy_no_proxy: {masked(entry)!r} contains a scheme. Name only the host"]
    if _network(entry) is not None:
        return []
    name = entry[1:] if entry.startswith("*.") else entry
    host, _colon, port = name.rpartition(":")
    if host and port.isdigit():
        name = host
    if "/" in name or _NAME.fullmatch(name) is None:
        return [f"proxy_no_proxy: {entry!r} is not a name, a suffix such as .example.com, an address or a network"]
    return []


def _network(entry: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    """Parse an entry as an address or a network, without brackets; None if it is neither."""
    bare = entry[1:-1] if entry.startswith("[") and entry.endswith("]") else entry
    try:
        # Python takes any text after a percent sign in an IPv6 address.
        return ipaddress.ip_network(bare.replace("%", "!"), strict=False)
    except ValueError:
        return None


@dataclass(frozen=True)
class NoProxy:
    """Targets that are reached directly, most important first, and notes for the operator."""

    entries: tuple[str, ...]
    notes: tuple[str, ...] = ()

    @property
    def value(self) -> str:
        return ",".join(self.entries)

    def at_most(self, size: int) -> NoProxy:
        """Return as many of the first entries as fit into ``size`` characters."""
        kept: list[str] = []
        room = size
        for entry in self.entries:
            room -= len(entry) + 1
            if room < 0:
                break
            kept.append(entry)
        return self if len(kept) == len(self.entries) else NoProxy(tuple(kept), self.notes)


def no_proxy(settings: Settings, own: Iterable[str]) -> NoProxy:
    """Compute NO_PROXY from loopback, the host's ``own`` names and addresses, the operator's list and the peers.

    IPv4 networks stay for the clients that understand them (requests, curl 7.86, uv, Docker). Small networks are also
    listed address by address for the others. IPv6 networks must not stay.
    """
    entries: list[str] = [*LOOPBACK, *own]
    notes: list[str] = []
    for given in settings.no_proxy:
        network = _network(given)
        if network is None:
            entries.append(given[1:] if given.startswith("*.") else given)
            if given.startswith("*."):
                notes.append(f"{given} was written as {given[1:]}, because most clients do not support asterisks")
            continue
        if network.num_addresses == 1:
            entries.append(str(network.network_address))
            continue
        if network.version == 4:
            entries.append(str(network))
        if network.num_addresses <= EXPANDED:
            entries += [str(address) for address in network]
        elif network.version == 4:
            notes.append(
                f"{network} works for requests, curl, uv and Docker, but not for urllib (Ansible) and httpx"
                " (huggingface_hub). Hosts of the inventory are listed by address. List other addresses one by one"
            )
        else:
            notes.append(f"{network} was left out, because httpx fails on IPv6 networks. List its addresses one by one")
    entries += settings.peers
    every = tuple(dict.fromkeys(entries))
    kept = NoProxy(every).at_most(LONGEST).entries
    if kept != every:
        notes.append(
            f"NO_PROXY has only the first {len(kept)} of {len(every)} entries, because the kernel limits its length"
        )
    return NoProxy(kept, tuple(notes))


def environment(settings: Settings, direct: NoProxy, bundle: str, secret: bool) -> dict[str, str]:
    """Return the variables that clients read, by name.

    ``bundle`` is a file with all trusted CAs, public and private; "" leaves the choice to the clients. With ``secret``,
    the proxies' addresses contain the credentials. Write such a result only to files that only root can read.
    """
    variables: dict[str, str] = {}
    for name, url in settings.proxies.items():
        address = settings.with_credentials(url) if secret else url
        variables[f"{name}_proxy"] = variables[f"{name.upper()}_PROXY"] = address
    if settings.proxies:
        variables["no_proxy"] = variables["NO_PROXY"] = direct.value
        # hf_xet knows only its own CAs, so large files hang behind a proxy that inspects TLS.
        variables["HF_HUB_DISABLE_XET"] = "1"
        # If a proxy is set, Xinference would switch to another hub.
        variables["XINFERENCE_MODEL_SRC"] = "huggingface"
    if settings.certificates and bundle:
        names = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "PIP_CERT", "CURL_CA_BUNDLE", "GIT_SSL_CAINFO")
        variables.update((name, bundle) for name in names)
    if settings.pip_index_url:
        variables.update((name, settings.pip_index_url) for name in ("PIP_INDEX_URL", "UV_DEFAULT_INDEX"))
    if settings.hf_endpoint:
        variables["HF_ENDPOINT"] = settings.hf_endpoint.rstrip("/")
    return variables


def cautions(settings: Settings) -> list[str]:
    """Warn of what works for most clients but not for all. Tested with git 2.39 and dnf 4.14, on curl 7.88."""
    if not re.search(r"%[0-9A-Fa-f]{2}", settings.password):
        return []
    return [
        "proxy_password has a percent sign before two hexadecimal digits. If it is already encoded, set it unencoded."
        " If not, git and dnf decode it once more than other clients and get a 407. Ask for another password"
    ]


def secrets_of(settings: Settings) -> list[str]:
    """Return all spellings of the password, to hide them in what is shown."""
    if not settings.password:
        return []
    return sorted({settings.password, urllib.parse.quote(settings.password, safe="")}, key=len, reverse=True)


def applies(settings: Settings, url: str, direct: Sequence[str]) -> str:
    """Return the proxy that a client would use for an address, "" for none."""
    parts = urllib.parse.urlsplit(url)
    host = parts.hostname or ""
    if any(host == entry.lstrip(".") or host.endswith("." + entry.lstrip(".")) for entry in direct):
        return ""
    return settings.proxies.get(parts.scheme, settings.all)
