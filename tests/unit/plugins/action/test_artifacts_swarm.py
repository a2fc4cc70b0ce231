# SPDX-License-Identifier: GPL-3.0-or-later
"""How the controller leads a delivery by swarm."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import pytest
from ansible.errors import AnsibleActionFail
from ansible_collections.voicefleet.kokoro.plugins.action import artifacts_swarm as action_module
from ansible_collections.voicefleet.kokoro.plugins.action.artifacts_swarm import ActionModule
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.delivery import swarm
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.store.manifest import Artifact

SHA = "a" * 64
BIG = {"path": "wheels/a.whl", "sha256": "b" * 64, "size": 200_000_000}
SMALL = {"path": "wheels/b.whl", "sha256": "c" * 64, "size": 1000}


def plan(*missing: dict[str, Any], complete: bool = False) -> dict[str, Any]:
    return {
        "manifest_sha256": SHA,
        "release": {"complete": complete},
        "artifacts": [BIG, SMALL],
        "missing": [row["sha256"] for row in missing],
    }


class Lab:
    """An action with hosts that answer from a list."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.store = folder
        self.answers: list[Any] = []
        self.steps: list[dict[str, Any]] = []
        self.said: list[str] = []
        self.hosts = {f"host{n}": {"voicefleet_plan": plan(BIG), "ansible_host": f"10.0.0.{n}"} for n in range(1, 6)}
        self.started: list[Any] = []
        self.engines = [
            Artifact(
                f"engine/libtorrent-1-{name}-{name}-manylinux_2_17_x86_64.whl", SHA, 9, "engine", "libtorrent", "1"
            )
            for name in ("cp311", "cp312", "cp313")
        ]
        listed = SimpleNamespace(of_kind=lambda _kind: self.engines)
        monkeypatch.setattr(action_module.manifest, "read_verified", lambda *_given: (listed, SHA))
        monkeypatch.setattr(action_module.display, "warning", self.said.append)
        monkeypatch.setattr(action_module.display, "display", self.said.append)
        monkeypatch.setattr(swarm.platform, "machine", lambda: "x86_64")
        self.monkeypatch = monkeypatch
        self.now = 1000.0
        monkeypatch.setattr(action_module, "time", SimpleNamespace(monotonic=lambda: self.now))

    def act(self, state: str, start: bool = False, **given: Any) -> dict[str, Any]:
        asked = {
            "state": state,
            "store": str(self.store),
            "manifest_sha256": SHA,
            "artifacts": [],
            "transport": "swarm",
        }
        arguments = {**asked, **given}
        task = SimpleNamespace(args=arguments, check_mode=False, async_val=0, delegate_to=None, action="x")
        action = ActionModule(task, MagicMock(), MagicMock(), MagicMock(), MagicMock(), MagicMock())
        self.monkeypatch.setattr(action, "_execute_module", self.module)
        if not start:
            self.monkeypatch.setattr(action, "_start", self.start)
        found: dict[str, Any] = action.run(
            task_vars={"inventory_hostname": "host1", "hostvars": self.hosts, "ansible_play_batch": [*self.hosts]}
        )
        return found

    def start(self, lacking: Any, port: int, controller: str) -> dict[str, Any]:
        self.started.append((lacking, port, controller))
        return {"changed": True, "wanted": True, "folder": "/x", "msg": ""}

    def module(self, module_name: str, module_args: dict[str, Any], task_vars: Any) -> dict[str, Any]:
        self.steps.append(module_args)
        self.now += action_module.SLICE_SECONDS
        answer: dict[str, Any] = self.answers.pop(0)
        return answer


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lab:
    return Lab(tmp_path, monkeypatch)


@pytest.mark.parametrize("transport", ["push", "rsync", "connection", "http"])
def test_no_other_transport_makes_a_swarm(lab: Lab, transport: str) -> None:
    assert not lab.act("planned", transport=transport)["wanted"]
    assert lab.started == []


def test_the_hosts_that_lack_files_of_this_store_take_part(lab: Lab) -> None:
    lab.hosts["host1"]["voicefleet_plan"] = plan(BIG, complete=True)
    lab.hosts["host2"]["voicefleet_plan"] = {**plan(BIG), "manifest_sha256": "d" * 64}
    lab.hosts["host3"]["voicefleet_plan"] = plan()
    del lab.hosts["host4"]["voicefleet_plan"]
    lab.hosts["host6"] = {"voicefleet_plan": plan(SMALL)}
    assert lab.act("planned")["wanted"]
    assert lab.started == [({"host5": [BIG], "host6": [SMALL]}, 6891, "")]


def test_one_host_needs_no_swarm(lab: Lab) -> None:
    lab.hosts = {"host1": lab.hosts["host1"]}
    assert not lab.act("planned")["wanted"]


