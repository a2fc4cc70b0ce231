# SPDX-License-Identifier: GPL-3.0-or-later
"""Make locks for other versions of the packages, and say what they change. For ``playbooks/lock.yml``.

Everything is checked and resolved before the first file is written. A lock has only files that were uploaded some days
ago: malicious releases are usually found and removed within days. Releases of Xinference have been malicious before
(``data/refused.json``).
"""

from __future__ import annotations

import difflib
import time
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...module_utils.host.hashing import canonical_json, write_atomic
from ...module_utils.proof import phoneme_references
from ...module_utils.release import patch_data
from . import advisories, catalogue, download, locks, refused, registry, repairs, resolver
from .manifest import TIME, Artifact
from .profiles import Profile, best_tag

RECORD = "locks.json"
# The first Xinference that streams Kokoro, as it does for all formats but WAV and FLAC.
STREAMS = "4.1"


class RelockError(Exception):
    """Locks that cannot be made, with every reason known. Nothing was written."""


@dataclass(frozen=True)
class Request:
    """What to lock. ``versions`` are other versions than the shipped locks have, by package.

    ``days`` is how old a file must be. ``advisories`` is a file of OSV.
    """

    folder: Path
    profiles: Sequence[Profile]
    versions: Mapping[str, str]
    days: int = 7
    index: str = ""
    advisories: Path | None = None


@dataclass
class Made:
    """The result: whether a lock changed, and what a person must know about it."""

    changed: bool = False
    until: str = ""
    locks: dict[str, locks.Lock] = field(default_factory=dict)
    changes: list[dict[str, Any]] = field(default_factory=list)
    unfit: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def make(
    request: Request,
    uv: str,
    cache: download.Cache,
    say: Callable[[str], None],
    check: bool = False,
    before_download: Callable[[], None] = lambda: None,
    now: float | None = None,
    resolve: Callable[[resolver.Resolver, Profile], locks.Lock] = resolver.Resolver.lock_of,
) -> Made:
    """Lock all profiles. Write nothing if ``check`` is set.

    Raises RelockError, LockError, RegistryError, DownloadError, AdvisoryError, OSError.
    """
    now = time.time() if now is None else now
    versions = {resolver.canonical(name): version for name, version in request.versions.items()}
    made = Made(until=time.strftime(TIME, time.gmtime(now - request.days * 86400)) if request.days else "")
    _check_folder(request)
    _refuse(refused.reasons(versions.items()))
    before_download()
    index = request.index or registry.PYPI
    _refuse([line for name, version in versions.items() for line in _unusable(index, name, version, request, made)])
    how = resolver.Resolver(uv, versions, made.until, request.index, say, prefer_shipped=True)
    for profile in request.profiles:
        say(f"resolving {profile.name}; on a slow line this takes minutes")
        made.locks[profile.name] = resolve(how, profile)
    _refuse(_surprises(made.locks, versions))
    made.notes += _advised(made.locks, request.advisories)
    made.changes = _changes(made.locks)
    made.unfit, meaning = _repairs(made.locks, cache, say)
    made.notes += [*meaning, *_formats(made.locks), *_spacy(made.locks), *_phonemes(made.locks)]
    made.changed = _write(request, made, versions, check)
    return made


def _refuse(reasons: Sequence[str]) -> None:
    if reasons:
        raise RelockError("\n  ".join(["no lock was made:", *reasons]) if len(reasons) > 1 else reasons[0])


def _check_folder(request: Request) -> None:
    """Locks of one folder belong together. Raises RelockError."""
    if request.folder.resolve() == resolver.SHIPPED.resolve():
        raise RelockError(
            "artifact_store_locks is the folder of the collection's own locks: set it to a folder of yours, such as "
            "/srv/locks, for lock.yml and fetch.yml"
        )
    wanted = {Path(profile.lock_path).name for profile in request.profiles}
    others = sorted({path.name for path in request.folder.glob("pylock.*.toml")} - wanted)
    if others:
        raise RelockError(
            f"{request.folder} also has {', '.join(others)}, which would keep other versions: name these profiles in "
            "artifact_store_profiles too, or choose an empty folder"
        )


