# SPDX-License-Identifier: GPL-3.0-or-later
"""Explain a full disk: which file system it is and how much space is missing."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable

# An installed wheel, unpacked and byte-compiled, takes about this many times its own size. GPU code compresses badly:
# 1.7 times, measured over the wheels of the lock for CUDA.
UNPACKED = 4.2
UNPACKED_CUDA = 2.2
# How Python, uv and the shell report errno 28 and 122.
_FULL = re.compile(r"No space left on device|Disk quota exceeded|os error (28|122)\b|\[Errno (28|122)\]")


def existing_parent(path: str) -> str:
    """The path itself, or the nearest folder above it that exists."""
    while not os.path.exists(path) and path not in ("/", ""):
        path = os.path.dirname(path)
    return path or "/"


def free(path: str) -> int:
    """Free bytes on the file system that a path is or will be on."""
    status = os.statvfs(existing_parent(path))
    return status.f_bavail * status.f_frsize


def unpacked(artifacts: Iterable[tuple[str, str, int]]) -> int:
    """Estimate the bytes that wheels (name, version, size) take when installed. The estimate is rather high."""
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
    """Explain an error text that a full disk caused, or return "" for other errors.

    ``needed`` is what the whole step writes, so call it after its unfinished files are removed.
    """
    return sentence(path, free(path), needed) if is_full(said) else ""


def is_full(said: str) -> bool:
    """Whether an error text says that a disk or a quota is full."""
    return bool(_FULL.search(said))


def sentence(path: str, there: float, needed: float) -> str:
    """Say that the disk is full: ``there`` bytes are free for ``path``, and ``needed`` must still be written."""
    missing = needed - there
    lacks = f"about {megabytes(missing)} are missing" if missing > 0 else "this may not be enough"
    return (
        f"The disk is full: the file system of {path} has {megabytes(there)} free, and {megabytes(needed)} must still"
        f" be written: {lacks}. Free some space, then run the play again."
    )
