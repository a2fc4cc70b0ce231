# SPDX-License-Identifier: GPL-3.0-or-later
"""Releases that no lock may have: malicious ones. The data are ``data/refused.json``."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from . import datafile


@dataclass(frozen=True)
class Refused:
    """Versions of a package that must never be installed, and why."""

    versions: tuple[str, ...]
    reason: str


RELEASES = datafile.mapping(
    Refused, datafile.read(Path(__file__).resolve().parent / "data" / "refused.json"), "releases", "refused.json"
)


def reasons(packages: Iterable[tuple[str, str]]) -> list[str]:
    """One sentence for each refused release among names and versions."""
    return [
        f"{name} {version} is refused: {RELEASES[name].reason}"
        for name, version in packages
        if name in RELEASES and version in RELEASES[name].versions
    ]
