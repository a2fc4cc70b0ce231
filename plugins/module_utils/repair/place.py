# SPDX-License-Identifier: GPL-3.0-or-later
"""Reach a place: a Python that has Xinference, on this host or in a container. Find the places of a host.

A place runs ``program.py`` with its own Python. On a host, root never runs a Python that belongs to somebody else: the
program then runs as the owner. In a container it runs as the container's root.
"""

from __future__ import annotations

import contextlib
import glob
import json
import os
import pkgutil
import re
import shlex
import stat
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Callable

from . import program as acting  # Ansible sends only modules that are imported

Json = dict[str, Any]
Runner = Callable[..., "subprocess.CompletedProcess[bytes]"]

ENGINES = ("docker", "podman")
SECONDS = 3600
# The Pythons of a container to try if its processes name none.
PYTHONS = (
    "python3", "python", "/opt/conda/bin/python", "/opt/venv/bin/python", "/opt/xinference/bin/python",
    "/usr/local/bin/python3",
)  # fmt: skip
_STARTS = re.compile(r"(?:^|/)xinference(?:-[a-z]+)?\Z")
_PYTHON = re.compile(r"/python[0-9.]*\Z")
_INSIDE = re.compile(r"from xinference\b|\bxinference\.deploy\b")


class PlaceError(Exception):
    """A place cannot be reached or used; the message says why."""


def program() -> str:
    """The text of the program that acts inside a place."""
    package, _dot, name = acting.__name__.rpartition(".")
    return (pkgutil.get_data(package, f"{name}.py") or b"").decode()


@dataclass(frozen=True)
class Found:
    """A place as it was found: its Python, or its container, and how Xinference runs there.

    ``user`` is the service's uid and gid, or its name. ``home`` is its XINFERENCE_HOME; "" if unknown. ``environment``
    has those of the service's variables that decide what it asks the network.
    """

    python: str = ""
    container: str = ""
    engine: str = ""
    unit: str = ""
    user: Any = None
    home: str = ""
    environment: Json = field(default_factory=dict, compare=False)
    details: Json = field(default_factory=dict, compare=False)

    @property
    def name(self) -> str:
        """How an operator names this place."""
        if self.container:
            return f"repair_container={self.container} repair_engine={self.engine}"
        return f"repair_prefix={os.path.dirname(os.path.dirname(self.python))}"

    def says(self) -> str:
        runs = f", {self.unit}" if self.unit else ""
        return f"{self.name}{runs}"


def _answer(done: subprocess.CompletedProcess[bytes], where: str) -> Json:
    """What the program said. It writes one line of JSON, and other code may print before it."""
    lines = done.stdout.decode("utf-8", "replace").strip().splitlines()
    with contextlib.suppress(ValueError, IndexError):
        result = json.loads(lines[-1])
        if isinstance(result, dict):
            if "error" in result:
                raise PlaceError(str(result["error"]))
            return result
    said = (done.stderr or done.stdout).decode("utf-8", "replace").strip()[-1500:]
    raise PlaceError(f"{where} cannot run the repair (status {done.returncode}): {said}")


def owner(python: str) -> tuple[int, int]:
    """Who may change a Python or what it loads. Raises PlaceError if that is unclear, or if everybody may."""
    prefix = os.path.dirname(os.path.dirname(python))
    # Python runs code of its packages at each start.
    packages = glob.glob(os.path.join(glob.escape(prefix), "lib*", "python3*", "*-packages"))
    try:
        statuses = {
            path: os.stat(path) for path in (prefix, os.path.dirname(python), os.path.realpath(python), *packages)
        }
    except OSError as error:
        raise PlaceError(f"{error.filename} cannot be read: {error.strerror}. Nothing was changed") from None
    for path, status in statuses.items():
        if os.geteuid() == 0 and status.st_mode & stat.S_IWOTH:
            raise PlaceError(f"everybody may change {path}. Run chmod o-w on it. Nothing was changed")
    others = {(status.st_uid, status.st_gid) for status in statuses.values() if status.st_uid != 0}
    if len({uid for uid, _gid in others}) > 1:
        raise PlaceError(f"{prefix} and its Python belong to different users. Nothing was changed")
    return next(iter(others), (0, 0))


