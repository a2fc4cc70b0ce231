# SPDX-License-Identifier: GPL-3.0-or-later
"""Data files become dataclasses. A value that does not fit is refused with its place."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.store import datafile
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.store.datafile import DataError, Sha256

DIGEST = "ab" * 32
FOLDERS = [Path(datafile.__file__).parents[1] / room / "data" for room in ("store", "fleet")]


@dataclass(frozen=True)
class Thing:
    name: str
    file: tuple[str, Sha256]
    glibc: tuple[int, int]
    more: Mapping[str, tuple[str, ...]]
    size: float = 0.5
    known: bool = False


GOOD: dict[str, Any] = {"name": "a", "file": ["a.txt", DIGEST], "glibc": [2, 36], "more": {"x": ["y", "z"], "n": []}}


def test_lists_become_tuples_and_defaults_hold() -> None:
    assert datafile.row(Thing, GOOD, "f") == Thing("a", ("a.txt", DIGEST), (2, 36), {"x": ("y", "z"), "n": ()})


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"name": 3}, r"f\.name: 3 is not of the type str"),
        ({"name": None}, r"f\.name: None"),
        ({"file": ["a.txt", DIGEST[1:]]}, r"f\.file\[1\]: 'bab.* is not a SHA-256"),
        ({"file": ["a.txt", DIGEST + "0"]}, "is not a SHA-256"),
        ({"file": ["a.txt", DIGEST.upper()]}, "is not a SHA-256"),
        ({"file": ["a.txt"]}, r"f\.file: 1 values instead of 2"),
        ({"glibc": [2, True]}, r"f\.glibc\[1\]: True is not of the type int"),
        ({"glibc": "2.36"}, r"f\.glibc"),
        ({"more": {"x": "y"}}, r"f\.more\.x"),
        ({"known": 1}, r"f\.known: 1 is not of the type bool"),
        ({"sizes": 1.0}, "f: unknown: sizes"),
        ({"si\nzes": 1.0}, r"f: unknown: 'si\\nzes'"),
        ({"name": ["x" * 10_000_000]}, r"f\.name: .{0,300}\Z"),
    ],
)
def test_a_value_that_does_not_fit_is_refused_with_its_place(change: dict[str, Any], said: str) -> None:
    with pytest.raises(DataError, match=said):
        datafile.row(Thing, {**GOOD, **change}, "f")


def test_a_missing_field_is_named() -> None:
    with pytest.raises(DataError, match="f: missing: glibc, more"):
        datafile.row(Thing, {"name": "a", "file": ["a.txt", DIGEST]}, "f")
    with pytest.raises(DataError, match="f: not an object"):
        datafile.row(Thing, [], "f")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "f.json: "),
        ("[]", "must be an object"),
        ("{}", "a text `about`"),
        ('{"about": "a", "x": 1, "x": 2}', "x occurs twice"),
        ('{"about": "a", "\x1b[31m": 1, "\x1b[31m": 2}', "control character"),
        ("[" * 100_000, "nested too deeply"),
    ],
)
def test_another_file_than_a_data_file_is_refused(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "f.json").write_text(text)
    with pytest.raises(DataError, match=said):
        datafile.read(tmp_path / "f.json")
    with pytest.raises(DataError, match=r"gone\.json: .*No such file"):
        datafile.read(tmp_path / "gone.json")


def test_tables_must_have_rows_and_unique_keys() -> None:
    for data in ({}, {"rows": []}, {"rows": {}}):
        with pytest.raises(DataError, match="f: rows must be a list"):
            datafile.rows(Thing, data, "rows", "f")
    with pytest.raises(DataError, match="f: rows must be an object"):
        datafile.mapping(Thing, {"rows": []}, "rows", "f")
    with pytest.raises(DataError, match=r"f: rows\.k: missing"):
        datafile.mapping(Thing, {"rows": {"k": {}}}, "rows", "f")
    with pytest.raises(DataError, match="two rows for 'a'"):
        datafile.keyed(datafile.rows(Thing, {"rows": [GOOD, {**GOOD, "size": 1.5}]}, "rows", "f"), lambda one: one.name)


FILES = [path for folder in FOLDERS for path in sorted(folder.glob("*.json"))]


def test_there_are_data_files() -> None:
    assert {"kokoro.json", "pythons.json", "platforms.json", "gpu.json"} <= {path.name for path in FILES}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_a_committed_file_is_written_as_the_tools_write_it(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert datafile.render(datafile.read(path)) == text == datafile.render(json.loads(text))
