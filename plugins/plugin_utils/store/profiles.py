# SPDX-License-Identifier: GPL-3.0-or-later
"""Profiles: which builds of the Python packages fit which hosts.

A profile's name has the form ``<accelerator>-py<version>-<architecture>``, for example ``cpu-py311-x86_64``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

# Kokoro and misaki refuse Python 3.13 (their metadata says >=3.10,<3.13).
PYTHONS = ("3.10", "3.11", "3.12")
ACCELERATORS = ("cpu", "cuda")
ARCHITECTURES = ("x86_64", "aarch64")
# Profiles that cannot be locked, and what their hosts use instead.
UNLOCKED = {
    "cpu-py310-x86_64": "the digest of its CPU build of torch is not known. Choose cpu-py311-x86_64. For hosts without "
    'Python 3.11, set artifact_store_pythons: ["3.11"]'
}
# Packages that a profile leaves out although others require them. Xinference requires timm, which requires torchvision.
# Kokoro needs neither, and not every version has a CPU build. A CUDA torchvision beside a CPU torch breaks transformers
# on import ("operator torchvision::nms does not exist"). The recogniser requires sounddevice only for microphones, and
# sounddevice needs a system library.
LEFT_OUT: dict[str, tuple[str, ...]] = {"cpu": ("torchvision", "timm", "sounddevice"), "cuda": ("sounddevice",)}
# spaCy, soundfile and torch have wheels for glibc 2.28; espeakng-loader needs 2.29 in spite of its tag.
WHEEL_GLIBC = (2, 28)
HOST_GLIBC = (2, 29)

_NAME = re.compile(r"(?P<accelerator>[a-z]+)-py(?P<major>3)(?P<minor>\d+)-(?P<architecture>\w+)\Z")


@dataclass(frozen=True)
class Profile:
    """One target of a lock: an accelerator, a Python feature version and a processor architecture."""

    accelerator: str
    python: str
    architecture: str

    @property
    def name(self) -> str:
        return f"{self.accelerator}-py{self.python.replace('.', '')}-{self.architecture}"

    @property
    def lock_path(self) -> str:
        """Where the lock of this profile lies in a store."""
        return f"locks/pylock.{self.name}.toml"

    @property
    def left_out(self) -> tuple[str, ...]:
        """Packages that the environment leaves out."""
        return LEFT_OUT[self.accelerator]

    @property
    def uv_platform(self) -> str:
        """uv's name for the oldest platform of this profile."""
        return f"{self.architecture}-manylinux_{WHEEL_GLIBC[0]}_{WHEEL_GLIBC[1]}"

    def tags(self) -> list[str]:
        """Wheel tags that the profile's hosts can install, best first."""
        from packaging.tags import compatible_tags, cpython_tags

        platforms = [f"manylinux_2_{minor}_{self.architecture}" for minor in range(WHEEL_GLIBC[1], 4, -1)]
        position = {
            "x86_64": {17: "manylinux2014", 12: "manylinux2010", 5: "manylinux1"},
            "aarch64": {17: "manylinux2014"},
        }
        for minor, legacy in position.get(self.architecture, {}).items():
            platforms.insert(
                platforms.index(f"manylinux_2_{minor}_{self.architecture}") + 1, f"{legacy}_{self.architecture}"
            )
        platforms.append(f"linux_{self.architecture}")
        major, minor_version = (int(part) for part in self.python.split("."))
        version = (major, minor_version)
        interpreter = f"cp{major}{minor_version}"
        tags = [*cpython_tags(version, platforms=platforms), *compatible_tags(version, interpreter, platforms)]
        return [str(tag) for tag in tags]


def known_profiles() -> list[Profile]:
    """Every profile that has a lock, by accelerator, architecture and Python."""
    every = (Profile(a, p, m) for a in ACCELERATORS for m in ARCHITECTURES for p in PYTHONS)
    return [profile for profile in every if profile.name not in UNLOCKED]


def parse_profile(name: str) -> Profile:
    """Parse a profile's name. Raises ValueError with the known names."""
    match = _NAME.match(name)
    if match is not None:
        profile = Profile(match["accelerator"], f"{match['major']}.{match['minor']}", match["architecture"])
        if profile in known_profiles():
            return profile
    if name in UNLOCKED:
        raise ValueError(f"profile {name} is left out: {UNLOCKED[name]}")
    choices = ", ".join(profile.name for profile in known_profiles())
    left_out = "; ".join(f"{other} is left out: {reason}" for other, reason in UNLOCKED.items())
    raise ValueError(f"unknown profile {name!r}; known ones are: {choices} ({left_out})")


def overrides(names: Iterable[str]) -> str:
    """An overrides file that makes uv leave packages out, whichever package requires them."""
    return "".join(f"{name} ; sys_platform == 'never'\n" for name in names)


def best_tag(candidates: Iterable[str], profile: Profile) -> int | None:
    """The rank (0 is best) of a wheel's best tag for a profile; None if no tag fits."""
    ranks = {tag: rank for rank, tag in enumerate(profile.tags())}
    fitting = [ranks[tag] for tag in candidates if tag in ranks]
    return min(fitting) if fitting else None
