# SPDX-License-Identifier: GPL-3.0-or-later
"""Inspects, repairs and restores one place: a Python that has Xinference. The place's own Python runs this file.

It stands alone, because a place is often inside a container that has nothing but its Python: it imports the standard
library only. It reads one JSON object from its input and writes one to its output:

- ``inspect`` reports what is installed, what is missing, and what would still reach out. It changes nothing.
- ``apply`` makes the changes of a request, and writes each to the ledger before it is made.
- ``revert`` undoes what the ledger lists, byte for byte. If somebody changed one of these files, it changes nothing.
- ``settle`` notes in the ledger that what runs was started again after the last change.

``put`` is the only other task: it keeps bytes from its input below their digest, for a later ``apply``.

A ledger entry has the state of a path before and the states that this program gave it. So a killed run needs no
clean-up: a path is either in the former state or in one of ours.
"""

from __future__ import annotations

import base64
import contextlib
import csv
import fcntl
import glob
import hashlib
import importlib
import importlib.metadata
import io
import json
import os
import platform
import pwd
import py_compile
import re
import shutil
import site
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from importlib.util import cache_from_source
from typing import Any, NoReturn, Optional

Json = dict[str, Any]
State = Optional[Json]

LEDGER = "voicefleet-repair"  # the folder in the prefix
SCHEMA = 1
CHUNK = 1 << 20
UV_SECONDS = 1800
# Settings that decide whether Xinference or Kokoro ask the network.
ASKED = (
    "XINFERENCE_HOME", "XINFERENCE_ENABLE_VIRTUAL_ENV", "XINFERENCE_MODEL_SRC", "HF_HUB_OFFLINE", "HF_ENDPOINT",
    "TRANSFORMERS_OFFLINE",
)  # fmt: skip
_NAME = re.compile(r"\s*([A-Za-z0-9][A-Za-z0-9._-]*)")


class RepairError(Exception):
    """Nothing more can be done; the message says why."""


# --- files and their states ---


def sha256_of(path: str) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as handle:
        while True:
            block = handle.read(CHUNK)
            if not block:
                return digest.hexdigest()
            digest.update(block)


def state_of(path: str) -> State:
    """What a path is: nothing, a folder, a link, or a file with its digest, mode, owner and time."""
    try:
        status = os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    if stat.S_ISDIR(status.st_mode):
        return {"kind": "folder"}
    if stat.S_ISLNK(status.st_mode):
        return {"kind": "link", "to": os.readlink(path)}
    if not stat.S_ISREG(status.st_mode):
        return {"kind": "other"}
    return {
        "kind": "file", "sha256": sha256_of(path), "mode": stat.S_IMODE(status.st_mode), "uid": status.st_uid,
        "gid": status.st_gid, "mtime": status.st_mtime_ns,
    }  # fmt: skip


def same(one: State, other: State) -> bool:
    """Whether two states have the same content. Time and owner do not count."""
    if one is None or other is None:
        return one is other
    return all(one.get(key) == other.get(key) for key in ("kind", "sha256", "to"))


@contextlib.contextmanager
def acting_as(owner: tuple[int, int] | None) -> Iterator[None]:
    """Act as the owner of a folder that root does not own. Its links then lead nowhere that the owner cannot reach."""
    if owner is None or os.geteuid() != 0 or owner[0] == 0:
        yield
        return
    group, groups = os.getegid(), os.getgroups()
    os.setgroups([])
    os.setegid(owner[1])
    os.seteuid(owner[0])
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(group)
        os.setgroups(groups)


def owner_of(path: str) -> tuple[int, int]:
    """The owner of a path, or of the nearest folder above it that exists."""
    while not os.path.exists(path):
        path = os.path.dirname(path)
    status = os.stat(path)
    return status.st_uid, status.st_gid


