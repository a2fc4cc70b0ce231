# SPDX-License-Identifier: GPL-3.0-or-later
"""Locks for other versions: what is refused before anything is written, and what a person is told."""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.voicefleet.kokoro.plugins.module_utils.release import patches
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.store import (
    download,
    locks,
    refused,
    registry,
    relock,
    repairs,
    resolver,
    torch_build,
)
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.store.profiles import Profile

CPU, CUDA = Profile("cpu", "3.11", "x86_64"), Profile("cuda", "3.11", "x86_64")
NOW = 1_795_000_000.0  # 2026-11-18T11:06:40Z
CUTOFF = "2026-11-11T11:06:40Z"
Resolve = Callable[[resolver.Resolver, Profile], locks.Lock]


def shipped(profile: Profile = CPU) -> locks.Lock:
    return locks.read_lock(resolver.SHIPPED / Path(profile.lock_path).name)


def with_package(lock: locks.Lock, name: str, **change: Any) -> locks.Lock:
    return replace(lock, packages=tuple(replace(p, **change) if p.name == name else p for p in lock.packages))


def offered(**changes: Any) -> dict[str, registry.Release]:
    row = {"filename": "xinference-9.8.7-py3-none-any.whl", "uploaded": "2026-10-01T00:00:00Z", "yanked": None}
    old = registry.File("xinference-9.8.6-py3-none-any.whl", "2026-09-01T00:00:00Z")
    return {"9.8.7": registry.Release((registry.File(**{**row, **changes}),)), "9.8.6": registry.Release((old,))}


