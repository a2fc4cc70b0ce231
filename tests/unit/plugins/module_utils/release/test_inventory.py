# SPDX-License-Identifier: GPL-3.0-or-later
"""An inventory finds every difference from the sealed files, and nothing else."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from ansible_collections.voicefleet.kokoro.plugins.module_utils.release import inventory, release

STAMP = "env/voicefleet-env.json"


@pytest.fixture
def sealed(tmp_path: Path) -> Path:
    """A small sealed release: a file, one with spaces in its name, a program, a link and a model."""
    folder = tmp_path / "releases" / "one"
    for path in ("env/bin/run", "env/lib/two words.py", "models/kokoro/config.json", STAMP):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text("text")
    (folder / "env/bin/run").chmod(0o755)
    (folder / "env/bin/python").symlink_to("/usr/bin/python3")
    release.seal(str(folder), {"id": "one"})
    return folder


def drift(folder: Path) -> inventory.Drift:
    found = release.drift(str(folder))
    assert found is not None
    return found


def test_an_unchanged_release_has_no_drift(sealed: Path) -> None:
    assert not drift(sealed)
    assert drift(sealed).paths == []
    # Reading a file causes no drift.
    (sealed / "env/bin/run").read_text()
    os.utime(sealed / "env")
    assert not drift(sealed)


def rewrite(file: Path) -> None:
    """Write other contents of the same length at another time."""
    file.write_text("TEXT")
    os.utime(file, ns=(1, 1))


def relink(file: Path) -> None:
    file.unlink()
    file.symlink_to("/bin/sh")


FAULTS: list[tuple[str, str, Callable[[Path], object]]] = [
    ("missing", "env/bin/run", lambda file: file.unlink()),
    ("missing", "env/lib/two words.py", lambda file: file.unlink()),
    ("changed", "env/bin/run", rewrite),
    ("changed", "env/bin/run", lambda file: file.write_text("longer text")),
    ("changed", "env/bin/run", lambda file: file.chmod(0o775)),
    ("changed", "env/lib", lambda file: file.chmod(0o777)),
    ("changed", ".", lambda file: file.chmod(0o700)),
    ("changed", "env/bin/python", relink),
    ("changed", "release.json", lambda file: file.chmod(0o666)),
    ("added", "env/lib/surprise.pth", lambda file: file.write_text("import os")),
    ("added", "env/lib/new\nline", lambda file: file.write_text("")),
    ("missing", "files.txt", lambda file: file.unlink()),
    ("changed", "files.txt", lambda file: (file.chmod(0o644), file.write_text(""))),
]


@pytest.mark.parametrize(
    ("sort", "path", "fault"), FAULTS, ids=[f"{s} {p!r} {n}" for n, (s, p, _row) in enumerate(FAULTS)]
)
def test_each_change_is_named(sealed: Path, sort: str, path: str, fault: Callable[[Path], object]) -> None:
    fault(sealed / path)
    found = drift(sealed)
    assert getattr(found, sort) == [path]
    assert found.paths == [path]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_another_owner_is_drift(sealed: Path) -> None:
    os.chown(sealed / "env/bin/run", 1234, 1234)
    assert drift(sealed).changed == ["env/bin/run"]


def test_an_unfinished_release_has_no_drift(sealed: Path) -> None:
    (sealed / "release.json").unlink()
    assert release.drift(str(sealed)) is None


def test_sealing_closes_a_release_to_others(sealed: Path) -> None:
    (sealed / "env/lib").chmod(0o777)
    (sealed / "env/bin/run").chmod(0o4777)
    (sealed / "models/kokoro/config.json").chmod(0o600)
    release.seal(str(sealed), {"id": "one"})
    assert (sealed / "env/lib").stat().st_mode & 0o7777 == 0o755
    assert (sealed / "env/bin/run").stat().st_mode & 0o7777 == 0o755
    assert (sealed / "models/kokoro/config.json").stat().st_mode & 0o7777 == 0o644
    assert not drift(sealed)


def test_a_summary_counts_all_paths_and_names_the_first(sealed: Path) -> None:
    for number in range(7):
        (sealed / f"env/lib/{number}").touch()
    assert drift(sealed).as_dict() == {
        "missing": {"count": 0, "first": []},
        "changed": {"count": 0, "first": []},
        "added": {"count": 7, "first": [f"env/lib/{number}" for number in range(5)]},
    }


def test_a_change_in_the_environment_removes_stamp_and_seal(sealed: Path) -> None:
    (sealed / "env/bin/run").unlink()
    inventory.reopen(str(sealed), drift(sealed), STAMP)
    assert not (sealed / STAMP).exists()
    assert release.read(str(sealed)) is None
    assert (sealed / "models/kokoro/config.json").exists()


def test_a_change_in_a_model_removes_only_the_wrong_files(sealed: Path) -> None:
    rewrite(sealed / "models/kokoro/config.json")
    (sealed / "models/stray/deep").mkdir(parents=True)
    (sealed / "models").chmod(0o777)
    found = drift(sealed)
    assert not inventory.in_env(found)
    inventory.reopen(str(sealed), found, STAMP)
    assert (sealed / STAMP).exists()
    assert sorted(path.name for path in (sealed / "models").rglob("*")) == ["kokoro"]
    assert release.read(str(sealed)) is None


def test_a_release_without_an_inventory_is_rebuilt_as_a_whole(sealed: Path) -> None:
    (sealed / "files.txt").unlink()
    assert inventory.in_env(drift(sealed))
    shutil.rmtree(sealed / "env")
    inventory.reopen(str(sealed), drift(sealed), STAMP)
    assert release.read(str(sealed)) is None
