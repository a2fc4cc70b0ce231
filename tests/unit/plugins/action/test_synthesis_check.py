# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import base64
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import pytest
from ansible_collections.voicefleet.kokoro.plugins.action.synthesis_check import ActionModule
from ansible_collections.voicefleet.kokoro.plugins.module_utils.host.hashing import sha256_bytes

SOUND = b"RIFF, or so"
HERE = "/var/lib/voicefleet-evidence/1.2.3-abc"


def sample(voice: str = "af_heart", audio_format: str = "wav", **changes: Any) -> dict[str, Any]:
    file = f"{HERE}/{voice}.{audio_format}"
    return {"voice": voice, "format": audio_format, "sha256": sha256_bytes(SOUND), "file": file, **changes}


class Host:
    """The answers of the modules, and which modules ran."""

    def __init__(self) -> None:
        self.samples = [sample(), sample(audio_format="mp3")]
        self.failed = False
        self.sound: dict[str, Any] = {"content": base64.b64encode(SOUND).decode()}
        self.calls: list[tuple[str, dict[str, Any]]] = []

    def execute(self, module_name: str, module_args: dict[str, Any], task_vars: dict[str, Any]) -> dict[str, Any]:
        self.calls.append((module_name, module_args))
        if module_name == "ansible.builtin.slurp":
            return self.sound
        answer = {"level": "acoustic", "release_id": "1.2.3-abc", "samples": self.samples, "lines": ["words"]}
        return {**answer, "changed": True, "msg": "words", "failed": self.failed, "_ansible_parsed": True}


@pytest.fixture
def host() -> Host:
    return Host()


@pytest.fixture
def run(host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.chdir(tmp_path)

    def call(name: str = "speaker1", check_mode: bool = False, **arguments: Any) -> dict[str, Any]:
        task = SimpleNamespace(args=arguments, check_mode=check_mode, async_val=0, delegate_to=None, action="x")
        action = ActionModule(task, MagicMock(), MagicMock(), MagicMock(), MagicMock(), MagicMock())
        monkeypatch.setattr(action, "_execute_module", host.execute)
        return action.run(task_vars={"inventory_hostname": name})

    return call


def test_sounds_and_record_are_copied_to_the_folder_of_the_play(host: Host, run: Any, tmp_path: Path) -> None:
    result = run(report_dir="report")
    assert result["synthesis"]["level"] == "acoustic"
    assert "changed" not in result["synthesis"]
    assert (tmp_path / "report/audio/speaker1/af_heart.wav").read_bytes() == SOUND
    record = json.loads((tmp_path / "report/hosts/speaker1.json").read_text())
    assert (record["host"], record["synthesis"]) == ("speaker1", result["synthesis"])
    assert [name for name, _args in host.calls] == ["voicefleet.kokoro.synthesis_check", "ansible.builtin.slurp"]
    assert host.calls[1][1] == {"src": f"{HERE}/af_heart.wav"}


def test_a_file_that_is_here_is_not_copied_again(host: Host, run: Any) -> None:
    run(report_dir="report")
    host.calls.clear()
    run(report_dir="report")
    assert len(host.calls) == 1


def test_bytes_that_differ_from_the_proof_are_not_kept(host: Host, run: Any, tmp_path: Path) -> None:
    for answer in ({"content": base64.b64encode(b"other").decode()}, {"failed": True, "msg": "gone"}, {"content": "%"}):
        host.sound = answer
        result = run(report_dir="report")
        assert "was not copied to the controller" in result["warnings"][0]
        assert list((tmp_path / "report/audio/speaker1").iterdir()) == []


def test_names_from_a_host_cannot_leave_the_folder(host: Host, run: Any, tmp_path: Path) -> None:
    host.samples = [sample("../../../evil"), sample("/evil")]
    run("../../evil", report_dir="report")
    assert sorted(str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*") if p.is_file()) == [
        "report/hosts/_.._evil-0fbfd372.json"
    ]


def test_a_failed_proof_is_copied_too_and_shows_only_its_message(host: Host, run: Any, tmp_path: Path) -> None:
    host.failed = True
    result = run(report_dir="report")
    assert result["failed"]
    assert (result["msg"], result["level"]) == ("words", "acoustic")
    assert "samples" not in result
    assert "synthesis" not in result
    assert (tmp_path / "report/audio/speaker1/af_heart.wav").exists()
    assert (tmp_path / "report/hosts/speaker1.json").exists()


def test_nothing_is_copied_in_check_mode_or_without_a_folder(host: Host, run: Any, tmp_path: Path) -> None:
    assert run(report_dir="report", check_mode=True)["synthesis"]
    assert run()["synthesis"]
    assert list(tmp_path.iterdir()) == []
    assert len(host.calls) == 2
