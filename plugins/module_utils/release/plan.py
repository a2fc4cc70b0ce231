# SPDX-License-Identifier: GPL-3.0-or-later
"""The plan of one host. preflight or a rollback makes it, and every later step reads it.

Roles find it in the variable ``voicefleet_plan``, a dictionary of the fields below. Every key is always present.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from ..host.layout import CANDIDATE_SECRETS, CANDIDATE_UNIT, SECRETS, Paths


def accelerator_of(profile: str | None) -> str:
    """Return what a release of a profile computes on, ``cpu`` or ``cuda``. Without a profile, it is the CPU."""
    return (profile or "cpu").split("-", maxsplit=1)[0]


@dataclass(frozen=True)
class Release:
    """A release on the host."""

    id: str
    path: str  # its folder, below ``paths["releases"]``
    complete: bool  # whether it is sealed and unchanged, so that nothing must be built
    drifted: bool = False  # whether its files changed since it was sealed, so that it must be repaired


@dataclass(frozen=True)
class Python:
    """The interpreter that a release is built on."""

    version: str  # the feature version, such as 3.11
    path: str
    artifact: str | None = None  # the digest of the store's Python; None for the host's own


@dataclass(frozen=True)
class Model:
    """The model that all languages share, unless ``Plan.language_models`` says otherwise."""

    name: str  # its name in Xinference
    path: str  # its folder in the release


@dataclass(frozen=True)
class Candidate:
    """The candidate: the planned release beside the current one."""

    wanted: bool = False  # whether to try a candidate
    left: bool = False  # whether an interrupted run left a candidate behind
    answers: bool = False  # whether the one that was left answers the gateway's clients
    stays: bool = False  # whether it may answer the gateway's clients while the service restarts
    gap: str = ""  # if it may not: why clients will wait during a restart, and how long
    unit: str = CANDIDATE_UNIT
    home: str = ""
    account_home: str = ""  # the home of the system user, which the candidate shares with the service
    secrets_dir: str = CANDIDATE_SECRETS
    service_secrets: str = SECRETS  # the service's folder of secrets
    port: int = 0  # on loopback. 0 if no port is free.


@dataclass(frozen=True)
class Former:
    """The part of a plan that restores the current release if the new one fails."""

    release: Release
    profile: str | None
    accelerator: str
    model: Model
    languages: list[str]
    language_models: dict[str, str]
    hearing_model: str = ""  # as in Plan


@dataclass(frozen=True)
class Plan:
    """What to do on one host."""

    store: str | None  # the store on the controller; None for a rollback
    manifest_sha256: str  # the digest of the manifest that the release is made from
    profile: str  # Accelerator, Python and architecture, such as cpu-py311-x86_64
    accelerator: str  # what the release computes on: cpu or cuda
    cards: list[int]  # the GPUs that the service uses, by nvidia-smi's index. Empty means all.
    release: Release  # the release to serve
    current: str | None  # the id of the current release; None if there is none
    former: Former | None  # how to restore that one; None if there is none
    candidate: Candidate
    paths: dict[str, str]  # the folders below the root: root, artifacts, releases, current, tools
    python: Python
    artifacts: list[dict[str, Any]]  # the files of the release, as rows of the manifest
    missing: list[str]  # digests of artifacts that the host lacks
    stale: list[str]  # paths of artifacts that the host has with other bytes
    surplus: list[dict[str, Any]]  # files on the host that no release refers to, each with name and size
    bytes: int  # how many bytes must be sent
    model: Model
    languages: list[str]  # the languages, by Kokoro's letters
    language_models: dict[str, str]  # languages that another model speaks, each with that model's name
    voices: list[str]
    extras: list[str]  # the extras of the lock that the languages need
    # Paths of files that are not the published ones, each with its source; see module_utils/host/sources.py.
    unpublished: dict[str, str]
    patches: list[dict[str, Any]]  # repairs of upstream files, each with its name and digests
    hearing_model: str = ""  # the model that hears, beside the others in the release; empty if there is none
    lock: dict[str, Any] = field(default_factory=dict)  # the owner of the host's deploy lock; empty if none was taken

    def as_dict(self) -> dict[str, Any]:
        """Return the variable ``voicefleet_plan``."""
        return asdict(self)


def former_of(data: Mapping[str, Any] | None) -> Former | None:
    """Read the former release from its dictionary, which comes from the host."""
    if data is None:
        return None
    return Former(**{**data, "release": Release(**data["release"]), "model": Model(**data["model"])})


def former(path: str, contents: Mapping[str, Any]) -> Former:
    """Return how to restore a release, from its folder and its ``release.json``."""
    profile = contents.get("profile")
    return Former(
        release=Release(contents["id"], path, complete=True),
        profile=profile,
        accelerator=accelerator_of(profile),
        model=_model(path, contents),
        languages=contents["languages"],
        language_models=contents.get("language_models", {}),
        hearing_model=contents.get("hearing_model", ""),
    )


def rollback(paths: Paths, contents: Mapping[str, Any], current: str | None, before: Former | None) -> Plan:
    """Return the plan that makes a finished release current, from its ``release.json``. Sends and builds nothing."""
    path = paths.release(contents["id"])
    return Plan(
        store=None,
        manifest_sha256=contents["manifest_sha256"],
        profile=contents["profile"],
        accelerator=accelerator_of(contents["profile"]),
        cards=[],
        release=Release(contents["id"], path, complete=True),
        current=current,
        former=before,
        candidate=Candidate(),
        paths=paths.as_dict(),
        python=_python(contents["python"]),
        artifacts=contents["artifacts"],
        missing=[],
        stale=[],
        surplus=[],
        bytes=0,
        model=_model(path, contents),
        languages=contents["languages"],
        language_models=contents.get("language_models", {}),
        hearing_model=contents.get("hearing_model", ""),
        voices=contents["voices"],
        extras=[],
        unpublished=contents["unpublished"],
        patches=contents.get("patches", []),
    )


def _model(path: str, contents: Mapping[str, Any]) -> Model:
    name = contents["model"]["name"]
    return Model(name, os.path.join(path, "models", name))


def _python(data: Mapping[str, Any]) -> Python:
    return Python(data["version"], data.get("path", ""), data.get("artifact"))
