# SPDX-License-Identifier: GPL-3.0-or-later
"""Remove from a host what this collection installed, and nothing else."""

from __future__ import annotations

import contextlib
import glob
import os
import pwd
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from ..host import layout, systemd_unit
from ..xinference import config

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


def _known(folder: str, names: Sequence[str], found: Removal) -> None:
    """Add what we know in a folder. Add the folder, too, unless it contains something else."""
    if os.path.islink(folder) or not os.path.isdir(folder):
        return
    there = sorted(os.listdir(folder))
    found.paths += [os.path.join(folder, name) for name in there if name in names]
    foreign = [name for name in there if name not in names]
    if foreign:
        found.stay.append(f"{folder}: contains what this collection did not install: {', '.join(foreign)}")
    else:
        found.paths.append(folder)
        found.folders.append(folder)


def survey(places: Places, uid_of: Callable[[str], int | None] = account) -> Removal:
    """What a teardown would remove now. Raises OSError, RemovalError."""
    found = Removal()
    for path in sorted(glob.glob(os.path.join(glob.escape(places.units), "voicefleet-*.service"))):
        unit = systemd_unit.Unit(os.path.basename(path), places.units)
        if unit.foreign():
            found.stay.append(f"{path}: this collection did not write it")
            continue
        found.units.append(unit.name)
        found.stay += [f"{file}: your own addition to the unit" for file in unit.drop_ins()]
    paths = layout.Paths(places.root)
    ours = [os.path.basename(path) for name, path in paths.as_dict().items() if name != "root"]
    _known(paths.root, [*ours, "current.new"], found)
    _known(places.secrets, SECRETS, found)
    _known(places.worker_secrets, SECRETS, found)

    uid = uid_of(places.user)
    homes = [home for home in (places.home, places.worker_home) if os.path.isdir(home) and not os.path.islink(home)]
    for home in homes:
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
    if uid is not None and homes and not places.remove_data:
        found.stay.append(f"user {places.user}: owns the data")
    elif uid is not None:
        found.user = places.user

    if os.path.isdir(places.evidence):
        if places.remove_evidence:
            names = os.listdir(places.evidence)
            proofs = [n for n in names if os.path.isfile(os.path.join(places.evidence, n, "proof.json"))]
            _known(places.evidence, [os.path.basename(layout.RECEIPTS), *proofs], found)
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
        if path in found.folders:
            os.rmdir(path)
        elif os.path.isdir(path) and not os.path.islink(path):
            shutil.rmtree(path)
        else:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
    if found.user:
        status, output = runner(["userdel", found.user], 60)
        if status != 0:
            raise RemovalError(f"everything was removed except the user {found.user}: {output}")
