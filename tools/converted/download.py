# SPDX-License-Identifier: GPL-3.0-or-later
"""Download the pinned packages from PyPI and npm, or from the mirrors that this machine is configured for."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.store import download

PACKAGES = Path(__file__).resolve().parent / "packages.json"
PYPI = "https://pypi.org/simple"
NPM = "https://registry.npmjs.org"


@dataclass(frozen=True)
class Package:
    """One file of a registry, ``pypi`` or ``npm``. ``size`` is in bytes."""

    registry: str
    project: str
    version: str
    licence: str
    filename: str
    size: int
    sha256: str


def packages(part: str) -> list[Package]:
    """The packages that a part is made of. Raises KeyError on an unknown part."""
    return [Package(**row) for row in json.loads(PACKAGES.read_text(encoding="utf-8"))["parts"][part]]


def address(package: Package, environment: Mapping[str, str]) -> str:
    """Where a package lies, by the variables of uv, pip and npm."""
    if package.registry == "npm":
        registry = environment.get("npm_config_registry") or NPM
        return f"{registry.rstrip('/')}/{package.project}/-/{package.filename}"
    index = environment.get("UV_DEFAULT_INDEX") or environment.get("PIP_INDEX_URL") or PYPI
    return download.on_index(index, package.project, package.filename)


def fetch(part: str, folder: Path, environment: Mapping[str, str], say: Callable[[str], None]) -> dict[str, Path]:
    """The files of a part by project, in a cache below ``folder``. Raises DownloadError if a registry lacks one."""
    wanted = [
        download.Wanted(package.project, (address(package, environment),), package.sha256, package.size)
        for package in packages(part)
    ]
    cache = download.Cache(folder)
    found = download.obtain_all(wanted, cache, say)
    cache.memo.save()
    return {name: item.path for name, item in found.items()}
