# SPDX-License-Identifier: GPL-3.0-or-later
"""The manifest of a store: the complete list of its files, and the root of trust for what reaches a host.

The manifest is sorted. It has a counter and a time, which a fetch raises only if the contents changed. So a store that
did not change keeps its manifest, byte for byte, and a store that went back to older contents is noticed.
"""

from __future__ import annotations

import hashlib
import re
import time
import unicodedata
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Annotated

from ...module_utils.host.hashing import canonical_json, read_bounded
from ...module_utils.host.sources import PUBLISHED, SOURCES
from ...module_utils.release.patches import Patch
from . import datafile
from .datafile import Count, DataError, Sha256

SCHEMA = 2
FILENAME = "manifest.json"
KINDS = (
    "wheel", "lock", "spacy-model", "dictionary", "kokoro-config", "kokoro-weights", "kokoro-voice", "hearing-model",
    "python", "engine", "sbom", "advisories",
)  # fmt: skip

# Files that a store or an export has beside the listed ones. A signature has the name of its file and `.sig`.
INDEX, PROVENANCE = "export.json", "provenance.json"
RESERVED = frozenset(f"{name}{end}" for name in (FILENAME, INDEX, PROVENANCE) for end in ("", ".sig"))
# Files that a store may hold next to its manifest, without being listed in it.
BESIDE = (f"{FILENAME}.sig", PROVENANCE, f"{PROVENANCE}.sig")

DIGEST = re.compile(r"[0-9a-f]{64}\Z")
TIME = "%Y-%m-%dT%H:%M:%SZ"


class ManifestError(Exception):
    """A manifest that cannot be used, with the reason."""


def is_inside(path: str) -> bool:
    """Whether a path is relative, in its shortest form, and stays inside its folder."""
    pure = PurePosixPath(path)
    odd = "\\" in path or "\0" in path or pure.is_absolute() or ".." in pure.parts
    return bool(pure.parts) and not odd and str(pure) == path


def _folded(path: str) -> str:
    """The same for all names that some file systems do not tell apart."""
    return unicodedata.normalize("NFKC", path).casefold()


def _is_listed(path: str) -> bool:
    """Whether a manifest may list a path. Names that begin with a dot belong to writes that are not finished."""
    return (
        is_inside(path)
        and path.isprintable()
        and _folded(path) not in RESERVED
        and all(len(part.encode()) <= 200 and not part.startswith(".") for part in path.split("/"))
    )


def _is_time(text: str) -> bool:
    try:
        return time.strftime(TIME, time.strptime(text, TIME)) == text
    except ValueError:
        return False


ListedPath = Annotated[str, _is_listed, "a plain path inside the store"]
InsidePath = Annotated[str, is_inside, "a plain path inside its folder"]
# Parts of file names on the hosts are made from these.
_Word = Annotated[str, re.compile(r"[A-Za-z0-9][A-Za-z0-9.+!_-]{0,199}\Z").match, "a plain name"]
_Version = Annotated[str, re.compile(r"([A-Za-z0-9][A-Za-z0-9.+!_-]{0,99})?\Z").match, "a version"]
_Line = Annotated[str, lambda text: text.isprintable() and len(text) <= 2000, "one line of text"]


@dataclass(frozen=True)
class Artifact:
    """One file of a store: ``path`` relative to the store, ``size`` in bytes. Empty ``profiles`` means all profiles.

    ``address`` is where the file was fetched from. ``source`` is one of ``sources.SOURCES``: published files have the
    digests of the catalogue and the locks.
    ``tags`` are a wheel's platform tags, such as ``cp311-cp311-manylinux_2_28_x86_64``. A release needs the file if it
    has one of ``extras``, or if ``extras`` is empty. For a lock, ``extras`` lists all extras that it knows.
    ``compiled`` are the kinds of GPUs that a torch has code for, such as ``sm_90``.
    """

    path: ListedPath
    sha256: Sha256
    size: Count
    kind: Annotated[str, KINDS.__contains__, "a kind that this version of the collection knows"]
    name: _Word
    version: _Version
    address: _Line = ""
    licence: _Line = ""
    source: Annotated[str, SOURCES.__contains__, f"one of {', '.join(SOURCES)}"] = PUBLISHED
    profiles: tuple[_Word, ...] = ()
    tags: tuple[_Word, ...] = ()
    extras: tuple[_Word, ...] = ()
    compiled: tuple[_Word, ...] = ()


