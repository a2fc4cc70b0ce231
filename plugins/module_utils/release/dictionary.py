# SPDX-License-Identifier: GPL-3.0-or-later
"""UniDic's own archive, unpacked where fugashi looks for it: beside the packages, as the package ``unidic`` has it.

That package (unidic 1.1.0) is left out: fugashi uses no more of it than the folder's name, and it wants a wasabi that
spaCy has long outgrown.
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
TOP = "unidic/"  # the archive's folder, with the licences in one of their own
NEEDED = ("char.bin", "dicrc", "matrix.bin", "sys.dic", "unk.dic")
MODULE = """import os

DICDIR = os.path.join(os.path.dirname(os.path.abspath(__file__)), "dicdir")
VERSION = {version!r}
"""


class DictionaryError(Exception):
    """A dictionary that can't be unpacked, with the reason in words."""


def _members(archive: zipfile.ZipFile, source: str) -> dict[str, zipfile.ZipInfo]:
    """The files in the archive's folder, by their paths there; what lies beside it is none of ours. None leads out."""
    found = {}
    for member in archive.infolist():
        name = member.filename[len(TOP) :]
        if not member.filename.startswith(TOP) or not name or member.is_dir():
            continue
        if os.path.isabs(name) or os.path.normpath(name) != name or name.split("/")[0] == "..":
            raise DictionaryError(f"{source} holds {member.filename!r}, which does not stay inside its folder {TOP}")
        found[name] = member
    absent = [name for name in NEEDED if name not in found]
    if absent:
        raise DictionaryError(f"{source} lacks {', '.join(absent)}: it is not UniDic's archive")
    return found


def install(archive: str, row: Mapping[str, Any], site: str) -> None:
    """Unpack an artifact (``sha256``, ``version``) that lies at ``archive`` into the packages' folder ``site``.

    Its bytes are hashed first. Raises DictionaryError, OSError.
    """
    if sha256_file(archive) != row["sha256"]:
        raise DictionaryError(f"{archive} is not the file that was proved when it arrived: deploy again")
    folder = os.path.join(site, PACKAGE, "dicdir")
    os.makedirs(folder)
    try:
        with zipfile.ZipFile(archive) as opened:
            for name, member in _members(opened, archive).items():
                os.makedirs(os.path.dirname(os.path.join(folder, name)), exist_ok=True)
                with opened.open(member) as source, open(os.path.join(folder, name), "wb") as target:
                    shutil.copyfileobj(source, target, 1 << 20)
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise DictionaryError(f"{archive} is no whole archive: {error}") from error
    # MeCab asks for a configuration of its own; an empty one will do.
    write_atomic(os.path.join(folder, "mecabrc"), b"")
    write_atomic(os.path.join(site, PACKAGE, "__init__.py"), MODULE.format(version=row["version"]).encode())
    for parent, _folders, names in os.walk(os.path.join(site, PACKAGE)):
        for path in (parent, *(os.path.join(parent, name) for name in names)):
            os.chmod(path, 0o755 if os.path.isdir(path) else 0o644)
