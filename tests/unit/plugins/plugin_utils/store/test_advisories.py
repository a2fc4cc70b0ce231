# SPDX-License-Identifier: GPL-3.0-or-later
"""Advisories: which are kept, which versions they name, and that odd files are refused in one line."""

from __future__ import annotations

import hashlib
import json
import os
import zipfile
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.store import advisories, catalogue
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.store.manifest import Artifact, Manifest

SHA = "a" * 64
KOKORO = catalogue.KOKORO_REVISION


PAGE = Path(__file__).parents[5] / "docs/supply-chain.md"


def wheel(name: str, version: str) -> Artifact:
    return Artifact(f"wheels/{name}-{version}.whl", SHA, 1, "wheel", name, version)


STORE = (
    wheel("torch", "2.7.1+cpu"),
    wheel("Jinja2", "3.1.5"),
    wheel("uv", "0.9.0"),
    Artifact("spacy/m.tar.gz", SHA, 1, "spacy-model", "en_core_web_sm", "3.8.0"),
    Artifact("kokoro/Kokoro-82M/config.json", SHA, 1, "kokoro-config", "config", KOKORO[:12]),
    Artifact("python/p.tar.gz", SHA, 1, "python", "cpython-3.11", "3.11.0+20200101"),
)


def advisory(name: str = "torch", *events: dict[str, str], **more: Any) -> dict[str, Any]:
    """An advisory about a package of PyPI, with one range of events."""
    entry: dict[str, Any] = {"package": {"ecosystem": "PyPI", "name": name}}
    entry["ranges"] = [{"type": "ECOSYSTEM", "events": list(events)}] if events else []
    row = {"id": "GHSA-aaaa", "modified": "2026-11-20T01:02:03Z", "summary": "It reads too far.", "affected": [entry]}
    return {**row, **more}


def hits(row: Any, *artifacts: Artifact) -> list[advisories.Hit]:
    return advisories.match(advisories.Advisories("", (advisories.parse(row, "file"),)), artifacts or STORE)


def select(path: Path, rows: Any) -> tuple[advisories.Advisories, int]:
    path.write_text(json.dumps(rows))
    return advisories.select(path, STORE)


@pytest.mark.parametrize(
    ("events", "version", "expected"),
    [
        ([{"introduced": "0"}, {"fixed": "2.8.0"}], "2.7.1", True),
        ([{"introduced": "0"}, {"fixed": "2.7.1"}], "2.7.1", False),
        ([{"introduced": "2.7.2"}], "2.7.1", False),
        ([{"introduced": "2.7.1"}], "2.7.1", True),
        # Two ranges in one list, in any order.
        ([{"fixed": "3.0"}, {"introduced": "2.7"}, {"fixed": "1.5"}, {"introduced": "1.0"}], "2.7.1", True),
        ([{"fixed": "3.0"}, {"introduced": "2.7"}, {"fixed": "1.5"}, {"introduced": "1.0"}], "2.0", False),
        ([{"introduced": "0"}, {"last_affected": "2.7.1"}], "2.7.1", True),
        ([{"introduced": "0"}, {"last_affected": "2.7.0"}], "2.7.1", False),
        # Ten is more than nine, and a release candidate comes before its release.
        ([{"introduced": "0"}, {"fixed": "2.10"}], "2.9", True),
        ([{"introduced": "0"}, {"fixed": "2.9"}], "2.10", False),
        ([{"introduced": "0"}, {"fixed": "2.8.0"}], "2.8.0rc1", True),
        ([{"introduced": "0"}, {"fixed": "1!0.1"}], "9.0", True),
        # The local part of a version is a matter of the build.
        ([{"introduced": "0"}, {"last_affected": "2.7.1"}], "2.7.1+cpu", True),
        ([{"introduced": "0"}, {"fixed": "2.7.1"}], "2.7.1+cpu", False),
        ([{"introduced": "0"}, {"fixed": "2.8"}, {"limit": "*"}], "2.7.1", True),
        ([{"introduced": "0"}, {"limit": "2.0"}], "2.7.1", False),
        # What cannot be compared is not passed over.
        ([{"introduced": "0"}, {"fixed": "two"}], "2.7.1", None),
        ([{"introduced": "0"}, {"fixed": "2.8"}], "two", None),
        ([], "2.7.1", None),
    ],
)
def test_a_version_is_compared_by_the_rules_of_python(
    events: list[dict[str, str]], version: str, expected: bool | None
) -> None:
    found = hits(advisory("torch", *events), wheel("torch", version))
    assert [hit.sure for hit in found] == ([] if expected is False else [bool(expected)])