def _unusable(index: str, name: str, version: str, request: Request, made: Made) -> Iterator[str]:
    """Why an index does not offer a version of a package for the profiles."""
    found = registry.releases(index, name)
    release = found.get(version) or next((r for v, r in found.items() if _same(v, version)), None)
    if release is None:
        near = difflib.get_close_matches(version, found, n=1, cutoff=0.7)
        newest = ", ".join(sorted(found, key=_order, reverse=True)[:5])
        hint = f"; did you mean {near[0]}?" if near else ""
        yield f"{name} has no version {version}; the newest are {newest or 'none'}{hint}"
        return
    if release.yanked is not None:
        reason = f": {release.yanked!s:.200}" if release.yanked else ""
        yield f"{name} {version} was withdrawn by its publisher (yanked){reason}. Choose another version"
    elif made.until and not release.uploaded:
        made.notes.append(f"The index does not say when {name} {version} was uploaded, so its age was not checked.")
    elif made.until and release.uploaded > made.until:
        yield (
            f"{name} {version} was uploaded at {release.uploaded[:19]}Z, less than {request.days} days ago. Malicious "
            "releases are usually found and removed within days. Wait, or lower artifact_store_lock_days"
        )
    wheels = [file.filename for file in release.files if file.filename.endswith(".whl") and file.yanked is None]
    for profile in request.profiles if wheels else ():
        if not any(best_tag(locks.wheel_tags(wheel), profile) is not None for wheel in wheels):
            yield f"{name} {version} has no wheel for {profile.name}: leave this profile out, or choose another version"


def _same(one: str, other: str) -> bool:
    """Whether two texts mean the same version, such as 4.0 and 4.0.0."""
    from packaging.version import InvalidVersion, Version

    try:
        return Version(one) == Version(other)
    except InvalidVersion:
        return False


def _order(version: str) -> Any:
    from packaging.version import InvalidVersion, Version

    try:
        return Version(version)
    except InvalidVersion:
        return Version("0")


def _surprises(made: Mapping[str, locks.Lock], versions: Mapping[str, str]) -> list[str]:
    """Malicious packages, and requested ones that are not in the locks."""
    every = sorted({(package.name, package.version) for lock in made.values() for package in lock.packages})
    found = refused.reasons(every)
    for name, version in versions.items():
        if not any(have == name and _same(locked.split("+")[0], version) for have, locked in every):
            near = difflib.get_close_matches(name, {have for have, _locked in every}, n=1)
            found.append(f"no package needs {name}" + (f"; did you mean {near[0]}?" if near else ""))
    return found


def _rows(made: Mapping[str, locks.Lock]) -> list[Artifact]:
    """The packages of all locks as a store would list them."""
    packages = {p.filename: p for lock in made.values() for p in lock.packages}
    return [Artifact(f"wheels/{p.filename}", p.sha256, p.size, "wheel", p.name, p.version) for p in packages.values()]


def _advised(made: Mapping[str, locks.Lock], file: Path | None) -> list[str]:
    """What advisories say. Raises RelockError if one names a malicious package, AdvisoryError."""
    if file is None:
        return [
            "No advisories were asked. A file of OSV (artifact_store_advisories) names malicious packages and known "
            "weaknesses."
        ]
    rows = _rows(made)
    known = advisories.select(file, rows)[0]
    hits = advisories.match(known, rows)
    _refuse([f"{hit} is malicious" for hit in hits if _is_malicious(hit)])
    return [advisories.sentence(known.until, hits, "these locks")]


def _is_malicious(hit: advisories.Hit) -> bool:
    """OSV's ids of malicious packages begin with MAL-."""
    return any(each.startswith("MAL-") for each in hit.ids)


def _changes(made: Mapping[str, locks.Lock]) -> list[dict[str, Any]]:
    """The differences to the shipped locks. Profiles with the same difference share a row."""
    rows: dict[resolver.Change, list[str]] = {}
    for profile, lock in made.items():
        shipped = resolver.SHIPPED / f"pylock.{profile}.toml"
        for change in resolver.differences(locks.read_lock(shipped) if shipped.exists() else None, lock):
            rows.setdefault(change, []).append(profile)
    return [{**vars(change), "profiles": names} for change, names in sorted(rows.items(), key=lambda r: r[0].name)]


