# SPDX-License-Identifier: GPL-3.0-or-later
"""The statement of a store's provenance: in in-toto's form, about one manifest, and refused if it is odd."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.store import provenance
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.store.manifest import Artifact, Manifest

SHA, OTHER = "a" * 64, "b" * 64
MANIFEST = Manifest(
    (
        Artifact("wheels/a.whl", SHA, 1, "wheel", "a", "1", "https://files.example.com/x/a.whl"),
        Artifact("wheels/b.whl", SHA, 1, "wheel", "b", "1", "https://files.example.com/x/b-1.tar.gz"),
        Artifact("spacy/m.tar.gz", SHA, 1, "spacy-model", "m", "1", "https://github.com/m.tar.gz"),
        Artifact("kokoro/v.pt", SHA, 1, "kokoro-voice", "v", "1", "file:///srv/v.pt"),
        Artifact("sbom.cdx.json", SHA, 1, "sbom", "CycloneDX", "1.6"),
    )
)
MAKER = provenance.Maker("kim", "fetch-01", {"voicefleet.kokoro": "0.1.0", "ansible-core": "2.19.0"})
STATEMENT = provenance.render(MANIFEST, SHA, MAKER, {"profiles": ["p"]}, 0, 60)


def test_the_statement_is_one_of_in_toto_about_the_manifest() -> None:
    data = json.loads(STATEMENT)
    assert data["_type"] == "https://in-toto.io/Statement/v1"
    assert data["subject"] == [{"name": "manifest.json", "digest": {"sha256": SHA}}]
    assert data["predicateType"] == "https://slsa.dev/provenance/v1"
    definition, run = data["predicate"]["buildDefinition"], data["predicate"]["runDetails"]
    # SLSA requires these.
    assert definition["buildType"].startswith("https://")
    assert definition["externalParameters"] == {"profiles": ["p"]}
    assert run["builder"]["id"].startswith("https://")
    assert run["metadata"] == {
        "startedOn": "1970-01-01T00:00:00Z",
        "finishedOn": "1970-01-01T00:01:00Z",
        "voicefleet_fetchedBy": {"user": "kim", "host": "fetch-01"},
    }


def test_each_file_with_an_address_is_an_input_and_a_built_wheel_has_not_the_digest_of_its_source() -> None:
    rows = json.loads(STATEMENT)["predicate"]["buildDefinition"]["resolvedDependencies"]
    assert {row["name"]: "digest" in row for row in rows} == {
        "kokoro/v.pt": True,
        "spacy/m.tar.gz": True,
        "wheels/a.whl": True,
        "wheels/b.whl": False,
    }


def test_a_statement_says_who_when_from_where_and_with_what() -> None:
    said = provenance.parse(STATEMENT, SHA, "file")
    assert said.sentence == (
        "Fetched by kim on fetch-01 at 1970-01-01T00:01:00Z with ansible-core 2.19.0 and voicefleet.kokoro 0.1.0."
    )
    assert said.sources == ("files", "https://files.example.com", "https://github.com")
    assert json.loads(json.dumps(said.as_row()))["user"] == "kim"


def changed(**parts: Any) -> bytes:
    return json.dumps({**json.loads(STATEMENT), **parts}).encode()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"{", "is not JSON"),
        (b"[]", "is not a statement of provenance"),
        (changed(_type="https://in-toto.io/Statement/v0.1"), "is not a statement of provenance"),
        (changed(predicateType="https://example.com"), "is not a statement of provenance"),
        (changed(subject=[]), "does not name one manifest"),
        (changed(subject=[{}, {}]), "does not name one manifest"),
        (changed(subject=[{"digest": {"sha256": "x"}}]), "does not name one manifest"),
        (
            changed(subject=[{"digest": {"sha256": OTHER}}]),
            "is about the manifest bbbbbbbbbbbb, but the store has aaaa",
        ),
    ],
)
def test_an_odd_statement_is_refused_in_one_line(data: bytes, message: str) -> None:
    with pytest.raises(provenance.ProvenanceError, match=message) as caught:
        provenance.parse(data, SHA, "file")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("predicate", [None, [], {}, {"runDetails": {"metadata": 1, "builder": {"version": []}}}])
def test_what_a_statement_does_not_say_is_unknown(predicate: Any) -> None:
    said = provenance.parse(changed(predicate=predicate), SHA, "file")
    assert (said.user, said.finished, said.sources) == ("unknown", "unknown", ())
    assert said.sentence == "Fetched by unknown on unknown at unknown."


def test_control_characters_do_not_reach_a_terminal() -> None:
    maker = provenance.Maker("a\x1b[31m", "b\n" * 500)
    said = provenance.parse(provenance.render(MANIFEST, SHA, maker, {}, 0, 0), SHA, "file")
    assert said.sentence.isprintable()
    assert len(said.host) <= 200


def test_a_store_without_a_statement_says_nothing(tmp_path: Path) -> None:
    assert provenance.read(tmp_path, SHA) is None
    (tmp_path / "provenance.json").mkdir()
    with pytest.raises(provenance.ProvenanceError, match=r"provenance\.json cannot be read"):
        provenance.read(tmp_path, SHA)
