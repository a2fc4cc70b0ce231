# SPDX-License-Identifier: GPL-3.0-or-later
"""Build and verify a store: the one folder that is carried to the hosts without internet."""

from __future__ import annotations

import json
import os
import platform
import shutil
import stat
import subprocess
import sys
import tempfile
import time
import urllib.parse
import zipfile
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from email.message import Message
from email.parser import HeaderParser
from pathlib import Path

from ...module_utils.host.hashing import (
    UNFINISHED,
    Memo,
    digest_files,
    is_unfinished,
    read_bounded,
    sha256_bytes,
    sweep,
    write_atomic,
)
from ...module_utils.host.sources import PUBLISHED, SOURCES
from . import advisories, catalogue, closure, datafile, download, locks, provenance, refused, sbom, torch_build
from .datafile import Sha256
from .exclusive import exclusive
from .manifest import BESIDE, FILENAME, PROVENANCE, Artifact, Manifest, ManifestError, read_manifest
from .profiles import Profile
from .selection import Selection

# In a folder of files that are not the published ones: {"source": one of SOURCES}.
SOURCE_MARKER = "SOURCE.json"
# What the build of one wheel may take.
BUILD_SECONDS = 1800
# The contents of a built wheel must not depend on when it was built.
SOURCE_DATE_EPOCH = "315532800"


class StoreError(Exception):
    """A store that cannot be built or used, with the reason."""


def shown(path: str) -> str:
    """A path as a terminal may show it. Control characters in a name are escaped."""
    return path if path.isprintable() else ascii(path)


@dataclass(frozen=True)
class Finding:
    """One fault of a store: ``missing``, ``truncated``, ``corrupt``, ``unlisted``, ``outside`` or ``unreadable``."""

    kind: str
    path: str
    detail: str

    def __str__(self) -> str:
        return f"{self.kind}: {shown(self.path)} ({self.detail})"


class FindingsError(Exception):
    """A refusal, with the reason and the faulty files, if any."""

    def __init__(self, reason: str, findings: Sequence[Finding] = ()) -> None:
        super().__init__("\n".join([reason, *(f"  {finding}" for finding in findings)]))
        self.findings = list(findings)


@dataclass(kw_only=True)
class Request(Selection):
    """What a store must contain.

    For each feature version in ``pythons`` (``3.11``) the store carries an interpreter. ``index`` is a package index
    (PEP 503) that is tried before the locked addresses. ``contents`` is ``all``, or ``python`` to leave the models out.
    ``advisories`` is a file of OSV. With ``swarm``, the store carries the engine of a delivery by swarm.
    """

    profiles: Sequence[Profile]
    lock_folder: Path
    spacy_source: str = catalogue.SPACY_RELEASES
    kokoro_source: str = catalogue.KOKORO_HUB
    pythons: Sequence[str] = ()
    python_source: str = catalogue.PYTHON_BUILDS
    contents: str = "all"
    hearing_source: str = catalogue.KOKORO_HUB
    dictionary_source: str = catalogue.UNIDIC.source
    find_links: Sequence[Path] = ()
    index: str | None = None
    uv: str | None = None
    advisories: Path | None = None
    swarm: bool = False

    @property
    def parameters(self) -> dict[str, object]:
        """What the operator asked for, as the provenance states it. No address has credentials."""
        kept = ("spacy_source", "kokoro_source", "python_source", "hearing_source", "dictionary_source", "index")
        sources = {name: getattr(self, name) for name in kept}
        return {
            **{each.name: getattr(self, each.name) for each in fields(Selection)},
            "profiles": [profile.name for profile in self.profiles],
            "pythons": list(self.pythons),
            "contents": self.contents,
            "swarm": self.swarm,
            "sources": {name: download.without_credentials(at) for name, at in sources.items() if at},
            "locks": {
                name: sha256_bytes(read_bounded(str(self.lock_folder / name)))
                for name in sorted(Path(profile.lock_path).name for profile in self.profiles)
            },
        }


@dataclass
class Built:
    """What a fetch did."""

    changed: bool
    manifest: Manifest
    added: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)


