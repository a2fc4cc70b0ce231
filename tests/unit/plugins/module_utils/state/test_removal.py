# SPDX-License-Identifier: GPL-3.0-or-later
"""A teardown removes what this collection installed, and nothing else."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from ansible_collections.voicefleet.kokoro.plugins.module_utils.host import systemd_unit
from ansible_collections.voicefleet.kokoro.plugins.module_utils.state import removal

UNIT = "voicefleet-xinference.service"


class Runner:
    """A stand-in for systemctl and userdel. ``fail`` names a verb that fails."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.fail: str | None = None

    def __call__(self, command: Sequence[str], _timeout: float) -> tuple[int, str]:
        self.calls.append(" ".join(command))
        return (1, "no") if self.fail and self.fail in command else (0, "")


@pytest.fixture
def places(tmp_path: Path) -> removal.Places:
    for folder in ("units", "root/artifacts/a", "root/releases/one", "root/tools", "secrets", "home", "evidence/one"):
        (tmp_path / folder).mkdir(parents=True)
    for file in ("root/releases/one/release.json", "secrets/secrets.json", "home/auth.db", "evidence/one/proof.json"):
        (tmp_path / file).touch()
    (tmp_path / "root/current").symlink_to("releases/one")
    (tmp_path / "units" / UNIT).write_text(systemd_unit.MARKER + "\n")
    return removal.Places(
        root=str(tmp_path / "root"),
        secrets=str(tmp_path / "secrets"),
        home=str(tmp_path / "home"),
        evidence=str(tmp_path / "evidence"),
        user="voicefleet",
        units=str(tmp_path / "units"),
    )


def mine(_user: str) -> int:
    return os.getuid()


def left(places: removal.Places) -> list[str]:
    top = Path(places.root).parent
    return sorted(str(path.relative_to(top)) for path in top.rglob("*") if not path.is_dir() or path.is_symlink())


def test_data_evidence_and_their_user_stay_by_default(places: removal.Places) -> None:
    runner = Runner()
    found = removal.survey(places, mine)
    assert found.user is None
    assert [line for line in found.stay if line.startswith("user voicefleet")] != []
    removal.remove(found, places, runner)
    assert left(places) == ["evidence/one/proof.json", "home/auth.db"]
    assert not os.path.exists(places.root)
    assert not os.path.exists(places.secrets)
    assert runner.calls == [f"systemctl stop {UNIT}", f"systemctl disable {UNIT}", "systemctl daemon-reload"]


def test_a_second_teardown_finds_nothing(places: removal.Places) -> None:
    removal.remove(removal.survey(places, mine), places, Runner())
    assert removal.survey(places, mine).lines() == []


def test_data_and_evidence_are_removed_on_request(places: removal.Places) -> None:
    places = replace(places, remove_data=True, remove_evidence=True)
    runner = Runner()
    found = removal.survey(places, mine)
    assert found.stay == []
    removal.remove(found, places, runner)
    assert left(places) == []
    assert runner.calls[-1] == "userdel voicefleet"
    assert removal.survey(places, lambda _user: None).lines() == []


def test_the_user_is_removed_if_there_is_no_data(places: removal.Places) -> None:
    (Path(places.home) / "auth.db").unlink()
    Path(places.home).rmdir()
    assert removal.survey(places, mine).user == "voicefleet"


def test_foreign_files_stay_with_their_folder(places: removal.Places) -> None:
    for file in (Path(places.root) / "notes.txt", Path(places.secrets) / "tls.key"):
        file.touch()
    drop_in = Path(places.units) / f"{UNIT}.d" / "override.conf"
    drop_in.parent.mkdir()
    drop_in.touch()
    foreign = Path(places.units) / "voicefleet-other.service"
    foreign.write_text("[Unit]\n")
    found = removal.survey(places, mine)
    removal.remove(found, places, Runner())
    assert {"root/notes.txt", "secrets/tls.key", f"units/{UNIT}.d/override.conf", f"units/{foreign.name}"} < set(
        left(places)
    )
    said = "\n".join(found.stay)
    assert all(word in said for word in ("notes.txt", "tls.key", "override.conf", foreign.name))
    assert "root/releases/one/release.json" not in left(places)


def test_a_home_of_another_user_is_refused(places: removal.Places) -> None:
    with pytest.raises(removal.RemovalError, match="does not belong to the user voicefleet"):
        removal.survey(replace(places, remove_data=True), lambda _user: os.getuid() + 1)
    assert "home/auth.db" in left(places)


def test_nothing_is_removed_if_the_service_does_not_stop(places: removal.Places) -> None:
    runner = Runner()
    runner.fail = "stop"
    before = left(places)
    with pytest.raises(systemd_unit.SystemdError):
        removal.remove(removal.survey(places, mine), places, runner)
    assert left(places) == before


def test_links_are_not_followed(places: removal.Places, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    (elsewhere / "releases").mkdir(parents=True)
    (elsewhere / "releases" / "precious").touch()
    link = tmp_path / "link"
    link.symlink_to(elsewhere)
    found = removal.survey(replace(places, root=str(link)), mine)
    removal.remove(found, places, Runner())
    assert (elsewhere / "releases" / "precious").exists()


def test_a_worker_on_the_supervisors_host_is_removed_too(places: removal.Places, tmp_path: Path) -> None:
    (tmp_path / "worker").mkdir()
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys" / "xinference.env").touch()
    for unit in ("voicefleet-worker.service", "voicefleet-filter.service"):
        (tmp_path / "units" / unit).write_text(systemd_unit.MARKER + "\n")
    places = replace(places, worker_home=str(tmp_path / "worker"), worker_secrets=str(tmp_path / "keys"))
    assert f"{tmp_path / 'worker'}: data (teardown_data)" in removal.survey(places, mine).stay
    places = replace(places, remove_data=True, remove_evidence=True)
    removal.remove(removal.survey(places, mine), places, Runner())
    assert left(places) == []
    assert not (tmp_path / "worker").exists()
