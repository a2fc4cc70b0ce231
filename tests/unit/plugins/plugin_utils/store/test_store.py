# SPDX-License-Identifier: GPL-3.0-or-later
"""Stores: built from folders alone (no network), verified, and damaged in every way."""

from __future__ import annotations

import base64
import errno
import fcntl
import hashlib
import http.server
import json
import os
import signal
import threading
import time
import zipfile
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from ansible_collections.voicefleet.kokoro.plugins.module_utils.host.hashing import Memo, sha256_bytes
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.store import (
    advisories,
    catalogue,
    download,
    locks,
    provenance,
    refused,
    store,
    torch_build,
)
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.store.exclusive import BusyError
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.store.manifest import FILENAME, read_manifest
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.store.profiles import Profile

PROFILE = Profile("cpu", "3.11", "x86_64")
OTHER = Profile("cuda", "3.12", "aarch64")


def write_wheel(folder: Path, name: str, version: str, tag: str = "py3-none-any", *needs: str) -> locks.LockedPackage:
    """A small, real wheel, and its row of a lock, with an address that tests cannot reach."""
    path = folder / f"{name.replace('-', '_')}-{version}-{tag}.whl"
    info = f"{name}-{version}.dist-info"
    metadata = f"Metadata-Version: 2.4\nName: {name}\nVersion: {version}\nLicense-Expression: MIT\n"
    metadata += "".join(f"Requires-Dist: {need}\n" for need in needs)
    digest = base64.urlsafe_b64encode(hashlib.sha256(metadata.encode()).digest()).rstrip(b"=").decode()
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr(f"{info}/METADATA", metadata)
        wheel.writestr(f"{info}/RECORD", f"{info}/METADATA,sha256={digest},{len(metadata)}\n")
    data = path.read_bytes()
    return locks.LockedPackage(
        name, version, path.name, f"https://absent.invalid/{path.name}", hashlib.sha256(data).hexdigest(), len(data)
    )


@pytest.fixture
def request_(tmp_path: Path) -> store.Request:
    """A request whose wheels, models and voices all come from folders; the models are stand-ins."""
    wheels, lock_folder = tmp_path / "wheels", tmp_path / "locks"
    wheels.mkdir()
    lock_folder.mkdir()
    rows = [write_wheel(wheels, name, version) for name, version in (("spacy", "3.8.14"), ("xinference", "1.2.3"))]
    text = locks.render_lock(locks.Lock(">=3.11", tuple(rows)), PROFILE)
    (lock_folder / Path(PROFILE.lock_path).name).write_text(text)
    spacy, kokoro = tmp_path / "spacy", tmp_path / "kokoro"
    spacy.mkdir()
    (kokoro / "voices").mkdir(parents=True)
    (spacy / "en_core_web_sm-3.8.0.tar.gz").write_bytes(b"tarball")
    (kokoro / "config.json").write_text("{}")
    (kokoro / "kokoro-v1_0.pth").write_bytes(b"weights" * 100)
    (kokoro / "voices" / "af_heart.pt").write_bytes(b"voice")
    for folder in (spacy, kokoro):
        (folder / store.SOURCE_MARKER).write_text(json.dumps({"source": "made-up"}))
    return store.Request(
        ["a"],
        ["af_heart"],
        profiles=[PROFILE],
        lock_folder=lock_folder,
        spacy_source=spacy.as_uri(),
        kokoro_source=kokoro.as_uri(),
        find_links=[wheels],
    )


@pytest.fixture
def built(tmp_path: Path, request_: store.Request) -> Path:
    store.build(tmp_path / "store", request_, tmp_path / "cache", lambda _line: None)
    return tmp_path / "store"


def kinds(path: Path) -> list[tuple[str, str]]:
    return [(finding.kind, finding.path) for finding in store.verify(path)]


