# SPDX-License-Identifier: GPL-3.0-or-later
"""A cluster of Xinference in the inventory: one supervisor, its workers, and the address of each."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

SUPERVISOR_GROUP = "voicefleet_supervisor"
WORKERS_GROUP = "voicefleet_workers"
# A setting fixes each of these ports, so that a packet filter can name it. The kernel chooses the port of a model's
# process, and nothing can fix that one (xoscar's append_sub_pool).
PORTS = ("xinference_port", "xinference_supervisor_port", "xinference_worker_port", "xinference_metrics_port")
SUPERVISOR_PORTS = ("xinference_port", "xinference_supervisor_port")
WORKER_PORTS = ("xinference_worker_port", "xinference_metrics_port")

HostVars = Mapping[str, Mapping[str, Any]]
Resolver = Callable[[str], "list[str]"]


class ClusterError(Exception):
    """The inventory does not describe a cluster. ``faults`` has one sentence for each mistake."""

    def __init__(self, faults: Sequence[str]) -> None:
        super().__init__(" ".join(faults))
        self.faults = list(faults)


@dataclass(frozen=True)
class Member:
    """One host of a cluster. ``address`` is the IPv4 address by which the other members reach it."""

    name: str
    address: str
    ports: Mapping[str, int]

    def at(self, port: str) -> str:
        """``address:port`` of one of :data:`PORTS`."""
        return f"{self.address}:{self.ports[port]}"


@dataclass(frozen=True)
class Cluster:
    """A supervisor and its workers. ``works`` says whether the supervisor's host also runs a worker."""

    supervisor: Member
    workers: tuple[Member, ...]
    works: bool = False

    @property
    def members(self) -> tuple[Member, ...]:
        return (self.supervisor, *(worker for worker in self.workers if worker.name != self.supervisor.name))

    def ports_of(self, name: str) -> dict[str, int]:
        """The ports that a member listens on, by variable."""
        member = next(member for member in self.members if member.name == name)
        wanted: tuple[str, ...] = SUPERVISOR_PORTS if name == self.supervisor.name else WORKER_PORTS
        if name == self.supervisor.name and self.works:
            wanted += WORKER_PORTS
        return {port: member.ports[port] for port in wanted}

    def as_dict(self) -> dict[str, Any]:
        """What the roles need to know of the members, as data for JSON."""
        return {
            "works": self.works,
            "supervisor": self.supervisor.name,
            "members": [member.name for member in self.members],
            "addresses": [member.address for member in self.members],
            "workers": [
                {"address": worker.at("xinference_worker_port"), "metrics": worker.at("xinference_metrics_port")}
                for worker in self.workers
            ],
        }


def resolve(name: str) -> list[str]:
    """The IPv4 addresses of a name, as the controller resolves it. Empty if it cannot."""
    try:
        return sorted({str(found[4][0]) for found in socket.getaddrinfo(name, None, socket.AF_INET)})
    except (OSError, UnicodeError):
        return []


def _names(hosts: HostVars, groups: Mapping[str, Sequence[str]], host: str, faults: list[str]) -> tuple[str, list[str]]:
    """The names of supervisor and workers, from the variables of one member, else from the groups."""
    given = hosts[host]
    supervisor = str(given.get("xinference_supervisor") or "")
    if not supervisor:
        group = list(groups.get(SUPERVISOR_GROUP, []))
        if len(group) != 1:
            faults.append(
                f"A cluster has one supervisor, and the group {SUPERVISOR_GROUP} has {len(group)} hosts"
                f"{': ' + ', '.join(group) if group else ''}. Put one host in it, or name one in xinference_supervisor."
            )
        supervisor = group[0] if len(group) == 1 else ""
    workers = given.get("xinference_workers") or groups.get(WORKERS_GROUP, [])
    if isinstance(workers, str):
        faults.append("xinference_workers must be a list of inventory hosts.")
        workers = []
    workers = [name for name in dict.fromkeys(map(str, workers)) if name != supervisor]
    if _true(given.get("xinference_supervisor_works")) and supervisor:
        workers.append(supervisor)
    if not workers:
        faults.append(
            f"The cluster has no worker: put hosts in the group {WORKERS_GROUP}, name them in xinference_workers, or"
            " let the supervisor work too (xinference_supervisor_works)."
        )
    return supervisor, workers


