# SPDX-License-Identifier: GPL-3.0-or-later
"""The controller's side of a delivery, over a connection to this machine."""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import pytest
from ansible.errors import AnsibleActionFail, AnsibleConnectionFailure
from ansible_collections.voicefleet.kokoro.plugins.action import artifacts as action_module
from ansible_collections.voicefleet.kokoro.plugins.action.artifacts import ActionModule
from ansible_collections.voicefleet.kokoro.plugins.module_utils.host.layout import Paths
from ansible_collections.voicefleet.kokoro.plugins.module_utils.release import artifacts as received
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.store.manifest import Manifest

DATA = {"wheels/a.whl": b"a" * 3_000_000, "wheels/b.whl": b"b" * 10}


class Far:
    """A host that runs the module's steps here and receives the connection's messages."""

    def __init__(self, root: Path) -> None:
        self.root = str(root)
        self.rsync = True
        self.free = 10**12
        self.steps: list[str] = []
        self.answers: list[dict[str, Any]] = []
        self.harm = 0
        self.cut = False

    def execute(self, module_name: str, module_args: dict[str, Any], task_vars: dict[str, Any]) -> dict[str, Any]:
        rows, step = module_args["artifacts"], module_args["step"]
        self.steps.append(step)
        if step == "prepare":
            absent = received.missing(self.root, rows)
            lacking = [row for row in rows if row["sha256"] in absent]
            answer = {"missing": absent, "offsets": received.prepare(self.root, lacking), "free": self.free}
            return {**answer, "incoming": Paths(self.root).incoming, "rsync": self.rsync}
        if step == "commit":
            kept, wrong = received.commit(self.root, rows)
            return {"kept": kept, "wrong": wrong}
        return self.answers.pop(0)

    def message(self, command: str, sudoable: bool, in_data: bytes) -> dict[str, Any]:
        if self.cut:
            subprocess.run(["sh", "-c", command], input=in_data[:1_500_000], capture_output=True, check=False)
            raise AnsibleConnectionFailure("the line went dead")
        if self.harm:
            self.harm -= 1
            in_data = in_data.replace(b"aaaa", b"aaab", 1)
        done = subprocess.run(["sh", "-c", command], input=in_data, capture_output=True, text=False, check=False)
        return {"rc": done.returncode, "stderr": done.stderr.decode(), "stdout": ""}


@pytest.fixture
def far(tmp_path: Path) -> Far:
    return Far(tmp_path / "root")


@pytest.fixture
def connection() -> MagicMock:
    made = MagicMock()
    made.transport, made.become = "docker", None
    made.get_option.side_effect = {"password": None, "remote_user": "kim"}.get
    return made


