# SPDX-License-Identifier: GPL-3.0-or-later
"""The Python environment of a release. uv builds it offline, only from wheels, and checks every hash."""

from __future__ import annotations

import contextlib
import glob
import json
import os
import shutil
import stat
import subprocess
import tarfile
import zipfile
import zlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ..host import ownership, selinux
from ..host.hashing import read_object, sha256_bytes, sha256_file, write_atomic
from ..host.layout import Paths
from . import bytecode, dictionary, inventory, patches

STAMP = "voicefleet-env.json"
SECONDS = 1800

# Python reads this at start, in each of the service's three processes. Their imports create a million objects that
# stay. Garbage collection would run 1,500 times and take a quarter of the imports' time: 8.3 s of CPU, 6.4 s with this.
START = "voicefleet-start.pth"
START_TEXT = "import gc; gc.set_threshold(200000, 10, 10)\n"


class EnvError(Exception):
    """An environment could not be built; the message says why."""


def unpack_uv(wheel: str, version: str, paths: Paths) -> str:
    """Unpack uv from its wheel to ``tools/uv-<version>/uv``. Raises EnvError, OSError.

    Root runs it. A file that is already there is therefore compared with the verified wheel before each use.
    """
    target = os.path.join(paths.tools, f"uv-{version}", "uv")
    try:
        with zipfile.ZipFile(wheel) as archive:
            member = next(name for name in archive.namelist() if name.endswith(".data/scripts/uv"))
            data = archive.read(member)
    except (zipfile.BadZipFile, StopIteration) as error:
        raise EnvError(f"{wheel} contains no uv: {error}") from error
    os.makedirs(os.path.dirname(target), exist_ok=True)
    for folder in (paths.tools, os.path.dirname(target)):
        os.chmod(folder, 0o755)
    with contextlib.suppress(FileNotFoundError):
        status = os.lstat(target)
        ours = stat.S_ISREG(status.st_mode) and status.st_uid == os.geteuid() and stat.S_IMODE(status.st_mode) == 0o755
        if ours and status.st_size == len(data) and sha256_file(target) == sha256_bytes(data):
            return target
    write_atomic(target, data, 0o755)
    return target


def uv_of(artifacts: Iterable[Mapping[str, Any]], version: str, paths: Paths) -> str:
    """Unpack and verify uv from its wheel among a release's artifacts. Raises EnvError, OSError."""
    row = next((row for row in artifacts if os.path.basename(row["path"]).startswith("uv-")), None)
    if row is None:
        raise EnvError("the release has no wheel of uv, which installs all other packages")
    return unpack_uv(paths.artifact(row["sha256"], row["path"]), version, paths)


def _checked(archive: tarfile.TarFile, source: str) -> list[tarfile.TarInfo]:
    """Return the members of a Python's archive: plain files, folders and links, all below ``python/``.

    Older Pythons have no extraction filter, so check the members here. No name and no target of a link leads through a
    link of the archive, so their texts say where they lie. Raises EnvError.
    """
    members = archive.getmembers()
    links = {os.path.normpath(member.name) for member in members if member.issym()}
    seen: set[str] = set()
    for member in members:
        name = os.path.normpath(member.name)
        target = member.name
        if member.issym() or member.islnk():
            target = os.path.join(os.path.dirname(name) if member.issym() else "", member.linkname)
        known = member.isfile() or member.isdir() or member.issym() or member.islnk()
        inside = name.split("/")[0] == os.path.normpath(target).split("/")[0] == "python"
        if not known or not inside:
            raise EnvError(f"{source} holds {member.name!r}, which lies outside its folder python/")
        parents = {os.path.normpath(parent) for path in (member.name, target) for parent in _parents(path)}
        if parents & links or (member.islnk() and os.path.normpath(target) in links):
            raise EnvError(f"{source} holds {member.name!r}, which leads through a link")
        if name in seen and not member.isdir():
            raise EnvError(f"{source} holds {member.name!r} twice")
        seen.add(name)
    return members


def _parents(path: str) -> list[str]:
    """Return every folder that a path leads through, also those that ``..`` leaves again."""
    parts = path.split("/")
    return ["/".join(parts[:count]) for count in range(1, len(parts))]


def has_python(row: Mapping[str, Any], root: str) -> bool:
    """Whether this Python was unpacked from exactly this archive and has not changed since."""
    folder = os.path.dirname(os.path.dirname(Paths(root).python(row["version"])))
    if inventory.tool_stamp(folder).get("archive") != row["sha256"]:
        return False
    return not inventory.compare_tool(folder)


