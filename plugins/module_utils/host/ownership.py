# SPDX-License-Identifier: GPL-3.0-or-later
"""Mark the folders and the account that this collection makes. Never remove, close or give away others.

A folder of ours holds the file ``.voicefleet``, which belongs to root. An account of ours has our comment.
"""

from __future__ import annotations

import contextlib
import errno
import os
import pwd
import re
import shutil
import stat
from collections.abc import Mapping

from . import hashing, private_files

MARK = ".voicefleet"
# A folder gets its mark under this name, before it gets its own.
SCRATCH = ".voicefleet-new"
ADOPTED = "This folder was there before, and empty. A teardown empties it and lets it stay.\n"
COMMENT = "Xinference by voicefleet"

# Other programs, users or the system itself have their files in these folders.
SHARED = frozenset(
    f"{top}/{name}"
    for top, names in {
        "/etc": "apt cron.d default haproxy nginx pam.d pki profile.d security ssh ssl sudoers.d sysctl.d systemd",
        "/usr": "bin include lib lib64 libexec local sbin share src",
        "/var": "backups cache lib local lock log mail opt run spool tmp www",
        "/usr/local": "bin etc include lib lib64 libexec sbin share src",
    }.items()
    for name in names.split()
)
# Files below these do not stay, or are the kernel's.
FLEETING = ("boot", "dev", "proc", "run", "sys")


class ForeignError(OSError):
    """A folder that is not ours. ``filename`` is its path, ``strerror`` says why."""

    def __init__(self, path: str, why: str) -> None:
        super().__init__(1, f"{why}. Nothing in it was changed", path)

    def __str__(self) -> str:
        return f"{self.filename} {self.strerror}"


def shared(path: str) -> str:
    """Why no folder of ours can have this path; "" if one can. Judges the text alone."""
    parts = path.strip("/").split("/")
    if (
        not path.startswith("/")
        or os.path.normpath(path) != "/" + "/".join(parts)
        or re.search(r"[\x00-\x1f\x7f]", path)
    ):
        return "is not a plain absolute path"
    if len(parts) < 2:
        return "is at the top of the file system and shared with others. Name a folder at least two levels deep"
    if path.rstrip("/") in SHARED or (parts[0] == "home" and len(parts) == 2):
        return "is shared with other programs or users. Name a folder of its own below it"
    if parts[0] in FLEETING:
        return f"lies below /{parts[0]}, where files do not stay. Name a folder elsewhere"
    return ""


def is_ours(path: str) -> bool:
    """Whether a folder has our mark, from root. The service's user owns some of the folders, but makes no mark."""
    with contextlib.suppress(OSError):
        status = os.lstat(os.path.join(path, MARK))
        return stat.S_ISREG(status.st_mode) and status.st_uid in (0, os.geteuid())
    return False


def is_adopted(path: str) -> bool:
    """Whether a folder of ours was there before it became ours."""
    return private_files.read_if_possible(os.path.join(path, MARK)) == ADOPTED


def refusal(path: str) -> str:
    """Why a folder cannot be or become ours; "" if it is ours, is empty or does not exist. Raises OSError."""
    real = os.path.realpath(path)
    behind = shared(real) if real != os.path.normpath(path) else ""
    why = shared(path) or (f"leads to {real}, which {behind}" if behind else "")
    if why or is_ours(path):
        return why
    try:
        held = sorted({*os.listdir(path)} - {"lost+found"})
    except FileNotFoundError:
        return "is a link to nothing" if os.path.lexists(path) else ""
    except NotADirectoryError:
        return "is not a folder"
    return (
        f"holds files ({', '.join(held[:3])}{', ...' if held[3:] else ''}) and has no mark of this collection. Another"
        f" program uses it, or an older version of this collection made it. Choose another folder. If this collection"
        f" made it, mark it: touch {os.path.join(path, MARK)}"
        if held
        else ""
    )