def verify(store: Path, memo: Memo | None = None, manifest: Manifest | None = None) -> list[Finding]:
    """Every fault of a store. Cheap checks run first, then all cores compute hashes.

    ``manifest`` is the store's own, if it is already read. Raises ManifestError if there is none.
    """
    manifest = manifest or read_manifest(store)[0]
    findings: list[Finding] = []
    to_hash: dict[str, Artifact] = {}
    listed = {FILENAME, *BESIDE}
    for artifact in manifest.artifacts:
        listed.add(artifact.path)
        path = store / artifact.path
        reason = _unusable(path)
        if reason:
            findings.append(Finding("missing", artifact.path, reason))
            continue
        size = path.stat().st_size
        if size != artifact.size:
            kind = "truncated" if size < artifact.size else "corrupt"
            findings.append(Finding(kind, artifact.path, f"{size} bytes, but the manifest says {artifact.size}"))
            continue
        to_hash[str(path)] = artifact
    for file, digest in digest_files(to_hash, memo).items():
        artifact = to_hash[file]
        if isinstance(digest, OSError):
            findings.append(Finding("unreadable", artifact.path, digest.strerror or str(digest)))
        elif digest != artifact.sha256:
            findings.append(
                Finding("corrupt", artifact.path, f"sha256 {digest}, but the manifest says {artifact.sha256}")
            )
    findings += unlisted(store, listed)
    return sorted(findings, key=lambda finding: (finding.path, finding.kind))


def _unusable(path: Path) -> str:
    """Why a path is not a file of a store, or an empty string."""
    try:
        mode = path.lstat().st_mode
    except OSError:
        return "is in the manifest but not in the store"
    if stat.S_ISREG(mode):
        return ""
    return "is a symbolic link" if stat.S_ISLNK(mode) else "is not a regular file"


def files_in(folder: Path) -> Iterator[str]:
    """Everything below a folder except folders, in order. Links are not followed, and those to folders are included."""
    for path in sorted(folder.rglob("*")):
        if path.is_symlink() or not path.is_dir():
            yield path.relative_to(folder).as_posix()


def unlisted(store: Path, listed: Collection[str]) -> Iterator[Finding]:
    """What a store holds in addition. Files of a write that was killed are among it."""
    for path in files_in(store):
        if path not in listed:
            killed = is_unfinished(path.rsplit("/", 1)[-1])
            left = "a killed run left it, and the next fetch or import removes it"
            why = left if killed else _link(store / path) or "is not in the manifest; prune.yml removes it"
            yield Finding("unlisted", path, why)
        elif path in (FILENAME, *BESIDE) and _unusable(store / path):
            yield Finding("unlisted", path, _unusable(store / path))


def _link(path: Path) -> str:
    return "is a symbolic link, which a store never has" if path.is_symlink() else ""


def outside(store: Path, paths: Iterable[str]) -> list[Finding]:
    """The paths that a symbolic link to a folder leads out of the store. Nothing may be written or removed there."""
    inside = store.resolve()
    return [
        Finding("outside", path, "a symbolic link leads out of the store")
        for path in sorted(set(paths))
        if not (store / path).parent.resolve().is_relative_to(inside)
    ]


def sweep_store(store: Path) -> None:
    """Remove what killed writes left in a store. The caller holds its lock, so that no write is going on."""
    for folder, _folders, _names in os.walk(store):
        sweep(folder, seconds=0)


def _source_of(address: str) -> str:
    """What the files at an address say they are. Raises StoreError if a folder's marker is unreadable."""
    folder = download.local_path(address)
    if folder is None or not (folder / SOURCE_MARKER).exists():
        return PUBLISHED
    marker = folder / SOURCE_MARKER
    try:
        found = datafile.parse(read_bounded(str(marker)))["source"]
    except (OSError, datafile.DataError, KeyError, TypeError, IndexError) as error:
        raise StoreError(f"{marker} cannot be read: {error}") from error
    if not isinstance(found, str) or found not in SOURCES:
        raise StoreError(f"{marker} names the source {found!r}; choose {', '.join(SOURCES)}")
    return str(found)


