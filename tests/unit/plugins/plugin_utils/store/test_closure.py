# SPDX-License-Identifier: GPL-3.0-or-later
"""Closure: every gap of a store is named, all at once."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest
from ansible_collections.voicefleet.kokoro.plugins.module_utils.host.hashing import sha256_file
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.store import closure, locks, store
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.store.manifest import Artifact, Manifest
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.store.profiles import Profile

CPU = Profile("cpu", "3.11", "x86_64")
CUDA = Profile("cuda", "3.12", "aarch64")


class Shop:
    """An unfinished store."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows: dict[str, Artifact] = {}
        self.uv = store.find_uv(None, (), path)
        for kind, name, file in (
            ("kokoro-config", "config", "config.json"),
            ("kokoro-weights", "weights", "kokoro-v1_0.pth"),
            ("kokoro-voice", "af_heart", "voices/af_heart.pt"),
        ):
            self.add(f"kokoro/Kokoro-82M/{file}", kind, name, "1")
        self.add("spacy/en_core_web_sm-3.8.0.tar.gz", "spacy-model", "en_core_web_sm", "3.8.0")

    def add(self, path: str, kind: str, name: str, version: str, profiles: tuple[str, ...] = ()) -> None:
        file = self.path / path
        file.parent.mkdir(parents=True, exist_ok=True)
        if not file.exists():
            file.write_text(path)
        former = self.rows[path].profiles if path in self.rows else ()
        self.rows[path] = Artifact(
            path, sha256_file(str(file)), file.stat().st_size, kind, name, version, profiles=(*former, *profiles)
        )

    def wheel(self, name: str, version: str, *needs: str, tag: str = "py3-none-any") -> locks.LockedPackage:
        """A wheel with its needs, in the store's folder; a lock must still name it."""
        filename = f"{name.replace('-', '_')}-{version}-{tag}.whl"
        file = self.path / "wheels" / filename
        file.parent.mkdir(exist_ok=True)
        lines = ["Metadata-Version: 2.4", f"Name: {name}", f"Version: {version}"]
        with zipfile.ZipFile(file, "w") as archive:
            metadata = "\n".join([*lines, *(f"Requires-Dist: {need}" for need in needs)])
            archive.writestr(f"{name}-{version}.dist-info/METADATA", metadata + "\n")
        return locks.LockedPackage(
            name, version, filename, f"../wheels/{filename}", sha256_file(str(file)), file.stat().st_size
        )

    def lock(self, profile: Profile, *packages: locks.LockedPackage) -> None:
        text = locks.render_lock(locks.Lock("", tuple(sorted(packages, key=lambda p: p.name))), profile)
        (self.path / "locks").mkdir(exist_ok=True)
        (self.path / profile.lock_path).write_text(text)
        self.add(profile.lock_path, "lock", profile.name, "1", (profile.name,))
        for package in packages:
            if package.is_wheel:
                self.add(f"wheels/{package.filename}", "wheel", package.name, package.version, (profile.name,))

    def manifest(self) -> Manifest:
        locked = tuple(row.name for row in self.rows.values() if row.kind == "lock")
        return Manifest(tuple(self.rows.values()), locked)

    def gaps(
        self, languages: list[str] | None = None, voices: tuple[str, ...] = (), extra: tuple[str, ...] = ()
    ) -> str:
        return "\n".join(map(str, closure.find_gaps(self.path, self.manifest(), self.uv, languages, voices, extra)))


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path)


def test_a_closed_store_has_no_gap_for_any_of_its_profiles(shop: Shop) -> None:
    spacy = shop.wheel("spacy", "3.8.14", "numpy>=2 ; python_version >= '3.11'", "tensorrt ; sys_platform == 'win32'")
    numpy = shop.wheel("numpy", "2.4.6", tag="cp311-cp311-manylinux_2_28_x86_64")
    other = shop.wheel("numpy", "2.5.5", tag="cp312-cp312-manylinux_2_27_aarch64.manylinux_2_28_aarch64")
    shop.lock(CPU, spacy, numpy)
    shop.lock(CUDA, spacy, other)
    assert shop.gaps(["a"], ("af_heart",)) == ""


def test_a_package_that_a_profile_leaves_out_is_a_gap_only_for_other_profiles(shop: Shop) -> None:
    spacy = shop.wheel("spacy", "3.8.14", "timm")
    shop.lock(CPU, spacy)
    assert shop.gaps() == ""
    shop.lock(CUDA, spacy)
    text = shop.gaps()
    assert text.startswith("cuda-py312-aarch64: the lock cannot be resolved from the store alone")
    assert "timm" in text