def test_a_store_is_complete_and_names_each_source(built: Path) -> None:
    assert store.verify(built) == []
    manifest, _digest = read_manifest(built)
    rows = {artifact.path: artifact for artifact in manifest.artifacts}
    assert sorted(rows) == [
        "kokoro/Kokoro-82M/config.json",
        "kokoro/Kokoro-82M/kokoro-v1_0.pth",
        "kokoro/Kokoro-82M/voices/af_heart.pt",
        "locks/pylock.cpu-py311-x86_64.toml",
        "sbom.cdx.json",
        "spacy/en_core_web_sm-3.8.0.tar.gz",
        "wheels/spacy-3.8.14-py3-none-any.whl",
        "wheels/xinference-1.2.3-py3-none-any.whl",
    ]
    assert list(manifest.unpublished.values()) == ["made-up"] * 4
    wheel = rows["wheels/spacy-3.8.14-py3-none-any.whl"]
    assert (wheel.licence, wheel.version, wheel.profiles) == ("MIT", "3.8.14", (PROFILE.name,))
    assert wheel.address == "https://absent.invalid/spacy-3.8.14-py3-none-any.whl"


def test_the_same_inputs_give_the_same_manifest(built: Path, tmp_path: Path, request_: store.Request) -> None:
    again = store.build(tmp_path / "second", request_, tmp_path / "other-cache", lambda _line: None)
    assert again.changed
    mine, other = (read_manifest(folder)[0] for folder in (tmp_path / "second", built))
    assert replace(mine, time=other.time) == other
    before = (built / "manifest.json").read_bytes()
    third = store.build(built, request_, tmp_path / "cache", lambda _line: None)
    assert (third.changed, third.added, third.removed) == (False, [], [])
    assert (built / "manifest.json").read_bytes() == before


MAKER = provenance.Maker("kim", "fetch-01", {"voicefleet.kokoro": "0.1.0"})


def test_a_fetch_states_its_provenance_until_the_contents_change(tmp_path: Path, request_: store.Request) -> None:
    path, said = tmp_path / "store", [].append
    request_.index = "https://kim:secret@mirror.invalid/simple"
    store.build(path, replace(request_, index=None), tmp_path / "cache", said)
    assert not (path / "provenance.json").exists()
    # A store of an earlier version gets its statement, although its contents are the same.
    assert store.build(path, request_, tmp_path / "cache", said, maker=MAKER).changed
    first = (path / "provenance.json").read_bytes()
    assert b"secret" not in first
    stated = provenance.read(path, read_manifest(path)[1])
    assert stated is not None
    assert stated.user == "kim"
    parameters = json.loads(first)["predicate"]["buildDefinition"]["externalParameters"]
    assert (parameters["languages"], parameters["profiles"]) == (["a"], [PROFILE.name])
    assert parameters["sources"]["index"] == "https://mirror.invalid/simple"
    assert store.verify(path) == []
    assert not store.build(path, request_, tmp_path / "cache", said, maker=replace(MAKER, user="robin")).changed
    assert (path / "provenance.json").read_bytes() == first
    request_.contents = "python"
    store.build(path, request_, tmp_path / "cache", said, maker=replace(MAKER, user="robin"))
    stated = provenance.read(path, read_manifest(path)[1])
    assert stated is not None
    assert stated.user == "robin"
    # Without a maker, the former statement does not stay beside a manifest that it does not know.
    store.build(path, replace(request_, contents="all"), tmp_path / "cache", said)
    assert not (path / "provenance.json").exists()
    assert store.verify(path) == []


def test_a_store_carries_advisories_and_no_release_contains_them(tmp_path: Path, request_: store.Request) -> None:
    path, osv, said = tmp_path / "store", tmp_path / "osv.json", []
    row = {"id": "GHSA-1", "modified": "2026-11-20T00:00:00Z", "affected": [
        {"package": {"ecosystem": "PyPI", "name": "spacy"}, "versions": ["3.8.14"]}
    ]}  # fmt: skip
    osv.write_text(json.dumps([row, {**row, "id": "GHSA-2", "affected": []}]))
    without = store.build(path, request_, tmp_path / "cache", said.append).manifest
    request_.advisories = osv
    assert store.build(path, request_, tmp_path / "cache", said.append, check=True).added == ["advisories.json"]
    store.build(path, request_, tmp_path / "cache", said.append)
    assert "1 of 2 advisories are about packages of this store" in said
    assert store.verify(path) == []
    manifest = read_manifest(path)[0]
    (listed,) = manifest.of_kind("advisories")
    assert (listed.path, listed.version) == ("advisories.json", "2026-11-20")
    known = advisories.load(path, manifest)
    assert known is not None
    assert [str(hit) for hit in advisories.match(known, manifest.artifacts)] == ["spacy 3.8.14 (GHSA-1)"]
    assert "advisories.json" not in (path / "sbom.cdx.json").read_text()
    release = (PROFILE.name, ["en_core_web_sm"], ["af_heart"])
    needed, before = ({row.path for row in each.for_release(*release)} for each in (manifest, without))
    assert needed == before
    assert not store.build(path, request_, tmp_path / "cache", said.append).changed
    request_.advisories = None
    assert store.build(path, request_, tmp_path / "cache", said.append).removed == ["advisories.json"]
    request_.advisories = tmp_path / "nowhere"
    with pytest.raises(store.StoreError, match=r"there is no file of advisories at .*artifact_store_advisories"):
        store.build(path, request_, tmp_path / "cache", said.append)