@dataclass(frozen=True)
class _Item:
    """A file to fetch from an address, with its entry for the manifest, which has the published digest."""

    artifact: Artifact
    address: str
    size: int = 0
    first: tuple[str, ...] = ()  # addresses to try before

    @property
    def wanted(self) -> download.Wanted:
        """What to download. Only published files must have the published digest."""
        pinned = self.artifact.sha256 if self.artifact.source == PUBLISHED else None
        return download.Wanted(self.artifact.path, (*self.first, self.address), pinned, self.size)

    def entry(self, got: download.Obtained) -> Artifact:
        """The entry of the file that was fetched. If its bytes are the published ones, it is published."""
        source = PUBLISHED if got.sha256 == self.artifact.sha256 else self.artifact.source
        return replace(self.artifact, sha256=got.sha256, size=got.size, address=got.source, source=source)


def _model_items(request: Request) -> list[_Item]:
    """The spaCy and Kokoro files of the configured languages and voices."""
    items = []
    source = _source_of(request.spacy_source)
    local = download.local_path(request.spacy_source) is not None
    base = request.spacy_source.rstrip("/")
    for model in request.chosen_spacy_models:
        address = f"{base}/{model.filename}" if local else f"{base}/{model.name}-{model.version}/{model.filename}"
        artifact = Artifact(
            f"spacy/{model.filename}", model.sha256, 0, "spacy-model", model.name, model.version,
            licence=model.licence, source=source,
        )  # fmt: skip
        items.append(_Item(artifact, address))
    source = _source_of(request.kokoro_source)
    local = download.local_path(request.kokoro_source) is not None
    base = request.kokoro_source.rstrip("/")
    for kokoro in (catalogue.KOKORO, catalogue.KOKORO_ZH):
        if kokoro.extra and kokoro.extra not in request.extras:
            continue
        # In a local folder, the model of every release lies at the top.
        place = f"{base}/{kokoro.repository}/resolve/{kokoro.revision}"
        if local:
            place = f"{base}/{kokoro.name}" if kokoro.extra else base
        prefix = f"{kokoro.name}-" if kokoro.extra else ""
        rows = [
            ("kokoro-config", f"{prefix}config", *kokoro.config),
            ("kokoro-weights", f"{prefix}weights", *kokoro.weights),
        ]
        rows += [
            ("kokoro-voice", voice, f"voices/{voice}.pt", kokoro.voices[voice])
            for voice in request.chosen_voices
            if catalogue.model_of(voice) is kokoro
        ]
        for kind, name, file, sha256 in rows:
            artifact = Artifact(
                f"kokoro/{kokoro.name}/{file}", sha256, 0, kind, name, kokoro.revision[:12],
                licence=catalogue.KOKORO_LICENCE, source=source, extras=(kokoro.extra,) if kokoro.extra else (),
            )  # fmt: skip
            items.append(_Item(artifact, f"{place}/{file}"))
    return items


def _hearing_items(request: Request) -> list[_Item]:
    """The files of the model that hears."""
    model = catalogue.hearing_model(request.hearing_model)
    if model is None:
        return []
    base = request.hearing_source.rstrip("/")
    local = download.local_path(request.hearing_source) is not None
    place = f"{base}/{model.name}" if local else f"{base}/{model.repository}/resolve/{model.revision}"
    source = _source_of(request.hearing_source)
    rows = [
        Artifact(
            f"hearing/{model.name}/{file}", sha256, 0, "hearing-model", file, model.revision[:12],
            licence=model.licence, source=source, extras=(model.name,),
        )
        for file, sha256 in model.files.items()
    ]  # fmt: skip
    return [_Item(row, f"{place}/{row.name}") for row in rows]


def _dictionary_items(request: Request) -> list[_Item]:
    """Dictionaries that are not part of a Python package."""
    dictionary = catalogue.UNIDIC
    if dictionary.extra not in request.extras:
        return []
    artifact = Artifact(
        f"dictionaries/{dictionary.filename}", dictionary.sha256, 0, "dictionary", dictionary.name, dictionary.version,
        licence=dictionary.licence, source=_source_of(request.dictionary_source), extras=(dictionary.extra,),
    )  # fmt: skip
    return [_Item(artifact, f"{request.dictionary_source.rstrip('/')}/{dictionary.filename}", dictionary.size)]


