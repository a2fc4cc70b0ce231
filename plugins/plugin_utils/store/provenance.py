# SPDX-License-Identifier: GPL-3.0-or-later
"""The provenance of a store: who fetched it, when, from which sources, and with which collection.

It is a statement in the form of in-toto (Statement v1) with SLSA's predicate (v1.0), in ``provenance.json`` beside the
manifest. Its subject is the manifest, which lists every other file, so it belongs to one state of one store. It is
signed as the manifest is.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...module_utils.host.hashing import canonical_json, read_bounded
from . import datafile
from .datafile import DataError
from .manifest import DIGEST, FILENAME, PROVENANCE, TIME, Manifest

STATEMENT = "https://in-toto.io/Statement/v1"
PREDICATE = "https://slsa.dev/provenance/v1"
BUILD = "https://github.com/voicefleet/kokoro/blob/main/docs/supply-chain.md#provenance"
BUILDER = "https://github.com/voicefleet/kokoro/blob/main/plugins/action/store_fetch.py"
TEXT = 200  # characters that are shown of a text


class ProvenanceError(Exception):
    """A statement that cannot be used, with the reason."""


@dataclass(frozen=True)
class Maker:
    """Who fetches: the account, its machine, and the versions of the collection and of ansible-core."""

    user: str
    host: str
    versions: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Statement:
    """What a statement says, each part in one line."""

    user: str
    host: str
    finished: str
    versions: Mapping[str, str]
    sources: tuple[str, ...]

    @property
    def sentence(self) -> str:
        tools = " and ".join(f"{name} {version}" for name, version in self.versions.items())
        return f"Fetched by {self.user} on {self.host} at {self.finished}{' with ' if tools else ''}{tools}."

    def as_row(self) -> dict[str, Any]:
        return {
            "user": self.user,
            "host": self.host,
            "finished": self.finished,
            "versions": dict(self.versions),
            "sources": list(self.sources),
        }


def _inputs(manifest: Manifest) -> list[dict[str, Any]]:
    """What was fetched: the address of each file, and its digest unless the file was built from what lies there."""
    rows = []
    for artifact in sorted(manifest.artifacts, key=lambda artifact: artifact.path):
        if not artifact.address:
            continue
        row: dict[str, Any] = {"name": artifact.path, "uri": artifact.address}
        if artifact.kind != "wheel" or artifact.address.partition("#")[0].endswith(".whl"):
            row["digest"] = {"sha256": artifact.sha256}
        rows.append(row)
    return rows


def render(
    manifest: Manifest, digest: str, maker: Maker, parameters: Mapping[str, Any], began: float, finished: float
) -> bytes:
    """The statement about a store. ``parameters`` are what the operator asked for."""
    return canonical_json(
        {
            "_type": STATEMENT,
            "subject": [{"name": FILENAME, "digest": {"sha256": digest}}],
            "predicateType": PREDICATE,
            "predicate": {
                "buildDefinition": {
                    "buildType": BUILD,
                    "externalParameters": dict(parameters),
                    "resolvedDependencies": _inputs(manifest),
                },
                "runDetails": {
                    "builder": {"id": BUILDER, "version": dict(maker.versions)},
                    "metadata": {
                        "startedOn": time.strftime(TIME, time.gmtime(began)),
                        "finishedOn": time.strftime(TIME, time.gmtime(finished)),
                        # SLSA lets a producer add fields with its name in front.
                        "voicefleet_fetchedBy": {"user": maker.user, "host": maker.host},
                    },
                },
            },
        }
    )


def _at(value: Any, *way: str) -> Any:
    for name in way:
        value = value.get(name) if isinstance(value, dict) else None
    return value


def _line(value: Any) -> str:
    text = value if isinstance(value, str) else ""
    return "".join(sign if sign.isprintable() else " " for sign in text[:TEXT]).strip() or "unknown"


def _origin(address: object) -> str:
    """Scheme and host of an address, or its folder if it is a file."""
    scheme, _sign, rest = _line(address).partition("://")
    return f"{scheme}://{rest.partition('/')[0]}" if scheme in ("http", "https") else "files"


def parse(data: bytes, digest: str, source: str) -> Statement:
    """A statement about the manifest with this digest. Raises ProvenanceError."""
    try:
        loaded = datafile.parse(data)
    except DataError as error:
        raise ProvenanceError(f"{source} is not JSON ({error}): remove it, or fetch the store again") from None
    if _at(loaded, "_type") != STATEMENT or _at(loaded, "predicateType") != PREDICATE:
        raise ProvenanceError(f"{source} is not a statement of provenance (in-toto v1, SLSA v1): fetch the store again")
    subjects = _at(loaded, "subject")
    about = _at(subjects[0], "digest", "sha256") if isinstance(subjects, list) and len(subjects) == 1 else None
    if not isinstance(about, str) or not DIGEST.match(about):
        raise ProvenanceError(f"{source} does not name one manifest as its subject: fetch the store again")
    if about != digest:
        raise ProvenanceError(
            f"{source} is about the manifest {about[:12]}, but the store has {digest[:12]}: one of them is outdated or "
            "was altered. Run playbooks/fetch.yml again, or copy the whole folder again"
        )
    predicate = loaded["predicate"] if isinstance(_at(loaded, "predicate"), dict) else {}
    metadata = _at(predicate, "runDetails", "metadata")
    versions = _at(predicate, "runDetails", "builder", "version")
    inputs = _at(predicate, "buildDefinition", "resolvedDependencies")
    return Statement(
        _line(_at(metadata, "voicefleet_fetchedBy", "user")),
        _line(_at(metadata, "voicefleet_fetchedBy", "host")),
        _line(_at(metadata, "finishedOn")),
        {_line(name): _line(version) for name, version in list(versions.items())[:9]}
        if isinstance(versions, dict)
        else {},
        tuple(sorted({_origin(_at(row, "uri")) for row in inputs})) if isinstance(inputs, list) else (),
    )


def data_of(store: Path) -> bytes | None:
    """The bytes of a store's statement; None if it has none. Raises ProvenanceError."""
    path = store / PROVENANCE
    try:
        return read_bounded(str(path))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ProvenanceError(f"{path} cannot be read: {error.strerror}") from None


def read(store: Path, digest: str) -> Statement | None:
    """The statement about a store whose manifest has this digest; None if there is none. Raises ProvenanceError."""
    data = data_of(store)
    return None if data is None else parse(data, digest, str(store / PROVENANCE))
