# SPDX-License-Identifier: GPL-3.0-or-later
"""Remove from a host what this collection installed, and nothing else."""

from __future__ import annotations

import contextlib
import glob
import os
import pwd
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field

from ..host import layout, ownership, systemd_unit
from ..host.hashing import UNFINISHED, is_unfinished
from ..release import release
from ..xinference import config

# What a folder of secrets holds.
SECRETS = (
    config.SECRETS_FILE,
    config.ENVIRONMENT_FILE,
    config.KEY_FILE,
    config.CLUSTER_FILE,
    config.HEADER_FILE,
    config.APPLIED_FILE,
    config.KEYS_FOLDER,
    layout.STARTED_FILE,
    layout.FILTER_FILE,
    layout.FILTER_RECORD,
)


class RemovalError(Exception):
    """A fault to tell the operator."""


@dataclass(frozen=True)
class Places:
    """The places of an installation, and whether to remove data and evidence. ``units`` is systemd's folder.

    ``worker_home`` and ``worker_secrets`` belong to a worker on the supervisor's host.
    """

    root: str
    secrets: str
    home: str
    evidence: str
    user: str
    remove_data: bool = False
    remove_evidence: bool = False
    units: str = layout.UNIT_FOLDER
    worker_home: str = ""
    worker_secrets: str = ""
    candidate_secrets: str = ""


@dataclass
class Removal:
    """What is removed. ``stay`` describes what stays."""

    units: list[str] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    folders: list[str] = field(default_factory=list)
    user: str | None = None
    stay: list[str] = field(default_factory=list)

    def lines(self) -> list[str]:
        """What is removed, one line each."""
        user = [f"user {self.user}"] if self.user else []
        return [*(f"unit {name}" for name in self.units), *self.paths, *user]


def account(name: str) -> int | None:
    """The uid of a user, or None if there is none."""
    try:
        return pwd.getpwnam(name).pw_uid
    except KeyError:
        return None


def _ours(folder: str, found: Removal) -> bool:
    """Whether a folder is ours. If it is there and not ours, say that it stays. Also find a half-made one."""
    half = folder + ownership.SCRATCH
    if os.path.isdir(half) and not os.path.islink(half):
        found.paths.append(half)
    if not os.path.lexists(folder):
        return False
    why = ownership.shared(folder)
    if os.path.islink(folder):
        why = f"is {ownership.link(folder)}, or remove both by hand"
    elif not why and not ownership.is_ours(folder):
        why = ownership.refusal(folder) or "is empty and has no mark of this collection"
    if why:
        found.stay.append(f"{folder}: {why}")
    return not why


def _known(folder: str, ours: Callable[[str], object], found: Removal) -> bool:
    """Add what we know in a folder, and the folder too unless it contains something else. Return whether it goes."""
    there = sorted(os.listdir(folder))
    foreign = [name for name in there if not (ours(name) or name == ownership.MARK or is_unfinished(name))]
    # A folder that stays keeps its mark, so that a later run still knows it.
    found.paths += [os.path.join(folder, name) for name in there if name not in (*foreign, ownership.MARK)]
    if foreign:
        found.stay.append(f"{folder}: contains what this collection did not install: {', '.join(foreign)}")
        return False
    found.paths.append(folder)
    found.folders.append(folder)
    if ownership.is_adopted(folder):
        found.stay.append(f"{folder}: it stays, empty, because it was there before this collection used it")
    return True


def _root(paths: layout.Paths, found: Removal) -> None:
    """Add releases, artifacts, tools and the link to the current release, and what a killed run left of them."""
    gone = {os.path.basename(paths.current), os.path.basename(paths.current) + ".new"}
    for name, known in layout.NAMES.items():
        below = os.path.join(paths.root, name)
        inside = Removal()
        if not os.path.isdir(below) or os.path.islink(below):
            continue
        mine = {
            each
            for each in os.listdir(below)
            if known.match(each) or release.read(os.path.join(below, each)) is not None
        }
        if _known(below, mine.__contains__, inside):
            gone.add(name)
        else:
            found.paths += inside.paths
            found.stay += inside.stay
    _known(paths.root, gone.__contains__, found)


