# SPDX-License-Identifier: GPL-3.0-or-later
"""Proxy settings: the configuration, what is wrong with it, and the environment that clients read.

What each client reads was measured with requests 2.34, httpx 0.28, urllib, pip 23, uv 0.13 and curl. Both spellings of
each name are needed. httpx crashes on ``[::1]`` and on IPv6 networks in NO_PROXY. urllib and httpx support no networks
at all. requests and pip read only ``REQUESTS_CA_BUNDLE``; httpx, urllib and uv read only ``SSL_CERT_FILE``.
"""

from __future__ import annotations

import ipaddress
import re
import urllib.parse
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

# Spellings of loopback that every client accepts. httpx fails on `[::1]`, which only urllib needs; it accepts ::1.
LOOPBACK = ("localhost", "127.0.0.1", "::1", "0.0.0.0")
# A network of at most this many addresses is listed address by address, for clients that do not support networks.
EXPANDED = 256
# The kernel refuses a single variable of 128 KiB or more.
LONGEST = 120_000

RELAY = (
    "None of the clients speaks NTLM or Kerberos to a proxy: run a relay that does on the host (cntlm, px) and set"
    " proxy_http and proxy_https to it, such as http://127.0.0.1:3128, without proxy_username"
)

_URL = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://(?P<rest>.*)")
_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?")
_NAME = re.compile(r"\.?[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_])?")
_SECRET = re.compile(r"(?<=://)[^/\s\"']*@")


def masked(text: str) -> str:
    """A text without the credentials of the addresses in it."""
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

    @property
    def proxies(self) -> dict[str, str]:
        """The proxies that are set, by the first part of their variables' names."""
        every = {"http": self.http, "https": self.https, "all": self.all}
        return {name: url for name, url in every.items() if url}

    @property
    def anything(self) -> bool:
        """Whether there is anything to set up at all."""
        return bool(self.proxies or self.pip_index_url or self.hf_endpoint or self.certificates)

    def with_credentials(self, url: str) -> str:
        """A proxy's address as clients want it: user and password percent-encoded, every sign that is not plain."""
        if not self.username:
            return url
        scheme, _colon, rest = url.partition("://")
        login = f"{urllib.parse.quote(self.username, safe='')}:{urllib.parse.quote(self.password, safe='')}"
        return f"{scheme}://{login}@{rest}"


def address_of(url: str) -> tuple[str, int]:
    """Host and port of a proxy's address that was checked."""
    parts = urllib.parse.urlsplit(url)
    return parts.hostname or "", parts.port or 0


def _url_problem(name: str, url: str) -> str | None:
    """What is wrong with a proxy's address, in a sentence; None where nothing is."""
    shown = masked(url)
    example = f"write it as http://proxy.example.com:3128 ({name})"
    if not url.isprintable() or " " in url:
        return f"{name} holds a space or a sign that can't be printed; {example}"
    match = _URL.fullmatch(url)
    if match is None:
        return f"{name}: {shown!r} does not begin with http://; {example}"
    scheme, rest = match["scheme"].lower(), match["rest"]
    if "@" in rest:
        return (
            f"{name} holds a user name or a password. Put them into proxy_username and proxy_password as they are,"
            " unencoded: signs such as # @ : / % are encoded here, and kept in files that root alone reads"
        )
    if scheme == "socks":
        return f"{name}: no client here knows the scheme socks://; write socks5h:// (the proxy resolves names) or socks5://"
    if scheme.startswith("socks") and name != "proxy_all":
        return f"{name}: a SOCKS proxy goes into proxy_all; urllib (Ansible's uri and get_url, fetch.yml) can't use it"
    if scheme not in ("http", "https") and not (name == "proxy_all" and scheme in ("socks5", "socks5h")):
        return f"{name}: {scheme}:// is no kind of proxy that the clients know; {example}"
    host_port = rest[:-1] if rest.endswith("/") else rest
    if any(sign in host_port for sign in "/?#%\\"):
        return f"{name}: {shown!r} has more than a host and a port; {example}"
    try:
        parts = urllib.parse.urlsplit(f"{scheme}://{host_port}")
        host, port = parts.hostname, parts.port
    except ValueError as error:
        return f"{name}: {shown!r} can't be read ({error}); {example}"
    if not host:
        return f"{name}: {shown!r} names no host; {example}"
    if ":" in host:
        try:
            ipaddress.IPv6Address(host)
        except ValueError:
            return f"{name}: {host!r} is no IPv6 address; {example}"
    elif _HOST.fullmatch(host) is None:
        return f"{name}: {host!r} is no host name; {example}"
    if not port:
        return f"{name}: {shown!r} names no port, and clients differ in the one that they would take; {example}"
    return None


def _mirror_problem(name: str, url: str) -> str | None:
    """What is wrong with a mirror's address."""
    # What a shell or systemd would read as something else has no place in it.
    if re.fullmatch(r"https?://[A-Za-z0-9._~:/?#\[\]@!&()*+,;=%-]+", url) is None:
        return f"{name}: {masked(url)!r} is no address; write it as https://mirror.example.com/path"
    if "@" in urllib.parse.urlsplit(url).netloc:
        return f"{name} holds a user name or a password, and everyone reads a mirror's address. Put them into ~/.netrc"
    return None


