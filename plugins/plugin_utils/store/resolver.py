# SPDX-License-Identifier: GPL-3.0-or-later
"""Resolve locks with uv, and compare them with earlier ones. ``playbooks/lock.yml`` and ``bin/refresh`` use this."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import tempfile
import urllib.parse
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from ...module_utils.host.hashing import sha256_file
from . import catalogue, download, locks
from .profiles import Profile, overrides

# The requirements and the locks of this collection.
SHIPPED = Path(__file__).resolve().parents[3] / "roles" / "artifact_store" / "files" / "locks"
TORCH_INDEX = "https://download.pytorch.org/whl/cpu"
# These variables may name CPU builds of torch, which a profile with CUDA must not use.
TORCH_VARIABLES = ("UV_FIND_LINKS", "UV_INDEX", "UV_EXTRA_INDEX_URL")
# uv asks the index for each package. On a slow line that takes minutes.
SECONDS = 1800
# Packages that the index's torch needs for CUDA. Other packages need some of them too: Xinference needs nvidia-ml-py.
_CUDA = re.compile(r"(nvidia-.+|cuda-.+|triton)\Z")
_REQUIREMENT = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]*)(\[[^\]]*\])?\s*(?:[<>=!~].*)?")


def canonical(name: str) -> str:
    """A package's name as locks have it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def required(folder: Path = SHIPPED) -> set[str]:
    """The packages that the requirements name."""
    lines = [line for path in folder.glob("requirements*.in") for line in path.read_text(encoding="utf-8").splitlines()]
    return {canonical(match[1]) for line in lines if (match := _REQUIREMENT.fullmatch(line.strip()))}


def with_versions(text: str, versions: Mapping[str, str]) -> str:
    """Requirements with other versions of the packages that they name."""

    def line_of(line: str) -> str:
        match = _REQUIREMENT.fullmatch(line.strip())
        version = versions.get(canonical(match[1])) if match else None
        return f"{match[1]}{match[2] or ''}=={version}" if match and version else line

    return "".join(f"{line_of(line)}\n" for line in text.splitlines())


@dataclass(frozen=True)
class Resolver:
    """How to resolve. ``versions`` replace those of the requirements, and pin any other package.

    ``until`` is a time, such as ``2026-01-31T12:00:00Z``. Files that were uploaded later are ignored. Empty means that
    no file is. ``index`` is a package index, empty for the one that the environment names. With ``prefer_shipped``,
    each package keeps the version of the shipped lock if that fits. Otherwise it gets the newest one.
    """

    uv: str
    versions: Mapping[str, str] = field(default_factory=dict)
    until: str = ""
    index: str = ""
    say: Callable[[str], None] = print
    prefer_shipped: bool = False

    def resolve(
        self, profile: Profile, left_out: Iterable[str], extras: Iterable[str], pinned: locks.Lock | None = None
    ) -> locks.Lock:
        """Resolve one profile without some packages. Return the best file of each; ``pinned`` sets versions.

        Raises LockError with uv's message.
        """
        with tempfile.TemporaryDirectory() as folder:
            scratch = Path(folder)
            names = ("requirements.in", *(f"requirements.{extra}.in" for extra in extras))
            for name in names:
                text = with_versions((SHIPPED / name).read_text(encoding="utf-8"), self.versions)
                (scratch / name).write_text(text, encoding="utf-8")
            pins = dict(self.versions)
            pins.update({package.name: package.version for package in pinned.packages} if pinned else {})
            (scratch / "pins.txt").write_text("".join(f"{n}=={v}\n" for n, v in pins.items()), encoding="utf-8")
            (scratch / "overrides.txt").write_text(overrides(left_out), encoding="utf-8")
            output = scratch / "pylock.toml"
            shipped = SHIPPED / Path(profile.lock_path).name
            if self.prefer_shipped and shipped.is_file():
                output.write_bytes(shipped.read_bytes())  # uv keeps the versions of its former output
            command = [
                self.uv, "pip", "compile", "--quiet", "--no-config", "--no-header", "--format", "pylock.toml",
                "--python-version", profile.python, "--python-platform", profile.uv_platform,
                "--override", str(scratch / "overrides.txt"), "--constraint", str(scratch / "pins.txt"),
                *self._index(profile), "--output-file", str(output), *(str(scratch / name) for name in names),
            ]  # fmt: skip
            if pinned is not None:
                # The first resolution left in uv's cache what these packages need. The index need not answer again.
                with contextlib.suppress(locks.LockError):
                    self._run([*command, "--offline"], profile)
                    return locks.read_lock(output, profile)
            self._run(command, profile)
            return locks.read_lock(output, profile)

    def _index(self, profile: Profile) -> list[str]:
        """uv's options for the index and the age of its files."""
        options = ["--default-index", self.index] if self.index else []
        if self.until:
            options += ["--exclude-newer", self.until]
            # PyTorch's index does not say when a file was uploaded. Its version is pinned, and relock.py asks its age.
            options += ["--exclude-newer-package", "torch=false"] if profile.accelerator == "cpu" else []
        return options

    def _run(self, command: list[str], profile: Profile) -> None:
        environment = {**os.environ, "NO_COLOR": "1", "UV_PYTHON_DOWNLOADS": "never"}
        # uv does not read pip's variable; a folder of CPU builds named there serves both.
        if "PIP_FIND_LINKS" in environment:
            environment.setdefault("UV_FIND_LINKS", environment["PIP_FIND_LINKS"])
        if profile.accelerator != "cpu":
            for name in TORCH_VARIABLES:
                environment.pop(name, None)
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, env=environment, timeout=SECONDS, check=False
            )
        except subprocess.TimeoutExpired as error:
            raise locks.LockError(f"{profile.name}: uv did not finish within {SECONDS} s") from error
        if done.returncode:
            said = " ".join(done.stderr.split())[-2000:]
            raise locks.LockError(f"{profile.name} cannot be resolved. uv says: {said}")

    def lock_of(self, profile: Profile) -> locks.Lock:
        """The new lock of a profile. Raises LockError."""
        found = self.resolve(profile, profile.left_out, catalogue.EXTRAS)
        found = marked(found, lambda extras: self.resolve(profile, profile.left_out, extras, found))
        lock = replace(found, packages=tuple(published(package) for package in found.packages))
        cpu_build = str(lock.version_of("torch")).endswith("+cpu")
        if profile.accelerator == "cpu" and not cpu_build:
            self.say(
                f"{profile.name}: no find-links folder or index has a CPU build of torch: using the one pinned here"
            )
            without_torch = self.resolve(profile, [*profile.left_out, "torch"], catalogue.EXTRAS)
            # Pinned CPU builds of torch, in case PyTorch's index does not answer.
            return for_cpu(lock, without_torch, locks.read_lock(SHIPPED / "torch.cpu.toml", profile).packages[0])
        if profile.accelerator != "cpu" and cpu_build:
            raise locks.LockError(
                "the package index gave a CPU build of torch: set UV_DEFAULT_INDEX to a mirror of PyPI"
            )
        return lock


