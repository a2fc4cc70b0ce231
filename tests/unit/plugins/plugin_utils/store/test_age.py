# SPDX-License-Identifier: GPL-3.0-or-later
"""The controller remembers which manifest it accepted last, also if two plays accept at once."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.store import age
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.store.manifest import Manifest

NEW = Manifest((), counter=7, time="2026-02-01T12:00:00Z")
OLD = Manifest((), counter=9, time="2026-01-31T12:00:00Z")


def test_an_older_manifest_is_refused_and_a_newer_one_accepted(tmp_path: Path) -> None:
    accepted = age.Accepted(tmp_path / "cache" / "stores.json")
    assert accepted.at(tmp_path) is None
    assert accepted.accept(tmp_path, NEW) == ""
    assert accepted.at(tmp_path) == NEW.age
    age.refuse_older(NEW, accepted.at(tmp_path))
    with pytest.raises(age.OlderError, match="number 9 of 2026-01-31T12:00:00Z, which is older"):
        age.refuse_older(OLD, accepted.at(tmp_path))


def test_two_plays_at_once_forget_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each writes the whole file, so without a lock the later one would write what it read before."""
    write = age.write_atomic

    def slow(*arguments: Any) -> None:
        time.sleep(0.1)
        write(*arguments)

    monkeypatch.setattr(age, "write_atomic", slow)
    file = tmp_path / "stores.json"
    plays = [
        threading.Thread(target=age.Accepted(file).accept, args=(tmp_path / str(number), NEW)) for number in range(4)
    ]
    for play in plays:
        play.start()
    for play in plays:
        play.join()
    assert len(json.loads(file.read_text())) == 4


def test_a_memory_that_cannot_be_written_is_a_warning(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert "a later run does not notice" in age.Accepted(tmp_path / "file" / "stores.json").accept(tmp_path, NEW)
