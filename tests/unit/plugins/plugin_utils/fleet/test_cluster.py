# SPDX-License-Identifier: GPL-3.0-or-later
"""A cluster in the inventory: it is read, and all mistakes are reported at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.fleet import cluster, settings

DEFAULTS = settings.defaults(lambda path: yaml.safe_load(Path(path).read_text(encoding="utf-8")))


def inventory(**changes: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """A supervisor and two workers; ``changes`` are variables by host. None removes one."""
    hosts: dict[str, dict[str, Any]] = {
        "s": {"xinference_address": "10.0.0.10"},
        "w1": {"ansible_host": "10.0.0.11"},
        "w2": {"xinference_address": "w2.example"},
    }
    for name, given in hosts.items():
        given.update(xinference_topology="cluster", xinference_supervisor="s", xinference_workers=["w1", "w2"])
        given.update(changes.get(name, {}))
    return {**hosts, **{name: given for name, given in changes.items() if name not in hosts}}


def lookup(name: str) -> list[str]:
    names = {"w2.example": ["10.0.0.12"], "two.example": ["10.0.0.1", "10.0.0.2"], "lo.example": ["127.0.1.1"]}
    return names.get(name, [])


def read(hosts: dict[str, dict[str, Any]], host: str = "s", **groups: list[str]) -> cluster.Cluster:
    return cluster.read(settings.Hosts(hosts, DEFAULTS), groups, host, lookup)


def faults(hosts: dict[str, dict[str, Any]], host: str = "s", **groups: list[str]) -> list[str]:
    with pytest.raises(cluster.ClusterError) as caught:
        read(hosts, host, **groups)
    return caught.value.faults


def test_a_supervisor_and_two_workers() -> None:
    found = read(inventory())
    assert [member.name for member in found.members] == ["s", "w1", "w2"]
    assert [member.address for member in found.members] == ["10.0.0.10", "10.0.0.11", "10.0.0.12"]
    assert found.as_dict() == {
        "works": False,
        "supervisor": "s",
        "members": ["s", "w1", "w2"],
        "addresses": ["10.0.0.10", "10.0.0.11", "10.0.0.12"],
        "workers": [
            {"address": "10.0.0.11:30001", "metrics": "10.0.0.11:31001"},
            {"address": "10.0.0.12:30001", "metrics": "10.0.0.12:31001"},
        ],
    }
    assert found.ports_of("s") == {"xinference_port": 9997, "xinference_supervisor_port": 9998}
    assert found.ports_of("w2") == {"xinference_worker_port": 30001, "xinference_metrics_port": 31001}


def test_groups_name_the_members_if_no_variable_does() -> None:
    hosts = inventory()
    for given in hosts.values():
        del given["xinference_supervisor"], given["xinference_workers"]
    found = read(hosts, voicefleet_supervisor=["s"], voicefleet_workers=["w2", "w1"])
    assert [worker.name for worker in found.workers] == ["w2", "w1"]


@pytest.mark.parametrize("works", [True, "yes"])
def test_the_supervisor_may_work_too(works: Any) -> None:
    found = read(inventory(s={"xinference_supervisor_works": works}))
    assert [worker.name for worker in found.workers] == ["w1", "w2", "s"]
    assert [member.name for member in found.members] == ["s", "w1", "w2"]
    assert set(found.ports_of("s")) == set(cluster.PORTS)
    assert found.as_dict()["works"]


@pytest.mark.parametrize(
    ("changes", "host", "said"),
    [
        ({"s": {"xinference_supervisor": "x"}}, "s", "does not know x"),
        ({"s": {"xinference_workers": ["w1", "x"]}}, "s", "does not know x"),
        ({"s": {"xinference_workers": "w1"}}, "s", "must be a list"),
        ({"s": {"xinference_workers": []}}, "s", "has no worker"),
        ({"x": {"xinference_supervisor": "s", "xinference_workers": ["w1"]}}, "x", "neither the supervisor nor"),
        ({"w1": {"xinference_topology": "independent"}}, "s", "w1 is a member of the cluster, but"),
        ({"w1": {"xinference_supervisor": "w2"}}, "s", "w1 has another xinference_supervisor: w2"),
        ({"w1": {"ansible_host": "nowhere.example"}}, "s", "cannot resolve it. Set xinference_address of w1"),
        ({"w1": {"ansible_host": "two.example"}}, "s", "several addresses (10.0.0.1, 10.0.0.2)"),
        ({"w1": {"ansible_host": "lo.example"}}, "s", "127.0.1.1 is loopback"),
        ({"w1": {"xinference_address": "0.0.0.0"}}, "s", "not the address of one host"),
        ({"w1": {"xinference_address": "10.0.0.10"}}, "s", "s and w1 have the same address, 10.0.0.10"),
        ({"w1": {"xinference_port": 30001}}, "s", "xinference_port and xinference_worker_port are both 30001"),
        ({"w1": {"xinference_port": "http"}}, "s", "xinference_port is 'http', which is not a port"),
        ({"w1": {"xinference_port": 70000}}, "s", "xinference_port is 70000, which is not a port"),
    ],
)
def test_each_mistake_is_named(changes: dict[str, Any], host: str, said: str) -> None:
    assert said in " ".join(faults(inventory(**changes), host))


@pytest.mark.parametrize("group", [[], ["s", "w1"]])
def test_a_group_must_hold_one_supervisor(group: list[str]) -> None:
    hosts = inventory(s={"xinference_supervisor": ""})
    assert f"has {len(group)} hosts" in faults(hosts, voicefleet_supervisor=group)[0]


def test_all_mistakes_are_reported_at_once() -> None:
    hosts = inventory(w1={"ansible_host": "127.0.0.1", "xinference_port": 0}, w2={"xinference_address": "10.0.0.10"})
    assert len(faults(hosts)) == 3


def test_a_cluster_changes_as_a_whole() -> None:
    found = read(inventory())
    assert cluster.absent(found, ["w2", "w1", "s", "other"]) is None
    assert "w1, w2 of the cluster are not in this run" in str(cluster.absent(found, ["s"]))


def test_names_are_resolved_by_the_controller() -> None:
    assert cluster.resolve("127.0.0.9") == ["127.0.0.9"]
    assert cluster.resolve("no such name..") == []
