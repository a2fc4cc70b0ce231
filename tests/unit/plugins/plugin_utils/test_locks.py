# SPDX-License-Identifier: GPL-3.0-or-later
"""Locks: one file for each package, chosen by the profile's tags; the committed ones are whole."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils import locks
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.profiles import Profile, parse_profile

PROFILE = Profile("cpu", "3.11", "x86_64")
COMMITTED = sorted((Path(__file__).parents[4] / "roles/artifact_store/files/locks").glob("pylock.*.toml"))


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


def test_the_sdist_is_kept_where_no_wheel_fits_and_nothing_is_an_error() -> None:
    other = entry("x-1.0-cp312-cp312-manylinux_2_28_x86_64.whl")
    lock = locks.parse_lock(text(package("x", other, sdist=entry("x-1.0.tar.gz"))), "t", PROFILE)
    assert not lock.packages[0].is_wheel
    with pytest.raises(locks.LockError, match="package x 1.0 has no file that suits"):
        locks.parse_lock(text(package("x", other)), "t", PROFILE)


def test_a_package_without_a_digest_is_refused() -> None:
    bad = '{ url = "https://host/x-1.0-py3-none-any.whl", hashes = { md5 = "0" } }'
    with pytest.raises(locks.LockError, match="no sha256"):
        locks.parse_lock(text(package("x", bad)), "t", PROFILE)


@pytest.mark.parametrize("broken", ["lock-version = ", 'lock-version = "9"', 'lock-version = "1.0"'])
def test_what_is_no_lock_is_refused(broken: str) -> None:
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


def test_differences_name_what_came_went_and_changed() -> None:
    before = locks.parse_lock(
        text(package("a", entry("a-1.0-py3-none-any.whl")), package("b", entry("b-1.0-py3-none-any.whl"))), "t"
    )
    after = locks.parse_lock(
        text(package("b", entry("b-1.0-py3-none-any.whl", "1")), package("c", entry("c-1.0-py3-none-any.whl"))), "t"
    )
    assert locks.differences(before, after) == ["- a 1.0", "~ b 1.0 -> 1.0 (another file)", "+ c 1.0"]
    assert locks.differences(after, after) == []


@pytest.mark.parametrize("path", COMMITTED, ids=lambda path: path.name)
def test_committed_locks_are_whole(path: Path) -> None:
    """Every package has a public address, a size, and a tag that the profile can install; none is a trap."""
    profile = parse_profile(path.name[7:-5])
    lock = locks.read_lock(path)
    assert path.read_text() == locks.render_lock(lock, profile), "not as bin/refresh-locks writes it"
    assert locks.read_lock(path, profile) == lock, "a wheel does not suit the profile"
    assert all(p.location.startswith("https://") and p.size > 0 for p in lock.packages)
    versions = {p.name: p.version for p in lock.packages}
    assert (versions["xinference"], versions["kokoro"], versions["misaki"]) == ("4.1.0", "0.9.4", "0.9.4")
    assert versions["spacy"].startswith("3.8.")
    assert "uv" in versions
    if profile.accelerator == "cpu":
        assert versions["torch"].endswith("+cpu")
        assert not {"torchvision", "timm"} & versions.keys()


def test_there_is_a_committed_lock() -> None:
    assert COMMITTED


@pytest.mark.parametrize(
    "name", ["cpu", "cpu-py313-x86_64", "tpu-py311-x86_64", "cpu-py311-riscv", "cpu-py311-x86_64 "]
)
def test_unknown_profiles_are_named_with_the_known_ones(name: str) -> None:
    with pytest.raises(ValueError, match="known ones are: .*cpu-py311-x86_64"):
        parse_profile(name)
