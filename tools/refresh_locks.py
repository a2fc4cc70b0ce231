# SPDX-License-Identifier: GPL-3.0-or-later
"""Resolve the committed locks anew with uv, take over spaCy's table, show what changed; for ``bin/refresh-locks``."""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

from ansible_collections.voicefleet.kokoro.plugins.module_utils.host.hashing import sha256_file
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.store import catalogue, datafile, locks
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.store.profiles import (
    Profile,
    known_profiles,
    overrides,
    parse_profile,
)

ROOT = Path(__file__).resolve().parent.parent
LOCKS = ROOT / "roles" / "artifact_store" / "files" / "locks"
# Pinned CPU builds of torch, for where PyTorch's index does not answer.
TORCH_CPU = LOCKS / "torch.cpu.toml"
TORCH_INDEX = "https://download.pytorch.org/whl/cpu"
SPACY_TABLE = catalogue.DATA / "spacy_compatibility.json"
# Where an environment names CPU builds of torch, which a profile with CUDA must not take.
TORCH_VARIABLES = ("UV_FIND_LINKS", "UV_INDEX", "UV_EXTRA_INDEX_URL")


def resolve(
    profile: Profile, uv: str, left_out: Iterable[str], extras: Iterable[str], pinned: locks.Lock | None = None
) -> locks.Lock:
    """uv's answer for one profile, less some packages; the best file of each. ``pinned`` has the versions to take."""
    with tempfile.TemporaryDirectory() as folder:
        output, override, constraint = (Path(folder) / name for name in ("pylock.toml", "overrides.txt", "pins.txt"))
        override.write_text(overrides(left_out), encoding="utf-8")
        pins = pinned.packages if pinned is not None else ()
        constraint.write_text("".join(f"{package.name}=={package.version}\n" for package in pins), encoding="utf-8")
        inputs = [LOCKS / "requirements.in", *(LOCKS / f"requirements.{extra}.in" for extra in extras)]
        command = [
            uv, "pip", "compile", "--quiet", "--no-config", "--no-header", "--format", "pylock.toml",
            "--python-version", profile.python, "--python-platform", profile.uv_platform,
            "--override", str(override), "--constraint", str(constraint), "--output-file", str(output),
            *map(str, inputs),
        ]  # fmt: skip
        environment = dict(os.environ)
        # uv does not read pip's variable; a folder of CPU builds named there serves both.
        if "PIP_FIND_LINKS" in environment:
            environment.setdefault("UV_FIND_LINKS", environment["PIP_FIND_LINKS"])
        if profile.accelerator != "cpu":
            for name in TORCH_VARIABLES:
                environment.pop(name, None)
        subprocess.run(command, check=True, env=environment)
        return locks.read_lock(output, profile)


def published(package: locks.LockedPackage) -> locks.LockedPackage:
    """The package with its public address, where uv found it in a local folder; its size filled in."""
    if not package.location.startswith("file://"):
        return package
    local = Path(urllib.parse.unquote(urllib.parse.urlsplit(package.location).path))
    if package.name != "torch":
        raise locks.LockError(f"{local} is no public file: take it out of the find-links folder")
    if sha256_file(str(local)) != package.sha256:
        raise locks.LockError(f"{local} does not have the hash that uv recorded")
    return replace(package, location=f"{TORCH_INDEX}/{urllib.parse.quote(package.filename)}", size=local.stat().st_size)


def marked(lock: locks.Lock, resolved: Callable[[Iterable[str]], locks.Lock]) -> locks.Lock:
    """The lock with the extras that each package belongs to: it is needed with one of them, and not with none."""

    def names(extras: Iterable[str]) -> set[str]:
        return {package.name for package in resolved(extras).packages}

    base = names([])
    own = {extra: names([extra]) - base for extra in catalogue.EXTRAS}
    rows = (replace(p, extras=tuple(sorted(e for e in own if p.name in own[e]))) for p in lock.packages)
    return replace(lock, packages=tuple(rows))


