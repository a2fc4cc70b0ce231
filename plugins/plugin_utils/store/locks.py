# SPDX-License-Identifier: GPL-3.0-or-later
"""Locks: PEP 751 ``pylock.*.toml`` files with exactly one file for each package.

uv resolves the packages. A lock keeps only the wheel that the profile's hosts will install, or the sdist if there is
no wheel. So a lock is also the list of the files to carry.

A package that only some languages need belongs to an extra of the lock, as PEP 751 defines it. It has a marker such as
``'japanese' in extras``, and uv installs it when given ``--extra japanese``.
"""

from __future__ import annotations

import re
import tomllib
import urllib.parse
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ...module_utils.host.hashing import read_bounded
from .manifest import DIGEST
from .profiles import Profile, best_tag

# Names, versions and file names become parts of paths.
_PLAIN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9.+!_-]{0,199}\Z")
_IN_EXTRAS = re.compile(r"'([a-z-]+)' in extras")


class LockError(Exception):
    """A lock that cannot be used, with the reason."""


@dataclass(frozen=True)
class LockedPackage:
    """One package of a lock, and its one file.

    ``location`` is a URL in a committed lock, and a path relative to the lock in a store. ``size`` is in bytes, 0 if
    the index did not state it. ``extras`` names the extras it belongs to; it is empty if every release needs it.
    """

    name: str
    version: str
    filename: str
    location: str
    sha256: str
    size: int
    extras: tuple[str, ...] = ()

    @property
    def is_wheel(self) -> bool:
        return self.filename.endswith(".whl")


@dataclass(frozen=True)
class Lock:
    """The packages of one profile, sorted by name."""

    requires_python: str
    packages: tuple[LockedPackage, ...]

    def version_of(self, name: str) -> str | None:
        """The locked version of a package; None if it is not locked."""
        return next((package.version for package in self.packages if package.name == name), None)

    @property
    def extras(self) -> tuple[str, ...]:
        """All extras of its packages, sorted."""
        return tuple(sorted({extra for package in self.packages for extra in package.extras}))

    def with_extras(self, extras: Iterable[str]) -> Lock:
        """The lock without packages that only other extras need. Raises LockError on an unknown extra."""
        wanted = set(extras)
        if wanted - set(self.extras):
            raise LockError(f"the lock has no packages for {', '.join(sorted(wanted - set(self.extras)))}")
        kept = (replace(p, extras=tuple(sorted(wanted & set(p.extras)))) for p in self.packages
                if not p.extras or wanted & set(p.extras))  # fmt: skip
        return replace(self, packages=tuple(kept))


def _filename(entry: dict[str, Any]) -> str:
    location = str(entry.get("url") or entry.get("path") or "")
    return str(entry.get("name") or urllib.parse.unquote(location.rsplit("/", 1)[-1]))


def _extras(package: dict[str, Any], source: str) -> tuple[str, ...]:
    """The extras named by a package's marker. Raises LockError if the marker says anything else about extras.

    Other markers come from uv and describe platforms. They always hold, because uv resolved for the profile's platform.
    """
    marker = str(package.get("marker", ""))
    found = tuple(_IN_EXTRAS.findall(marker))
    if "extras" in marker and marker != _marker(found):
        raise LockError(f"{source}: package {package['name']} has the marker {marker!r}: create the lock again")
    return found


def _marker(extras: Iterable[str]) -> str:
    return " or ".join(f"'{extra}' in extras" for extra in extras)


def _locked(package: dict[str, Any], entry: dict[str, Any], source: str) -> LockedPackage:
    digest = str(entry.get("hashes", {}).get("sha256", ""))
    location = str(entry.get("url") or entry.get("path") or "")
    filename, size = _filename(entry), entry.get("size", 0)
    if not DIGEST.match(digest) or not location:
        raise LockError(f"{source}: package {package['name']} has no sha256 or no address: create the lock again")
    name, version = package["name"], package["version"]
    if not all(isinstance(text, str) and _PLAIN.match(text) for text in (name, version, filename)):
        raise LockError(f"{source}: package {name!r:.200} {version!r:.200} has an odd name, version or file name")
    if size.__class__ is not int or size < 0:
        raise LockError(f"{source}: package {name} has the size {size!r:.200}")
    return LockedPackage(name, version, filename, location, digest, size, _extras(package, source))