@dataclass(frozen=True)
class Native:
    """A Python of this host."""

    python: str
    runner: Runner = subprocess.run

    def run(self, request: Json, files: Mapping[str, str] | None = None) -> Json:
        """Run one task with files of this host, by their digests. Raises PlaceError."""
        if not os.access(self.python, os.X_OK):
            raise PlaceError(f"{self.python} does not exist or cannot be run. Nothing was changed")
        options: Json = {}
        uid, gid = owner(self.python)
        if os.geteuid() == 0 and uid != 0:
            options = {"user": uid, "group": gid, "extra_groups": []}
        environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8", "HOME": "/"}
        try:
            done = self.runner(
                [self.python, "-I", "-c", program()],
                input=json.dumps({**request, "sources": dict(files or {})}).encode(),
                capture_output=True, timeout=SECONDS, check=False, env=environment, cwd="/", **options,
            )  # fmt: skip
        except (OSError, subprocess.TimeoutExpired) as error:
            raise PlaceError(f"{self.python} cannot run the repair: {error}") from None
        return _answer(done, self.python)


@dataclass(frozen=True)
class Container:
    """A Python in a running container, reached through its engine's command line."""

    engine: str
    name: str
    python: str
    runner: Runner = subprocess.run

    def _exec(self, *arguments: str, **options: Any) -> Json:
        command = [self.engine, "exec", "-i", "-u", "0", self.name, self.python, "-I", "-c", program(), *arguments]
        try:
            done = self.runner(command, capture_output=True, timeout=SECONDS, check=False, **options)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise PlaceError(f"{self.engine} exec {self.name} failed: {error}") from None
        return _answer(done, f"{self.python} in the container {self.name}")

    def run(self, request: Json, files: Mapping[str, str] | None = None) -> Json:
        """Send the files, which are hashed again inside, and run one task. Raises PlaceError."""
        for digest, path in (files or {}).items():
            with open(path, "rb") as handle:
                self._exec("put", digest, stdin=handle)
        return self._exec(input=json.dumps(request).encode())


# --- finding places ---


def started(words: Sequence[str]) -> str:
    """The Python that runs Xinference in a command line; "" if it does not, or if it is not named by its full path."""
    first = words[0] if words and os.path.isabs(words[0]) else ""
    for number, word in enumerate(words[:3]):
        if _STARTS.search(word) and "/" in word:
            # The kernel puts the Python of a script before it. Other programs do not say what they start.
            if _PYTHON.search(first) and all(option.startswith("-") for option in words[1:number]):
                return first
            return os.path.join(os.path.dirname(word), "python") if os.path.isabs(word) else ""
    if first and any(_INSIDE.search(word) for word in words[1:6]):
        return first
    if first and words[1:2] == ["-m"] and words[2:3] and words[2].startswith("xinference"):
        return first
    return ""


def of_script(words: Sequence[str]) -> str:
    """The Python in the first line of the script that a command starts; "" if there is none."""
    with contextlib.suppress(OSError, IndexError):
        with open(words[0], "rb") as handle:
            line = handle.readline(4096).decode("utf-8", "replace")
        match = re.match(r"#!\s*(/\S+)", line)
        if match and _PYTHON.search(match[1]):
            return match[1]
    return ""


def _link(path: str) -> str:
    with contextlib.suppress(OSError):
        return os.readlink(path)
    return ""


def _environment(folder: str) -> dict[str, str]:
    with contextlib.suppress(OSError):
        with open(os.path.join(folder, "environ"), "rb") as handle:
            pairs = handle.read(1 << 20).decode("utf-8", "replace").split("\0")
        return dict(pair.split("=", 1) for pair in pairs if "=" in pair)
    return {}


def home_in(environment: Mapping[str, str]) -> str:
    """XINFERENCE_HOME as an environment sets it; "" if it does not."""
    home = environment.get("HOME", "")
    return environment.get("XINFERENCE_HOME") or (os.path.join(home, ".xinference") if home else "")


def deciding(environment: Mapping[str, str]) -> dict[str, str]:
    """The variables that decide whether Xinference asks the network."""
    return {name: environment[name] for name in acting.ASKED if name in environment}