@pytest.fixture
def run(far: Far, connection: MagicMock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    store = tmp_path / "store"
    rows = []
    for path, data in DATA.items():
        (store / path).parent.mkdir(parents=True, exist_ok=True)
        (store / path).write_bytes(data)
        row = {"path": path, "sha256": hashlib.sha256(data).hexdigest(), "size": len(data)}
        rows.append({**row, "kind": "wheel", "name": Path(path).stem, "version": "1"})
    monkeypatch.setattr(action_module.shutil, "which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(action_module.time, "sleep", lambda seconds: None)

    def call(check_mode: bool = False, verified: str = "", **arguments: Any) -> dict[str, Any]:
        given = {"store": str(store), "root": far.root, "artifacts": rows, "chunk_mb": 1, **arguments}
        task = SimpleNamespace(args=given, check_mode=check_mode, async_val=0, delegate_to=None, action="x")
        action = ActionModule(task, connection, MagicMock(), MagicMock(), MagicMock(), MagicMock())
        monkeypatch.setattr(action, "_execute_module", far.execute)
        monkeypatch.setattr(action, "_low_level_execute_command", far.message)
        known = {"voicefleet_verified": {"manifest_sha256": verified}} if verified else {}
        return action.run(task_vars={"inventory_hostname": "speaker1", **known})

    return call


def is_there(far: Far) -> bool:
    rows = [
        {"sha256": hashlib.sha256(data).hexdigest(), "path": path, "size": len(data)} for path, data in DATA.items()
    ]
    return received.missing(far.root, rows) == []


def test_missing_artifacts_are_sent_once(far: Far, run: Any) -> None:
    result = run()
    assert is_there(far)
    assert (result["changed"], result["transport"], result["bytes"]) == (True, "connection", 3_000_010)
    assert 3_000_010 < result["wire_bytes"] < 3_010_000
    again = run()
    assert (again["changed"], again["bytes"], again["msg"]) == (False, 0, "nothing to send")


def test_check_mode_reports_what_it_would_send(far: Far, run: Any) -> None:
    result = run(check_mode=True)
    assert (result["changed"], result["bytes"], result["sent"]) == (True, 3_000_010, ["wheels/a.whl", "wheels/b.whl"])
    assert "wheels/b.whl" in result["diff"]["after"]
    assert far.steps == ["prepare"]


def test_a_damaged_file_is_sent_once_more(far: Far, run: Any) -> None:
    far.harm = 1
    assert run()["bytes"] == 6_000_010
    assert is_there(far)


def test_a_file_that_always_arrives_damaged_is_named(far: Far, run: Any) -> None:
    far.harm = 1000
    with pytest.raises(
        AnsibleActionFail, match=r"speaker1: 1 file\(s\) did not arrive intact in 2 attempts:\n  wheels/a"
    ):
        run()
    assert not is_there(far)


def test_an_interruption_reports_progress_and_the_next_run_resumes(far: Far, run: Any) -> None:
    far.cut = True
    words = r"speaker1: the delivery stopped after 1\.\d of 3\.0 MB: the connection was cut: the line.*continue"
    with pytest.raises(AnsibleActionFail, match=words):
        run(chunk_mb=32)
    far.cut = False
    assert 0 < run()["bytes"] < 2_000_000
    assert is_there(far)


def test_a_full_disk_is_reported_before_anything_is_sent(far: Far, run: Any) -> None:
    far.free = 1_000_010
    with pytest.raises(AnsibleActionFail, match=r"disk is full: .* about 2 MB are missing.*Nothing was sent"):
        run()
    assert far.steps == ["prepare"]


def test_a_disk_that_fills_up_is_named_as_the_reason(far: Far, run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_arguments: Any, **_more: Any) -> dict[str, Any]:
        far.free = 500_010
        return {"rc": 1, "stderr": "OSError: [Errno 28] No space left on device", "stdout": ""}

    monkeypatch.setattr(far, "message", full)
    with pytest.raises(
        AnsibleActionFail, match=r"disk is full: .* about 2 MB are missing.*0\.0 of 3\.0 MB arrived. What arrived"
    ):
        run()


@pytest.mark.parametrize(
    ("transport", "http", "words"),
    [
        ("http", {}, "needs artifacts_http_url"),
        ("http", {"url": "http://depot", "serve": True}, "not both"),
        ("http", {"url": "depot"}, "is not a valid address"),
        ("http", {"url": "http://depot", "ca": "/nonexistent/ca.pem"}, "artifacts_http_ca cannot be read"),
        ("push", {"url": "http://depot"}, "need artifacts_transport: http"),
        ("connection", {"serve": True}, "need artifacts_transport: http"),
        ("pigeon", {}, "must be one of: push, rsync, connection, http"),
    ],
)
def test_impossible_settings_are_refused(far: Far, run: Any, transport: str, http: dict[str, Any], words: str) -> None:
    with pytest.raises(Exception, match=words):
        run(transport=transport, http=http)
    assert far.steps == []


def sudo(password: str | None = None, name: str = "sudo") -> SimpleNamespace:
    options = {"become_user": "root", "become_exe": None, "become_pass": password}
    return SimpleNamespace(name=name, get_option=lambda option, **_more: options[option])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"transport": "docker"}, "the connection is docker, not ssh"),
        ({"here": False}, "rsync is not installed on the controller"),
        ({"there": False}, "rsync is not installed on the host"),
        ({"password": "hush"}, "SSH asks for a password"),
        ({"become": sudo("hush")}, "needs more than sudo without a password"),
        ({"become": sudo(name="su")}, "needs more than sudo without a password"),
        ({}, ""),
        ({"become": sudo()}, ""),
    ],
)
def test_rsync_is_used_if_possible_and_refused_if_requested_but_impossible(
    far: Far, run: Any, connection: MagicMock, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], words: str
) -> None:
    connection.transport = changes.get("transport", "ssh")
    connection.become = changes.get("become")
    options = {"password": changes.get("password"), "remote_user": "kim"}
    connection.get_option.side_effect = lambda option, **_more: options.get(option)
    far.rsync = changes.get("there", True)
    if not changes.get("here", True):
        monkeypatch.setattr(action_module.shutil, "which", lambda name: None)
    assert run(check_mode=True)["transport"] == ("connection" if words else "rsync")
    if words:
        with pytest.raises(AnsibleActionFail, match=words) as caught:
            run(transport="rsync")
        assert "hush" not in str(caught.value)
    assert not is_there(far)