def problems(settings: Settings) -> list[str]:
    """Everything that is wrong with the settings by themselves, one sentence each, never with a secret in it."""
    found = [_url_problem(f"proxy_{name}", url) for name, url in settings.proxies.items()]
    mirrors = {"proxy_pip_index_url": settings.pip_index_url, "proxy_hf_endpoint": settings.hf_endpoint}
    found += [_mirror_problem(name, url) for name, url in mirrors.items() if url]
    if settings.password and not settings.username:
        found.append("proxy_password is set and proxy_username is not: a proxy wants both")
    if settings.username and not settings.password:
        found.append("proxy_username is set and proxy_password is not: a proxy wants both")
    if ":" in settings.username:
        found.append("proxy_username holds a colon, by which a proxy would cut it in two")
    if not (settings.username + settings.password).isprintable():
        found.append("proxy_username or proxy_password holds a line break or another sign that can't be printed")
    if settings.username and not settings.proxies:
        found.append("proxy_username is set, but neither proxy_http, proxy_https nor proxy_all")
    for entry in settings.no_proxy:
        found += _entry_problems(entry)
    return [sentence for sentence in found if sentence]


def _entry_problems(entry: str) -> list[str]:
    """What is wrong with one entry of the operator's NO_PROXY."""
    if entry == "*":
        return ["proxy_no_proxy: '*' would mean that no proxy is ever used; to turn them off set proxy_state: absent"]
    if "://" in entry:
        return [f"proxy_no_proxy: {masked(entry)!r} is an address with a scheme; name the host alone"]
    if _network(entry) is not None:
        return []
    name = entry[1:] if entry.startswith("*.") else entry
    host, _colon, port = name.rpartition(":")
    if host and port.isdigit():
        name = host
    if "/" in name or _NAME.fullmatch(name) is None:
        return [f"proxy_no_proxy: {entry!r} is no name, no suffix such as .example.com, no address and no network"]
    return []


def _network(entry: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    """An entry that is an address or a network; None for anything else. Brackets around an IPv6 address are dropped."""
    bare = entry[1:-1] if entry.startswith("[") and entry.endswith("]") else entry
    try:
        return ipaddress.ip_network(bare, strict=False)
    except ValueError:
        return None


@dataclass(frozen=True)
class NoProxy:
    """Targets that are reached directly, in the order of their importance, and what the operator should know of it."""

    entries: tuple[str, ...]
    notes: tuple[str, ...] = ()

    @property
    def value(self) -> str:
        return ",".join(self.entries)

    def at_most(self, size: int) -> NoProxy:
        """The first entries, as many as fit into ``size`` characters."""
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

    IPv4 networks stay as they are for the clients that understand them (requests, curl 7.86, uv, Docker) and small ones
    are written out beside for those that don't; IPv6 networks must not stay.
    """
    entries: list[str] = [*LOOPBACK, *own]
    notes: list[str] = []
    for given in settings.no_proxy:
        network = _network(given)
        if network is None:
            entries.append(given[1:] if given.startswith("*.") else given)
            if given.startswith("*."):
                notes.append(f"{given} was written as {given[1:]}: most clients know no asterisk")
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
                f"{network} is understood by requests, curl, uv and Docker, but not by urllib (Ansible) and httpx"
                " (huggingface_hub): hosts of the inventory are listed by address, name others one by one"
            )
        else:
            notes.append(f"{network} was left out: httpx ends at an IPv6 network; name the addresses one by one")
    entries += settings.peers
    every = tuple(dict.fromkeys(entries))
    kept = NoProxy(every).at_most(LONGEST).entries
    if kept != every:
        notes.append(f"NO_PROXY has the first {len(kept)} of {len(every)} entries: the kernel takes no longer variable")
    return NoProxy(kept, tuple(notes))


def environment(settings: Settings, direct: NoProxy, bundle: str, secret: bool) -> dict[str, str]:
    """The variables that clients read, by name.

    ``bundle`` is the file of all trusted CAs, public and private, "" where the clients' own choice does. With
    ``secret`` the proxies' addresses carry the credentials: such a result belongs into a file that root alone reads.
    """
    variables: dict[str, str] = {}
    for name, url in settings.proxies.items():
        address = settings.with_credentials(url) if secret else url
        variables[f"{name}_proxy"] = variables[f"{name.upper()}_PROXY"] = address
    if settings.proxies:
        variables["no_proxy"] = variables["NO_PROXY"] = direct.value
        # Behind an inspecting proxy large files hang: hf_xet knows no other CAs than its own.
        variables["HF_HUB_DISABLE_XET"] = "1"
        # With a proxy in sight Xinference would change to another hub.
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
    """What will work for most clients and not for all. Tried with git 2.39 and dnf 4.14, on curl 7.88."""
    if not re.search(r"%[0-9A-Fa-f]{2}", settings.password):
        return []
    return [
        "proxy_password has a percent sign before two hexadecimal digits. Is it encoded already? Then give it as it is."
        " If it is not: git and dnf decode it once more than the others and get a 407; ask for another password"
    ]


def secrets_of(settings: Settings) -> list[str]:
    """All spellings of the password, so that it can be kept out of what is shown."""
    if not settings.password:
        return []
    return sorted({settings.password, urllib.parse.quote(settings.password, safe="")}, key=len, reverse=True)


def applies(settings: Settings, url: str, direct: Sequence[str]) -> str:
    """The proxy by which a client would reach an address, "" for none."""
    parts = urllib.parse.urlsplit(url)
    host = parts.hostname or ""
    if any(host == entry.lstrip(".") or host.endswith("." + entry.lstrip(".")) for entry in direct):
        return ""
    return settings.proxies.get(parts.scheme, settings.all)