def processes(proc: str = "/proc", namespace: str = "") -> list[Found]:
    """The Xinferences that run in a mount namespace, by default this one. Each Python is named once."""
    namespace = namespace or _link(os.path.join(proc, "self", "ns", "mnt"))
    found: dict[str, Found] = {}
    for name in sorted(filter(str.isdigit, os.listdir(proc)), key=int):
        folder = os.path.join(proc, name)
        if namespace and _link(os.path.join(folder, "ns", "mnt")) != namespace:
            continue
        try:
            with open(os.path.join(folder, "cmdline"), "rb") as handle:
                words = handle.read(1 << 16).decode("utf-8", "replace").split("\0")
            status = os.stat(folder)
        except OSError:
            continue
        python = started(words)
        if python and python not in found:
            own, user = _environment(folder), [status.st_uid, status.st_gid]
            found[python] = Found(
                python=python, user=user, home=home_in(own), unit=_unit(folder), environment=deciding(own)
            )
    return list(found.values())


def _unit(folder: str) -> str:
    """The system's unit of a process; "" for others."""
    with contextlib.suppress(OSError):
        with open(os.path.join(folder, "cgroup"), encoding="utf-8") as handle:
            match = re.search(r"/system\.slice/(?:[^/\n]+/)*([^/\n]+\.service)", handle.read(1 << 16))
        return match[1] if match else ""
    return ""


def _output(runner: Runner, command: Sequence[str]) -> str:
    """What a command prints; "" if it is missing or fails."""
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        done = runner(list(command), capture_output=True, timeout=60, check=False, stdin=subprocess.DEVNULL)
        if done.returncode == 0:
            return done.stdout.decode("utf-8", "replace")
    return ""


def units(runner: Runner = subprocess.run) -> list[Found]:
    """The loaded units of systemd that start Xinference, running or not."""
    names = "--property=Id,ExecStart,User,Environment,ActiveState"
    text = _output(runner, ["systemctl", "show", "*.service", "--all", names])
    found = []
    for block in text.split("\n\n"):
        rows = dict(line.split("=", 1) for line in block.splitlines() if "=" in line)
        match = re.search(r"argv\[\]=(.*?) ;", rows.get("ExecStart", ""))
        words = match[1].split() if match else []
        python = started(words)
        if python and not os.path.exists(python):
            python = of_script(words) or python
        if python:
            own = _assigned(rows.get("Environment", ""))
            found.append(
                Found(
                    python=python, unit=rows.get("Id", ""), user=rows.get("User") or None, home=home_in(own),
                    environment=deciding(own), details={"stopped": rows.get("ActiveState") == "inactive"},
                )
            )  # fmt: skip
    return found


def _assigned(text: str) -> dict[str, str]:
    """The variables of a unit, as systemd shows them."""
    with contextlib.suppress(ValueError):
        return dict(pair.split("=", 1) for pair in shlex.split(text) if "=" in pair)
    return {}


def inspected(engine: str, names: Sequence[str], runner: Runner = subprocess.run) -> list[Json]:
    """What an engine says of containers; empty if it knows none of these."""
    text = _output(runner, [engine, "inspect", "--type", "container", *names]) if names else ""
    with contextlib.suppress(ValueError):
        return [row for row in json.loads(text or "[]") if isinstance(row, dict)]
    return []


def containers(engine: str, runner: Runner = subprocess.run) -> list[Found]:
    """The running containers of an engine whose command or image names Xinference."""
    names = _output(runner, [engine, "ps", "--quiet", "--no-trunc"]).split()
    rows = inspected(engine, names, runner)
    return [_container(engine, row) for row in rows if _runs_xinference(row)]


def _runs_xinference(row: Json) -> bool:
    settings = row.get("Config") or {}
    words = [row.get("Path"), row.get("ImageName"), settings.get("Image")]
    for more in (row.get("Args"), settings.get("Cmd"), settings.get("Entrypoint")):
        words += more if isinstance(more, list) else [more]
    return any("xinference" in str(word) for word in words)


def _container(engine: str, row: Json) -> Found:
    settings = row.get("Config") or {}
    environment = dict(pair.split("=", 1) for pair in settings.get("Env") or [] if "=" in pair)
    state, host = row.get("State") or {}, row.get("HostConfig") or {}
    user = settings.get("User") or ""
    home = environment.get("XINFERENCE_HOME") or (home_in(environment) if user not in ("", "0", "root") else "")
    details = {
        "id": str(row.get("Id") or ""), "running": bool(state.get("Running")), "pid": int(state.get("Pid") or 0),
        "read_only": bool(host.get("ReadonlyRootfs")), "removed_at_end": bool(host.get("AutoRemove")),
    }  # fmt: skip
    name = str(row.get("Name") or row.get("Id") or "").lstrip("/")
    return Found(container=name, engine=engine, user=user, home=home, details=details)


