# SPDX-License-Identifier: GPL-3.0-or-later
"""Resolve the committed locks again with uv, and show the changes; for ``bin/refresh``."""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
import urllib.parse
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

from ansible_collections.voicefleet.kokoro.plugins.module_utils.host.hashing import sha256_file
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.store import catalogue, locks
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.store.profiles import (
    Profile,
    overrides,
)

ROOT = Path(__file__).resolve().parent.parent
LOCKS = ROOT / "roles" / "artifact_store" / "files" / "locks"
# Pinned CPU builds of torch, in case PyTorch's index does not answer.
TORCH_CPU = LOCKS / "torch.cpu.toml"
TORCH_INDEX = "https://download.pytorch.org/whl/cpu"
# These variables may name CPU builds of torch, which a profile with CUDA must not use.
TORCH_VARIABLES = ("UV_FIND_LINKS", "UV_INDEX", "UV_EXTRA_INDEX_URL")
# Packages that the index's torch needs for CUDA. Other packages need some of them too: Xinference needs nvidia-ml-py.
_CUDA = re.compile(r"(nvidia-.+|cuda-.+|triton)\Z")


def resolve(
    profile: Profile, uv: str, left_out: Iterable[str], extras: Iterable[str], pinned: locks.Lock | None = None
) -> locks.Lock:
    """Resolve one profile without some packages. Return the best file of each; ``pinned`` sets versions."""
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
    """Return the package with its public address and size if uv found it in a local folder."""
    if not package.location.startswith("file://"):
        return package
    local = Path(urllib.parse.unquote(urllib.parse.urlsplit(package.location).path))
    if package.name != "torch":
        raise locks.LockError(f"{local} is not a public file: remove it from the find-links folder")
    if sha256_file(str(local)) != package.sha256:
        raise locks.LockError(f"{local} does not have the hash that uv recorded")
    return replace(package, location=f"{TORCH_INDEX}/{urllib.parse.quote(package.filename)}", size=local.stat().st_size)


def marked(lock: locks.Lock, resolved: Callable[[Iterable[str]], locks.Lock]) -> locks.Lock:
    """Return the lock with each package's extras: those that need it, if it is not needed without any."""

    def names(extras: Iterable[str]) -> set[str]:
        return {package.name for package in resolved(extras).packages}

    base = names([])
    own = {extra: names([extra]) - base for extra in catalogue.EXTRAS}
    rows = (replace(p, extras=tuple(sorted(e for e in own if p.name in own[e]))) for p in lock.packages)
    return replace(lock, packages=tuple(rows))


def for_cpu(lock: locks.Lock, without_torch: locks.Lock, torch: locks.LockedPackage) -> locks.Lock:
    """Replace torch in a lock with a CPU build, and drop the packages that only its CUDA build needs.

    ``without_torch`` is the same lock resolved without torch. CUDA packages that it contains are needed by other
    packages, so they stay. Raises LockError if the CPU build has another version than the lock.
    """
    locked, public = lock.version_of("torch"), torch.version.split("+")[0]
    if locked != public:
        raise locks.LockError(f"pinned CPU builds are torch {public}, but the packages need {locked}: pin those builds")
    others = {package.name for package in without_torch.packages}
    kept = [p for p in lock.packages if p.name != "torch" and (p.name in others or not _CUDA.match(p.name))]
    return replace(lock, packages=tuple(sorted([*kept, torch], key=lambda package: package.name)))


def differences(old: locks.Lock | None, new: locks.Lock) -> list[str]:
    """The differences between two locks, one line for each package."""
    before = {package.name: package for package in old.packages} if old is not None else {}
    after = {package.name: package for package in new.packages}
    lines = []
    for name in sorted(before.keys() | after.keys()):
        a, b = before.get(name), after.get(name)
        if a is None and b is not None:
            lines.append(f"+ {name} {b.version}")
        elif b is None and a is not None:
            lines.append(f"- {name} {a.version}")
        elif a is not None and b is not None and (a.version, a.sha256) != (b.version, b.sha256):
            lines.append(f"~ {name} {a.version} -> {b.version}" + (" (another file)" if a.version == b.version else ""))
        elif a is not None and b is not None and a.extras != b.extras:
            lines.append(f"~ {name} {b.version} (for {', '.join(b.extras) or 'every language'})")
    return lines


def lock_of(profile: Profile, uv: str) -> locks.Lock:
    """Return the new lock of a profile. Raises LockError, CalledProcessError."""
    found = resolve(profile, uv, profile.left_out, catalogue.EXTRAS)
    found = marked(found, lambda extras: resolve(profile, uv, profile.left_out, extras, found))
    lock = replace(found, packages=tuple(published(package) for package in found.packages))
    cpu_build = str(lock.version_of("torch")).endswith("+cpu")
    if profile.accelerator == "cpu" and not cpu_build:
        print(f"{profile.name}: no find-links folder or index has a CPU build of torch: using the one pinned here")
        without_torch = resolve(profile, uv, [*profile.left_out, "torch"], catalogue.EXTRAS)
        return for_cpu(lock, without_torch, locks.read_lock(TORCH_CPU, profile).packages[0])
    if profile.accelerator != "cpu" and cpu_build:
        raise locks.LockError("the package index gave a CPU build of torch: set UV_DEFAULT_INDEX to a mirror of PyPI")
    return lock


def refresh(profile: Profile, uv: str, check: bool) -> bool:
    """Show the changes in a profile's lock, and write it unless ``check`` is set. Return whether it changed."""
    path = LOCKS / Path(profile.lock_path).name
    fresh = lock_of(profile, uv)
    before = locks.read_lock(path) if path.exists() else None
    changes = differences(before, fresh)
    print(f"{profile.name}: {len(fresh.packages)} packages, {len(changes)} changed", flush=True)
    for line in changes:
        print(f"  {line}")
    if not check:
        path.write_text(locks.render_lock(fresh, profile), encoding="utf-8")
    return bool(changes)