def test_auto_pushes_to_few_hosts_and_to_hosts_that_lack_little(lab: Lab) -> None:
    assert lab.act("planned", transport="auto")["wanted"]
    for row in lab.hosts.values():
        row["voicefleet_plan"] = plan(SMALL)
    assert not lab.act("planned", transport="auto")["wanted"]
    assert lab.act("planned", transport="swarm")["wanted"]
    lab.hosts = {name: {"voicefleet_plan": plan(BIG)} for name in ("host1", "host2", "host3")}
    assert not lab.act("planned", transport="auto")["wanted"]


def test_without_an_engine_auto_pushes_and_swarm_names_the_remedy(lab: Lab) -> None:
    lab.engines = []
    found = lab.act("planned", start=True, transport="auto")
    assert not found["wanted"]
    assert "artifact_store_swarm" in lab.said[0]
    with pytest.raises(AnsibleActionFail, match=r"artifact_store_swarm: true.*Nothing was sent"):
        lab.act("planned", start=True)


def test_two_hosts_with_one_address_are_refused(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(swarm, "unpack", lambda *_given: None)
    monkeypatch.setenv("VOICEFLEET_CACHE", str(lab.store))
    lab.hosts["host2"]["ansible_host"] = "10.0.0.1"
    with pytest.raises(AnsibleActionFail, match=r"host1 and host2 have the same address, 10\.0\.0\.1"):
        lab.act("planned", start=True)


@pytest.mark.parametrize("address", ["127.0.0.1", "0.0.0.0", "::1"])
def test_an_address_that_others_cannot_reach_is_refused(address: str) -> None:
    with pytest.raises(swarm.SwarmError, match="artifacts_swarm_address"):
        swarm.resolve("host1", address)


def test_a_host_that_cannot_take_part_is_pushed_to(lab: Lab) -> None:
    peers = {"host1": [["10.0.0.2", 6891]]}
    (lab.store / "swarm.json").write_text(json.dumps({"peers": peers, "files": [BIG["sha256"]], "size": 1}))
    lab.answers = [{"python": "cp99-x86_64", "absent": [], "incoming": "/x"}]
    found = lab.act("joined", folder=str(lab.store))
    assert not found["joined"]
    assert "no engine for its Python (cp99-x86_64)" in lab.said[0]


def test_a_host_joins_with_its_peers_and_the_files_of_the_torrent(lab: Lab) -> None:
    peers = {"host1": [["10.0.0.2", 6891]]}
    (lab.store / "swarm.json").write_text(json.dumps({"peers": peers, "files": [BIG["sha256"]], "size": 1}))
    (lab.store / "store.torrent").write_bytes(b"torrent")
    lab.answers = [{"python": "cp311-x86_64", "absent": [], "incoming": "/x"}, {}]
    rows = [{**row, "kind": "wheel", "name": "a", "version": "1"} for row in (BIG, SMALL)]
    assert lab.act("joined", folder=str(lab.store), artifacts=rows)["joined"]
    joined = lab.steps[1]
    assert joined["step"] == "join"
    assert [row["sha256"] for row in joined["artifacts"]] == [BIG["sha256"]]
    assert joined["peers"] == peers["host1"]


def state(have: int, **more: Any) -> dict[str, Any]:
    found = {"have": have, "wanted": 100, "down": have, "up": 0, "peers": 2, "failed": 0}
    return {**found, "finished": have == 100, "checking": False, "active": True, "error": "", **more}


def test_waiting_reports_progress_until_everything_is_there(lab: Lab) -> None:
    lab.answers = [state(0, checking=True), state(50), state(100)]
    found = lab.act("waited")
    assert found["complete"]
    assert any("host1" in line and "by swarm" in line for line in lab.said)


def test_a_swarm_that_stands_still_is_left_after_a_minute(lab: Lab) -> None:
    lab.answers = [state(50)] * 20
    found = lab.act("waited")
    assert not found["complete"]
    assert len(lab.steps) == 1 + action_module.STALL_SECONDS / action_module.SLICE_SECONDS
    assert "TCP port 6891" in lab.said[-1]
    assert "pushed" in lab.said[-1]


@pytest.mark.parametrize("checking", [False, True])
def test_a_swarm_that_hardly_moves_is_left_in_the_end(lab: Lab, checking: bool) -> None:
    """Its peers send a byte now and then, or the peer says for ever that it checks its files."""
    lab.answers = [state(number // 9, wanted=1000, checking=checking) for number in range(1000)]
    assert not lab.act("waited")["complete"]
    assert len(lab.steps) <= 2 + action_module.WAIT_SECONDS / action_module.SLICE_SECONDS
    assert "it took more than" in lab.said[-1]


@pytest.mark.parametrize("active", [False, True])
def test_a_peer_that_cannot_work_is_left_at_once(lab: Lab, active: bool) -> None:
    lab.answers = [state(50, active=active, error="the disk is full")]
    assert not lab.act("waited")["complete"]
    assert "the disk is full" in lab.said[-1]
