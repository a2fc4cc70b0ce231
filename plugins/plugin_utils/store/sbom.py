# SPDX-License-Identifier: GPL-3.0-or-later
"""The store's software bill of materials in CycloneDX 1.6 JSON. The same contents give the same bytes."""

from __future__ import annotations

import hashlib
import re
import urllib.parse
import uuid
from collections.abc import Iterable
from typing import Any

from ...module_utils.host.hashing import canonical_json
from ...module_utils.host.sources import PUBLISHED
from .manifest import Artifact

PATH = "sbom.cdx.json"
_TYPES = {
    "wheel": "library",
    "spacy-model": "machine-learning-model",
    "kokoro-config": "machine-learning-model",
    "kokoro-weights": "machine-learning-model",
    "kokoro-voice": "data",
    "hearing-model": "machine-learning-model",
    "dictionary": "data",
    "python": "platform",
    "lock": "file",
}


def _normalised(name: str) -> str:
    """A package's name as purls write it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def purl(artifact: Artifact) -> str | None:
    """The package URL of an artifact; None if no purl type fits."""
    version = urllib.parse.quote(artifact.version, safe="")
    if artifact.kind in ("wheel", "spacy-model"):
        return f"pkg:pypi/{_normalised(artifact.name)}@{version}"
    if artifact.kind == "hearing-model":
        return f"pkg:huggingface/openai/{artifact.path.split('/')[1]}@{version}"
    if artifact.kind.startswith("kokoro-"):
        folders = artifact.path.split("/")[1:-1]
        return f"pkg:huggingface/hexgrad/{folders[0] if folders else 'Kokoro-82M'}@{version}"
    return None


def component(artifact: Artifact) -> dict[str, Any]:
    """One artifact as a CycloneDX component."""
    row: dict[str, Any] = {
        "bom-ref": artifact.path,
        "type": _TYPES.get(artifact.kind, "file"),
        "name": artifact.name,
        "version": artifact.version,
        "hashes": [{"alg": "SHA-256", "content": artifact.sha256}],
        "properties": [{"name": "voicefleet:path", "value": artifact.path}],
    }
    package = purl(artifact)
    if package is not None:
        row["purl"] = package
    if artifact.licence:
        # Packages state licences as free text, so use names and not SPDX expressions.
        row["licenses"] = [{"license": {"name": artifact.licence}}]
    if artifact.address.startswith(("https://", "http://")):
        row["externalReferences"] = [{"type": "distribution", "url": artifact.address}]
    for profile in artifact.profiles:
        row["properties"].append({"name": "voicefleet:profile", "value": profile})
    if artifact.source != PUBLISHED:
        row["properties"].append({"name": "voicefleet:source", "value": artifact.source})
    return row


def render(artifacts: Iterable[Artifact]) -> bytes:
    """The bill of materials of some artifacts. Its serial number is derived from the contents."""
    components = [component(artifact) for artifact in sorted(artifacts, key=lambda a: a.path)]
    digest = hashlib.sha256(canonical_json(components)).digest()
    return canonical_json(
        {
            "bomFormat": "CycloneDX",
            "specVersion": "1.6",
            "serialNumber": f"urn:uuid:{uuid.UUID(bytes=digest[:16], version=4)}",
            "version": 1,
            "metadata": {"component": {"bom-ref": "store", "type": "application", "name": "voicefleet.kokoro store"}},
            "components": components,
        }
    )
