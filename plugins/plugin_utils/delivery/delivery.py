# SPDX-License-Identifier: GPL-3.0-or-later
"""Code shared by all delivery methods, and the method that needs only a connection with standard input.

That method splits files into messages. A message is a series of frames: a line ``<sha256> <offset> <length>``, then
that many bytes. The receiver on the host writes each frame into ``<sha256>.part`` at its offset. So an interrupted
delivery resumes where it stopped.
"""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...module_utils.host.deploy_lock import LOCK_FILE

# Runs on the host with whatever Python Ansible found there.
RECEIVER = """
import os, sys, time
stream, folder = sys.stdin.buffer, sys.argv[1]
try:
    # A sign of life: a long delivery must not lose the deploy lock. It counts the seconds since the boot.
    os.utime("%s", (time.clock_gettime(time.CLOCK_BOOTTIME),) * 2)
except OSError:
    pass
while True:
    head = stream.readline()
    if not head:
        break
    digest, offset, left = head.split()
    offset, left = int(offset), int(left)
    path = os.path.join(folder.encode(), digest + b".part")
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | (0 if offset else os.O_TRUNC), 0o600)
    os.lseek(descriptor, offset, os.SEEK_SET)
    while left:
        block = stream.read(min(left, 1 << 20))
        if not block:
            sys.exit("the delivery was cut")
        view = memoryview(block)
        while view:
            view = view[os.write(descriptor, view):]
        left -= len(block)
    os.close(descriptor)
""".strip().replace("%s", LOCK_FILE)


class Stopped(Exception):
    """A delivery that failed, with the reason. Data that already arrived is kept."""


@dataclass
class Tally:
    """What a delivery moved: bytes of files, and all bytes with framing or protocol."""

    moved: int = 0
    wire: int = 0


class Progress:
    """Reports the progress of a delivery every few seconds. ``size`` and ``arrived`` are the bytes at its start."""

    def __init__(self, say: Callable[[str], None], size: int, arrived: int, every: float = 5.0) -> None:
        self.say, self.size, self.arrived, self.every = say, size, arrived, every
        self.started = self.told = time.monotonic()

    def __call__(self, moved: int) -> None:
        """Called with the bytes that were moved since the start."""
        now = time.monotonic()
        if now - self.told >= self.every:
            self.told = now
            rate = moved / (now - self.started) / 1e6
            self.say(f"{(self.arrived + moved) / 1e6:.0f} of {self.size / 1e6:.0f} MB, {rate:.1f} MB/s")


@dataclass(frozen=True)
class Piece:
    """A part of a file: ``length`` bytes from ``offset``."""

    sha256: str
    path: Path
    offset: int
    length: int


def pieces(files: Iterable[tuple[str, Path, int]], offsets: Mapping[str, int], limit: int) -> Iterator[list[Piece]]:
    """Messages of at most ``limit`` bytes, for files ``(sha256, path, size)``, each from its offset."""
    message: list[Piece] = []
    room = limit
    for sha256, path, size in files:
        at = offsets.get(sha256, 0)
        # An empty file must be created on the host, too.
        while at < size or (size == 0 and at == 0):
            length = min(size - at, room)
            message.append(Piece(sha256, path, at, length))
            at += max(length, 1)
            room -= length
            if room <= 0:
                yield message
                message, room = [], limit
    if message:
        yield message


def encode(message: Iterable[Piece]) -> bytes:
    """The bytes of a message. Raises OSError, and ValueError if a file became shorter."""
    parts = []
    for piece in message:
        with open(piece.path, "rb") as handle:
            handle.seek(piece.offset)
            data = handle.read(piece.length)
        if len(data) != piece.length:
            raise ValueError(f"{piece.path} became shorter while it was being sent")
        parts += [f"{piece.sha256} {piece.offset} {piece.length}\n".encode(), data]
    return b"".join(parts)


def receive_command(python: str, folder: str) -> str:
    """The command that receives a message on the host."""
    return f"{shlex.quote(python)} -I -c {shlex.quote(RECEIVER)} {shlex.quote(folder)}"


def interpreter(task_vars: Mapping[str, Any]) -> str:
    """The interpreter that Ansible uses on the host."""
    found = task_vars.get("ansible_facts", {}).get("discovered_interpreter_python")
    configured = task_vars.get("ansible_python_interpreter")
    if isinstance(configured, str) and configured.startswith("/"):
        return configured
    return str(found or "/usr/bin/python3")
