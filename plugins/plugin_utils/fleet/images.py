# SPDX-License-Identifier: GPL-3.0-or-later
"""Choose what a store puts into an image: a whole release, or the layer that repairs an Xinference in it.

Nothing here looks into the base image. ``plugin_utils/image`` reports what it holds.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from ...module_utils.host.hashing import canonical_json
from ...module_utils.host.layout import ROOT
from ...module_utils.release.plan import Plan
from ..store import sbom, selection
from ..store.manifest import Artifact, Manifest
from ..store.profiles import ACCELERATORS, HOST_GLIBC, Profile
from . import preflight, repair

Json = dict[str, Any]
Kind = TypeVar("Kind")


class UnfitError(Exception):
    """A store that does not fit the base image or the settings, with every reason."""


@dataclass(frozen=True)
class Contents(Generic[Kind]):
    """What an image gets. ``created`` is when the store last changed."""

    plan: Kind
    artifacts: Sequence[Artifact]
    created: str
    findings: Sequence[str] = ()

    def beside(self, tag: str, base: str) -> dict[str, bytes]:
        """The bill of materials, by its name: the files of the store in the image, and the base as a whole."""
        data = json.loads(sbom.render(self.artifacts))
        data["metadata"]["component"] = {"bom-ref": "image", "type": "container", "name": tag}
        data["components"].append({"bom-ref": "base", "type": "container", "name": base})
        return {sbom.PATH: canonical_json(data)}


def choose(manifest: Manifest, wanted: str, facts: Mapping[str, Any]) -> tuple[Profile, Mapping[str, str] | Artifact]:
    """The profile for a base image, and the Python: one of the store, or else one of the base. Raises UnfitError."""
    accelerator = wanted if wanted in ACCELERATORS else ""
    profiles = [
        profile
        for profile in preflight.profiles_of(manifest, facts["architecture"], accelerator)
        if accelerator or profile.name == wanted
    ]
    for profile in profiles:
        for artifact in manifest.of_kind("python"):
            if profile.name in artifact.profiles:
                return profile, artifact
    for profile in profiles:
        for python in facts["pythons"]:
            if python["version"] == profile.python:
                return profile, python
    if profiles:
        raise UnfitError(
            f"the store carries no Python for {', '.join(profile.name for profile in profiles)}, and the base image has"
            f' none of that version. Fetch the store with artifact_store_pythons: ["{profiles[0].python}"]'
        )
    raise UnfitError(
        f"the store has no profile {wanted} for {facts['architecture']}. It has {', '.join(manifest.profiles)}. Choose"
        " one in image_profile, or fetch another"
    )


def release(
    manifest: Manifest,
    digest: str,
    store: Path,
    wanted: selection.Wanted,
    profile_wanted: str,
    base: str,
    facts: Mapping[str, Any],
) -> Contents[Plan]:
    """The release for a base image. ``facts`` say what the base offers, as those of a host do. Raises UnfitError."""
    voices, findings = preflight.check_store(manifest, wanted)
    failures = [f"{finding}" for finding in findings if finding.level == "FAIL"]
    if failures:
        raise UnfitError("\n  ".join(["the store does not fit the settings:", *failures]))
    if tuple(facts["glibc"]) < HOST_GLIBC:
        have = ".".join(map(str, facts["glibc"])) or "none that is known"
        raise UnfitError(
            f"the base image {base} has glibc {have}. The packages need {'.'.join(map(str, HOST_GLIBC))} or newer"
        )
    profile, python = choose(manifest, profile_wanted, facts)
    artifacts = preflight.chosen_artifacts(manifest, wanted, profile, python, voices)
    plan = preflight.planned(digest, str(store), ROOT, wanted, profile, python, voices, artifacts)
    return Contents(plan, artifacts, manifest.time)


def layer(
    manifest: Manifest, digest: str, store: Path, wanted: repair.Wanted, base: str, report: Json
) -> Contents[Json]:
    """The repair of the Xinference in a base image, from the report on it. Raises UnfitError, repair.Stop."""
    verdict = repair.judge(manifest, digest, store, report, wanted)
    if verdict.errors:
        raise UnfitError("\n  ".join([f"{base} cannot be repaired:", *map(str, verdict.errors)]))
    # What is lost with a container stays in an image.
    findings = [str(finding) for finding in verdict.findings if finding.code != "LOST"]
    if report["storage"]["home"] == "volume":
        findings.append(
            f"warning VOLUME: the image declares a volume at {report['home']} or above. Its new files reach only a"
            " volume that the engine makes anew"
        )
    digests = {row["sha256"] for row in verdict.plan["artifacts"]}
    artifacts = [row for row in manifest.artifacts if row.sha256 in digests]
    return Contents(verdict.plan, artifacts, manifest.time, findings)
