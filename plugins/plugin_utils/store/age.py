# SPDX-License-Identifier: GPL-3.0-or-later
"""Notice a store that went back to an older manifest, although the signature is genuine.

Who can write to a store can put an older signed one in its place. So this controller remembers the age of the manifest
that it accepted last at each path, and refuses an older one.
"""

from __future__ import annotations

import fcntl
import json
from pathlib import Path

from ...module_utils.host.hashing import read_bounded, write_atomic
from . import datafile
from .manifest import Manifest

Age = tuple[str, int]
# So many stores are remembered. Tests and trials make many that are soon gone.
KEPT = 1000


class OlderError(Exception):
    """A manifest that is older than one that was accepted before."""


def refuse_older(manifest: Manifest, *accepted: Age | None) -> None:
    """Raise OlderError if the manifest is older than an accepted one. None stands for no manifest."""
    newest = max((age for age in accepted if age is not None), default=None)
    if newest is not None and manifest.age < newest:
        raise OlderError(
            f"its manifest is number {manifest.counter} of {manifest.time}, which is older than the one accepted "
            f"before: number {newest[1]} of {newest[0]}. Older contents can have known weaknesses. Carry the newest "
            "store, or accept the older one once with artifact_store_allow_older=true"
        )


class Accepted:
    """The age of the manifest that was accepted last, by the path of the store. ``file`` is a JSON file."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def _read(self) -> dict[str, Age]:
        try:
            found: dict[str, Age] = datafile.convert(
                dict[str, Age], datafile.parse(read_bounded(str(self.file))), self.file.name
            )
        except (OSError, datafile.DataError):
            return {}
        return found

    def at(self, store: Path) -> Age | None:
        """The age that was accepted last at a path; None if none was."""
        return self._read().get(str(store.resolve()))

    def accept(self, store: Path, manifest: Manifest) -> str:
        """Remember a manifest. Returns a warning if that is not possible."""
        place = str(store.resolve())
        if self._read().get(place) == manifest.age:
            return ""
        try:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            with open(self.file.with_name(f"{self.file.name}.lock"), "w") as lock:
                # Otherwise two plays at once would each forget what the other one accepted.
                fcntl.flock(lock, fcntl.LOCK_EX)
                known = self._read()
                known.pop(place, None)
                known[place] = manifest.age
                write_atomic(str(self.file), json.dumps(dict([*known.items()][-KEPT:]), indent=2).encode(), 0o600)
        except OSError as error:
            return (
                f"{self.file} cannot be written ({error.strerror}), so a later run does not notice if {store} goes "
                "back to an older state. Set VOICEFLEET_CACHE to a folder that can be written"
            )
        return ""
