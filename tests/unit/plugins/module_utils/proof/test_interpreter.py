# SPDX-License-Identifier: GPL-3.0-or-later
"""A program of the proof in another Python: where it may write."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import pytest
from ansible_collections.voicefleet.kokoro.plugins.module_utils.proof import interpreter, phonemes

PROGRAM = "import json, tempfile; print(json.dumps(tempfile.gettempdir()))"


@pytest.fixture
def writable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The only folder where a container with a read-only root can write."""
    monkeypatch.setattr(interpreter, "as_nobody", dict)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return str(tmp_path)


def test_a_program_writes_where_its_caller_may(writable: str) -> None:
    assert interpreter.ask(sys.executable, PROGRAM, None, 60) == writable
    assert phonemes.scratch_base() == writable


def test_the_user_nobody_does_not_write_where_root_may(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(interpreter, "as_nobody", lambda: {"user": 65534, "group": 65534})
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    assert interpreter.scratch() == {}
    assert phonemes.scratch_base() != str(tmp_path)