def survey(
    places: Places,
    uid_of: Callable[[str], int | None] = account,
    refusal_of: Callable[[str], str] = ownership.account_refusal,
) -> Removal:
    """What a teardown would remove now. Raises OSError, RemovalError."""
    found = Removal()
    for path in sorted(glob.glob(os.path.join(glob.escape(places.units), "voicefleet-*.service"))):
        unit = systemd_unit.Unit(os.path.basename(path), places.units)
        if unit.foreign():
            found.stay.append(f"{path}: this collection did not write it")
            continue
        found.units.append(unit.name)
        found.stay += [f"{file}: your own addition to the unit" for file in unit.drop_ins()]
    # Killed writes of units.
    found.paths += sorted(glob.glob(os.path.join(glob.escape(places.units), ".voicefleet-*" + UNFINISHED)))
    paths = layout.Paths(places.root)
    if _ours(paths.root, found):
        _root(paths, found)
    for folder in (places.secrets, places.worker_secrets, places.candidate_secrets):
        if _ours(folder, found):
            _known(folder, SECRETS.__contains__, found)
    # A killed upgrade left it. It holds nothing that the service lacks.
    if _ours(layout.candidate_home(places.home), found):
        found.paths.append(layout.candidate_home(places.home))

    uid = uid_of(places.user)
    homes = [home for home in (places.home, places.worker_home) if os.path.lexists(home)]
    for home in [home for home in homes if _ours(home, found)]:
        if not places.remove_data:
            found.stay.append(f"{home}: data (teardown_data)")
            continue
        if os.stat(home).st_uid != uid:
            raise RemovalError(
                f"{home} does not belong to the user {places.user}, so it is not the service's home and nothing"
                " was removed. Correct xinference_home or xinference_user, or set teardown_data to false"
            )
        found.paths.append(home)
    # If files remain, their uid must not be reused.
    if uid is not None and not set(homes) <= set(found.paths):
        found.stay.append(f"user {places.user}: owns the data")
    elif uid is not None and refusal_of(places.user):
        found.stay.append(f"user {places.user}: {refusal_of(places.user)}")
    elif uid is not None:
        found.user = places.user

    if _ours(places.evidence, found):
        if places.remove_evidence:
            proofs = {n for n in os.listdir(places.evidence) if os.path.isfile(f"{places.evidence}/{n}/proof.json")}
            proofs.add(layout.LEDGER_FILE)
            _known(places.evidence, lambda name: name in proofs or layout.RELEASE_NAME.match(name), found)
        else:
            found.stay.append(f"{places.evidence}: evidence and receipts (teardown_evidence)")
    return found


def remove(found: Removal, places: Places, runner: systemd_unit.Runner = systemd_unit.run) -> None:
    """Remove what was found, the service first. After an interruption, the next call finds the rest.

    Raises OSError, RemovalError, SystemdError.
    """
    for name in found.units:
        unit = systemd_unit.Unit(name, places.units, runner)
        unit.ctl("stop", timeout=120)
        unit.ctl("disable")
        os.unlink(unit.path)
    if found.units:
        systemd_unit.Unit(found.units[0], places.units, runner).ctl("daemon-reload")
    # Remove the link to the current release first, so that a partial teardown does not look like a serving host.
    for path in sorted(found.paths, key=lambda path: (not os.path.islink(path), path in found.folders)):
        if ownership.is_ours(path) and not os.path.islink(path):
            ownership.remove(path)
        elif os.path.isdir(path) and not os.path.islink(path):
            shutil.rmtree(path)
        else:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
    if found.user:
        status, output = runner(["userdel", found.user], 60)
        if status != 0:
            raise RemovalError(f"everything was removed except the user {found.user}: {output}")