def test_a_fetch_that_changes_a_store_raises_its_counter(built: Path, tmp_path: Path, request_: store.Request) -> None:
    first = read_manifest(built)[0]
    request_.contents = "python"
    store.build(built, request_, tmp_path / "cache", lambda _line: None)
    second = read_manifest(built)[0]
    assert (first.counter, second.counter) == (1, 2)
    assert first.age < second.age


def test_a_fetch_removes_what_a_killed_write_left(built: Path, tmp_path: Path, request_: store.Request) -> None:
    for path in (".manifest.json.x1", "wheels/.spacy-3.8.14-py3-none-any.whl"):
        (built / f"{path}.voicefleet-new").write_text("half")
    (built / ".mine.new").write_text("not ours")
    assert {detail.detail[:12] for detail in store.verify(built)} == {"a killed run", "is not in th"}
    store.build(built, request_, tmp_path / "cache", lambda _line: None)
    assert kinds(built) == [("unlisted", ".mine.new")]


def test_a_fetch_writes_nothing_behind_a_link(built: Path, tmp_path: Path, request_: store.Request) -> None:
    (built / "kokoro").rename(tmp_path / "elsewhere")
    (built / "kokoro").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere/Kokoro-82M/config.json").unlink()
    with pytest.raises(store.StoreError, match="remove these links, .*\n.*outside: kokoro/Kokoro-82M/config.json"):
        store.build(built, request_, tmp_path / "cache", lambda _line: None)
    assert not (tmp_path / "elsewhere/Kokoro-82M/config.json").exists()


def test_the_lock_of_the_store_names_wheels_beside_itself(built: Path) -> None:
    lock = locks.read_lock(built / PROFILE.lock_path)
    assert all((built / "locks" / package.location).resolve().is_file() for package in lock.packages)


def test_every_kind_of_damage_is_found_at_once(built: Path) -> None:
    wheel = built / "wheels/spacy-3.8.14-py3-none-any.whl"
    damaged = bytearray(wheel.read_bytes())
    damaged[40] ^= 1
    wheel.unlink()
    wheel.write_bytes(damaged)
    config = built / "kokoro/Kokoro-82M/config.json"
    config.unlink()
    config.write_bytes(b"{")
    (built / "spacy/en_core_web_sm-3.8.0.tar.gz").unlink()
    (built / "surprise.txt").write_text("?")
    weights = built / "kokoro/Kokoro-82M/kokoro-v1_0.pth"
    weights.unlink()
    weights.symlink_to("/etc/hostname")
    assert kinds(built) == [
        ("truncated", "kokoro/Kokoro-82M/config.json"),
        ("missing", "kokoro/Kokoro-82M/kokoro-v1_0.pth"),
        ("missing", "spacy/en_core_web_sm-3.8.0.tar.gz"),
        ("unlisted", "surprise.txt"),
        ("corrupt", "wheels/spacy-3.8.14-py3-none-any.whl"),
    ]


def test_the_next_fetch_repairs_damage(built: Path, tmp_path: Path, request_: store.Request) -> None:
    wheel = built / "wheels/spacy-3.8.14-py3-none-any.whl"
    # Store and cache share the file by a hard link, so this damages both.
    with open(wheel, "r+b") as handle:
        handle.seek(40)
        handle.write(b"\xff")
    assert kinds(built) == [("corrupt", "wheels/spacy-3.8.14-py3-none-any.whl")]
    again = store.build(built, request_, tmp_path / "cache", lambda _line: None)
    assert again.added == ["wheels/spacy-3.8.14-py3-none-any.whl"]
    assert store.verify(built) == []