@pytest.fixture(autouse=True)
def index(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    asked: list[tuple[str, str]] = []
    monkeypatch.setattr(registry, "releases", lambda at, name: (asked.append((at, name)), offered())[1])
    return asked


def offer(monkeypatch: pytest.MonkeyPatch, **changes: Any) -> None:
    monkeypatch.setattr(registry, "releases", lambda _at, _name: offered(**changes))


def wheel(folder: Path, files: dict[str, bytes]) -> locks.LockedPackage:
    """A wheel of xinference 9.8.7, as a lock has it."""
    path = folder / "xinference-9.8.7-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    data = path.read_bytes()
    digest = hashlib.sha256(data).hexdigest()
    return locks.LockedPackage("xinference", "9.8.7", path.name, path.as_uri(), digest, len(data))


def resolves(tmp_path: Path, **change: Any) -> Resolve:
    """A resolver that answers with the shipped locks, but another xinference."""
    row = wheel(tmp_path, {patches.CATALOGUE["start-local"].file: b"another version"})
    new = {name: getattr(row, name) for name in ("version", "filename", "location", "sha256", "size")}
    return lambda _how, profile: with_package(shipped(profile), "xinference", **{**new, **change})


def make(tmp_path: Path, resolve: Resolve | None = None, check: bool = False, **changes: Any) -> relock.Made:
    request = relock.Request(tmp_path / "locks", [CPU], {"xinference": "9.8.7"})
    cache = download.Cache(tmp_path / "cache")
    resolve = resolve or resolves(tmp_path)
    return relock.make(
        replace(request, **changes), "uv", cache, lambda _line: None, check, now=NOW, resolve=resolve
    )  # fmt: skip


def test_locks_are_written_with_a_record_and_a_second_run_changes_nothing(tmp_path: Path) -> None:
    made = make(tmp_path)
    assert (made.changed, made.until) == (True, CUTOFF)
    lock = locks.read_lock(tmp_path / "locks" / Path(CPU.lock_path).name)
    assert lock.version_of("xinference") == "9.8.7"
    record = json.loads((tmp_path / "locks" / relock.RECORD).read_text())
    assert record["uploaded_before"] == CUTOFF
    assert record["versions"] == {"xinference": "9.8.7"}
    (row,) = made.changes
    assert row == {
        "name": "xinference", "old": shipped().version_of("xinference"), "new": "9.8.7", "note": "",
        "profiles": [CPU.name],
    }  # fmt: skip
    assert not make(tmp_path).changed


def test_check_mode_writes_nothing(tmp_path: Path) -> None:
    assert make(tmp_path, check=True).changed
    assert not (tmp_path / "locks").exists()


def test_the_report_shows_the_differences_and_what_they_mean(tmp_path: Path) -> None:
    text = "\n".join(relock.report(make(tmp_path), Path("/srv/locks")))
    assert f"of files uploaded before {CUTOFF}" in text
    assert f"xinference  {shipped().version_of('xinference')}    9.8.7" in text
    assert "start-local" in text
    assert "set preflight_patches: [kokoro-words]" in text  # no other file of xinference is in the wheel
    assert "xinference_hearing_model must be none with these locks" in text
    assert "The reference phonemes hold" in text
    assert "No advisories were asked" in text


def test_an_older_xinference_needs_a_proof_of_wav_alone(tmp_path: Path) -> None:
    assert "synthesis_formats: [wav]" in " ".join(
        make(tmp_path, resolves(tmp_path, version="4.0.1"), versions={}).notes
    )
    assert "synthesis_formats" not in " ".join(make(tmp_path).notes)


def test_other_phonemes_and_spacy_models_are_reported(tmp_path: Path) -> None:
    def resolve(how: resolver.Resolver, profile: Profile) -> locks.Lock:
        lock = with_package(resolves(tmp_path)(how, profile), "espeakng-loader", version="9.9")
        return with_package(lock, "spacy", version="9.9.1")

    notes = " ".join(make(tmp_path, resolve).notes)
    assert "espeakng-loader 9.9 (made with " in notes
    assert "They are not made again" in notes
    assert "fetch.yml will refuse the spaCy model: en_core_web_sm" in notes


def test_what_the_resolver_is_told(tmp_path: Path, index: list[tuple[str, str]]) -> None:
    told: list[resolver.Resolver] = []

    def resolve(how: resolver.Resolver, profile: Profile) -> locks.Lock:
        told.append(how)
        return resolves(tmp_path)(how, profile)

    make(tmp_path, resolve, versions={"Xinference": "9.8.7"}, index="https://mirror.example.com/simple")
    assert (told[0].versions, told[0].until) == ({"xinference": "9.8.7"}, CUTOFF)
    assert told[0].index == index[0][0] == "https://mirror.example.com/simple"
    make(tmp_path, resolve, days=0)
    assert (told[1].until, told[1].index, index[1][0]) == ("", "", registry.PYPI)


@pytest.mark.parametrize(
    ("offer_", "changes", "said"),
    [
        (
            {},
            {"versions": {"xinference": "9.8.70"}},
            r"no version 9\.8\.70; the newest are 9\.8\.7, 9\.8\.6; did you m",
        ),
        ({"yanked": "leaks"}, {}, r"xinference 9\.8\.7 was withdrawn by its publisher \(yanked\): leaks"),
        ({"yanked": ""}, {}, r"\(yanked\)\. Choose another"),
        ({"uploaded": "2026-11-15T00:00:00Z"}, {}, r"uploaded at 2026-11-15T00:00:00Z, less than 7 days ago"),
        ({"filename": "xinference-9.8.7-cp312-cp312-win_amd64.whl"}, {}, r"no wheel for cpu-py311-x86_64: leave"),
        ({}, {"versions": {"xinference": "2.6.1"}}, r"xinference 2\.6\.1 is refused: in April 2026"),
        ({}, {"folder": resolver.SHIPPED}, "folder of the collection's own locks"),
    ],
)
def test_bad_input_is_refused_before_anything_is_resolved_or_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, offer_: dict[str, Any], changes: dict[str, Any], said: str
) -> None:
    offer(monkeypatch, **offer_)

    def resolve(_how: resolver.Resolver, _profile: Profile) -> locks.Lock:
        raise AssertionError("it must not be asked")

    before = sorted(path.name for path in resolver.SHIPPED.iterdir())
    with pytest.raises(relock.RelockError, match=said):
        make(tmp_path, resolve, **changes)
    assert not (tmp_path / "locks").exists()
    assert sorted(path.name for path in resolver.SHIPPED.iterdir()) == before


def test_files_of_any_age_are_taken_if_no_days_are_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    offer(monkeypatch, uploaded="2026-11-18T00:00:00Z")
    assert make(tmp_path, days=0).until == ""


def test_an_index_without_times_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    offer(monkeypatch, uploaded="")
    assert "its age was not checked" in " ".join(make(tmp_path).notes)


def test_all_reasons_are_reported_at_once(tmp_path: Path) -> None:
    with pytest.raises(relock.RelockError, match=r"(?s)no lock was made:.*torch has no version 1.*kokoro has no ver"):
        make(tmp_path, versions={"torch": "1", "kokoro": "1"})


