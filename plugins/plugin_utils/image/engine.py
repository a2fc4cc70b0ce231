# SPDX-License-Identifier: GPL-3.0-or-later
"""Docker or Podman on the controller, by its command line. Both understand the same commands."""

from __future__ import annotations

import contextlib
import csv
import io
import os
import shutil
import subprocess
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from ...module_utils.host.hashing import parse_json

_LINE = 1 << 16  # bytes of a report
NAMES = ("docker", "podman")
# What a question to the engine may take, and what work with an image may take.
ASK_SECONDS = 60
WORK_SECONDS = 3600
PROBE = r"""
echo "machine $(uname -m)"
echo "glibc $(getconf GNU_LIBC_VERSION 2>/dev/null)"
for version in 3.10 3.11 3.12; do
    path=$(command -v "python$version") && echo "python $version $(readlink -f "$path")"
done
exit 0
"""


class EngineError(Exception):
    """The engine refused or is missing; the message is for the operator."""


@dataclass(frozen=True)
class Target:
    """What a base image offers: its architecture, glibc and Pythons."""

    architecture: str
    glibc: tuple[int, ...]
    pythons: tuple[dict[str, str], ...]

    @property
    def facts(self) -> dict[str, Any]:
        """These, by the names that the facts of a host have."""
        return vars(self)


def probed(output: str) -> Target:
    """Read what the probe printed."""
    rows = [line.split() for line in output.splitlines() if line.strip()]
    machine = next((row[1] for row in rows if row[0] == "machine" and len(row) > 1), "")
    glibc = next((row[-1] for row in rows if row[0] == "glibc" and len(row) > 1), "")
    pythons = tuple({"version": row[1], "path": row[2]} for row in rows if row[0] == "python" and len(row) == 3)
    return Target(machine, tuple(int(part) for part in glibc.split(".") if part.isdigit()), pythons)


