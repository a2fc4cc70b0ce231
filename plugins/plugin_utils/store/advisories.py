# SPDX-License-Identifier: GPL-3.0-or-later
"""Advisories in the format of OSV, and the components of a store or a release that they name.

A fetch reads an export of OSV (a zip of JSON files), an answer of its API (``{"vulns": [...]}``), a list of advisories
or one advisory. It keeps those about packages of the store as ``advisories.json``, a file of the store in the same
format. Which versions are affected is decided later, when ``contents.yml`` or the doctor reads that file.
"""

from __future__ import annotations

import re
import urllib.parse
import zipfile
import zlib
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...module_utils.host.hashing import LIMIT, canonical_json, read_bounded, sha256_bytes
from . import datafile, sbom
from .datafile import DataError
from .manifest import Artifact, Manifest

if TYPE_CHECKING:
    from packaging.version import Version

PATH = "advisories.json"
KIND = "advisories"

# Bounds of what is read. OSV's export for PyPI has some 30,000 files, each below 1 MB.
JSON_BYTES = 4 * LIMIT
ZIP_BYTES, UNPACKED_BYTES = 128 << 20, 1 << 30
MEMBERS = 500_000
ADVISORIES = 20_000  # that a store carries
ALIASES, AFFECTED, RANGES, EVENTS, VERSIONS = 100, 1000, 1000, 1000, 50_000  # of one advisory
TEXT = 200  # characters

_DATE = re.compile(r"\d{4}-\d\d-\d\dT")
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:+-]{0,99}")
_EVENTS = ("introduced", "fixed", "last_affected", "limit")
# Best first.
_SEVERITIES = ("", "LOW", "MODERATE", "MEDIUM", "HIGH", "CRITICAL")


class AdvisoryError(Exception):
    """Advisories that cannot be read, with the reason in one line."""


@dataclass(frozen=True)
class Affected:
    """A package (``key`` as of ``sbom.Package``), and its versions: named ones, and ranges of events."""

    key: str
    versions: tuple[str, ...]
    ranges: tuple[tuple[tuple[str, str], ...], ...]

    def as_row(self) -> dict[str, Any]:
        events = [{"type": "ECOSYSTEM", "events": [{kind: text} for kind, text in each]} for each in self.ranges]
        package = {"purl": self.key}
        if self.key.startswith("pkg:pypi/"):
            package |= {"ecosystem": "PyPI", "name": self.key.rpartition("/")[2]}
        return {"package": package, "versions": list(self.versions), "ranges": events}


@dataclass(frozen=True)
class Advisory:
    """One advisory, as far as it is needed here."""

    id: str
    modified: str
    aliases: tuple[str, ...]
    summary: str
    severity: str
    affected: tuple[Affected, ...]

    def as_row(self) -> dict[str, Any]:
        """The advisory in the format of OSV."""
        return {
            "id": self.id,
            "modified": self.modified,
            "aliases": list(self.aliases),
            "summary": self.summary,
            "database_specific": {"severity": self.severity},
            "affected": [each.as_row() for each in self.affected],
        }


@dataclass(frozen=True)
class Advisories:
    """The advisories that a store carries. ``until`` is the date of the newest one that the fetch read."""

    until: str
    rows: tuple[Advisory, ...]

    def to_bytes(self) -> bytes:
        """The file in a store. Raises AdvisoryError if it would be too large to read."""
        rows = sorted(self.rows, key=lambda advisory: advisory.id)
        data = canonical_json({"vulns": [advisory.as_row() for advisory in rows]})
        if len(data) > JSON_BYTES:
            raise AdvisoryError(f"the advisories about packages of this store have more than {JSON_BYTES} bytes")
        return data


@dataclass(frozen=True)
class Hit:
    """A component whose version an advisory names.

    ``id`` is its CVE, if it has one. ``ids`` are all its names. ``fixed`` is the next version that is not affected.
    ``sure`` is False if the versions cannot be compared.
    """

    id: str
    ids: tuple[str, ...]
    severity: str
    component: str
    version: str
    fixed: str
    summary: str
    sure: bool

    def __str__(self) -> str:
        notes = [self.id, self.severity, f"fixed in {self.fixed}" if self.fixed else ""]
        notes += [] if self.sure else ["its versions cannot be compared"]
        return f"{self.component} {self.version} ({', '.join(filter(None, notes))})"