@pytest.mark.parametrize(("named", "expected"), [("2.7.1", 1), ("2.7.1.0", 1), ("2.7.1+cpu", 1), ("2.7.2", 0)])
def test_a_version_that_is_named_is_affected(named: str, expected: int) -> None:
    row = advisory("torch")
    row["affected"][0]["versions"] = ["1.0", named]
    assert len(hits(row)) == expected


def test_a_hit_names_component_version_and_the_next_version_without_the_fault() -> None:
    events = [{"introduced": "0"}, {"fixed": "2.6.1"}, {"introduced": "2.7"}, {"fixed": "2.10"}, {"fixed": "2.9"}]
    row = advisory("Torch", *events, aliases=["CVE-2026-0001"], database_specific={"severity": "HIGH"})
    (hit,) = hits(row)
    assert str(hit) == "torch 2.7.1+cpu (CVE-2026-0001, HIGH, fixed in 2.9)"
    assert hit.ids == ("CVE-2026-0001", "GHSA-aaaa")
    assert hit.summary == "It reads too far."


def test_two_databases_that_name_one_cve_are_one_hit() -> None:
    rows = [
        advisory("torch", {"introduced": "0"}, aliases=["CVE-2026-0001"], id="PYSEC-1"),
        advisory(
            "torch", {"introduced": "0"}, {"fixed": "3"}, aliases=["CVE-2026-0001"],
            database_specific={"severity": "CRITICAL"},
        ),
    ]  # fmt: skip
    known = advisories.Advisories("", tuple(advisories.parse(row, "file") for row in rows))
    (hit,) = advisories.match(known, STORE)
    assert (hit.id, hit.severity, hit.fixed) == ("CVE-2026-0001", "CRITICAL", "3")
    assert hit.ids == ("CVE-2026-0001", "GHSA-aaaa", "PYSEC-1")


@pytest.mark.parametrize(
    ("package", "named"),
    [
        ({"ecosystem": "PyPI", "name": "JINJA2"}, "jinja2"),
        ({"ecosystem": "x", "name": "y", "purl": "pkg:huggingface/hexgrad/Kokoro-82M"}, "hexgrad/Kokoro-82M"),
        ({"purl": f"pkg:huggingface/hexgrad/Kokoro-82M@{KOKORO}?x=y#config.json"}, "hexgrad/Kokoro-82M"),
        ({"purl": "pkg:generic/python"}, "python"),
        ({"purl": "pkg:pypi/UV@0.9.0"}, "uv"),
        # A package of PyPI with the name of a spaCy model is another thing.
        ({"ecosystem": "PyPI", "name": "en_core_web_sm"}, None),
        ({"ecosystem": "npm", "name": "torch"}, None),
        ({"name": "torch"}, None),
        (None, None),
    ],
)
def test_a_package_is_known_by_its_name_in_its_ecosystem(package: Any, named: str | None) -> None:
    versions = ["3.1.5", KOKORO, "3.11.0", "0.9.0", "3.8.0", "2.7.1"]
    row = {"id": "A-1", "affected": [{"package": package, "versions": versions}]}
    assert [hit.component for hit in hits(row)] == ([named] if named else [])


def test_withdrawn_advisories_and_ranges_of_commits_do_not_count() -> None:
    assert hits(advisory("torch", {"introduced": "0"}, withdrawn="2026-01-01T00:00:00Z")) == []
    row = advisory("torch")
    row["affected"][0] |= {"versions": ["1.0"], "ranges": [{"type": "GIT", "repo": "x", "events": [{"odd": 1}]}]}
    assert hits(row) == []


