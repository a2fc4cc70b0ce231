# SPDX-License-Identifier: GPL-3.0-or-later
"""The files and process of a proxy. systemd is a stand-in, files and the command that tests them are real."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.voicefleet.kokoro.plugins.module_utils.front import front
from ansible_collections.voicefleet.kokoro.plugins.module_utils.host import ownership, systemd_unit
from ansible_collections.voicefleet.kokoro.plugins.module_utils.host.managed import File, ManagedError

SECRET = "xf-secret-of-the-node"


class Systemd:
    def __init__(self) -> None:
        self.active, self.enabled, self.verbs = "inactive", "disabled", []  # type: ignore[var-annotated]
        self.fail: str | None = None

    def __call__(self, command: Sequence[str], _timeout: float) -> tuple[int, str]:
        if command[0] == "journalctl":
            return 0, "[ALERT] cannot bind socket"
        verb = command[1]
        if verb == "show":
            return 0, f"ActiveState={self.active}\nUnitFileState={self.enabled}\nNeedDaemonReload=no"
        self.verbs.append(verb)
        if verb == self.fail:
            return 1, "Job failed"
        self.active = {"restart": "active", "stop": "inactive"}.get(verb, self.active)
        self.enabled = {"enable": "enabled", "disable": "disabled"}.get(verb, self.enabled)
        return 0, ""


class Host:
    def __init__(self, folder: Path) -> None:
        self.folder, self.systemd = folder, Systemd()
        self.unit = folder / "x.service"
        self.config = folder / "made" / "x.cfg"

    def front(self, config: str = "good\n", unit: str | None = "[Service]\n", check: bool = False) -> front.Front:
        self.systemd.verbs.clear()
        files = [File(str(self.config.parent / "key"), SECRET, 0o600, True), File(str(self.config), config)]
        if unit is not None:
            files.append(File(str(self.unit), systemd_unit.MARKER + "\n" + unit))
        return front.Front(
            systemd_unit.Unit("x.service", str(self.folder), self.systemd),
            files,
            ["grep", "good", str(self.config)],
            str(self.config.parent / "loaded.json"),
            check,
        )

    def apply(self, *arguments: Any, **more: Any) -> dict[str, Any]:
        return self.front(*arguments, **more).apply()


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def test_the_first_run_starts_the_proxy_and_the_second_changes_nothing(host: Host) -> None:
    result = host.apply()
    assert result["action"] == "started"
    assert host.systemd.verbs == ["daemon-reload", "enable", "restart"]
    assert host.config.read_text() == "good\n"
    assert stat.S_IMODE((host.config.parent / "key").stat().st_mode) == 0o600
    assert stat.S_IMODE(host.config.parent.stat().st_mode) == 0o700
    again = host.apply()
    assert not again["changed"]
    assert host.systemd.verbs == []


def test_a_changed_configuration_needs_a_reload_and_a_changed_unit_a_restart(host: Host) -> None:
    host.apply()
    assert host.apply("good too\n")["action"] == "reloaded"
    assert host.systemd.verbs == ["reload"]
    assert host.apply("good too\n", "[Service]\nNice=1\n")["action"] == "restarted"
    assert host.systemd.verbs == ["daemon-reload", "restart"]


def test_a_refused_configuration_is_undone_and_not_reloaded(host: Host) -> None:
    host.apply()
    with pytest.raises(ManagedError, match="refuses the configuration"):
        host.apply("bad\n")
    assert host.config.read_text() == "good\n"
    assert "reload" not in host.systemd.verbs
    assert not host.apply()["changed"]


def test_a_refused_first_configuration_leaves_no_file(host: Host) -> None:
    with pytest.raises(ManagedError):
        host.apply("bad\n")
    assert [path.name for path in host.folder.rglob("*") if path.is_file()] == [ownership.MARK]


def test_the_next_run_completes_a_run_that_was_interrupted_before_the_reload(host: Host) -> None:
    host.apply()
    host.systemd.fail = "reload"
    with pytest.raises(ManagedError, match="cannot bind socket"):
        host.apply("good too\n")
    host.systemd.fail = None
    assert host.apply("good too\n")["action"] == "reloaded"


def test_a_line_of_the_journal_that_quotes_a_key_is_left_out(host: Host) -> None:
    host.apply()
    host.systemd.fail = "reload"
    proxy = host.front("good too\n")
    proxy.keys = ["xf-cannot-bind socket"]
    with pytest.raises(ManagedError, match="a line that quotes a key") as error:
        proxy.apply()
    assert "socket" not in str(error.value)


def test_check_mode_reports_changes_and_makes_none(host: Host) -> None:
    result = host.apply(check=True)
    assert result["changed"]
    assert result["action"] == "started"
    assert host.systemd.verbs == []
    assert not host.config.exists()
    host.apply()
    assert host.apply("good too\n", check=True)["action"] == "reloaded"
    assert host.config.read_text() == "good\n"


def test_no_secret_is_in_a_result(host: Host) -> None:
    assert SECRET not in str(host.apply())
    (host.config.parent / "key").write_text("xf-edited-secret")
    assert "xf-edited-secret" not in str(host.apply())
    assert (host.config.parent / "key").read_text() == SECRET


def test_a_unit_that_others_wrote_is_left_alone(host: Host) -> None:
    host.unit.write_text("[Service]\n")
    with pytest.raises(ManagedError, match="was not written by this collection"):
        host.apply()
    assert not host.config.exists()


def test_a_configuration_that_others_wrote_is_left_alone(host: Host) -> None:
    other = host.folder / "x.cfg"
    other.write_text("good, but of others\n")
    made = host.front(unit=None)
    made.files.append(File(str(other), systemd_unit.MARKER + "\ngood\n"))
    for change in (made.apply, made.remove):
        with pytest.raises(ManagedError, match="x.cfg was not written by this collection and is left alone"):
            change()
    assert other.read_text() == "good, but of others\n"


def test_a_folder_of_others_is_left_alone(host: Host) -> None:
    host.config.parent.mkdir()
    (host.config.parent / "precious").touch()
    with pytest.raises(OSError, match="has no mark of this collection"):
        host.apply()
    done = host.front().remove([str(host.config.parent)])
    assert "stays: this collection did not make it" in done["msg"]
    assert [path.name for path in host.config.parent.iterdir()] == ["precious"]


def test_the_distributions_unit_is_reloaded_and_never_stopped(host: Host) -> None:
    host.apply(unit=None)
    assert host.systemd.verbs == ["enable", "restart"]
    host.front(unit=None).remove([str(host.config.parent)])
    assert host.systemd.verbs == ["reload"]
    assert not host.config.parent.exists()


def test_the_unit_is_removed_last_and_the_next_run_completes_a_removal(host: Host) -> None:
    host.apply()
    assert host.front(check=True).remove([str(host.config.parent)])["changed"]
    assert host.config.exists()
    result = host.front().remove([str(host.config.parent)])
    assert host.systemd.verbs == ["stop", "disable", "daemon-reload", "reset-failed"]
    assert result["changes"][-1] == f"{host.unit} removed"
    assert not host.front().remove([str(host.config.parent)])["changed"]


def test_what_a_killed_write_of_a_unit_left_is_removed(host: Host) -> None:
    host.apply()
    left, young, other = (host.folder / f".{name}.voicefleet-new" for name in ("x.service.a", "x.service.b", "y.a"))
    for file in (left, young, other):
        file.touch()
    os.utime(left, (0, 0))
    host.apply(check=True)
    assert left.exists()
    assert not host.apply()["changed"]
    assert [file.exists() for file in (left, young, other)] == [False, True, True]
    host.front().remove([str(host.config.parent)])
    assert [file.exists() for file in (young, other)] == [False, True]


def test_the_reload_after_an_edit_by_hand_is_tried_again(host: Host) -> None:
    host.apply()
    host.config.write_text("good, edited\n")
    host.systemd.fail = "reload"
    with pytest.raises(ManagedError):
        host.apply()
    host.systemd.fail = None
    assert host.config.read_text() == "good\n"
    assert host.apply()["changed"]
    assert not host.apply()["changed"]


def test_a_refusal_shows_no_part_of_a_key(host: Host) -> None:
    proxy = host.front()
    proxy.keys = ["xf-100%Tabcdefghijkl"]
    (host.folder / "answer").write_text("no such variable Tabcdefgh\nunknown word\n")
    proxy.command = ["grep", "-v", "x", str(host.folder / "answer"), "no-such-file"]
    with pytest.raises(ManagedError) as caught:
        proxy.apply()
    assert "Tabcd" not in str(caught.value)
    assert "unknown word" in str(caught.value)