# --- reading ---------------------------------------------------------------------------------------------------------


def _line(value: object) -> str:
    """A text as one line of limited length; "" if it is no text."""
    text = value if isinstance(value, str) else ""
    return "".join(sign if sign.isprintable() else " " for sign in text[: 2 * TEXT]).strip()[:TEXT]


def _list(row: dict[str, Any], name: str, most: int, where: str) -> list[Any]:
    values = row.get(name)
    if values is None:
        return []
    if not isinstance(values, list):
        raise AdvisoryError(f"{where}: {name} is not a list")
    if len(values) > most:
        raise AdvisoryError(f"{where}: {name} has {len(values)} entries; {most} are allowed")
    return values


def _texts(row: dict[str, Any], name: str, most: int, where: str) -> tuple[str, ...]:
    values = _list(row, name, most, where)
    if not all(isinstance(value, str) and value.isprintable() and len(value) <= TEXT for value in values):
        raise AdvisoryError(f"{where}: {name} holds something other than short texts")
    return tuple(values)


def _key(entry: Any) -> str:
    """The package of an entry of ``affected``, as ``sbom.Package`` names it; "" if it names none that we could know."""
    package = entry.get("package") if isinstance(entry, dict) else None
    if not isinstance(package, dict):
        return ""
    ecosystem, name, purl = (_line(package.get(field)) for field in ("ecosystem", "name", "purl"))
    if ecosystem == "PyPI":
        return f"pkg:pypi/{sbom.normalised(name)}"
    if not purl.startswith("pkg:"):
        return ""
    plain = urllib.parse.unquote(re.split("[?#]", purl, maxsplit=1)[0])
    kind, _slash, path = plain.removeprefix("pkg:").strip("/").partition("/")
    folder, slash, last = path.rpartition("/")
    last = last.partition("@")[0]
    return f"pkg:{kind}/{folder}{slash}{sbom.normalised(last) if kind == 'pypi' else last}"


def _affected(entry: dict[str, Any], key: str, where: str) -> Affected:
    ranges = []
    for each in _list(entry, "ranges", RANGES, where):
        if not isinstance(each, dict):
            raise AdvisoryError(f"{where}: a range is not an object")
        if each.get("type") == "GIT":  # it names commits, which packages do not
            continue
        events = []
        for event in _list(each, "events", EVENTS, where):
            if not isinstance(event, dict) or len(event) != 1:
                raise AdvisoryError(f"{where}: an event is not an object with one entry")
            ((kind, text),) = event.items()
            if kind not in _EVENTS or not isinstance(text, str) or len(text) > TEXT or not text.isprintable():
                raise AdvisoryError(f"{where}: an event is not one of {', '.join(_EVENTS)} with a version")
            events.append((kind, text))
        ranges.append(tuple(events))
    return Affected(key, _texts(entry, "versions", VERSIONS, where), tuple(ranges))


def parse(row: Any, where: str, keys: Collection[str] | None = None) -> Advisory:
    """One advisory, as far as it is about the packages ``keys``; None means all. Raises AdvisoryError."""
    if not isinstance(row, dict) or not isinstance(row.get("id"), str) or not _ID.fullmatch(row["id"]):
        raise AdvisoryError(f"{where}: an advisory without a plain id: is this a file of OSV?")
    where = f"{where}: {row['id']}"
    modified = _line(row.get("modified"))
    named = [(entry, _key(entry)) for entry in _list(row, "affected", AFFECTED, where)]
    about = [(entry, key) for entry, key in named if key and (keys is None or key in keys)]
    if not about or row.get("withdrawn"):
        return Advisory(row["id"], modified, (), "", "", ())
    specific = row.get("database_specific")
    severity = _line(specific.get("severity")).upper() if isinstance(specific, dict) else ""
    return Advisory(
        row["id"],
        modified,
        tuple(alias for alias in _texts(row, "aliases", ALIASES, where) if _ID.fullmatch(alias)),
        _line(row.get("summary")) or _line(row.get("details")),
        severity if severity in _SEVERITIES else "",
        tuple(_affected(entry, key, where) for entry, key in about),
    )


