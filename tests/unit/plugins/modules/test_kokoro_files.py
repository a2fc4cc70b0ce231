# SPDX-License-Identifier: GPL-3.0-or-later
"""Kokoro's files in a release: each model has a folder, with the voices where the model looks for them."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.voicefleet.kokoro.plugins.module_utils.host.layout import Paths
from ansible_collections.voicefleet.kokoro.plugins.modules import kokoro_files

FILES = {
    "kokoro/Kokoro-82M/config.json": "kokoro-config",
    "kokoro/Kokoro-82M/voices/af_heart.pt": "kokoro-voice",
    "kokoro/Kokoro-82M-v1.1-zh/config.json": "kokoro-config",
    "kokoro/Kokoro-82M-v1.1-zh/voices/zf_001.pt": "kokoro-voice",
}


def test_a_second_model_gets_a_folder_beside_the_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = []
    for path, kind in FILES.items():
        digest = hashlib.sha256(path.encode()).hexdigest()
        file = Path(Paths(str(tmp_path)).artifact(digest, path))
        file.parent.mkdir(parents=True)
        file.write_text(path)
        row = {"path": path, "sha256": digest, "size": len(path), "kind": kind, "name": file.stem, "version": "1"}
        rows.append(row)
    monkeypatch.setattr(kokoro_files.deploy_lock, "mark", lambda _phase: None)
    models = tmp_path / "releases/r/models"

    def run() -> dict[str, Any]:
        arguments = {"model": str(models / "Kokoro-82M"), "root": str(tmp_path), "artifacts": rows}
        with patch_module_args(arguments), pytest.raises(SystemExit):
            kokoro_files.main()
        return dict(json.loads(capsys.readouterr().out.strip().splitlines()[-1]))

    done = run()
    assert sorted(done["files"]) == [
        "../Kokoro-82M-v1.1-zh/config.json",
        "../Kokoro-82M-v1.1-zh/voices/zf_001.pt",
        "config.json",
        "voices/af_heart.pt",
    ]
    for path in FILES:
        assert (models / path.split("/", 1)[1]).read_text() == path
    assert run()["changed"] is False
