# SPDX-License-Identifier: GPL-3.0-or-later
"""Build a release for an image, and write it as one layer. The same request and store give the same bytes.

This is also a program. It runs as root in a container of the base image, without a network. It reads its request from
a file, reads the store, builds below ``/opt/voicefleet``, reports on standard error, and writes the layer (a tar
archive) to standard output::

    {"plan": {...}, "store": "/voicefleet-store", "time": 1798761600, "user": {"name": "voicefleet", "id": 10001},
     "home": "/var/lib/voicefleet", "settings": {...}}

``settings`` is written for the script ``run``, which starts the service (``module_utils/host/container.py``).
"""

from __future__ import annotations

import csv
import io
import os
import shutil
import sys
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, BinaryIO, Callable

from ..host.hashing import canonical_json, digest_files, parse_json, read_bounded, write_atomic
from ..host.layout import CURRENT, ROOT, Paths
from . import bytecode, dictionary, inventory, patches, python_env, release, spacy_install, spacy_sdist

Json = dict[str, Any]

# The program of the image, and the rooms of this tree that it needs.
PROGRAM = f"{ROOT}/container"
ROOMS = ("doctor", "host", "proof", "xinference")
RUN = f"{PROGRAM}/run"
RUN_TEXT = f"""#!{CURRENT}/env/bin/python -I
import sys

sys.path.insert(0, "{PROGRAM}")

from module_utils.host import container
from module_utils.proof import container as proof
from module_utils.xinference import container as service

sys.exit(container.run({{**service.COMMANDS, **proof.COMMANDS}}, sys.argv[1:]))
"""
SETTINGS = f"{PROGRAM}/settings.json"

# uv notes when it saw a wheel. That differs each time.
UV_NOTE = "uv_cache.json"


class BakeError(Exception):
    """The layer could not be made; the message says why."""


def say(text: str) -> None:
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def bake(request: Mapping[str, Any], target: BinaryIO) -> None:
    """Build the release and write the layer to ``target``. Raises BakeError, or an error of a step."""
    plan = request["plan"]
    paths = Paths(plan["paths"]["root"])
    say(f"check {len(plan['artifacts'])} files of the store")
    hold(plan["artifacts"], request["store"], paths)
    say("install the locked packages")
    build(plan, paths)
    say("compile byte code")
    python = os.path.join(plan["release"]["path"], "env", "bin", "python")
    add_program(paths, request["settings"])
    folders = [plan["release"]["path"], os.path.join(paths.root, "container"), *tool_of(plan)]
    compile_all(python, folders)
    say("seal the release")
    seal(plan, paths, request["time"])
    say("write the layer")
    write_layer(target, paths, plan, request)


def of_kind(rows: Iterable[Json], *kinds: str) -> list[Json]:
    return [row for row in rows if row["kind"] in kinds]


def hold(rows: Iterable[Mapping[str, Any]], store: str, paths: Paths) -> None:
    """Hash every file of the store, and give it the place of an artifact on a host. Raises BakeError, OSError."""
    wanted = {os.path.join(store, row["path"]): row for row in rows}
    for file, found in digest_files(wanted).items():
        row = wanted[file]
        if isinstance(found, OSError):
            raise BakeError(f"{row['path']} of the store cannot be read: {found.strerror}")
        if found != row["sha256"]:
            raise BakeError(f"{row['path']} of the store changed since the store was verified. Verify it again")
        place = paths.artifact(row["sha256"], row["path"])
        os.makedirs(os.path.dirname(place), exist_ok=True)
        os.symlink(file, place)