def claim(path: str, check: bool = False) -> None:
    """Make a folder of ours below an existing one, or take an empty folder. The mark comes first, in case of a kill.

    Remove from a folder of ours what killed writes left. In ``check`` mode, change nothing.

    Raises ForeignError, OSError.
    """
    why = refusal(path)
    if why:
        raise ForeignError(path, why)
    if check:
        return
    if not os.path.lexists(path):
        scratch = path.rstrip("/") + SCRATCH
        shutil.rmtree(scratch, ignore_errors=True)
        os.mkdir(scratch, 0o700)
        _mark(scratch, "")
        os.rename(scratch, path)
    elif is_ours(path):
        hashing.sweep(path)
    else:
        _mark(path, ADOPTED)


def keep(path: str, mode: int, uid: int, gid: int | None = None, check: bool = False) -> str | None:
    """Make a folder of ours with exactly this mode and owner; return what was wrong. None for ``gid`` allows any.

    Raises ForeignError, OSError.
    """
    if os.path.islink(path):
        raise ForeignError(path, f"is {link(path)}")
    why = private_files.wrong(path, mode, uid, gid, folder=True)
    claim(path, check)
    if why is not None and not check:
        private_files.make_folder(path, mode, uid, os.getegid() if gid is None else gid)
    return why


def link(path: str) -> str:
    """A link in words."""
    return f"a link to {os.path.realpath(path)}. Name that folder itself"


def _mark(folder: str, text: str) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    with os.fdopen(os.open(os.path.join(folder, MARK), flags, 0o600), "w", encoding="ascii") as handle:
        handle.write(text)


def remove(path: str) -> None:
    """Remove a folder of ours with all that it holds, its mark last. An adopted folder stays, empty. Raises OSError."""
    for name in os.listdir(path):
        below = os.path.join(path, name)
        if os.path.isdir(below) and not os.path.islink(below):
            shutil.rmtree(below)
        elif name != MARK:
            os.unlink(below)
    if is_adopted(path):
        os.unlink(os.path.join(path, MARK))
        return
    # In one step, so that no kill leaves a folder without its mark.
    shutil.rmtree(path + SCRATCH, ignore_errors=True)
    if moved(path, path + SCRATCH):
        shutil.rmtree(path + SCRATCH)
        return
    os.unlink(os.path.join(path, MARK))
    with contextlib.suppress(OSError):  # a mount point stays
        os.rmdir(path)


def moved(path: str, target: str) -> bool:
    """Rename a folder. False if that is impossible: for a mount point or a folder of a container's image."""
    try:
        os.rename(path, target)
    except OSError as error:
        if error.errno not in (errno.EXDEV, errno.EBUSY):
            raise
        return False
    return True


def account_refusal(name: str) -> str:
    """Why the service cannot run as a user; "" if the account is ours or does not exist."""
    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        return ""
    if entry.pw_uid == 0:
        return "is root"
    if entry.pw_gecos.split(",")[0] == COMMENT:
        return ""
    return (
        f"is an account that this collection did not make. Choose another name. If the service may own the account, and"
        f" a teardown may remove it, run: usermod --comment '{COMMENT}' {name}"
    )


def refusals(places: Mapping[str, str], user: str = "") -> dict[str, str]:
    """Which places (path by variable) and user are not ours and cannot become ours: variable -> sentence."""
    found = {}
    for variable, path in places.items():
        try:
            why = refusal(path)
            # The service's root may be a link. A folder that changes its owner must not be one.
            if not why and variable != "voicefleet_root" and os.path.islink(path):
                why = f"is {link(path)}"
        except OSError as error:
            why = f"cannot be read: {error.strerror}"
        if why:
            found[variable] = f"{path} {why}."
    homes = [path for variable, path in places.items() if variable.endswith("_home")]
    for variable, path in places.items():
        inside = [other for other in places.values() if other != path and path.startswith(other.rstrip("/") + "/")]
        if list(places.values()).count(path) > 1:
            found.setdefault(variable, f"{path} has two uses. Each needs a folder of its own.")
        elif any(other in homes for other in inside):
            found.setdefault(variable, f"{path} lies in the service's home, where the service could replace its files.")
    why = account_refusal(user) if user else ""
    return {**found, "xinference_user": f"{user} {why}."} if why else found
