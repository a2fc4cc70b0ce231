# SPDX-License-Identifier: GPL-3.0-or-later
"""Export a store, or its changes, to volumes of a given size that can be carried to another site.

An export is a folder::

    export.json         the index: old and new manifest, every volume and every file, with digests
    manifest.json       the new manifest, which is the base of the next export
    provenance.json     who fetched the store, if the store says so
    *.json.sig          their signatures, if a key was given
    volume-0001.tar     plain tar archives, each readable alone; a file larger than a volume is split into
                        `<path>.part-0001`, `<path>.part-0002`, ...

The import reads bytes at the offsets in the index and never unpacks an archive. So links, devices and absolute names
in an archive cannot reach the disk. Only the manifest decides which files are written, and where.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import shutil
import tarfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from ...module_utils.host.hashing import (
    Memo,
    canonical_json,
    digest_files,
    is_unfinished,
    open_regular,
    read_bounded,
    sha256_bytes,
    write_atomic,
)
from . import age, datafile
from .datafile import Count, DataError, Sha256
from .download import Progress
from .exclusive import exclusive
from .manifest import BESIDE, FILENAME, INDEX, Artifact, ListedPath, Manifest, parse_manifest, read_manifest
from .store import Finding, FindingsError, files_in, outside, sweep_store, verify

SCHEMA = 1
UNFINISHED = ".unfinished"
COPY = ".importing"
MEGABYTE = 10**6
SMALLEST_VOLUME = MEGABYTE
CHUNK = 1 << 20
BLOCK = tarfile.BLOCKSIZE
END = bytes(2 * BLOCK)


class ExportError(FindingsError):
    """A refused export or import."""


@dataclass(frozen=True)
class Volume:
    """One archive: ``number`` counts from 1, ``size`` in bytes."""

    name: str
    number: int
    size: Count
    sha256: Sha256


@dataclass(frozen=True)
class Piece:
    """``length`` bytes of a file, at ``offset`` of a volume."""

    volume: Count
    offset: Count
    length: Count


@dataclass(frozen=True)
class Travelling:
    """A file in an export, and the places of its bytes, in order."""

    path: ListedPath
    sha256: Sha256
    size: Count
    pieces: tuple[Piece, ...]


@dataclass(frozen=True)
class Index:
    """``export.json``. ``base`` is the digest of the manifest that the receiving store must have; None for a new store.

    ``beside`` maps the names of unpacked files in the export to their digests. The manifest is one of them.
    """

    base: Sha256 | None
    manifest: Sha256
    volume_size: Count
    volumes: tuple[Volume, ...]
    files: tuple[Travelling, ...]
    removed: tuple[ListedPath, ...]
    beside: dict[str, Sha256]

    def to_bytes(self) -> bytes:
        return canonical_json({"schema": SCHEMA, **asdict(self)})

    @property
    def size(self) -> int:
        """Bytes of all volumes together."""
        return sum(volume.size for volume in self.volumes)


@dataclass
class Outcome:
    """What an export or import did or would do: added paths, removed paths, volumes, bytes of the volumes.

    ``manifest_differs`` is False if the old and new manifest are the same. Then there is nothing to carry.
    """

    changed: bool
    added: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    volumes: int = 0
    size: int = 0
    manifest: str = ""
    manifest_differs: bool = True


def volume_name(number: int) -> str:
    return f"volume-{number:04d}.tar"


# --- export ----------------------------------------------------------------------------------------------------------


def _header(name: str, size: int) -> bytes:
    """A tar header that does not depend on date or machine. Its length depends only on the name."""
    info = tarfile.TarInfo(name)
    info.size, info.mode = size, 0o644
    return info.tobuf(tarfile.GNU_FORMAT, "utf-8", "surrogateescape")


def _padded(size: int) -> int:
    return -(-size // BLOCK) * BLOCK


@dataclass
class _Row:
    """An entry of a volume: a tar header, then ``length`` bytes of a file, beginning at ``start``."""

    artifact: Artifact
    header: bytes
    start: int
    length: int


@dataclass
class _Plan:
    """The entries of one volume, and its size without the end marker."""

    rows: list[_Row] = field(default_factory=list)
    used: int = 0

    def add(self, artifact: Artifact, name: str, start: int, length: int) -> None:
        header = _header(name, length)
        self.rows.append(_Row(artifact, header, start, length))
        self.used += len(header) + _padded(length)


def lay_out(artifacts: Iterable[Artifact], limit: int) -> list[_Plan]:
    """Distribute files over volumes of at most ``limit`` bytes: largest file first, into the first volume with room."""
    plans: list[_Plan] = []
    room = limit - len(END)
    for artifact in sorted(artifacts, key=lambda a: (-a.size, a.path)):
        cost = len(_header(artifact.path, artifact.size)) + _padded(artifact.size)
        if cost <= room:
            plan = next((plan for plan in plans if plan.used + cost <= room), None)
            if plan is None:
                plans.append(plan := _Plan())
            plan.add(artifact, artifact.path, 0, artifact.size)
            continue
        start = part = 0
        while start < artifact.size:
            part += 1
            name = f"{artifact.path}.part-{part:04d}"
            length = min(artifact.size - start, (room - len(_header(name, 0))) // BLOCK * BLOCK)
            plans.append(plan := _Plan())
            plan.add(artifact, name, start, length)
            start += length
    return plans


def _read_base(since: Path | None) -> tuple[Manifest, str | None]:
    """The receiving store's manifest, given as a manifest file or as the folder of an export or a store."""
    if since is None:
        return Manifest(()), None
    path = since / FILENAME if since.is_dir() else since
    try:
        data = read_bounded(str(path))
    except OSError as error:
        raise ExportError(
            f"the base manifest {path} cannot be read ({error.strerror}): give the {FILENAME} of the last imported "
            "export, or none for a full export"
        ) from error
    return parse_manifest(data, str(path)), hashlib.sha256(data).hexdigest()