def test_the_worst_comes_first() -> None:
    found = [advisory("torch", {"introduced": "0"}), advisory("uv", {"introduced": "0"}, id="B-1")]
    found[1]["database_specific"] = {"severity": "critical"}
    known = advisories.Advisories("2026-11-20", tuple(advisories.parse(row, "file") for row in found))
    matched = advisories.match(known, STORE)
    assert [hit.component for hit in matched] == ["uv", "torch"]
    assert advisories.sentence("2026-11-20", matched, "this store") == (
        "Advisories up to 2026-11-20 name 2 components of this store: uv 0.9.0 (B-1, CRITICAL), "
        "torch 2.7.1+cpu (GHSA-aaaa)."
    )
    assert advisories.sentence("", [], "this store") == "Advisories without a date name no component of this store."
    assert advisories.sentence("", matched * 3, "it", 1).endswith("uv 0.9.0 (B-1, CRITICAL) and 5 more.")


@pytest.mark.parametrize("form", ["one", "list", "answer", "zip"])
def test_every_form_of_osv_is_read_and_only_packages_of_the_store_are_kept(tmp_path: Path, form: str) -> None:
    ours = advisory("torch", {"introduced": "0"}, {"fixed": "2.8"})
    others = [advisory("other", {"introduced": "0"}, id="B-1", modified="2026-11-25T00:00:00Z")]
    path = tmp_path / "osv"
    if form == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            for row in [ours, *others]:
                archive.writestr(f"{row['id']}.json", json.dumps(row))
            archive.writestr("README", "not JSON")
        found, count = advisories.select(path, STORE)
    else:
        rows = {"one": ours, "list": [ours, *others], "answer": {"vulns": [ours, *others]}}[form]
        found, count = select(path, rows)
    assert [row.id for row in found.rows] == ["GHSA-aaaa"]
    assert (count, found.until) == ((1, "2026-11-20") if form == "one" else (2, "2026-11-25"))


def test_what_a_store_carries_says_the_same_as_its_source(tmp_path: Path) -> None:
    rows = [
        advisory("torch", {"introduced": "0"}, {"fixed": "2.8"}, aliases=["CVE-2026-1"], details="x" * 9000),
        {"id": "OURS-1", "affected": [{"package": {"purl": "pkg:generic/python"}, "versions": ["3.11.0"]}]},
    ]
    found, _count = select(tmp_path / "osv", rows)
    data = found.to_bytes()
    assert found.to_bytes() == advisories.Advisories("", found.rows[::-1]).to_bytes()
    again, _count = select(tmp_path / "again", json.loads(data))
    assert again.rows == tuple(sorted(found.rows, key=lambda row: row.id))
    (tmp_path / advisories.PATH).write_bytes(data)
    digest = hashlib.sha256(data).hexdigest()
    listed = Artifact(advisories.PATH, digest, len(data), advisories.KIND, "OSV", found.until)
    loaded = advisories.load(tmp_path, Manifest((*STORE, listed)))
    assert loaded is not None
    assert (loaded.until, loaded.rows) == ("2026-11-20", again.rows)
    assert advisories.match(loaded, STORE) == advisories.match(found, STORE)
    assert advisories.load(tmp_path, Manifest(STORE)) is None
    (tmp_path / advisories.PATH).write_bytes(data.replace(b"2.8", b"2.7"))
    with pytest.raises(advisories.AdvisoryError, match="is not the file that the manifest lists"):
        advisories.load(tmp_path, Manifest((*STORE, listed)))


def ranged(**more: Any) -> dict[str, Any]:
    row = advisory("torch")
    row["affected"][0] |= more
    return row


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "osv is not JSON"),
        ("[]", "holds no advisory"),
        ('"x"', "without a plain id"),
        (json.dumps([{"id": "a\n"}]), "without a plain id"),
        (json.dumps({"id": "A-1", "affected": {}}), "A-1: affected is not a list"),
        (json.dumps({"id": "A-1", "affected": [{}] * 1001}), "affected has 1001 entries; 1000 are allowed"),
        (json.dumps(ranged(ranges=[[]])), "a range is not an object"),
        (json.dumps(ranged(ranges=[{"events": [{"introduced": "0", "fixed": "1"}]}])), "not an object with one entry"),
        (json.dumps(ranged(ranges=[{"events": [{"introduced": 0}]}])), "an event is not one of introduced, "),
        (json.dumps(ranged(ranges=[{"events": [{"fixed": "1" * 300}]}])), "an event is not one of introduced, "),
        (json.dumps(ranged(versions=[1])), "versions holds something other than short texts"),
        (json.dumps(ranged(versions=["1"] * 50_001)), "versions has 50001 entries; 50000 are allowed"),
    ],
)
def test_an_odd_file_is_refused_in_one_line(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "osv").write_text(content)
    with pytest.raises(advisories.AdvisoryError, match=message) as caught:
        advisories.select(tmp_path / "osv", STORE)
    assert "\n" not in str(caught.value)


