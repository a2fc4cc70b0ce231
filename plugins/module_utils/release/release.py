# SPDX-License-Identifier: GPL-3.0-or-later
"""Releases on a host: built in place, sealed by ``release.json``, switched by one rename."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from typing import Any

from ..host.hashing import canonical_json, read_object, sync_folder, write_atomic
from ..host.layout import RELEASE_FILE, Paths
from . import inventory, ledger, plan
from .plan import Former, Plan

# What of a plan a release says about itself.
KEPT = (
    "manifest_sha256", "profile", "python", "model", "languages", "voices",
    "unpublished", "patches", "artifacts", "language_models", "hearing_model",
)  # fmt: skip
MODEL_KINDS = ("kokoro-config", "kokoro-weights", "kokoro-voice", "hearing-model")


class ReleaseError(Exception):
    """A release cannot be used; the message says why."""


def read(path: str) -> dict[str, Any] | None:
    """Return the contents of a release's ``release.json``, or None if the release is unfinished."""
    data = read_object(os.path.join(path, RELEASE_FILE))
    return data if data.get("id") == os.path.basename(path) else None


def _voice_file(model: str, voice: str) -> str:
    """Return the path of a voice: in the model's folder, or in the folder of another model beside it."""
    beside = os.path.dirname(model)
    others = sorted(os.listdir(beside)) if os.path.isdir(beside) else []
    places = [
        os.path.join(folder, "voices", f"{voice}.pt") for folder in (model, *(os.path.join(beside, n) for n in others))
    ]
    return next((place for place in places if os.path.exists(place)), places[0])


def gaps(path: str, model: str, voices: list[str], spacy_models: list[str], python: str) -> list[str]:
    """Return what a release still lacks before it may be sealed."""
    site = os.path.join(path, "env", "lib", f"python{python}", "site-packages")
    wanted = [os.path.join(path, "env", "bin", "xinference-local"), os.path.join(model, "config.json")]
    wanted += [_voice_file(model, voice) for voice in voices]
    wanted += [os.path.join(site, name) for name in spacy_models]
    absent = [file for file in wanted if not os.path.exists(file)]
    if not any(name.endswith(".pth") for name in (os.listdir(model) if os.path.isdir(model) else [])):
        absent.append(os.path.join(model, "*.pth"))
    return absent


def damage(path: str, contents: Mapping[str, Any]) -> list[str]:
    """Return what a finished release lacks compared with its ``release.json``: files, and model files of full size."""
    model = os.path.join(path, "models", contents["model"]["name"])
    spacy_models = [row["name"] for row in contents["artifacts"] if row["kind"] == "spacy-model"]
    found = gaps(path, model, contents["voices"], spacy_models, contents["python"]["version"])
    interpreter = os.path.join(path, "env", "bin", "python")
    if not os.path.exists(interpreter):
        found.append(interpreter)
    for row in contents["artifacts"]:
        if row["kind"] not in MODEL_KINDS:
            continue
        file = os.path.join(os.path.dirname(model), *row["path"].split("/")[1:])
        if os.path.exists(file) and os.stat(file).st_size != row["size"]:
            found.append(f"{file} ({os.stat(file).st_size} bytes of {row['size']})")
        elif not os.path.exists(file) and file not in found:
            found.append(file)
    return found


def whole(paths: Paths) -> dict[str, dict[str, Any]]:
    """Return the finished releases of a host that lack nothing: id -> contents of ``release.json``."""
    try:
        names = sorted(os.listdir(paths.releases))
    except OSError:
        return {}
    sealed = {name: data for name in names if (data := read(paths.release(name))) is not None}
    return {name: data for name, data in sealed.items() if not damage(paths.release(name), data)}