def test_a_fetch_without_progress_ends(far: Far, run: Any) -> None:
    left = [hashlib.sha256(data).hexdigest() for data in DATA.values()]
    moving = {"arrived": 5000, "wire": 5009, "left": left, "refused": {}, "error": "cut"}
    stuck = {**moving, "arrived": 0, "error": "Connection refused"}
    far.answers = [stuck, stuck, moving, stuck, stuck, stuck]
    with pytest.raises(AnsibleActionFail, match="fetching from http://depot: Connection refused"):
        run(transport="http", http={"url": "http://depot"})
    assert far.answers == []


def test_a_fetch_from_a_server_that_trickles_ends(far: Far, run: Any) -> None:
    left = [hashlib.sha256(data).hexdigest() for data in DATA.values()]
    far.answers = [{"arrived": 4999, "wire": 5009, "left": left, "refused": {}, "error": ""}] * 3
    with pytest.raises(AnsibleActionFail, match="fewer than 5000 bytes arrived in 5 s"):
        run(transport="http", http={"url": "http://depot"})
    assert far.answers == []


def test_files_that_the_server_lacks_are_named(far: Far, run: Any) -> None:
    refused = {hashlib.sha256(DATA["wheels/b.whl"]).hexdigest(): "HTTP 404 Not Found"}
    far.answers = [{"arrived": 3_000_000, "wire": 3_000_200, "left": [], "refused": refused, "error": ""}]
    with pytest.raises(AnsibleActionFail, match=r"did not deliver 1 file\(s\):\n  wheels/b.whl: HTTP 404 Not Found"):
        run(transport="http", http={"url": "http://depot"})


def test_a_store_that_changed_since_it_was_verified_is_not_sent(far: Far, run: Any, tmp_path: Path) -> None:
    verified = tmp_path / "store" / "manifest.json"
    verified.write_bytes(Manifest(()).to_bytes())
    digest = hashlib.sha256(verified.read_bytes()).hexdigest()
    verified.write_bytes(Manifest((), ("cpu-py311-x86_64",)).to_bytes())
    for known in ({"verified": digest}, {"manifest_sha256": digest}):
        with pytest.raises(AnsibleActionFail, match=r"is not the one that was verified.*Nothing was sent"):
            run(**known)
    assert not is_there(far)
    verified.write_bytes(Manifest(()).to_bytes())
    assert run(verified=digest, manifest_sha256=digest)["changed"]


@pytest.mark.parametrize("size", [0, -1])
def test_messages_without_room_are_refused(far: Far, run: Any, size: int) -> None:
    with pytest.raises(AnsibleActionFail, match=f"artifacts_chunk_mb is {size}: give 1 or more. Nothing was sent"):
        run(chunk_mb=size)
    assert not is_there(far)


@pytest.mark.parametrize("transport", ["swarm", "auto"])
def test_what_a_swarm_brought_is_verified_and_not_sent_again(far: Far, run: Any, transport: str) -> None:
    received.prepare(far.root, [])
    for data in DATA.values():
        part = Path(Paths(far.root).incoming) / f"{hashlib.sha256(data).hexdigest()}.part"
        part.write_bytes(data)
    result = run(transport=transport)
    assert (result["transport"], result["bytes"], result["swarm_bytes"]) == ("swarm", 0, 3_000_010)
    assert far.steps == ["prepare", "commit"]


def test_what_a_swarm_did_not_bring_is_pushed(far: Far, run: Any) -> None:
    received.prepare(far.root, [])
    data = DATA["wheels/a.whl"]
    (Path(Paths(far.root).incoming) / f"{hashlib.sha256(data).hexdigest()}.part").write_bytes(data[:1000])
    result = run(transport="swarm")
    assert (result["transport"], result["bytes"], result["swarm_bytes"]) == ("connection", 2_999_010, 1000)