def test_what_is_wrong_in_an_advisory_about_another_package_does_not_matter(tmp_path: Path) -> None:
    row = ranged(versions=[1])
    row["affected"][0]["package"]["name"] = "other"
    assert select(tmp_path / "osv", row)[0].rows == ()


def test_large_files_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "osv"
    path.write_bytes(b" " * 100 + b"[]")
    monkeypatch.setattr(advisories, "JSON_BYTES", 100)
    with pytest.raises(advisories.AdvisoryError, match=r"osv cannot be read: it has more than 100 bytes"):
        advisories.select(path, STORE)
    # 50 MB of zeros in 50 kB: what counts is what is unpacked.
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("A-1.json", b" " * 50_000_000)
    with pytest.raises(advisories.AdvisoryError, match=r"A-1\.json makes it larger than allowed"):
        advisories.select(path, STORE)
    monkeypatch.setattr(advisories, "MEMBERS", 0)
    with pytest.raises(advisories.AdvisoryError, match="holds 1 files; 0 are allowed"):
        advisories.select(path, STORE)
    monkeypatch.setattr(advisories, "ZIP_BYTES", 10)
    with pytest.raises(advisories.AdvisoryError, match="has more than 10 bytes"):
        advisories.select(path, STORE)
    monkeypatch.setattr(advisories, "JSON_BYTES", 1 << 20)
    monkeypatch.setattr(advisories, "ADVISORIES", 1)
    rows = [advisory("torch", {"introduced": "0"}, id=f"A-{number}") for number in range(3)]
    with pytest.raises(advisories.AdvisoryError, match="more than 1 advisories are about packages of this store"):
        select(path, rows)


def test_only_the_usual_compression_is_unpacked(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "osv.zip", "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("A-1.json", "{}")
    with pytest.raises(advisories.AdvisoryError, match=r"A-1\.json is not packed with deflate"):
        advisories.select(tmp_path / "osv.zip", STORE)


@pytest.mark.parametrize("kind", ["missing", "folder", "damaged", "encrypted", "pipe"])
def test_a_file_that_cannot_be_read_is_refused_in_one_line(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "osv.zip"
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind != "missing":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("A-1.json", json.dumps(advisory("torch", {"introduced": "0"})))
        data = bytearray(path.read_bytes())
        if kind == "damaged":
            data[50] ^= 0xFF
        else:
            data[6] |= 1
            data[data.index(b"PK\x01\x02") + 8] |= 1
        path.write_bytes(data)
    with pytest.raises(advisories.AdvisoryError, match=r"osv\.zip cannot be (read|unpacked): ") as caught:
        advisories.select(path, STORE)
    assert "\n" not in str(caught.value)


def test_control_characters_in_an_advisory_do_not_reach_a_terminal(tmp_path: Path) -> None:
    row = advisory("torch", {"introduced": "0"}, summary="a\x1b[31m\nb", aliases=["\x1b"])
    with pytest.raises(advisories.AdvisoryError, match="aliases holds something other"):
        select(tmp_path / "osv", row)
    (hit,) = hits({**row, "aliases": ["<b>", "CVE-2026-1"]})
    assert (hit.id, hit.ids, hit.summary) == ("CVE-2026-1", ("CVE-2026-1", "GHSA-aaaa"), "a [31m b")


def test_the_example_of_the_documentation_works(tmp_path: Path) -> None:
    ours = PAGE.read_text(encoding="utf-8").partition("```json\n")[2].partition("```")[0]
    (tmp_path / "ours.json").write_text(ours)
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        archive.write(tmp_path / "ours.json", "ours.json")
    for name in ("ours.json", "all.zip"):
        store = (wheel("xinference", "1.2.3"), wheel("torch", "2.7.1"))
        found, _count = advisories.select(tmp_path / name, store)
        said = [str(hit) for hit in advisories.match(found, store)]
        assert said == ["xinference 1.2.3 (OURS-2026-1, HIGH, fixed in 1.3)"]