def build(plan: Json, paths: Paths) -> None:
    """Build the release as a deploy does, by the same code."""
    rows, path = plan["artifacts"], plan["release"]["path"]
    wheels = of_kind(rows, "wheel")
    (lock,) = of_kind(rows, "lock")
    versions = {row["name"]: row["version"] for row in wheels}
    for row in of_kind(rows, "python"):
        python_env.install_python(row, paths.root)
    repairs = patches.choose([patch["name"] for patch in plan["patches"]])
    os.makedirs(path)
    python_env.make(
        path, plan["python"]["path"], lock, wheels, versions["uv"], paths.root, repairs, plan["extras"],
        of_kind(rows, "dictionary"), compiled=False,
    )  # fmt: skip
    models = of_kind(rows, "spacy-model")
    if models:
        spacy_install.install(models, path, versions["spacy"], rows, versions["uv"], paths)
    say("place models and voices")
    model = plan["model"]["path"]
    for file, source in release.model_files(rows, model, paths).items():
        release.link_or_copy(os.path.realpath(source), os.path.join(model, file))
    forget_times(python_env.site_packages(os.path.join(path, "env")))
    gaps = release.gaps(path, model, plan["voices"], [row["name"] for row in models], plan["python"]["version"])
    if gaps:
        raise BakeError(f"the release is incomplete. It lacks: {', '.join(gaps)}")


def forget_times(site: str) -> None:
    """Remove uv's notes of times from the packages, and their rows from RECORD."""
    for name in sorted(os.listdir(site)):
        note, record = os.path.join(site, name, UV_NOTE), os.path.join(site, name, "RECORD")
        if not os.path.exists(note):
            continue
        os.unlink(note)
        with open(record, encoding="utf-8", newline="") as handle:
            rows = [row for row in csv.reader(handle) if row and row[0] != f"{name}/{UV_NOTE}"]
        text = io.StringIO(newline="")
        csv.writer(text, lineterminator="\n").writerows(rows)
        os.unlink(record)
        write_atomic(record, text.getvalue().encode(), 0o644)


def tool_of(plan: Mapping[str, Any]) -> list[str]:
    """The folder of the store's Python; empty if the release uses the base's own."""
    python = plan["python"]
    return [os.path.dirname(os.path.dirname(python["path"]))] if python["artifact"] else []


def add_program(paths: Paths, settings: Mapping[str, Any]) -> None:
    """Put the program that starts the service beside the releases."""
    source = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    target = os.path.join(paths.root, "container")
    rooms = os.path.join(target, "module_utils")
    os.makedirs(rooms)
    write_atomic(os.path.join(rooms, "__init__.py"), b"")
    for room in ROOMS:
        os.makedirs(os.path.join(rooms, room))
        for name in sorted(os.listdir(os.path.join(source, room))):
            if name.endswith(".py"):
                shutil.copyfile(os.path.join(source, room, name), os.path.join(rooms, room, name))
    write_atomic(os.path.join(target, "settings.json"), canonical_json(dict(settings)))
    write_atomic(os.path.join(target, "run"), RUN_TEXT.encode(), 0o755)
    inventory.close(target)


def compile_all(python: str, folders: Iterable[str]) -> None:
    """Compile the Python files below some folders to the same byte code each time. Raises CompileError, OSError."""
    files = sorted(file for folder in folders for file in bytecode.sources(folder))
    bytecode.compile_files(python, files, bytecode.NEVER)


def seal(plan: Json, paths: Paths, time: int) -> None:
    """Give all files the same time, seal the release as a deploy does, and make it current."""
    path = plan["release"]["path"]
    for folder in tool_of(plan):
        settle(folder, time)
        inventory.write_tool(folder, plan["python"]["artifact"])
    inventory.close(path)
    settle(path, time)
    kept = {key: plan[key] for key in release.KEPT}
    release.seal(path, {"id": plan["release"]["id"], "made": time, **kept})
    release.switch(paths, plan["release"]["id"])


def settle(folder: str, time: int) -> None:
    """Set the time of everything below a folder."""
    for path, _status in inventory.walk(folder):
        os.utime(os.path.join(folder, path), (time, time), follow_symlinks=False)