def difference(base: Manifest, new: Manifest) -> tuple[list[Artifact], list[str]]:
    """The files to add and the paths to remove to bring a store from one manifest to another."""
    had = {artifact.path: artifact.sha256 for artifact in base.artifacts}
    has = {artifact.path for artifact in new.artifacts}
    travels = [artifact for artifact in new.artifacts if had.get(artifact.path) != artifact.sha256]
    return travels, sorted(had.keys() - has)


def export_store(
    store: Path,
    folder: Path,
    since: Path | None,
    volume_size: int,
    say: Callable[[str], None],
    memo: Memo | None = None,
    check: bool = False,
) -> Outcome:
    """Write the changes since a manifest into volumes of at most ``volume_size`` bytes.

    The files appear in the folder only when all are complete. Raises ExportError, ManifestError, BusyError, OSError.
    """
    if volume_size < SMALLEST_VOLUME:
        raise ExportError(
            f"a volume of {volume_size} bytes is too small: give at least {SMALLEST_VOLUME // MEGABYTE} MB"
        )
    if folder.resolve().is_relative_to(store.resolve()):
        raise ExportError(f"{folder} is inside the store, which may hold nothing else: choose another folder")
    base, base_digest = _read_base(since)
    read_manifest(store)
    with exclusive(store, readers_too=False):
        manifest, digest = read_manifest(store)
        findings = verify(store, memo)
        if findings:
            raise ExportError("the store is damaged. Nothing was exported: run playbooks/fetch.yml again", findings)
        travels, removed = difference(base, manifest)
        plans = lay_out(travels, volume_size)
        size = sum(plan.used + len(END) for plan in plans)
        outcome = Outcome(True, sorted(a.path for a in travels), removed, len(plans), size, digest)
        if base_digest == digest:
            return Outcome(False, manifest=digest, manifest_differs=False)
        beside = {name: store / name for name in (FILENAME, *BESIDE) if (store / name).is_file()}
        wanted = Index(
            base_digest, digest, volume_size, (), _travelling(plans), tuple(removed),
            {name: sha256_bytes(read_bounded(str(path))) for name, path in beside.items()},
        )  # fmt: skip
        if _is_there(folder, wanted):
            outcome.changed = False
            return outcome
        if not check:
            _write(store, folder, wanted, plans, size, say)
        return outcome


