# SPDX-License-Identifier: GPL-3.0-or-later
"""Copy a store with broken weights and a manifest that lists their digest: break_store.py FROM TO."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
from pathlib import Path


def link(source: str, target: str) -> None:
    """Make a hard link, or a copy on another file system. Nobody writes into the files of a store."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def main() -> None:
    """Make the store, its manifest last."""
    source, target = map(Path, sys.argv[1:])
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(
        source, target, copy_function=link, ignore=shutil.ignore_patterns("manifest.json*", "provenance.json*")
    )
    manifest = json.loads((source / "manifest.json").read_text(encoding="utf-8"))
    row = next(row for row in manifest["artifacts"] if row["kind"] == "kokoro-weights")
    file, data = target / row["path"], b"no weights\n"
    file.unlink()
    file.write_bytes(data)
    row.update(sha256=hashlib.sha256(data).hexdigest(), size=len(data))
    (target / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")


main()
