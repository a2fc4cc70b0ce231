# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a service listens and where clients find it: single nodes, and members of a cluster."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.fleet import cluster, service, settings

DEFAULTS = settings.defaults(lambda path: yaml.safe_load(Path(path).read_text(encoding="utf-8")))


def of(hosts: dict[str, dict[str, Any]], name: str, own: dict[str, Any] | None = None) -> service.Service:
    """The service of a host whose inventory sets these variables; ``own`` is what a play changes."""
    with_defaults = settings.Hosts(hosts, DEFAULTS)
    seen = None if own is None else {**DEFAULTS, **hosts[name], **own}
    return service.of(with_defaults, {}, name, seen, lambda _name: [])


def members(works: bool = False) -> dict[str, dict[str, Any]]:
    shared = {
        "xinference_topology": "cluster",
        "xinference_supervisor": "s",
        "xinference_workers": ["w"],
        "xinference_supervisor_works": works,
    }
    return {"s": {**shared, "ansible_host": "10.0.0.10"}, "w": {**shared, "ansible_host": "10.0.0.11"}}


def test_a_node_by_itself_listens_on_loopback() -> None:
    found = of({"h": {}}, "h")
    assert (found.node, found.host, found.port, found.open) == ("whole", "127.0.0.1", 9997, False)
    assert (found.endpoint, found.metrics, found.cluster) == ("http://127.0.0.1:9997", (), {})


@pytest.mark.parametrize(
    ("given", "endpoint", "metrics"),
    [
        ({"xinference_host": "0.0.0.0"}, "http://127.0.0.1:9997", ("h:9997", "h:31001")),
        (
            {"xinference_host": "::", "ansible_host": "fd00::7"},
            "http://[::1]:9997",
            ("[fd00::7]:9997", "[fd00::7]:31001"),
        ),
        (
            {"xinference_host": "10.1.0.5", "ansible_host": "mgmt.example"},
            "http://10.1.0.5:9997",
            ("10.1.0.5:9997", "10.1.0.5:31001"),
        ),
        (
            {"xinference_host": "0.0.0.0", "xinference_port": "80", "xinference_metrics_port": 0},
            "http://127.0.0.1:80",
            ("h:80",),
        ),
    ],
)
def test_an_open_node_names_the_address_for_others(
    given: dict[str, Any], endpoint: str, metrics: tuple[str, ...]
) -> None:
    found = of({"h": given}, "h")
    assert (found.open, found.endpoint, found.metrics) == (True, endpoint, metrics)


def test_a_worker_asks_its_supervisor_and_listens_on_its_own_address() -> None:
    found = of(members(), "w")
    assert (found.node, found.host, found.port, found.open) == ("worker", "10.0.0.11", 30001, True)
    assert (found.ask_host, found.ask_port, found.endpoint) == ("10.0.0.10", 9997, "http://10.0.0.10:9997")
    assert found.metrics == ("10.0.0.11:31001",)
    assert found.cluster["addresses"] == ["10.0.0.10", "10.0.0.11"]


@pytest.mark.parametrize(
    ("works", "metrics"), [(False, ("10.0.0.10:9997",)), (True, ("10.0.0.10:9997", "10.0.0.10:31001"))]
)
def test_a_supervisor_answers_on_its_own_address(works: bool, metrics: tuple[str, ...]) -> None:
    found = of(members(works), "s")
    assert (found.node, found.host, found.port) == ("supervisor", "10.0.0.10", 9997)
    assert (found.endpoint, found.metrics) == ("http://10.0.0.10:9997", metrics)


def test_variables_that_a_play_changes_apply_to_their_own_host() -> None:
    """The candidate of an upgrade listens on loopback, whatever the inventory says of the service."""
    found = of({"h": {"xinference_host": "0.0.0.0"}}, "h", {"xinference_host": "127.0.0.1", "xinference_port": 9998})
    assert (found.open, found.endpoint) == (False, "http://127.0.0.1:9998")


def test_a_broken_cluster_is_refused() -> None:
    hosts = members()
    del hosts["w"]
    with pytest.raises(cluster.ClusterError, match="does not know w"):
        of(hosts, "s")


def test_the_service_becomes_a_dictionary_for_roles() -> None:
    found = of({"h": {"xinference_host": "0.0.0.0"}}, "h").as_dict()
    assert found["metrics"] == ["h:9997", "h:31001"]
    assert found["endpoint"] == "http://127.0.0.1:9997"