def lock_of(profile: Profile, uv: str) -> locks.Lock:
    """The new lock of a profile. Raises LockError, CalledProcessError."""
    found = resolve(profile, uv, profile.left_out, catalogue.EXTRAS)
    found = marked(found, lambda extras: resolve(profile, uv, profile.left_out, extras, found))
    lock = replace(found, packages=tuple(published(package) for package in found.packages))
    cpu_build = str(lock.version_of("torch")).endswith("+cpu")
    if profile.accelerator == "cpu" and not cpu_build:
        print(f"{profile.name}: no find-links folder or index gave a CPU build of torch: taking the one pinned here")
        without_torch = resolve(profile, uv, [*profile.left_out, "torch"], catalogue.EXTRAS)
        return locks.for_cpu(lock, without_torch, locks.read_lock(TORCH_CPU, profile).packages[0])
    if profile.accelerator != "cpu" and cpu_build:
        raise locks.LockError("the package index gave a CPU build of torch: set UV_DEFAULT_INDEX to a mirror of PyPI")
    return lock


def refresh(profile: Profile, uv: str, check: bool) -> bool:
    """Show what changed in a profile's lock, write it unless only to check; True where anything did."""
    path = LOCKS / Path(profile.lock_path).name
    fresh = lock_of(profile, uv)
    before = locks.read_lock(path) if path.exists() else None
    changes = locks.differences(before, fresh)
    print(f"{profile.name}: {len(fresh.packages)} packages, {len(changes)} changed", flush=True)
    for line in changes:
        print(f"  {line}")
    if not check:
        path.write_text(locks.render_lock(fresh, profile), encoding="utf-8")
    return bool(changes)


def render_table(published_table: bytes, before: str) -> str:
    """spaCy's compatibility table with what the published one says of the catalogue's models.

    Raises ValueError, KeyError where that is no such table.
    """
    table = {}
    for minor, models in json.loads(published_table)["spacy"].items():
        kept = {name: list(models[name]) for name in sorted(catalogue.SPACY_MODELS) if models.get(name)}
        if kept and re.fullmatch(r"\d+\.\d+", minor):
            table[minor] = kept
    if not table:
        raise ValueError("it names none of the catalogue's models")
    return datafile.render({**json.loads(before), "spacy": table})


def refresh_table(source: str, check: bool) -> bool:
    """Bring the copy of spaCy's compatibility table up to date; True where it differs. Unreachable, it stays."""
    before = SPACY_TABLE.read_text(encoding="utf-8")
    try:
        with urllib.request.urlopen(source, timeout=30) as response:
            fresh = render_table(response.read(), before)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        print(f"spaCy's compatibility table was not to be had, the one here stays: {error} ({source})")
        return False
    print(f"spaCy's compatibility table: {'changed' if fresh != before else 'not changed'}")
    if not check:
        SPACY_TABLE.write_text(fresh, encoding="utf-8")
    return fresh != before


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--uv", default="uv")
    parser.add_argument("--check", action="store_true", help="change nothing; exit status 1 if a lock would change")
    parser.add_argument("profiles", nargs="*", metavar="PROFILE", help="default: all, and spaCy's table")
    parser.add_argument(
        "--spacy-table",
        default=datafile.read(SPACY_TABLE)["source"],
        metavar="URL",
        help="where spaCy publishes what suits what",
    )
    arguments = parser.parse_args()
    stale = False
    failed = []
    try:
        profiles = [parse_profile(name) for name in arguments.profiles] or known_profiles()
    except ValueError as error:
        parser.error(str(error))
    for profile in profiles:
        try:
            stale = refresh(profile, arguments.uv, arguments.check) or stale
        except (locks.LockError, subprocess.CalledProcessError) as error:
            failed.append(f"{profile.name} was not refreshed: {error}")
    if not arguments.profiles:
        stale = refresh_table(arguments.spacy_table, arguments.check) or stale
    for line in failed:
        print(line, file=sys.stderr)
    return 2 if failed else int(arguments.check and stale)


if __name__ == "__main__":
    sys.exit(main())