def test_a_wheel_of_another_profile_does_not_hide_a_gap(shop: Shop) -> None:
    spacy, misaki = shop.wheel("spacy", "3.8.14", "misaki"), shop.wheel("misaki", "1.2.3")
    shop.lock(CPU, spacy)
    shop.lock(CUDA, spacy, misaki)
    assert shop.gaps() == "cpu-py311-x86_64: misaki 1.2.3 is needed but not locked"


def test_a_version_conflict_is_reported_with_uvs_message(shop: Shop) -> None:
    shop.lock(CPU, shop.wheel("spacy", "3.8.14", "numpy>=3"), shop.wheel("numpy", "2.4.6"))
    assert "numpy" in shop.gaps()
    assert "cannot be resolved" in shop.gaps()


def test_all_gaps_are_reported_at_once(shop: Shop) -> None:
    spacy = shop.wheel("spacy", "3.8.14")
    gone = shop.wheel("gone", "1")
    sdist = locks.LockedPackage("docopt", "1", "docopt-1.tar.gz", "../wheels/docopt-1.tar.gz", "0" * 64, 1)
    shop.lock(CPU, spacy, gone, sdist, shop.wheel("new", "1", tag="cp311-cp311-manylinux_2_39_x86_64"))
    shop.lock(CUDA, spacy, shop.wheel("old", "1", tag="cp311-cp311-manylinux_2_28_aarch64"))
    (shop.path / "wheels" / gone.filename).unlink()
    del shop.rows["kokoro/Kokoro-82M/config.json"]
    (shop.path / "spacy/en_core_web_sm-3.8.0.tar.gz").unlink()
    told = shop.gaps(["a", "e"], ("af_heart", "ef_dora"), ("en_core_web_trf",))
    for line in (
        "cpu-py311-x86_64: docopt-1.tar.gz is not a wheel",
        "cpu-py311-x86_64: wheels/gone-1-py3-none-any.whl is not in the store",
        "cpu-py311-x86_64: new-1-cp311-cp311-manylinux_2_39_x86_64.whl cannot be installed on Python 3.11, glibc 2.28",
        "cuda-py312-aarch64: old-1-cp311-cp311-manylinux_2_28_aarch64.whl cannot be installed on Python 3.12",
        "models: kokoro/Kokoro-82M/config.json is not in the store",
        "a: spacy/en_core_web_sm-3.8.0.tar.gz is not in the store: American English does not start without it",
        "models: spacy/en_core_web_trf-3.8.0.tar.gz is not in the store",
        "e: kokoro/Kokoro-82M/voices/ef_dora.pt is not in the store",
    ):
        assert line in told
    assert len(told.splitlines()) == 8


def test_a_lock_that_differs_from_the_manifest_is_reported(shop: Shop) -> None:
    spacy = shop.wheel("spacy", "3.8.14")
    shop.lock(CPU, spacy)
    shop.rows[f"wheels/{spacy.filename}"] = Artifact(
        f"wheels/{spacy.filename}", "f" * 64, 1, "wheel", "spacy", "3.8.14"
    )
    assert "is locked, but the manifest does not list it for this profile" in shop.gaps()
    (shop.path / CPU.lock_path).unlink()
    assert "the lock cannot be read" in shop.gaps()


def test_a_model_that_does_not_fit_the_locked_spacy_is_reported(shop: Shop) -> None:
    shop.add("spacy/en_core_web_trf-3.8.0.tar.gz", "spacy-model", "en_core_web_trf", "3.8.0")
    shop.lock(CPU, shop.wheel("spacy", "3.9.1"), shop.wheel("spacy-curated-transformers", "2.0"))
    told = shop.gaps()
    assert "cpu-py311-x86_64: en_core_web_sm 3.8.0 needs spaCy 3.8.*, but the lock has 3.9.1" in told
    assert "needs spacy-curated-transformers<1.0.0,>=0.2.2, but the lock has 2.0" in told


def test_without_languages_those_of_the_voices_count(shop: Shop) -> None:
    shop.lock(CPU, shop.wheel("spacy", "3.8.14"))
    del shop.rows["spacy/en_core_web_sm-3.8.0.tar.gz"]
    assert shop.gaps().startswith("a: spacy/en_core_web_sm-3.8.0.tar.gz")
    assert shop.gaps([]) == "", "a store of wheels alone needs no model"


def test_the_callers_environment_does_not_hide_a_gap(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    (shop.path / "elsewhere").mkdir()
    elsewhere = Shop(shop.path / "elsewhere")
    elsewhere.wheel("misaki", "1.2.3")
    monkeypatch.setenv("UV_FIND_LINKS", str(elsewhere.path / "wheels"))
    shop.lock(CPU, shop.wheel("spacy", "3.8.14", "misaki"))
    assert "misaki" in shop.gaps()
