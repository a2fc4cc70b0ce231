# SPDX-License-Identifier: GPL-3.0-or-later
"""An image's archive: docker load reads it, and the same layers give the same bytes."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.image import archive


def digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def saved(path: Path, layers: list[bytes], digests: list[str] | None = None, **more: Any) -> Path:
    """An archive as docker save writes it."""
    config = {
        "architecture": "amd64", "os": "linux", "config": {"Env": ["PATH=/usr/bin"]},
        "rootfs": {"type": "layers", "diff_ids": digests or [digest(layer) for layer in layers]}, **more,
    }  # fmt: skip
    names = [f"{number}/layer.tar" for number in range(len(layers))]
    members = {"config.json": json.dumps(config).encode(), **dict(zip(names, layers, strict=True))}
    rows = [{"Config": "config.json", "RepoTags": ["base:1"], "Layers": names}]
    members["manifest.json"] = json.dumps(rows).encode()
    with tarfile.open(path, "w") as tar:
        for name, data in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    return path


def test_a_base_is_read_with_its_name_and_layers(tmp_path: Path) -> None:
    base = archive.read_base(saved(tmp_path / "base.tar", [b"one", b"two"]))
    assert (base.name, base.digests) == ("base:1", [digest(b"one"), digest(b"two")])
    assert [path.read_bytes() for path in archive.plain_layers(base, tmp_path)] == [b"one", b"two"]


def test_a_compressed_layer_is_unpacked(tmp_path: Path) -> None:
    path = saved(tmp_path / "base.tar", [gzip.compress(b"one")], [digest(b"one")])
    assert [path.read_bytes() for path in archive.plain_layers(archive.read_base(path), tmp_path)] == [b"one"]


def test_a_damaged_layer_is_refused(tmp_path: Path) -> None:
    base = archive.read_base(saved(tmp_path / "base.tar", [b"other"], [digest(b"one")]))
    with pytest.raises(archive.ArchiveError, match="is damaged"):
        list(archive.plain_layers(base, tmp_path))


@pytest.mark.parametrize("data", [b"", b"text", gzip.compress(b"text")])
def test_another_file_is_no_archive(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "x").write_bytes(data)
    with pytest.raises(archive.ArchiveError, match="is not an archive of docker save"):
        archive.read_base(tmp_path / "x")


def test_the_same_layers_give_the_same_archive(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).write_bytes(b"layer " + name.encode())
    layers = [tmp_path / "a", tmp_path / "b", tmp_path / "a"]
    digests = [digest(layer.read_bytes()) for layer in layers]
    config = archive.config_bytes({"rootfs": {"type": "layers", "diff_ids": digests}, "architecture": "amd64"})
    first = archive.write(tmp_path / "1.tar", config, layers, digests, "speech:1")
    (tmp_path / "a").touch()
    second = archive.write(tmp_path / "2.tar", config, layers, digests, "speech:1")
    assert first == second == archive.sha256_of(tmp_path / "1.tar") == archive.sha256_of(tmp_path / "2.tar")
    made = archive.read_base(tmp_path / "1.tar")
    assert made.name == "speech:1"
    assert made.digests == digests
    with tarfile.open(tmp_path / "1.tar") as tar:
        # A layer that comes twice is stored once.
        assert len(tar.getnames()) == 4
    assert [path.read_bytes() for path in archive.plain_layers(made, tmp_path)] == [b"layer a", b"layer b", b"layer a"]