def write(path: str, source: Any, mode: int, wanted: str = "", mtime: int | None = None, sync: bool = True) -> str:
    """Replace a file by what ``source`` reads, in one step. Return its digest. If ``wanted`` is another, do nothing."""
    digest = hashlib.sha256()
    descriptor, temporary = tempfile.mkstemp(prefix=".voicefleet-", dir=os.path.dirname(path))
    try:
        with os.fdopen(descriptor, "wb") as handle:
            while True:
                block = source.read(CHUNK)
                if not block:
                    break
                digest.update(block)
                handle.write(block)
            handle.flush()
            os.fchmod(handle.fileno(), mode)
            if sync:
                os.fsync(handle.fileno())
        if mtime is not None:
            os.utime(temporary, ns=(mtime, mtime))
        if wanted and digest.hexdigest() != wanted:
            os.unlink(temporary)
        else:
            os.rename(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
    return digest.hexdigest()


# --- the ledger ---


class Ledger:
    """The changes that were made in a place, with the bytes of each file that was replaced."""

    def __init__(self, prefix: str) -> None:
        self.folder = os.path.join(prefix, LEDGER)
        self.file = os.path.join(self.folder, "ledger.json")
        self.former = os.path.join(self.folder, "former")
        self.incoming = os.path.join(self.folder, "incoming")
        self.scratch = os.path.join(self.folder, "scratch")
        self.entries: dict[str, Json] = {}
        self.owed = False  # whether what runs was not started again since the last change
        self.dirty = False
        self.load()

    def load(self) -> None:
        """Read the ledger, if there is one."""
        if os.path.lexists(self.file):
            try:
                with open(self.file, encoding="utf-8") as handle:
                    loaded = json.load(handle)
                if loaded["schema"] != SCHEMA:
                    raise ValueError(f"its schema is {loaded['schema']!r:.99}")
                self.entries = {entry["path"]: entry for entry in loaded["changes"]}
                self.owed = bool(loaded.get("owed"))
            except (OSError, ValueError, KeyError, TypeError) as error:
                raise RepairError(f"the ledger {self.file} cannot be read: {error!r}. Nothing was changed") from None

    def open(self) -> None:
        """Make the ledger's folder. Only its owner may read it."""
        if os.path.islink(self.folder):
            raise RepairError(f"{self.folder} is a link. Remove it. Nothing was changed")
        os.makedirs(self.former, 0o700, exist_ok=True)
        os.chmod(self.folder, 0o700)

    def lock(self) -> None:
        """Refuse to work beside another repair of this place, such as one that a lost connection left running."""
        self.held = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(self.held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RepairError(
                "another repair of this place is running. Wait for its end. Nothing was changed"
            ) from None
        self.load()

    def save(self) -> None:
        data = {"schema": SCHEMA, "owed": self.owed, "changes": list(self.entries.values())}
        write(self.file, io.BytesIO((json.dumps(data, indent=1) + "\n").encode()), 0o600)
        self.dirty = False

    def note(self, path: str, before: State, after: State, owner: tuple[int, int]) -> bool:
        """Remember a change before it is made, with the former bytes. Return whether the ledger has to be saved."""
        if before is not None and before["kind"] == "file":
            kept = os.path.join(self.former, before["sha256"])
            if not os.path.exists(kept):
                with open(path, "rb") as handle:
                    if write(kept, handle, 0o600) != before["sha256"]:
                        raise RepairError(f"{path} changed while it was read. Nothing more was changed")
        self.dirty |= not self.owed
        self.owed = True
        entry = self.entries.setdefault(path, {"path": path, "before": before, "after": [], "as": list(owner)})
        known = entry["after"] and any(same(after, each) for each in (entry["before"], *entry["after"]))
        if not known:
            entry["after"].append(after)
            self.dirty = True
        return self.dirty

    def settle(self) -> list[str]:
        """Note that what runs was started again. Return what changed."""
        if not self.owed:
            return []
        self.lock()
        self.owed = False
        if self.entries:
            self.save()
        else:
            shutil.rmtree(self.folder)
        return [self.file]

    def close(self) -> None:
        for folder in (self.incoming, self.scratch):
            shutil.rmtree(folder, ignore_errors=True)

    # --- undoing ---

    def changed_since(self) -> list[str]:
        """The paths that are neither in the former state nor in one of ours. They are somebody else's now."""
        return [
            entry["path"]
            for entry in self.entries.values()
            if not any(same(state_of(entry["path"]), known) for known in (entry["before"], *entry["after"]))
        ]

    def revert(self, check: bool, keep: bool) -> list[str]:
        """Restore every path of the ledger, and remove its folder. Return the paths that changed.

        With ``keep``, an empty ledger stays until what runs was started again.
        """
        there = os.path.isdir(self.folder) and not os.path.islink(self.folder)
        if there and not check:
            self.lock()
        foreign = self.changed_since()
        # The interpreter writes byte code by itself.
        foreign = [path for path in foreign if not path.endswith(".pyc")]
        if foreign:
            raise RepairError(
                f"somebody changed these files after the repair: {', '.join(foreign[:10])}"
                f"{' and others' if len(foreign) > 10 else ''}. Nothing was changed. Restore or remove them first"
            )
        lost = [
            entry["path"]
            for entry in self.entries.values()
            if (entry["before"] or {}).get("kind") == "file"
            and not same(state_of(entry["path"]), entry["before"])
            and not self._kept(entry["before"]["sha256"])
        ]
        if lost:
            raise RepairError(
                f"the former bytes of {', '.join(lost)} are damaged in {self.former}. Nothing was changed"
            )
        done = []
        for entry in sorted(self.entries.values(), key=lambda entry: -len(entry["path"].split("/"))):
            done += self._restore(entry, check)
        if there and not self.entries:
            # A repair ended before its first change. Files that were sent to it may be there.
            done.append(self.folder)
        if there and not check:
            self.entries, self.owed = {}, keep
            if keep:
                self.save()
                self.close()
                shutil.rmtree(self.former, ignore_errors=True)
            else:
                shutil.rmtree(self.folder)
        return done

    def _stays(self, folder: str) -> bool:
        """Whether a folder of ours will hold other files after a revert."""
        for name in os.listdir(folder):
            entry = self.entries.get(os.path.join(folder, name))
            if entry is None or entry["before"] is not None:
                return True
            path = entry["path"]
            if os.path.isdir(path) and not os.path.islink(path) and self._stays(path):
                return True
        return False

    def _kept(self, digest: str) -> bool:
        with contextlib.suppress(OSError):
            return sha256_of(os.path.join(self.former, digest)) == digest
        return False

    def _restore(self, entry: Json, check: bool) -> list[str]:
        path, before, now = entry["path"], entry["before"], state_of(entry["path"])
        exact = before is not None and before["kind"] == "file"
        if (before == now) if exact else same(before, now):
            return []
        if before is None and now == {"kind": "folder"}:
            # A folder of ours may hold other files by now. It then stays.
            if not check:
                with acting_as(entry["as"]), contextlib.suppress(OSError):
                    os.rmdir(path)
                return [] if os.path.isdir(path) else [path]
            return [] if self._stays(path) else [path]
        if check:
            return [path]
        with contextlib.ExitStack() as stack:
            kept = stack.enter_context(open(os.path.join(self.former, before["sha256"]), "rb")) if exact else None
            stack.enter_context(acting_as(entry["as"]))
            if kept is not None:
                write(path, kept, before["mode"], mtime=before["mtime"])
                with contextlib.suppress(PermissionError):
                    os.chown(path, before["uid"], before["gid"])
            else:
                os.unlink(path)
                if before is not None:
                    os.symlink(before["to"], path)
        return [path]


# --- the place ---


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def account(user: Any) -> tuple[int, int] | None:
    """The uid and gid of the service, from two numbers, a name, or ``name:group`` as an engine writes it."""
    if not user:
        return None
    if isinstance(user, list):
        return int(user[0]), int(user[1])
    name = str(user).partition(":")[0]
    with contextlib.suppress(KeyError):
        entry = pwd.getpwuid(int(name)) if name.isdigit() else pwd.getpwnam(name)
        return entry.pw_uid, entry.pw_gid
    return (int(name), int(name)) if name.isdigit() else None


def home_of(uid: int) -> str:
    with contextlib.suppress(KeyError):
        return pwd.getpwuid(uid).pw_dir
    return os.path.expanduser("~")


class Place:
    """This interpreter's environment, and the home of its Xinference."""

    def __init__(self, request: Json) -> None:
        self.prefix = os.path.realpath(sys.prefix)
        try:
            distribution = importlib.metadata.distribution("xinference")
        except importlib.metadata.PackageNotFoundError:
            raise RepairError(f"{sys.executable} has no Xinference. Nothing was changed") from None
        self.site = os.path.realpath(str(distribution.locate_file("")))
        self.owner = owner_of(self.site)
        user = account(request.get("user"))
        default = os.path.join(home_of(user[0] if user else self.owner[0]), ".xinference")
        self.home = os.path.realpath(request.get("home") or os.environ.get("XINFERENCE_HOME") or default)
        self.home_owner = user if user and not os.path.exists(self.home) else owner_of(self.home)

    def at(self, where: str) -> str:
        """The path of ``home:...`` or ``site:...``. Raises RepairError if it would leave its folder."""
        root, _colon, rest = where.partition(":")
        base = {"home": self.home, "site": self.site}.get(root)
        if base is None or rest.startswith("/") or ".." in rest.split("/") or not rest:
            raise RepairError(f"{where!r} is no path in a place")
        return os.path.join(base, *rest.split("/"))

    def acts_as(self, where: str) -> tuple[int, int]:
        return self.home_owner if where.startswith("home:") else self.owner

    def distributions(self) -> dict[str, importlib.metadata.Distribution]:
        found: dict[str, importlib.metadata.Distribution] = {}
        for each in importlib.metadata.distributions():
            name = each.metadata["Name"]
            if name:
                found.setdefault(normal(name), each)
        return found


def storage(path: str) -> str:
    """What a path lies on: ``disk``, ``read-only``, ``layer`` of a container, or a ``volume`` of one."""
    while not os.path.exists(path):
        path = os.path.dirname(path)
    if os.statvfs(path).f_flag & os.ST_RDONLY:
        return "read-only"
    if not in_container():
        return "disk"
    return "layer" if os.stat(path).st_dev == os.stat("/").st_dev else "volume"


def in_container() -> bool:
    return any(os.path.exists(name) for name in ("/.dockerenv", "/run/.containerenv", "/run/systemd/container"))


def may_write(path: str, owner: tuple[int, int]) -> bool:
    """Whether this program could write there, as the folder's owner if it is root's."""
    while not os.path.exists(path):
        path = os.path.dirname(path)
    with acting_as(owner):
        return os.access(path, os.W_OK, effective_ids=True)


# --- inspect ---


def inspect(request: Json) -> Json:
    place = Place(request)
    ledger = Ledger(place.prefix)
    installed = place.distributions()
    names = ("xinference", "kokoro", "misaki", "spacy", "torch")
    return {
        "python": {
            "version": platform.python_version(), "executable": sys.executable,
            "implementation": sys.implementation.name, "machine": platform.machine(),
            "libc": list(platform.libc_ver()), "abiflags": getattr(sys, "abiflags", ""),
        },
        "prefix": place.prefix, "kind": kind_of(place.prefix), "site": place.site, "home": place.home,
        "container": in_container(),
        "versions": {name: installed[name].version if name in installed else "" for name in names},
        "distributions": {name: each.version for name, each in installed.items()},
        "requires": requires(installed, request.get("roots") or []),
        "storage": {"site": storage(place.site), "home": storage(place.home)},
        "writable": {
            "site": may_write(place.site, place.owner), "home": may_write(place.home, place.home_owner),
            "prefix": may_write(ledger.folder, owner_of(ledger.folder)),
        },
        "loads_settings": place.site in map(os.path.realpath, [*site.getsitepackages(), site.getusersitepackages()]),
        "settings": settings(request),
        "environments": environments(place.home),
        "cache": os.path.isfile(os.path.join(place.site, "xinference", "model", "cache_manager.py")),
        "local_voices": has_local_voices(place.site),
        "files": {row["to"]: file_state(place, row) for row in request.get("files") or []},
        "patches": {row["name"]: patch_state(place, row) for row in request.get("patches") or []},
        "free": {"site": free(place.site), "home": free(place.home)},
        "ledger": {"changes": len(ledger.entries), "file": ledger.file, "foreign": ledger.changed_since()},
    }  # fmt: skip


def kind_of(prefix: str) -> str:
    """What made an environment: ``conda``, ``venv`` or the ``system``."""
    if os.path.isdir(os.path.join(prefix, "conda-meta")):
        return "conda"
    return "venv" if os.path.isfile(os.path.join(prefix, "pyvenv.cfg")) else "system"


def settings(request: Json) -> Json:
    """What Python and the service have been told so far. The service's own variables win over files of Python."""
    found = {name: os.environ[name] for name in ASKED if name in os.environ}
    own = request.get("environment") or {}
    return {**found, **{name: own[name] for name in ASKED if name in own}}


def free(path: str) -> int:
    while not os.path.exists(path):
        path = os.path.dirname(path)
    return shutil.disk_usage(path).free


def requires(installed: dict[str, importlib.metadata.Distribution], roots: list[str]) -> dict[str, list[str]]:
    """The requirements of installed packages that the roots may need. The controller judges markers and versions."""
    found: dict[str, list[str]] = {}
    todo = [normal(name) for name in roots]
    while todo:
        name = todo.pop()
        if name in found or name not in installed:
            continue
        found[name] = list(installed[name].requires or [])
        todo += [normal(match[1]) for match in map(_NAME.match, found[name]) if match]
    return found


def environments(home: str) -> list[str]:
    """The models that have an environment of their own in this home, such as ``v4/Kokoro-82M``."""
    found = glob.glob(os.path.join(glob.escape(home), "virtualenv", "v*", "*"))
    return sorted("/".join(path.split("/")[-2:]) for path in found if os.path.isdir(path))


def has_local_voices(folder: str) -> bool:
    """Whether Xinference looks for a voice beside the model before it asks the hub."""
    path = os.path.join(folder, "xinference", "model", "audio", "kokoro.py")
    with contextlib.suppress(OSError), open(path, encoding="utf-8") as handle:
        return "_resolve_voice" in handle.read()
    return False


def file_state(place: Place, row: Json) -> str:
    """``right``, ``missing`` or ``other`` for a wanted file. A link counts as what it leads to."""
    path = place.at(row["to"])
    try:
        if os.stat(path).st_size == row["size"] and sha256_of(path) == row["sha256"]:
            return "right"
    except OSError:
        return "missing"
    return "other"


def patch_state(place: Place, row: Json) -> str:
    """``published``, ``repaired``, ``unknown`` or ``missing`` for the file of a digest-bound repair."""
    try:
        found = sha256_of(place.at("site:" + row["file"]))
    except OSError:
        return "missing"
    return {row["before"]: "published", row["after"]: "repaired"}.get(found, "unknown")


# --- apply ---


class Work:
    """The changes of one request."""

    def __init__(self, request: Json) -> None:
        self.request = request
        self.check = bool(request.get("check"))
        self.place = Place(request)
        self.ledger = Ledger(self.place.prefix)
        self.done: list[str] = []

    def source(self, digest: str) -> str:
        named = (self.request.get("sources") or {}).get(digest)
        return named if named else os.path.join(self.ledger.incoming, digest)

    def folders(self, path: str, owner: tuple[int, int], make: bool = True) -> bool:
        """Remember the folders above a path that are missing, and make them. Return whether the ledger has changed."""
        above, missing, changed = os.path.dirname(path), [], False
        while not os.path.isdir(above):
            missing.append(above)
            above = os.path.dirname(above)
        for folder in missing:
            changed |= self.ledger.note(folder, None, {"kind": "folder"}, self.maker(folder, owner))
        if make and missing:
            if changed:
                self.ledger.save()
            for folder in reversed(missing):
                with acting_as(self.maker(folder, owner)):
                    os.mkdir(folder, 0o755)
                    if os.geteuid() == 0:
                        os.chown(folder, *owner)
        return changed

    def maker(self, folder: str, owner: tuple[int, int]) -> tuple[int, int]:
        """Who makes a folder: the owner of the home or the packages, and outside them the owner of what is there.

        In the home, a link of its owner must not lead root elsewhere.
        """
        inside = any(folder.startswith(base + os.sep) for base in (self.place.home, self.place.site))
        return owner if inside else owner_of(folder)

    def put(
        self,
        path: str,
        what: str,
        owner: tuple[int, int],
        digest: str,
        data: bytes | None = None,
        sync: bool = True,
    ) -> None:
        """Give a path the bytes of a source, or ``data``. Does nothing if it has them."""
        before, after = state_of(path), {"kind": "file", "sha256": digest}
        if same(before, after):
            return
        self.done.append(what)
        if self.check:
            return
        mode = before["mode"] if before is not None and before["kind"] == "file" else 0o644
        self.folders(path, owner)
        if self.ledger.note(path, before, after, owner):
            self.ledger.save()
        with contextlib.ExitStack() as stack:
            source = io.BytesIO(data) if data is not None else stack.enter_context(open(self.source(digest), "rb"))
            stack.enter_context(acting_as(owner))
            if write(path, source, mode, digest, sync=sync) != digest:
                raise RepairError(f"{path} arrived with other bytes than the store's. Run the play again")
            if os.geteuid() == 0:
                os.chown(path, *owner)

    def link(self, path: str, to: str, owner: tuple[int, int]) -> None:
        if os.path.exists(path):
            return
        before = state_of(path)
        self.done.append(f"link {path} to {to}")
        if self.check:
            return
        self.folders(path, owner)
        if self.ledger.note(path, before, {"kind": "link", "to": to}, owner):
            self.ledger.save()
        with acting_as(owner):
            # In one step: a killed run must leave the former link or this one.
            new = f"{path}.voicefleet-new"
            with contextlib.suppress(FileNotFoundError):
                os.unlink(new)
            os.symlink(to, new)
            os.rename(new, path)

    # --- parts of a request ---

    def files(self) -> None:
        """Kokoro's files. A file that is there with other bytes stays: nobody knows whose it is."""
        for row in self.request.get("files") or []:
            if file_state(self.place, row) == "missing":
                path = self.place.at(row["to"])
                self.put(path, f"add {path}", self.place.acts_as(row["to"]), row["sha256"])
        for row in self.request.get("links") or []:
            path = self.place.at(row["to"].replace("@main", self.revision(row)))
            to = os.path.relpath(self.place.at(row["leads"]), os.path.dirname(path))
            self.link(path, to, self.place.acts_as(row["to"]))
        for row in self.request.get("texts") or []:
            data, path = row["text"].encode(), self.place.at(row["to"])
            if row.get("keep") and os.path.exists(path):
                continue
            self.put(path, f"write {path}", self.place.acts_as(row["to"]), hashlib.sha256(data).hexdigest(), data)

    def revision(self, row: Json) -> str:
        """The revision that the hub's cache calls ``main``, if it knows one."""
        with contextlib.suppress(OSError), open(self.place.at(row["ref"]), encoding="utf-8") as handle:
            found = handle.read(100).strip()
            if re.match(r"[0-9a-f]{40}\Z", found):
                return found
        return str(row["revision"])

    def packages(self) -> None:
        """Install missing packages: uv unpacks them into an empty folder, and each file is moved with an entry."""
        installed = self.place.distributions()
        rows = [row for row in self.request.get("packages") or [] if normal(row["name"]) not in installed]
        self.done += [f"install {row['name']} {row['version']}" for row in rows]
        if self.check or not rows:
            return
        count = len(self.done)
        target = self._unpacked(rows)
        # An interrupted run must not look finished: what says that a package is installed comes last.
        paths = sorted(every_file(target), key=lambda name: (".dist-info/" in name, name.endswith("/METADATA"), name))
        paths = [path for path in paths if os.path.basename(path) != ".lock"]
        self._refuse_foreign(target, paths)
        for path in paths:
            # One save for all.
            final, data = self.final(target, path), self._data(path)
            self.folders(final, self.place.owner, make=False)
            self.ledger.note(final, state_of(final), content(data), self.place.owner)
            if final.endswith(".py"):
                self._note_code(final)
        self.ledger.save()
        for number, path in enumerate(paths):
            if ".dist-info/" in path and (number == 0 or ".dist-info/" not in paths[number - 1]):
                os.sync()  # one for all files of the packages
            self._place(path, self.final(target, path))
        del self.done[count:]
        shutil.rmtree(self.ledger.scratch, ignore_errors=True)
        importlib.invalidate_caches()

    def final(self, target: str, path: str) -> str:
        """Where a file of a package belongs."""
        rest = os.path.relpath(path, target)
        return os.path.join(self.place.prefix if rest.startswith("bin/") else self.place.site, rest)

    def _data(self, path: str) -> bytes:
        with open(path, "rb") as handle:
            data = handle.read()
        return self._record(data) if path.endswith(".dist-info/RECORD") else data

    def _refuse_foreign(self, target: str, paths: list[str]) -> None:
        finals = {path: self.final(target, path) for path in paths}
        foreign = [
            final
            for path, final in finals.items()
            if state_of(final) is not None and not same(state_of(final), content(self._data(path)))
        ]
        if foreign:
            raise RepairError(
                f"a missing package would replace {', '.join(foreign[:5])}{' and others' if len(foreign) > 5 else ''},"
                " which no installed package lists. Nothing was installed. Remove these files first"
            )

    def _unpacked(self, rows: list[Json]) -> str:
        scratch = self.ledger.scratch
        shutil.rmtree(scratch, ignore_errors=True)
        wheels, target = os.path.join(scratch, "wheels"), os.path.join(scratch, "site")
        for folder in (wheels, target):
            os.makedirs(folder, 0o700)
        lines = []
        for row in rows:
            # pip and uv read a wheel's name.
            wheel = os.path.join(wheels, os.path.basename(row["file"]))
            shutil.copyfile(self.source(row["sha256"]), wheel)
            lines.append(f"{row['name']}=={row['version']} --hash=sha256:{row['sha256']}\n")
        listed = os.path.join(scratch, "requirements.txt")
        with open(listed, "w", encoding="utf-8") as handle:
            handle.writelines(lines)
        uv = os.path.join(scratch, "uv")
        with open(self.source(self.request["uv"]), "rb") as handle:
            if write(uv, handle, 0o700) != self.request["uv"]:
                raise RepairError("uv arrived with other bytes than the store's. Run the play again")
        command = [
            uv, "pip", "install", "--quiet", "--offline", "--no-index", "--no-deps", "--no-build", "--require-hashes",
            "--link-mode", "copy", "--python", sys.executable, "--target", target, "--find-links", wheels,
            "--requirement", listed,
        ]  # fmt: skip
        environment = {
            "PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": scratch, "TMPDIR": scratch, "LANG": "C.UTF-8",
            "UV_CACHE_DIR": os.path.join(scratch, "cache"), "UV_NO_CONFIG": "1", "UV_OFFLINE": "1",
            "UV_PYTHON_DOWNLOADS": "never", "NO_COLOR": "1",
        }  # fmt: skip
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=UV_SECONDS, env=environment, cwd=scratch, check=False
        )
        if done.returncode:
            raise RepairError(f"uv did not install the packages: {(done.stderr or done.stdout).strip()[-2000:]}")
        return target

    def _place(self, path: str, final: str) -> None:
        data = self._data(path)
        self.put(final, final, self.place.owner, hashlib.sha256(data).hexdigest(), data, sync=False)
        if os.access(path, os.X_OK):
            with acting_as(self.place.owner):
                os.chmod(final, 0o755)
        if final.endswith(".py"):
            self.compile(final)

    def _record(self, data: bytes) -> bytes:
        """A wheel's RECORD with the places of its scripts in this prefix."""
        above = os.path.relpath(self.place.prefix, self.place.site)
        rows = list(csv.reader(io.StringIO(data.decode(), newline="")))
        rows = [[f"{above}/{row[0]}", *row[1:]] if row and row[0].startswith("bin/") else row for row in rows]
        text = io.StringIO(newline="")
        csv.writer(text, lineterminator="\n").writerows(row for row in rows if row and row[0] != ".lock")
        return text.getvalue().encode()

    def _note_code(self, path: str) -> bool:
        """Remember the byte code of a file before it is written. Its bytes do not matter: Python may write it too."""
        cached = cache_from_source(path)
        return self.folders(cached, self.place.owner, make=False) | self.ledger.note(
            cached, state_of(cached), {"kind": "file", "sha256": ""}, self.place.owner
        )

    def compile(self, path: str) -> None:
        """Write the byte code, because the service may not. Code for another Python has none."""
        if self._note_code(path):
            self.ledger.save()
        self.folders(cache_from_source(path), self.place.owner)
        with acting_as(self.place.owner), contextlib.suppress(py_compile.PyCompileError):
            py_compile.compile(path, doraise=True)

    def patches(self) -> None:
        """Digest-bound repairs. A file with another digest stays as it is."""
        for row in self.request.get("patches") or []:
            state = patch_state(self.place, row)
            coming = {normal(each["name"]) for each in self.request.get("packages") or []}
            if state == "missing" and self.check and normal(row["package"]) in coming:
                self.done.append(f"repair {self.place.at('site:' + row['file'])} ({row['name']}: {row['reason']})")
            if state not in ("published", "repaired"):
                continue
            path = self.place.at("site:" + row["file"])
            with open(path, "rb") as handle:
                data = handle.read()
            if hashlib.sha256(data).hexdigest() == row["before"]:
                for old, new in row["replacements"]:
                    data = data.replace(old.encode(), new.encode(), 1)
            if hashlib.sha256(data).hexdigest() != row["after"]:
                raise RepairError(f"the repair {row['name']} does not give the file with which it was tested")
            # What the repaired file imports comes first.
            made = {**{name: text.encode() for name, text in row["added"].items()}, row["file"]: data}
            if all(same(state_of(self.place.at("site:" + name)), content(each)) for name, each in made.items()):
                continue
            self.done.append(f"repair {path} ({row['name']}: {row['reason']})")
            if self.check:
                continue
            count = len(self.done)
            for name, each in made.items():
                final = self.place.at("site:" + name)
                self.put(final, final, self.place.owner, hashlib.sha256(each).hexdigest(), each)
                self.compile(final)
            self._listed(row, made)
            del self.done[count:]

    def _listed(self, row: Json, made: dict[str, bytes]) -> None:
        """Write the new digests to the package's RECORD, so that an audit finds a consistent environment."""
        distribution = self.place.distributions().get(normal(row["package"]))
        record = next(
            (str(distribution.locate_file(file)) for file in (distribution.files or []) if file.name == "RECORD"), ""
        ) if distribution else ""  # fmt: skip
        if not record or not os.path.isfile(record):
            return
        with open(record, encoding="utf-8", newline="") as handle:
            rows = [each for each in csv.reader(handle) if each and each[0] not in made]
        for name, data in made.items():
            digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
            rows.append([name, f"sha256={digest}", str(len(data))])
        text = io.StringIO(newline="")
        csv.writer(text, lineterminator="\n").writerows(rows)
        new = text.getvalue().encode()
        self.put(record, record, self.place.owner, hashlib.sha256(new).hexdigest(), new)


def content(data: bytes) -> Json:
    return {"kind": "file", "sha256": hashlib.sha256(data).hexdigest()}


def every_file(folder: str) -> list[str]:
    return [os.path.join(where, name) for where, _folders, names in os.walk(folder) for name in names]


def apply(request: Json) -> Json:
    work = Work(request)
    if not work.check:
        work.ledger.open()
        work.ledger.lock()
    try:
        for part in (work.packages, work.files, work.patches):
            part()
    finally:
        if not work.check:
            if work.ledger.dirty:
                work.ledger.save()
            work.ledger.close()
            if not work.ledger.entries and not work.ledger.owed:
                shutil.rmtree(work.ledger.folder, ignore_errors=True)
    return {"changed": work.done, "ledger": work.ledger.file, "owed": work.ledger.owed or bool(work.done)}


def revert(request: Json) -> Json:
    place = Place(request)
    ledger = Ledger(place.prefix)
    changed = ledger.revert(bool(request.get("check")), bool(request.get("keep")))
    return {"changed": changed, "ledger": ledger.file, "owed": ledger.owed}


def settle(request: Json) -> Json:
    ledger = Ledger(Place(request).prefix)
    changed = [] if request.get("check") else ledger.settle()
    return {"changed": changed, "ledger": ledger.file, "owed": ledger.owed}


def put(digest: str) -> Json:
    """Keep the bytes of the input below their digest. Bytes with another digest are not kept."""
    if not re.match(r"[0-9a-f]{64}\Z", digest):
        raise RepairError(f"{digest!r} is no digest")
    ledger = Ledger(os.path.realpath(sys.prefix))
    ledger.open()
    os.makedirs(ledger.incoming, 0o700, exist_ok=True)
    path = os.path.join(ledger.incoming, digest)
    if write(path, sys.stdin.buffer, 0o600) != digest:
        os.unlink(path)
        raise RepairError("a file arrived with other bytes than the store's. Run the play again")
    return {"kept": digest}


def answer(result: Json) -> NoReturn:
    sys.stdout.write(json.dumps(result) + "\n")
    raise SystemExit(0)


def main() -> None:
    os.umask(0o022)
    try:
        if sys.argv[1:2] == ["put"]:
            answer(put(sys.argv[2]))
        request = json.load(sys.stdin)
        answer({"inspect": inspect, "apply": apply, "revert": revert, "settle": settle}[request["do"]](request))
    except RepairError as error:
        answer({"error": str(error)})
    except OSError as error:
        answer({"error": f"{error.strerror or error}: {error.filename or ''}"})


if __name__ == "__main__":
    main()
