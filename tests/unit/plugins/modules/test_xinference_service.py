# SPDX-License-Identifier: GPL-3.0-or-later
"""The module xinference_service with real files and a stand-in for systemctl."""

from __future__ import annotations

import json
import os
import socket
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.voicefleet.kokoro.plugins.module_utils.host import (
    deploy_lock,
    managed,
    ownership,
    systemd_unit,
    upstream,
)
from ansible_collections.voicefleet.kokoro.plugins.modules import xinference_service

CONTENT = systemd_unit.MARKER + "\n[Service]\nExecStart=/r/1/env/bin/xinference-local\n"


class Systemd:
    """The part of systemd that the module sees. ``fail`` names a verb that fails once."""

    def __init__(self) -> None:
        self.active = "inactive"
        self.enabled = "disabled"
        self.reload = "no"
        self.pid = "0"
        self.fail: str | None = None
        self.verbs: list[str] = []

    def __call__(self, command: Sequence[str], _timeout: float) -> tuple[int, str]:
        if command[0] == "journalctl":
            return 0, "Started x.service - X.\nxinference-local: cannot execute"
        verb = command[1]
        if verb == "show":
            fields = {
                "ActiveState": self.active,
                "UnitFileState": self.enabled,
                "NeedDaemonReload": self.reload,
                "MainPID": self.pid,
            }
            return 0, "\n".join(f"{key}={value}" for key, value in fields.items())
        self.verbs.append(verb)
        if verb == self.fail:
            self.fail = None
            return 1, f"Job for x.service failed: {verb}"
        if verb == "daemon-reload":
            self.reload = "no"
        elif verb == "enable":
            self.enabled = "enabled"
        elif verb == "restart":
            self.active, self.pid = "active", "42"
        elif verb == "stop":
            self.active, self.pid = "inactive", "0"
        elif verb == "disable":
            self.enabled = "disabled"
        return 0, ""


class Host:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        ownership.claim(str(folder))
        self.systemd = Systemd()
        self.env = folder / "xinference.env"
        self.env.write_text("XOSCAR_AUTH_KEY=secret-of-the-service\n")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]

    @property
    def unit(self) -> Path:
        return self.folder / "x.service"

    def service(self, content: str = CONTENT, check: bool = False, **options: Any) -> xinference_service.Service:
        self.systemd.verbs.clear()
        params = {
            "state": "started",
            "enabled": True,
            "folders": [],
            "content": content,
            "environment_files": [str(self.env)],
            "record": str(self.folder / "started.json"),
            "host": "127.0.0.1",
            "port": self.port,
            "clients": True,
            "stop_timeout": 120,
            **options,
        }
        unit = systemd_unit.Unit("x.service", str(self.folder), self.systemd)
        return xinference_service.Service(params, check, unit)

    def run(self, content: str = CONTENT, check: bool = False, **options: Any) -> dict[str, Any]:
        return self.service(content, check, **options).run()

    def remove(self, check: bool = False, **options: Any) -> dict[str, Any]:
        return self.service(check=check, **{"state": "absent", **options}).take_away()


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def test_the_first_run_writes_enables_and_starts_the_unit(host: Host) -> None:
    result = host.run()
    assert host.systemd.verbs == ["daemon-reload", "enable", "restart"]
    assert host.unit.read_text() == CONTENT
    assert stat.S_IMODE(host.unit.stat().st_mode) == 0o644
    assert stat.S_IMODE((host.folder / "started.json").stat().st_mode) == 0o600
    assert result["action"] == "started"
    assert result["diff"][0]["after"] == CONTENT


def test_the_second_run_changes_nothing(host: Host) -> None:
    host.run()
    result = host.run()
    assert (result["changed"], result["action"], host.systemd.verbs) == (False, "none", [])
    assert result["diff"] == []


def test_another_release_restarts_the_service_once(host: Host) -> None:
    host.run()
    other = CONTENT.replace("/r/1", "/r/2")
    result = host.run(other)
    assert host.systemd.verbs == ["daemon-reload", "restart"]
    assert result["action"] == "restarted"
    assert "/r/1" in result["diff"][0]["before"]
    assert host.run(other)["changed"] is False


def test_new_secrets_restart_the_service_and_are_not_shown(host: Host) -> None:
    host.run()
    host.env.write_text("XOSCAR_AUTH_KEY=another-secret-of-it\n")
    result = host.run()
    assert host.systemd.verbs == ["restart"]
    assert result["changes"] == [f"restarted ({host.env} has changed since the start)"]
    assert "another-secret" not in json.dumps(result) + (host.folder / "started.json").read_text()


