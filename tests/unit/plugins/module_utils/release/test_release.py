# SPDX-License-Identifier: GPL-3.0-or-later
"""A release is sealed last and switched by one rename, with a receipt."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from ansible_collections.voicefleet.kokoro.plugins.module_utils.host.layout import Paths
from ansible_collections.voicefleet.kokoro.plugins.module_utils.release import ledger, release


def make(root: Path, name: str) -> Path:
    folder = root / "releases" / name
    folder.mkdir(parents=True)
    release.seal(str(folder), {"id": name})
    return folder


def test_a_release_without_a_seal_is_unfinished(tmp_path: Path) -> None:
    folder = make(tmp_path, "one")
    assert (release.read(str(folder)) or {})["id"] == "one"
    (folder / "release.json").chmod(0o644)
    (folder / "release.json").write_text('{"id": "another"}')
    assert release.read(str(folder)) is None
    (folder / "release.json").write_text("{")
    assert release.read(str(folder)) is None


def test_current_moves_only_to_a_finished_release(tmp_path: Path) -> None:
    paths = Paths(str(tmp_path))
    make(tmp_path, "one")
    (tmp_path / "releases" / "half").mkdir()
    assert release.current(paths) is None
    assert release.switch(paths, "one")
    assert not release.switch(paths, "one")
    with pytest.raises(release.ReleaseError, match="not a finished release"):
        release.switch(paths, "half")
    assert release.current(paths) == "one"
    assert (tmp_path / "current" / "release.json").exists()


def test_an_interrupted_switch_does_not_prevent_the_next(tmp_path: Path) -> None:
    make(tmp_path, "one")
    os.symlink("releases/old", tmp_path / "current.new")
    assert release.switch(Paths(str(tmp_path)), "one")
    assert os.listdir(tmp_path) == ["releases", "current"] or set(os.listdir(tmp_path)) == {"releases", "current"}


def test_gaps_name_what_a_release_lacks(tmp_path: Path) -> None:
    model = tmp_path / "models" / "Kokoro-82M"
    gaps = release.gaps(str(tmp_path), str(model), ["af_heart"], ["en_core_web_sm"], "3.11")
    assert [Path(gap).name for gap in gaps] == [
        "xinference-local",
        "config.json",
        "af_heart.pt",
        "en_core_web_sm",
        "*.pth",
    ]
    for gap in gaps:
        path = Path(gap.replace("*", "weights"))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    assert release.gaps(str(tmp_path), str(model), ["af_heart"], ["en_core_web_sm"], "3.11") == []


def test_files_are_linked_once_and_replaced_when_they_differ(tmp_path: Path) -> None:
    source, target = tmp_path / "a", tmp_path / "models" / "b"
    source.write_text("one")
    assert release.link_or_copy(str(source), str(target))
    assert not release.link_or_copy(str(source), str(target))
    assert source.stat().st_ino == target.stat().st_ino
    other = tmp_path / "c"
    other.write_text("two")
    assert release.link_or_copy(str(other), str(target))
    assert target.read_text() == "two"


def test_receipts_are_added_and_root_only(tmp_path: Path) -> None:
    file = tmp_path / "evidence" / "receipts.jsonl"
    ledger.append(str(file), {"release": "one"})
    ledger.append(str(file), {"release": "two"})
    assert [json.loads(line)["release"] for line in file.read_text().splitlines()] == ["one", "two"]
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.parent.stat().st_mode & 0o077 == 0


def test_a_seal_is_written_after_everything_else_is_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "releases" / "one"
    (folder / ".spacy").mkdir(parents=True)
    (folder / "file").touch()
    steps = []
    monkeypatch.setattr(release, "sync_file_system", lambda path: steps.append(sorted(os.listdir(path))))
    release.seal(str(folder), {"id": "one"})
    assert steps == [["file", "files.txt"]], "with its inventory, and without what a killed step left"
    assert release.read(str(folder)) is not None


def test_a_switch_is_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path, "one")
    paths, synced = Paths(str(tmp_path)), []
    monkeypatch.setattr(os, "fsync", lambda descriptor: synced.append(os.readlink(f"/proc/self/fd/{descriptor}")))
    release.switch(paths, "one")
    assert synced == [str(tmp_path)]
    assert release.current(paths) == "one"


def test_a_file_system_is_synced_without_the_program_sync(monkeypatch: pytest.MonkeyPatch) -> None:
    called = []
    monkeypatch.setattr(os, "sync", lambda: called.append("sync"))
    release.sync_file_system("/")
    assert called == []
    monkeypatch.setenv("PATH", "/nowhere")
    release.sync_file_system("/")
    assert called == ["sync"]


def test_a_voice_may_be_in_another_models_folder(tmp_path: Path) -> None:
    model = tmp_path / "models" / "Kokoro-82M"
    other = tmp_path / "models" / "Kokoro-82M-v1.1-zh" / "voices"
    other.mkdir(parents=True)
    (other / "zf_001.pt").touch()
    gaps = release.gaps(str(tmp_path), str(model), ["zf_001", "zf_002"], [], "3.11")
    assert str(model / "voices/zf_002.pt") in gaps
    assert not [gap for gap in gaps if "zf_001" in gap]
