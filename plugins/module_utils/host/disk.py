# SPDX-License-Identifier: GPL-3.0-or-later
"""What to tell where a disk became full in the middle of the work: which, and how much is missing."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable

# An installed wheel takes about this many times its own size: unpacked and byte-compiled. Machine code for cards packs
# badly: 1.7 times, measured over the wheels of the lock for CUDA.
UNPACKED = 4.2
UNPACKED_CUDA = 2.2
# errno 28 and 122, in the words of Python, uv and the shell.
_FULL = re.compile(r"No space left on device|Disk quota exceeded|os error (28|122)\b|\[Errno (28|122)\]")


def existing_parent(path: str) -> str:
    """The path itself or the nearest folder above it that exists."""
    while not os.path.exists(path) and path not in ("/", ""):
        path = os.path.dirname(path)
    return path or "/"


def free(path: str) -> int:
    """Bytes that may still be written on the file system of a path, or of the folder above it that exists."""
    status = os.statvfs(existing_parent(path))
    return status.f_bavail * status.f_frsize


def unpacked(artifacts: Iterable[tuple[str, str, int]]) -> int:
    """Bytes that wheels (name, version, size) take once they are installed, roughly and rather too many."""
    return int(
        sum(
            size
            * (
                UNPACKED_CUDA
                if name.startswith(("nvidia-", "cuda-")) or (name == "torch" and not version.endswith("+cpu"))
                else UNPACKED
            )
            for name, version, size in artifacts
        )
    )


def megabytes(size: float) -> str:
    return f"{size / 1e6:,.0f} MB"


def advice(said: str, path: str, needed: float) -> str:
    """A sentence for an error in ``said`` that comes of a full disk, with what is missing of ``needed`` bytes; else "".

    Call it when what was half made is gone again: ``needed`` is what the whole step writes.
    """
    return sentence(path, free(path), needed) if is_full(said) else ""


def is_full(said: str) -> bool:
    """Whether an error's text says that a disk, or a quota, is full."""
    return bool(_FULL.search(said))


def sentence(path: str, there: float, needed: float) -> str:
    """What to tell of a full disk: ``there`` bytes are free for ``path``, ``needed`` are still to be written."""
    missing = needed - there
    lacks = f"about {megabytes(missing)} are missing" if missing > 0 else "which may not suffice"
    return (
        f"The disk is full: the file system of {path} has {megabytes(there)} free and {megabytes(needed)} are to be"
        f" written, {lacks}. Free some, then run the play again."
    )