def test_a_drop_in_of_the_operator_restarts_the_service(host: Host) -> None:
    host.run()
    folder = host.folder / "x.service.d"
    folder.mkdir()
    (folder / "memory.conf").write_text("[Service]\nMemoryMax=8G\n")
    host.systemd.reload = "yes"
    host.run()
    assert host.systemd.verbs == ["daemon-reload", "restart"]
    assert host.run()["changed"] is False
    (folder / "memory.conf").unlink()
    assert host.run()["action"] == "restarted"


def test_a_unit_edited_by_hand_is_rewritten_and_restarted(host: Host) -> None:
    host.run()
    host.unit.write_text(CONTENT + "# edited\n")
    result = host.run()
    assert result["changes"] == [f"{host.unit} written (other content)", "restarted (the unit was changed by hand)"]


def test_the_next_run_restarts_after_an_interrupted_run(host: Host) -> None:
    host.run()
    other = CONTENT.replace("/r/1", "/r/2")
    host.systemd.fail = "daemon-reload"
    with pytest.raises(systemd_unit.SystemdError):
        host.run(other)
    # The file is new, but the process is still the old one.
    assert host.unit.read_text() == other
    host.systemd.reload = "yes"
    assert host.run(other)["action"] == "restarted"
    assert "daemon-reload" in host.systemd.verbs


def test_a_failed_restart_is_tried_again(host: Host) -> None:
    host.run()
    host.env.write_text("XOSCAR_AUTH_KEY=another-secret-of-it\n")
    host.systemd.fail = "restart"
    with pytest.raises(managed.ManagedError, match="xinference-local: cannot execute"):
        host.run()
    assert host.run()["action"] == "restarted"


@pytest.mark.parametrize("active", ["inactive", "failed", "activating"])
def test_a_stopped_service_is_started(host: Host, active: str) -> None:
    host.run()
    host.systemd.active, host.systemd.pid = active, "0"
    result = host.run()
    assert result["changes"] == [f"started (it was {active})"]


def test_a_disabled_service_is_enabled_and_not_restarted(host: Host) -> None:
    host.run()
    host.systemd.enabled = "disabled"
    assert host.run()["changes"] == ["enabled"]
    assert host.systemd.verbs == ["enable"]


def test_check_mode_reports_all_and_changes_nothing(host: Host) -> None:
    result = host.run(check=True)
    assert result["changes"] == [f"{host.unit} written (missing)", "enabled", "started (it was inactive)"]
    assert (host.systemd.verbs, host.unit.exists()) == ([], False)
    host.run()
    before = (host.folder / "started.json").read_text()
    assert host.run(CONTENT + "# new\n", check=True)["action"] == "restarted"
    assert host.systemd.verbs == []
    assert (host.folder / "started.json").read_text() == before
    assert host.run(check=True)["changed"] is False


def test_a_foreign_unit_is_left_alone(host: Host) -> None:
    host.unit.write_text("[Unit]\n")
    for check in (True, False):
        with pytest.raises(managed.ManagedError, match="not written by this collection"):
            host.run(check=check)
    assert host.unit.read_text() == "[Unit]\n"
    assert host.systemd.verbs == []


def test_a_foreign_process_on_the_port_is_left_alone(host: Host) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", host.port))
        other.listen()
        with pytest.raises(managed.ManagedError, match=rf"held by another process: {os.getpid()} \("):
            host.run()
    assert "restart" not in host.systemd.verbs


def test_a_unit_without_the_marker_is_refused(host: Host) -> None:
    with pytest.raises(managed.ManagedError, match="lacks the line"):
        host.run("[Unit]\n")
    assert not host.unit.exists()


def test_a_unit_is_not_enabled_if_it_must_not_start_at_boot(host: Host) -> None:
    host.run(enabled=False)
    assert host.systemd.verbs == ["daemon-reload", "restart"]
    assert host.run(enabled=False)["changed"] is False


