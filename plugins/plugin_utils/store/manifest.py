# SPDX-License-Identifier: GPL-3.0-or-later
"""The manifest of a store: the complete list of its files, and the root of trust for what reaches a host.

The same contents give the same bytes. The manifest is sorted and holds no times or machine names.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from ...module_utils.host.hashing import canonical_json
from ...module_utils.host.sources import PUBLISHED, SOURCES
from ...module_utils.release.patches import Patch

SCHEMA = 2
FILENAME = "manifest.json"
KINDS = (
    "wheel", "lock", "spacy-model", "dictionary", "kokoro-config", "kokoro-weights", "kokoro-voice", "python", "sbom",
)  # fmt: skip

DIGEST = re.compile(r"[0-9a-f]{64}\Z")


class ManifestError(Exception):
    """A manifest that cannot be used, with the reason."""


@dataclass(frozen=True)
class Artifact:
    """One file of a store: ``path`` relative to the store, ``size`` in bytes. Empty ``profiles`` means all profiles.

    ``address`` is where the file was fetched from. ``source`` is one of ``sources.SOURCES``: published files have the
    digests of the catalogue and the locks.
    ``tags`` are a wheel's platform tags, such as ``cp311-cp311-manylinux_2_28_x86_64``. A release needs the file if it
    has one of ``extras``, or if ``extras`` is empty. For a lock, ``extras`` lists all extras that it knows.
    """

    path: str
    sha256: str
    size: int
    kind: str
    name: str
    version: str
    address: str = ""
    licence: str = ""
    source: str = PUBLISHED
    profiles: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    extras: tuple[str, ...] = ()


@dataclass(frozen=True)
class Manifest:
    """All artifacts of a store, sorted by path, and its profiles."""

    artifacts: tuple[Artifact, ...]
    profiles: tuple[str, ...] = ()

    def to_bytes(self) -> bytes:
        """The manifest file's bytes."""
        rows = []
        for artifact in sorted(self.artifacts, key=lambda a: a.path):
            row = asdict(artifact)
            row["profiles"] = sorted(artifact.profiles)
            if not artifact.extras:
                del row["extras"]
            rows.append(row)
        return canonical_json({"schema": SCHEMA, "profiles": sorted(self.profiles), "artifacts": rows})

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
            if artifact.kind == "sbom":
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


def check_path(path: str) -> str:
    """Return the path unchanged if it stays inside the store. Raises ManifestError on any other."""
    pure = PurePosixPath(path)
    if not path or "\\" in path or "\0" in path or pure.is_absolute() or ".." in pure.parts or str(pure) != path:
        raise ManifestError(f"the manifest names {path!r}, which is not a plain path inside the store")
    return path


def _artifact(row: Any, number: int) -> Artifact:
    if not isinstance(row, dict):
        raise ManifestError(f"artifact {number} of the manifest is not an object")
    unknown = set(row) - set(Artifact.__dataclass_fields__)
    if unknown:
        raise ManifestError(f"artifact {number} of the manifest has unknown keys: {', '.join(sorted(unknown))}")
    try:
        artifact = Artifact(**{**row, **{name: tuple(row.get(name, ())) for name in ("profiles", "tags", "extras")}})
    except TypeError as error:
        raise ManifestError(f"artifact {number} of the manifest is incomplete: {error}") from error
    check_path(str(artifact.path))
    if not isinstance(artifact.sha256, str) or not DIGEST.match(artifact.sha256):
        raise ManifestError(f"{artifact.path}: the manifest's sha256 is not 64 hex digits")
    if not isinstance(artifact.size, int) or isinstance(artifact.size, bool) or artifact.size < 0:
        raise ManifestError(f"{artifact.path}: the manifest's size is not a number of bytes")
    if artifact.kind not in KINDS:
        raise ManifestError(f"{artifact.path}: kind {artifact.kind!r} is not known to this version of the collection")
    if artifact.source not in SOURCES:
        raise ManifestError(
            f"{artifact.path}: the manifest's source {artifact.source!r} is none of {', '.join(SOURCES)}"
        )
    return artifact


def parse_manifest(data: bytes, source: str) -> Manifest:
    """Parse a manifest. Raises ManifestError on anything else."""
    try:
        loaded = json.loads(data)
    except ValueError as error:
        raise ManifestError(f"{source} is not JSON ({error}): the store is damaged. Fetch it again") from error
    if not isinstance(loaded, dict) or loaded.get("schema") != SCHEMA:
        found = loaded.get("schema") if isinstance(loaded, dict) else None
        raise ManifestError(f"{source} has schema {found!r}; this version of the collection reads schema {SCHEMA}")
    if not isinstance(loaded.get("artifacts"), list):
        raise ManifestError(f"{source} lists no artifacts: it is not the manifest of a store")
    artifacts = tuple(_artifact(row, number) for number, row in enumerate(loaded.get("artifacts", []), start=1))
    paths = [artifact.path for artifact in artifacts]
    double = sorted({path for path in paths if paths.count(path) > 1})
    if double:
        raise ManifestError(f"{source} lists these paths more than once: {', '.join(double)}")
    return Manifest(artifacts, tuple(str(profile) for profile in loaded.get("profiles", [])))


def read_manifest(store: Path) -> tuple[Manifest, str]:
    """The manifest of a store and its own SHA-256. Raises ManifestError."""
    path = store / FILENAME
    if not store.is_dir():
        raise ManifestError(
            f"there is no store at {store}: build one with playbooks/fetch.yml on a connected machine, "
            "or set artifact_store_path to the folder that you carried here"
        )
    try:
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise ManifestError(
            f"{store} has no {FILENAME}: it is not a complete store. Run playbooks/fetch.yml again (it resumes where "
            "it stopped), or copy the whole folder again"
        ) from error
    except OSError as error:
        raise ManifestError(f"{path} cannot be read: {error.strerror}") from error
    return parse_manifest(data, str(path)), hashlib.sha256(data).hexdigest()


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