def test_a_malicious_package_that_another_one_needs_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bad = refused.Refused((str(shipped().version_of("numpy")),), "it steals")
    monkeypatch.setitem(refused.RELEASES, "numpy", bad)
    with pytest.raises(relock.RelockError, match=r"numpy .* is refused: it steals"):
        make(tmp_path)
    assert not (tmp_path / "locks").exists()


def test_a_package_that_nothing_needs_is_refused(tmp_path: Path) -> None:
    with pytest.raises(relock.RelockError, match="no package needs transformrs; did you mean transformers"):
        make(tmp_path, versions={"xinference": "9.8.7", "transformrs": "9.8.6"})


def osv(path: Path, name: str, version: str) -> Path:
    affected = {"package": {"ecosystem": "PyPI", "name": "xinference"}, "versions": [version]}
    row = {"id": name, "modified": "2026-11-01T00:00:00Z", "summary": "steals", "affected": [affected]}
    path.write_text(json.dumps({"vulns": [row]}))
    return path


def test_advisories_refuse_malicious_packages_and_name_known_weaknesses(tmp_path: Path) -> None:
    with pytest.raises(relock.RelockError, match=r"xinference 9\.8\.7 \(MAL-2026-1\) is malicious"):
        make(tmp_path, advisories=osv(tmp_path / "mal.json", "MAL-2026-1", "9.8.7"))
    assert not (tmp_path / "locks").exists()
    notes = make(tmp_path, advisories=osv(tmp_path / "osv.json", "CVE-2026-1", "9.8.7")).notes
    assert any("CVE-2026-1" in note and "these locks" in note for note in notes)


def test_locks_of_other_profiles_in_the_folder_are_refused(tmp_path: Path) -> None:
    make(tmp_path)
    with pytest.raises(relock.RelockError, match=r"also has pylock\.cpu-py311-x86_64\.toml, which would keep other"):
        make(tmp_path, profiles=[CUDA])


def test_differences_that_profiles_share_are_one_row(tmp_path: Path) -> None:
    made = make(tmp_path, profiles=[CPU, CUDA])
    assert [row["profiles"] for row in made.changes] == [[CPU.name, CUDA.name]]


# --- the parts


def test_the_repairs_fit_the_file_that_they_were_made_for(tmp_path: Path) -> None:
    """A file that becomes another one than expected does not fit either."""
    patch = patches.CATALOGUE["misaki-openjtalk"]
    with zipfile.ZipFile(tmp_path / "a.whl", "w") as archive:
        archive.writestr(patch.file, "import pyopenjtalk\n")
    found = {each.patch.name: each for each in repairs.unfit(tmp_path / "a.whl", "misaki")}
    assert found["misaki-openjtalk"].found == hashlib.sha256(b"import pyopenjtalk\n").hexdigest()
    assert found["misaki-mojimoji"].sentence == "misaki-mojimoji: misaki has no file misaki/cutlet.py"
    meaning = repairs.meaning(found.values())
    assert any("Japanese cannot be deployed" in line for line in meaning)


def test_every_extra_that_needs_a_repair_is_explained() -> None:
    assert set(repairs.NEEDED) == {patch.extra for patch in patches.CATALOGUE.values() if patch.extra}


def test_the_kinds_of_gpus_are_read_from_the_wheel_of_torch(tmp_path: Path) -> None:
    def library(data: bytes) -> Path:
        with zipfile.ZipFile(tmp_path / "torch.whl", "w") as archive:
            archive.writestr(torch_build.LIBRARY, data)
        return tmp_path / "torch.whl"

    text = b"\x7fELF\0sm_75 sm_80 sm_90a compute_120\0other\0sm_1\0the sm_80 and\0"
    assert torch_build.compiled_in(library(text)) == ("sm_75", "sm_80", "sm_90a", "compute_120")
    assert torch_build.compiled_in(library(b"no kinds\0")) == ()
    assert torch_build.compiled_in(library(b"\0sm_80\0sm_90 sm_80\0\0sm_90\0")) == ()
    with zipfile.ZipFile(tmp_path / "none.whl", "w") as archive:
        archive.writestr("torch/version.py", b"")
    assert torch_build.compiled_in(tmp_path / "none.whl") == ()


def test_the_refused_releases_are_in_no_shipped_lock() -> None:
    for path in resolver.SHIPPED.glob("pylock.*.toml"):
        assert refused.reasons((p.name, p.version) for p in locks.read_lock(path).packages) == []
    assert refused.RELEASES["xinference"].versions == ("2.6.0", "2.6.1", "2.6.2")
