# SPDX-License-Identifier: GPL-3.0-or-later
"""Deliver with rsync over Ansible's SSH connection: command line, progress, transferred bytes and error messages."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, cast

from .delivery import Stopped, Tally

# rsync ends if nothing moves for so many seconds.
TIMEOUT = 60

_REASONS = {
    11: "a file could not be written",
    12: "the connection was cut",
    20: "rsync was stopped",
    23: "some files could not be sent",
    30: f"nothing moved for {TIMEOUT} s",
    35: "the host did not answer in time",
    127: "the host has no rsync",
    255: "SSH was cut or refused",
}


class RsyncFailed(Stopped):
    """rsync ended with ``status`` other than 0, after ``moved`` bytes."""

    def __init__(self, status: int, said: str, moved: int) -> None:
        super().__init__(reason(status, said))
        self.status, self.moved = status, moved


def destination(host: str, folder: str) -> str:
    """The target of rsync. An IPv6 address is put in brackets."""
    return f"[{host}]:{folder}/" if ":" in host else f"{host}:{folder}/"


def command(links: Path, shell: Path, target: str, become: str) -> list[str]:
    """rsync's arguments: it continues at the end of each ``.part``. The host verifies the files later.

    ``become`` is put before rsync on the host, such as ``sudo -n -u root``. It may be empty.
    """
    run = ["rsync", "--recursive", "--copy-links", "--inplace", "--append", f"--timeout={TIMEOUT}", "--protect-args"]
    # Ansible already compresses the connection if it is configured to.
    run += ["--no-compress", "--no-human-readable", "--info=progress2,stats2", "--outbuf=L"]
    run += ["-e", f'sh "{shell}"', "--rsync-path", f"{become} rsync".strip()]
    return [*run, f"{links}/", target]


def send(
    files: Iterable[tuple[str, Path]],
    ssh: Sequence[str],
    target: str,
    become: str,
    scratch: str,
    tell: Callable[[int], None],
) -> Tally:
    """Send files ``(sha256, path)`` as ``<sha256>.part``. ``tell`` is called with the bytes moved so far.

    ``ssh`` is the command that connects, without the host; ``scratch`` is a folder on the controller for links to
    the files. Raises RsyncFailed, and OSError if a file is missing or rsync cannot be started.
    """
    with tempfile.TemporaryDirectory(prefix="rsync-", dir=scratch) as name:
        links, shell = Path(name) / "files", Path(name) / "ssh"
        links.mkdir()
        for sha256, path in files:
            path.stat()
            (links / f"{sha256}.part").symlink_to(path.absolute())
        # rsync quotes -e in its own way. A script needs no quoting.
        shell.write_text(f'exec {shlex.join(ssh)} "$@"\n')
        with open(Path(name) / "errors", "w+b") as errors:
            process = subprocess.Popen(
                command(links, shell, target, become),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                env={**os.environ, "LC_ALL": "C"},
            )
            try:
                output, moved = _follow(cast(IO[bytes], process.stdout).fileno(), tell)
                status = process.wait()
            finally:
                if process.poll() is None:
                    process.terminate()
                    with suppress(subprocess.TimeoutExpired):
                        process.wait(5)
                if process.stdout is not None:
                    process.stdout.close()
            errors.seek(0)
            # The host writes here too. The first lines name the cause.
            said = errors.read(1 << 16).decode("utf-8", "replace")
    if status:
        raise RsyncFailed(status, said, moved)
    return Tally(
        moved=_count("Literal data", output),
        wire=_count("Total bytes sent", output) + _count("Total bytes received", output),
    )


def _follow(descriptor: int, tell: Callable[[int], None]) -> tuple[str, int]:
    """Read rsync's output to its end and report each progress figure. Returns the end of the output and the bytes."""
    rest, moved = "", 0
    while True:
        block = os.read(descriptor, 65536)
        if not block:
            return rest, moved
        # Progress rewrites one line. The kept part is enough for the statistics after it.
        rest = (rest + block.decode("ascii", "replace"))[-8192:]
        figures = re.findall(r"(?:^|[\r\n])\s*(\d+)\s+\d+%", rest)
        if figures:
            moved = int(figures[-1])
            tell(moved)


def _count(name: str, output: str) -> int:
    found = re.search(rf"^{name}: ([\d,.]+)", output, re.MULTILINE)
    return int(re.sub(r"\D", "", found[1])) if found else 0


def reason(status: int, said: str) -> str:
    """Why rsync ended, with the last lines that it or SSH wrote."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    # The first messages come from the remote end and name the cause. rsync's own summary adds nothing.
    told = [line for line in lines if not line.startswith("rsync error:")] or lines
    words = _REASONS.get(status, f"rsync ended with status {status}")
    return f"{words} ({'; '.join(told[-3:])})" if told else words