def test_a_remembered_digest_is_used_until_the_file_changes(built: Path, tmp_path: Path) -> None:
    memo = Memo(str(tmp_path / "memo.json"))
    assert store.verify(built, memo) == []
    memo.save()
    memo = Memo(str(tmp_path / "memo.json"))
    wheel = built / "wheels/spacy-3.8.14-py3-none-any.whl"
    before = wheel.stat()
    data = wheel.read_bytes()
    wheel.unlink()
    wheel.write_bytes(b"\0" + data[1:])
    os.utime(wheel, ns=(before.st_atime_ns, before.st_mtime_ns + 1))
    assert [finding.kind for finding in store.verify(built, memo)] == ["corrupt"]


def test_files_that_are_no_longer_needed_are_removed_and_foreign_files_stay(
    built: Path, tmp_path: Path, request_: store.Request
) -> None:
    (built / "mine.txt").write_text("keep")
    request_.contents = "python"
    done = store.build(built, request_, tmp_path / "cache", lambda _line: None)
    assert len(done.removed) == 4
    assert kinds(built) == [("unlisted", "mine.txt")]


def test_a_folder_without_a_marker_must_have_the_pinned_digests(tmp_path: Path, request_: store.Request) -> None:
    (tmp_path / "kokoro" / store.SOURCE_MARKER).unlink()
    with pytest.raises(download.DownloadError, match="is pinned") as caught:
        store.build(tmp_path / "store", request_, tmp_path / "cache", lambda _line: None)
    assert catalogue.KOKORO_WEIGHTS[1] in str(caught.value)
    assert not (tmp_path / "store/manifest.json").exists()


def test_the_published_bytes_are_published_whatever_the_folder_says(
    tmp_path: Path, request_: store.Request, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "kokoro" / store.SOURCE_MARKER).write_text(json.dumps({"source": "converted"}))
    published = replace(catalogue.KOKORO, config=("config.json", hashlib.sha256(b"{}").hexdigest()))
    monkeypatch.setattr(catalogue, "KOKORO", published)
    done = store.build(tmp_path / "store", request_, tmp_path / "cache", lambda _line: None)
    assert done.manifest.unpublished == {
        "kokoro/Kokoro-82M/kokoro-v1_0.pth": "converted",
        "kokoro/Kokoro-82M/voices/af_heart.pt": "converted",
        "spacy/en_core_web_sm-3.8.0.tar.gz": "made-up",
    }


@pytest.mark.parametrize("marker", ["{", "{}", '{"source": "borrowed"}'])
def test_a_folder_must_name_a_known_source(tmp_path: Path, request_: store.Request, marker: str) -> None:
    (tmp_path / "kokoro" / store.SOURCE_MARKER).write_text(marker)
    with pytest.raises(store.StoreError, match=r"SOURCE\.json (cannot be read|names the source 'borrowed')"):
        store.build(tmp_path / "store", request_, tmp_path / "cache", lambda _line: None)


def test_two_fetches_at_once_are_refused(built: Path, tmp_path: Path, request_: store.Request) -> None:
    held = os.open(built, os.O_RDONLY)
    try:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(BusyError, match="another fetch"):
            store.build(built, request_, tmp_path / "cache", lambda _line: None)
    finally:
        os.close(held)


def test_a_spacy_that_does_not_fit_the_model_is_refused(tmp_path: Path, request_: store.Request) -> None:
    path = request_.lock_folder / Path(PROFILE.lock_path).name
    path.write_text(path.read_text().replace('version = "3.8.14"', 'version = "3.9.0"'))
    with pytest.raises(store.StoreError, match=r"cpu-py311-x86_64: .* needs spaCy 3\.8\.\*, but the lock has 3\.9\.0"):
        store.build(tmp_path / "store", request_, tmp_path / "cache", lambda _line: None)


def test_check_mode_names_the_new_files_and_writes_nothing(tmp_path: Path, request_: store.Request) -> None:
    done = store.build(tmp_path / "store", request_, tmp_path / "cache", lambda _line: None, check=True)
    assert "spacy/en_core_web_sm-3.8.0.tar.gz" in done.added
    assert not (tmp_path / "store").exists()
    assert not (tmp_path / "cache").exists()


