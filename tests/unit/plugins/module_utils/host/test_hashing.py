# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads have bounds, and what a killed write leaves is known and removed."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest
from ansible_collections.voicefleet.kokoro.plugins.module_utils.host import hashing


def test_a_pipe_is_not_hashed(tmp_path: Path) -> None:
    os.mkfifo(str(tmp_path / "pipe"))
    for path in (str(tmp_path / "pipe"), "/dev/zero"):
        with pytest.raises(OSError, match="not a regular file"):
            hashing.sha256_file(path)
    found = hashing.digest_files([str(tmp_path / "pipe")])
    assert isinstance(found[str(tmp_path / "pipe")], OSError)


def test_a_read_has_a_limit(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"12345")
    assert hashing.read_bounded(str(file), 5) == b"12345"
    with pytest.raises(OSError, match="more than 4 bytes"):
        hashing.read_bounded(str(file), 4)


def test_an_object_has_a_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "file"
    file.write_text('{"a": 1}   ')
    assert hashing.read_object(str(file)) == {"a": 1}
    monkeypatch.setattr(hashing, "LIMIT", 2)
    assert hashing.read_object(str(file)) == hashing.read_object("/dev/zero") == {}


def test_a_killed_write_leaves_a_known_name_that_a_later_write_removes(tmp_path: Path) -> None:
    target = tmp_path / "file.json"
    child = os.fork()
    if child == 0:
        os.rename = lambda *_paths: os.kill(os.getpid(), signal.SIGKILL)  # type: ignore[assignment]
        hashing.write_atomic(str(target), b"new")
    os.waitpid(child, 0)
    (left,) = os.listdir(str(tmp_path))
    assert hashing.is_unfinished(left)
    (tmp_path / ".other.new").write_bytes(b"not ours")
    # It may still be in use.
    hashing.write_atomic(str(target), b"newer")
    assert sorted(os.listdir(str(tmp_path))) == sorted([left, ".other.new", "file.json"])
    os.utime(str(tmp_path / left), (0, 0))
    hashing.write_atomic(str(tmp_path / "another"), b"")
    hashing.write_atomic(str(target), b"newest")
    assert sorted(os.listdir(str(tmp_path))) == [".other.new", "another", "file.json"]


def test_a_name_that_is_not_text_survives_json() -> None:
    name = os.fsdecode(b"caf\xe9")
    assert json.loads(hashing.canonical_json([name])) == [name]
