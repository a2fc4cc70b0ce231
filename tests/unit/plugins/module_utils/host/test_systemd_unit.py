# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from pathlib import Path

import pytest
from ansible_collections.voicefleet.kokoro.plugins.module_utils.host import systemd_unit as su


def unit(tmp_path: Path, status: int = 0, output: str = "") -> tuple[su.Unit, list[list[str]]]:
    asked: list[list[str]] = []

    def runner(command: Sequence[str], _timeout: float) -> tuple[int, str]:
        asked.append(list(command))
        return status, output

    return su.Unit("x.service", str(tmp_path), runner), asked


def test_show_reads_properties(tmp_path: Path) -> None:
    one, dummy = unit(tmp_path, 0, "ActiveState=active\nNRestarts=3\nResult=")
    assert one.show() == {"ActiveState": "active", "NRestarts": "3", "Result": ""}


def test_show_is_empty_if_systemd_does_not_answer(tmp_path: Path) -> None:
    assert unit(tmp_path, 1, "System has not been booted with systemd")[0].show() == {}


def test_ctl_names_the_unit_except_for_daemon_reload(tmp_path: Path) -> None:
    one, asked = unit(tmp_path)
    one.ctl("restart")
    one.ctl("daemon-reload")
    assert asked == [["systemctl", "restart", "x.service"], ["systemctl", "daemon-reload"]]


def test_ctl_reports_the_error_of_systemd(tmp_path: Path) -> None:
    with pytest.raises(su.SystemdError, match="Unit x.service is masked"):
        unit(tmp_path, 1, "Failed to start x.service: Unit x.service is masked.")[0].ctl("restart")


def test_a_command_that_hangs_is_ended() -> None:
    assert su.run(["sleep", "5"], 0.1)[0] == 124
    assert su.run(["/no/such/program"], 1)[0] == 127


def test_the_journal_omits_starts_and_stops(tmp_path: Path) -> None:
    lines = [
        "Starting x.service - X...",
        "Started x.service - X.",
        "\x1b[31mTraceback\x1b[0m",
        "ValueError: no",
        "x.service: Main process exited, code=exited, status=1/FAILURE",
        "x.service: Deactivated successfully.",
        "Stopped x.service - X.",
    ]
    one, dummy = unit(tmp_path, 0, "\n".join(lines))
    assert one.journal() == [
        "Traceback",
        "ValueError: no",
        "x.service: Main process exited, code=exited, status=1/FAILURE",
    ]
    assert one.journal(1) == ["x.service: Main process exited, code=exited, status=1/FAILURE"]


def test_a_unit_that_others_wrote_is_foreign(tmp_path: Path) -> None:
    one, dummy = unit(tmp_path)
    assert not one.foreign()
    Path(one.path).write_text(su.MARKER + "\n[Unit]\n")
    assert not one.foreign()
    Path(one.path).write_text("[Unit]\n")
    assert one.foreign()
    Path(one.path).unlink()
    Path(one.path).symlink_to("/dev/null")  # masked
    assert one.foreign()


@pytest.mark.parametrize("version", ["systemd", ""])
def test_the_processes_of_a_unit_and_its_subgroups_are_found(tmp_path: Path, version: str) -> None:
    asked, _commands = unit(tmp_path, output="/system.slice/x.service")
    group = tmp_path / "cgroup" / version / "system.slice/x.service"
    (group / "inner").mkdir(parents=True)
    (group / "cgroup.procs").write_text("20\n7\n")
    (group / "inner/cgroup.procs").write_text("30\n")
    assert asked.processes(str(tmp_path / "cgroup")) == [7, 20, 30]
    assert asked.processes(str(tmp_path / "nowhere")) == []
    assert unit(tmp_path, status=1, output="no bus")[0].processes(str(tmp_path / "cgroup")) == []
    # A unit that does not run has no group. It must not get the processes of all groups.
    assert unit(tmp_path, output="")[0].processes(str(tmp_path / "cgroup")) == []


def test_restart_reasons_name_what_changed(tmp_path: Path) -> None:
    env = tmp_path / "env"
    env.write_text("A=1\n")
    prints = su.fingerprint("[Unit]", [str(env)])
    assert su.restart_reasons(prints, prints) == []
    env.write_text("A=2\n")
    assert su.restart_reasons(su.fingerprint("[Unit]", [str(env)]), prints) == [f"{env} has changed since the start"]
    assert su.restart_reasons(su.fingerprint("[unit]", [str(env)]), {"unit": prints["unit"], str(env): "x"}) == [
        f"{env} has changed since the start",
        "the unit has changed since the start",
    ]
    # A removed drop-in is a reason, too, and so is a missing record.
    assert su.restart_reasons(prints, dict(prints, gone="x")) == ["gone has changed since the start"]
    assert len(su.restart_reasons(prints, {})) == 1


def test_fingerprints_hold_no_content(tmp_path: Path) -> None:
    env = tmp_path / "env"
    env.write_text("SECRET=hunter2hunter2\n")
    assert "hunter2" not in str(su.fingerprint("u", [str(env)]))


def test_drop_ins_are_found(tmp_path: Path) -> None:
    one, dummy = unit(tmp_path)
    folder = Path(one.path + ".d")
    folder.mkdir()
    (folder / "b.conf").write_text("")
    (folder / "a.conf").write_text("")
    (folder / "note.txt").write_text("")
    assert [os.path.basename(path) for path in one.drop_ins()] == ["a.conf", "b.conf"]


@pytest.mark.parametrize("text", ["", "{", "[1]"])
def test_a_damaged_record_counts_as_none(tmp_path: Path, text: str) -> None:
    path = tmp_path / "r"
    path.write_text(text)
    assert su.load_record(str(path)) == {}
    assert su.load_record(str(tmp_path / "none")) == {}


def test_the_holder_of_a_port_is_named() -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        port = server.getsockname()[1]
        assert (su.port_holder("127.0.0.1", port) or "").startswith(f"{os.getpid()} (")
    assert su.port_holder("127.0.0.1", port) is None
