# SPDX-License-Identifier: GPL-3.0-or-later
"""What the balancer has beside its configuration's text: nodes, keys, and how it sees the nodes."""

from __future__ import annotations

import csv
import hashlib
import ipaddress
import re
import socket
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..xinference import config as xinference_config

# As HAProxy takes a server's name.
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}\Z")
_HOST = re.compile(r"[A-Za-z0-9.:_-]{1,253}\Z")


@dataclass(frozen=True)
class Node:
    """One independent node. ``ca`` is a PEM by which its TLS is checked, "" for plain HTTP."""

    name: str
    address: str
    port: int
    key: str
    ca: str = ""
    server_name: str = ""

    @classmethod
    def parse(cls, data: Mapping[str, Any]) -> Node:
        """From the module's option, whose types Ansible has checked."""
        return cls(**{name: data[name] for name in cls.__dataclass_fields__ if data.get(name) is not None})


def faults(nodes: Sequence[Node], client_keys: Sequence[str]) -> list[str]:
    """Everything that is wrong with nodes and keys, each a sentence; no key is ever shown."""
    found = []
    if not nodes:
        found.append("There is no node: balancer_nodes is empty. Name the speech nodes in the inventory.")
    places: dict[tuple[str, int], str] = {}
    names: set[str] = set()
    for node in nodes:
        if not _NAME.match(node.name):
            found.append(f"{node.name!r} is no name of a node: letters, digits and ._- were expected.")
        if node.name in names:
            found.append(f"Two nodes have the name {node.name}.")
        names.add(node.name)
        if not _HOST.match(node.address):
            found.append(f"{node.name}: {node.address!r} is no address.")
        if not 1 <= node.port <= 65535:
            found.append(f"{node.name}: {node.port} is no port.")
        first = places.setdefault((node.address, node.port), node.name)
        if first != node.name:
            found.append(f"{first} and {node.name} are both at {node.address}:{node.port}.")
        if node.ca and "-----BEGIN CERTIFICATE-----" not in node.ca:
            found.append(f"{node.name}: the authority for its TLS is no certificate in PEM form.")
        if node.ca and not _HOST.match(node.server_name):
            found.append(f"{node.name}: for TLS the name in its certificate is needed (server_name).")
        found += _key_faults(f"{node.name}: its key", node.key)
    for number, key in enumerate(client_keys, 1):
        found += _key_faults(f"balancer_client_keys: key {number}", key)
    return found


def _key_faults(what: str, key: str) -> list[str]:
    try:
        xinference_config.check_secret("client_key", key)
    except xinference_config.ConfigError as error:
        return [f"{what} can't be used: {error}."]
    return []


def check_address(key: str) -> str:
    """An address made up of a key, in the prefix for documentation, that stands for the balancer's own checks.

    Xinference bans an address that sends ten bad keys, and takes it from X-Forwarded-For. With an address of its own,
    a key that was changed on the node bans neither a client nor the checks with the next key.
    """
    return str(ipaddress.IPv6Address(b"\x20\x01\x0d\xb8" + hashlib.sha256(key.encode()).digest()[:12]))


def keys_file(nodes: Iterable[Node]) -> str:
    """The part of HAProxy's configuration that holds the nodes' keys, as variables for the rest of it."""
    lines = ["# Managed by voicefleet.kokoro", "global"]
    for number, node in enumerate(nodes, 1):
        lines.append(f'    setenv VOICEFLEET_KEY_{number} "{node.key}"')
        lines.append(f'    setenv VOICEFLEET_CHECK_{number} "{check_address(node.key)}"')
    return "\n".join(lines) + "\n"


@dataclass(frozen=True)
class NodeState:
    """How the balancer sees a node.

    ``status`` as HAProxy words it (UP, DOWN, MAINT ...), ``check`` its word on the last check, ``code`` that one's HTTP
    status where the status was wrong.
    """

    name: str
    up: bool
    status: str
    check: str
    code: str

    def sentence(self) -> str:
        if self.up:
            return f"{self.name} is ready"
        if self.code == "401":
            why = "it does not accept the key that the balancer has; run balancer.yml after a change of keys"
        elif self.code == "403":
            why = "the key that the balancer has for it is not good for this model"
        elif self.code == "429":
            why = "it has banned the balancer's checks after bad keys, for an hour or until its service is restarted"
        elif "content check" in self.check:
            why = "it answers, and its model is not READY"
        else:
            why = f"{self.check or 'no check has ended'}{f' (HTTP {self.code})' if self.code else ''}"
        return f"{self.name} is {self.status}: {why}"


def node_states(stat: str) -> list[NodeState]:
    """From the answer to ``show stat`` on HAProxy's socket: the server of each proxy ``node-N``."""
    rows = csv.DictReader(stat.lstrip("# ").splitlines())
    return [
        NodeState(
            name=row["svname"],
            up=row["status"].startswith("UP"),
            status=row["status"],
            check=row.get("last_chk") or row.get("check_desc") or row.get("check_status") or "",
            code=row.get("check_code") or "",
        )
        for row in rows
        if re.match(r"node-\d+\Z", row["pxname"]) and row["svname"] not in ("FRONTEND", "BACKEND")
    ]


def ask(path: str, command: str, timeout: float = 5.0) -> str:
    """One command on HAProxy's socket, and its answer. Raises OSError."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(timeout)
        connection.connect(path)
        connection.sendall(command.encode() + b"\n")
        answer = bytearray()
        while part := connection.recv(65536):
            answer += part
    return answer.decode("utf-8", "replace")


def wait_ready(path: str, seconds: float, pause: float = 0.5) -> list[NodeState]:
    """The nodes' states once each is ready, or after some seconds as they are then. Raises OSError without a socket."""
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
