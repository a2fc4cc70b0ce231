# SPDX-License-Identifier: GPL-3.0-or-later
"""The host's side of a delivery: what is there, what has begun to arrive, and what is proved and kept.

Bytes arrive in ``artifacts/.incoming/<sha256>.part``. They are hashed here, on the host that will run them, and
only then renamed to ``artifacts/<sha256>/<file name>``.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import Any

from .hashing import Memo, digest_files
from .layout import Paths


def missing(root: str, artifacts: Iterable[Mapping[str, Any]]) -> list[str]:
    """Digests of artifacts (``sha256``, ``path``, ``size``) that the host does not hold, whole and proved."""
    paths = Paths(root)
    memo = Memo(paths.stamps)
    absent = []
    for artifact in artifacts:
        file = paths.artifact(artifact["sha256"], artifact["path"])
        try:
            status = os.stat(file)
        except OSError:
            absent.append(artifact["sha256"])
            continue
        # Without a fitting stamp the file was touched since it was proved: it counts as absent and is proved again.
        if status.st_size != artifact["size"] or memo.get(file, status) != artifact["sha256"]:
            absent.append(artifact["sha256"])
    return absent


def prepare(root: str, artifacts: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    """Make room for a delivery and say how many bytes of each digest have arrived already."""
    paths = Paths(root)
    for folder, mode in ((paths.root, 0o755), (paths.artifacts, 0o755), (paths.incoming, 0o700)):
        os.makedirs(folder, exist_ok=True)
        os.chmod(folder, mode)
    offsets = {}
    for artifact in artifacts:
        part = os.path.join(paths.incoming, artifact["sha256"] + ".part")
        try:
            size = os.stat(part).st_size
        except OSError:
            size = 0
        offsets[artifact["sha256"]] = size if size <= artifact["size"] else 0
    return offsets


def commit(root: str, artifacts: Iterable[Mapping[str, Any]]) -> tuple[list[str], dict[str, str]]:
    """Hash what arrived and move it to its place: digests kept, and digest -> what is wrong for the others.

    A file that is already in its place with the right bytes is proved again, not replaced. A wrong one is removed, so
    that the next delivery brings it whole.
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


def reprove(root: str, artifacts: Iterable[Mapping[str, Any]]) -> list[str]:
    """Hash files that are in their place without a stamp; keep those that are right, remove the others.

    Returns the digests that turned out to be there after all.
    """
    paths = Paths(root)
    memo = Memo(paths.stamps)
    files = {paths.artifact(a["sha256"], a["path"]): a["sha256"] for a in artifacts}
    there = []
    for file, digest in digest_files([file for file in files if os.path.isfile(file)], memo).items():
        if digest == files[file]:
            there.append(files[file])
        else:
            memo.forget(file)
            os.unlink(file)
    memo.save()
    return there
