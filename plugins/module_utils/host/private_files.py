# SPDX-License-Identifier: GPL-3.0-or-later
"""Files and folders whose content, owner and mode must be exact."""

from __future__ import annotations

import contextlib
import errno
import os
import stat

from .hashing import write_atomic

# Characters. The tables of the kernel are the largest files that are read whole.
MOST_TEXT = 64 << 20


def read_text(path: str) -> str | None:
    """A file's text; None if the file does not exist. Raises OSError otherwise, also if it has no end."""
    try:
        with open(path, encoding="utf-8", errors="replace", opener=_not_a_pipe) as handle:
            text = handle.read(MOST_TEXT + 1)
    except FileNotFoundError:
        return None
    if len(text) > MOST_TEXT:
        raise OSError(errno.EFBIG, f"it has more than {MOST_TEXT} characters", path)
    return text


def _not_a_pipe(path: str, flags: int) -> int:
    """Open a file. A pipe would wait for a writer, and is refused. Raises OSError."""
    descriptor = os.open(path, flags | os.O_NONBLOCK)
    if stat.S_ISFIFO(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "it is a pipe", path)
    return descriptor


def read_if_possible(path: str) -> str:
    """A file's text, or "" if it cannot be read."""
    try:
        return read_text(path) or ""
    except OSError:
        return ""


def end_of(path: str, most: int, links: int = os.O_NOFOLLOW) -> str:
    """The end of a file of any size, starting with a whole line. Links are followed only with ``links`` 0.

    Raises OSError.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | links)
    with os.fdopen(descriptor, "rb") as handle:
        size = handle.seek(0, os.SEEK_END)
        handle.seek(max(0, size - most))
        text = handle.read(most).decode("utf-8", "replace")
    return text if size <= most else text.split("\n", 1)[-1]


def write_text(path: str, text: str, mode: int, uid: int = 0, gid: int = 0) -> None:
    """Replace a file in one step. Its text is never readable for others than its owner and mode allow."""
    write_atomic(path, text.encode(), mode, (uid, gid))


def wrong(path: str, mode: int, uid: int = 0, gid: int | None = 0, folder: bool = False) -> str | None:
    """What is wrong with a file or folder; None if nothing is. It follows no links. ``gid`` None allows any group."""
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        return "missing"
    if not (stat.S_ISDIR if folder else stat.S_ISREG)(status.st_mode):
        return "not a folder" if folder else "not a regular file"
    if status.st_uid != uid or (gid is not None and status.st_gid != gid):
        return f"owned by {status.st_uid}:{status.st_gid}"
    if stat.S_IMODE(status.st_mode) != mode:
        return f"mode {stat.S_IMODE(status.st_mode):04o}"
    return None


def differs(path: str, text: str, mode: int) -> str | None:
    """Why a file of ours must be written: what is wrong with it, or that it has other content. None if it is right."""
    why = wrong(path, mode, os.geteuid(), None)
    return "other content" if why is None and read_text(path) != text else why


def set_private(descriptor: int, mode: int, uid: int, gid: int) -> None:
    """Give an open file or folder its owner and mode. Raises PermissionError if a file has several names."""
    status = os.fstat(descriptor)
    if stat.S_ISREG(status.st_mode) and status.st_nlink != 1:
        raise PermissionError("the owner of a file with several hard links is not changed")
    os.fchown(descriptor, uid, gid)
    os.fchmod(descriptor, mode)


def make_folder(path: str, mode: int, uid: int, gid: int) -> None:
    """Create or correct one folder in an existing one. Raises OSError, also if it is a link or a file."""
    with contextlib.suppress(FileExistsError):
        os.mkdir(path, 0o700)
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        set_private(descriptor, mode, uid, gid)
    finally:
        os.close(descriptor)


def own_below(folder: str, parts: tuple[str, ...], mode: int, uid: int, gid: int) -> None:
    """Correct owner and mode of ``folder/parts...`` although a user other than root may write in ``folder``.

    Each part is opened below the one before and never through a link. So the user cannot direct root to another file.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        for part in parts:
            below = os.open(part, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=descriptor)
            os.close(descriptor)
            descriptor = below
        set_private(descriptor, mode, uid, gid)
    finally:
        os.close(descriptor)
