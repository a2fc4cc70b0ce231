# SPDX-License-Identifier: GPL-3.0-or-later
"""The store's software bill of materials in CycloneDX 1.6 JSON. The same contents give the same bytes.

Each component has a package URL (purl). A scanner looks it up in its database of vulnerabilities, and so does
``advisories``. A file that only this collection knows has a purl of the type ``generic``.
"""

from __future__ import annotations

import hashlib
import re
import urllib.parse
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from ...module_utils.host.hashing import canonical_json
from ...module_utils.host.sources import PUBLISHED
from . import catalogue
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
    "engine": "library",
    "lock": "file",
}

_NUMBERS = re.compile(r"[0-9.]+\Z")


def normalised(name: str) -> str:
    """A package's name as purls write it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


@dataclass(frozen=True)
class Package:
    """What an artifact is to the rest of the world: the parts of its purl."""

    kind: str
    name: str
    version: str
    subpath: str = ""

    @property
    def key(self) -> str:
        """The purl without version and file: the same for every version of a package."""
        return f"pkg:{self.kind}/{self.name}"


def _in_hub(artifact: Artifact) -> Package | None:
    """A file of Kokoro or of a model that hears, by the name of its folder; None if the catalogue lacks that model."""
    _top, folder, *file = [*artifact.path.split("/"), ""]
    models: list[catalogue.KokoroModel | catalogue.HearingModel] = [*catalogue.MANDARIN_MODELS.values()]
    models += catalogue.HEARING_MODELS.values()
    model = next((model for model in models if model.name == folder), None)
    if model is None:
        return None
    # The manifest has the first digits of a revision.
    revision = model.revision if model.revision.startswith(artifact.version) else artifact.version
    return Package("huggingface", model.repository, revision, "/".join(filter(None, file)))


def package_of(artifact: Artifact) -> Package:
    """The package that an artifact belongs to.

    spaCy models are not on PyPI. Other projects may have their names there, so they have the type ``generic``.
    """
    found = None
    if artifact.source == PUBLISHED and artifact.kind in ("wheel", "engine"):
        found = Package("pypi", normalised(artifact.name), artifact.version)
    elif artifact.source == PUBLISHED and artifact.kind.startswith(("kokoro-", "hearing-")):
        found = _in_hub(artifact)
    elif artifact.source == PUBLISHED and artifact.kind == "python":
        found = Package("generic", "python", artifact.version.partition("+")[0])
    elif artifact.kind == "lock":
        found = Package("generic", artifact.path.rsplit("/", 1)[-1], "")
    return found or Package("generic", artifact.name, artifact.version)


def purl(artifact: Artifact) -> str:
    """The package URL of an artifact."""
    package = package_of(artifact)
    qualifiers = {}
    if package.kind == "generic":
        qualifiers["checksum"] = f"sha256:{artifact.sha256}"
        if _is_web(artifact.address):
            qualifiers["download_url"] = artifact.address
    elif package.kind == "pypi":
        qualifiers["file_name"] = artifact.path.rsplit("/", 1)[-1]
    text = package.key + (f"@{urllib.parse.quote(package.version, safe='')}" if package.version else "")
    if qualifiers:
        pairs = (f"{name}={urllib.parse.quote(value, safe=':')}" for name, value in sorted(qualifiers.items()))
        text += f"?{'&'.join(pairs)}"
    return text + (f"#{urllib.parse.quote(package.subpath)}" if package.subpath else "")


def _is_web(address: str) -> bool:
    return address.startswith(("https://", "http://"))


def component(artifact: Artifact) -> dict[str, Any]:
    """One artifact as a CycloneDX component."""
    row: dict[str, Any] = {
        "bom-ref": artifact.path,
        "type": _TYPES.get(artifact.kind, "file"),
        "name": artifact.name,
        "version": artifact.version,
        "purl": purl(artifact),
        "hashes": [{"alg": "SHA-256", "content": artifact.sha256}],
        "properties": [{"name": "voicefleet:path", "value": artifact.path}],
    }
    package = package_of(artifact)
    if package.name == "python" and _NUMBERS.match(package.version):
        # Advisories about Python itself name it in this way.
        row["cpe"] = f"cpe:2.3:a:python:python:{package.version}:*:*:*:*:*:*:*"
    if artifact.licence:
        # Packages state licences as free text, so use names and not SPDX expressions.
        row["licenses"] = [{"license": {"name": artifact.licence}}]
    if _is_web(artifact.address):
        row["externalReferences"] = [{"type": "distribution", "url": artifact.address}]
    for profile in artifact.profiles:
        row["properties"].append({"name": "voicefleet:profile", "value": profile})
    if artifact.source != PUBLISHED:
        row["properties"].append({"name": "voicefleet:source", "value": artifact.source})
    return row


def render(artifacts: Iterable[Artifact], subject: str = "voicefleet.kokoro store") -> bytes:
    """The bill of materials of some artifacts. Its serial number is derived from the contents."""
    components = [component(artifact) for artifact in sorted(artifacts, key=lambda a: a.path)]
    digest = hashlib.sha256(canonical_json(components)).digest()
    return canonical_json(
        {
            "bomFormat": "CycloneDX",
            "specVersion": "1.6",
            "serialNumber": f"urn:uuid:{uuid.UUID(bytes=digest[:16], version=4)}",
            "version": 1,
            "metadata": {"component": {"bom-ref": "store", "type": "application", "name": subject}},
            "components": components,
        }
    )
