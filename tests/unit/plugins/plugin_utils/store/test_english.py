# SPDX-License-Identifier: GPL-3.0-or-later
"""kokoro_english_model: en_core_web_trf takes the place of en_core_web_sm, from the store to the release."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.store import catalogue, download, store
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.store.manifest import Artifact, Manifest, read_manifest
from ansible_collections.voicefleet.kokoro.tests.unit.plugins.plugin_utils.fleet.test_preflight import (
    MANIFEST,
    UPGRADE,
    judge,
    wanted,
)
from ansible_collections.voicefleet.kokoro.tests.unit.plugins.plugin_utils.store.test_store import (
    PROFILE,
    add_profile,
    request_,
    write_wheel,
)

__all__ = ["request_"]  # a fixture

TRF = "en_core_web_trf"
TARBALL = f"spacy/{TRF}-3.8.0.tar.gz"
WITH_TRF = Manifest((*MANIFEST.artifacts, Artifact(TARBALL, "9" * 64, 1, "spacy-model", TRF, "3.8.0")), (PROFILE.name,))


def test_only_what_reads_english_needs_the_model() -> None:
    def chosen(languages: str, mandarin: str = "v1.0") -> tuple[str, list[str]]:
        ask = wanted(languages=[*languages], voices=[], mandarin_model=mandarin, english_model=TRF)
        return ask.english, [model.name for model in ask.chosen_spacy_models]

    assert chosen("a") == chosen("be") == chosen("z", "v1.1-zh") == (TRF, [TRF])
    assert chosen("e") == chosen("z") == ("", [])
    both = wanted(english_model=TRF, spacy_models=[catalogue.ENGLISH_MODEL])
    assert [model.name for model in both.chosen_spacy_models] == [catalogue.ENGLISH_MODEL, TRF]


def test_a_store_carries_it_in_place_of_the_small_one(tmp_path: Path, request_: store.Request) -> None:
    (tmp_path / TARBALL).write_bytes(b"a transformer")
    rows = [("spacy", "3.8.14"), ("xinference", "1.2.3"), ("spacy-curated-transformers", "0.3.1")]
    add_profile(request_, PROFILE, *(write_wheel(tmp_path / "wheels", name, version) for name, version in rows))
    path, asked = tmp_path / "store", replace(request_, english_model=TRF)
    store.build(path, asked, tmp_path / "cache", lambda _line: None)
    (found,) = read_manifest(path)[0].of_kind("spacy-model")
    assert (found.path, found.source) == (TARBALL, "made-up")
    assert store.verify(path) == []
    (tmp_path / TARBALL).unlink()
    with pytest.raises(download.DownloadError, match=TRF):
        store.build(tmp_path / "other", asked, tmp_path / "other-cache", lambda _line: None)


def test_a_release_gets_the_model_and_the_repair_that_loads_it() -> None:
    plan = judge(WITH_TRF, wanted(english_model=TRF)).plan
    assert [row["name"] for row in plan["artifacts"] if row["kind"] == "spacy-model"] == [TRF]
    assert [patch["name"] for patch in plan["patches"]] == ["misaki-trf"]
    small = judge(WITH_TRF).plan
    assert small["patches"] == []
    assert small["release"]["id"] != plan["release"]["id"]
    # A model that is only installed is not loaded.
    assert judge(WITH_TRF, wanted(spacy_models=[TRF])).plan["patches"] == []


def test_a_store_without_the_model_is_refused() -> None:
    (finding,) = judge(ask=wanted(english_model=TRF)).findings
    assert (finding.level, finding.code) == ("FAIL", "SPACY_MODEL")
    assert finding.cause == f"{TARBALL} is not in the store."
    assert "fetch.yml" in finding.remedy


def test_a_candidate_needs_memory_for_it() -> None:
    scarce = {"memory__available": 2_900_000_000, **UPGRADE}
    assert judge(WITH_TRF, wanted(candidate="always"), **scarce).findings == []
    (finding,) = judge(WITH_TRF, wanted(candidate="always", english_model=TRF), **scarce).findings
    assert "2.9 GB of memory are free, it needs 3.1 GB" in finding.cause
