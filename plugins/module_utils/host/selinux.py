# SPDX-License-Identifier: GPL-3.0-or-later
"""SELinux labels of the programs that systemd starts from the collection's root.

Files that root copies to /opt inherit the type ``usr_t``. In the targeted policy, programs in a ``bin`` below /opt are
``bin_t`` and files in a ``lib`` are ``lib_t``. ``restorecon`` sets these labels, and a relabel of the host keeps them.
Without ``restorecon``, or if the policy does not know the root, the programs get their type directly. A relabel undoes
that.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from typing import Any

MOUNT = "/sys/fs/selinux"
ATTRIBUTE = "security.selinux"
PROGRAM = "bin_t"
CONTEXT = "system_u:object_r:{}:s0\0"
FOLDERS = "/usr/sbin:/sbin:/usr/bin:/bin"
SECONDS = 300


def enabled() -> bool:
    """Whether SELinux is on."""
    return os.path.exists(os.path.join(MOUNT, "enforce"))


def enforcing() -> bool:
    """Whether SELinux enforces its policy, and does not only log violations."""
    try:
        with open(os.path.join(MOUNT, "enforce"), encoding="ascii") as handle:
            return handle.read().strip() == "1"
    except OSError:
        return False


def refuses(boolean: str) -> bool:
    """Whether SELinux is enforcing and a boolean of its policy is off. False if the policy has no such boolean."""
    try:
        # The value in force, and the one that waits for a commit.
        with open(os.path.join(MOUNT, "booleans", boolean), encoding="ascii") as handle:
            return enforcing() and handle.read().split()[:1] == ["0"]
    except OSError:
        return False


def type_of(path: str) -> str | None:
    """The type of a file, such as ``bin_t``, or None if no label can be read."""
    try:
        context = os.getxattr(path, ATTRIBUTE).decode("ascii", "replace")
    except OSError:
        return None
    fields = context.rstrip("\0").split(":")
    return fields[2] if len(fields) > 2 else None


def programs(folder: str) -> list[str]:
    """The files in a folder's ``bin`` without links, whose targets are labelled elsewhere."""
    place = os.path.join(folder, "bin")
    try:
        paths = [os.path.join(place, name) for name in sorted(os.listdir(place))]
    except OSError:
        return []
    return [path for path in paths if os.path.isfile(path) and not os.path.islink(path)]


def mislabelled(folder: str) -> list[str]:
    """The programs of a folder that systemd cannot start as a service. Empty if SELinux is off."""
    return [path for path in programs(folder) if type_of(path) != PROGRAM] if enabled() else []


def label(folder: str) -> None:
    """Give a folder the labels of the policy, and its programs ``bin_t`` if the policy has none.

    Does nothing if SELinux is off. Raises OSError if a label cannot be set.
    """
    if not enabled():
        return
    restorecon = shutil.which("restorecon", path=FOLDERS)
    if restorecon is not None:
        # Ignore its exit status: the next step corrects what it left.
        subprocess.run(
            [restorecon, "-R", "-F", folder],
            capture_output=True,
            timeout=SECONDS,
            check=False,
            env={"LC_ALL": "C.UTF-8"},
        )
    for path in mislabelled(folder):
        set_type(path, PROGRAM)


def set_type(path: str, name: str) -> None:
    """Give a file or folder a type directly. New files in a folder inherit it. Does nothing if SELinux is off."""
    if enabled():
        os.setxattr(path, ATTRIBUTE, CONTEXT.format(name).encode())


def facts(current: str) -> dict[str, Any]:
    """Whether SELinux is on and enforcing, and which programs of the current release have wrong labels."""
    env = os.path.join(current, "env")
    python = os.path.dirname(os.path.dirname(os.path.realpath(os.path.join(env, "bin", "python"))))
    wrong = mislabelled(env)
    if python not in ("/usr", "/usr/local", "/"):
        wrong += mislabelled(python)
    return {"enabled": enabled(), "enforcing": enforcing(), "mislabelled": wrong[:10]}
