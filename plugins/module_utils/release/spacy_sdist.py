# SPDX-License-Identifier: GPL-3.0-or-later
"""Turn a spaCy model's tarball into a wheel without running any of its code.

spaCy publishes its models as sdists. Installing an sdist runs its ``setup.py`` and needs setuptools, which a host
without a network cannot fetch. That setup only copies one folder of data, so the wheel can be written here: package,
metadata and the ``spacy_models`` entry point by which spaCy finds the model.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import tarfile
import zipfile
from dataclasses import dataclass
from typing import Any

_NAME = re.compile(r"[a-z]{2,3}_[a-z0-9_]+\Z")
_VERSION = re.compile(r"\d+(\.\d+)*([a-z0-9.+-]*)\Z")
_CLAUSE = re.compile(r"\s*(==|!=|>=|<=|~=|>|<)\s*([0-9.]+)(\.\*)?[a-z0-9.]*\s*\Z")
_ZIP_TIME = (1980, 1, 1, 0, 0, 0)


class SpacyModelError(Exception):
    """A model cannot be installed; the message says why."""


@dataclass(frozen=True)
class Model:
    """What a model's ``meta.json`` says: full name (``en_core_web_sm``), version, and the spaCy version it fits."""

    name: str
    version: str
    spacy_version: str
    meta: dict[str, Any]

    @property
    def wheel_name(self) -> str:
        return f"{self.name}-{self.version}-py3-none-any.whl"


def _numbers(version: str) -> tuple[int, ...]:
    match = re.match(r"\d+(\.\d+)*", version)
    return tuple(int(part) for part in match[0].split(".")) if match else ()


def _compare(a: tuple[int, ...], b: tuple[int, ...]) -> int:
    width = max(len(a), len(b))
    left, right = a + (0,) * (width - len(a)), b + (0,) * (width - len(b))
    return (left > right) - (left < right)


def suits(requirement: str, version: str) -> bool:
    """Whether a spaCy version meets a model's ``spacy_version``, such as ``>=1.2.0,<1.3.0``.

    Raises SpacyModelError if the requirement cannot be read.
    """
    have = _numbers(version)
    for clause in filter(None, requirement.split(",")):
        match = _CLAUSE.match(clause)
        if match is None:
            raise SpacyModelError(f"spacy_version {requirement!r} cannot be read")
        operator, text, wildcard = match[1], match[2].rstrip("."), match[3]
        want = _numbers(text)
        order = _compare(have, want)
        same = have[: len(want)] == want if wildcard else order == 0
        fits = {
            "==": same, "!=": not same, ">=": order >= 0, "<=": order <= 0, ">": order > 0, "<": order < 0,
            "~=": order >= 0 and have[: max(len(want) - 1, 1)] == want[: max(len(want) - 1, 1)],
        }[operator]  # fmt: skip
        if not fits:
            return False
    return True


def _members(archive: tarfile.TarFile, source: str) -> dict[str, tarfile.TarInfo]:
    """Return regular files by their path below the sdist's one folder. Raises SpacyModelError if a path leaves it."""
    files = {}
    tops = set()
    for member in archive.getmembers():
        parts = member.name.split("/")
        if member.name.startswith("/") or ".." in parts or not (member.isfile() or member.isdir()):
            raise SpacyModelError(
                f"{source} holds {member.name!r}, which is not a plain file or folder inside the archive"
            )
        tops.add(parts[0])
        if member.isfile():
            files["/".join(parts[1:])] = member
    if len(tops) != 1:
        raise SpacyModelError(f"{source} does not hold exactly one folder, so it is not the sdist of a spaCy model")
    return files


def _content(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    handle = archive.extractfile(member)
    if handle is None:
        raise SpacyModelError(f"{member.name} is not a plain file")
    with handle:
        return handle.read()


def read_model(path: str) -> Model:
    """Read what a tarball holds. Raises SpacyModelError, OSError."""
    try:
        with tarfile.open(path, "r:gz") as archive:
            files = _members(archive, path)
            if "meta.json" not in files:
                raise SpacyModelError(f"{path} has no meta.json, so it is not the sdist of a spaCy model")
            meta = json.loads(_content(archive, files["meta.json"]))
            name, version = f"{meta['lang']}_{meta['name']}", str(meta["version"])
    except (tarfile.TarError, EOFError, ValueError, KeyError, TypeError) as error:
        raise SpacyModelError(f"{path} is not a complete tarball of a spaCy model: {error}") from error
    if not _NAME.match(name) or not _VERSION.match(version):
        raise SpacyModelError(f"{path} contains {name!r} {version!r}, which is not a valid package name and version")
    return Model(name, version, str(meta.get("spacy_version", "")), meta)


def _metadata(model: Model) -> str:
    lines = ["Metadata-Version: 2.1", f"Name: {model.name}", f"Version: {model.version}"]
    if model.meta.get("license"):
        lines.append(f"License: {str(model.meta['license']).splitlines()[0]}")
    lines += [f"Requires-Dist: {requirement}" for requirement in model.meta.get("requirements", [])]
    return "\n".join(lines) + "\n"


def write_wheel(path: str, target: str) -> Model:
    """Write the wheel of a model's tarball. Equal tarballs give equal bytes. Raises SpacyModelError, OSError."""
    model = read_model(path)
    info = f"{model.name}-{model.version}.dist-info"
    contents: dict[str, bytes] = {}
    with tarfile.open(path, "r:gz") as archive:
        files = _members(archive, path)
        for name, member in files.items():
            if name.startswith(f"{model.name}/"):
                contents[name] = _content(archive, member)
        # Like the sdist's setup, copy meta.json beside the package's code and into its data.
        meta = _content(archive, files["meta.json"])
    data = f"{model.name}/{model.name}-{model.version}"
    contents[f"{model.name}/meta.json"] = contents[f"{data}/meta.json"] = meta
    for needed in (f"{model.name}/__init__.py", f"{data}/config.cfg"):
        if needed not in contents:
            raise SpacyModelError(f"{path} lacks {needed}: the tarball is incomplete")
    contents[f"{info}/METADATA"] = _metadata(model).encode()
    contents[f"{info}/WHEEL"] = (
        b"Wheel-Version: 1.0\nGenerator: voicefleet.kokoro\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    )
    contents[f"{info}/entry_points.txt"] = f"[spacy_models]\n{model.name} = {model.name}\n".encode()
    contents[f"{info}/top_level.txt"] = f"{model.name}\n".encode()
    rows = []
    for name in sorted(contents):
        digest = base64.urlsafe_b64encode(hashlib.sha256(contents[name]).digest()).rstrip(b"=").decode()
        rows.append(f"{name},sha256={digest},{len(contents[name])}")
    contents[f"{info}/RECORD"] = ("\n".join([*rows, f"{info}/RECORD,,"]) + "\n").encode()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as wheel:
        for name in sorted(contents):
            entry = zipfile.ZipInfo(name, _ZIP_TIME)
            entry.external_attr = 0o100644 << 16
            wheel.writestr(entry, contents[name])
    return model