def unpack(archive_path: str, folder: str) -> None:
    """Unpack a Python's archive. Whatever its modes say, all may read the files and only the caller may write them.

    Raises EnvError, OSError.
    """
    try:
        with tarfile.open(archive_path, "r:gz") as archive:
            # The standard library's own filter, where this Python has it, judges the files on disk too.
            archive.extraction_filter = getattr(tarfile, "data_filter", lambda member, _folder: member)
            for member in _checked(archive, archive_path):
                member.uid = member.gid = os.geteuid()
                member.uname = member.gname = ""
                member.mode = 0o755 if member.isdir() or member.mode & 0o100 else 0o644
                archive.extract(member, folder)
    except (tarfile.TarError, EOFError, zlib.error) as error:
        raise EnvError(f"{archive_path} cannot be unpacked as a complete archive: {error}") from error
    for parent, folders, _files in os.walk(folder):
        for name in folders:
            if not os.path.islink(os.path.join(parent, name)):
                os.chmod(os.path.join(parent, name), 0o755)


def install_python(row: Mapping[str, Any], root: str) -> str:
    """Unpack a Python (an artifact that the host holds) below ``tools/`` and return its interpreter.

    Unpack it beside its place, start it once, and then rename it into place. A complete one stays as it is. Raises
    EnvError, OSError.
    """
    paths = Paths(root)
    interpreter = paths.python(row["version"])
    if has_python(row, root):
        return interpreter
    archive = paths.artifact(row["sha256"], row["path"])
    if sha256_file(archive) != row["sha256"]:
        raise EnvError(f"{archive} changed since it was verified at its arrival. Remove it and deploy again")
    folder = os.path.dirname(os.path.dirname(interpreter))
    scratch, former = folder + ".new", folder + ".old"
    for leftover in (scratch, former):
        shutil.rmtree(leftover, ignore_errors=True)
    os.makedirs(scratch)
    os.chmod(paths.tools, 0o755)
    unpack(archive, scratch)
    unpacked = os.path.join(scratch, "python")
    feature = ".".join(row["version"].split(".")[:2])
    probe = os.path.join(unpacked, os.path.relpath(interpreter, folder))
    try:
        done = subprocess.run(
            [probe, "-I", "-B", "-c", "import platform, ssl, venv; print(platform.python_version())"],
            capture_output=True, text=True, timeout=60, check=False, env={"LC_ALL": "C.UTF-8"},
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        raise EnvError(f"the Python in {archive} does not start: {error}") from error
    if not done.stdout.startswith(feature + "."):
        reason = done.stderr.strip()[-500:] or f"it calls itself {done.stdout.strip()!r}"
        raise EnvError(f"the Python in {archive} does not run as {feature}: {reason}")
    inventory.write_tool(unpacked, row["sha256"])
    # Without a matching stamp, what is there is incomplete or changed. Replace it by the same files.
    if os.path.isdir(folder) and not ownership.moved(folder, former):
        shutil.rmtree(folder)
    os.rename(unpacked, folder)
    selinux.label(folder)
    for leftover in (scratch, former):
        shutil.rmtree(leftover, ignore_errors=True)
    return interpreter


def environment(scratch: str) -> dict[str, str]:
    """Return uv's environment variables: none of the caller's, so no proxy, index or configuration takes effect."""
    return {
        "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME": scratch,
        "TMPDIR": scratch,
        "LANG": "C.UTF-8",
        "UV_CACHE_DIR": os.path.join(scratch, "cache"),
        "UV_NO_CONFIG": "1",
        "UV_NO_PROGRESS": "1",
        "UV_OFFLINE": "1",
        "UV_PYTHON_DOWNLOADS": "never",
        "NO_COLOR": "1",
    }


def run_uv(uv: str, arguments: Iterable[str], scratch: str) -> str:
    """Run uv and return its output. Raises EnvError with uv's own message."""
    command = [uv, *arguments]
    try:
        # If the caller is killed, uv still holds an inheritable lock until it ends.
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=SECONDS, check=False,
            env=environment(scratch), cwd=scratch, close_fds=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        raise EnvError(f"uv did not end within {SECONDS} s: {' '.join(command)}") from error
    if done.returncode != 0:
        said = (done.stderr or done.stdout).strip()[-3000:]
        raise EnvError(f"uv failed ({' '.join(command[1:4])} …):\n{said}")
    return done.stderr + done.stdout


def stamp_of(
    lock_sha256: str,
    python: str,
    repairs: Sequence[patches.Patch] = (),
    extras: Sequence[str] = (),
    dictionaries: Sequence[Mapping[str, Any]] = (),
) -> dict[str, Any]:
    """Return what an environment was built from."""
    stamp: dict[str, Any] = {"lock": lock_sha256, "python": python}
    if extras:
        stamp["extras"] = sorted(extras)
    if dictionaries:
        stamp["dictionaries"] = [row["sha256"] for row in dictionaries]
    if repairs:
        stamp["patches"] = {patch.name: " ".join(patch.digests().values()) for patch in repairs}
    return stamp


def is_made(env: str, stamp: Mapping[str, Any]) -> bool:
    """Whether an environment was completed from exactly this lock, interpreter and repairs."""
    return read_object(os.path.join(env, STAMP)) == stamp


def write_stamp(env: str, stamp: Mapping[str, Any]) -> None:
    """Note that an environment is complete, and what it was built from. Raises OSError."""
    write_atomic(os.path.join(env, STAMP), json.dumps(stamp).encode())


def discard(release: str) -> None:
    """Remove a release's environment and the remains of its build, as far as possible."""
    for leftover in ("env", ".build"):
        shutil.rmtree(os.path.join(release, leftover), ignore_errors=True)


def site_packages(env: str) -> str:
    """Return the folder of an environment's packages. Raises EnvError."""
    found = glob.glob(os.path.join(glob.escape(env), "lib", "python3.*", "site-packages"))
    if len(found) != 1:
        raise EnvError(f"{env} has {len(found)} folders of packages instead of one")
    return found[0]


def compile_code(env: str, folders: Iterable[str]) -> None:
    """Compile the packages in some folders of an environment. Raises EnvError, OSError."""
    files = [file for folder in folders for file in bytecode.sources(folder)]
    try:
        bytecode.compile_files(os.path.join(env, "bin", "python"), files, bytecode.BY_TIME)
    except bytecode.CompileError as error:
        raise EnvError(str(error)) from error


def make(
    release: str,
    python: str,
    lock: Mapping[str, Any],
    wheels: Iterable[Mapping[str, Any]],
    uv_version: str,
    root: str,
    repairs: Sequence[patches.Patch] = (),
    extras: Sequence[str] = (),
    dictionaries: Sequence[Mapping[str, Any]] = (),
    compiled: bool = True,
) -> str:
    """Build the environment at ``<release>/env``, apply ``repairs`` to its files, and return the path of uv.

    ``lock``, ``wheels`` and ``dictionaries`` are artifacts (``sha256``, ``path``) that the host holds. ``extras`` names
    the extras of the lock to install. ``compiled`` says whether to compile byte code.
    Raises EnvError, DictionaryError, OSError.
    """
    paths = Paths(root)
    env = os.path.join(release, "env")
    scratch = os.path.join(release, ".build")
    rows = list(wheels)
    uv = uv_of(rows, uv_version, paths)
    # An environment without a stamp is incomplete: do not trust its files.
    discard(release)
    for folder in ("wheels", "locks"):
        os.makedirs(os.path.join(scratch, folder))
    for row in rows:
        os.symlink(
            paths.artifact(row["sha256"], row["path"]), os.path.join(scratch, "wheels", os.path.basename(row["path"]))
        )
    # The lock names wheels relative to itself, so it must lie beside this release's folder of wheels.
    placed = os.path.join(scratch, "locks", os.path.basename(lock["path"]))
    shutil.copyfile(paths.artifact(lock["sha256"], lock["path"]), placed)
    run_uv(uv, ["venv", "--quiet", "--python", python, env], scratch)
    run_uv(
        uv,
        ["pip", "sync", "--quiet", "--no-index", "--no-build", "--link-mode", "hardlink",
         "--python", os.path.join(env, "bin", "python"), *(f"--extra={extra}" for extra in extras), placed],
        scratch,
    )  # fmt: skip
    if compiled:
        compile_code(env, [site_packages(env)])
    for patch in repairs:
        try:
            patches.apply(patch, env, site_packages(env))
        except patches.PatchError as error:
            raise EnvError(str(error)) from error
    for row in dictionaries:
        dictionary.install(paths.artifact(row["sha256"], row["path"]), row, site_packages(env))
    write_atomic(os.path.join(site_packages(env), START), START_TEXT.encode())
    selinux.label(env)
    write_stamp(env, stamp_of(lock["sha256"], python, repairs, extras, dictionaries))
    shutil.rmtree(scratch, ignore_errors=True)
    return uv
