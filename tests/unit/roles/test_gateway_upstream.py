# SPDX-License-Identifier: GPL-3.0-or-later
"""The real nginx moves its clients to a candidate and back, without the loss of a request."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("hypothesis")

from ansible_collections.voicefleet.kokoro.plugins.module_utils.host import systemd_unit, upstream
from ansible_collections.voicefleet.kokoro.plugins.module_utils.host.managed import ManagedError
from ansible_collections.voicefleet.kokoro.tests.unit.roles.real_front import (
    LIMIT,
    Front,
    Request,
    guarded,
    nodes_of,
    speak,
    until,
)

pytestmark = [
    pytest.mark.usefixtures("ansible_plugins"),
    pytest.mark.skipif(shutil.which("nginx") is None, reason="nginx is not installed"),
]
TEXT = {"model": "kokoro", "input": "All is well."}


class Gateway:
    """A running gateway, a candidate beside its service, and clients that retry nothing."""

    def __init__(self, front: Front) -> None:
        self.front = front
        self.pid = int((front.folder / "pid").read_text())
        self.reloads = True
        unit = systemd_unit.Unit("nginx.service", runner=self.systemctl)
        self.file = front.folder / "run" / "candidate.conf"
        self.upstream = upstream.Upstream(unit, str(front.folder / "x.conf"), str(self.file))
        self.statuses: list[int] = []

    def systemctl(self, command: object, _timeout: float) -> tuple[int, str]:
        assert isinstance(command, list)
        if "--property=MainPID" in command:
            return 0, str(self.pid)
        if "--property=ActiveState" in command:
            return 0, "active"
        assert command == ["systemctl", "reload", "nginx.service"]
        if self.reloads:
            os.kill(self.pid, signal.SIGHUP)
        return 0, ""

    def to(self, port: int, seconds: float = LIMIT) -> int:
        return self.upstream.move(port, self.front.port, seconds)

    def back(self, seconds: float = LIMIT) -> int:
        return self.upstream.back(self.front.port, seconds)

    @contextlib.contextmanager
    def load(self, clients: int = 4) -> Iterator[None]:
        ended = threading.Event()

        def client() -> None:
            while not ended.is_set():
                try:
                    self.statuses.append(self.front.ask(TEXT)[0])
                except OSError:
                    self.statuses.append(0)

        threads = [threading.Thread(target=client) for _each in range(clients)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            ended.set()
            for thread in threads:
                thread.join()


@contextlib.contextmanager
def gateway(behave: object = speak) -> Iterator[tuple[Gateway, int]]:
    with guarded(behave, masters=True) as front, nodes_of(1, behave, ()) as others:  # type: ignore[arg-type]
        front.nodes.append(others[0])
        yield Gateway(front), others[0].port


def test_clients_lose_no_request_while_the_service_stops_and_returns() -> None:
    with gateway() as (gate, port):
        service = gate.front.nodes[0]
        with gate.load():
            until(lambda: len(service.asked) > 20, "clients ask the service")
            assert gate.upstream.facts() == {
                "service": f"127.0.0.1:{service.port}", "running": True, "movable": True, "candidate": 0,
            }  # fmt: skip
            for _time in range(3):
                assert gate.to(port) == 0
                assert gate.upstream.candidate() == port
                asked, answered = len(service.asked), len(gate.statuses)
                until(lambda: len(gate.statuses) > answered + 20, "clients ask the candidate")  # noqa: B023
                assert len(service.asked) == asked
                assert gate.back() == 0
                assert gate.upstream.candidate() == 0
                asked = len(gate.front.nodes[1].asked)
                until(lambda: len(service.asked) > 40, "clients ask the service again")
                assert len(gate.front.nodes[1].asked) == asked
    assert set(gate.statuses) == {200}


def unreadable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let this process see no other user's descriptors, as in a container without CAP_SYS_PTRACE."""
    listdir = os.listdir

    def limited(path: Any) -> Any:
        found = listdir(path)
        if re.fullmatch(r"/proc/\d+/fd", str(path)):
            raise PermissionError(path)
        return found

    monkeypatch.setattr(upstream.os, "listdir", limited)


@pytest.mark.parametrize("readable", [True, False])
def test_the_wait_ends_with_the_last_request_or_its_limit(readable: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not readable:
        unreadable(monkeypatch)
    go = threading.Event()

    def behave(request: Request) -> None:
        go.wait(LIMIT)
        request.answer(200)

    with gateway(behave) as (gate, port):
        nodes = gate.front.nodes
        with contextlib.closing(gate.front.send(TEXT)) as connection:
            until(lambda: nodes[0].asked, "the service works")
            # The client's connection and the service's, or all former workers that have not ended.
            assert gate.to(port, 0.5) == (2 if readable else 1)
            threading.Timer(0.5, go.set).start()
            begin = time.monotonic()
            assert gate.back() == 0
            assert connection.getresponse().status == 200
            assert time.monotonic() - begin < LIMIT


@pytest.mark.parametrize("reloaded", [True, False])
def test_a_run_that_was_killed_while_it_moved_clients_back_is_finished(reloaded: bool) -> None:
    go = threading.Event()

    def behave(request: Request) -> None:
        if "slow" in str(request.body):
            go.wait(LIMIT)
        request.answer(200)

    with gateway(behave) as (gate, port):
        gate.to(port)
        with contextlib.closing(gate.front.send({**TEXT, "input": "slow"})) as connection:
            until(lambda: gate.front.nodes[1].asked, "the candidate works")
            gate.file.unlink()
            if reloaded:
                os.kill(gate.pid, signal.SIGHUP)
                time.sleep(0.5)
            assert gate.upstream.settle(port, gate.front.port, 0.5) == 2
            threading.Timer(0.5, go.set).start()
            assert gate.upstream.settle(port, gate.front.port, LIMIT) == 0
            assert connection.getresponse().status == 200
        assert gate.front.ask(TEXT)[0] == 200
        assert len(gate.front.nodes[0].asked) == 1


def test_an_nginx_that_does_not_reload_keeps_its_clients(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upstream, "RELOAD_SECONDS", 0.5)
    with gateway() as (gate, port):
        gate.reloads = False
        with pytest.raises(ManagedError, match="goes on with its former configuration"):
            gate.to(port)
        assert not gate.file.exists()
        gate.reloads = True
        gate.to(port)
        gate.reloads = False
        with pytest.raises(ManagedError, match="goes on with its former configuration"):
            gate.back()
        assert gate.upstream.candidate() == port
        assert gate.front.ask(TEXT)[0] == 200
        assert (len(gate.front.nodes[0].asked), len(gate.front.nodes[1].asked)) == (0, 1)


def test_only_our_gateway_is_moved(tmp_path: Path) -> None:
    config = tmp_path / "x.conf"
    for text, service in (
        ("upstream voicefleet {\n    server 1.2.3.4:5;\n}\n", ""),
        ("# Managed by voicefleet.kokoro\nupstream voicefleet {\n    server 1.2.3.4:5;\n}\n", "1.2.3.4:5"),
    ):
        config.write_text(text)
        found = upstream.Upstream(systemd_unit.Unit("nginx.service"), str(config), str(tmp_path / "candidate.conf"))
        assert (found.service, found.movable) == (service, False)
