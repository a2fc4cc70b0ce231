# SPDX-License-Identifier: GPL-3.0-or-later
"""Limit who reaches the ports of Xinference: our own nftables table, and the unit that loads it.

Xinference's processes obey everyone who reaches their ports and knows the cluster's key. The filter is the second lock.
Pinned ports are filtered on input. The kernel chooses the port of a model process, so that is filtered on output: the
service's user may only send to members. A connection whose answer is dropped is never established.
"""

from __future__ import annotations

import ipaddress
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from . import layout
from .systemd_unit import MARKER

TABLE = "voicefleet"
# An empty chain that marks the table as ours. Old kernels keep no comment of a table.
MARK = "managed_by_voicefleet_kokoro"
# Names that IPAddressAllow= of systemd knows (systemd.resource-control(5)).
LOCAL_NAMES = ("localhost", "link-local")
_USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,31}\Z")
PATH = "/usr/sbin:/sbin:/usr/local/sbin:/usr/bin:/bin"


FOREIGN = f"the nftables table inet {TABLE} was not made by this collection"


class FilterError(ValueError):
    """A value cannot be used in a rule."""


@dataclass(frozen=True)
class Rules:
    """Who may connect. Members reach all ports, ``clients`` the API and ``metrics_networks`` the metrics.

    An independent host has no members: its processes use loopback to reach each other.

    ``clients`` is written as for ``IPAddressAllow=``, and ``any`` allows everyone.
    """

    user: str
    members: Sequence[str]
    private: Sequence[int] = ()
    api: Sequence[int] = ()
    clients: Sequence[str] = ()
    metrics: Sequence[int] = ()
    metrics_networks: Sequence[str] = ()


def find_nft() -> str | None:
    """The path of nft, or None if nftables is not installed."""
    return shutil.which("nft", path=PATH)


def _families(networks: Sequence[str]) -> dict[str, list[str]]:
    """Networks by family, as nft names it. Overlapping ones are merged, because an nftables set refuses them."""
    parsed = []
    for text in networks:
        try:
            # Python takes any text after a percent sign in an IPv6 address.
            parsed.append(ipaddress.ip_network(text.replace("%", "!"), strict=False))
        except ValueError:
            raise FilterError(f"{text!r} is not an address and not a network") from None
    v4 = [network for network in parsed if isinstance(network, ipaddress.IPv4Network)]
    v6 = [network for network in parsed if isinstance(network, ipaddress.IPv6Network)]
    return {
        "ip": [_short(network) for network in ipaddress.collapse_addresses(v4)],
        "ip6": [_short(network) for network in ipaddress.collapse_addresses(v6)],
    }


def _short(network: ipaddress.IPv4Network | ipaddress.IPv6Network) -> str:
    return str(network.network_address) if network.num_addresses == 1 else str(network)


def _ports(ports: Sequence[int]) -> str:
    return "{ " + ", ".join(str(port) for port in sorted(set(ports))) + " }"


def _accept(begin: str, end: str, networks: Mapping[str, Sequence[str]]) -> list[str]:
    """A rule for each family: packets whose sender (``saddr``) or receiver (``daddr``) is in its networks may pass."""
    return [f"{begin} {family} {end} {{ {', '.join(values)} }} accept" for family, values in networks.items() if values]


def _let_in(ports: Sequence[int], networks: Mapping[str, Sequence[str]]) -> list[str]:
    return _accept(f"tcp dport {_ports(ports)}", "saddr", networks)


def text(rules: Rules) -> str:
    """The file for ``nft -f``. It replaces our table in one step and no other. Raises :class:`FilterError`."""
    if not _USER.match(rules.user):
        raise FilterError(f"{rules.user!r} is not the name of a user")
    members = _families(rules.members)
    incoming, closed = ['iif "lo" accept'], set(rules.private)
    if rules.private:
        incoming += _let_in(rules.private, members)
    clients = [name for name in rules.clients if name not in LOCAL_NAMES]
    if rules.api and "any" not in clients:
        incoming += _let_in(rules.api, _families([*rules.members, *clients]))
        closed.update(rules.api)
    if rules.metrics:
        incoming += _let_in(rules.metrics, _families([*rules.members, *rules.metrics_networks]))
        closed.update(rules.metrics)
    if closed:
        incoming.append(f"tcp dport {_ports(sorted(closed))} drop")
    owner = f'meta skuid "{rules.user}"'
    outgoing = ['oif "lo" accept', *_accept(owner, "daddr", members)]
    answering = [*rules.api, *rules.metrics]
    if answering:
        outgoing.append(f"{owner} tcp sport {_ports(answering)} accept")
    outgoing.append(f"{owner} drop")
    lines = [
        MARKER,
        f"# Who may reach this host's Xinference. {layout.FILTER_UNIT} loads it and changes no other table.",
        f"table inet {TABLE}",
        f"delete table inet {TABLE}",
        f"table inet {TABLE} {{",
        f"    chain {MARK} {{",
        "    }",
        "    chain input {",
        "        type filter hook input priority filter; policy accept;",
        *(f"        {line}" for line in incoming),
        "    }",
        "    # The kernel chooses the port of a model process, so its answers are dropped unless they go to members.",
        "    chain output {",
        "        type filter hook output priority filter; policy accept;",
        *(f"        {line}" for line in outgoing),
        "    }",
        "}",
    ]
    return "\n".join(lines) + "\n"


def unit(nft: str, path: str) -> str:
    """The unit that loads the file at boot and removes the table when it stops. It fails if the table is not ours."""
    there = f"{nft} list table inet {TABLE} >/dev/null 2>&1"
    ours = f"{nft} list chain inet {TABLE} {MARK} >/dev/null 2>&1"
    check = f"/bin/sh -c '! {there} || {ours} || {{ echo \"{FOREIGN}\" >&2; exit 1; }}'"
    return f"""{MARKER}
[Unit]
Description=Packet filter of Xinference's ports, by voicefleet
DefaultDependencies=no
Wants=network-pre.target
Before=network-pre.target shutdown.target
Conflicts=shutdown.target
After=local-fs.target nss-user-lookup.target
# On some systems, their start empties all rules.
After=nftables.service firewalld.service
ReloadPropagatedFrom=nftables.service

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStartPre={check}
ExecStart={nft} -f {path}
ExecReload={check}
ExecReload={nft} -f {path}
ExecStop={nft} "delete chain inet {TABLE} {MARK}; delete table inet {TABLE}"

[Install]
WantedBy=multi-user.target
"""