def write_layer(target: BinaryIO, paths: Paths, plan: Json, request: Mapping[str, Any]) -> None:
    """Write the layer: the release, what it runs on, the service's account and its home."""
    with tarfile.open(fileobj=target, mode="w|", format=tarfile.PAX_FORMAT) as archive:
        tops = [os.path.join(paths.root, "container"), paths.current, plan["release"]["path"], *tool_of(plan)]
        parents = [paths.root, paths.releases, *([paths.tools] if tool_of(plan) else [])]
        for file in sorted([*parents, *(file for top in tops for file in below(top))]):
            add(archive, file, request["time"])
        user = request["user"]
        for name, line in accounts(user["name"], user["id"], request["home"]).items():
            text = merged(name, line)
            add_bytes(archive, name, text.encode(), request["time"])
        # Everybody may make a folder here, so the image also runs as any other user.
        home = tarfile.TarInfo(request["home"].lstrip("/"))
        home.type, home.mode, home.mtime = tarfile.DIRTYPE, 0o1777, request["time"]
        archive.addfile(home)


def below(top: str) -> Iterator[str]:
    """A path, and everything below it."""
    yield top
    if os.path.isdir(top) and not os.path.islink(top):
        for parent, folders, files in os.walk(top):
            yield from (os.path.join(parent, name) for name in (*folders, *files))


def add(archive: tarfile.TarFile, file: str, time: int, owner: tuple[int, int] = (0, 0)) -> None:
    """Add one file, folder or link with the given time and owner."""
    status = os.lstat(file)
    entry = tarfile.TarInfo(file.lstrip("/"))
    entry.mtime = time
    entry.uid, entry.gid = owner
    entry.mode = status.st_mode & 0o7777
    if os.path.islink(file):
        entry.type, entry.linkname, entry.mode = tarfile.SYMTYPE, os.readlink(file), 0o777
        archive.addfile(entry)
    elif os.path.isdir(file):
        entry.type, entry.mode = tarfile.DIRTYPE, 0o755
        archive.addfile(entry)
    else:
        entry.size = status.st_size
        with open(file, "rb") as handle:
            archive.addfile(entry, handle)


def add_bytes(archive: tarfile.TarFile, file: str, data: bytes, time: int) -> None:
    entry = tarfile.TarInfo(file.lstrip("/"))
    entry.mtime, entry.mode, entry.size = time, 0o644, len(data)
    archive.addfile(entry, io.BytesIO(data))


def accounts(name: str, number: int, home: str) -> dict[str, str]:
    """The lines of the service's account, by file."""
    return {
        "/etc/group": f"{name}:x:{number}:",
        "/etc/passwd": f"{name}:x:{number}:{number}:Xinference by voicefleet:{home}:/usr/sbin/nologin",
    }


def merged(file: str, line: str) -> str:
    """The base's file with one more line. A line of the same name, or of the same number, is refused."""
    try:
        with open(file, encoding="utf-8", errors="surrogateescape") as handle:
            lines = handle.read().splitlines()
    except FileNotFoundError:
        lines = []
    name, _password, number = line.split(":")[:3]
    for other in lines:
        fields = other.split(":")
        if fields[0] == name or (len(fields) > 2 and fields[2] == number):
            raise BakeError(f"{file} of the base image has {other!r}. Choose another image_user_id")
    return "".join(f"{each}\n" for each in (*lines, line))


def last_object(said: str) -> Json:
    """What a program answers in its last line. Other code of its Python may print before it. Raises ValueError."""
    lines = said.strip().splitlines()
    found = parse_json(lines[-1]) if lines else None
    if not isinstance(found, dict):
        raise ValueError("the answer is no object")
    return found


def answer(work: Callable[[BinaryIO], None]) -> int:
    """Let a program write its layer to standard output, and report its failure. Return the exit status."""
    try:
        # Standard output carries only the layer.
        target = os.fdopen(os.dup(1), "wb")
        os.dup2(2, 1)
        with target:
            work(target)
    except (
        BakeError, bytecode.CompileError, python_env.EnvError, dictionary.DictionaryError, patches.PatchError,
        spacy_sdist.SpacyModelError, release.ReleaseError,
    ) as error:  # fmt: skip
        say(f"failed: {error}")
        return 1
    except OSError as error:
        say(f"failed: {error.strerror}: {error.filename}")
        return 1
    return 0


def main(path: str) -> int:
    """Carry out the request in a file."""
    return answer(lambda target: bake(parse_json(read_bounded(path)), target))