def wheel_tags(filename: str) -> list[str]:
    """The tags in a wheel's name, such as ``cp311-cp311-manylinux_2_28_x86_64``. Raises LockError."""
    from packaging.utils import InvalidWheelFilename, parse_wheel_filename

    try:
        return [str(tag) for tag in parse_wheel_filename(filename)[3]]
    except InvalidWheelFilename as error:
        raise LockError(str(error)) from error


def parse_lock(text: str, source: str, profile: Profile | None = None) -> Lock:
    """Parse a lock. With a profile, choose each package's best wheel. Without one, each package must have one file.

    Raises LockError.
    """
    try:
        data = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise LockError(f"{source} is not valid TOML: {error}") from error
    return lock_of(data, source, profile)


def lock_of(data: Any, source: str, profile: Profile | None = None) -> Lock:
    """The lock of some TOML. Raises LockError."""
    try:
        return _lock_of(data, source, profile)
    except (KeyError, TypeError, AttributeError, ValueError, IndexError) as error:
        raise LockError(f"{source} is not a lock ({type(error).__name__}: {error!s:.200}): create it again") from error


def _lock_of(data: dict[str, Any], source: str, profile: Profile | None) -> Lock:
    if data.get("lock-version") != "1.0":
        raise LockError(f"{source}: lock-version {data.get('lock-version')!r} is not 1.0")
    packages = []
    for package in data.get("packages", []):
        wheels = package.get("wheels", [])
        if profile is not None:
            ranked = [(best_tag(wheel_tags(_filename(wheel)), profile), wheel) for wheel in wheels]
            fitting = sorted(((rank, _filename(w), w) for rank, w in ranked if rank is not None), key=lambda i: i[:2])
            wheels = [fitting[0][2]] if fitting else []
        files = wheels or ([package["sdist"]] if "sdist" in package else [])
        if len(files) != 1:
            reason = "no file that fits the profile" if not files else "more than one file"
            raise LockError(f"{source}: package {package.get('name')} {package.get('version')} has {reason}")
        packages.append(_locked(package, files[0], source))
    if not packages:
        raise LockError(f"{source} contains no packages")
    packages.sort(key=lambda package: package.name)
    return Lock(str(data.get("requires-python", "")), tuple(packages))


def read_lock(path: Path, profile: Profile | None = None) -> Lock:
    """Read a lock file. Raises LockError, OSError."""
    try:
        return parse_lock(read_bounded(str(path)).decode(), str(path), profile)
    except UnicodeDecodeError as error:
        raise LockError(f"{path} is not text: {error}") from error


def _quote(value: str) -> str:
    if any(character in value for character in '"\\\n'):
        raise LockError(f"a lock cannot contain {value!r}")
    return f'"{value}"'


def render_lock(lock: Lock, profile: Profile) -> str:
    """The lock as TOML. The same lock always gives the same bytes."""
    lines = [
        f"# The Python packages of profile {profile.name}: one file each, pinned by its sha256.",
        'lock-version = "1.0"',
        'created-by = "voicefleet.kokoro"',
        f"requires-python = {_quote(lock.requires_python)}",
    ]
    if lock.extras:
        lines.append(f"extras = [{', '.join(_quote(extra) for extra in lock.extras)}]")
    for package in lock.packages:
        address = "url" if "://" in package.location else "path"
        size = f"size = {package.size}, " if package.size else ""
        entry = (
            f"{{ name = {_quote(package.filename)}, {address} = {_quote(package.location)}, {size}"
            f"hashes = {{ sha256 = {_quote(package.sha256)} }} }}"
        )
        key = f"wheels = [{entry}]" if package.is_wheel else f"sdist = {entry}"
        lines += ["", "[[packages]]", f"name = {_quote(package.name)}", f"version = {_quote(package.version)}"]
        lines += [f"marker = {_quote(_marker(package.extras))}"] if package.extras else []
        lines.append(key)
    return "\n".join(lines) + "\n"


def relocated(package: LockedPackage, filename: str, sha256: str, size: int) -> LockedPackage:
    """The same package as a store's lock lists it: a wheel next to the locks folder."""
    return replace(package, filename=filename, location=f"../wheels/{filename}", sha256=sha256, size=size)