def test_a_unit_is_removed_with_its_folders_and_nothing_else(host: Host) -> None:
    host.run()
    home, beside = host.folder / "home", host.folder / "beside"
    ownership.claim(str(home))
    for folder in (beside, host.folder / "x.service.d"):
        folder.mkdir()
    for folder in (home, beside, host.folder / "x.service.d"):
        (folder / "a.conf").write_text("a")
    (home / "link").symlink_to(beside)
    would = host.remove(check=True, folders=[str(home)])
    assert (host.systemd.verbs, home.exists(), host.unit.exists()) == ([], True, True)
    done = host.remove(folders=[str(home)])
    assert done["changes"] == would["changes"]
    assert host.systemd.verbs == ["stop", "disable", "daemon-reload", "reset-failed"]
    assert sorted(path.name for path in host.folder.iterdir()) == [
        ownership.MARK, "beside", "started.json", "x.service.d", "xinference.env",
    ]  # fmt: skip
    assert (beside / "a.conf").exists()
    assert host.remove(folders=[str(home)])["changed"] is False
    assert host.systemd.verbs == []


def test_a_folder_of_others_with_the_candidates_name_stays(host: Host) -> None:
    host.run()
    other = host.folder / "home-candidate"
    other.mkdir()
    (other / "precious").touch()
    done = host.remove(folders=[str(other)])
    assert (other / "precious").exists()
    assert f"{other} stays: this collection did not make it" in done["msg"]
    assert f"{other} removed" not in done["changes"]


def test_the_next_run_finishes_an_interrupted_removal(host: Host) -> None:
    """The unit's file is removed last, so it exists as long as anything else does."""
    host.run()
    host.systemd.fail = "stop"
    with pytest.raises(systemd_unit.SystemdError):
        host.remove()
    assert host.unit.exists()
    host.remove()
    assert (host.systemd.active, host.unit.exists()) == ("inactive", False)


def test_a_foreign_unit_is_not_removed(host: Host) -> None:
    host.unit.write_text("[Unit]\n")
    home = host.folder / "home"
    home.mkdir()
    with pytest.raises(managed.ManagedError, match="not written by this collection"):
        host.remove(folders=[str(home)])
    assert home.exists()
    assert host.systemd.verbs == []


def test_a_stopped_unit_keeps_its_files_and_can_start_again(host: Host) -> None:
    host.run()
    would = host.remove(check=True, state="stopped")
    assert host.systemd.verbs == []
    done = host.remove(state="stopped")
    assert done["changes"] == would["changes"] == ["stopped", "disabled"]
    assert host.systemd.verbs[:2] == ["stop", "disable"]
    assert host.unit.exists()
    assert host.remove(state="stopped")["changed"] is False
    assert host.run()["action"] == "started"


def test_a_unit_edited_by_hand_is_restarted_after_an_interrupted_run(host: Host) -> None:
    host.run()
    host.unit.write_text(CONTENT + "# edited\n")
    host.systemd.fail = "daemon-reload"
    with pytest.raises(systemd_unit.SystemdError):
        host.run()
    assert host.unit.read_text() == CONTENT
    assert host.run()["action"] == "restarted"
    assert host.run()["changed"] is False


def test_reading_a_drop_in_is_reported(host: Host) -> None:
    host.run()
    (host.folder / "x.service.d").mkdir()
    (host.folder / "x.service.d" / "memory.conf").write_text("[Service]\n")
    host.systemd.reload = "yes"
    assert host.run()["changes"] == [
        "systemd reloaded (a file of the unit was changed)",
        f"restarted ({host.folder}/x.service.d/memory.conf has changed since the start)",
    ]


@pytest.mark.parametrize("candidate", [False, True])
def test_a_restart_without_a_candidate_begins_a_gap(
    host: Host, monkeypatch: pytest.MonkeyPatch, candidate: bool
) -> None:
    marked: list[str] = []
    monkeypatch.setattr(deploy_lock, "mark", marked.append)
    monkeypatch.setattr(upstream.Upstream, "candidate", lambda _self: 9998 if candidate else 0)
    host.run()
    assert marked == []
    host.run(CONTENT.replace("/r/1", "/r/2"), check=True)
    assert marked == []
    host.run(CONTENT.replace("/r/1", "/r/2"))
    assert marked == ([] if candidate else ["gap"])


def test_the_restart_of_a_worker_begins_no_gap(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """Clients ask the supervisor, whose restart counts."""
    marked: list[str] = []
    monkeypatch.setattr(deploy_lock, "mark", marked.append)
    monkeypatch.setattr(upstream.Upstream, "candidate", lambda _self: 0)
    host.run()
    assert host.run(CONTENT.replace("/r/1", "/r/2"), clients=False)["action"] == "restarted"
    assert marked == []