def _rows(data: bytes, where: str) -> Iterator[Any]:
    """The advisories in one JSON file. Raises AdvisoryError."""
    try:
        loaded = datafile.parse(data)
    except DataError as error:
        raise AdvisoryError(f"{where} is not JSON: {error}") from None
    if isinstance(loaded, dict) and "vulns" in loaded:
        loaded = loaded["vulns"]
    yield from loaded if isinstance(loaded, list) else [loaded]


def _unpacked(path: Path) -> Iterator[tuple[str, bytes]]:
    """The JSON files of a zip, with their names. Raises AdvisoryError."""
    left = UNPACKED_BYTES
    try:
        if path.stat().st_size > ZIP_BYTES:
            raise AdvisoryError(f"{path} has more than {ZIP_BYTES} bytes")
        with zipfile.ZipFile(path) as archive:
            members = [member for member in archive.infolist() if member.filename.endswith(".json")]
            if len(members) > MEMBERS:
                raise AdvisoryError(f"{path} holds {len(members)} files; {MEMBERS} are allowed")
            for member in members:
                if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                    raise AdvisoryError(f"{path}: {_line(member.filename)} is not packed with deflate, as OSV packs")
                with archive.open(member) as file:
                    data = file.read(min(left, LIMIT) + 1)
                left -= len(data)
                if left < 0 or len(data) > LIMIT:
                    raise AdvisoryError(f"{path}: {_line(member.filename)} makes it larger than allowed")
                yield f"{path.name}: {_line(member.filename)}", data
    except (zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, EOFError, ValueError) as error:
        raise AdvisoryError(f"{path} cannot be unpacked: {error}") from None


def _files(path: Path) -> Iterator[tuple[str, bytes]]:
    """The JSON files of a source. Raises AdvisoryError."""
    try:
        if path.is_file() and zipfile.is_zipfile(path):
            yield from _unpacked(path)
        else:
            yield path.name, read_bounded(str(path), JSON_BYTES)
    except OSError as error:
        raise AdvisoryError(f"the advisories {path} cannot be read: {error.strerror}") from None


def select(path: Path, artifacts: Iterable[Artifact]) -> tuple[Advisories, int]:
    """The advisories of a source about packages of a store, and how many the source has. Raises AdvisoryError."""
    keys = {sbom.package_of(artifact).key for artifact in artifacts}
    found: dict[str, Advisory] = {}
    until, count = "", 0
    for where, data in _files(path):
        for row in _rows(data, where):
            advisory = parse(row, where, keys)
            count += 1
            until = max(until, advisory.modified[:10] if _DATE.match(advisory.modified) else "")
            if advisory.affected:
                found[advisory.id] = advisory
            if len(found) > ADVISORIES:
                raise AdvisoryError(f"{path}: more than {ADVISORIES} advisories are about packages of this store")
    if not count:
        raise AdvisoryError(f"{path} holds no advisory: give a file of OSV")
    return Advisories(until, tuple(found.values())), count


def load(store: Path, manifest: Manifest) -> Advisories | None:
    """The advisories that a store carries; None if it carries none. Raises AdvisoryError."""
    listed = manifest.of_kind(KIND)
    if not listed:
        return None
    path = store / listed[0].path
    try:
        data = read_bounded(str(path), JSON_BYTES)
    except OSError as error:
        raise AdvisoryError(f"{path} cannot be read: {error.strerror}") from None
    if sha256_bytes(data) != listed[0].sha256:
        raise AdvisoryError(f"{path} is not the file that the manifest lists: run playbooks/fetch.yml again")
    rows = tuple(parse(row, path.name) for row in _rows(data, path.name))
    if len(rows) > ADVISORIES:
        raise AdvisoryError(f"{path} holds {len(rows)} advisories; {ADVISORIES} are allowed")
    return Advisories(listed[0].version, rows)