def _travelling(plans: Sequence[_Plan]) -> tuple[Travelling, ...]:
    pieces: dict[str, list[Piece]] = {}
    artifacts: dict[str, Artifact] = {}
    for number, plan in enumerate(plans, start=1):
        offset = 0
        for row in plan.rows:
            artifacts[row.artifact.path] = row.artifact
            pieces.setdefault(row.artifact.path, []).append(Piece(number, offset + len(row.header), row.length))
            offset += len(row.header) + _padded(row.length)
    return tuple(
        Travelling(path, artifacts[path].sha256, artifacts[path].size, tuple(pieces[path])) for path in sorted(pieces)
    )


def _is_there(folder: Path, wanted: Index) -> bool:
    """Whether the folder already holds this export completely. Raises ExportError if it holds another one."""
    if not (folder / INDEX).exists() and not _volumes_in(folder):
        return False
    try:
        index = read_index(folder)
        same = replace(index, volumes=()) == wanted
        damaged = _damage(folder, index)
    except ExportError:
        same, damaged = False, []
    if same and not damaged:
        return True
    raise ExportError(
        f"{folder} holds another or an unfinished export, which is not overwritten: choose an empty folder",
        damaged,
    )


def _volumes_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("volume-*.tar"))


def _write(
    store: Path, folder: Path, wanted: Index, plans: Sequence[_Plan], size: int, say: Callable[[str], None]
) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with exclusive(folder):
        unfinished = folder / UNFINISHED
        shutil.rmtree(unfinished, ignore_errors=True)
        free = shutil.disk_usage(folder).free
        if size > free:
            raise ExportError(
                f"{folder} has {free / MEGABYTE:.0f} MB free, the export needs {size / MEGABYTE:.0f} MB: free some "
                "space, or export only the changes since an earlier export's manifest"
            )
        unfinished.mkdir()
        progress = Progress(say, len(plans), size)
        running: dict[str, Any] = {}
        volumes = []
        for number, plan in enumerate(plans, start=1):
            volumes.append(_write_volume(store, unfinished / volume_name(number), number, plan, running, progress))
            progress.finish()
            say(f"volume {number} of {len(plans)}: {volumes[-1].size / MEGABYTE:.1f} MB")
        for name in wanted.beside:
            data = read_bounded(str(store / name))
            if sha256_bytes(data) != wanted.beside[name]:
                raise ExportError(f"{store / name} changed during the export: start again")
            (unfinished / name).write_bytes(data)
        for path in sorted(unfinished.iterdir()):
            os.replace(path, folder / path.name)
        unfinished.rmdir()
        write_atomic(str(folder / INDEX), replace(wanted, volumes=tuple(volumes)).to_bytes())


def _write_volume(
    store: Path, target: Path, number: int, plan: _Plan, running: dict[str, Any], progress: Progress
) -> Volume:
    """Write one archive. ``running`` keeps the hash of a split file from one volume to the next."""
    whole = hashlib.sha256()
    size = 0
    with open(target, "xb") as output:

        def put(data: bytes) -> None:
            nonlocal size
            output.write(data)
            whole.update(data)
            size += len(data)

        for row in plan.rows:
            path = row.artifact.path
            put(row.header)
            digest = running.setdefault(path, hashlib.sha256())
            with open_regular(str(store / path)) as source:
                source.seek(row.start)
                left = row.length
                while left:
                    block = source.read(min(CHUNK, left))
                    if not block:
                        raise ExportError(f"{store / path} became shorter during the export: start again")
                    put(block)
                    digest.update(block)
                    left -= len(block)
                    progress.add(len(block))
            put(bytes(_padded(row.length) - row.length))
            if row.start + row.length == row.artifact.size and running.pop(path).hexdigest() != row.artifact.sha256:
                raise ExportError(f"{store / path} changed during the export: start again")
        put(END)
        output.flush()
        # People unplug the medium as soon as the play ends.
        os.fsync(output.fileno())
    return Volume(target.name, number, size, whole.hexdigest())


# --- reading an export -----------------------------------------------------------------------------------------------


