# SPDX-License-Identifier: GPL-3.0-or-later
"""The platforms that are supported, and all in which they differ. What a host does beyond that is the same everywhere.

Versions of glibc and Python are those that each platform ships as its own; what a host really has is asked of the host.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Platform:
    """One platform: ``ids`` and ``version`` as os-release(5) has them, its own glibc and Python, whether SELinux is on.

    ``version`` is compared up to its own length in parts: ``9`` is 9.0 and 9.6 alike.
    """

    title: str
    ids: tuple[str, ...]
    version: str
    glibc: tuple[int, int]
    python: str
    selinux: bool = False


_RHEL = ("rhel", "centos", "rocky", "almalinux", "ol")

PLATFORMS = (
    Platform("Debian 12", ("debian",), "12", (2, 36), "3.11"),
    Platform("Debian 13", ("debian",), "13", (2, 41), "3.13"),
    Platform("Ubuntu 22.04", ("ubuntu",), "22.04", (2, 35), "3.10"),
    Platform("Ubuntu 24.04", ("ubuntu",), "24.04", (2, 39), "3.12"),
    Platform("Ubuntu 26.04", ("ubuntu",), "26.04", (2, 43), "3.14"),
    Platform("RHEL 9 and its rebuilds", _RHEL, "9", (2, 34), "3.9", selinux=True),
    Platform("RHEL 10 and its rebuilds", _RHEL, "10", (2, 39), "3.12", selinux=True),
)


def find(release: Mapping[str, Any]) -> Platform | None:
    """The platform of a host by its os-release (``id``, ``version_id``), None where it is not supported."""
    parts = str(release.get("version_id", "")).split(".")
    for platform in PLATFORMS:
        wanted = platform.version.split(".")
        if release.get("id") in platform.ids and parts[: len(wanted)] == wanted:
            return platform
    return None


def titles() -> str:
    return ", ".join(platform.title for platform in PLATFORMS)
