# SPDX-License-Identifier: GPL-3.0-or-later
"""The action image adds a thin layer: its commands to the engine, its files, and that check mode writes nothing."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import pytest
from ansible.errors import AnsibleActionFail
from ansible_collections.voicefleet.kokoro.plugins.action import image, repair_plan
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.fleet import repair
from ansible_collections.voicefleet.kokoro.tests.unit.plugins.plugin_utils.fleet import test_repair
from ansible_collections.voicefleet.kokoro.tests.unit.plugins.plugin_utils.image.test_archive import saved

SETTINGS = {
    "kokoro_languages": ["a"], "kokoro_voices": ["af_heart"], "spacy_models_extra": [],
    "kokoro_japanese_dictionary": "light", "kokoro_mandarin_model": "v1.0", "kokoro_english_model": "en_core_web_sm",
    "xinference_hearing_model": "none",
}  # fmt: skip
ARGUMENTS = {
    "state": "thin", "base": "base:1", "name": "speech", "tag": "", "profile": "cpu", "user_id": 10001,
    "python": "/opt/conda/bin/python", "engine": "auto", "patches": ["kokoro-eval"], "accept_unpublished": False,
}  # fmt: skip
# Answers as an engine does. A container that reads its input is asked what the image holds; others build the layer.
ENGINE = """#!/bin/sh
echo "$*" >>{folder}/asked
case "$*" in
    info) ;;
    image*) cat {folder}/inspected.json ;;
    save*) cp {folder}/base.tar "$3" ;;
    *--interactive*) cat >{folder}/request.json; cat {folder}/report.json ;;
    run*) printf layer ;;
    *) exit 9 ;;
esac
"""


class Bench:
    """A folder with a store, an engine's double and the output of a bake."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self.output = folder, folder / "out"
        (folder / "docker").write_text(ENGINE.format(folder=folder))
        (folder / "docker").chmod(0o755)
        saved(folder / "base.tar", [b"base"])
        row = {"Id": "sha256:1", "RootFS": {"Layers": ["sha256:2"]}, "Config": {"User": "1000"}}
        (folder / "inspected.json").write_text(json.dumps([row]))
        manifest = test_repair.manifest(folder)
        wish = repair.wishes(manifest, test_repair.wanted())
        report = {
            **test_repair.REPORT, "files": {row["to"]: "right" for row in wish["files"]},
            "distributions": {**test_repair.REPORT["distributions"], "en-core-web-sm": test_repair.ENGLISH.version},
        }  # fmt: skip
        (folder / "report.json").write_text("welcome\n" + json.dumps(report))
        monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
        monkeypatch.setenv("VOICEFLEET_CACHE", str(folder / "cache"))
        for module in (image, repair_plan):
            monkeypatch.setattr(module, "read_verified", lambda *_arguments: (manifest, "d" * 64))
            monkeypatch.setattr(
                module.ActionModule, "settings", lambda *_arguments: {**SETTINGS, "artifact_store_path": str(folder)}
            )

    def bake(self, check_mode: bool = False, **changes: Any) -> dict[str, Any]:
        task = SimpleNamespace(args={}, check_mode=check_mode, async_val=0, delegate_to=None, action="image")
        action = image.ActionModule(task, MagicMock(), MagicMock(), MagicMock(), MagicMock(), MagicMock())
        return action.act({**ARGUMENTS, "output": str(self.output), **changes}, {})

    def asked(self) -> list[str]:
        return (self.folder / "asked").read_text().splitlines()


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    return Bench(tmp_path, monkeypatch)


def test_check_mode_looks_into_the_image_and_makes_nothing(bench: Bench) -> None:
    shown = bench.bake(check_mode=True)
    assert shown["changed"] is True
    assert "would be written, with a layer on base:1 of 0 MB of files" in shown["msg"]
    assert shown["commands"] == []
    assert not bench.output.exists()
    assert not [line for line in bench.asked() if line.startswith(("save", "run")) and "--interactive" not in line]


def test_a_thin_layer_is_made_once(bench: Bench) -> None:
    done = bench.bake()
    assert done["changed"] is True
    names = {path.name for path in bench.output.iterdir()}
    archive = done["image"]["archive"]
    assert names == {archive, f"{archive}.sha256", "image.json", "sbom.cdx.json"}
    assert done["image"]["thin"] is True
    (command,) = done["commands"]
    assert command.endswith(f"docker load --input {archive}")
    runs = [line for line in bench.asked() if line.startswith("run")]
    assert all("--pull never --network none --user 0:0" in line for line in runs)
    assert all("--entrypoint /opt/conda/bin/python base:1" in line for line in runs)
    assert json.loads((bench.folder / "request.json").read_text())["user"] == "1000"
    count = len(bench.asked())
    again = bench.bake()
    assert (again["changed"], again["image"]) == (False, done["image"])
    assert not [line for line in bench.asked()[count:] if line.startswith("save")]


def test_a_lost_file_beside_the_archive_comes_back_without_a_bake(bench: Bench) -> None:
    done = bench.bake()
    digest = bench.output / f"{done['image']['archive']}.sha256"
    text, count = digest.read_text(), len(bench.asked())
    digest.unlink()
    assert bench.bake(check_mode=True)["changed"] is True
    assert not digest.exists()
    assert bench.bake()["diff"]["after"] == f"{digest}\n"
    assert digest.read_text() == text
    assert not [line for line in bench.asked()[count:] if line.startswith("save")]
    assert bench.bake()["changed"] is False


def test_what_an_image_lacks_is_explained(bench: Bench) -> None:
    (bench.folder / "report.json").write_text('{"error": "/usr/bin/python3 has no Xinference"}')
    with pytest.raises(AnsibleActionFail, match="image_python names the Python that has Xinference"):
        bench.bake()


def test_an_unknown_repair_stops_an_image_and_a_repair(bench: Bench) -> None:
    with pytest.raises(AnsibleActionFail, match="The image was not made: there is no repair none"):
        bench.bake(patches=["none"])
    task = SimpleNamespace(args={}, check_mode=False, async_val=0, delegate_to=None, action="repair_plan")
    action = repair_plan.ActionModule(task, MagicMock(), MagicMock(), MagicMock(), MagicMock(), MagicMock())
    asked = {"patches": ["none"], "packages": [], "settings": {}, "accept_unpublished": False, "parts": ["patches"]}
    with pytest.raises(AnsibleActionFail, match="nothing was changed: there is no repair none"):
        action.act(asked, {"inventory_hostname": "h"})
