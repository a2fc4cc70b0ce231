# SPDX-License-Identifier: GPL-3.0-or-later
"""Record a release's files when it is sealed, and find what changed since.

``files.txt`` lies beside ``release.json``. It has one line for each file, folder and link of the release:
``<mode> <uid> <gid> <size> <mtime in ns> <path>``. A folder's size and time are 0. ``release.json`` holds the SHA-256
of ``files.txt``. Contents are not read again: whoever can change a root-owned file and reset its time is already root.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import stat
from collections.abc import Collection, Iterator
from typing import Any, NamedTuple

from ..host.hashing import read_object, sha256_bytes, write_atomic
from ..host.layout import RELEASE_FILE

INVENTORY_FILE = "files.txt"
# Lies beside a Python of the store: the archive it came from, and the digest of its inventory.
TOOL_STAMP = "voicefleet-python.json"
# Python compiles its own library when root runs it.
COMPILED = "__pycache__"
# How many paths of each kind a message names.
NAMED = 5


class Drift(NamedTuple):
    """Paths relative to the release, sorted. All lists are empty if the release is as it was sealed."""

    missing: list[str]
    changed: list[str]
    added: list[str]

    def __bool__(self) -> bool:
        return bool(self.missing or self.changed or self.added)

    @property
    def paths(self) -> list[str]:
        return [*self.missing, *self.changed, *self.added]

    def as_dict(self) -> dict[str, Any]:
        """``{"missing": {"count": int, "first": [str]}, "changed": ..., "added": ...}``, JSON-ready."""
        return {
            name: {"count": len(paths), "first": paths[:NAMED]}
            for name, paths in zip(self._fields, (self.missing, self.changed, self.added))
        }


def walk(folder: str, skip: Collection[str] = ()) -> Iterator[tuple[str, os.stat_result]]:
    """Yield every file, folder and link of a release by its relative path (``.`` for itself), without the two seals.

    Skip everything whose name is in ``skip``. Raises OSError.
    """
    yield ".", os.stat(folder)
    pending = [""]
    while pending:
        parent = pending.pop()
        # Use a descriptor: the kernel then need not resolve the whole path for each of tens of thousands of files.
        descriptor = os.open(os.path.join(folder, parent), os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            with os.scandir(descriptor) as entries:
                for entry in entries:
                    path = f"{parent}/{entry.name}" if parent else entry.name
                    if path in (RELEASE_FILE, INVENTORY_FILE) or entry.name in skip:
                        continue
                    yield path, entry.stat(follow_symlinks=False)
                    if entry.is_dir(follow_symlinks=False):
                        pending.append(path)
        finally:
            os.close(descriptor)


def _entry(status: os.stat_result) -> str:
    size, time = (0, 0) if stat.S_ISDIR(status.st_mode) else (status.st_size, status.st_mtime_ns)
    return f"{status.st_mode:o} {status.st_uid} {status.st_gid} {size} {time}"


def _text(path: str) -> str:
    """Return a path as one line of UTF-8, whatever bytes it contains."""
    return os.fsencode(path).decode("utf-8", "backslashreplace").replace("\n", "\\n")


def write(folder: str, skip: Collection[str] = ()) -> str:
    """Write the inventory of a release and return its SHA-256. Raises OSError."""
    lines = sorted(f"{_entry(status)} {_text(path)}\n" for path, status in walk(folder, skip))
    data = "".join(lines).encode()
    write_atomic(os.path.join(folder, INVENTORY_FILE), data, 0o444)
    return sha256_bytes(data)


def close(folder: str) -> None:
    """Give everything in a release to the caller (root): readable for all, writable for nobody else.

    Raises OSError.
    """
    uid, gid = os.geteuid(), os.getegid()
    for path, status in walk(folder):
        file = os.path.join(folder, path)
        if (status.st_uid, status.st_gid) != (uid, gid):
            os.lchown(file, uid, gid)
        mode = stat.S_IMODE(status.st_mode)
        wanted = 0o755 if stat.S_ISDIR(status.st_mode) else mode & 0o755 | 0o444
        if mode != wanted and not stat.S_ISLNK(status.st_mode):
            os.chmod(file, wanted)


def compare(folder: str, sha256: str | None, skip: Collection[str] = ()) -> Drift:
    """Find what differs from the sealed state; ``sha256`` is the inventory's digest from ``release.json``.

    If the inventory is missing or not the sealed one, it proves nothing: report it as missing or changed.
    """
    try:
        with open(os.path.join(folder, INVENTORY_FILE), "rb") as handle:
            data = handle.read()
    except OSError:
        return Drift([INVENTORY_FILE], [], [])
    if sha256_bytes(data) != sha256:
        return Drift([], [INVENTORY_FILE], [])
    sealed: dict[str, str] = {}
    for line in data.decode().split("\n")[:-1]:
        *entry, path = line.split(" ", 5)
        sealed[path] = " ".join(entry)
    changed, added = [], []
    for path, status in walk(folder, skip):
        before = sealed.pop(_text(path), None)
        if before is None:
            added.append(path)
        elif before != _entry(status):
            changed.append(path)
    for name in (RELEASE_FILE, INVENTORY_FILE):
        try:
            status = os.stat(os.path.join(folder, name))
        except FileNotFoundError:
            continue  # a tool has no release.json
        if status.st_uid != os.geteuid() or status.st_mode & 0o022:
            changed.append(name)
    return Drift(sorted(sealed), sorted(changed), sorted(added))


def write_tool(folder: str, archive: str) -> None:
    """Write the inventory, then the stamp, of a Python that was unpacked from the archive with this digest."""
    stamp = {"archive": archive, "inventory": write(folder, (COMPILED, TOOL_STAMP))}
    write_atomic(os.path.join(folder, TOOL_STAMP), json.dumps(stamp).encode())


def tool_stamp(folder: str) -> dict[str, str]:
    """Return what :func:`write_tool` wrote; empty if it is missing or damaged."""
    return read_object(os.path.join(folder, TOOL_STAMP))


def compare_tool(folder: str) -> Drift:
    """Find what changed since a Python was unpacked. Without a stamp, all of it counts as missing. Raises OSError."""
    stamp = tool_stamp(folder)
    if not stamp:
        return Drift(["."], [], [])
    return compare(folder, stamp.get("inventory"), (COMPILED, TOOL_STAMP))


def joined(drift: Drift, folder: str, other: Drift) -> Drift:
    """Join a release's drift with that of a folder outside it, whose paths become absolute."""
    both = (
        [*own, *(os.path.normpath(os.path.join(folder, path)) for path in outside)]
        for own, outside in zip(drift, other)
    )
    return Drift(*both)


def in_env(drift: Drift) -> bool:
    """Whether the drift affects the release's environment or Python, or may do so because the inventory is missing."""
    return any(path in ("env", INVENTORY_FILE) or path.startswith(("env/", "/")) for path in drift.paths)


def reopen(folder: str, drift: Drift, env_stamp: str) -> None:
    """Remove the seal of a release that drifted. It becomes an unfinished release that lacks what was wrong.

    ``env_stamp`` is the file without which the environment is rebuilt. Other wrong files are removed. The seal goes
    last, so that the drift stays visible if this is interrupted. Raises OSError.
    """
    if in_env(drift):
        _remove(os.path.join(folder, env_stamp))
    for path in [*drift.added, *drift.changed]:
        file = os.path.join(folder, path)
        if path not in (".", RELEASE_FILE) and not path.startswith(("env/", "/")):
            # A folder that existed at sealing stays: sealing again corrects its mode.
            if path in drift.added and os.path.isdir(file) and not os.path.islink(file):
                shutil.rmtree(file)
            elif os.path.islink(file) or not os.path.isdir(file):
                _remove(file)
    _remove(os.path.join(folder, RELEASE_FILE))


def _remove(file: str) -> None:
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        os.unlink(file)
