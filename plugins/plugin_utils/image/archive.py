# SPDX-License-Identifier: GPL-3.0-or-later
"""Archives of images, in the form of ``docker save``, which ``docker load`` and ``podman load`` both read.

An archive holds a configuration and layers. The digest of the configuration is the image's id. It holds the digests of
all layers. So the same layers and configuration give the same id and, as all headers are fixed, the same archive.
"""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import tarfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from ...module_utils.host.hashing import parse_json

Json = dict[str, Any]
CHUNK = 1 << 20
# More than any configuration or list of layers has.
MOST_JSON = 16 << 20
GZIP = b"\x1f\x8b"


class ArchiveError(Exception):
    """An archive that cannot be used, with the reason."""


@dataclass(frozen=True)
class Base:
    """An image to build on: its configuration, and the members of its archive that hold the layers."""

    path: Path
    config: Json
    layers: tuple[str, ...]  # the names of the members, from the lowest
    name: str = ""  # the name that the archive gives to the image

    @property
    def digests(self) -> list[str]:
        """The digests of the layers' contents."""
        return list(self.config["rootfs"]["diff_ids"])


class Hashed:
    """A file that is written, and hashed and counted on the way."""

    def __init__(self, handle: IO[bytes]) -> None:
        self._handle = handle
        self._digest = hashlib.sha256()
        self.size = 0

    def write(self, data: bytes) -> int:
        self._digest.update(data)
        self.size += len(data)
        return self._handle.write(data)

    def hexdigest(self) -> str:
        return self._digest.hexdigest()


def read_base(path: Path) -> Base:
    """The one image of an archive of ``docker save`` or ``podman save``. Raises ArchiveError, OSError."""
    try:
        with tarfile.open(path) as archive:
            rows = _json(archive, "manifest.json")
            if len(rows) != 1:
                raise ArchiveError(f"{path} holds {len(rows)} images instead of one. Save only the base image")
            config = _json(archive, rows[0]["Config"])
            layers = tuple(str(name) for name in rows[0]["Layers"])
            found = Base(path, config, layers, next(iter(rows[0].get("RepoTags") or []), ""))
            if len(found.digests) != len(layers):
                raise ArchiveError(f"{path} has {len(layers)} layers, but its configuration names {len(found.digests)}")
            return found
    except (tarfile.TarError, EOFError, zlib.error, KeyError, TypeError, ValueError) as error:
        raise ArchiveError(f"{path} is not an archive of docker save: {error!r}") from error


def _json(archive: tarfile.TarFile, name: str) -> Any:
    handle = archive.extractfile(name)
    if handle is None or archive.getmember(name).size > MOST_JSON:
        raise ValueError(f"{name} is no plain file of a usual size")
    return parse_json(handle.read())


def plain_layers(base: Base, folder: Path) -> Iterator[Path]:
    """Each layer of the base as an uncompressed file in ``folder``, checked. Raises ArchiveError, OSError."""
    with tarfile.open(base.path) as archive:
        for number, (name, digest) in enumerate(zip(base.layers, base.digests, strict=True)):
            target = folder / f"base-{number}.tar"
            try:
                source = archive.extractfile(name)
            except KeyError:
                source = None
            if source is None:
                raise ArchiveError(f"{base.path} lacks the layer {name}")
            with open(target, "wb") as handle:
                written = Hashed(handle)
                for block in _inflated(source):
                    written.write(block)
            if f"sha256:{written.hexdigest()}" != digest:
                raise ArchiveError(f"the layer {name} of {base.path} is damaged: its digest is not {digest}")
            yield target


def _inflated(source: IO[bytes]) -> Iterator[bytes]:
    block = source.read(CHUNK)
    inflate = zlib.decompressobj(31) if block.startswith(GZIP) else None
    while block:
        yield inflate.decompress(block) if inflate else block
        block = source.read(CHUNK)
    if inflate:
        yield inflate.flush()


def config_bytes(config: Mapping[str, Any]) -> bytes:
    """The bytes of a configuration. Equal configurations have equal bytes."""
    return json.dumps(config, sort_keys=True, separators=(",", ":")).encode()


def write(target: Path, config: bytes, layers: Sequence[Path], digests: Sequence[str], tag: str) -> str:
    """Write an archive of an image, and return the archive's own digest. Raises OSError.

    ``digests`` belong to ``layers``. A layer that comes twice is written once.
    """
    names = [f"{digest.removeprefix('sha256:')}.tar" for digest in digests]
    identity = hashlib.sha256(config).hexdigest()
    rows = [{"Config": f"{identity}.json", "RepoTags": [tag], "Layers": names}]
    with open(target, "wb") as handle:
        written = Hashed(handle)
        # A stream, so that every byte passes the digest once.
        with tarfile.open(fileobj=written, mode="w|", format=tarfile.PAX_FORMAT) as archive:  # type: ignore[call-overload]
            _add(archive, f"{identity}.json", config)
            for name, layer in dict(zip(names, layers, strict=True)).items():
                entry = tarfile.TarInfo(name)
                entry.size = layer.stat().st_size
                with open(layer, "rb") as source:
                    archive.addfile(entry, source)
            _add(archive, "manifest.json", json.dumps(rows, sort_keys=True).encode())
        handle.flush()
    return written.hexdigest()


def _add(archive: tarfile.TarFile, name: str, data: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(data)
    archive.addfile(entry, io.BytesIO(data))


def sha256_of(path: Path) -> str:
    """The digest of a file."""
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def discard(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
