# SPDX-License-Identifier: GPL-3.0-or-later
"""SELinux: labels of what systemd starts from the collection's root.

What root copies to /opt gets the type of the folder above, ``usr_t``. The targeted policy itself says better: programs
in a ``bin`` below /opt are ``bin_t``, and what lies in a ``lib`` is ``lib_t``. So ``restorecon``, which every host with
SELinux has, is all that is needed there, and a relabel of the whole system changes nothing. Where there is none, or the
root is one of which the policy knows nothing, the programs get their type directly, which a relabel takes back.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from typing import Any

MOUNT = "/sys/fs/selinux"
ATTRIBUTE = "security.selinux"
PROGRAM = "bin_t"
CONTEXT = f"system_u:object_r:{PROGRAM}:s0"
FOLDERS = "/usr/sbin:/sbin:/usr/bin:/bin"
SECONDS = 300


def enabled() -> bool:
    """Whether the kernel labels files and looks at the labels."""
    return os.path.exists(os.path.join(MOUNT, "enforce"))


def enforcing() -> bool:
    """Whether it forbids, too, what it would else only note."""
    try:
        with open(os.path.join(MOUNT, "enforce"), encoding="ascii") as handle:
            return handle.read().strip() == "1"
    except OSError:
        return False


def type_of(path: str) -> str | None:
    """The type of a file, as ``bin_t``; None where it has no label that can be read."""
    try:
        context = os.getxattr(path, ATTRIBUTE).decode("ascii", "replace")
    except OSError:
        return None
    fields = context.rstrip("\0").split(":")
    return fields[2] if len(fields) > 2 else None


def programs(folder: str) -> list[str]:
    """The files in a folder's ``bin``, and no links: their targets are labelled where they lie."""
    place = os.path.join(folder, "bin")
    try:
        paths = [os.path.join(place, name) for name in sorted(os.listdir(place))]
    except OSError:
        return []
    return [path for path in paths if os.path.isfile(path) and not os.path.islink(path)]


def mislabelled(folder: str) -> list[str]:
    """The programs of a folder that systemd could not start as a service of their own; none where SELinux is off."""
    return [path for path in programs(folder) if type_of(path) != PROGRAM] if enabled() else []


def label(folder: str) -> None:
    """Give a tree the labels that the policy has for it, and its programs ``bin_t`` where it has none.

    Does nothing where SELinux is off. Raises OSError where a label can't be set.
    """
    if not enabled():
        return
    restorecon = shutil.which("restorecon", path=FOLDERS)
    if restorecon is not None:
        # Its own verdict does not matter: what it left wrong is seen next.
        subprocess.run(
            [restorecon, "-R", "-F", folder],
            capture_output=True,
            timeout=SECONDS,
            check=False,
            env={"LC_ALL": "C.UTF-8"},
        )
    for path in mislabelled(folder):
        os.setxattr(path, ATTRIBUTE, CONTEXT.encode() + b"\0")


def facts(current: str) -> dict[str, Any]:
    """Whether SELinux is on and forbids, and the programs with wrong labels of the release behind ``current``."""
    env = os.path.join(current, "env")
    python = os.path.dirname(os.path.dirname(os.path.realpath(os.path.join(env, "bin", "python"))))
    wrong = mislabelled(env)
    if python not in ("/usr", "/usr/local", "/"):
        wrong += mislabelled(python)
    return {"enabled": enabled(), "enforcing": enforcing(), "mislabelled": wrong[:10]}