class Engine:
    """One engine. Its failures become :class:`EngineError` with the engine's own words."""

    def __init__(self, name: str) -> None:
        self.name = name

    @classmethod
    def find(cls, wanted: str) -> Engine:
        """The wanted engine, or for ``auto`` the first that answers. Raises EngineError."""
        names = NAMES if wanted == "auto" else (wanted,)
        faults = []
        for name in names:
            if shutil.which(name) is None:
                faults.append(f"{name} is not installed")
                continue
            try:
                done = _run([name, "info"], ASK_SECONDS)
            except EngineError as error:
                faults.append(str(error))
                continue
            if done.returncode == 0:
                return cls(name)
            faults.append(f"{name} does not answer: {_last(_text(done.stderr))}")
        raise EngineError(
            f"an image needs Docker or Podman on the controller, but {' and '.join(faults)}. Install or start one, or"
            " name it in image_engine"
        )

    def _call(self, *arguments: str, seconds: float = 0) -> str:
        done = _run([self.name, *arguments], seconds or WORK_SECONDS)
        if done.returncode != 0:
            raise EngineError(f"{self.name} {arguments[0]} failed: {_last(_text(done.stderr))}")
        return _text(done.stdout)

    def load(self, archive: Path) -> None:
        """Load the images of an archive."""
        self._call("load", "--input", str(archive))

    def has(self, image: str) -> bool:
        """Whether the engine has an image. It never asks a registry."""
        return _run([self.name, "image", "inspect", image], ASK_SECONDS).returncode == 0

    def identity(self, image: str) -> str:
        """The id of an image and the digests of its layers, as one text."""
        rows = parse_json(self._call("image", "inspect", image, seconds=ASK_SECONDS))
        return " ".join([str(rows[0]["Id"]), *map(str, rows[0]["RootFS"]["Layers"])])

    def user(self, image: str) -> str:
        """The user of an image, as its configuration names it; "" for root."""
        return str(
            (parse_json(self._call("image", "inspect", image, seconds=ASK_SECONDS))[0]["Config"] or {}).get("User")
            or ""
        )

    def save(self, image: str, target: Path) -> None:
        """Write an image into an archive."""
        form = ["--format", "docker-archive"] if self.name == "podman" else []
        self._call("save", *form, "--output", str(target), image)

    def probe(self, image: str) -> Target:
        """Look into a base image."""
        command = self._run(image, [], "/bin/sh")
        return probed(self._call(*command, "-c", PROBE, seconds=ASK_SECONDS))

    def _run(self, image: str, options: Sequence[str], program: str) -> list[str]:
        """The arguments that start a program in an image: as root, without network, and removed at its end."""
        # Without a log, because the output is the layer, and the engine would keep it a second time.
        return [
            "run", "--rm", "--pull", "never", "--network", "none", "--user", "0:0", "--security-opt", "label=disable",
            "--log-driver", "none", "--workdir", "/", *options, "--entrypoint", program, image,
        ]  # fmt: skip

    def ask(self, image: str, mounts: Sequence[tuple[Path, str]], command: Sequence[str], data: bytes) -> bytes:
        """Run a program in an image, with data on its standard input. Return its output. Raises EngineError."""
        arguments = self._run(image, ["--interactive", *_mounted(mounts)], command[0])
        done = _run([self.name, *arguments, *command[1:]], WORK_SECONDS, data)
        if done.returncode != 0:
            said = _last(_text(done.stderr))
            raise EngineError(f"{command[0]} of {image} ended with status {done.returncode}: {said}")
        return done.stdout

    def build(
        self, image: str, mounts: Sequence[tuple[Path, str]], command: Sequence[str], target: IO[bytes],
        say: Callable[[str], None],
    ) -> None:  # fmt: skip
        """Run a program in the base image. Its output goes to ``target``, and its reports to ``say``.

        Raises EngineError.
        """
        name = f"voicefleet-bake-{os.getpid()}"
        options = ["--name", name, *_mounted(mounts)]
        arguments = [self.name, *self._run(image, options, command[0]), *command[1:]]
        lines: deque[str] = deque(maxlen=100)
        late = threading.Event()
        process = subprocess.Popen(arguments, stdin=subprocess.DEVNULL, stdout=target, stderr=subprocess.PIPE)

        def stop() -> None:
            late.set()
            with contextlib.suppress(EngineError):
                _run([self.name, "rm", "--force", name], ASK_SECONDS)
            process.kill()

        timer = threading.Timer(WORK_SECONDS, stop)
        timer.daemon = True
        timer.start()
        try:
            with process.stderr or io.BytesIO() as reports:
                while raw := reports.readline(_LINE):
                    lines.append(raw.decode("utf-8", "replace").rstrip())
                    say(lines[-1])
            status = process.wait()
        except BaseException:
            stop()
            raise
        finally:
            timer.cancel()
        if late.is_set():
            raise EngineError(f"the builder did not end within {WORK_SECONDS:g} s")
        if status != 0:
            raise EngineError(f"the builder ended with status {status}: {_last(chr(10).join(lines))}")


def _run(command: Sequence[str], seconds: float, data: bytes | None = None) -> subprocess.CompletedProcess[bytes]:
    """Run a command of the engine within a time. Raises EngineError."""
    given: dict[str, Any] = {"stdin": subprocess.DEVNULL} if data is None else {"input": data}
    try:
        return subprocess.run(command, capture_output=True, check=False, timeout=seconds, **given)
    except subprocess.TimeoutExpired:
        raise EngineError(f"{command[0]} {command[1]} did not end within {seconds:g} s") from None


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace")


def _mounted(mounts: Sequence[tuple[Path, str]]) -> list[str]:
    """The options of some mounts. Both engines read them as a line of CSV, so a path may have commas."""
    found = []
    for source, place in mounts:
        row = io.StringIO()
        csv.writer(row, lineterminator="").writerow(["type=bind", f"source={source}", f"target={place}", "readonly"])
        found += ["--mount", row.getvalue()]
    return found


def _last(text: str) -> str:
    """The end of an engine's message."""
    return " / ".join(text.strip().splitlines()[-5:])[-1500:] or "it said nothing"
