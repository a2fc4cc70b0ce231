# SPDX-License-Identifier: GPL-3.0-or-later
"""Remove unused files in two steps: first write a list for review, then remove exactly the files on it.

The list is a JSON file. Entries may be deleted from it before it is applied. Added entries are refused.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

from ...module_utils.host.hashing import canonical_json, read_bounded
from . import datafile
from .datafile import Count, DataError, Sha256
from .exclusive import exclusive
from .manifest import BESIDE, FILENAME, InsidePath, read_manifest
from .store import Finding, FindingsError, files_in

SCHEMA = 1


class PruneError(FindingsError):
    """A refused prune."""


@dataclass(frozen=True)
class Surplus:
    """A file to remove: ``path`` is relative to ``root``, ``store`` or ``cache``. The rest detects later changes."""

    root: Annotated[str, ("store", "cache").__contains__, "store or cache"]
    path: InsidePath
    size: Count
    mtime_ns: int
    inode: int
    reason: str


@dataclass(frozen=True)
class Listing:
    """The files to remove, and the state of the stores at that time.

    ``stores`` maps each store's absolute path to its manifest's digest. The first store is the one to prune.
    ``cache`` is the absolute path of the download cache, or None.
    """

    store: str
    stores: dict[str, Sha256]
    cache: str | None
    files: tuple[Surplus, ...]

    def to_bytes(self) -> bytes:
        return canonical_json({"schema": SCHEMA, **asdict(self)})

    @property
    def size(self) -> int:
        """Bytes of the files. A hard-linked file frees its bytes only when its last link is removed."""
        return sum(file.size for file in self.files)


def survey(store: Path, cache: Path | None = None, others: Sequence[Path] = ()) -> Listing:
    """List files that the store's manifest does not name, and cached files that no store uses.

    Raises ManifestError if a store has no manifest, because its files are then unknown. Raises OSError.
    """
    manifest, digest = read_manifest(store)
    digests = {str(store): digest}
    listed = {FILENAME, *BESIDE, *(artifact.path for artifact in manifest.artifacts)}
    used = {artifact.sha256 for artifact in manifest.artifacts}
    for path in others:
        other, digests[str(path)] = read_manifest(path)
        used |= {artifact.sha256 for artifact in other.artifacts}
    files = [_surplus("store", store, path, "not in the manifest") for path in files_in(store) if path not in listed]
    there = cache is not None and cache.is_dir()
    if cache is not None and there:
        files += [_surplus("cache", cache, path, reason) for path, reason in _unused(cache, used)]
    return Listing(str(store), digests, str(cache) if there else None, tuple(files))


def _surplus(root: str, folder: Path, path: str, reason: str) -> Surplus:
    status = os.lstat(folder / path)
    return Surplus(root, path, status.st_size, status.st_mtime_ns, status.st_ino, reason)


def _unused(cache: Path, used: set[str]) -> Iterator[tuple[str, str]]:
    """Cached files that no store uses, with the reason. A source counts as used if its built wheel is used."""
    sources = set()
    for name in ("built", "sha256", "partial"):
        if (cache / name).is_symlink():
            raise PruneError(f"{cache / name} is a symbolic link, which the cache never has: remove it")
    for note in sorted((cache / "built").glob("*.json")):
        try:
            _filename, wheel = datafile.convert(tuple[str, str], datafile.parse(read_bounded(str(note))), note.name)
        except (OSError, DataError):
            wheel = ""
        if wheel in used:
            sources.add(note.stem)
        else:
            yield note.relative_to(cache).as_posix(), "records the build of a wheel that no store uses"
    for path in files_in(cache / "sha256"):
        if path.rsplit("/", 1)[-1] not in used | sources:
            yield f"sha256/{path}", "no store uses it"
    for path in files_in(cache / "partial"):
        yield f"partial/{path}", "is an unfinished download"


def read_listing(path: Path) -> Listing:
    """Read a list that the first step wrote. Raises PruneError on any other file."""
    try:
        data = datafile.parse(read_bounded(str(path)))
        schema = data.pop("schema", None) if isinstance(data, dict) else None
        if schema != SCHEMA:
            raise DataError(f"schema {schema!r:.99}; this version of the collection reads schema {SCHEMA}")
        return datafile.row(Listing, data, "list")
    except OSError as error:
        raise PruneError(f"the list {path} cannot be read: {error.strerror}") from error
    except DataError as error:
        raise PruneError(
            f"{path} is not a list from playbooks/prune.yml ({error}): run it without artifact_store_prune_list first"
        ) from error


def apply(
    listing: Listing, store: Path, cache: Path | None = None, others: Sequence[Path] = (), check: bool = False
) -> list[Surplus]:
    """Remove exactly the files on the list, or none. Returns the removed files. Files already gone are skipped.

    The list must name the same folders as the arguments, so that an edited list cannot lead elsewhere. Raises
    PruneError if it does not, if the store or a file changed since, or if a listed file is in use. Raises
    ManifestError, BusyError, OSError.
    """
    if listing.store != str(store):
        raise PruneError(f"the list belongs to the store {listing.store}, but artifact_store_path is {store}")
    if listing.cache not in (None, str(cache)):
        raise PruneError(f"the list belongs to the cache {listing.cache}, but artifact_store_cache is {cache}")
    if listing.stores.keys() != {str(path) for path in (store, *others)}:
        raise PruneError(
            f"the list was made with the stores {', '.join(sorted(listing.stores)) or 'none'}, but artifact_store_path "
            f"and artifact_store_prune_stores are {', '.join(sorted({str(path) for path in (store, *others)}))}"
        )
    read_manifest(store)
    with exclusive(store):
        roots = {"store": store, **({"cache": cache} if cache is not None and listing.cache is not None else {})}
        now = survey(store, roots.get("cache"), others)
        for path, digest in listing.stores.items():
            if now.stores[path] != digest:
                raise PruneError(
                    f"the manifest of {path} changed after the list was made. Nothing was removed: make a new list"
                )
        # The survey follows no links, so every file it names lies inside the folders.
        surplus = {(file.root, file.path): file for file in now.files}
        findings, going = [], []
        for file in listing.files:
            found = surplus.get((file.root, file.path))
            if file.root not in roots:
                findings.append(Finding("outside", file.path, "the list names no cache"))
            elif found is None and not os.path.lexists(roots[file.root] / file.path):
                continue
            elif found is None:
                findings.append(Finding("in use", file.path, f"the {file.root} uses it"))
            elif (found.size, found.mtime_ns, found.inode) != (file.size, file.mtime_ns, file.inode):
                findings.append(Finding("changed", file.path, "changed after the list was made"))
            else:
                going.append(file)
        if findings:
            raise PruneError("the list is out of date. Nothing was removed: make a new list", findings)
        for file in going if not check else ():
            (roots[file.root] / file.path).unlink(missing_ok=True)
        return going
