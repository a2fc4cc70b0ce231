# SPDX-License-Identifier: GPL-3.0-or-later
"""SHA-256 of many files, and files that are replaced in one step.

A stamp is ``[inode, mtime in ns, size in bytes]`` of a file whose digest was computed once. While a file still has this
stamp, it counts as unchanged. Only root could alter a file of root and restore its time.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import json
import os
import stat
import tempfile
import time
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

CHUNK = 1 << 20
# More than any manifest, index or list of this collection has.
LIMIT = 16 << 20
# The end of the name of a file that is being written. A killed write leaves it.
UNFINISHED = ".voicefleet-new"
# No write takes this long. Of another process, younger files may still be in use.
UNFINISHED_SECONDS = 3600


def open_regular(path: str) -> io.FileIO:
    """Open a regular file for reading. A pipe or a device might never end. Raises OSError."""
    handle = io.FileIO(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC))
    if not stat.S_ISREG(os.fstat(handle.fileno()).st_mode):
        handle.close()
        raise OSError(errno.EINVAL, "it is not a regular file", path)
    return handle


def read_bounded(path: str, limit: int = LIMIT) -> bytes:
    """The contents of a regular file of at most ``limit`` bytes. Raises OSError."""
    with open_regular(path) as handle, io.BufferedReader(handle) as reader:
        data = reader.read(limit + 1)
    if len(data) > limit:
        raise OSError(errno.EFBIG, f"it has more than {limit} bytes", path)
    return data


def sha256_file(path: str) -> str:
    """The hex digest of a file. Raises OSError."""
    digest = hashlib.sha256()
    with open_regular(path) as handle:
        while True:
            block = handle.read(CHUNK)
            if not block:
                return digest.hexdigest()
            digest.update(block)


def sha256_bytes(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def stamp_of(status: os.stat_result) -> list[int]:
    """The three numbers that show whether a file changed."""
    return [status.st_ino, status.st_mtime_ns, status.st_size]


class Memo:
    """Digests that were computed before, by absolute path and stamp.

    ``path`` is a JSON file ``{file: {"stamp": [int, int, int], "sha256": str}}``. It only saves time, so an unreadable
    file counts as empty.
    """

    def __init__(self, path: str | None) -> None:
        self.path = path
        self.entries: dict[str, dict[str, Any]] = {}
        self.changed = False
        if path is not None:
            self.entries = {k: v for k, v in read_object(path).items() if isinstance(v, dict)}

    def get(self, file: str, status: os.stat_result) -> str | None:
        entry = self.entries.get(file)
        if entry is not None and entry.get("stamp") == stamp_of(status):
            digest = entry.get("sha256")
            return digest if isinstance(digest, str) else None
        return None

    def put(self, file: str, status: os.stat_result, digest: str) -> None:
        self.entries[file] = {"stamp": stamp_of(status), "sha256": digest}
        self.changed = True

    def forget(self, file: str) -> None:
        if self.entries.pop(file, None) is not None:
            self.changed = True

    def save(self) -> None:
        """Write the digests. Losing them costs only time, so a read-only folder is no error."""
        if self.path is None or not self.changed:
            return
        try:
            os.makedirs(os.path.dirname(self.path), exist_ok=True)
            write_atomic(self.path, json.dumps(self.entries, sort_keys=True).encode(), 0o600)
            self.changed = False
        except OSError:
            pass


def digest_files(
    files: Iterable[str], memo: Memo | None = None, workers: int | None = None
) -> dict[str, str | OSError]:
    """Digests of files, hashed on all cores: path -> hex digest, or the OSError of an unreadable file."""
    found: dict[str, str | OSError] = {}
    todo: list[tuple[str, os.stat_result]] = []
    for file in files:
        try:
            status = os.stat(file)
        except OSError as error:
            found[file] = error
            continue
        known = memo.get(file, status) if memo is not None else None
        if known is not None:
            found[file] = known
        else:
            todo.append((file, status))
    if not todo:
        return found
    # Largest first, so that no big file runs alone at the end.
    todo.sort(key=lambda item: -item[1].st_size)

    def work(item: tuple[str, os.stat_result]) -> tuple[str, os.stat_result, str | OSError]:
        try:
            return item[0], item[1], sha256_file(item[0])
        except OSError as error:
            return item[0], item[1], error

    with ThreadPoolExecutor(max_workers=workers or os.cpu_count() or 1) as pool:
        for file, status, digest in pool.map(work, todo):
            found[file] = digest
            if memo is not None and isinstance(digest, str):
                memo.put(file, status, digest)
    return found


def write_atomic(path: str, data: bytes, mode: int = 0o644, owner: tuple[int, int] | None = None) -> None:
    """Replace a file in one step: readers see the old or the new contents, never a part, even after a power loss.

    ``owner`` is a uid and a gid. Owner and mode are set before the file gets its name. Raises OSError.
    """
    directory, prefix = _beside(path)
    sweep(directory, prefix)
    descriptor, temporary = tempfile.mkstemp(prefix=prefix, suffix=UNFINISHED, dir=directory)
    try:
        with os.fdopen(descriptor, "wb") as handle:
            handle.write(data)
            if owner is not None:
                os.fchown(handle.fileno(), *owner)
            os.fchmod(handle.fileno(), mode)
            handle.flush()
            os.fsync(handle.fileno())
        os.rename(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
    sync_folder(directory)


def _beside(path: str) -> tuple[str, str]:
    """The folder and the begin of the name that a file has while it is written."""
    directory, name = os.path.split(path)
    return directory or ".", f".{name[:50]}."


def sweep_beside(path: str, seconds: float = UNFINISHED_SECONDS) -> None:
    """Remove what killed writes of one file left, if its folder exists."""
    with contextlib.suppress(FileNotFoundError):
        sweep(*_beside(path), seconds)


def is_unfinished(name: str) -> bool:
    """Whether a file has the name that a killed write leaves."""
    return name.startswith(".") and name.endswith(UNFINISHED)


def sweep(folder: str, prefix: str = ".", seconds: float = UNFINISHED_SECONDS) -> None:
    """Remove what killed writes left in a folder: files whose names begin with ``prefix``, older than ``seconds``."""
    for name in os.listdir(folder):
        if name.startswith(prefix) and is_unfinished(name):
            file = os.path.join(folder, name)
            with contextlib.suppress(OSError):
                if time.time() - os.lstat(file).st_mtime >= seconds:
                    os.unlink(file)


def sync_folder(path: str) -> None:
    """Write a folder's names to disk, so that a rename in it survives a power loss. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some network file systems cannot do this
            raise
    finally:
        os.close(descriptor)


def parse_json(text: str | bytes) -> Any:
    """The value of a JSON text. Raises ValueError, also if it is nested too deeply."""
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def read_object(path: str) -> dict[str, Any]:
    """The object in a JSON file. Empty if the file cannot be read, is too large or holds something else."""
    with contextlib.suppress(OSError, ValueError):
        loaded = parse_json(read_bounded(path, 4 * LIMIT))
        if isinstance(loaded, dict):
            return loaded
    return {}


def canonical_json(data: Mapping[str, Any] | list[Any]) -> bytes:
    """The same bytes for the same value: sorted keys, two spaces, a final newline.

    A file name that is not UTF-8 is escaped as JSON escapes it.
    """
    return (json.dumps(data, sort_keys=True, indent=2, ensure_ascii=False) + "\n").encode("utf-8", "backslashreplace")
