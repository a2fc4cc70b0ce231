# SPDX-License-Identifier: GPL-3.0-or-later
"""Unpack UniDic's archive where fugashi looks for it: among the packages, as the package ``unidic`` would hold it.

The package itself (unidic 1.1.0) is not installed. fugashi uses only the name of its folder, and the package needs a
wasabi that is too old for spaCy.
"""

from __future__ import annotations

import os
import shutil
import zipfile
import zlib
from collections.abc import Mapping
from typing import Any

from ..host.hashing import sha256_file, write_atomic

PACKAGE = "unidic"
TOP = "unidic/"  # the archive's folder; the licences have one of their own
NEEDED = ("char.bin", "dicrc", "matrix.bin", "sys.dic", "unk.dic")
MODULE = """import os

DICDIR = os.path.join(os.path.dirname(os.path.abspath(__file__)), "dicdir")
VERSION = {version!r}
"""


class DictionaryError(Exception):
    """A dictionary cannot be unpacked; the message says why."""


def _members(archive: zipfile.ZipFile, source: str) -> dict[str, zipfile.ZipInfo]:
    """Return the files in the archive's folder by relative path. Skip other folders and refuse paths that leave it."""
    found = {}
    for member in archive.infolist():
        name = member.filename[len(TOP) :]
        if not member.filename.startswith(TOP) or not name or member.is_dir():
            continue
        if os.path.isabs(name) or os.path.normpath(name) != name or name.split("/")[0] == "..":
            raise DictionaryError(f"{source} holds {member.filename!r}, which lies outside its folder {TOP}")
        found[name] = member
    absent = [name for name in NEEDED if name not in found]
    if absent:
        raise DictionaryError(f"{source} lacks {', '.join(absent)}: it is not the UniDic archive")
    return found


def install(archive: str, row: Mapping[str, Any], site: str) -> None:
    """Unpack the artifact (``sha256``, ``version``) at ``archive`` into the packages' folder ``site``.

    Hash its bytes first. Raises DictionaryError, OSError.
    """
    if sha256_file(archive) != row["sha256"]:
        raise DictionaryError(f"{archive} changed since it was verified at its arrival. Deploy again.")
    folder = os.path.join(site, PACKAGE, "dicdir")
    os.makedirs(folder)
    try:
        with zipfile.ZipFile(archive) as opened:
            for name, member in _members(opened, archive).items():
                os.makedirs(os.path.dirname(os.path.join(folder, name)), exist_ok=True)
                with opened.open(member) as source, open(os.path.join(folder, name), "wb") as target:
                    shutil.copyfileobj(source, target, 1 << 20)
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise DictionaryError(f"{archive} is not a complete archive: {error}") from error
    # MeCab requires a configuration file; an empty one is enough.
    write_atomic(os.path.join(folder, "mecabrc"), b"")
    write_atomic(os.path.join(site, PACKAGE, "__init__.py"), MODULE.format(version=row["version"]).encode())
    for parent, _folders, names in os.walk(os.path.join(site, PACKAGE)):
        for path in (parent, *(os.path.join(parent, name) for name in names)):
            os.chmod(path, 0o755 if os.path.isdir(path) else 0o644)