def index_bytes(folder: Path) -> bytes:
    """The bytes of an export's index. Raises ExportError."""
    path = folder / INDEX
    try:
        return read_bounded(str(path))
    except FileNotFoundError as error:
        raise ExportError(
            f"{folder} has no {INDEX}: it is not an export, or an unfinished one. Copy all files of the export into "
            "this folder, or run playbooks/export.yml again"
        ) from error
    except OSError as error:
        raise ExportError(f"{path} cannot be read: {error.strerror}") from error


def parse_index(raw: bytes, source: str) -> Index:
    """Parse an index. Raises ExportError if it is damaged or names paths outside the store."""
    try:
        data = datafile.parse(raw)
    except DataError as error:
        raise ExportError(f"{source} is not JSON ({error}): copy it again from its source") from error
    schema = data.pop("schema", None) if isinstance(data, dict) else None
    if schema != SCHEMA:
        raise ExportError(f"{source} has schema {schema!r:.99}; this version of the collection reads schema {SCHEMA}")
    try:
        index = datafile.row(Index, data, "index")
    except DataError as error:
        raise ExportError(
            f"{source}: {error}: the index is damaged or was altered. Copy it again from its source"
        ) from error
    reason = _contradiction(index)
    if reason:
        raise ExportError(f"{source} is damaged ({reason}): copy it again from its source")
    return index


def _contradiction(index: Index) -> str:
    """What in an index contradicts itself, or an empty string."""
    for number, volume in enumerate(index.volumes, start=1):
        if (volume.number, volume.name) != (number, volume_name(number)):
            return f"volume {number} is listed as number {volume.number}, {volume.name!r}"
    sizes = {volume.number: volume.size for volume in index.volumes}
    for row in index.files:
        inside = all(piece.offset + piece.length <= sizes.get(piece.volume, -1) for piece in row.pieces)
        if not inside or sum(piece.length for piece in row.pieces) != row.size:
            return f"the pieces of {row.path} do not make up the file"
    if index.beside.get(FILENAME) != index.manifest or index.beside.keys() - {FILENAME, *BESIDE}:
        return "it names files other than the manifest, the provenance and their signatures next to the volumes"
    return ""


def read_index(folder: Path) -> Index:
    """The index of an export. Raises ExportError."""
    return parse_index(index_bytes(folder), str(folder / INDEX))


def _damage(folder: Path, index: Index) -> list[Finding]:
    """Every fault in the files of an export. ``misplaced`` is a volume with another volume's name.

    Digests are not cached: two USB sticks may hold different files with the same path, inode and time.
    """
    wanted = {volume.name: (volume.sha256, volume.size) for volume in index.volumes}
    owner = {volume.sha256: volume.name for volume in index.volumes}
    wanted.update({name: (sha256, -1) for name, sha256 in index.beside.items()})
    present = {str(folder / name): name for name in wanted if (folder / name).is_file()}
    findings = [
        Finding("missing", name, "is in the index but not in the folder: copy it from its medium")
        for name in sorted(wanted.keys() - set(present.values()))
    ]
    for file, got in digest_files(present).items():
        name = present[file]
        sha256, size = wanted[name]
        if isinstance(got, OSError):
            findings.append(Finding("unreadable", name, got.strerror or str(got)))
        elif got != sha256 and got in owner:
            findings.append(Finding("misplaced", name, f"contains {owner[got]}: give each volume its own name again"))
        elif got != sha256:
            have = os.path.getsize(file)
            kind = "truncated" if have < size else "corrupt"
            detail = f"{have} bytes, the index says {size}" if size not in (-1, have) else f"sha256 {got}, not {sha256}"
            findings.append(Finding(kind, name, f"{detail}: copy it again from its source"))
    findings += [
        Finding("unlisted", name, "is not a volume of this export: are two exports mixed in one folder?")
        for name in _volumes_in(folder)
        if name not in wanted
    ]
    return sorted(findings, key=lambda finding: (finding.path, finding.kind))


# --- import ----------------------------------------------------------------------------------------------------------