def test_a_profile_without_a_lock_is_refused_with_those_that_have_one(tmp_path: Path, request_: store.Request) -> None:
    request_.profiles = [Profile("cpu", "3.12", "x86_64")]
    with pytest.raises(store.StoreError, match=r"cpu-py312-x86_64; there are locks for: cpu-py311-x86_64"):
        store.build(tmp_path / "store", request_, tmp_path / "cache", lambda _line: None)


def test_a_lock_with_a_malicious_release_is_refused(
    tmp_path: Path, request_: store.Request, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(refused.RELEASES, "xinference", refused.Refused(("1.2.3",), "it steals"))
    with pytest.raises(store.StoreError, match=r"cpu-py311-x86_64: xinference 1\.2\.3 is refused: it steals"):
        store.build(tmp_path / "store", request_, tmp_path / "cache", lambda _line: None)
    assert not (tmp_path / "store").exists()


def test_the_manifest_names_the_kinds_of_gpus_that_the_wheel_of_torch_names(
    tmp_path: Path, request_: store.Request
) -> None:
    wheels = tmp_path / "wheels"
    path = wheels / write_wheel(wheels, "torch", "2.9.0", "cp311-cp311-manylinux_2_28_x86_64").filename
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(torch_build.LIBRARY, b"\0sm_80 sm_90\0")
    data = path.read_bytes()
    row = locks.LockedPackage(
        "torch", "2.9.0", path.name, f"https://absent.invalid/{path.name}", sha256_bytes(data), len(data)
    )
    spacy = locks.read_lock(request_.lock_folder / Path(PROFILE.lock_path).name).packages[0]
    add_profile(request_, Profile("cuda", "3.11", "x86_64"), row, spacy)
    built = store.build(tmp_path / "store", request_, tmp_path / "cache", lambda _line: None)
    found = {artifact.name: artifact.compiled for artifact in built.manifest.of_kind("wheel")}
    assert found["torch"] == ("sm_80", "sm_90")
    assert found["spacy"] == ()
    rows = json.loads((tmp_path / "store" / FILENAME).read_text())["artifacts"]
    assert [row["name"] for row in rows if "compiled" in row] == ["torch"]


def add_profile(request_: store.Request, profile: Profile, *rows: locks.LockedPackage) -> None:
    text = locks.render_lock(locks.Lock(">=3.11", tuple(sorted(rows, key=lambda row: row.name))), profile)
    (request_.lock_folder / Path(profile.lock_path).name).write_text(text)
    request_.profiles = [*dict.fromkeys([*request_.profiles, profile])]


def test_several_profiles_share_what_they_have_in_common(tmp_path: Path, request_: store.Request) -> None:
    wheels = tmp_path / "wheels"
    common = [write_wheel(wheels, "spacy", "3.8.14"), write_wheel(wheels, "xinference", "1.2.3")]
    own = write_wheel(wheels, "numpy", "2.5.5", "cp312-cp312-manylinux_2_28_aarch64")
    add_profile(request_, OTHER, *common, own)
    built = store.build(tmp_path / "store", request_, tmp_path / "cache", lambda _line: None)
    assert store.verify(tmp_path / "store") == []
    rows = {artifact.name: artifact.profiles for artifact in built.manifest.of_kind("wheel")}
    assert rows["spacy"] == (PROFILE.name, OTHER.name)
    assert rows["numpy"] == (OTHER.name,)
    names = [artifact.name for artifact in built.manifest.for_release(PROFILE.name, [], [])]
    assert "numpy" not in names


def test_a_store_that_is_not_closed_gets_no_manifest_and_names_all_gaps(
    tmp_path: Path, request_: store.Request
) -> None:
    wheels = tmp_path / "wheels"
    spacy, xinference = write_wheel(wheels, "spacy", "3.8.14"), write_wheel(wheels, "xinference", "1.2.3")
    wrong = write_wheel(wheels, "numpy", "2.5.5", "cp312-cp312-manylinux_2_39_x86_64")
    add_profile(request_, PROFILE, spacy, xinference, wrong)
    needy = write_wheel(wheels, "kokoro", "1.2.3", "py3-none-any", "misaki>=1.2.3")
    add_profile(request_, OTHER, spacy, xinference, needy)
    with pytest.raises(store.StoreError, match="is not complete") as caught:
        store.build(tmp_path / "store", request_, tmp_path / "cache", lambda _line: None)
    message = str(caught.value)
    assert "cpu-py311-x86_64: numpy-2.5.5-cp312-cp312-manylinux_2_39_x86_64.whl cannot be installed" in message
    assert "cuda-py312-aarch64: the lock cannot be resolved from the store alone" in message
    assert "misaki" in message
    assert not (tmp_path / "store/manifest.json").exists()


def test_an_extra_spacy_model_needs_what_it_requires_in_the_lock(tmp_path: Path, request_: store.Request) -> None:
    (tmp_path / "spacy/en_core_web_trf-3.8.0.tar.gz").write_bytes(b"another")
    request_.spacy_models = ["en_core_web_trf"]
    with pytest.raises(store.StoreError, match="needs spacy-curated-transformers.*but the lock has none"):
        store.build(tmp_path / "store", request_, tmp_path / "cache", lambda _line: None)
    wheels = tmp_path / "wheels"
    rows = [("spacy", "3.8.14"), ("xinference", "1.2.3"), ("spacy-curated-transformers", "0.3.1")]
    add_profile(request_, PROFILE, *(write_wheel(wheels, name, version) for name, version in rows))
    store.build(tmp_path / "store", request_, tmp_path / "cache", lambda _line: None)
    assert (tmp_path / "store/spacy/en_core_web_trf-3.8.0.tar.gz").is_file()


def test_a_python_is_carried_only_for_the_profiles_of_its_version(tmp_path: Path, request_: store.Request) -> None:
    pythons = tmp_path / "pythons"
    pythons.mkdir()
    build = catalogue.PYTHONS["3.11", "x86_64"]
    (pythons / build.filename).write_bytes(b"archive")
    request_.pythons, request_.python_source = ["3.11"], pythons.as_uri()
    with pytest.raises(download.DownloadError, match=build.sha256):
        store.build(tmp_path / "store", request_, tmp_path / "cache", lambda _line: None)
    (pythons / store.SOURCE_MARKER).write_text(json.dumps({"source": "made-up"}))
    built = store.build(tmp_path / "store", request_, tmp_path / "cache", lambda _line: None)
    row = next(iter(built.manifest.of_kind("python")))
    assert (row.path, row.version) == (f"python/{build.filename}", build.full_version)
    assert (row.profiles, row.source) == ((PROFILE.name,), "made-up")
    assert store.verify(tmp_path / "store") == []
    request_.pythons = ["3.11", "3.12"]
    with pytest.raises(store.StoreError, match=r"names 3\.12, but no fetched profile uses it. Profiles use \"3\.11\""):
        store.build(tmp_path / "store", request_, tmp_path / "cache", lambda _line: None)


def test_only_a_store_that_is_asked_for_it_carries_the_engine_of_a_swarm(
    request_: store.Request, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store.platform, "machine", lambda: "x86_64")
    assert store._engine_items(request_) == []
    request_.swarm, request_.index = True, "https://mirror.example.com/simple"
    items = store._engine_items(request_)
    builds = [build for build in catalogue.ENGINES.values() if build.architecture == "x86_64"]
    assert [item.wanted.name for item in items] == [f"engine/{build.filename}" for build in builds]
    for item, build in zip(items, builds, strict=True):
        assert item.wanted.sha256 == build.sha256
        assert item.wanted.sources[0].startswith("index+https://mirror.example.com/simple/libtorrent/#")
        assert item.wanted.sources[-1] == build.address
        assert (item.artifact.kind, item.artifact.size) == ("engine", build.size)
    assert request_.parameters["swarm"] is True


def test_the_engine_is_carried_for_hosts_and_for_a_controller_like_this_machine(
    request_: store.Request, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store.platform, "machine", lambda: "aarch64")
    request_.swarm = True
    names = {item.artifact.path for item in store._engine_items(request_)}
    assert names == {f"engine/{build.filename}" for build in catalogue.ENGINES.values()}


def test_a_python_is_fetched_from_the_folder_of_its_date(request_: store.Request) -> None:
    request_.pythons = ["3.11"]
    (item,) = store._python_items(request_)
    build = catalogue.PYTHONS["3.11", "x86_64"]
    assert item.wanted.sha256 == build.sha256
    assert item.wanted.sources == (
        f"{catalogue.PYTHON_BUILDS}/{build.date}/{build.filename.replace('+', '%2B')}",
    )  # fmt: skip


class Index(http.server.ThreadingHTTPServer):
    """A package index over a folder of wheels. At the first request for ``fatal`` it kills the requesting process.

    It waits until that process has ``kept`` another file.
    """

    def __init__(self, folder: Path, fatal: str, kept: Path) -> None:
        super().__init__(("127.0.0.1", 0), IndexHandler)
        self.folder, self.fatal, self.kept = folder, fatal, kept
        self.victim = 0
        self.asked: Counter[str] = Counter()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/simple"


def until(what: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not what() and time.monotonic() < end:
        time.sleep(0.01)


class IndexHandler(http.server.BaseHTTPRequestHandler):
    server: Index

    def log_message(self, *_arguments: object) -> None:
        pass

    def do_GET(self) -> None:
        name = self.path.rsplit("/", 1)[-1]
        if self.path.startswith("/simple/"):
            files = "".join(f'<a href="/files/{file.name}">{file.name}</a>' for file in self.server.folder.iterdir())
            data = files.encode()
        else:
            self.server.asked[name] += 1
            data = (self.server.folder / name).read_bytes()
            if name == self.server.fatal and self.server.victim:
                # Send half a file first, so that the next fetch has something to resume.
                self.send_response(200)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data[: len(data) // 2])
                self.wfile.flush()
                until(self.server.kept.exists)
                os.kill(self.server.victim, signal.SIGKILL)
                self.server.victim = 0
                return
        start = int((self.headers.get("Range") or "bytes=0-")[6:-1])
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(data) - start))
        self.end_headers()
        self.wfile.write(data[start:])


def test_a_killed_fetch_continues_and_fetches_nothing_twice(
    tmp_path: Path, request_: store.Request, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    folder = request_.find_links[0]
    request_.find_links = []
    small, large = "spacy-3.8.14-py3-none-any.whl", "xinference-1.2.3-py3-none-any.whl"
    target, cache = tmp_path / "store", tmp_path / "cache"
    digest = hashlib.sha256((folder / small).read_bytes()).hexdigest()
    with Index(folder, fatal=large, kept=cache / "sha256" / digest[:2] / digest) as index:
        request_.index = index.address
        # Before any thread starts. The server accepts connections already, and answers them later.
        child = os.fork()
        if child == 0:
            store.build(target, request_, cache, lambda _line: None)
            os._exit(0)
        index.victim = child
        thread = threading.Thread(target=index.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        _pid, status = os.waitpid(child, 0)
        assert os.WIFSIGNALED(status)
        assert not (target / "manifest.json").exists()
        # Chunks are written as they arrive. The half that arrived before the kill may not be on the disk yet.
        store.build(target, request_, cache, lambda _line: None)
        index.shutdown()
        thread.join()
    assert store.verify(target) == []
    assert index.asked == {small: 1, large: 2}


def test_a_full_disk_is_reported_and_nothing_is_lost(
    tmp_path: Path, request_: store.Request, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = store._place

    def full(source: Path, target: Path) -> None:
        if target.name == "config.json":
            raise OSError(errno.ENOSPC, "No space left on device", str(target))
        place(source, target)

    monkeypatch.setattr(store, "_place", full)
    with pytest.raises(OSError, match="No space left"):
        store.build(tmp_path / "store", request_, tmp_path / "cache", lambda _line: None)
    assert not (tmp_path / "store/manifest.json").exists()
    monkeypatch.undo()
    store.build(tmp_path / "store", request_, tmp_path / "cache", lambda _line: None)
    assert store.verify(tmp_path / "store") == []


def test_a_build_that_hangs_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "BUILD_SECONDS", 0.2)
    uv, sdist = tmp_path / "uv", tmp_path / "a-1.tar.gz"
    uv.write_text("#!/bin/sh\nexec sleep 60\n")
    uv.chmod(0o755)
    sdist.write_bytes(b"")
    with pytest.raises(store.StoreError, match=r"a-1.tar.gz could not be built into a wheel within 0\.2 s"):
        store._build_wheel(sdist, sdist.name, tmp_path, str(uv))