def _python_items(request: Request) -> list[_Item]:
    """The interpreters for the store, each for the profiles of its version. Raises StoreError, ValueError."""
    unused = sorted(set(request.pythons) - {profile.python for profile in request.profiles})
    if unused:
        used = ", ".join(sorted({f'"{profile.python}"' for profile in request.profiles}))
        raise StoreError(
            f"artifact_store_pythons names {', '.join(unused)}, but no fetched profile uses it. Profiles use {used}. "
            "Write versions in quotes: YAML reads 3.10 as the number 3.1"
        )
    items = []
    source = _source_of(request.python_source)
    local = download.local_path(request.python_source) is not None
    base = request.python_source.rstrip("/")
    for feature, architecture in sorted({(p.python, p.architecture) for p in request.profiles}):
        if feature not in request.pythons:
            continue
        build = catalogue.PYTHONS[feature, architecture]
        file = build.filename if local else f"{build.date}/{urllib.parse.quote(build.filename)}"
        names = sorted(p.name for p in request.profiles if (p.python, p.architecture) == (feature, architecture))
        artifact = Artifact(
            f"python/{build.filename}", build.sha256, 0, "python", f"cpython-{feature}", build.full_version,
            licence=catalogue.PYTHON_LICENCE, source=source, profiles=tuple(names),
        )  # fmt: skip
        items.append(_Item(artifact, f"{base}/{file}"))
    return items


def _engine_items(request: Request) -> list[_Item]:
    """The engine of a swarm, for every Python on hosts of the profiles and on a controller like this machine."""
    if not request.swarm:
        return []
    machines = {profile.architecture for profile in request.profiles} | {platform.machine()}
    items = []
    for build in catalogue.ENGINES.values():
        if build.architecture not in machines:
            continue
        near = [str(folder / build.filename) for folder in request.find_links]
        mirror = [download.on_index(request.index, catalogue.ENGINE_NAME, build.filename)] if request.index else []
        artifact = Artifact(
            f"engine/{build.filename}", build.sha256, build.size, "engine", catalogue.ENGINE_NAME,
            catalogue.ENGINE_VERSION, licence=catalogue.ENGINE_LICENCE,
            tags=tuple(sorted(locks.wheel_tags(build.filename))),
        )  # fmt: skip
        others = tuple(path for path in near if Path(path).is_file()) + tuple(mirror)
        items.append(_Item(artifact, build.address, build.size, others))
    return items


def _licence_of(path: Path, filename: str) -> str:
    """The licence stated in a wheel, or an empty string. Raises StoreError if the file is not a wheel."""
    try:
        with zipfile.ZipFile(path) as archive:
            name = next(n for n in archive.namelist() if n.endswith(".dist-info/METADATA") and n.count("/") == 1)
            with archive.open(name) as member:
                # A small wheel may unpack to a huge text. The licence comes before the description.
                fields = HeaderParser().parsestr(member.read(1 << 20).decode("utf-8", "replace"))
    except (zipfile.BadZipFile, StopIteration) as error:
        raise StoreError(f"{filename} is not a wheel: {error or 'it has no METADATA'}") from error
    return "".join(sign if sign.isprintable() else " " for sign in _licence_in(fields))[:200].strip()


def _compiled_in(path: Path, package: locks.LockedPackage, profile: Profile) -> tuple[str, ...]:
    """The kinds of GPUs that a torch for GPUs has code for."""
    return torch_build.compiled_in(path) if package.name == "torch" and profile.accelerator == "cuda" else ()


def _licence_in(fields: Message) -> str:
    """The licence in a wheel's METADATA."""
    expression = fields.get("License-Expression")
    if expression:
        return str(expression)
    classifiers = [
        c.rsplit("::", 1)[-1].strip() for c in fields.get_all("Classifier", []) if c.startswith("License ::")
    ]
    if classifiers:
        return " AND ".join(classifiers)
    # Some packages put the whole licence text here. Its first line names the licence.
    return next(iter(str(fields.get("License") or "").strip().splitlines()), "")[:80]


