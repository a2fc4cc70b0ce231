# SPDX-License-Identifier: GPL-3.0-or-later
"""One writer at a time for a directory, by a lock that the kernel lifts when its holder dies."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class BusyError(Exception):
    """Somebody else works in the directory."""


@contextmanager
def exclusive(folder: Path, readers_too: bool = True) -> Iterator[None]:
    """Keep others out of ``folder`` while the block runs; with ``readers_too=False`` let other readers in.

    It is the lock that a fetch takes, too. Raises BusyError at once where it is taken, OSError for no folder.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        try:
            fcntl.flock(descriptor, (fcntl.LOCK_EX if readers_too else fcntl.LOCK_SH) | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise BusyError(
                f"another fetch, export, import or prune works in {folder}: wait until it ends, then start again"
            ) from error
        yield
    finally:
        os.close(descriptor)
