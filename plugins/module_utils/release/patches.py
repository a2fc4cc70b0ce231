# SPDX-License-Identifier: GPL-3.0-or-later
"""Small repairs of upstream files, kept until upstream has them. Each applies to exactly one published file.

A repair names the file's SHA-256 before and after. A file with another digest is never touched, because nobody knows
what is wrong with it. The wheel's ``RECORD`` gets the new digest and size, so that an audit with pip or uv finds a
consistent environment. The byte code is compiled again.

A repair may also add modules of this collection to the environment.
"""

from __future__ import annotations

import base64
import csv
import io
import os
import pkgutil
import subprocess
from collections.abc import Iterable, Mapping
from types import ModuleType
from typing import Any, NamedTuple

from ..host.hashing import sha256_bytes, write_atomic
from . import kokoro_text, patch_data, sound_parts
from .serving import encoding, model, request, routes, sentences, turns

# The modules that repairs add, by what a repair calls them: their paths relative to site-packages. Ansible sends only
# modules that are imported.
ADDITIONS: Mapping[str, Mapping[str, ModuleType]] = {
    "kokoro_text": {"kokoro/voicefleet_text.py": kokoro_text},
    "sound_parts": {"xinference/model/audio/voicefleet_parts.py": sound_parts},
    "serving": {
        "voicefleet_serving/{}.py".format(module.__name__.rpartition(".")[2]): module
        for module in (encoding, model, request, routes, sentences, turns)
    },
}


class PatchError(Exception):
    """A repair cannot be made; the message says why."""


class Patch(NamedTuple):
    """One repair: replace ``old`` by ``new``, once, in a file of an installed package."""

    name: str
    package: str
    file: str  # relative to site-packages
    before: str  # SHA-256 of the published file
    after: str  # SHA-256 of the repaired file
    old: str
    new: str
    reason: str
    more: tuple[tuple[str, str], ...] = ()  # further replacements in the same file
    extra: str = ""  # what does not work without this repair, as an extra; "" if the operator may choose
    adds: str = ""  # one of ADDITIONS

    @property
    def added(self) -> dict[str, bytes]:
        """Return the files that the repair adds: paths relative to site-packages, and contents."""
        modules = ADDITIONS[self.adds] if self.adds else {}
        return {path: _source(module) for path, module in modules.items()}

    def digests(self) -> dict[str, str]:
        """Return the digest of each file that it makes. A release's id depends on them."""
        return {self.file: self.after, **{path: sha256_bytes(data) for path, data in self.added.items()}}

    def as_dict(self) -> dict[str, Any]:
        """Return what ``release.json`` keeps of it."""
        kept = {"name": self.name, "file": self.file, "before": self.before, "after": self.after}
        return {**kept, "added": {path: sha256_bytes(data) for path, data in self.added.items()}} if self.adds else kept


CATALOGUE: Mapping[str, Patch] = {patch.name: patch for patch in (Patch(**row) for row in patch_data.REPAIRS)}
# The repairs that an operator may choose.
OPTIONAL = [name for name, patch in CATALOGUE.items() if not patch.extra]


def _source(module: ModuleType) -> bytes:
    package, _dot, name = module.__name__.rpartition(".")
    return pkgutil.get_data(package, f"{name}.py") or b""


def needed_for(extras: Iterable[str]) -> list[Patch]:
    """Return the repairs without which the packages of these extras do not work."""
    wanted = set(extras)
    return [patch for patch in CATALOGUE.values() if patch.extra in wanted]


def choose(names: Iterable[str]) -> list[Patch]:
    """Return the repairs with these names, in the catalogue's order. Raises PatchError for an unknown name."""
    wanted = set(names)
    unknown = sorted(wanted - set(CATALOGUE))
    if unknown:
        raise PatchError(f"there is no repair {', '.join(unknown)}. Known repairs: {', '.join(CATALOGUE)}")
    return [patch for patch in CATALOGUE.values() if patch.name in wanted]