def distinct(found: Sequence[Found]) -> list[Found]:
    """Each container once. The command docker may be Podman's, so both know the same containers."""
    return list({each.details.get("id") or (each.engine, each.container): each for each in found}.values())


def named_container(name: str, engine: str, runner: Runner = subprocess.run) -> Found:
    """The container that an operator names. Raises PlaceError if it is not running, or if two engines have it."""
    engines = [engine] if engine else list(ENGINES)
    found = [_container(each, row) for each in engines for row in inspected(each, [name], runner)]
    if not found:
        raise PlaceError(f"{' and '.join(engines)} know no container {name}. Nothing was changed")
    found = distinct(found)
    if len(found) > 1:
        raise PlaceError(f"docker and podman both have a container {name}: set repair_engine. Nothing was changed")
    if not found[0].details["running"]:
        raise PlaceError(f"the container {name} is not running. Start it. Nothing was changed")
    return found[0]


def _folder(python: str) -> str:
    return os.path.realpath(os.path.dirname(python))


def natives(loaded: Sequence[Found], running: Sequence[Found]) -> dict[str, Found]:
    """The places outside of containers by folder of their Python, from the loaded units and the processes."""
    found = {_folder(each.python): each for each in (*loaded, *running)}
    for key, one in found.items():
        mine = [each for each in loaded if _folder(each.python) == key]
        for each in mine:
            one = _with(
                one, unit=one.unit or each.unit, home=one.home or each.home,
                environment={**each.environment, **one.environment},
            )  # fmt: skip
        # A process may belong to a unit whose command does not show that it starts Xinference.
        active = {each.unit for each in running if _folder(each.python) == key and each.unit}
        # Somebody stopped the other units. A restart must not start them, unless there is nothing else to restart.
        active |= {each.unit for each in mine if not each.details["stopped"]}
        found[key] = _with(one, details={"units": sorted(active or {each.unit for each in mine})})
    return found


def find(prefix: str, container: str, engine: str, proc: str = "/proc", runner: Runner = subprocess.run) -> Found:
    """The one place to repair. Raises PlaceError with the candidates if it is not clear which one that is."""
    if container:
        found = named_container(container, engine, runner)
        return _with(found, python=os.path.join(prefix, "bin", "python")) if prefix else found
    native = natives(units(runner), processes(proc))
    if prefix:
        python = os.path.join(prefix.rstrip("/") or "/", "bin", "python")
        python = python if os.path.exists(python) else python + "3"
        return _with(native.get(_folder(python), Found()), python=python)
    wanted = [engine] if engine else list(ENGINES)
    every = [*native.values(), *distinct([each for name in wanted for each in containers(name, runner)])]
    if len(every) == 1:
        return every[0]
    if not every:
        raise PlaceError(
            "no process, unit or container on this host runs Xinference. Name the place in repair_prefix or"
            " repair_container. Nothing was changed"
        )
    lines = "\n".join(f"  {each.says()}" for each in every)
    raise PlaceError(f"this host has {len(every)} places with Xinference. Choose one. Nothing was changed:\n{lines}")


def _with(found: Found, **changes: Any) -> Found:
    return Found(**{**vars(found), **changes})


def reach(found: Found, proc: str = "/proc", runner: Runner = subprocess.run) -> Native | Container:
    """The place itself. In a container, the Python that its processes or usual paths name. Raises PlaceError."""
    if not found.container:
        return Native(found.python, runner)
    namespace = _link(os.path.join(proc, str(found.details.get("pid", 0)), "ns", "mnt"))
    if found.python:
        # Debian and Ubuntu have no /usr/bin/python.
        names = [found.python, f"{found.python}3"]
    else:
        names = [*(each.python for each in processes(proc, namespace)), *PYTHONS] if namespace else [*PYTHONS]
    why = ""
    for python in dict.fromkeys(names):
        place = Container(found.engine, found.container, python, runner)
        try:
            place.run({"do": "inspect"})
        except PlaceError as error:
            why = why or str(error)
            continue
        return place
    raise PlaceError(
        f"no Python of the container {found.container} has Xinference. Name its prefix in repair_prefix. The first"
        f" answer was: {why}"
    )