def published(package: locks.LockedPackage) -> locks.LockedPackage:
    """The package with its public address and size if uv found it in a local folder. Raises LockError."""
    if not package.location.startswith("file://"):
        # A private index may be asked with a password, which no lock may hold.
        return replace(package, location=download.without_credentials(package.location))
    local = Path(urllib.parse.unquote(urllib.parse.urlsplit(package.location).path))
    if package.name != "torch":
        raise locks.LockError(f"{local} is not a public file: remove it from the find-links folder")
    if sha256_file(str(local)) != package.sha256:
        raise locks.LockError(f"{local} does not have the hash that uv recorded")
    return replace(package, location=f"{TORCH_INDEX}/{urllib.parse.quote(package.filename)}", size=local.stat().st_size)


def marked(lock: locks.Lock, resolved: Callable[[Iterable[str]], locks.Lock]) -> locks.Lock:
    """The lock with each package's extras: those that need it, if it is not needed without any."""

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
        raise locks.LockError(
            f"pinned CPU builds are torch {public}, but the packages need {locked}. Name a folder with CPU builds of "
            f"torch {locked} in UV_FIND_LINKS, or their index: UV_INDEX={TORCH_INDEX}"
        )
    others = {package.name for package in without_torch.packages}
    kept = [p for p in lock.packages if p.name != "torch" and (p.name in others or not _CUDA.match(p.name))]
    return replace(lock, packages=tuple(sorted([*kept, torch], key=lambda package: package.name)))


@dataclass(frozen=True)
class Change:
    """A difference between two locks. An empty version means that the lock does not have the package."""

    name: str
    old: str
    new: str
    note: str = ""

    def __str__(self) -> str:
        if not (self.old and self.new):
            return f"{'+' if self.new else '-'} {self.name} {self.new or self.old}"
        versions = self.new if self.note.startswith("for ") else f"{self.old} -> {self.new}"
        return f"~ {self.name} {versions}" + (f" ({self.note})" if self.note else "")


def differences(old: locks.Lock | None, new: locks.Lock) -> list[Change]:
    """The differences between two locks, one for each package."""
    before = {package.name: package for package in old.packages} if old is not None else {}
    after = {package.name: package for package in new.packages}
    found = []
    for name in sorted(before.keys() | after.keys()):
        a, b = before.get(name), after.get(name)
        if a is None or b is None:
            found.append(Change(name, a.version if a else "", b.version if b else ""))
        elif (a.version, a.sha256) != (b.version, b.sha256):
            found.append(Change(name, a.version, b.version, "another file" if a.version == b.version else ""))
        elif a.extras != b.extras:
            found.append(Change(name, a.version, b.version, f"for {', '.join(b.extras) or 'every language'}"))
    return found
