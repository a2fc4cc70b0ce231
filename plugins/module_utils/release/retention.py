# SPDX-License-Identifier: GPL-3.0-or-later
"""Choose which releases of a host stay and which go. The current and the previous release always stay."""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..host import ownership
from ..host.hashing import Memo
from ..host.layout import RELEASE_FILE, RELEASE_NAME, Paths
from . import ledger, release

# A folder with this prefix is being removed and no longer counts as a release.
DOOMED = ".removing-"
# A folder without a seal counts as a remnant after so many seconds: another controller may still build a younger one.
REMNANT_AGE = 86400
_DIGEST = re.compile(r"[0-9a-f]{64}\Z")


@dataclass(frozen=True)
class Choice:
    """What stays and what goes: releases by id, newest first; remnants by folder name; artifacts by digest."""

    stay: list[str]
    go: list[str]
    remnants: list[str]
    artifacts: list[str]

    def lines(self, after: bool) -> str:
        """Return one line for each thing that is there before or after the removal."""
        there = [*self.stay, *([] if after else [*self.go, *self.remnants, *map("artifact {}".format, self.artifacts)])]
        return "".join(f"{name}\n" for name in there)


def folders(path: str) -> list[str]:
    """Return the sorted names of the folders in a folder; empty if it does not exist."""
    try:
        with os.scandir(path) as entries:
            return sorted(entry.name for entry in entries if entry.is_dir(follow_symlinks=False))
    except FileNotFoundError:
        return []


def last_use(sealed: Mapping[str, Mapping[str, Any]], receipts: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return ids of finished releases, last served first. One that never served counts from its creation."""
    times = {
        name: time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(data.get("made", 0))) for name, data in sealed.items()
    }
    for receipt in receipts:
        for name in (receipt.get("release"), receipt.get("previous")):
            if isinstance(name, str) and name in times:
                times[name] = max(times[name], str(receipt.get("time", "")))
    return sorted(times, key=lambda name: (times[name], name), reverse=True)


def choose(
    paths: Paths,
    serving: str,
    receipts: Sequence[Mapping[str, Any]],
    keep: int,
    artifacts: Iterable[str] | None,
    now: float | None = None,
) -> Choice:
    """Choose what goes once ``serving`` is current and ``keep`` releases stay beside it.

    ``artifacts`` are the digests that the plan refers to. Artifacts that neither the plan nor a remaining release
    needs go too. None keeps all artifacts. Raises OSError.
    """
    names = folders(paths.releases)
    sealed = {name: data for name in names if (data := release.read(paths.release(name))) is not None}
    pointed = release.current(paths)
    before = pointed if pointed != serving else ledger.previous(receipts, serving)
    always = {serving, pointed, before}
    order = last_use(sealed, receipts)
    first = [name for name in order if name in always]
    others = [name for name in order if name not in always]
    room = max(0, keep - len([name for name in first if name != serving]))
    stay, go = [*first, *others[:room]], others[room:]

    # A folder without a seal is ours only by its name.
    unfinished = [name for name in names if name not in sealed and RELEASE_NAME.match(name)]
    limit = (time.time() if now is None else now) - REMNANT_AGE
    old = [name for name in unfinished if name not in always and os.stat(paths.release(name)).st_mtime < limit]
    remnants = [*[name for name in names if name.startswith(DOOMED)], *old]

    surplus: list[str] = []
    # No file lists what an unfinished release needs, so keep all artifacts while there is one.
    if artifacts is not None and set(unfinished) <= set(old):
        wanted = set(artifacts)
        for name in stay:
            wanted.update(row["sha256"] for row in sealed[name].get("artifacts", []))
        surplus = [name for name in folders(paths.artifacts) if _DIGEST.match(name) and name not in wanted]
    return Choice(stay, go, remnants, surplus)


def remove(paths: Paths, choice: Choice) -> None:
    """Remove what goes from a root of ours. If this is interrupted, the next call finds the rest.

    Raises ForeignError, OSError.
    """
    ownership.claim(paths.root)
    remnants = list(choice.remnants)
    for name in choice.go:
        if ownership.moved(paths.release(name), paths.release(DOOMED + name)):
            remnants.append(DOOMED + name)
        else:
            # Without its seal it is unfinished, so the next call finds it too.
            os.unlink(os.path.join(paths.release(name), RELEASE_FILE))
            remnants.append(name)
    for name in remnants:
        shutil.rmtree(paths.release(name))
    memo = Memo(paths.stamps)
    for digest in choice.artifacts:
        folder = os.path.join(paths.artifacts, digest)
        for file in os.listdir(folder):
            memo.forget(os.path.join(folder, file))
        shutil.rmtree(folder)
    memo.save()
