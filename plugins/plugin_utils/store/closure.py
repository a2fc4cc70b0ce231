# SPDX-License-Identifier: GPL-3.0-or-later
"""Closure: prove that a store contains everything its profiles, languages and voices need.

Hosts install with uv, so uv also makes this check. It resolves each profile's lock offline, for the profile's Python
and platform, from the store's wheels alone. Every package that it needs beyond the lock is a gap.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from . import catalogue, locks
from .manifest import Manifest
from .profiles import WHEEL_GLIBC, Profile, best_tag, overrides, parse_profile

SECONDS = 120


@dataclass(frozen=True)
class Gap:
    """One thing missing from a store; ``where`` is a profile's name, a language code or ``models``."""

    where: str
    what: str

    def __str__(self) -> str:
        return f"{self.where}: {self.what}"


def _resolved(store: Path, lock: locks.Lock, profile: Profile, uv: str) -> set[tuple[str, str]]:
    """Names and versions that uv would install. Raises LockError with uv's message if it finds no solution."""
    with tempfile.TemporaryDirectory() as folder:
        override = Path(folder) / "overrides.txt"
        override.write_text(overrides(profile.left_out), encoding="utf-8")
        command = [
            uv, "pip", "compile", "--quiet", "--no-config", "--no-cache", "--offline", "--no-index", "--no-build",
            "--find-links", str(store / "wheels"), "--python", sys.executable, "--python-version", profile.python,
            "--python-platform", profile.uv_platform, "--override", str(override), "--no-header", "--no-annotate", "-",
        ]  # fmt: skip
        # An index or constraint from the caller's environment must not hide a gap.
        environment = {name: value for name, value in os.environ.items() if not name.startswith("UV_")}
        environment |= {"UV_PYTHON_DOWNLOADS": "never", "NO_COLOR": "1"}
        wanted = "".join(f"{package.name}=={package.version}\n" for package in lock.packages)
        try:
            done = subprocess.run(
                command, input=wanted, capture_output=True, text=True, env=environment, timeout=SECONDS, check=False
            )
        except subprocess.TimeoutExpired as error:
            raise locks.LockError(f"uv did not finish within {SECONDS} s") from error
    if done.returncode:
        raise locks.LockError(" ".join(done.stderr.split())[-1000:])
    pins = [line.split(" ")[0].partition("==") for line in done.stdout.splitlines() if "==" in line]
    return {(name, version) for name, _equals, version in pins}


def _fits(package: locks.LockedPackage, profile: Profile) -> bool:
    try:
        return best_tag(locks.wheel_tags(package.filename), profile) is not None
    except locks.LockError:
        return False


def _profile_gaps(store: Path, manifest: Manifest, name: str, uv: str, extras: Iterable[str]) -> list[Gap]:
    try:
        profile = parse_profile(name)
        lock = locks.read_lock(store / profile.lock_path)
    except (ValueError, locks.LockError) as error:
        return [Gap(name, str(error))]
    except OSError as error:
        return [Gap(name, f"the lock cannot be read: {error.strerror} ({error.filename})")]
    listed = {artifact.path: artifact for artifact in manifest.of_kind("wheel")}
    target = f"Python {profile.python}, glibc {'.'.join(map(str, WHEEL_GLIBC))}, {profile.architecture}"
    unlocked = sorted({extra for extra in extras if extra in catalogue.EXTRAS} - set(lock.extras))
    gaps = [Gap(name, f"the lock has no packages for {extra}") for extra in unlocked]
    for package in lock.packages:
        artifact = listed.get(f"wheels/{package.filename}")
        if not package.is_wheel:
            gaps.append(Gap(name, f"{package.filename} is not a wheel; hosts never build from source"))
        elif artifact is None or name not in artifact.profiles or artifact.sha256 != package.sha256:
            gaps.append(Gap(name, f"{package.filename} is locked, but the manifest does not list it for this profile"))
        elif not (store / artifact.path).is_file():
            gaps.append(Gap(name, f"{artifact.path} is not in the store"))
        elif not _fits(package, profile):
            gaps.append(Gap(name, f"{package.filename} cannot be installed on {target}"))
    for model in manifest.of_kind("spacy-model"):
        gaps += [Gap(name, reason) for reason in _model_gaps(model.name, model.version, lock)]
    if gaps:
        # uv would report only the first of these, less clearly.
        return gaps
    locked = {(package.name, package.version) for package in lock.packages}
    try:
        surplus = _resolved(store, lock, profile, uv) - locked
    except locks.LockError as error:
        return [Gap(name, f"the lock cannot be resolved from the store alone: {error}")]
    return [Gap(name, f"{other} {version} is needed but not locked") for other, version in sorted(surplus)]


