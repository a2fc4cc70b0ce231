# SPDX-License-Identifier: GPL-3.0-or-later
"""The host's side of a delivery: find what is there, take in what arrives, and keep what is verified.

Bytes arrive in ``artifacts/.incoming/<sha256>.part``. The host that will run them hashes them there, and only then
renames them to ``artifacts/<sha256>/<file name>``.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Mapping
from typing import Any

from ..host import ownership
from ..host.hashing import Memo, digest_files
from ..host.layout import Paths


def survey(root: str, artifacts: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Report which of some artifacts (``sha256``, ``path``, ``size``) a host holds, by names, sizes and stamps.

    ``missing`` and ``stale`` are digests. A stale file exists, but it was never verified or has changed since.
    ``surplus`` lists files (``{"sha256", "name", "size"}``) that are none of these artifacts. ``arrived`` counts the
    bytes of an interrupted delivery. The next delivery uses or removes them.
    """
    paths = Paths(root)
    memo = Memo(paths.stamps)
    found: dict[str, Any] = {"missing": [], "stale": [], "surplus": [], "arrived": 0}
    wanted = set()
    for artifact in artifacts:
        wanted.add(artifact["sha256"])
        file = paths.artifact(artifact["sha256"], artifact["path"])
        try:
            status = os.stat(file)
        except OSError:
            found["missing"].append(artifact["sha256"])
            continue
        if status.st_size != artifact["size"] or memo.get(file, status) != artifact["sha256"]:
            found["stale"].append(artifact["sha256"])
    try:
        folders = sorted(os.listdir(paths.artifacts))
    except OSError:
        folders = []
    for sha256 in folders:
        if sha256 in wanted or sha256.startswith("."):
            continue
        place = os.path.join(paths.artifacts, sha256)
        # A stray file or link is surplus too. Nothing in it is followed.
        inside = os.path.isdir(place) and not os.path.islink(place)
        for name in sorted(os.listdir(place)) if inside else [""]:
            with contextlib.suppress(OSError):
                size = os.lstat(os.path.join(place, name) if inside else place).st_size
                found["surplus"].append({"sha256": sha256, "name": name or sha256, "size": size})
    with contextlib.suppress(OSError):
        found["arrived"] = sum(part.stat().st_size for part in os.scandir(paths.incoming))
    return found


def missing(root: str, artifacts: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return the digests of artifacts that the host does not hold complete and verified: missing and stale ones."""
    found = survey(root, artifacts)
    return [*found["missing"], *found["stale"]]


def make_folders(paths: Paths) -> None:
    """Make the folders of a delivery. Raises ForeignError, OSError.

    Everyone may enter the root, because the service and the peer of a swarm are other users.
    """
    os.makedirs(os.path.dirname(paths.root), exist_ok=True)
    ownership.claim(paths.root)
    for folder, mode in ((paths.root, 0o755), (paths.artifacts, 0o755), (paths.incoming, 0o700)):
        os.makedirs(folder, exist_ok=True)
        os.chmod(folder, mode)


def prepare(root: str, artifacts: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    """Prepare the folders for a delivery and return how many bytes of each digest have already arrived.

    Remove parts that an interrupted delivery left and that nobody wants any more. Raises ForeignError, OSError.
    """
    paths = Paths(root)
    make_folders(paths)
    sizes = {artifact["sha256"]: artifact["size"] for artifact in artifacts}
    offsets = dict.fromkeys(sizes, 0)
    for name in os.listdir(paths.incoming):
        part, sha256 = os.path.join(paths.incoming, name), name[: -len(".part")]
        size = os.stat(part).st_size
        if size > sizes.get(sha256, -1):
            os.unlink(part)
        else:
            offsets[sha256] = size
    return offsets


def commit(root: str, artifacts: Iterable[Mapping[str, Any]]) -> tuple[list[str], dict[str, str]]:
    """Hash what arrived and move it into place. Return the digests kept, and what is wrong with each other digest.

    A file that is already in place with the right bytes is verified again, not replaced. A wrong file is removed, so
    that the next delivery sends all of it.
    """
    paths = Paths(root)
    memo = Memo(paths.stamps)
    kept: list[str] = []
    wrong: dict[str, str] = {}
    wanted = {artifact["sha256"]: artifact for artifact in artifacts}
    parts = {os.path.join(paths.incoming, sha256 + ".part"): sha256 for sha256 in wanted}
    for part, digest in digest_files(parts).items():
        sha256 = parts[part]
        final = paths.artifact(sha256, wanted[sha256]["path"])
        if isinstance(digest, OSError):
            wrong[sha256] = "did not arrive"
            continue
        if digest != sha256:
            size = os.stat(part).st_size
            os.unlink(part)
            wrong[sha256] = f"arrived with sha256 {digest} ({size} bytes of {wanted[sha256]['size']})"
            continue
        os.makedirs(os.path.dirname(final), exist_ok=True)
        os.chmod(part, 0o444)
        os.rename(part, final)
        memo.put(final, os.stat(final), sha256)
        kept.append(sha256)
    memo.save()
    return kept, wrong


def reprove(root: str, artifacts: Iterable[Mapping[str, Any]], check: bool = False) -> list[str]:
    """Hash files in place that have no stamp. Keep those that are right and remove the others.

    With ``check``, remove and remember nothing. Return the digests that turned out to be present.
    """
    paths = Paths(root)
    memo = Memo(paths.stamps)
    files = {paths.artifact(a["sha256"], a["path"]): a["sha256"] for a in artifacts}
    there = []
    for file, digest in digest_files([file for file in files if os.path.isfile(file)], memo).items():
        if digest == files[file]:
            there.append(files[file])
        elif not check:
            memo.forget(file)
            os.unlink(file)
    if not check:
        memo.save()
    return there


def weed(root: str, artifacts: Iterable[Mapping[str, Any]]) -> list[str]:
    """Hash files that are about to be installed, whatever their stamps say, and remove those that are wrong.

    Return the removed files' paths in the store. The next delivery sends them again. Raises OSError.
    """
    paths = Paths(root)
    memo = Memo(paths.stamps)
    files = {paths.artifact(row["sha256"], row["path"]): row for row in artifacts}
    wrong = []
    for file, digest in digest_files(files).items():
        if digest != files[file]["sha256"]:
            memo.forget(file)
            with contextlib.suppress(FileNotFoundError):
                os.unlink(file)
            wrong.append(str(files[file]["path"]))
    memo.save()
    return sorted(wrong)


def weeded(wrong: Iterable[str]) -> str:
    """Return a sentence about what :func:`weed` removed, or "" if it removed nothing."""
    named = ", ".join(wrong)
    return (
        f"These files changed on the host between arrival and installation: {named}. They were removed. Run the play"
        " again to deliver them again. If this happens twice, check the host's disk and memory."
        if named
        else ""
    )