@dataclass(frozen=True)
class Manifest:
    """All artifacts of a store, sorted by path, and its profiles.

    ``counter`` counts the changes of one store. ``time`` is when the last one was made, in UTC.
    """

    artifacts: tuple[Artifact, ...]
    profiles: tuple[_Word, ...] = ()
    counter: Annotated[int, lambda number: 0 < number < 1 << 53, "a number of 1 or more"] = 1
    time: Annotated[str, _is_time, "a time such as 2026-01-31T12:00:00Z"] = "1970-01-01T00:00:00Z"

    @property
    def age(self) -> tuple[str, int]:
        """Of two manifests, the one with the lower age is older. The counter decides if a clock stood still."""
        return self.time, self.counter

    def after(self, former: Manifest | None, now: float) -> Manifest:
        """This manifest as the successor of ``former``, or ``former`` itself if the contents are the same."""
        stamp = time.strftime(TIME, time.gmtime(now))
        if former is None:
            return replace(self, counter=1, time=stamp)
        if replace(self, counter=former.counter, time=former.time).to_bytes() == former.to_bytes():
            return former
        return replace(self, counter=former.counter + 1, time=max(former.time, stamp))

    def to_bytes(self) -> bytes:
        """The manifest file's bytes."""
        rows = []
        for artifact in sorted(self.artifacts, key=lambda a: a.path):
            row = asdict(artifact)
            row["profiles"] = sorted(artifact.profiles)
            for name in ("extras", "compiled"):
                if not row[name]:
                    del row[name]
            rows.append(row)
        head = {"schema": SCHEMA, "counter": self.counter, "time": self.time}
        return canonical_json({**head, "profiles": sorted(self.profiles), "artifacts": rows})

    @property
    def unpublished(self) -> dict[str, str]:
        """The paths of all files that are not the published ones, each with its source."""
        return unpublished(self.artifacts)

    def of_kind(self, *kinds: str) -> list[Artifact]:
        return [artifact for artifact in self.artifacts if artifact.kind in kinds]

    def for_release(
        self,
        profile: str,
        spacy_models: Iterable[str],
        voices: Iterable[str],
        python: str | None = None,
        extras: Iterable[str] = (),
    ) -> list[Artifact]:
        """The files of one release: the profile's wheels and lock, the spaCy models, Kokoro and the voices.

        ``python`` is the digest of the store's Python for the release; None if the host has its own. ``extras`` are
        those of the release's languages.
        """
        names, chosen, own = set(spacy_models), set(voices), set(extras)
        wanted = []
        for artifact in self.artifacts:
            if artifact.kind in ("engine", "sbom", "advisories"):
                continue
            if artifact.kind == "python" and artifact.sha256 != python:
                continue
            if artifact.profiles and profile not in artifact.profiles:
                continue
            if artifact.kind != "lock" and artifact.extras and not own & set(artifact.extras):
                continue
            if artifact.kind == "spacy-model" and artifact.name not in names:
                continue
            if artifact.kind == "kokoro-voice" and artifact.name not in chosen:
                continue
            wanted.append(artifact)
        return wanted


def unpublished(artifacts: Iterable[Artifact]) -> dict[str, str]:
    """The paths of those that are not the published files, each with its source."""
    return {artifact.path: artifact.source for artifact in artifacts if artifact.source != PUBLISHED}