def _model_gaps(name: str, version: str, lock: locks.Lock) -> list[str]:
    """What a spaCy model needs that the lock does not provide."""
    from packaging.requirements import Requirement

    model = catalogue.SPACY_MODELS.get(name)
    if model is None or model.version != version:
        return [f"the spaCy model {name} {version} is not in the catalogue"]
    mismatch = catalogue.spacy_mismatch(model, lock.version_of("spacy"))
    reasons = [mismatch] if mismatch else []
    for requirement in map(Requirement, model.requires):
        have = lock.version_of(requirement.name)
        if have is None or have not in requirement.specifier:
            reasons.append(f"{name} {version} needs {requirement}, but the lock has {have or 'none'}")
    return reasons


def _speech_gaps(
    store: Path, manifest: Manifest, languages: Sequence[str], voices: Iterable[str], extra: Iterable[str], english: str
) -> list[Gap]:
    """Model files that the languages and voices need and the store lacks."""
    there = {(a.kind, a.name) for a in manifest.artifacts if (store / a.path).is_file()}
    gaps = []
    for part, file in (("config", catalogue.KOKORO_CONFIG[0]), ("weights", catalogue.KOKORO_WEIGHTS[0])):
        if (f"kokoro-{part}", part) not in there:
            gaps.append(Gap("models", f"kokoro/{catalogue.KOKORO_NAME}/{file} is not in the store"))
    for code in languages:
        for model in catalogue.spacy_models_for([code], english=english):
            if ("spacy-model", model.name) not in there:
                title = catalogue.LANGUAGES[code].title
                gaps.append(Gap(code, f"spacy/{model.filename} is not in the store: {title} does not start without it"))
    for model in catalogue.spacy_models_for([], extra):
        if ("spacy-model", model.name) not in there:
            gaps.append(Gap("models", f"spacy/{model.filename} is not in the store"))
    for voice in voices:
        if ("kokoro-voice", voice) not in there:
            gaps.append(Gap(voice[0], f"kokoro/{catalogue.model_of(voice).name}/voices/{voice}.pt is not in the store"))
    return gaps


def find_gaps(
    store: Path,
    manifest: Manifest,
    uv: str,
    languages: Sequence[str] | None = None,
    voices: Iterable[str] = (),
    extra: Iterable[str] = (),
    extras: Iterable[str] | None = None,
    english: str = catalogue.ENGLISH_MODEL,
) -> list[Gap]:
    """All gaps of a store at once; an empty list if the store is complete. Changes nothing and uses no network.

    ``languages``, ``voices`` and ``extra`` (spaCy models) are the configured ones. If ``languages`` is None, the
    languages of the stored voices are used. An empty list means no models, for a store of wheels alone. ``extras``
    names what the languages need beyond the base release. If it is None, every extra of the languages is required.
    ``english`` is the spaCy model of English.
    Raises ValueError on an unknown language or model.
    """
    if languages is None:
        languages = sorted({artifact.name[0] for artifact in manifest.of_kind("kokoro-voice")})
    needed = [x for code in languages for x in catalogue.LANGUAGES[code].extras] if extras is None else list(extras)
    with ThreadPoolExecutor() as pool:
        found = list(pool.map(lambda name: _profile_gaps(store, manifest, name, uv, needed), manifest.profiles))
    gaps = [gap for gaps in found for gap in gaps]
    dictionary = catalogue.UNIDIC
    if dictionary.extra in needed and not manifest.of_kind("dictionary"):
        file = f"dictionaries/{dictionary.filename}"
        gaps.append(Gap("j", f"{file} is not in the store: Japanese does not start without it"))
    zh = catalogue.KOKORO_ZH
    for kind, (file, _sha256) in (("kokoro-config", zh.config), ("kokoro-weights", zh.weights)):
        if languages and zh.extra in needed and not any(zh.extra in a.extras for a in manifest.of_kind(kind)):
            gaps.append(Gap("z", f"kokoro/{zh.name}/{file} is not in the store"))
    there = {artifact.path for artifact in manifest.of_kind("hearing-model")}
    for model in catalogue.HEARING_MODELS.values():
        files = [f"hearing/{model.name}/{file}" for file in model.files if languages and model.name in needed]
        gaps += [Gap("all", f"{file} is not in the store") for file in files if file not in there]
    if languages:
        gaps += _speech_gaps(store, manifest, languages, voices, extra, english)
    return gaps
