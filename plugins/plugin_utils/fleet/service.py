# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a host's service listens, and where clients find it. All roles use this one answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from . import cluster

LOOPBACK = ("127.0.0.1", "localhost", "::1")
# If a service listens on all addresses, a program on the host asks it on loopback.
_EVERY = {"0.0.0.0": "127.0.0.1", "::": "::1"}


def at(host: str, port: int) -> str:
    """``host:port``, with brackets around an IPv6 address."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


@dataclass(frozen=True)
class Service:
    """The service of one host.

    node      ``whole`` for an independent host, else ``supervisor`` or ``worker``
    host      the address on which the host listens
    port      the port on which the host listens; a worker's is the one for its supervisor
    open      whether other hosts can reach that address
    reach     the address by which other hosts reach this one
    ask_host  the address at which a program on this host asks for speech; a worker asks its supervisor
    ask_port  the port for that
    metrics   the targets for Prometheus, each as ``address:port``; empty if the service listens only on loopback
    cluster   the cluster as ``Cluster.as_dict`` describes it; empty for an independent host
    """

    node: str
    host: str
    port: int
    open: bool
    reach: str
    ask_host: str
    ask_port: int
    metrics: tuple[str, ...] = ()
    cluster: Mapping[str, Any] = field(default_factory=dict)

    @property
    def endpoint(self) -> str:
        """The address of the API, without a path, as a program on this host asks it."""
        return "http://" + self.gateway

    @property
    def gateway(self) -> str:
        """The address and port at which a gateway on this host asks the service."""
        return at(self.ask_host, self.ask_port)

    def as_dict(self) -> dict[str, Any]:
        """The fields and the endpoint, as data for JSON."""
        return {**asdict(self), "metrics": list(self.metrics), "endpoint": self.endpoint}


def whole(own: Mapping[str, Any], name: str) -> Service:
    """The service of an independent host."""
    host, port = str(own["xinference_host"] or LOOPBACK[0]), int(own["xinference_port"])
    reach = str(own.get("ansible_host") or name) if host in _EVERY else host
    ports = [port, int(own["xinference_metrics_port"])]
    is_open = host not in LOOPBACK
    return Service(
        node="whole",
        host=host,
        port=port,
        open=is_open,
        reach=reach,
        ask_host=_EVERY.get(host, host),
        ask_port=port,
        metrics=tuple(at(reach, each) for each in ports if each) if is_open else (),
    )


def member(own: Mapping[str, Any], name: str, found: cluster.Cluster) -> Service:
    """The service of a member of a cluster. All members ask the supervisor."""
    me = next(each for each in found.members if each.name == name)
    node = "supervisor" if me == found.supervisor else "worker"
    host = str(own["xinference_host"] or me.address)
    served = ["xinference_port"] if node == "supervisor" else []
    if node == "worker" or found.works:
        served.append("xinference_metrics_port")
    return Service(
        node=node,
        host=host,
        port=me.ports["xinference_port" if node == "supervisor" else "xinference_worker_port"],
        open=True,
        reach=me.address,
        ask_host=found.supervisor.address,
        ask_port=found.supervisor.ports["xinference_port"],
        metrics=tuple(me.at(port) for port in served),
        cluster=found.as_dict(),
    )


def of(
    hosts: cluster.HostVars,
    groups: Mapping[str, Sequence[str]],
    name: str,
    own: Mapping[str, Any] | None = None,
    lookup: cluster.Resolver = cluster.resolve,
) -> Service:
    """The service of a host.

    ``hosts`` are the inventory's variables by host, with all settings. ``own`` are the host's variables if a play
    changes some of them, as for a candidate. Raises :class:`cluster.ClusterError`.
    """
    own = hosts[name] if own is None else own
    if own["xinference_topology"] != "cluster":
        return whole(own, name)
    return member(own, name, cluster.read(hosts, groups, name, lookup))
