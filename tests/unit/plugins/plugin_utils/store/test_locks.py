# SPDX-License-Identifier: GPL-3.0-or-later
"""Locks: one file for each package, chosen by the profile's tags. The committed locks are complete."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.store import locks
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.store.profiles import (
    Profile,
    known_profiles,
    parse_profile,
)

PROFILE = Profile("cpu", "3.11", "x86_64")
FOLDER = Path(__file__).parents[5] / "roles/artifact_store/files/locks"
COMMITTED = sorted(FOLDER.glob("pylock.*.toml"))
PINNED = dict(re.findall(r"^([\w-]+)(?:\[\w+\])?==(\S+)$", (FOLDER / "requirements.in").read_text(), re.MULTILINE))


def entry(name: str, digest: str = "0") -> str:
    return f'{{ url = "https://host/{name}", size = 7, hashes = {{ sha256 = "{digest * 64}" }} }}'


def text(*packages: str) -> str:
    return "\n".join(['lock-version = "1.0"', 'requires-python = ">=3.11"', *packages])


def package(name: str, *wheels: str, sdist: str = "") -> str:
    lines = ["[[packages]]", f'name = "{name}"', 'version = "1.0"']
    if wheels:
        lines.append(f"wheels = [{', '.join(wheels)}]")
    if sdist:
        lines.append(f"sdist = {sdist}")
    return "\n".join(lines)


def test_the_best_wheel_of_the_profile_is_kept() -> None:
    wheels = [
        "x-1.0-py3-none-any.whl",
        "x-1.0-cp311-cp311-manylinux_2_17_x86_64.whl",
        "x-1.0-cp311-cp311-manylinux_2_28_x86_64.whl",
        "x-1.0-cp311-cp311-manylinux_2_39_x86_64.whl",
        "x-1.0-cp312-cp312-manylinux_2_28_x86_64.whl",
        "x-1.0-cp311-cp311-musllinux_1_2_x86_64.whl",
    ]
    lock = locks.parse_lock(text(package("x", *map(entry, wheels), sdist=entry("x-1.0.tar.gz"))), "t", PROFILE)
    assert [p.filename for p in lock.packages] == ["x-1.0-cp311-cp311-manylinux_2_28_x86_64.whl"]


def test_the_sdist_is_kept_if_no_wheel_fits_and_neither_is_an_error() -> None:
    other = entry("x-1.0-cp312-cp312-manylinux_2_28_x86_64.whl")
    lock = locks.parse_lock(text(package("x", other, sdist=entry("x-1.0.tar.gz"))), "t", PROFILE)
    assert not lock.packages[0].is_wheel
    with pytest.raises(locks.LockError, match="package x 1.0 has no file that fits"):
        locks.parse_lock(text(package("x", other)), "t", PROFILE)


def test_a_package_without_a_digest_is_refused() -> None:
    bad = '{ url = "https://host/x-1.0-py3-none-any.whl", hashes = { md5 = "0" } }'
    with pytest.raises(locks.LockError, match="no sha256"):
        locks.parse_lock(text(package("x", bad)), "t", PROFILE)


@pytest.mark.parametrize("broken", ["lock-version = ", 'lock-version = "9"', 'lock-version = "1.0"'])
def test_another_file_than_a_lock_is_refused(broken: str) -> None:
    with pytest.raises(locks.LockError):
        locks.parse_lock(broken, "t")


def test_rendering_gives_the_same_lock_and_the_same_bytes() -> None:
    lock = locks.parse_lock(
        text(package("b", entry("b-1.0-py3-none-any.whl")), package("a", sdist=entry("a-1.0.tar.gz"))), "t"
    )
    rendered = locks.render_lock(lock, PROFILE)
    assert locks.parse_lock(rendered, "t") == lock
    assert locks.render_lock(locks.parse_lock(rendered, "t"), PROFILE) == rendered
    assert [p.name for p in lock.packages] == ["a", "b"]


@pytest.mark.parametrize("path", COMMITTED, ids=lambda path: path.name)
def test_committed_locks_are_whole(path: Path) -> None:
    """Every package has a public address, a size, and a tag that the profile can install."""
    profile = parse_profile(path.name[7:-5])
    lock = locks.read_lock(path)
    assert path.read_text() == locks.render_lock(lock, profile), "not as bin/refresh writes it"
    assert locks.read_lock(path, profile) == lock, "a wheel does not suit the profile"
    assert all(p.location.startswith("https://") for p in lock.packages)
    # PyTorch's index states no sizes; all others do.
    assert [p.name for p in lock.packages if not p.size] in ([], ["torch"])
    versions = {p.name: p.version for p in lock.packages}
    assert {"xinference", "kokoro", "misaki", "torch"} <= PINNED.keys()
    assert {name: versions[name].split("+")[0] for name in PINNED} == PINNED
    assert versions["spacy"].startswith("3.8.")
    assert "uv" in versions
    if profile.accelerator == "cpu":
        assert versions["torch"].endswith("+cpu")
        assert not {"torchvision", "timm", "triton"} & versions.keys()
        assert not {name for name in versions if name.startswith(("nvidia-c", "cuda-"))}
    else:
        # Without a local version: the registry's CUDA build, and the torchvision that was built for it.
        major, minor, patch = versions["torch"].split(".")
        assert (major, versions["torchvision"]) == ("2", f"0.{int(minor) + 15}.{patch}")
        assert {"timm", "triton", "nvidia-cudnn-cu13"} <= versions.keys()


def test_every_profile_has_a_committed_lock_and_no_lock_is_left_over() -> None:
    assert [path.name for path in COMMITTED] == sorted(Path(p.lock_path).name for p in known_profiles())


@pytest.mark.parametrize("path", [p for p in COMMITTED if ".cpu-" in p.name], ids=lambda path: path.name)
def test_the_cpu_builds_are_the_pinned_ones(path: Path) -> None:
    profile = parse_profile(path.name[7:-5])
    pinned = locks.read_lock(FOLDER / "torch.cpu.toml", profile).packages[0]
    locked = next(p for p in locks.read_lock(path).packages if p.name == "torch")
    assert locked == pinned


def test_a_profile_without_a_pinned_cpu_build_is_reported() -> None:
    with pytest.raises(locks.LockError, match=r"torch 2\.13\.0\+cpu has no file that fits"):
        locks.read_lock(FOLDER / "torch.cpu.toml", Profile("cpu", "3.10", "x86_64"))


def test_a_size_that_is_not_known_is_left_out() -> None:
    row = locks.LockedPackage("torch", "1", "torch-1-py3-none-any.whl", "https://host/t", "0" * 64, 0)
    text = locks.render_lock(locks.Lock("", (row,)), PROFILE)
    assert "size" not in text
    assert locks.parse_lock(text, "t").packages == (row,)


def test_a_profile_without_a_lock_names_an_alternative() -> None:
    with pytest.raises(ValueError, match="left out: .*cpu-py311-x86_64.*artifact_store_pythons"):
        parse_profile("cpu-py310-x86_64")
    with pytest.raises(ValueError, match="cpu-py310-x86_64 is left out"):
        parse_profile("cpu-py39-x86_64")


@pytest.mark.parametrize(
    "name", ["cpu", "cpu-py313-x86_64", "tpu-py311-x86_64", "cpu-py311-riscv", "cpu-py311-x86_64 "]
)
def test_an_unknown_profile_is_refused_with_the_known_ones(name: str) -> None:
    with pytest.raises(ValueError, match="known ones are: .*cpu-py311-x86_64"):
        parse_profile(name)
