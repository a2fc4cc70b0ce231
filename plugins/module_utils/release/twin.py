# SPDX-License-Identifier: GPL-3.0-or-later
"""Make the environment of a release from that of another sealed release with the same packages and repairs.

Releases with other voices differ in their models alone. Hard links then take seconds where uv needs a minute or more,
mostly to compile byte code. A release shares the files of its environment with the other one. Nothing changes them in
place: a repair, a rebuild and a removal all replace names, so the other release keeps its files.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from typing import Any

from ..host import selinux
from ..host.hashing import write_atomic
from ..host.layout import Paths
from . import python_env, release


def find(path: str, stamp: Mapping[str, Any], root: str) -> str | None:
    """Return the folder of another sealed release that is unchanged and has this environment; None if there is none."""
    paths = Paths(root)
    try:
        names = sorted(os.listdir(paths.releases))
    except OSError:
        return None
    for name in names:
        other = paths.release(name)
        if other == path or not python_env.is_made(os.path.join(other, "env"), stamp):
            continue
        try:
            # None: it was never sealed.
            if release.drift(other) == ([], [], []):
                return other
        except OSError:
            continue
    return None


def copy(source: str, path: str, stamp: Mapping[str, Any]) -> None:
    """Make ``<path>/env`` from ``<source>/env``, without spaCy's models, which a later step installs.

    Programs and the configuration name their environment, so they are written anew. All else is linked. The stamp comes
    last, as in :func:`python_env.make`. Raises EnvError, OSError.
    """
    python_env.discard(path)
    old, new = os.path.join(source, "env"), os.path.join(path, "env")
    without = _models(source, old)
    for parent, folders, files in os.walk(old):
        target = os.path.join(new, os.path.relpath(parent, old))
        os.makedirs(target, exist_ok=True)
        os.chmod(target, 0o755)
        folders[:] = [name for name in folders if os.path.join(parent, name) not in without]
        links = [name for name in folders if os.path.islink(os.path.join(parent, name))]
        for name in [*files, *links]:
            file, made = os.path.join(parent, name), os.path.normpath(os.path.join(target, name))
            if os.path.islink(file):
                os.symlink(os.readlink(file), made)
            elif parent in (old, os.path.join(old, "bin")):
                if name != python_env.STAMP:
                    _write(file, made, old, new)
            else:
                os.link(file, made)
    selinux.label(new)
    python_env.write_stamp(new, stamp)


def _models(source: str, env: str) -> set[str]:
    """Return the folders of spaCy's models in an environment."""
    site = python_env.site_packages(env)
    artifacts = (release.read(source) or {}).get("artifacts", [])
    rows = [row for row in artifacts if row["kind"] == "spacy-model"]
    return {
        os.path.join(site, name) for row in rows for name in (row["name"], f"{row['name']}-{row['version']}.dist-info")
    }


def _write(file: str, made: str, old: str, new: str) -> None:
    """Write a file of the environment ``old`` for the environment ``new``, whose path it then names."""
    with open(file, "rb") as handle:
        data = handle.read()
    write_atomic(made, data.replace(os.fsencode(old), os.fsencode(new)))
    shutil.copymode(file, made)
