# SPDX-License-Identifier: GPL-3.0-or-later
"""Small stores for tests: real manifests over made-up files."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.store.manifest import Artifact, Manifest

PROFILE = "cpu-py311-x86_64"


def write_store(folder: Path, files: Mapping[str, bytes], counter: int = 1) -> Manifest:
    """Write files ``{path: contents}`` and the manifest that lists them. Other files in the folder stay."""
    artifacts = []
    for path, data in files.items():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.unlink(missing_ok=True)
        target.write_bytes(data)
        wheel = path.startswith("wheels/")
        artifacts.append(
            Artifact(
                path,
                hashlib.sha256(data).hexdigest(),
                len(data),
                "wheel" if wheel else "kokoro-voice",
                path.rsplit("/", 1)[-1],
                "1.0",
                licence="MIT" if wheel else "",
                source="published" if wheel else "made-up",
                profiles=(PROFILE,) if wheel else (),
            )  # fmt: skip
        )
    manifest = Manifest(tuple(artifacts), (PROFILE,), counter)
    (folder / "manifest.json").write_bytes(manifest.to_bytes())
    return manifest


def tree(folder: Path) -> dict[str, bytes]:
    """Contents of all files by path."""
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}
