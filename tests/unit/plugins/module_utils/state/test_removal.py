# SPDX-License-Identifier: GPL-3.0-or-later
"""A teardown removes what this collection installed, and nothing else."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from ansible_collections.voicefleet.kokoro.plugins.module_utils.host import layout, ownership, systemd_unit
from ansible_collections.voicefleet.kokoro.plugins.module_utils.state import removal

UNIT = "voicefleet-xinference.service"
ONE = "1.2.3-0123456789ab"


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
    for folder in ("root", "secrets", "home", "evidence"):
        ownership.claim(str(tmp_path / folder))
    for folder in (
        "units",
        f"root/artifacts/{64 * 'a'}",
        f"root/releases/{ONE}",
        "root/tools/uv-1.0",
        f"evidence/{ONE}",
    ):
        (tmp_path / folder).mkdir(parents=True)
    files = (f"root/releases/{ONE}/release.json", "secrets/secrets.json", "home/auth.db", f"evidence/{ONE}/proof.json")
    for file in files:
        (tmp_path / file).touch()
    (tmp_path / "root/current").symlink_to(f"releases/{ONE}")
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
    found = sorted(str(path.relative_to(top)) for path in top.rglob("*") if not path.is_dir() or path.is_symlink())
    return [path for path in found if not path.endswith(ownership.MARK)]


def survey(places: removal.Places, uid_of: Callable[[str], int | None] | None = None) -> removal.Removal:
    """The survey of a host on which this collection made the account."""
    return removal.survey(places, uid_of or mine, lambda _user: "")


def test_data_evidence_and_their_user_stay_by_default(places: removal.Places) -> None:
    runner = Runner()
    found = survey(places)
    assert found.user is None
    assert [line for line in found.stay if line.startswith("user voicefleet")] != []
    removal.remove(found, places, runner)
    assert left(places) == [f"evidence/{ONE}/proof.json", "home/auth.db"]
    assert not os.path.exists(places.root)
    assert not os.path.exists(places.secrets)
    assert runner.calls == [f"systemctl stop {UNIT}", f"systemctl disable {UNIT}", "systemctl daemon-reload"]


def test_a_second_teardown_finds_nothing(places: removal.Places) -> None:
    removal.remove(survey(places), places, Runner())
    assert survey(places).lines() == []


def test_data_and_evidence_are_removed_on_request(places: removal.Places) -> None:
    places = replace(places, remove_data=True, remove_evidence=True)
    runner = Runner()
    found = survey(places)
    assert found.stay == []
    removal.remove(found, places, runner)
    assert left(places) == []
    assert runner.calls[-1] == "userdel voicefleet"
    assert survey(places, lambda _user: None).lines() == []


def test_the_user_is_removed_if_there_is_no_data(places: removal.Places) -> None:
    shutil.rmtree(places.home)
    assert survey(places).user == "voicefleet"


def test_foreign_files_stay_with_their_folder(places: removal.Places) -> None:
    for file in (Path(places.root) / "notes.txt", Path(places.secrets) / "tls.key"):
        file.touch()
    drop_in = Path(places.units) / f"{UNIT}.d" / "override.conf"
    drop_in.parent.mkdir()
    drop_in.touch()
    foreign = Path(places.units) / "voicefleet-other.service"
    foreign.write_text("[Unit]\n")
    found = survey(places)
    removal.remove(found, places, Runner())
    assert {"root/notes.txt", "secrets/tls.key", f"units/{UNIT}.d/override.conf", f"units/{foreign.name}"} < set(
        left(places)
    )
    said = "\n".join(found.stay)
    assert all(word in said for word in ("notes.txt", "tls.key", "override.conf", foreign.name))
    assert f"root/releases/{ONE}/release.json" not in left(places)


def test_a_home_of_another_user_is_refused(places: removal.Places) -> None:
    with pytest.raises(removal.RemovalError, match="does not belong to the user voicefleet"):
        removal.survey(replace(places, remove_data=True), lambda _user: os.getuid() + 1)
    assert "home/auth.db" in left(places)


def test_nothing_is_removed_if_the_service_does_not_stop(places: removal.Places) -> None:
    runner = Runner()
    runner.fail = "stop"
    before = left(places)
    with pytest.raises(systemd_unit.SystemdError):
        removal.remove(survey(places), places, runner)
    assert left(places) == before


def test_links_are_not_followed(places: removal.Places, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    (elsewhere / "releases").mkdir(parents=True)
    (elsewhere / "releases" / "precious").touch()
    link = tmp_path / "link"
    link.symlink_to(elsewhere)
    ownership._mark(str(elsewhere), "")
    found = survey(replace(places, root=str(link)))
    assert any(line.startswith(f"{link}: is a link to {elsewhere}") for line in found.stay)
    removal.remove(found, places, Runner())
    assert (elsewhere / "releases" / "precious").exists()


def test_a_worker_on_the_supervisors_host_is_removed_too(places: removal.Places, tmp_path: Path) -> None:
    ownership.claim(str(tmp_path / "worker"))
    ownership.claim(str(tmp_path / "keys"))
    (tmp_path / "keys" / "xinference.env").touch()
    for unit in ("voicefleet-worker.service", "voicefleet-filter.service"):
        (tmp_path / "units" / unit).write_text(systemd_unit.MARKER + "\n")
    places = replace(places, worker_home=str(tmp_path / "worker"), worker_secrets=str(tmp_path / "keys"))
    assert f"{tmp_path / 'worker'}: data (teardown_data)" in survey(places).stay
    places = replace(places, remove_data=True, remove_evidence=True)
    removal.remove(survey(places), places, Runner())
    assert left(places) == []
    assert not (tmp_path / "worker").exists()


def test_nothing_of_another_program_is_removed(places: removal.Places, tmp_path: Path) -> None:
    """The root is a folder that others use, and so are the folders of secrets and evidence."""
    everything = replace(places, remove_data=True, remove_evidence=True)
    for folder in (places.root, places.secrets, places.home, places.evidence):
        os.unlink(os.path.join(folder, ownership.MARK))
    before = left(places)
    found = survey(everything)
    assert (found.paths, found.user) == ([], None)
    said = "\n".join(found.stay)
    for folder in (places.root, places.secrets, places.home, places.evidence):
        assert f"{folder}: holds files" in said
        assert f"touch {folder}/{ownership.MARK}" in said
    removal.remove(found, everything, Runner())
    assert left(places) == [path for path in before if not path.startswith("units/")]


def test_folders_of_another_program_below_our_root_stay(places: removal.Places) -> None:
    other = Path(places.root) / "releases" / "other-app"
    other.mkdir()
    found = survey(places)
    assert any("other-app" in line for line in found.stay)
    removal.remove(found, places, Runner())
    assert other.is_dir()
    assert not (other.parent / ONE).exists()
    assert ownership.is_ours(places.root)


def test_only_an_account_of_ours_is_removed(places: removal.Places) -> None:
    shutil.rmtree(places.home)
    found = removal.survey(places, mine, lambda _user: "is an account that this collection did not make.")
    assert found.user is None
    assert "user voicefleet: is an account that this collection did not make." in found.stay


def test_a_candidate_of_a_killed_upgrade_goes(places: removal.Places, tmp_path: Path) -> None:
    home, secrets = Path(layout.candidate_home(places.home)), tmp_path / "candidate-secrets"
    for folder in (home, secrets):
        ownership.claim(str(folder))
    (home / "auth.db").touch()
    (secrets / "secrets.json").touch()
    (secrets / ".secrets.json.abcdefgh.voicefleet-new").touch()
    places = replace(places, candidate_secrets=str(secrets))
    assert str(home) in survey(places).lines()
    removal.remove(survey(places), places, Runner())
    assert not home.exists()
    assert not secrets.exists()


def test_what_killed_writes_left_goes(places: removal.Places) -> None:
    ours = [
        Path(folder, f".voicefleet-x.service.abc{removal.UNFINISHED}")
        for folder in (places.units, places.root, f"{places.root}/artifacts", places.secrets)
    ]
    other = Path(places.units, f".nginx.service.abc{removal.UNFINISHED}")
    for file in (*ours, other):
        file.touch()
    removal.remove(survey(places), places, Runner())
    assert [file.exists() for file in (*ours, other)] == [False] * 4 + [True]
    assert not Path(places.root).exists()


def test_a_half_made_folder_goes(places: removal.Places) -> None:
    half = Path(places.secrets + ownership.SCRATCH)
    half.mkdir()
    removal.remove(survey(places), places, Runner())
    assert not half.exists()


def test_a_folder_that_was_there_before_stays_empty(places: removal.Places, tmp_path: Path) -> None:
    mine_before = tmp_path / "disk"
    mine_before.mkdir()
    ownership.claim(str(mine_before))
    (mine_before / "releases").mkdir()
    places = replace(places, root=str(mine_before))
    removal.remove(survey(places), places, Runner())
    assert list(mine_before.iterdir()) == []


def test_an_interrupted_teardown_still_knows_its_folders(places: removal.Places) -> None:
    runner = Runner()
    everything = replace(places, remove_data=True, remove_evidence=True)
    for _attempt in range(40):
        found = survey(everything)
        if not found.paths:
            break
        # Each attempt removes one thing and is killed.
        order = sorted(found.paths, key=lambda path: path in found.folders)
        removal.remove(removal.Removal(paths=order[:1], folders=found.folders), everything, runner)
    assert left(places) == [f"units/{UNIT}"]
    assert sorted(path.name for path in Path(places.root).parent.iterdir()) == ["units"]