def parse_manifest(data: bytes, source: str) -> Manifest:
    """Parse a manifest. Raises ManifestError on anything else."""
    try:
        loaded = datafile.parse(data)
    except DataError as error:
        raise ManifestError(f"{source} is not JSON ({error}): the store is damaged. Fetch it again") from error
    schema = loaded.pop("schema", None) if isinstance(loaded, dict) else None
    if schema != SCHEMA:
        raise ManifestError(f"{source} has schema {schema!r:.99}; this version of the collection reads schema {SCHEMA}")
    if not isinstance(loaded.get("artifacts"), list):
        raise ManifestError(f"{source} lists no artifacts: it is not the manifest of a store")
    if not loaded.keys() >= {"counter", "time"}:
        raise ManifestError(
            f"{source} has no counter and no time: an earlier version of the collection made it. Run "
            "playbooks/fetch.yml again on the connected machine, with this version, and carry the store again"
        )
    try:
        manifest = datafile.row(Manifest, loaded, "manifest")
    except DataError as error:
        raise ManifestError(f"{source}: {error}: the store is damaged or was altered. Fetch it again") from error
    _check_names([artifact.path for artifact in manifest.artifacts], source)
    return manifest


def _check_names(paths: list[str], source: str) -> None:
    """Refuse paths that not every file system can hold at the same time. Raises ManifestError."""
    places: dict[str, str] = {}
    for path in paths:
        twin = places.get(_folded(path))
        if twin is not None:
            differ = "" if twin == path else f", which differs from {twin} only in case or form of characters"
            raise ManifestError(f"{source} lists these paths more than once: {path}{differ}")
        places[_folded(path)] = path
    for path in paths:
        for folder in PurePosixPath(_folded(path)).parents:
            if str(folder) in places:
                raise ManifestError(f"{source} lists {places[str(folder)]} as a file and as a folder")


def manifest_bytes(store: Path) -> bytes:
    """The bytes of a store's manifest. Raises ManifestError."""
    path = store / FILENAME
    if not store.is_dir():
        raise ManifestError(
            f"there is no store at {store}: build one with playbooks/fetch.yml on a connected machine, "
            "or set artifact_store_path to the folder that you carried here"
        )
    try:
        return read_bounded(str(path))
    except FileNotFoundError as error:
        raise ManifestError(
            f"{store} has no {FILENAME}: it is not a complete store. Run playbooks/fetch.yml again (it resumes where "
            "it stopped), or copy the whole folder again"
        ) from error
    except OSError as error:
        raise ManifestError(f"{path} cannot be read: {error.strerror}") from error


def read_manifest(store: Path) -> tuple[Manifest, str]:
    """The manifest of a store and its own SHA-256. Raises ManifestError."""
    data = manifest_bytes(store)
    return parse_manifest(data, str(store / FILENAME)), hashlib.sha256(data).hexdigest()


def read_verified(store: Path, *verified: str) -> tuple[Manifest, str]:
    """The manifest of a store and its SHA-256, if that is each of ``verified``. Raises ManifestError."""
    manifest, digest = read_manifest(store)
    for wanted in verified:
        if not wanted:
            raise ManifestError(
                f"the store {store} was not verified in this run. Run the role artifact_store with tasks_from: verify "
                "before this task, as deploy.yml does"
            )
        if digest != wanted:
            raise ManifestError(
                f"the store {store} is not the one that was verified in this run. Its manifest has sha256 "
                f"{digest[:12]}, but {wanted[:12]} was verified. Either somebody changed the store, or this host has "
                "another one. Run the playbook again"
            )
    return manifest, digest


def release_id(artifacts: Iterable[Artifact], xinference_version: str, patches: Iterable[Patch] = ()) -> str:
    """The id of a release. The same contents give the same id. ``patches`` are repairs of its files."""
    rows = sorted(
        [
            *(f"{artifact.sha256}  {artifact.path}" for artifact in artifacts),
            *(f"{digest}  {path}" for patch in patches for path, digest in patch.digests().items()),
        ]
    )
    return f"{xinference_version}-{hashlib.sha256(chr(10).join(rows).encode()).hexdigest()[:12]}"
