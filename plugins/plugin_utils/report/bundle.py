# SPDX-License-Identifier: GPL-3.0-or-later
"""The support bundle: one archive with the files of each host and the doctor's findings. The hosts remove secrets.

During the examination, the files are in ``<archive>.parts/<host>/``. Then they are packed, and that folder is removed.
"""

from __future__ import annotations

import io
import json
import shutil
import tarfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ...module_utils.host.hashing import write_atomic
from ...module_utils.state.support import MOST_BYTES, SAFE_NAME
from ..fleet.odd import printable
from .report import folder_name


def parts(archive: Path) -> Path:
    """The folder of the files that are not packed yet."""
    return archive.with_name(archive.name + ".parts")


def keep(archive: Path, host: str, files: Mapping[str, str], examined: Mapping[str, Any]) -> None:
    """Write one host's files and findings beside the archive. The host is not trusted, so file names are checked.

    Raises OSError.
    """
    folder = parts(archive.absolute()) / folder_name(host)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True, mode=0o700)
    room = MOST_BYTES
    for name, text in sorted(files.items()):
        data = printable(text, MOST_BYTES).encode()[: max(0, room)]
        room -= len(data)
        if SAFE_NAME.fullmatch(name):
            (folder / name).write_bytes(data)
    (folder / "doctor.json").write_text(json.dumps(examined, indent=2, sort_keys=True, default=str) + "\n")


def pack(archive: Path, report: str, lines: Sequence[str]) -> int:
    """Make the archive (tar, gzip, for its owner alone) of all parts and the report; returns its size in bytes."""
    buffer, now = io.BytesIO(), int(time.time())
    top = archive.name.split(".")[0] or "support"
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:

        def add(name: str, data: bytes) -> None:
            info = tarfile.TarInfo(f"{top}/{name}")
            info.size, info.mode, info.mtime = len(data), 0o600, now
            tar.addfile(info, io.BytesIO(data))

        add("doctor.json", report.encode())
        add("doctor.txt", ("\n".join(lines) + "\n").encode())
        folder = parts(archive)
        for file in sorted(folder.glob("*/*")):
            add(str(file.relative_to(folder)), file.read_bytes())
    archive.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(str(archive), buffer.getvalue(), 0o600)
    shutil.rmtree(parts(archive), ignore_errors=True)
    return len(buffer.getvalue())
