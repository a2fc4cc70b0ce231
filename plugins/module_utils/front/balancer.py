# SPDX-License-Identifier: GPL-3.0-or-later
"""The balancer's nodes and keys, and the state in which HAProxy sees each node."""

from __future__ import annotations

import contextlib
import csv
import hashlib
import ipaddress
import os
import re
import socket
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..host import direct
from ..xinference import config as xinference_config

# The proxies of the template that send requests to a node.
SENDERS = ("nodes", "alone", "mandarin", "hears")
ANSWER_BYTES = 4 << 20  # a node has two lines of a few hundred bytes
# What HAProxy accepts as the name of a server.
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}\Z")
_HOST = re.compile(r"[A-Za-z0-9.:_-]{1,253}\Z")


@dataclass(frozen=True)
class Node:
    """One independent node. ``ca`` is the authority of its certificate in PEM form, or "" for plain HTTP.

    ``hears`` says whether it serves Whisper, ``mandarin`` whether it serves the newer Mandarin model beside Kokoro.
    """

    name: str
    address: str
    port: int
    key: str
    ca: str = ""
    server_name: str = ""
    hears: bool = False
    mandarin: bool = False
    languages: Sequence[str] = ()

    @classmethod
    def parse(cls, data: Mapping[str, Any]) -> Node:
        """Make a node from the module's option. Ansible has checked the types."""
        return cls(**{name: data[name] for name in cls.__dataclass_fields__ if data.get(name) is not None})


def is_name(name: str) -> bool:
    """Whether HAProxy accepts this as the name of a server."""
    return _NAME.match(name) is not None


def faults(nodes: Sequence[Node], client_keys: Sequence[str]) -> list[str]:
    """All faults of nodes and keys, as one sentence each. No sentence contains a key."""
    found = []
    if not nodes:
        found.append("There is no node: balancer_nodes is empty. Name the nodes in the inventory.")
    places: dict[tuple[str, int], str] = {}
    names: set[str] = set()
    for node in nodes:
        if not is_name(node.name):
            found.append(f"{node.name!r} is not the name of a node: use letters, digits and ._- only.")
        if node.name in names:
            found.append(f"Two nodes have the name {node.name}.")
        names.add(node.name)
        if not _HOST.match(node.address):
            found.append(f"{node.name}: {node.address!r} is not an address.")
        if not 1 <= node.port <= 65535:
            found.append(f"{node.name}: {node.port} is not a port.")
        first = places.setdefault((node.address, node.port), node.name)
        if first != node.name:
            found.append(f"{first} and {node.name} have the same address {node.address}:{node.port}.")
        if node.ca and "-----BEGIN CERTIFICATE-----" not in node.ca:
            found.append(f"{node.name}: ca is not a certificate in PEM form.")
        if (node.ca or node.server_name) and not _HOST.match(node.server_name):
            found.append(
                f"{node.name}: {node.server_name!r} is not the name in a certificate (server_name), which TLS needs."
            )
        found += _key_faults(f"{node.name}: its key", node.key)
    for number, key in enumerate(client_keys, 1):
        found += _key_faults(f"balancer_client_keys: key {number}", key)
    return found


def lacking(nodes: Sequence[Node]) -> list[str]:
    """Which node lacks languages that another one speaks, as one sentence each. Nodes that name none are left out."""
    naming = [node for node in nodes if node.languages]
    spoken = {language for node in naming for language in node.languages}
    return [
        f"{node.name} does not speak {', '.join(sorted(spoken - set(node.languages)))}, which another node does. A"
        " request for such a voice gets a 400 if it reaches this node. Give all nodes the same kokoro_languages."
        for node in naming
        if spoken - set(node.languages)
    ]


def _key_faults(what: str, key: str) -> list[str]:
    try:
        xinference_config.check_secret("client_key", key)
    except xinference_config.ConfigError as error:
        return [f"{what} cannot be used: {error}."]
    return []


def check_address(key: str) -> str:
    """The address that the balancer's checks with a key name as their sender. It lies in the documentation prefix.

    Xinference takes the sender from X-Forwarded-For and bans it for an hour after ten bad keys. Each key has its own
    address. So a key that changed on the node bans no client, and no check with the new key.
    """
    return str(ipaddress.IPv6Address(b"\x20\x01\x0d\xb8" + hashlib.sha256(key.encode()).digest()[:12]))


def keys_file(nodes: Iterable[Node]) -> str:
    """The file of HAProxy's configuration that sets the nodes' keys as variables.

    The template reads them by ``env()``, so no sign in a key has a meaning. check_secret allows none that has one here.
    """
    lines = ["# Managed by voicefleet.kokoro", "global"]
    for number, node in enumerate(nodes, 1):
        lines.append(f'    setenv VOICEFLEET_KEY_{number} "{node.key}"')
        lines.append(f'    setenv VOICEFLEET_CHECK_{number} "{check_address(node.key)}"')
    return "\n".join(lines) + "\n"


