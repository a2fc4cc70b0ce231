# SPDX-License-Identifier: GPL-3.0-or-later
"""The packet filter is written, tested, loaded and kept. Changes by others are corrected."""

from __future__ import annotations

import os
import pwd
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.voicefleet.kokoro.plugins.module_utils.host import (
    layout,
    managed,
    packet_filter as rules,
    systemd_unit,
)
from ansible_collections.voicefleet.kokoro.plugins.modules import packet_filter

USER = pwd.getpwuid(os.getuid()).pw_name


class Host:
    """A stand-in for systemctl and nft. A start or reload loads the file, and a listing shows what is loaded."""

    def __init__(self, folder: Path) -> None:
        self.units = folder / "units"
        self.units.mkdir()
        self.etc = folder / "etc"
        self.table: str | None = None
        self.state = {"ActiveState": "inactive", "UnitFileState": "disabled", "NeedDaemonReload": "no"}
        self.calls: list[str] = []
        self.check_status = 0

    def call(self, command: Sequence[str], _timeout: float) -> tuple[int, str]:
        if command[0] == "/sbin/nft":
            self.calls += [command[1]] if command[1] == "add" else []
            if "--check" in command:
                return self.check_status, "" if self.check_status == 0 else "Error: no"
            return (0, self.table) if self.table is not None else (1, "No such file or directory")
        if command[1] == "show":
            return 0, "\n".join(f"{name}={value}" for name, value in self.state.items())
        self.calls.append(command[1])
        if command[1] == "enable":
            self.state["UnitFileState"] = "enabled"
        if command[1] == "reload-or-restart":
            self.state["ActiveState"] = "active"
            self.table = "loaded: " + (self.etc / layout.FILTER_FILE).read_text()
        return 0, ""

    def run(self, check: bool = False, **given: Any) -> dict[str, Any]:
        params: dict[str, Any] = {
            "user": USER,
            "members": ["10.0.0.1"],
            "private_ports": [30001],
            "api_ports": [],
            "clients": [],
            "metrics_ports": [],
            "metrics_networks": [],
            "folder": str(self.etc),
            "required": True,
            **given,
        }
        unit = systemd_unit.Unit(layout.FILTER_UNIT, str(self.units), self.call)
        return packet_filter.Filter(params, check, "/sbin/nft", unit, self.call).run()


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def test_the_first_run_loads_the_rules_and_the_second_changes_nothing(host: Host) -> None:
    first = host.run()
    assert first["changes"][-2:] == ["enabled", "loaded (the rules were changed)"]
    assert host.calls == ["daemon-reload", "enable", "reload-or-restart"]
    assert "30001" in first["diff"][0]["after"]
    second = host.run()
    assert (second["changed"], second["diff"]) == (False, [])


def test_check_mode_changes_nothing(host: Host) -> None:
    result = host.run(check=True)
    assert result["changed"]
    assert "30001" in result["diff"][0]["after"]
    assert (host.calls, host.etc.exists(), list(host.units.iterdir())) == ([], False, [])


@pytest.mark.parametrize(
    ("table", "why"),
    [(None, "the table was missing"), (f"chain {rules.MARK} and other rules", "the table was changed by others")],
)
def test_a_table_that_others_emptied_or_changed_is_reloaded(host: Host, table: str | None, why: str) -> None:
    host.run()
    host.table = table
    assert host.run(check=True)["changes"] == [f"loaded ({why})"]
    assert host.run()["changes"] == [f"loaded ({why})"]
    assert not host.run()["changed"]


def test_a_new_member_changes_the_rules_in_one_step(host: Host) -> None:
    host.run()
    host.calls.clear()
    result = host.run(members=["10.0.0.1", "10.0.0.9"])
    assert "rules written (other content)" in result["changes"]
    assert host.calls == ["reload-or-restart"]
    assert "10.0.0.9" in (host.table or "")


def test_refused_rules_are_not_written(host: Host) -> None:
    host.check_status = 1
    with pytest.raises(rules.FilterError, match="refuses the rules: Error: no"):
        host.run()
    assert not host.etc.exists()


def test_a_unit_that_others_wrote_is_left_alone(host: Host) -> None:
    (host.units / layout.FILTER_UNIT).write_text("[Unit]\n")
    with pytest.raises(managed.ManagedError, match="left alone"):
        host.run()
    assert not host.etc.exists()


def test_a_table_without_our_mark_is_left_alone(host: Host) -> None:
    host.table = "rules of somebody else"
    for check in (True, False):
        with pytest.raises(managed.ManagedError, match="run: nft delete table inet voicefleet. Then"):
            host.run(check=check)
    assert (host.calls, host.etc.exists(), list(host.units.iterdir())) == ([], False, [])
    host.table = None
    host.run()
    host.calls.clear()
    host.table = "rules of somebody else"
    with pytest.raises(managed.ManagedError, match="not made by this collection"):
        host.run(members=["10.0.0.9"])
    assert host.calls == []


def test_a_table_that_was_loaded_before_there_was_a_mark_gets_it(host: Host) -> None:
    host.run()
    record = host.etc / layout.FILTER_RECORD
    host.table = record.read_text().replace(rules.MARK, "x")
    record.write_text(host.table)
    host.calls.clear()
    assert host.run(check=True)["changed"] is False
    assert host.calls == []
    host.run(members=["10.0.0.9"])
    assert host.calls[0] == "add"
    assert rules.MARK in host.table


def test_without_nft_the_message_says_what_to_install(host: Host) -> None:
    unit = systemd_unit.Unit(layout.FILTER_UNIT, str(host.units), host.call)
    params = {"folder": str(host.etc), "required": True}
    with pytest.raises(rules.FilterError, match="Install the package nftables"):
        packet_filter.Filter(params, False, None, unit, host.call).run()
    result = packet_filter.Filter({**params, "required": False}, False, None, unit, host.call).run()
    assert (result["changed"], result["filtered"]) == (False, False)
    assert not host.etc.exists()


def test_the_user_must_exist_except_in_check_mode(host: Host) -> None:
    with pytest.raises(rules.FilterError, match="there is no user"):
        host.run(user="no-such-user")
    assert host.run(check=True, user="no-such-user")["changed"]