def _repairs(
    made: Mapping[str, locks.Lock], cache: download.Cache, say: Callable[[str], None]
) -> tuple[list[str], list[str]]:
    """The repairs that do not fit these packages, and what that means. Downloads wheels that a fetch needs too."""
    wheels = {
        package.filename: package
        for lock in made.values()
        for package in lock.packages
        if package.sha256 != patch_data.WHEELS.get(package.name, package.sha256)
    }
    wanted = [download.Wanted(p.filename, (p.location,), p.sha256, p.size) for p in wheels.values()]
    found = download.obtain_all(wanted, cache, say) if wanted else {}
    try:
        bad = [each for name, got in found.items() for each in repairs.unfit(got.path, wheels[name].name)]
    except zipfile.BadZipFile as error:
        raise RelockError(f"a wheel cannot be read: {error}") from error
    return [each.patch.name for each in bad], repairs.meaning(bad)


def _formats(made: Mapping[str, locks.Lock]) -> list[str]:
    """The formats that a proof can ask for."""
    if all(_order(lock.version_of("xinference") or "") >= _order(STREAMS) for lock in made.values()):
        return []
    return [
        f"Before {STREAMS}, Xinference speaks Kokoro as WAV and FLAC alone, and its clients must ask for one of these. "
        "While you deploy these locks, or roll back to them, set synthesis_formats: [wav]."
    ]


def _spacy(made: Mapping[str, locks.Lock]) -> list[str]:
    """The spaCy models of the catalogue that do not fit."""
    found = {
        catalogue.spacy_mismatch(m, k.version_of("spacy"))
        for k in made.values()
        for m in catalogue.SPACY_MODELS.values()
    }
    return [f"fetch.yml will refuse the spaCy model: {reason}." for reason in sorted(filter(None, found))]


def _phonemes(made: Mapping[str, locks.Lock]) -> list[str]:
    """The packages that made the reference phonemes, in other versions."""
    other = sorted(
        {
            f"{name} {lock.version_of(name) or 'none'} (made with {version})"
            for lock in made.values()
            for name, version in phoneme_references.MADE_WITH.items()
            if lock.version_of(name) != version
        }
    )
    if not other:
        return ["The reference phonemes hold: all packages that made them have the same version."]
    return [
        f"The reference phonemes were made with other versions: {', '.join(other)}. They are not made again. If the "
        "new versions read a text differently, the proof does not reach the level phonemes."
    ]


def record(request: Request, made: Made, versions: Mapping[str, str]) -> bytes:
    """The record beside the locks: what was asked, and what was found."""
    return canonical_json(
        {
            "uploaded_before": made.until,
            "versions": dict(versions),
            "profiles": sorted(made.locks),
            "index": download.without_credentials(request.index or registry.PYPI),
            "changes": made.changes,
            "unfit_repairs": made.unfit,
            "notes": made.notes,
        }
    )


def _write(request: Request, made: Made, versions: Mapping[str, str], check: bool) -> bool:
    """Write the locks that changed, and then the record. Return whether one changed."""
    known = {profile.name: profile for profile in request.profiles}
    changed = {}
    for name, lock in made.locks.items():
        path = request.folder / Path(known[name].lock_path).name
        data = locks.render_lock(lock, known[name]).encode()
        if not path.is_file() or path.read_bytes() != data:
            changed[path] = data
    if changed and not check:
        request.folder.mkdir(parents=True, exist_ok=True)
        for path, data in changed.items():
            write_atomic(str(path), data, 0o644)
        write_atomic(str(request.folder / RECORD), record(request, made, versions), 0o644)
    return bool(changed)


def report(made: Made, folder: Path) -> list[str]:
    """The result as lines for a terminal."""
    count = {name: len(lock.packages) for name, lock in made.locks.items()}
    age = f", of files uploaded before {made.until}" if made.until else ""
    lines = [f"{folder}: locks for {', '.join(f'{n} ({c} packages)' for n, c in count.items())}{age}.", ""]
    lines += list(_table(made)) or ["These are the packages of the shipped locks."]
    if made.unfit:
        lines += ["", f"Repairs that do not fit: {', '.join(made.unfit)}."]
    return [*lines, "", *made.notes]


def _table(made: Made) -> Iterable[str]:
    """The changes as a table. Empty if there are none."""
    rows = [("package", "shipped", "new", "")] if made.changes else []
    for change in made.changes:
        where = "" if len(change["profiles"]) == len(made.locks) else ", ".join(change["profiles"])
        rows.append(
            (
                change["name"],
                change["old"] or "-",
                change["new"] or "-",
                ", ".join(filter(None, (change["note"], where))),
            )
        )
    widths = [max(len(row[at]) for row in rows) if rows else 0 for at in range(3)]
    for row in rows:
        yield "  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[3]]).rstrip()