# --- matching --------------------------------------------------------------------------------------------------------


def _version(text: str) -> Version | None:
    """A version of PEP 440 without its local part (``+cpu``), which advisories do not name; None for others."""
    from packaging.version import InvalidVersion, Version

    try:
        return Version(Version(text).public) if len(text) <= 100 else None
    except (InvalidVersion, ValueError):
        return None


def _within(events: Sequence[tuple[str, str]], version: Version) -> bool | None:
    """Whether a version is in a range; None if a version of the range cannot be compared."""
    points = []
    for kind, text in events:
        if kind == "limit" and text == "*":
            continue
        point = _version("0.dev0" if (kind, text) == ("introduced", "0") else text)
        if point is None:
            return None
        points.append((point, kind != "introduced", kind))
    inside = False
    for point, _order, kind in sorted(points):
        if kind == "introduced":
            inside = inside or version >= point
        elif version > point or (version == point and kind != "last_affected"):
            inside = False
    return inside


def affects(entry: Affected, text: str) -> bool | None:
    """Whether an advisory names a version; None if that cannot be decided."""
    if text in entry.versions:
        return True
    version = _version(text)
    if version is None:
        return None if entry.ranges or not entry.versions else False
    if any(_version(named) == version for named in entry.versions):
        return True
    answers = {_within(events, version) for events in entry.ranges}
    if True in answers:
        return True
    # Without any version, the advisory is about all of them, or about commits.
    return None if None in answers or not (entry.ranges or entry.versions) else False


def _next_fixed(entry: Affected, text: str) -> str:
    version = _version(text)
    fixed = [(_version(at), at) for events in entry.ranges for kind, at in events if kind == "fixed"]
    later = [(point, at) for point, at in fixed if point is not None and version is not None and point > version]
    return min(later)[1] if later else ""


def _worse(one: Hit, other: Hit) -> Hit:
    """Two advisories about the same weakness of the same component as one hit."""
    first, second = sorted((one, other), key=lambda hit: (not hit.sure, -_SEVERITIES.index(hit.severity), hit.ids))
    return replace(
        first,
        ids=tuple(sorted({*first.ids, *second.ids})),
        severity=max(first.severity, second.severity, key=_SEVERITIES.index),
        fixed=first.fixed or second.fixed,
        summary=first.summary or second.summary,
    )


def match(advisories: Advisories, artifacts: Iterable[Artifact]) -> list[Hit]:
    """The components that advisories name, the worst first. What several databases say of a CVE is one hit."""
    components: dict[str, set[tuple[str, str]]] = {}
    for artifact in artifacts:
        package = sbom.package_of(artifact)
        if package.version:
            components.setdefault(package.key, set()).add((package.name, package.version))
    found: dict[tuple[str, str, str], Hit] = {}
    for advisory in advisories.rows:
        ids = tuple(sorted({advisory.id, *advisory.aliases}))
        main = next((name for name in ids if name.startswith("CVE-")), advisory.id)
        for entry in advisory.affected:
            for name, version in components.get(entry.key, ()):
                answer = affects(entry, version)
                if answer is False:
                    continue
                hit = Hit(
                    main, ids, advisory.severity, name, version, _next_fixed(entry, version), advisory.summary,
                    answer is True,
                )  # fmt: skip
                place = main, name, version
                found[place] = _worse(found[place], hit) if place in found else hit
    return sorted(
        found.values(), key=lambda hit: (-_SEVERITIES.index(hit.severity), hit.component, hit.version, hit.id)
    )


def sentence(until: str, hits: Sequence[Hit], what: str, most: int = 5) -> str:
    """What advisories say about a store or a release, in one sentence."""
    when = f"Advisories up to {until}" if until else "Advisories without a date"
    if not hits:
        return f"{when} name no component of {what}."
    named = list(dict.fromkeys(f"{hit.component} {hit.version}" for hit in hits))
    first = ", ".join(map(str, hits[:most]))
    more = f" and {len(hits) - most} more" if len(hits) > most else ""
    return f"{when} name {len(named)} component{'s' if len(named) > 1 else ''} of {what}: {first}{more}."
