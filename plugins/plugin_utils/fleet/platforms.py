# SPDX-License-Identifier: GPL-3.0-or-later
"""The supported platforms (``data/platforms.json``) and their differences.

The versions of glibc and Python are those that each platform ships. A host's real versions come from its facts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..store import datafile


@dataclass(frozen=True)
class Platform:
    """One platform: ``ids`` and ``version`` from os-release(5), its own glibc and Python, and whether SELinux is on.

    Only the given parts of ``version`` are compared: ``9`` matches 9.0 and 9.6.
    """

    title: str
    ids: tuple[str, ...]
    version: str
    glibc: tuple[int, int]
    python: str
    selinux: bool = False


PLATFORMS = datafile.rows(
    Platform, datafile.read(Path(__file__).resolve().parent / "data/platforms.json"), "platforms", "platforms.json"
)


def find(release: Mapping[str, Any]) -> Platform | None:
    """The platform of a host by its os-release (``id``, ``version_id``). None if it is not supported."""
    parts = str(release.get("version_id", "")).split(".")
    for platform in PLATFORMS:
        wanted = platform.version.split(".")
        if release.get("id") in platform.ids and parts[: len(wanted)] == wanted:
            return platform
    return None


def titles() -> str:
    return ", ".join(platform.title for platform in PLATFORMS)
