# SPDX-License-Identifier: GPL-3.0-or-later
"""The module gateway_upstream: when it moves the gateway's clients. A test of the roles has the real nginx."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.voicefleet.kokoro.plugins.module_utils.xinference import api, program
from ansible_collections.voicefleet.kokoro.plugins.modules import gateway_upstream

KEY = "xf-0123456789abcdef"
SERVICE = "127.0.0.1:9997"


class Host:
    """A gateway's host. ``asked`` are the instances that were asked, by address. ``copied`` are copies of the keys."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self.file = folder, str(folder / "candidate.conf")
        self.service = SERVICE
        self.found = {"service": SERVICE, "running": True, "movable": True, "candidate": 0}
        self.status = "READY"
        self.states: dict[str, str] = {}
        self.left = 0
        self.asked: list[tuple[str, str]] = []
        self.copied: list[dict[str, Any]] = []
        self.moves: list[str] = []
        (folder / "secrets.json").write_text(json.dumps({"client_key": KEY}))
        self.warnings: list[str] = []
        # ansible-core keeps warnings for the whole process, and so across tests.
        monkeypatch.setattr(gateway_upstream.AnsibleModule, "warn", lambda _module, said: self.warnings.append(said))
        monkeypatch.setattr(gateway_upstream, "Upstream", lambda _unit: self)
        monkeypatch.setattr(program, "account", lambda _user, check: (1, 1))
        monkeypatch.setattr(program, "run", lambda request, *_more: self.copied.append(request))
        host = self

        def instances(client: api.XinferenceClient) -> list[api.Instance]:
            host.asked.append((client.base_url, str(client._token)))
            status = host.states.get(client.base_url, host.status)
            return [api.Instance("kokoro", "Kokoro-82M", status, 1, (), ())] if status else []

        monkeypatch.setattr(api.XinferenceClient, "instances", instances)

    def facts(self) -> dict[str, Any]:
        return self.found

    def move(self, port: int, gateway_port: int, seconds: float) -> int:
        self.moves.append(f"to {port} of {gateway_port} within {seconds}")
        Path(self.file).touch()
        self.found["candidate"] = port
        return self.left

    def back(self, gateway_port: int, seconds: float) -> int:
        self.moves.append(f"back of {gateway_port} within {seconds}")
        Path(self.file).unlink()
        self.found["candidate"] = 0
        return self.left

    def settle(self, port: int, gateway_port: int, seconds: float) -> int:
        self.moves.append(f"settle {port} of {gateway_port} within {seconds}")
        return self.left

    def run(
        self, capfd: pytest.CaptureFixture[str], state: str, check: bool = False, port: int | None = None
    ) -> dict[str, Any]:
        given: dict[str, Any] = {"state": state, "secrets_dir": str(self.folder), "_ansible_check_mode": check}
        if port:
            given["port"] = port
        if state == "candidate":
            given |= {"port": 9998, "candidate_home": "/c", "home": "/h"}
        with patch_module_args(given), pytest.raises(SystemExit) as ended:
            gateway_upstream.main()
        said = capfd.readouterr().out
        assert KEY not in said
        return {**json.loads(said), "failed": bool(ended.value.code)}


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    return Host(tmp_path, monkeypatch)


def test_the_candidate_gets_the_keys_and_then_the_clients_and_returns_them(host: Host, capfd: Any) -> None:
    assert host.run(capfd, "service")["changed"] is False
    result = host.run(capfd, "candidate")
    assert (result["changed"], result["answers"], result["left"]) == (True, "candidate", 0)
    assert host.copied == [{"action": "copy", "home": "/c", "wanted": {"from": "/h"}}]
    assert host.asked == [("http://127.0.0.1:9998", KEY)]
    # Keys may have changed since an interrupted run moved the clients, and its wait may not have ended.
    assert host.run(capfd, "candidate")["changed"] is False
    assert len(host.copied) == 2
    host.left = 1
    back = host.run(capfd, "service")
    assert (back["changed"], back["answers"], back["left"]) == (True, "service", 1)
    assert "still had 1 of their connections after 600 s" in back["msg"]
    assert host.warnings == [back["msg"]]
    assert host.asked[-1] == (f"http://{SERVICE}", KEY)
    assert host.moves == ["to 9998 of 9443 within 600"] * 2 + ["back of 9443 within 600"]


@pytest.mark.parametrize(
    "change", [{"running": False}, {"movable": False}, {"service": "127.0.0.1:9990"}, {"service": ""}]
)
def test_without_a_gateway_of_this_service_nothing_moves(host: Host, capfd: Any, change: dict[str, Any]) -> None:
    host.found.update(change)
    result = host.run(capfd, "candidate")
    assert (result["changed"], result["answers"], host.moves, host.copied) == (False, "service", [], [])


@pytest.mark.parametrize(("status", "why"), [("CREATING", "model kokoro is CREATING"), ("", "it has no model")])
def test_clients_stay_with_the_side_that_can_answer(host: Host, capfd: Any, status: str, why: str) -> None:
    host.status = status
    failed = host.run(capfd, "candidate")
    assert failed["failed"]
    assert f"{why}. The service was not touched" in failed["msg"]
    assert host.moves == []
    host.status = "READY"
    host.run(capfd, "candidate")
    host.states[f"http://{SERVICE}"] = status
    kept = host.run(capfd, "service")
    assert (kept["failed"], kept["changed"], kept["answers"]) == (False, False, "candidate")
    assert why in kept["msg"]
    assert host.warnings == [kept["msg"]]
    assert len(host.moves) == 1
    host.status = "ERROR"  # the candidate's too
    assert host.run(capfd, "service")["answers"] == "service"
    assert len(host.moves) == 2


def test_what_a_stopped_gateway_left_is_forgotten(host: Host, capfd: Any) -> None:
    Path(host.file).touch()
    host.found["running"] = False
    assert host.run(capfd, "service")["answers"] == "service"
    assert (Path(host.file).exists(), host.moves) == (False, [])


def test_requests_that_a_killed_run_left_at_the_candidate_are_waited_for(host: Host, capfd: Any) -> None:
    host.left = 1
    result = host.run(capfd, "service", port=9998)
    assert (result["changed"], result["answers"], result["left"]) == (False, "service", 1)
    assert host.moves == ["settle 9998 of 9443 within 600"]
    host.run(capfd, "service", check=True, port=9998)
    host.found["running"] = False
    host.run(capfd, "service", port=9998)
    assert len(host.moves) == 1


def test_check_mode_moves_nothing(host: Host, capfd: Any) -> None:
    assert host.run(capfd, "candidate", check=True)["changed"]
    host.found["candidate"] = 9998
    Path(host.file).touch()
    assert host.run(capfd, "service", check=True)["changed"]
    assert (host.moves, host.copied, host.asked) == ([], [], [])
