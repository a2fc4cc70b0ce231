# SPDX-License-Identifier: GPL-3.0-or-later
"""A node is taken out of the real HAProxy, and returned, without the loss of a request."""

from __future__ import annotations

import json
import shutil
import socket
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("hypothesis")

from ansible.module_utils.testing import patch_module_args
from ansible_collections.voicefleet.kokoro.plugins.module_utils.front import balancer
from ansible_collections.voicefleet.kokoro.plugins.modules import balancer_node
from ansible_collections.voicefleet.kokoro.tests.unit.roles.real_front import (
    LIMIT,
    Front,
    Request,
    balancing,
    speak,
    until,
)

pytestmark = [
    pytest.mark.usefixtures("ansible_plugins"),
    pytest.mark.skipif(shutil.which("haproxy") is None, reason="haproxy is not installed"),
]
TEXT = {"model": "kokoro", "input": "All is well."}


class Ended(Exception):
    """The module's result."""


class Module:
    """AnsibleModule, as far as the functions of balancer_node use it."""

    def __init__(self, seconds: float, check_mode: bool) -> None:
        self.params, self.check_mode, self.warnings = {"seconds": seconds}, check_mode, list[str]()

    def warn(self, said: str) -> None:
        self.warnings.append(said)

    def exit_json(self, **result: Any) -> None:
        raise Ended({**result, "failed": False})

    def fail_json(self, **result: Any) -> None:
        raise Ended({**result, "failed": True})


def call(
    act: Callable[[Any, balancer.Drain], None], front: Front, node: str = "n1", seconds: float = 30, check: bool = False
) -> dict[str, Any]:
    with pytest.raises(Ended) as ended:
        act(Module(seconds, check), balancer.Drain(str(front.folder / "admin.sock"), node))
    return dict(ended.value.args[0])


def status(front: Front, node: str = "n1") -> set[str]:
    return {
        row["status"].split()[0] for row in front.rows() if row["pxname"] in balancer.SENDERS and row["svname"] == node
    }


@pytest.mark.parametrize("hears", [False, True])
def test_a_node_that_was_taken_out_gets_nothing_until_it_returns(hears: bool) -> None:
    with balancing(2, ready=("kokoro", "whisper"), hears=hears) as front:
        assert call(balancer_node.drain, front)["changed"]
        assert status(front) == {"DRAIN"}
        assert {front.ask(TEXT)[0] for _each in range(6)} == {200}
        assert front.asked == {"n1": 0, "n2": 6}
        again = call(balancer_node.drain, front)
        assert (again["changed"], again["left"]) == (False, 0)
        assert call(balancer_node.restore, front)["changed"]
        assert {front.ask(TEXT)[0] for _each in range(6)} == {200}
        assert front.asked["n1"] > 0
        assert not call(balancer_node.restore, front)["changed"]


def test_the_last_request_is_answered_before_the_node_is_out() -> None:
    go = threading.Event()

    def behave(request: Request) -> None:
        assert go.wait(LIMIT)
        speak(request)

    with balancing(1, behave) as front:
        connection = front.send(TEXT)
        until(lambda: front.nodes[0].asked, "the node works")
        late = call(balancer_node.drain, front, seconds=0.5)
        assert late["left"] == 1
        assert "n1 still has 1 request" in late["msg"]
        threading.Timer(0.5, go.set).start()
        assert call(balancer_node.drain, front)["left"] == 0
        assert go.is_set()
        assert connection.getresponse().status == 200


def test_a_node_that_is_not_ready_is_reported_after_its_return() -> None:
    with balancing(2) as front:
        call(balancer_node.drain, front)
        front.nodes[0].stop()
        front.wait("node-1", "DOWN")
        said = call(balancer_node.restore, front, seconds=1)
        assert said["failed"]
        assert "sends n1 no requests, 1 s after its return: n1 is DOWN" in said["msg"]
        assert {front.ask(TEXT)[0] for _each in range(3)} == {200}


def test_after_a_failure_nobody_waits_for_the_node() -> None:
    with balancing(2) as front:
        call(balancer_node.drain, front)
        front.nodes[0].stop()
        front.wait("node-1", "DOWN")
        assert not call(balancer_node.restore, front, seconds=0)["failed"]


def test_a_node_that_an_operator_took_out_stays_out() -> None:
    with balancing(2) as front:
        balancer.ask(str(front.folder / "admin.sock"), "set server nodes/n1 state maint")
        said = call(balancer_node.drain, front)
        assert (said["changed"], said["msg"]) == (False, "An operator took n1 out. It stays out.")
        assert not call(balancer_node.restore, front)["changed"]
        assert status(front) == {"MAINT"}


def test_an_unknown_node_and_check_mode_change_nothing() -> None:
    with balancing(2) as front:
        assert call(balancer_node.drain, front, "n7")["msg"] == "This balancer does not know n7."
        assert call(balancer_node.drain, front, check=True)["changed"]
        assert status(front) == {"UP"}
        assert not (front.folder / "drained-n1").exists()


def run(capsys: pytest.CaptureFixture[str], **arguments: Any) -> dict[str, Any]:
    """Call the module as Ansible does."""
    with patch_module_args(arguments), pytest.raises(SystemExit):
        balancer_node.main()
    return dict(json.loads(capsys.readouterr().out))


@pytest.mark.parametrize("state", ["drained", "ready"])
def test_a_host_without_balancer_is_no_error(tmp_path: Path, capsys: pytest.CaptureFixture[str], state: str) -> None:
    said = run(capsys, node="n1", state=state, admin_socket=str(tmp_path / "admin.sock"))
    assert (said["changed"], said.get("failed", False)) == (False, False)
    assert list(tmp_path.iterdir()) == []


def test_a_stopped_balancer_is_no_error_and_one_that_says_nothing_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX) as server:
        path = f"{folder}/admin.sock"
        server.bind(path)
        assert run(capsys, node="n1", state="drained", admin_socket=path)["msg"] == "No balancer runs on this host."
        server.listen()
        asked = balancer.ask
        monkeypatch.setattr(balancer, "ask", lambda path, command: asked(path, command, 0.2))
        said = run(capsys, node="n1", state="drained", admin_socket=path)
        assert said["failed"]
        assert said["msg"].startswith("The balancer did not take the command: ")


@pytest.mark.parametrize("node", ["", "a b", "n1\nset server nodes/n2 state maint", "../n1"])
def test_a_name_that_is_none_of_a_node_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], node: str
) -> None:
    said = run(capsys, node=node, state="drained", admin_socket=str(tmp_path / "admin.sock"))
    assert said["failed"]
    assert "is not the name of a node" in said["msg"]
