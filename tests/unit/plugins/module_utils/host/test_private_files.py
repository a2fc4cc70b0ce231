# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from ansible_collections.voicefleet.kokoro.plugins.module_utils.host import private_files

UID, GID = os.getuid(), os.getgid()


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_file_is_replaced_in_one_step(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_text("old")
    path.chmod(0o644)
    before = path.stat().st_ino
    private_files.write_text(str(path), "new\n", 0o600, UID, GID)
    assert path.read_text() == "new\n"
    assert mode(path) == 0o600
    assert path.stat().st_ino != before
    assert os.listdir(tmp_path) == ["key"]


def test_a_failed_write_keeps_the_old_file_and_leaves_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "key"
    path.write_text("old")

    def fail(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(private_files.os, "fsync", fail)
    with pytest.raises(OSError, match="No space"):
        private_files.write_text(str(path), "new", 0o600, UID, GID)
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["key"]


def test_wrong_says_what_is_wrong(tmp_path: Path) -> None:
    path = tmp_path / "f"
    assert private_files.wrong(str(path), 0o600, UID, GID) == "missing"
    path.write_text("x")
    path.chmod(0o640)
    assert private_files.wrong(str(path), 0o600, UID, GID) == "mode 0640"
    path.chmod(0o600)
    assert private_files.wrong(str(path), 0o600, UID, GID) is None
    assert private_files.wrong(str(path), 0o600, UID + 1, GID) == f"owned by {UID}:{GID}"
    assert private_files.wrong(str(tmp_path), 0o600, UID, GID) == "not a regular file"
    assert private_files.wrong(str(path), 0o600, UID, GID, folder=True) == "not a folder"
    (tmp_path / "link").symlink_to(path)
    assert private_files.wrong(str(tmp_path / "link"), 0o600, UID, GID) == "not a regular file"


def test_a_folder_is_made_and_closed_to_others(tmp_path: Path) -> None:
    path = tmp_path / "d"
    private_files.make_folder(str(path), 0o700, UID, GID)
    assert mode(path) == 0o700
    path.chmod(0o755)
    private_files.make_folder(str(path), 0o700, UID, GID)
    assert mode(path) == 0o700


def test_a_folder_that_is_a_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir(mode=0o755)
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with pytest.raises(OSError, match="link"):
        private_files.make_folder(str(tmp_path / "link"), 0o700, UID, GID)
    assert mode(tmp_path / "real") == 0o755


def test_owning_below_follows_no_symbolic_or_hard_link(tmp_path: Path) -> None:
    home = tmp_path / "home"
    (home / "auth").mkdir(parents=True)
    outside = tmp_path / "outside"
    outside.write_text("x")
    outside.chmod(0o644)
    (home / "auth" / "link").symlink_to(outside)
    os.link(outside, home / "auth" / "second")
    inside = home / "auth" / "auth.db"
    inside.write_text("x")
    inside.chmod(0o644)

    private_files.own_below(str(home), ("auth", "auth.db"), 0o600, UID, GID)
    assert mode(inside) == 0o600
    with pytest.raises(OSError, match="symbolic links"):
        private_files.own_below(str(home), ("auth", "link"), 0o600, UID, GID)
    with pytest.raises(PermissionError):
        private_files.own_below(str(home), ("auth", "second"), 0o600, UID, GID)
    assert mode(outside) == 0o644


def test_of_a_file_of_10_gb_only_the_end_is_read(tmp_path: Path) -> None:
    path = tmp_path / "log"
    with open(path, "wb") as handle:
        handle.seek(10 << 30)  # a hole, which takes no space
        handle.write(b"half a line\nlast\n")
    assert private_files.end_of(str(path), 12) == "last\n"
    path.write_text("a\nb\n")
    assert private_files.end_of(str(path), 12) == "a\nb\n"


def test_the_end_of_a_link_or_a_pipe_is_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("/etc/passwd")
    for name in ("pipe", "link", "none"):
        with pytest.raises(OSError, match="."):
            private_files.end_of(str(tmp_path / name), 12)


def test_a_text_has_a_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(private_files, "MOST_TEXT", 5)
    (tmp_path / "file").write_text("12345")
    assert private_files.read_text(str(tmp_path / "file")) == "12345"
    with pytest.raises(OSError, match="more than 5 characters"):
        private_files.read_text("/dev/zero")
    assert private_files.read_if_possible("/dev/zero") == ""


def test_a_pipe_is_refused_and_does_not_wait_for_a_writer(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("pipe")
    for name in ("pipe", "link"):
        with pytest.raises(OSError, match="it is a pipe"):
            private_files.read_text(str(tmp_path / name))
    with pytest.raises(IsADirectoryError):
        private_files.read_text(str(tmp_path))
    assert private_files.read_text(os.devnull) == ""