def repair(patch: Patch, data: bytes) -> bytes:
    """Return a file's content with the replacements of a repair, each made once."""
    for old, new in ((patch.old, patch.new), *patch.more):
        data = data.replace(old.encode(), new.encode(), 1)
    return data


def apply(patch: Patch, env: str, site: str) -> None:
    """Repair a file of the environment ``env`` whose packages lie in ``site``. Raises PatchError, OSError.

    An interruption between the steps leaves an environment without a stamp, which is then rebuilt as a whole.
    """
    path = os.path.join(site, *patch.file.split("/"))
    try:
        with open(path, "rb") as handle:
            data = handle.read()
    except FileNotFoundError:
        raise PatchError(_refusal(patch, "is missing")) from None
    found = sha256_bytes(data)
    if found == patch.after:
        repaired = data
    elif found == patch.before:
        repaired = repair(patch, data)
    else:
        raise PatchError(_refusal(patch, f"has the sha256 {found} instead of {patch.before}"))
    if sha256_bytes(repaired) != patch.after:
        raise PatchError(_refusal(patch, "does not become the file with which the repair was tested"))
    # Write new files: the old one may be a link that other releases share.
    made = {patch.file: repaired, **patch.added}
    for name, content in made.items():
        added = os.path.join(site, *name.split("/"))
        os.makedirs(os.path.dirname(added), 0o755, exist_ok=True)
        write_atomic(added, content, 0o644)
    _record(patch, site, made)
    _compile(patch, env, [os.path.join(site, *name.split("/")) for name in made])


def _refusal(patch: Patch, what: str) -> str:
    return (
        f"the repair {patch.name} was not made: {patch.file} of {patch.package} {what}. The repair applies to one"
        f" published file only. Its reason: {patch.reason}. Check whether this {patch.package} still needs it. If not,"
        " remove the repair from preflight_patches. Otherwise use the version of the committed lock"
    )


def _record(patch: Patch, site: str, made: Mapping[str, bytes]) -> None:
    """Write the new digests and sizes to the wheel's RECORD. Raises PatchError, OSError."""
    prefix = patch.package.replace("-", "_") + "-"
    folders = [name for name in os.listdir(site) if name.startswith(prefix) and name.endswith(".dist-info")]
    if len(folders) != 1:
        raise PatchError(_refusal(patch, f"belongs to {len(folders)} installed wheels instead of one"))
    record = os.path.join(site, folders[0], "RECORD")
    with open(record, encoding="utf-8", newline="") as handle:
        rows = list(csv.reader(handle))
    at = [number for number, row in enumerate(rows) if row and row[0] == patch.file]
    if len(at) != 1:
        raise PatchError(_refusal(patch, f"stands {len(at)} times in {folders[0]}/RECORD instead of once"))
    rows[at[0] : at[0] + 1] = [_row(name, content) for name, content in made.items()]
    # Two repairs of a wheel may add the same modules.
    rows = list({row[0]: row for row in rows if row}.values())
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows(rows)
    write_atomic(record, text.getvalue().encode(), 0o644)


def _row(name: str, data: bytes) -> list[str]:
    digest = base64.urlsafe_b64encode(bytes.fromhex(sha256_bytes(data))).rstrip(b"=").decode()
    return [name, f"sha256={digest}", str(len(data))]


def _compile(patch: Patch, env: str, paths: list[str]) -> None:
    """Compile the byte code again, because the service may not write it. Raises PatchError."""
    python = os.path.join(env, "bin", "python")
    done = subprocess.run(
        [python, "-I", "-m", "py_compile", *paths],
        capture_output=True, text=True, timeout=60, check=False, env={"LC_ALL": "C.UTF-8"},
    )  # fmt: skip
    if done.returncode != 0:
        raise PatchError(f"{patch.file} was repaired but cannot be compiled: {done.stderr.strip()[-500:]}")