def _true(value: Any) -> bool:
    return str(value).lower() in ("true", "yes", "on", "1", "y", "t")


def _address(name: str, given: Mapping[str, Any], lookup: Resolver, faults: list[str]) -> str:
    """A member's IPv4 address. If the other members cannot reach one, add a fault and return ""."""
    wanted = str(given.get("xinference_address") or given.get("ansible_host") or name)
    found = [wanted] if _ipv4(wanted) else lookup(wanted)
    remedy = f"Set xinference_address of {name} to the IPv4 address by which the other members reach it."
    if not found:
        faults.append(f"{name}: {wanted} is not an IPv4 address, and the controller cannot resolve it. {remedy}")
        return ""
    if len(found) > 1:
        faults.append(f"{name}: {wanted} has several addresses ({', '.join(found)}). {remedy}")
        return ""
    parsed = ipaddress.IPv4Address(found[0])
    if parsed.is_loopback or parsed.is_unspecified or parsed.is_multicast or parsed.is_link_local:
        kind = "loopback" if parsed.is_loopback else "not the address of one host"
        faults.append(f"{name}: {found[0]} is {kind}, so the other members cannot reach it. {remedy}")
        return ""
    return found[0]


def _ipv4(text: str) -> bool:
    try:
        ipaddress.IPv4Address(text)
    except ValueError:
        return False
    return True


def _ports(name: str, given: Mapping[str, Any], faults: list[str]) -> dict[str, int]:
    ports = {}
    for variable in PORTS:
        value = given[variable]
        try:
            ports[variable] = int(value)
        except (TypeError, ValueError):
            ports[variable] = 0
        if not 0 < ports[variable] < 65536:
            faults.append(f"{name}: {variable} is {value!r}, which is not a port.")
    taken: dict[int, str] = {}
    for variable, port in ports.items():
        if port in taken and port:
            faults.append(f"{name}: {taken[port]} and {variable} are both {port}. Each needs its own port.")
        taken.setdefault(port, variable)
    return ports


def read(hosts: HostVars, groups: Mapping[str, Sequence[str]], host: str, lookup: Resolver = resolve) -> Cluster:
    """The cluster of a host. ``hosts`` are the inventory's variables by host, with all settings.

    Raises :class:`ClusterError` with every mistake.
    """
    faults: list[str] = []
    supervisor, workers = _names(hosts, groups, host, faults)
    names = list(dict.fromkeys([*([supervisor] if supervisor else []), *workers]))
    unknown = [name for name in names if name not in hosts]
    if unknown:
        faults.append(f"The inventory does not know {', '.join(unknown)}.")
    if names and host not in names:
        faults.append(
            f"{host} is neither the supervisor nor a worker of its cluster ({', '.join(names)}). Name it among"
            f" xinference_workers, put it in the group {WORKERS_GROUP}, or set its xinference_topology to independent."
        )
    members = {}
    for name in names:
        if name in unknown:
            continue
        given = hosts[name]
        if given.get("xinference_topology") != "cluster":
            faults.append(f"{name} is a member of the cluster, but its xinference_topology is not cluster.")
        other = str(given.get("xinference_supervisor") or supervisor)
        if other != supervisor:
            faults.append(f"{name} has another xinference_supervisor: {other}, not {supervisor}.")
        members[name] = Member(name, _address(name, given, lookup, faults), _ports(name, given, faults))
    by_address: dict[str, str] = {}
    for member in members.values():
        if member.address and member.address in by_address:
            faults.append(f"{by_address[member.address]} and {member.name} have the same address, {member.address}.")
        by_address.setdefault(member.address, member.name)
    if faults:
        raise ClusterError(faults)
    return Cluster(members[supervisor], tuple(members[name] for name in workers), supervisor in workers)


def absent(cluster: Cluster, batch: Sequence[str]) -> str | None:
    """A sentence if the play's batch lacks members: a cluster changes as a whole or not at all."""
    missing = [member.name for member in cluster.members if member.name not in batch]
    if not missing:
        return None
    return (
        f"{', '.join(missing)} of the cluster {'is' if len(missing) == 1 else 'are'} not in this run or failed in it."
        " The members of a cluster must change together, because processes of two releases cannot talk to each other."
        " Run for all of them at once: without a --limit that omits some, and in one batch."
    )