def import_store(
    folder: Path,
    store: Path,
    say: Callable[[str], None],
    memo: Memo | None = None,
    check: bool = False,
    index: Index | None = None,
    accepted: age.Age | None = None,
    allow_older: bool = False,
) -> Outcome:
    """Verify an export, then update a store to its manifest.

    ``index`` is the export's own, if it is already read. Unless ``allow_older`` is set, the manifest must not be older
    than the store's own, nor than the one that was ``accepted`` before.

    New files are unpacked and hashed next to the store, then renamed into it. The manifest comes last. If the import
    is killed while it unpacks, the old store stays intact. If it is killed later, the store fails verification. In both
    cases the next run resumes. Raises ExportError, ManifestError, OlderError, BusyError, OSError.
    """
    index = index or read_index(folder)
    new = not store.exists()
    if new and check:
        return _import(folder, store, index, say, memo, check, accepted, allow_older)
    store.mkdir(parents=True, exist_ok=True)
    try:
        with exclusive(store):
            if not check:
                sweep_store(store)
            return _import(folder, store, index, say, memo, check, accepted, allow_older)
    except BaseException:
        if new:
            with contextlib.suppress(OSError):
                store.rmdir()
        raise


def _import(
    folder: Path,
    store: Path,
    index: Index,
    say: Callable[[str], None],
    memo: Memo | None,
    check: bool,
    accepted: age.Age | None,
    allow_older: bool,
) -> Outcome:
    base, present = _present(store)
    if present != index.manifest:
        _check_base(index, present)
    say(f"verifying {len(index.volumes)} volume(s), {index.size / MEGABYTE:.1f} MB")
    damage = _damage(folder, index)
    if damage:
        raise ExportError("the export is incomplete or damaged. The store was not changed", damage)
    new = parse_manifest(_beside(folder, index, FILENAME), str(folder / FILENAME))
    if not allow_older:
        age.refuse_older(new, accepted, base.age if present else None)
    if present == index.manifest:
        return _refresh(folder, store, index, memo, check)
    travels, removed = difference(base, new)
    carried = sorted((row.path, row.sha256, row.size) for row in index.files)
    if carried != sorted((a.path, a.sha256, a.size) for a in travels) or sorted(index.removed) != removed:
        raise ExportError(f"{folder / INDEX} does not match the manifest next to it: make the export again")
    _check_store(store, index, present, memo)
    there = {str(store / row.path): row for row in index.files if not (store / row.path).is_symlink()}
    digests = digest_files(there, memo)
    todo = [row for file, row in there.items() if digests[file] != row.sha256]
    todo += [row for row in index.files if str(store / row.path) not in there]
    outcome = Outcome(True, sorted(r.path for r in todo), removed, len(index.volumes), index.size, index.manifest)
    if check:
        return outcome
    staging = _staging(store, index)
    _stage(folder, staging, todo, say)
    for row in todo:
        _place(staging, store, row.path)
    for path in removed:
        (store / path).unlink(missing_ok=True)
    for name in BESIDE:
        if name in index.beside:
            _put(folder, staging, store, index, name)
        else:
            # It belongs to the old manifest.
            (store / name).unlink(missing_ok=True)
    _put(folder, staging, store, index, FILENAME)
    shutil.rmtree(staging)
    findings = verify(store, memo)
    if findings:
        raise ExportError("another process changed the store during the import", findings)
    return outcome


def _present(store: Path) -> tuple[Manifest, str | None]:
    """The store's present manifest and its digest; an empty manifest and None if there is no store yet."""
    if not (store / FILENAME).exists():
        return Manifest(()), None
    return read_manifest(store)


def _check_base(index: Index, present: str | None) -> None:
    if present == index.base:
        return
    if index.base is None:
        raise ExportError(
            f"this is a full export, but the store already has a manifest ({present}): import it into a new "
            "artifact_store_path, or export again with that store's manifest.json as artifact_store_export_since"
        )
    if present is None:
        raise ExportError(
            f"this export holds only the changes since manifest {index.base}, but there is no store yet: import the "
            "earlier exports first, beginning with a full one"
        )
    raise ExportError(
        f"this export starts from manifest {index.base}, but the store has {present}: first import the exports in "
        "between, in order, or export again with that store's manifest.json as artifact_store_export_since"
    )


