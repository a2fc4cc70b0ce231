# SPDX-License-Identifier: GPL-3.0-or-later
"""The Python environment of a release: made by uv from wheels alone, offline, every hash checked."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import zipfile
from collections.abc import Iterable, Mapping
from typing import Any

from .hashing import write_atomic
from .layout import Paths

STAMP = "voicefleet-env.json"
SECONDS = 1800


class EnvError(Exception):
    """An environment that could not be made, with the reason in words."""


def unpack_uv(wheel: str, version: str, paths: Paths) -> str:
    """uv's program out of its wheel, at ``tools/uv-<version>/uv``. Raises EnvError, OSError."""
    target = os.path.join(paths.tools, f"uv-{version}", "uv")
    if os.access(target, os.X_OK):
        return target
    try:
        with zipfile.ZipFile(wheel) as archive:
            member = next(name for name in archive.namelist() if name.endswith(".data/scripts/uv"))
            data = archive.read(member)
    except (zipfile.BadZipFile, StopIteration) as error:
        raise EnvError(f"{wheel} holds no uv: {error}") from error
    os.makedirs(os.path.dirname(target), exist_ok=True)
    write_atomic(target, data, 0o755)
    return target


def environment(scratch: str) -> dict[str, str]:
    """The variables that uv gets: nothing from the caller's, so that no proxy, index or configuration reaches it."""
    return {
        "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME": scratch,
        "TMPDIR": scratch,
        "LANG": "C.UTF-8",
        "UV_CACHE_DIR": os.path.join(scratch, "cache"),
        "UV_NO_CONFIG": "1",
        "UV_NO_PROGRESS": "1",
        "UV_OFFLINE": "1",
        "UV_PYTHON_DOWNLOADS": "never",
        "NO_COLOR": "1",
    }


def run_uv(uv: str, arguments: Iterable[str], scratch: str) -> str:
    """Run uv and return what it said. Raises EnvError with uv's own words."""
    command = [uv, *arguments]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=SECONDS, check=False, env=environment(scratch), cwd=scratch
        )
    except subprocess.TimeoutExpired as error:
        raise EnvError(f"uv did not end within {SECONDS} s: {' '.join(command)}") from error
    if done.returncode != 0:
        said = (done.stderr or done.stdout).strip()[-3000:]
        raise EnvError(f"uv failed ({' '.join(command[1:4])} …):\n{said}")
    return done.stderr + done.stdout


def stamp_of(lock_sha256: str, python: str) -> dict[str, str]:
    """What an environment was made from."""
    return {"lock": lock_sha256, "python": python}


def is_made(env: str, stamp: Mapping[str, str]) -> bool:
    """Whether an environment was finished from exactly this lock and interpreter."""
    try:
        with open(os.path.join(env, STAMP), encoding="utf-8") as handle:
            return bool(json.load(handle) == dict(stamp))
    except (OSError, ValueError):
        return False


def make(
    release: str,
    python: str,
    lock: Mapping[str, Any],
    wheels: Iterable[Mapping[str, Any]],
    uv_version: str,
    root: str,
) -> str:
    """Make the environment at ``<release>/env`` and return the path of uv.

    ``lock`` and ``wheels`` are artifacts (``sha256``, ``path``) which the host holds. Raises EnvError, OSError.
    """
    paths = Paths(root)
    env = os.path.join(release, "env")
    scratch = os.path.join(release, ".build")
    rows = list(wheels)
    uv_row = next((row for row in rows if os.path.basename(row["path"]).startswith("uv-")), None)
    if uv_row is None:
        raise EnvError("the release has no wheel of uv, which installs all others")
    uv = unpack_uv(paths.artifact(uv_row["sha256"], uv_row["path"]), uv_version, paths)
    # An environment without its stamp was cut short: its files can't be trusted.
    for leftover in (env, scratch):
        shutil.rmtree(leftover, ignore_errors=True)
    for folder in ("wheels", "locks"):
        os.makedirs(os.path.join(scratch, folder))
    for row in rows:
        os.symlink(
            paths.artifact(row["sha256"], row["path"]), os.path.join(scratch, "wheels", os.path.basename(row["path"]))
        )
    # The lock names its wheels relative to itself, so it has to lie beside this release's folder of wheels.
    placed = os.path.join(scratch, "locks", os.path.basename(lock["path"]))
    shutil.copyfile(paths.artifact(lock["sha256"], lock["path"]), placed)
    run_uv(uv, ["venv", "--quiet", "--python", python, env], scratch)
    run_uv(
        uv,
        ["pip", "sync", "--quiet", "--no-index", "--no-build", "--compile-bytecode", "--link-mode", "hardlink",
         "--python", os.path.join(env, "bin", "python"), placed],
        scratch,
    )  # fmt: skip
    write_atomic(os.path.join(env, STAMP), json.dumps(stamp_of(lock["sha256"], python)).encode())
    shutil.rmtree(scratch, ignore_errors=True)
    return uv
