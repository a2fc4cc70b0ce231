# SPDX-License-Identifier: GPL-3.0-or-later
"""Pruning: the list is exact, and applied exactly or not at all."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.store import prune
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.store.exclusive import BusyError
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.store.manifest import ManifestError
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.store.store import verify
from ansible_collections.voicefleet.kokoro.tests.unit.plugins.plugin_utils.stores import tree, write_store


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def keep(cache: Path, data: bytes) -> str:
    sha256 = digest(data)
    path = cache / "sha256" / sha256[:2] / sha256
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path.relative_to(cache).as_posix()


@pytest.fixture
def place(tmp_path: Path) -> SimpleNamespace:
    """A store with two surplus files, a second store, and a cache that serves both and holds more."""
    store, other, cache = tmp_path / "store", tmp_path / "other", tmp_path / "cache"
    write_store(store, {"wheels/a.whl": b"a", "wheels/built.whl": b"built"})
    write_store(other, {"wheels/b.whl": b"b"})
    (store / "manifest.json.sig").write_text("signed")
    (store / "notes.txt").write_text("mine")
    (store / "wheels" / "old.whl").symlink_to("/etc/hostname")
    used = [keep(cache, data) for data in (b"a", b"built", b"b")]
    unused = keep(cache, b"nobody's")
    (cache / "built").mkdir()
    source, lost = keep(cache, b"source of built"), keep(cache, b"source of nothing")
    (cache / "built" / f"{source[-64:]}.json").write_text(json.dumps(["built.whl", digest(b"built")]))
    (cache / "built" / f"{lost[-64:]}.json").write_text(json.dumps(["lost.whl", digest(b"lost")]))
    (cache / "partial").mkdir()
    (cache / "partial" / "abc").write_bytes(b"half")
    (cache / "memo.json").write_text("{}")
    return SimpleNamespace(
        store=store, other=other, cache=cache, used=[*used, source],
        unused={unused, lost, f"built/{lost[-64:]}.json", "partial/abc"},
    )  # fmt: skip


def survey(place: SimpleNamespace) -> prune.Listing:
    return prune.survey(place.store, place.cache, [place.other])


def apply(place: SimpleNamespace, listing: prune.Listing, check: bool = False) -> list[prune.Surplus]:
    return prune.apply(listing, place.store, place.cache, [place.other], check)


def reread(listing: prune.Listing, folder: Path, change: Callable[[Any], None] = lambda _: None) -> prune.Listing:
    """The list after it was written, edited and read."""
    data = json.loads(listing.to_bytes())
    change(data)
    (folder / "list.json").write_text(json.dumps(data))
    return prune.read_listing(folder / "list.json")


def refused(place: SimpleNamespace, listing: prune.Listing, words: str, kinds: list[str]) -> None:
    before = tree(place.store), tree(place.cache)
    with pytest.raises(prune.PruneError, match=words) as caught:
        apply(place, listing)
    assert [finding.kind for finding in caught.value.findings] == kinds
    assert (tree(place.store), tree(place.cache)) == before


def test_the_list_names_unused_files(place: SimpleNamespace) -> None:
    listing = survey(place)
    assert {(f.root, f.path) for f in listing.files} == {
        ("store", "notes.txt"),
        ("store", "wheels/old.whl"),
        *(("cache", path) for path in place.unused),
    }
    assert listing.to_bytes() == survey(place).to_bytes()
    assert {f.path: f.size for f in listing.files}["notes.txt"] == 4


def test_files_of_a_second_store_stay_only_if_it_is_named(place: SimpleNamespace) -> None:
    alone = prune.survey(place.store, place.cache)
    assert {f.path for f in alone.files} - {f.path for f in survey(place).files} == {place.used[2]}
    assert [f.root for f in prune.survey(place.store).files] == ["store", "store"]
    assert prune.survey(place.store, place.cache / "absent").cache is None


def test_exactly_the_listed_files_are_removed(place: SimpleNamespace, tmp_path: Path) -> None:
    listing = reread(survey(place), tmp_path)
    before = tree(place.cache)
    assert apply(place, listing, check=True) == list(listing.files)
    assert (place.store / "notes.txt").exists()
    assert apply(place, listing) == list(listing.files)
    assert set(before) - set(tree(place.cache)) == place.unused
    assert verify(place.store) == []
    assert (place.store / "manifest.json.sig").exists()
    assert survey(place).files == ()
    assert apply(place, listing) == []


def test_a_file_whose_line_was_deleted_stays(place: SimpleNamespace, tmp_path: Path) -> None:
    listing = reread(
        survey(place), tmp_path, lambda d: d.update(files=[f for f in d["files"] if f["path"] != "notes.txt"])
    )
    apply(place, listing)
    assert [f.path for f in survey(place).files] == ["notes.txt"]


def test_a_file_that_came_later_stays(place: SimpleNamespace) -> None:
    listing = survey(place)
    (place.store / "later.txt").write_text("new")
    apply(place, listing)
    assert (place.store / "later.txt").exists()


@pytest.mark.parametrize("which", ["store", "other"])
def test_a_manifest_that_changed_later_refuses_the_list(place: SimpleNamespace, which: str) -> None:
    listing = survey(place)
    write_store(getattr(place, which), {"wheels/a.whl": b"a", "wheels/built.whl": b"built", "wheels/c.whl": b"c"})
    refused(place, listing, "changed after the list was made", [])


def test_a_store_that_is_gone_refuses_the_list(place: SimpleNamespace) -> None:
    listing = survey(place)
    (place.other / "manifest.json").unlink()
    with pytest.raises(ManifestError, match=r"no manifest\.json"):
        apply(place, listing)
    with pytest.raises(ManifestError):
        survey(place)


def test_files_that_changed_later_refuse_the_list(place: SimpleNamespace) -> None:
    listing = survey(place)
    status = (place.store / "notes.txt").stat()
    # The same size and time: only the inode tells.
    replaced = place.store / "new.txt"
    replaced.write_text("your")
    os.utime(replaced, ns=(status.st_atime_ns, status.st_mtime_ns))
    replaced.replace(place.store / "notes.txt")
    (place.cache / "partial" / "abc").write_bytes(b"more of it")
    refused(place, listing, "Nothing was removed", ["changed", "changed"])


def row(path: Any, root: str = "store") -> dict[str, Any]:
    return {"root": root, "path": path, "size": 1, "mtime_ns": 1, "inode": 1, "reason": ""}


def test_a_line_that_names_a_used_file_is_refused(place: SimpleNamespace, tmp_path: Path) -> None:
    paths = ["wheels/a.whl", "manifest.json", "manifest.json.sig"]
    listing = reread(survey(place), tmp_path, lambda d: d["files"].extend(row(path) for path in paths))
    refused(place, listing, "in use: wheels/a", ["in use"] * 3)
    listing = reread(survey(place), tmp_path, lambda d: d["files"].append(row(place.used[0], "cache")))
    refused(place, listing, "the cache uses it", ["in use"])


@pytest.mark.parametrize("path", ["../other/manifest.json", "/etc/hostname", "wheels/../../x", "", ".", 3, None])
def test_a_path_outside_the_folders_is_refused(place: SimpleNamespace, tmp_path: Path, path: Any) -> None:
    with pytest.raises(prune.PruneError, match="is not a plain path inside its folder"):
        reread(survey(place), tmp_path, lambda d: d["files"].append(row(path)))


def test_a_folder_that_became_a_link_is_not_followed(place: SimpleNamespace, tmp_path: Path) -> None:
    (place.store / "extra").mkdir()
    (place.store / "extra" / "file").write_text("x")
    listing = survey(place)
    (place.store / "extra").rename(tmp_path / "elsewhere")
    (place.store / "extra").symlink_to(tmp_path / "elsewhere")
    refused(place, listing, "in use: extra/file", ["in use"])
    assert (tmp_path / "elsewhere" / "file").exists()


@pytest.mark.parametrize(
    "change",
    [
        lambda d: d.update(schema=9),
        lambda d: d.pop("store"),
        lambda d: d["files"].append({"path": "x"}),
        lambda d: d["files"].append(row("x", "home")),
        lambda d: d.update(files=1),
        lambda d: d["files"][0].update(size="big"),
        lambda d: d["files"][0].update(inode=None),
        lambda d: d.update(stores=[]),
    ],
)
def test_another_file_than_a_list_is_refused(
    place: SimpleNamespace, tmp_path: Path, change: Callable[[Any], None]
) -> None:
    with pytest.raises(prune.PruneError, match="is not a list from"):
        reread(survey(place), tmp_path, change)


def test_a_list_of_another_store_or_without_a_cache_is_refused(place: SimpleNamespace, tmp_path: Path) -> None:
    with pytest.raises(prune.PruneError, match="the list belongs to the store"):
        prune.apply(survey(place), place.other, place.cache, [place.store])
    refused(place, reread(survey(place), tmp_path, lambda d: d.update(stores={})), "was made with the stores none", [])
    listing = reread(survey(place), tmp_path, lambda d: d.update(cache=None))
    refused(place, listing, "names no cache", ["outside"] * 4)
    with pytest.raises(prune.PruneError, match="cannot be read"):
        prune.read_listing(tmp_path / "absent")


def test_a_store_that_is_being_fetched_is_not_pruned(place: SimpleNamespace) -> None:
    held = os.open(place.store, os.O_RDONLY)
    fcntl.flock(held, fcntl.LOCK_EX)
    with pytest.raises(BusyError):
        apply(place, survey(place))
    os.close(held)


def test_an_edited_list_does_not_remove_files_elsewhere(place: SimpleNamespace, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    victim = keep(elsewhere, b"of somebody else")
    foreign = prune.survey(place.store, elsewhere, [place.other])
    assert victim in {file.path for file in foreign.files}
    refused(place, foreign, "the list belongs to the cache .*elsewhere, but artifact_store_cache is", [])
    assert (elsewhere / victim).exists()


def test_an_edited_list_does_not_forget_a_store(place: SimpleNamespace) -> None:
    alone = prune.survey(place.store, place.cache)
    assert place.used[2] in {file.path for file in alone.files}
    refused(place, alone, "was made with the stores .*store, but artifact_store_path and artifact_store_prune_st", [])


def test_a_cache_folder_that_is_a_link_is_not_followed(place: SimpleNamespace, tmp_path: Path) -> None:
    (place.cache / "partial").rename(tmp_path / "away")
    (place.cache / "partial").symlink_to(tmp_path / "away")
    with pytest.raises(prune.PruneError, match="partial is a symbolic link"):
        survey(place)


@pytest.mark.parametrize("note", ["[[1], [2]]", "[" * 100_000, "3", '["a", {}]', "{"])
def test_a_damaged_note_of_the_cache_counts_as_unused(place: SimpleNamespace, note: str) -> None:
    (place.cache / "built" / f"{'0' * 64}.json").write_text(note)
    assert f"built/{'0' * 64}.json" in {file.path for file in survey(place).files}


def test_a_name_that_is_not_text_is_listed_and_removed(place: SimpleNamespace, tmp_path: Path) -> None:
    odd = os.fsdecode(b"caf\xe9\x1b[31m.txt")
    (place.store / odd).write_text("x")
    listing = reread(survey(place), tmp_path)
    assert odd in {file.path for file in listing.files}
    apply(place, listing)
    assert not os.path.lexists(place.store / odd)