def find_uv(explicit: str | None, wheels: Iterable[Path], scratch: Path) -> str:
    """A uv that runs here: the configured one, on PATH, next to this Python or in the store's wheel."""
    for candidate in (explicit, shutil.which("uv"), str(Path(sys.executable).parent / "uv")):
        if candidate and os.access(candidate, os.X_OK):
            return candidate
    for wheel in wheels:
        if wheel.name.startswith("uv-") and platform.machine() in wheel.name:
            with zipfile.ZipFile(wheel) as archive:
                member = next(n for n in archive.namelist() if n.endswith(".data/scripts/uv"))
                target = scratch / "uv"
                target.write_bytes(archive.read(member))
                target.chmod(0o755)
                return str(target)
    raise StoreError(
        "uv was not found. It is needed to build wheels and to check the store: install uv, or set artifact_store_uv "
        "to its path"
    )


def _build_wheel(sdist: Path, filename: str, wheels: Path, uv: str) -> tuple[str, bytes]:
    """Build a wheel from an sdist, using only build tools from the store's own wheels. Raises StoreError."""
    with tempfile.TemporaryDirectory() as scratch:
        source = Path(scratch) / filename
        shutil.copyfile(sdist, source)
        output = Path(scratch) / "out"
        command = [uv, "build", "--wheel", "--quiet", "--no-config", "--no-index", "--find-links", str(wheels)]
        command += ["--offline", "--no-cache", "--python", sys.executable, "--out-dir", str(output), str(source)]
        environment = {**os.environ, "SOURCE_DATE_EPOCH": SOURCE_DATE_EPOCH, "UV_FIND_LINKS": "", "UV_NO_PROGRESS": "1"}
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, env=environment, timeout=BUILD_SECONDS, check=False
            )
        except subprocess.TimeoutExpired:
            raise StoreError(f"{filename} could not be built into a wheel within {BUILD_SECONDS:g} s") from None
        built = sorted(output.glob("*.whl")) if output.is_dir() else []
        if done.returncode or len(built) != 1:
            raise StoreError(f"{filename} could not be built into a wheel:\n{done.stderr.strip()[-2000:]}")
        return built[0].name, built[0].read_bytes()


def _place(source: Path, target: Path) -> None:
    """Put a cached file into the store: as a hard link on the same file system, otherwise as a copy."""
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name[:50]}{UNFINISHED}")
    temporary.unlink(missing_ok=True)
    try:
        os.link(source, temporary)
    except OSError:
        shutil.copyfile(source, temporary)
    os.replace(temporary, target)