def choose_former(paths: Paths, wanted: str, receipts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the contents of the release to roll back to: the named one, or for "" the previous one.

    Raises ReleaseError, which gives the reason and the releases that are possible.
    """
    serving = current(paths)
    name = wanted or ledger.previous(receipts, serving)
    usable = whole(paths)
    if name in usable:
        return usable[name]
    others = ", ".join(f"{item} (current)" if item == serving else item for item in usable) or "none"
    choice = f"Complete releases on this host: {others}. Name one in releases_rollback_to, or run deploy.yml"
    if name is None:
        raise ReleaseError(f"the ledger names no release{f' before {serving}' if serving else ''}. {choice}")
    # Accept a name, never a path that leads elsewhere.
    sealed = read(paths.release(name)) if os.path.basename(name) == name else None
    if sealed is not None:
        lacks = ", ".join(damage(paths.release(name), sealed))
        raise ReleaseError(f"release {name} is damaged. It lacks: {lacks}. {choice}")
    what = "was never finished" if os.path.isdir(paths.release(os.path.basename(name))) else "is not on this host"
    raise ReleaseError(f"release {name} {what}. {choice}")


def plan_of(paths: Paths, contents: Mapping[str, Any]) -> Plan:
    """Return the plan that makes a finished release current."""
    return plan.rollback(paths, contents, current(paths), former(paths))


def former(paths: Paths) -> Former | None:
    """Return how to restore the current release; None if there is none, or if it says too little about itself."""
    name = current(paths)
    contents = read(paths.release(name)) if name else None
    if name is None or contents is None or not {"model", "languages"} <= set(contents):
        return None
    return plan.former(paths.release(name), contents)


def seal(path: str, contents: Mapping[str, Any]) -> None:
    """Close a release, list its files, and write ``release.json`` as the last one. Raises OSError.

    Everything else is on disk by then: the seal must not cover files that a power loss can still take.
    """
    for name in os.listdir(path):
        # Scratch files of a step that was killed.
        if name.startswith("."):
            scratch = os.path.join(path, name)
            shutil.rmtree(scratch) if os.path.isdir(scratch) and not os.path.islink(scratch) else os.unlink(scratch)
    inventory.close(path)
    sealed = {**contents, "inventory": inventory.write(path)}
    sync_file_system(path)
    write_atomic(os.path.join(path, RELEASE_FILE), canonical_json(sealed), 0o444)


def sync_file_system(path: str) -> None:
    """Flush a path's whole file system to disk: all the files of a release at once."""
    try:
        # syncfs(2) is missing in Python.
        subprocess.run(["sync", "--file-system", path], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        os.sync()


def drift(path: str) -> inventory.Drift | None:
    """Find what differs from the sealed state; empty if nothing does, None for an unfinished release. Raises OSError.

    Files of the store's Python, which lies beside the releases in ``tools/``, are named by absolute paths.
    """
    contents = read(path)
    if contents is None:
        return None
    found = inventory.compare(path, contents.get("inventory"))
    python = contents.get("python") or {}
    if not python.get("artifact"):
        return found
    folder = os.path.dirname(os.path.dirname(python["path"]))
    return inventory.joined(found, folder, inventory.compare_tool(folder))


def current(paths: Paths) -> str | None:
    """Return the id of the release that ``current`` points to."""
    try:
        return os.path.basename(os.readlink(paths.current))
    except OSError:
        return None


def switch(paths: Paths, release_id: str) -> bool:
    """Point ``current`` to a finished release by one rename. Return False if it already does.

    Raises ReleaseError, OSError.
    """
    target = paths.release(release_id)
    if read(target) is None:
        raise ReleaseError(f"{target} is not a finished release: it has no {RELEASE_FILE}")
    wanted = os.path.join("releases", release_id)
    try:
        if os.readlink(paths.current) == wanted:
            return False
    except OSError:
        pass
    temporary = paths.current + ".new"
    with contextlib.suppress(FileNotFoundError):
        os.unlink(temporary)
    os.symlink(wanted, temporary)
    os.rename(temporary, paths.current)
    sync_folder(paths.root)
    return True


def model_files(artifacts: Sequence[Mapping[str, Any]], model: str, paths: Paths) -> dict[str, str]:
    """Return the files of all models, relative to the first model's folder, each with the artifact that it comes from.

    An artifact's path is kokoro/<model name>/<file>, or hearing/<model name>/<file>. Another model's folder lies beside
    the first one.
    """
    beside = os.path.dirname(model)
    return {
        os.path.relpath(os.path.join(beside, *row["path"].split("/")[1:]), model): paths.artifact(
            row["sha256"], row["path"]
        )
        for row in artifacts
        if row["kind"] in MODEL_KINDS
    }


def is_placed(source: str, target: str) -> bool:
    """Whether an artifact is in a release as a hard link."""
    try:
        return os.path.samestat(os.stat(target), os.stat(source))
    except FileNotFoundError:
        return False


def link_or_copy(source: str, target: str) -> bool:
    """Put an artifact into a release, as a hard link if the file system allows. Return False if it is already there."""
    if is_placed(source, target):
        return False
    os.makedirs(os.path.dirname(target), exist_ok=True)
    temporary = f"{target}.new"
    if os.path.lexists(temporary):
        os.unlink(temporary)
    try:
        os.link(source, temporary)
    except OSError:
        shutil.copyfile(source, temporary)
        os.chmod(temporary, 0o444)
    os.rename(temporary, target)
    return True