@dataclass(frozen=True)
class NodeState:
    """The state of one model of a node in HAProxy.

    ``status`` is HAProxy's word, such as UP, DOWN or MAINT. ``check`` describes the last check. ``code`` is the check's
    HTTP status if that was wrong. ``hears`` says that it is about Whisper, ``mandarin`` about the newer Mandarin model.
    """

    name: str
    up: bool
    status: str
    check: str
    code: str
    hears: bool = False
    mandarin: bool = False

    @property
    def task(self) -> str:
        """What the model is for; "" for Kokoro itself."""
        return "transcriptions" if self.hears else "the newer Mandarin" if self.mandarin else ""

    def sentence(self) -> str:
        task = f" for {self.task}" if self.task else ""
        if self.up:
            return f"{self.name} is ready{task}"
        if self.code == "401":
            why = "it refuses the balancer's key; run balancer.yml after a change of keys"
        elif self.code == "403":
            why = "the balancer's key does not allow this model"
        elif self.code == "429":
            why = "it has banned the balancer's checks after bad keys, for an hour or until its service restarts"
        elif "content check" in self.check:
            why = "it answers, but its model is not READY"
        else:
            why = f"{self.check or 'no check has finished'}{f' (HTTP {self.code})' if self.code else ''}"
        return f"{self.name} is {self.status}{task}: {why}"


def node_states(stat: str) -> list[NodeState]:
    """Read the server of each proxy ``node-N``, ``hears-N`` and ``mandarin-N`` from HAProxy's ``show stat``."""
    rows = csv.DictReader(stat.lstrip("# ").splitlines())
    return [
        NodeState(
            name=row["svname"],
            up=row["status"].startswith("UP"),
            status=row["status"],
            check=row.get("last_chk") or row.get("check_desc") or row.get("check_status") or "",
            code=row.get("check_code") or "",
            hears=row["pxname"].startswith("hears-"),
            mandarin=row["pxname"].startswith("mandarin-"),
        )
        for row in rows
        if re.match(r"(node|hears|mandarin)-\d+\Z", row["pxname"]) and row["svname"] not in ("FRONTEND", "BACKEND")
    ]


def ask(path: str, command: str, timeout: float = 5.0) -> str:
    """Send one command to HAProxy's socket and return the answer, of at most ANSWER_BYTES. Raises OSError."""
    end = time.monotonic() + timeout
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(timeout)
        connection.connect(path)
        connection.sendall(command.encode() + b"\n")
        answer = bytearray()
        while part := connection.recv(65536):
            answer += part
            connection.settimeout(direct.left(end))
            if len(answer) > ANSWER_BYTES:
                raise OSError(f"{path} sent more than {ANSWER_BYTES >> 20} MiB")
    return answer.decode("utf-8", "replace")


def wait_ready(path: str, seconds: float, pause: float = 0.5) -> list[NodeState]:
    """Wait until all nodes are ready, but not longer than ``seconds``. Raises OSError if the socket does not answer."""
    end = time.monotonic() + seconds
    while True:
        try:
            states = node_states(ask(path, "show stat"))
        except OSError:
            if time.monotonic() > end:
                raise
            states = []
        if time.monotonic() > end or (states and all(state.up for state in states)):
            return states
        time.sleep(pause)


@dataclass(frozen=True)
class Place:
    """A node in one of the proxies that send it requests.

    ``proxy`` is one of SENDERS. ``status`` is HAProxy's word. ``requests`` are those that the node has now.
    """

    proxy: str
    status: str
    requests: int

    @property
    def out(self) -> bool:
        """Whether somebody took the node out: it gets no new request, whatever its checks say."""
        return self.status.startswith(("DRAIN", "MAINT"))


def places(stat: str, node: str) -> list[Place]:
    """Read the places of a node from the answer to ``show stat``. Empty if HAProxy does not know the node."""
    rows = csv.DictReader(stat.lstrip("# ").splitlines())
    return [
        Place(row["pxname"], row["status"], int(row["scur"] or 0))
        for row in rows
        if row["pxname"] in SENDERS and row["svname"] == node
    ]


class Drain:
    """Takes one node out of a balancer, and returns it.

    A file beside the socket says that the collection took the node out. So a node that an operator took out stays out.
    Both the file and HAProxy's own state last until the balancer restarts.
    """

    def __init__(self, socket_path: str, node: str) -> None:
        self.socket = socket_path
        self.node = node
        self.record = os.path.join(os.path.dirname(socket_path), f"drained-{node}")

    def places(self) -> list[Place]:
        """Raises OSError if the balancer does not answer."""
        return places(ask(self.socket, "show stat"), self.node)

    def mine(self) -> bool:
        """Whether the collection took the node out."""
        return os.path.exists(self.record)

    def begin(self, found: Iterable[Place]) -> None:
        """Send the node no new request. The file comes first, so that a later run returns the node in any case."""
        with open(self.record, "w", encoding="ascii"):
            pass
        self._set(found, "drain")

    def wait_idle(self, seconds: float, pause: float = 0.25) -> int:
        """Wait until the node has no request, but not longer than ``seconds``. Returns how many are left."""
        end = time.monotonic() + seconds
        while (left := sum(place.requests for place in self.places())) and time.monotonic() < end:
            time.sleep(pause)
        return left

    def end(self, found: Iterable[Place]) -> None:
        """Let the node get requests again, as its checks allow."""
        self._set(found, "ready")
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.record)

    def wait_ready(self, seconds: float, pause: float = 0.25) -> list[NodeState]:
        """Wait until the node's checks are good, at most ``seconds``. Returns the models that are not READY."""
        end = time.monotonic() + seconds
        while True:
            states = [state for state in node_states(ask(self.socket, "show stat")) if state.name == self.node]
            down = [state for state in states if not state.up]
            if not down or time.monotonic() >= end:
                return down
            time.sleep(pause)

    def _set(self, found: Iterable[Place], state: str) -> None:
        for place in found:
            if said := ask(self.socket, f"set server {place.proxy}/{self.node} state {state}").strip():
                raise OSError(f"HAProxy refuses {state} for {place.proxy}/{self.node}: {said[:200]}")