def build(
    store: Path,
    request: Request,
    cache_folder: Path,
    say: Callable[[str], None],
    check: bool = False,
    before_download: Callable[[], None] = lambda: None,
    maker: provenance.Maker | None = None,
) -> Built:
    """Build or update a store as requested. It may be killed at any moment and run again.

    ``maker`` is who fetches; None writes no statement of provenance.
    Files are renamed into place and the manifest is written last, so an unfinished store does not pass verification.
    Raises StoreError, DownloadError, LockError, AdvisoryError, ValueError, OSError.
    """
    if request.advisories and not request.advisories.is_file():
        raise StoreError(f"there is no file of advisories at {request.advisories} (artifact_store_advisories)")
    began = time.time()
    voices = request.chosen_voices
    models = request.chosen_spacy_models
    committed = {}
    for profile in request.profiles:
        path = request.lock_folder / Path(profile.lock_path).name
        if not path.is_file():
            have = ", ".join(sorted(p.name[7:-5] for p in request.lock_folder.glob("pylock.*.toml")))
            raise StoreError(f"there is no lock for profile {profile.name}; there are locks for: {have}")
        own = [extra for extra in request.extras if extra in catalogue.EXTRAS]
        committed[profile] = locks.read_lock(path).with_extras(own)
        bad = refused.reasons((package.name, package.version) for package in committed[profile].packages)
        if bad:
            raise StoreError(f"profile {profile.name}: {'; '.join(bad)}")
        spacy = committed[profile].version_of("spacy")
        unfit = [reason for reason in (catalogue.spacy_mismatch(model, spacy) for model in models) if reason]
        if unfit:
            raise StoreError(f"profile {profile.name}: {'; '.join(unfit)}")
    items = _python_items(request) + _dictionary_items(request) + _engine_items(request)
    items += [*_model_items(request), *_hearing_items(request)] if request.contents == "all" else []
    present = _present(store)
    known = {artifact.path for artifact in present.artifacts} if present else set()
    if check:
        wanted = {item.artifact.path for item in items} | {p.lock_path for p in request.profiles}
        wanted |= {advisories.PATH} if request.advisories else set()
        wanted |= {f"wheels/{p.filename}" for lock in committed.values() for p in lock.packages if p.is_wheel}
        added = sorted(wanted - known)
        return Built(bool(added), Manifest(()), added)
    store.mkdir(parents=True, exist_ok=True)
    with exclusive(store), tempfile.TemporaryDirectory() as scratch:
        sweep_store(store)
        cache = download.Cache(cache_folder)
        wheels: dict[str, download.Wanted] = {}
        for lock in committed.values():
            for package in lock.packages:
                near = tuple(str(folder / package.filename) for folder in request.find_links)
                near = tuple(path for path in near if Path(path).is_file())
                mirror = (download.on_index(request.index, package.name, package.filename),) if request.index else ()
                wheels[package.filename] = download.Wanted(
                    package.filename, (*near, *mirror, package.location), package.sha256, package.size
                )
        every = [*wheels.values(), *(item.wanted for item in items)]
        found = download.obtain_all(every, cache, say, before=before_download)
        cache.memo.save()
        artifacts: dict[str, Artifact] = {}
        placed: dict[str, Path] = {}
        built: dict[str, tuple[str, str, int]] = {}
        ready = Path(scratch) / "wheels"
        ready.mkdir()
        for name in wheels:
            if name.endswith(".whl"):
                os.symlink(found[name].path, ready / name)
        for profile, lock in committed.items():
            packages = []
            for package in lock.packages:
                item = found[package.filename]
                filename, sha256, size, path = package.filename, item.sha256, item.size, item.path
                if not package.is_wheel:
                    if filename not in built:
                        built[filename] = _wheel_of(package, item.path, ready, cache, request, Path(scratch), say)
                    filename, sha256, size = built[package.filename]
                    path = cache.path_of(sha256)
                packages.append(locks.relocated(package, filename, sha256, size))
                target = f"wheels/{filename}"
                former = artifacts.get(target)
                licence = former.licence if former else _licence_of(path, filename)
                compiled = former.compiled if former else _compiled_in(path, package, profile)
                artifacts[target] = Artifact(
                    target, sha256, size, "wheel", package.name, package.version, item.source, licence,
                    profiles=tuple(sorted({*(former.profiles if former else ()), profile.name})),
                    tags=tuple(sorted(locks.wheel_tags(filename))), extras=package.extras,
                    compiled=compiled,
                )  # fmt: skip
                placed[target] = path
            text = locks.render_lock(locks.Lock(lock.requires_python, tuple(packages)), profile).encode()
            kept = _keep_bytes(cache, text)
            artifacts[profile.lock_path] = Artifact(
                profile.lock_path, kept.name, len(text), "lock", profile.name,
                str(lock.version_of("xinference") or ""), profiles=(profile.name,), extras=lock.extras,
            )  # fmt: skip
            placed[profile.lock_path] = kept
        for model_item in items:
            path_name = model_item.artifact.path
            artifacts[path_name] = model_item.entry(found[path_name])
            placed[path_name] = found[path_name].path
        bill = sbom.render(artifacts.values())
        placed[sbom.PATH] = _keep_bytes(cache, bill)
        artifacts[sbom.PATH] = Artifact(sbom.PATH, placed[sbom.PATH].name, len(bill), "sbom", "CycloneDX", "1.6")
        if request.advisories:
            found_advisories, count = advisories.select(request.advisories, artifacts.values())
            text = found_advisories.to_bytes()
            placed[advisories.PATH] = _keep_bytes(cache, text)
            artifacts[advisories.PATH] = Artifact(
                advisories.PATH, placed[advisories.PATH].name, len(text), advisories.KIND, "OSV", found_advisories.until
            )
            say(f"{len(found_advisories.rows)} of {count} advisories are about packages of this store")
        manifest = Manifest(tuple(artifacts.values()), tuple(sorted(p.name for p in request.profiles)))
        manifest = manifest.after(present, time.time())
        leading = outside(store, [*artifacts, *known])
        if leading:
            raise StoreError("\n  ".join(["remove these links, which a store never has:", *map(str, leading)]))
        added = _bring(store, artifacts, placed)
        removed = _remove(store, [path for path in known if path not in artifacts])
        uv = find_uv(request.uv, ready.iterdir(), Path(scratch))
        languages = request.languages if request.contents == "all" else []
        gaps = closure.find_gaps(
            store, manifest, uv, languages, voices, request.more_spacy_models, request.extras, request.english_model
        )
        if gaps:
            lines = "".join(f"\n  {gap}" for gap in gaps)
            raise StoreError(f"the store is not complete, so its manifest was not written. It lacks:{lines}")
        data = manifest.to_bytes()
        target_manifest = store / FILENAME
        same = target_manifest.exists() and target_manifest.read_bytes() == data
        if not same:
            # A statement about the former manifest would make every later check fail.
            (store / PROVENANCE).unlink(missing_ok=True)
            write_atomic(str(target_manifest), data)
        stated = maker is not None and _state(store, manifest, sha256_bytes(data), maker, request, began)
        return Built(bool(added or removed or not same or stated), manifest, added, removed)


