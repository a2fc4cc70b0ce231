# SPDX-License-Identifier: GPL-3.0-or-later
"""The model that hears: in store, plan, release and launch only if the setting names it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from ansible_collections.voicefleet.kokoro.plugins.module_utils.release import patches
from ansible_collections.voicefleet.kokoro.plugins.module_utils.xinference import config as xinference_config
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.store import catalogue, closure, sbom, store
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.store.download import DownloadError
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.store.manifest import Artifact, Manifest, read_manifest
from ansible_collections.voicefleet.kokoro.tests.unit.plugins.plugin_utils.store.test_languages import (
    asked,
    judge,
    manifest,
    planned,
)
from ansible_collections.voicefleet.kokoro.tests.unit.plugins.plugin_utils.store.test_store import request_

__all__ = ["asked", "request_"]  # fixtures

BASE = catalogue.HEARING_MODELS["whisper-base"]
FILES = [f"hearing/whisper-base/{file}" for file in BASE.files]


@pytest.fixture
def hearing(asked: store.Request, tmp_path: Path) -> store.Request:
    """A request for the model that hears, from a folder of converted files."""
    folder = tmp_path / "hears"
    (folder / BASE.name).mkdir(parents=True)
    for file in BASE.files:
        (folder / BASE.name / file).write_bytes(file.encode())
    (folder / store.SOURCE_MARKER).write_text(json.dumps({"source": "converted"}))
    return replace(
        asked, languages=["a"], voices=["af_heart"], hearing_model="whisper-base", hearing_source=folder.as_uri()
    )


def test_a_store_holds_the_model_only_on_request(hearing: store.Request, tmp_path: Path) -> None:
    path = tmp_path / "store"
    store.build(path, hearing, tmp_path / "cache", lambda _line: None)
    assert store.verify(path) == []
    whole, _digest = read_manifest(path)
    rows = whole.of_kind("hearing-model")
    assert [row.path for row in rows] == sorted(FILES)
    assert {row.source for row in rows} == {"converted"}
    # A converted file is not what the hub publishes.
    assert sbom.purl(rows[0]).startswith(f"pkg:generic/{rows[0].name}@e37978b90ca9?checksum=sha256:")
    uv = store.find_uv(None, (), tmp_path)
    lacking = Manifest(tuple(row for row in whole.artifacts if row != rows[0]), whole.profiles)
    gaps = closure.find_gaps(path, lacking, uv, ["a"], ["af_heart"], [], hearing.extras)
    assert [str(gap) for gap in gaps] == [f"all: {rows[0].path} is not in the store"]
    store.build(path, replace(hearing, hearing_model="none"), tmp_path / "cache", lambda _line: None)
    assert not read_manifest(path)[0].of_kind("hearing-model")
    assert not (path / "hearing" / BASE.name / "config.json").exists()


def test_files_that_are_not_the_published_ones_are_refused(hearing: store.Request, tmp_path: Path) -> None:
    (tmp_path / "hears" / store.SOURCE_MARKER).unlink()
    with pytest.raises(DownloadError, match=r"hearing/whisper-base/config\.json"):
        store.build(tmp_path / "store", hearing, tmp_path / "cache", lambda _line: None)


def test_an_unknown_model_is_refused(hearing: store.Request) -> None:
    with pytest.raises(ValueError, match="'whisper-huge'; choose none or whisper-base"):
        print(replace(hearing, hearing_model="whisper-huge").extras)


def test_the_plan_names_the_model_its_files_and_the_repair() -> None:
    plain = manifest()
    rows = [
        Artifact(path, f"{n:064x}", 1, "hearing-model", path, "1", extras=(BASE.name,)) for n, path in enumerate(FILES)
    ]
    full = Manifest((*plain.artifacts, *rows), plain.profiles)
    hears = planned(full, "a", hearing_model="whisper-base")
    assert hears["hearing_model"] == "whisper-base"
    assert [patch["name"] for patch in hears["patches"]] == ["whisper-soundfile"]
    assert {*FILES} < {row["path"] for row in hears["artifacts"]}
    assert hears["extras"] == []
    deaf = planned(full, "a")
    assert (deaf["hearing_model"], deaf["patches"]) == ("", [])
    assert not {*FILES} & {row["path"] for row in deaf["artifacts"]}
    assert deaf["release"]["id"] != hears["release"]["id"]
    (finding,) = judge(plain, "a", hearing_model="whisper-base").failures
    assert (finding.code, "has no whisper-base" in finding.cause) == ("HEARING", True)


def test_the_model_is_launched_beside_the_others_with_one_replica() -> None:
    launch = {
        "model_name": "Kokoro-82M", "model_uid": "kokoro", "model_path": "/r/models/Kokoro-82M", "replica": 3,
        "model_type": "audio", "enable_virtual_env": False, "device": "cuda", "request_limits": 2,
    }  # fmt: skip
    _first, second = xinference_config.launches(launch, ["a", "e"], {}, "whisper-base")
    assert second == {
        "model_name": "whisper-base", "model_uid": "whisper", "model_path": "/r/models/whisper-base", "replica": 1,
        "model_type": "audio", "enable_virtual_env": False, "device": "cuda",
    }  # fmt: skip
    assert len(xinference_config.launches(launch, ["a", "e"], {})) == 1
    with pytest.raises(xinference_config.ConfigError, match="Choose another xinference_model_uid"):
        xinference_config.launches({**launch, "model_uid": "whisper"}, ["a"], {}, "whisper-base")


def test_the_repair_comes_with_the_model_and_cannot_be_chosen() -> None:
    assert [patch.name for patch in patches.needed_for([BASE.name])] == ["whisper-soundfile"]
    assert "whisper-soundfile" not in patches.OPTIONAL
