# SPDX-License-Identifier: GPL-3.0-or-later
"""The report on a store's contents: complete, with correct sums, and safe to show."""

from __future__ import annotations

import re

import pytest
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.store import advisories, contents
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.store.manifest import Artifact, Manifest

CPU, CUDA = "cpu-py311-x86_64", "cuda-py312-x86_64"
OWN = "<b>own</b>\nwords"
MANIFEST = Manifest(
    (
        Artifact("wheels/torch.whl", "a" * 64, 2_000_000, "wheel", "torch", "2.0", licence="BSD", profiles=(CPU,)),
        Artifact("wheels/nv.whl", "b" * 64, 5_000_000, "wheel", "nv", "1|2", licence=OWN, profiles=(CUDA,)),
        Artifact("wheels/both.whl", "c" * 64, 100, "wheel", "both", "3", licence="BSD", profiles=(CUDA, CPU)),
        Artifact("kokoro/w.pth", "d" * 64, 1000, "kokoro-weights", "weights", "1", source="made-up"),
    ),
    (CUDA, CPU),
)  # fmt: skip


def test_totals_by_kind_profile_and_licence() -> None:
    totals = contents.build(MANIFEST, "e" * 64)["totals"]
    assert totals["all"] == {"files": 4, "size": 7_001_100}
    assert totals["kinds"] == {"kokoro-weights": {"files": 1, "size": 1000}, "wheel": {"files": 3, "size": 7_000_100}}
    # Shared files count for each profile that needs them.
    assert totals["profiles"] == {CPU: {"files": 3, "size": 2_001_100}, CUDA: {"files": 3, "size": 5_001_100}}
    assert totals["licences"]["BSD"] == {"files": 2, "size": 2_000_100}
    assert totals["licences"]["not stated"] == {"files": 1, "size": 1000}


def test_every_file_is_a_row_with_its_hosts() -> None:
    rows = contents.build(MANIFEST, "e" * 64)["artifacts"]
    assert [(row["name"], row["profiles"], row["source"]) for row in rows] == [
        ("weights", [], "made-up"), ("both", [CPU, CUDA], "published"), ("nv", [CUDA], "published"),
        ("torch", [CPU], "published"),
    ]  # fmt: skip


def test_the_terminal_shows_what_to_carry_and_names_stand_ins() -> None:
    lines = contents.text(contents.build(MANIFEST, "e" * 64))
    assert lines[0] == f"Carry the whole folder: 4 files, 7.0 MB, for hosts of {CPU}, {CUDA}."
    assert any(line.startswith("MADE-UP WEIGHTS: ") for line in lines)
    (row,) = (line for line in lines if "weights  1" in line)
    assert re.search(r"1\.0 kB +not stated +all hosts +MADE-UP$", row)
    assert any("<b>own</b> words" in line for line in lines)
    real = Manifest(MANIFEST.artifacts[:1], MANIFEST.profiles)
    assert "MADE-UP" not in "".join(contents.text(contents.build(real, "e" * 64)))


ROW = {"id": "A-1", "summary": "a | <b>", "affected": [
    {"package": {"purl": "pkg:pypi/torch"}, "ranges": [{"events": [{"introduced": "0"}, {"fixed": "2.1"}]}]},
    {"package": {"purl": "pkg:pypi/both"}, "ranges": [{"events": [{"introduced": "odd"}]}]},
]}  # fmt: skip


def test_components_that_advisories_name_come_first() -> None:
    known = advisories.Advisories("2026-11-20", (advisories.parse(ROW, "file"),))
    data = contents.build(MANIFEST, "e" * 64, known, "Fetched by kim.")
    assert [row["component"] for row in data["advisories"]["affected"]] == ["both", "torch"]
    lines = contents.text(data)
    assert lines[3:5] == [
        "Fetched by kim.",
        "Advisories up to 2026-11-20 name 2 components of this store: both 3 (A-1, its versions cannot be compared), "
        "torch 2.0 (A-1, fixed in 2.1).",
    ]
    assert lines.index("Named by advisories") < lines.index("By kind")
    page = contents.markdown(data)
    assert "| both | 3 | A-1 | not stated | compare by hand | a \\| &lt;b> |" in page
    assert "| torch | 2.0 | A-1 | not stated | 2.1 | a \\| &lt;b> |" in page
    safe = contents.build(MANIFEST, "e" * 64, advisories.Advisories("2026-11-20", ()))
    assert "Named by advisories" not in contents.text(safe)
    assert "Advisories up to 2026-11-20 name no component of this store." in contents.text(safe)
    assert contents.build(MANIFEST, "e" * 64)["advisories"] is None


def test_text_of_packages_does_not_break_the_page() -> None:
    page = contents.markdown(contents.build(MANIFEST, "e" * 64))
    row = next(line for line in page.splitlines() if line.startswith("| wheel | nv "))
    assert row == f"| wheel | nv | 1\\|2 | 5.0 MB | &lt;b>own&lt;/b> words | {CUDA} | published |"
    assert "| kind | name | version | size | licence | hosts | source |\n| --- | --- | --- | ---: |" in page


def test_the_same_manifest_gives_the_same_report() -> None:
    turned = Manifest(MANIFEST.artifacts[::-1], MANIFEST.profiles[::-1])
    assert contents.markdown(contents.build(turned, "e" * 64)) == contents.markdown(contents.build(MANIFEST, "e" * 64))


def test_an_empty_store() -> None:
    assert contents.text(contents.build(Manifest(()), "e" * 64))[0].endswith("0 files, 0 B, for hosts of no profile.")


@pytest.mark.parametrize(
    ("size", "words"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (999_949, "999.9 kB"),
        (999_960, "1.0 MB"),
        (4_000_000_000, "4.0 GB"),
        (10**16, "10000.0 TB"),
    ],
)
def test_sizes_in_words(size: int, words: str) -> None:
    assert contents.in_words(size) == words
