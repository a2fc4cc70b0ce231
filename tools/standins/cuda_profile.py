# SPDX-License-Identifier: GPL-3.0-or-later
"""Give a copy of a test's store a second profile that passes for one with CUDA: for the tests of mixed fleets alone.

    python tools/standins/cuda_profile.py STORE COPY

Nothing in it computes on a card. Its lock is that of the CPU profile and one stand-in more: an empty wheel by the name
and version of CUDA's runtime, from which preflight tells what the host's driver must run. Wheel and lock are marked
made up in the manifest. Files are hard links of the store's where the file system lets them be.
"""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import io
import os
import shutil
import sys
import zipfile
from pathlib import Path

from ansible_collections.voicefleet.kokoro.plugins.module_utils.host.sources import MADE_UP
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.store import locks, sbom
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.store.manifest import (
    FILENAME,
    Artifact,
    read_manifest,
)
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.store.profiles import Profile, parse_profile

RUNTIME = ("nvidia-cuda-runtime", "13.0.96")  # as in the committed locks
NOTE = "Made for a test: there is no CUDA in this wheel, and nothing of NVIDIA's."


def stand_in_wheel(architecture: str) -> tuple[str, bytes]:
    """Name and bytes of a wheel that holds a note and nothing to run; the same bytes each time."""
    name, version = RUNTIME[0].replace("-", "_"), RUNTIME[1]
    info = f"{name}-{version}.dist-info"
    tag = f"py3-none-manylinux2014_{architecture}"
    files = {
        f"{name}_stand_in.py": f'"""{NOTE}"""\n',
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {RUNTIME[0]}\nVersion: {version}\nSummary: {NOTE}\n",
        f"{info}/WHEEL": f"Wheel-Version: 1.0\nGenerator: voicefleet\nRoot-Is-Purelib: true\nTag: {tag}\n",
    }
    rows = []
    for path, text in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
        rows.append(f"{path},sha256={digest},{len(text.encode())}\n")
    files[f"{info}/RECORD"] = "".join(rows) + f"{info}/RECORD,,\n"
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, text in files.items():
            archive.writestr(zipfile.ZipInfo(path, (2020, 1, 1, 0, 0, 0)), text)
    return f"{name}-{version}-{tag}.whl", packed.getvalue()


def link(source: str, target: str) -> None:
    """A hard link, or a copy on another file system."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def replace(path: Path, data: bytes) -> tuple[str, int]:
    """Put a file in the place of a link, whose other name keeps its contents. Returns its digest and size."""
    path.unlink(missing_ok=True)
    path.write_bytes(data)
    return hashlib.sha256(data).hexdigest(), len(data)


def add_profile(store: Path, copy: Path) -> str:
    """Make the copy; returns the name of the second profile."""
    manifest, _digest = read_manifest(store)
    cpu = parse_profile(manifest.profiles[0])
    cuda = Profile("cuda", cpu.python, cpu.architecture)
    if copy.exists():
        shutil.rmtree(copy)
    shutil.copytree(store, copy, copy_function=link, ignore=shutil.ignore_patterns("provenance.json*"))
    filename, wheel = stand_in_wheel(cpu.architecture)
    digest, size = replace(copy / "wheels" / filename, wheel)
    rows = [
        dataclasses.replace(row, profiles=(*row.profiles, cuda.name))
        if row.kind in ("wheel", "python") and cpu.name in row.profiles
        else row
        for row in manifest.artifacts
        if row.kind != "sbom"
    ]
    rows.append(
        Artifact(
            f"wheels/{filename}", digest, size, "wheel", *RUNTIME, source=MADE_UP, profiles=(cuda.name,),
            tags=tuple(locks.wheel_tags(filename)),
        )
    )  # fmt: skip
    lock = locks.read_lock(store / cpu.lock_path)
    stand_in = locks.LockedPackage(*RUNTIME, filename, f"../wheels/{filename}", digest, size)
    packages = tuple(sorted([*lock.packages, stand_in], key=lambda package: package.name))
    digest, size = replace(
        copy / cuda.lock_path, locks.render_lock(dataclasses.replace(lock, packages=packages), cuda).encode()
    )
    former = next(row for row in manifest.of_kind("lock") if row.path == cpu.lock_path)
    rows.append(
        dataclasses.replace(
            former,
            path=cuda.lock_path,
            sha256=digest,
            size=size,
            name=cuda.name,
            source=MADE_UP,
            profiles=(cuda.name,),
        )
    )
    bill = sbom.render(rows)
    digest, size = replace(copy / sbom.PATH, bill)
    rows.append(Artifact(sbom.PATH, digest, size, "sbom", "CycloneDX", "1.6"))
    both = dataclasses.replace(manifest, artifacts=tuple(rows), profiles=(*manifest.profiles, cuda.name))
    replace(copy / FILENAME, both.to_bytes())
    return cuda.name


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    print(add_profile(Path(sys.argv[1]), Path(sys.argv[2])))
