# SPDX-License-Identifier: GPL-3.0-or-later
"""What the repair of a place needs from this host: repairs as data, and wheels from verified artifacts."""

from __future__ import annotations

import os
import shutil
import zipfile
from collections.abc import Iterable, Mapping
from typing import Any

from ..host.hashing import sha256_bytes, sha256_file, write_atomic
from ..host.layout import Paths
from . import artifacts, patches, spacy_sdist

Json = dict[str, Any]


class MendingError(Exception):
    """Something that a repair needs cannot be made; the message says why."""


def repairs(names: Iterable[str]) -> list[Json]:
    """Digest-bound repairs, as a place applies them without this collection. Raises PatchError."""
    return [
        {
            "name": patch.name, "package": patch.package, "file": patch.file, "before": patch.before,
            "after": patch.after, "replacements": [[patch.old, patch.new], *map(list, patch.more)],
            "added": {path: data.decode() for path, data in patch.added.items()}, "reason": patch.reason,
        }
        for patch in patches.choose(names)
    ]  # fmt: skip


class Material:
    """The files of a repair on this host, by digest. ``scratch`` gets what is made from artifacts."""

    def __init__(self, root: str, scratch: str) -> None:
        self.paths = Paths(root)
        self.scratch = scratch
        self.files: dict[str, str] = {}

    def collect(self, plan: Mapping[str, Any]) -> Json:
        """Verify the artifacts of a plan again, and return the part of the request that names them.

        Raises MendingError, SpacyModelError, OSError.
        """
        rows = list(plan["artifacts"])
        wrong = artifacts.weeded(artifacts.weed(self.paths.root, rows))
        if wrong:
            raise MendingError(wrong.rstrip("."))
        shutil.rmtree(self.scratch, ignore_errors=True)
        if plan["packages"]:
            os.makedirs(self.scratch)
            # The place's owner, who may be another user, reads them.
            os.chmod(self.scratch, 0o755)
        for row in rows:
            self.files[row["sha256"]] = self.paths.artifact(row["sha256"], row["path"])
        wanted = {row["sha256"] for row in plan["files"]}
        packages = [self._package(row, str(plan["spacy_version"])) for row in plan["packages"]]
        used = wanted | {row["sha256"] for row in packages}
        uv = self._uv(str(plan["uv"])) if plan["uv"] else ""
        self.files = {digest: path for digest, path in self.files.items() if digest in used | {uv}}
        return {"packages": packages, "uv": uv}

    def _package(self, row: Mapping[str, Any], spacy: str) -> Json:
        source = self.files[row["sha256"]]
        if row["kind"] != "spacy-model":
            return {**_named(row), "file": os.path.basename(row["path"]), "sha256": row["sha256"]}
        model = spacy_sdist.read_model(source)
        if (model.name, model.version) != (row["name"], row["version"]):
            raise MendingError(f"{row['path']} holds {model.name} {model.version}, which does not match its file name")
        if not spacy_sdist.suits(model.spacy_version, spacy):
            raise MendingError(f"{row['path']} needs spaCy {model.spacy_version}, but the place has {spacy}")
        wheel = os.path.join(self.scratch, model.wheel_name)
        spacy_sdist.write_wheel(source, wheel)
        os.chmod(wheel, 0o644)
        digest = sha256_file(wheel)
        self.files[digest] = wheel
        return {**_named(row), "file": model.wheel_name, "sha256": digest}

    def _uv(self, digest: str) -> str:
        """Unpack the program uv from its wheel and return its digest."""
        try:
            with zipfile.ZipFile(self.files[digest]) as archive:
                name = next(each for each in archive.namelist() if each.endswith(".data/scripts/uv"))
                data = archive.read(name)
        except (zipfile.BadZipFile, StopIteration) as error:
            raise MendingError(f"{self.files[digest]} contains no uv: {error}") from error
        path = os.path.join(self.scratch, "uv")
        write_atomic(path, data, 0o755)
        self.files[sha256_bytes(data)] = path
        return sha256_bytes(data)


def _named(row: Mapping[str, Any]) -> Json:
    return {"name": row["name"], "version": row["version"]}
