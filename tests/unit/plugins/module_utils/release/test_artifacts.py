# SPDX-License-Identifier: GPL-3.0-or-later
"""The host's side of a delivery: each file is verified before it is used, and no verified file is sent twice."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.voicefleet.kokoro.plugins.module_utils.host.layout import Paths
from ansible_collections.voicefleet.kokoro.plugins.module_utils.release import artifacts

DATA = b"some bytes of a wheel"
SHA = hashlib.sha256(DATA).hexdigest()
ROW: dict[str, Any] = {"sha256": SHA, "path": "wheels/a-1-py3-none-any.whl", "size": len(DATA)}


@pytest.fixture
def root(tmp_path: Path) -> str:
    artifacts.prepare(str(tmp_path), [ROW])
    return str(tmp_path)


def arrive(root: str, data: bytes) -> Path:
    part = Path(Paths(root).incoming) / f"{SHA}.part"
    part.write_bytes(data)
    return part


def final(root: str) -> Path:
    return Path(Paths(root).artifact(SHA, ROW["path"]))


def test_a_complete_file_is_moved_into_place(root: str) -> None:
    assert artifacts.missing(root, [ROW]) == [SHA]
    part = arrive(root, DATA)
    assert artifacts.commit(root, [ROW]) == ([SHA], {})
    assert final(root).read_bytes() == DATA
    assert final(root).stat().st_mode & 0o777 == 0o444
    assert not part.exists()
    assert artifacts.missing(root, [ROW]) == []


def test_a_file_that_changed_on_the_way_is_removed(root: str) -> None:
    part = arrive(root, b"S" + DATA[1:])
    kept, wrong = artifacts.commit(root, [ROW])
    assert kept == []
    assert "arrived with sha256" in wrong[SHA]
    assert not part.exists()
    assert not final(root).exists()


def test_a_file_that_did_not_arrive_is_reported(root: str) -> None:
    assert artifacts.commit(root, [ROW]) == ([], {SHA: "did not arrive"})


def test_an_interrupted_delivery_resumes_where_it_stopped(root: str) -> None:
    arrive(root, DATA[:5])
    assert artifacts.prepare(root, [ROW]) == {SHA: 5}
    arrive(root, DATA + b"too much")
    assert artifacts.prepare(root, [ROW]) == {SHA: 0}


def test_unwanted_parts_are_removed(root: str) -> None:
    part = arrive(root, DATA[:5])
    assert artifacts.survey(root, [ROW])["arrived"] == 5
    assert artifacts.prepare(root, [{**ROW, "sha256": "f" * 64}]) == {"f" * 64: 0}
    assert not part.exists()
    assert artifacts.survey(root, [ROW])["arrived"] == 0


def test_a_changed_file_counts_as_missing_and_is_removed(root: str) -> None:
    arrive(root, DATA)
    artifacts.commit(root, [ROW])
    final(root).chmod(0o644)
    final(root).write_bytes(b"X" + DATA[1:])
    assert artifacts.missing(root, [ROW]) == [SHA]
    assert artifacts.reprove(root, [ROW]) == []
    assert not final(root).exists()


def test_a_file_with_a_new_time_is_hashed_again_and_not_sent_again(root: str) -> None:
    arrive(root, DATA)
    artifacts.commit(root, [ROW])
    os.utime(final(root), (1, 1))
    assert artifacts.missing(root, [ROW]) == [SHA]
    assert artifacts.reprove(root, [ROW]) == [SHA]
    assert artifacts.missing(root, [ROW]) == []


def test_a_survey_separates_missing_stale_and_surplus_files(root: str) -> None:
    arrive(root, DATA)
    artifacts.commit(root, [ROW])
    other = {"sha256": "f" * 64, "path": "wheels/b.whl", "size": 1}
    assert artifacts.survey(root, [ROW, other]) == {"missing": ["f" * 64], "stale": [], "surplus": [], "arrived": 0}
    surplus = [{"sha256": SHA, "name": "a-1-py3-none-any.whl", "size": len(DATA)}]
    assert artifacts.survey(root, [other]) == {"missing": ["f" * 64], "stale": [], "surplus": surplus, "arrived": 0}
    os.utime(final(root), (1, 1))
    assert artifacts.survey(root, [ROW])["stale"] == [SHA]


def test_a_stray_file_among_the_artifacts_is_surplus(tmp_path: Path) -> None:
    (tmp_path / "artifacts").mkdir()
    (tmp_path / "artifacts/notes.txt").write_text("mine")
    (tmp_path / "artifacts/link").symlink_to(tmp_path)
    found = artifacts.survey(str(tmp_path), [])["surplus"]
    assert [row["name"] for row in found] == ["link", "notes.txt"]
    assert found[1] == {"sha256": "notes.txt", "name": "notes.txt", "size": 4}