def _check_store(store: Path, index: Index, present: str | None, memo: Memo | None) -> None:
    """Refuse a store that would fail verification afterwards. Leftovers of a killed import do not count as damage."""
    touched = {*(row.path for row in index.files), *index.removed, *BESIDE, COPY}
    if present is not None:
        findings = [finding for finding in verify(store, memo) if finding.path not in touched]
    else:
        found = (path for path in files_in(store) if path not in touched)
        findings = [Finding("unlisted", path, "is not part of the export") for path in found]
    findings = [finding for finding in findings if not is_unfinished(finding.path.rsplit("/", 1)[-1])]
    findings += outside(store, [*(row.path for row in index.files), *index.removed])
    if findings:
        raise ExportError("the store is damaged and was not changed: repair it first", findings)


def _refresh(folder: Path, store: Path, index: Index, memo: Memo | None, check: bool) -> Outcome:
    """The store already has this manifest: import only files next to it, such as a later signature."""
    findings = [finding for finding in verify(store, memo) if finding.path not in (*BESIDE, COPY)]
    if findings:
        raise ExportError("the store already has this manifest but is damaged: copy the whole store again", findings)
    stale = [
        name
        for name, sha256 in index.beside.items()
        if not (store / name).is_file() or sha256_bytes(read_bounded(str(store / name))) != sha256
    ]
    if not check:
        staging = _staging(store, index)
        for name in stale:
            _put(folder, staging, store, index, name)
        shutil.rmtree(staging)
    return Outcome(bool(stale), sorted(stale), manifest=index.manifest)


def _staging(store: Path, index: Index) -> Path:
    """The staging folder next to the store. Leftovers from the import of another export are removed."""
    real = store.resolve()
    prefix = f".{real.name}.import-"
    staging = real.with_name(f"{prefix}{index.manifest[:12]}")
    for old in real.parent.iterdir():
        if old.name.startswith(prefix) and old != staging:
            shutil.rmtree(old)
    staging.mkdir(exist_ok=True)
    return staging


def _stage(folder: Path, staging: Path, todo: Sequence[Travelling], say: Callable[[str], None]) -> None:
    """Unpack and hash files. A file gets its own name once it is complete. Files from an earlier attempt are kept."""
    staged = digest_files(str(staging / row.path) for row in todo)
    todo = [row for row in todo if staged[str(staging / row.path)] != row.sha256]
    need, free = sum(row.size for row in todo), shutil.disk_usage(staging).free
    if need > free:
        raise ExportError(
            f"{staging.parent} has {free / MEGABYTE:.0f} MB free, the import needs {need / MEGABYTE:.0f} MB: free some "
            "space and start again. The store was not changed"
        )
    progress = Progress(say, len(todo), need)
    for row in todo:
        target = staging / row.path
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = target.with_name(f".{target.name}.part")
        digest = hashlib.sha256()
        with open(partial, "wb") as output:
            for piece in row.pieces:
                with open_regular(str(folder / volume_name(piece.volume))) as volume:
                    volume.seek(piece.offset)
                    left = piece.length
                    while left:
                        block = volume.read(min(CHUNK, left))
                        if not block:
                            break
                        output.write(block)
                        digest.update(block)
                        left -= len(block)
                        progress.add(len(block))
            output.flush()
            os.fsync(output.fileno())
        if digest.hexdigest() != row.sha256:
            raise ExportError(
                f"{row.path} from the volumes does not have the manifest's digest: make the export again. The store "
                "was not changed"
            )
        os.replace(partial, target)
        progress.finish()


def _place(staging: Path, store: Path, path: str) -> None:
    """Rename a file into the store. If the store is a separate file system, copy it there first."""
    target = store / path
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.replace(staging / path, target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        shutil.copyfile(staging / path, store / COPY)
        os.replace(store / COPY, target)


def _beside(folder: Path, index: Index, name: str) -> bytes:
    """The bytes of a file that lies next to the volumes, as the index has it. Raises ExportError."""
    data = read_bounded(str(folder / name))
    if sha256_bytes(data) != index.beside[name]:
        raise ExportError(f"{folder / name} changed during the import: copy it again from its source")
    return data


def _put(folder: Path, staging: Path, store: Path, index: Index, name: str) -> None:
    """Import a file that lies next to the volumes."""
    write_atomic(str(staging / name), _beside(folder, index, name))
    _place(staging, store, name)
