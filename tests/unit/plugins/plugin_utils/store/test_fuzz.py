# SPDX-License-Identifier: GPL-3.0-or-later
"""Random input for the parsers of a store: they accept it or refuse it in words, and never end in a traceback."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("hypothesis")

from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.store import (
    datafile,
    download,
    export,
    locks,
    manifest,
    prune,
)
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.store.profiles import Profile
from hypothesis import given, strategies as st

SHA = "ab" * 32
MANIFEST = manifest.Manifest(
    (manifest.Artifact("wheels/a.whl", SHA, 3, "wheel", "a", "1.0", profiles=("p",), tags=("t",), extras=("e",)),),
    ("p",),
).to_bytes()
INDEX = export.Index(
    SHA,
    SHA,
    1000,
    (export.Volume("volume-0001.tar", 1, 900, SHA),),
    (export.Travelling("a", SHA, 3, (export.Piece(1, 512, 3),)),),
    ("b",),
    {"manifest.json": SHA},
).to_bytes()
LISTING = prune.Listing("/s", {"/s": SHA}, "/c", (prune.Surplus("store", "x", 1, 1, 1, "no"),)).to_bytes()
LOCK = {"lock-version": "1.0", "packages": [{"name": "a", "version": "1", "marker": "'x' in extras", "wheels": [
    {"name": "a-1-py3-none-any.whl", "url": "https://h/a-1-py3-none-any.whl", "size": 3, "hashes": {"sha256": SHA}}
]}]}  # fmt: skip

NAMES = st.sampled_from(["", ".", "..", "a/../b", "/etc", "manifest.json", "a\nb", "\x1b[31m", "\ud800", "../../x"])
VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | NAMES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


def places(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place in some JSON, as the keys that lead there."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [at, *(place for key, item in inner for place in places(item, (*at, key)))]


def changed(value: Any, place: tuple[Any, ...], new: Any) -> Any:
    """A copy of some JSON with another value at a place."""
    if not place:
        return new
    copy = value.copy()
    copy[place[0]] = changed(value[place[0]], place[1:], new)
    return copy


def altered(good: Any) -> st.SearchStrategy[Any]:
    """Good JSON with one wrong value anywhere."""
    return st.builds(lambda place, new: changed(good, place, new), st.sampled_from(places(good)), VALUES)


def as_manifest(data: bytes) -> object:
    return manifest.parse_manifest(data, "m").to_bytes()


def as_index(data: bytes) -> object:
    return export.parse_index(data, "i").to_bytes()


PARSERS = [
    (as_manifest, MANIFEST, manifest.ManifestError),
    (as_index, INDEX, export.ExportError),
]


@pytest.mark.parametrize(("parse", "good", "refusal"), PARSERS)
def test_what_the_altered_values_start_from_is_accepted(
    parse: Callable[[bytes], object], good: bytes, refusal: type[Exception]
) -> None:
    assert parse(good) == good


@pytest.mark.parametrize(("parse", "good", "refusal"), PARSERS)
@given(data=st.data())
def test_a_manifest_and_an_index_with_a_wrong_value(
    parse: Callable[[bytes], object], good: bytes, refusal: type[Exception], data: st.DataObject
) -> None:
    raw = data.draw(st.binary(max_size=50) | altered(json.loads(good)).map(lambda value: json.dumps(value).encode()))
    said = ""
    try:
        parse(raw)
    except refusal as error:
        said = str(error)
    assert len(said) < 3000
    assert "\x1b" not in said


@given(value=altered(json.loads(LISTING)))
def test_a_list_of_unused_files_with_a_wrong_value(value: Any, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = Path(tmp_path_factory.getbasetemp()) / "fuzz.json"
    path.write_text(json.dumps(value))
    with contextlib.suppress(prune.PruneError):
        found = prune.read_listing(path)
        assert all(manifest.is_inside(file.path) for file in found.files)
        found.to_bytes()


@given(value=altered(LOCK), profile=st.sampled_from([None, Profile("cpu", "3.11", "x86_64")]))
def test_a_lock_with_a_wrong_value(value: Any, profile: Profile | None) -> None:
    with contextlib.suppress(locks.LockError):
        found = locks.lock_of(value, "lock", profile)
        assert all("/" not in package.filename for package in found.packages)


@given(st.text())
def test_any_text_as_a_lock(text: str) -> None:
    with contextlib.suppress(locks.LockError):
        locks.parse_lock(text, "lock")


@given(st.text() | st.lists(st.text() | NAMES, max_size=3).map(lambda links: "".join(f'<a href="{a}">' for a in links)))
def test_any_page_as_a_package_index(page: str) -> None:
    with contextlib.suppress(ValueError, AssertionError):
        found = download._on_page("https://u:p@index/simple/a/", "https://index/simple/a/", page, "a.whl")
        assert found is None or found.startswith(("http://", "https://"))


@given(st.binary() | st.text().map(str.encode))
def test_any_bytes_as_json(raw: bytes) -> None:
    with contextlib.suppress(datafile.DataError):
        datafile.parse(raw)