def _state(
    store: Path, manifest: Manifest, digest: str, maker: provenance.Maker, request: Request, began: float
) -> bool:
    """Write the statement of provenance, unless there is one about this manifest."""
    try:
        if provenance.read(store, digest) is not None:
            return False
    except provenance.ProvenanceError:
        pass
    data = provenance.render(manifest, digest, maker, request.parameters, began, time.time())
    write_atomic(str(store / PROVENANCE), data)
    return True


def _present(store: Path) -> Manifest | None:
    """The present manifest; None if there is no valid one."""
    try:
        return read_manifest(store)[0]
    except ManifestError:
        return None


def _keep_bytes(cache: download.Cache, data: bytes) -> Path:
    """Add generated bytes to the cache. The digest is the file's name."""
    with tempfile.NamedTemporaryFile(dir=cache.partial, delete=False) as handle:
        handle.write(data)
    os.chmod(handle.name, 0o644)
    return cache.keep(Path(handle.name), sha256_bytes(data))


def _wheel_of(
    package: locks.LockedPackage,
    sdist: Path,
    ready: Path,
    cache: download.Cache,
    request: Request,
    scratch: Path,
    say: Callable[[str], None],
) -> tuple[str, str, int]:
    """The wheel of a package that is published only as an sdist. It is built once, then taken from the cache."""
    note = cache.folder / "built" / f"{package.sha256}.json"
    try:
        filename, sha256 = datafile.convert(tuple[str, Sha256], datafile.parse(read_bounded(str(note))), note.name)
        if cache.has(sha256):
            return filename, sha256, cache.path_of(sha256).stat().st_size
    except (OSError, datafile.DataError):
        pass
    say(f"building a wheel of {package.filename}, which is published only as source")
    uv = find_uv(request.uv, ready.iterdir(), scratch)
    filename, data = _build_wheel(sdist, package.filename, ready, uv)
    kept = _keep_bytes(cache, data)
    note.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(str(note), json.dumps([filename, kept.name]).encode())
    return filename, kept.name, len(data)


def _bring(store: Path, artifacts: Mapping[str, Artifact], placed: Mapping[str, Path]) -> list[str]:
    """Put changed files into the store. Present files are hashed; the old manifest is not trusted."""
    there = {
        str(store / path): path for path in artifacts if (store / path).is_file() and not (store / path).is_symlink()
    }
    digests = {there[file]: digest for file, digest in digest_files(there).items()}
    added = []
    for path, artifact in sorted(artifacts.items()):
        if digests.get(path) != artifact.sha256:
            _place(placed[path], store / path)
            added.append(path)
    return added


def _remove(store: Path, surplus: Iterable[str]) -> list[str]:
    """Remove files that only the former manifest lists. Other files stay, and `verify` reports them."""
    removed = []
    for path in sorted(surplus):
        file = store / path
        if file.is_file() or file.is_symlink():
            file.unlink()
            removed.append(path)
    return removed
