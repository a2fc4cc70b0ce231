# SPDX-License-Identifier: GPL-3.0-or-later
"""The newer Mandarin: a second model in store, plan and release, with its own voices and English front end."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from ansible_collections.voicefleet.kokoro.plugins.module_utils.xinference import config as xinference_config
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.fleet import preflight
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.store import catalogue, closure, store
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.store.manifest import Artifact, Manifest, read_manifest
from ansible_collections.voicefleet.kokoro.tests.unit.plugins.plugin_utils.store.test_languages import (
    asked,
    judge,
    manifest,
    planned,
)
from ansible_collections.voicefleet.kokoro.tests.unit.plugins.plugin_utils.store.test_store import request_

__all__ = ["asked", "request_"]  # fixtures

ZH = catalogue.KOKORO_ZH


def test_each_version_has_its_own_voices_and_a_wrong_one_names_the_other() -> None:
    assert catalogue.voices_of(["z"], "v1.1-zh") == ["zf_001", "zm_010"]
    assert "zf_xiaobei" in catalogue.voices_of(["z"])
    assert catalogue.choose_voices(["e", "z"], ["ef_dora", "zm_010"], "v1.1-zh") == ["ef_dora", "zm_010"]
    with pytest.raises(ValueError, match=r"'zf_001' is one of Mandarin v1.1-zh: set kokoro_mandarin_model: v1.1-zh"):
        catalogue.choose_voices(["z"], ["zf_001"])
    with pytest.raises(ValueError, match=r"'zf_xiaobei' is one of Mandarin v1.0: set kokoro_mandarin_model: v1.0"):
        catalogue.choose_voices(["z"], ["zf_xiaobei"], "v1.1-zh")
    with pytest.raises(ValueError, match="'zf_042' is not in the catalogue: .* has zf_001 and zm_010"):
        catalogue.choose_voices(["z"], ["zf_042"], "v1.1-zh")
    with pytest.raises(ValueError, match="'v2'; choose v1.0 or v1.1-zh"):
        catalogue.voices_of(["z"], "v2")


def test_it_needs_the_english_model_only_if_mandarin_is_configured() -> None:
    assert catalogue.extras_for(["z"], "light", "v1.1-zh") == ("mandarin", "mandarin-1.1")
    assert catalogue.extras_for(["e"], "light", "v1.1-zh") == ()
    assert catalogue.spacy_of(["mandarin", "mandarin-1.1"]) == ["en_core_web_sm"]
    assert catalogue.spacy_of(["mandarin"]) == []


def test_a_store_has_both_models_and_returns_to_one(asked: store.Request, tmp_path: Path) -> None:
    folder = tmp_path / "kokoro" / ZH.name
    (folder / "voices").mkdir(parents=True)
    for name in (ZH.config[0], ZH.weights[0], "voices/zf_001.pt"):
        (folder / name).write_bytes(name.encode())
    path, newer = tmp_path / "store", replace(asked, languages=["z"], voices=["zf_001"], mandarin_model="v1.1-zh")
    store.build(path, newer, tmp_path / "cache", lambda _line: None)
    assert store.verify(path) == []
    found = {a.path: a for a in read_manifest(path)[0].artifacts if a.kind.startswith(("kokoro", "spacy"))}
    assert sorted(found) == [
        "kokoro/Kokoro-82M-v1.1-zh/config.json",
        "kokoro/Kokoro-82M-v1.1-zh/kokoro-v1_1-zh.pth",
        "kokoro/Kokoro-82M-v1.1-zh/voices/zf_001.pt",
        "kokoro/Kokoro-82M/config.json",
        "kokoro/Kokoro-82M/kokoro-v1_0.pth",
        "spacy/en_core_web_sm-3.8.0.tar.gz",
    ]
    assert found["kokoro/Kokoro-82M-v1.1-zh/kokoro-v1_1-zh.pth"].extras == ("mandarin-1.1",)
    older = replace(asked, languages=["z"], voices=["zf_xiaobei"])
    store.build(path, older, tmp_path / "cache", lambda _line: None)
    assert not [a for a in read_manifest(path)[0].artifacts if ZH.name in a.path or a.kind == "spacy-model"]
    assert not (path / "kokoro" / ZH.name / ZH.weights[0]).exists()
    uv = store.find_uv(None, (), tmp_path)
    gaps = closure.find_gaps(path, read_manifest(path)[0], uv, ["z"], ["zf_001"], [], newer.extras)
    assert [str(gap) for gap in gaps] == [
        f"z: kokoro/{ZH.name}/config.json is not in the store",
        f"z: kokoro/{ZH.name}/kokoro-v1_1-zh.pth is not in the store",
        f"z: kokoro/{ZH.name}/voices/zf_001.pt is not in the store",
    ]


def test_the_plan_names_the_model_its_files_and_the_repair() -> None:
    rows = (
        Artifact(f"kokoro/{ZH.name}/config.json", "7" * 64, 1, "kokoro-config", "c", "1", extras=("mandarin-1.1",)),
        Artifact(f"kokoro/{ZH.name}/voices/zf_001.pt", "8" * 64, 1, "kokoro-voice", "zf_001", "1"),
    )
    full = manifest("mandarin")
    full = Manifest((*full.artifacts, *rows), full.profiles)
    newer = planned(full, "ez", voices=["ef_dora", "zf_001"], mandarin_model="v1.1-zh")
    assert newer["language_models"] == {"z": ZH.name}
    assert newer["extras"] == ["mandarin"]
    assert [patch["name"] for patch in newer["patches"]] == ["kokoro-languages", "kokoro-zh"]
    assert f"kokoro/{ZH.name}/config.json" in [row["path"] for row in newer["artifacts"]]
    assert "en_core_web_sm" in [row["name"] for row in newer["artifacts"]]
    older = planned(full, "ez")
    assert older["language_models"] == {}
    assert [patch["name"] for patch in older["patches"]] == ["kokoro-languages"]
    assert not [row for row in older["artifacts"] if ZH.name in row["path"] or row["kind"] == "spacy-model"]
    (finding,) = judge(manifest("mandarin"), "z", mandarin_model="v1.1-zh").failures[:1]
    assert isinstance(finding, preflight.Finding)
    assert "nothing for mandarin-1.1" in finding.cause


def test_the_language_is_launched_with_its_own_model_beside_the_other() -> None:
    launch = {"model_name": "Kokoro-82M", "model_uid": "kokoro", "model_path": "/r/models/Kokoro-82M", "replica": 1}
    first, second = xinference_config.launches(launch, ["a", "z"], {"z": ZH.name})
    assert (first["model_name"], first["model_path"]) == ("Kokoro-82M", "/r/models/Kokoro-82M")
    assert (second["model_name"], second["model_path"]) == (ZH.name, f"/r/models/{ZH.name}")
    assert (second["model_uid"], second["lang_code"]) == ("kokoro-z", "z")
    assert xinference_config.launches(launch, []) == [launch]
