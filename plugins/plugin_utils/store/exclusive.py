# SPDX-License-Identifier: GPL-3.0-or-later
"""Allow one writer at a time in a directory. The kernel releases the lock when its holder dies."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class BusyError(Exception):
    """Another process is working in the directory."""


@contextmanager
def exclusive(folder: Path, readers_too: bool = True) -> Iterator[None]:
    """Lock ``folder`` while the block runs. With ``readers_too=False``, other readers may share the lock.

    A fetch takes the same lock. Raises BusyError at once if it is taken, and OSError if there is no folder.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        try:
            fcntl.flock(descriptor, (fcntl.LOCK_EX if readers_too else fcntl.LOCK_SH) | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise BusyError(
                f"another fetch, export, import or prune is using {folder}: wait until it ends, then start again"
            ) from error
        yield
    finally:
        os.close(descriptor)
