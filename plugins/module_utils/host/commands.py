# SPDX-License-Identifier: GPL-3.0-or-later
"""Run a command within limits of time and memory."""

from __future__ import annotations

import os
import select
import subprocess
import time
from collections.abc import Sequence

LATE = 124  # the status of a command that ran into its time limit
OUTPUT_BYTES = 8 << 20  # of the output, from its end: a journal may hold gigabytes


def run(command: Sequence[str], timeout: float) -> tuple[int, str]:
    """Run a command without a shell. Return its exit status and the end of its output.

    Abandon it after ``timeout`` seconds: a process that waits in a driver cannot be killed, and waiting for its end
    would hang as well.
    """
    end = time.monotonic() + timeout
    try:
        process = subprocess.Popen(
            list(command),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**os.environ, "LC_ALL": "C", "SYSTEMD_PAGER": "", "SYSTEMD_COLORS": "0"},
            start_new_session=True,
        )
    except OSError as error:
        return 127, str(error)
    try:
        output = _read(process, end)
        status = process.wait(max(0.0, end - time.monotonic()))
    except subprocess.TimeoutExpired:
        process.kill()
        return LATE, f"{command[0]} did not answer within {timeout:g} s"
    return status, output.decode("utf-8", "replace").strip()


def _read(process: subprocess.Popen[bytes], end: float) -> bytes:
    """Return the end of a process's output. Raises TimeoutExpired."""
    kept = bytearray()
    stream = process.stdout
    if stream is None:  # never, because `run` asks for a pipe
        return b""
    with stream:
        while True:
            left = end - time.monotonic()
            if left <= 0 or not select.select([stream], [], [], left)[0]:
                raise subprocess.TimeoutExpired(process.args, left)
            part = os.read(stream.fileno(), 1 << 16)
            if not part:
                return bytes(kept[-OUTPUT_BYTES:])
            kept += part
            if len(kept) > 2 * OUTPUT_BYTES:
                del kept[:-OUTPUT_BYTES]
