# SPDX-License-Identifier: GPL-3.0-or-later
"""What a deploy must know of a host, read in one go and changing nothing."""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from ..host import disk, layout, packet_filter, selinux
from ..release import release

# Where interpreters are looked for: PATH of a root shell without profile, and where builds from source go.
PYTHON_FOLDERS = ("/usr/bin", "/usr/local/bin", "/opt/python/bin")
_PYTHON_NAME = re.compile(r"python3(\.\d+)?\Z")
_MOUNT_NOEXEC = 8  # ST_NOEXEC of statvfs(3)


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as handle:
            return handle.read()
    except OSError:
        return ""


def os_release(text: str) -> dict[str, str]:
    """The fields of os-release(5) that tell a platform, unquoted; empty strings where absent."""
    fields = dict(line.split("=", 1) for line in text.splitlines() if "=" in line and not line.startswith("#"))
    clean = {key: value.strip().strip("\"'") for key, value in fields.items()}
    return {name: clean.get(name.upper(), "") for name in ("id", "version_id", "pretty_name", "id_like")}


def glibc() -> list[int]:
    """glibc's version as ``[major, minor]``, empty on another C library."""
    try:
        value = os.confstr("CS_GNU_LIBC_VERSION") or ""
    except (ValueError, OSError):
        return []
    match = re.match(r"glibc (\d+)\.(\d+)", value)
    return [int(match[1]), int(match[2])] if match else []


def pythons(folders: Sequence[str] = PYTHON_FOLDERS) -> list[dict[str, str]]:
    """Interpreters of CPython 3 found in some folders: ``[{"path": str, "version": "3.11.2"}]``, each file once."""
    found: dict[str, dict[str, str]] = {}
    for folder in folders:
        try:
            names = sorted(name for name in os.listdir(folder) if _PYTHON_NAME.match(name))
        except OSError:
            continue
        for name in names:
            path = os.path.join(folder, name)
            real = os.path.realpath(path)
            if real in found or not os.access(path, os.X_OK):
                continue
            try:
                done = subprocess.run(
                    [path, "-I", "-c", "import platform; print(platform.python_version())"],
                    capture_output=True,
                    text=True,
                    timeout=20,
                    check=False,
                )
            except (OSError, subprocess.TimeoutExpired):
                continue
            if done.returncode == 0:
                found[real] = {"path": real, "version": done.stdout.strip()}
    return sorted(found.values(), key=lambda item: item["path"])


def filesystem(path: str) -> dict[str, Any]:
    """The file system that a path is or will be on: free bytes, device number, whether programs may run from it."""
    parent = disk.existing_parent(path)
    status = os.statvfs(parent)
    return {
        "path": path,
        "free": status.f_bavail * status.f_frsize,
        "device": os.stat(parent).st_dev,
        "noexec": bool(status.f_flag & _MOUNT_NOEXEC),
    }


def memory(text: str) -> dict[str, int]:
    """Total and available memory in bytes, of /proc/meminfo's text."""
    values = {m[1]: int(m[2]) * 1024 for m in re.finditer(r"^(\w+):\s+(\d+) kB", text, re.MULTILINE)}
    return {"total": values.get("MemTotal", 0), "available": values.get("MemAvailable", 0)}


def listeners(texts: Sequence[str]) -> list[int]:
    """Ports on which something listens, of the texts of /proc/net/tcp and tcp6."""
    ports = set()
    for text in texts:
        for line in text.splitlines()[1:]:
            columns = line.split()
            if len(columns) > 3 and columns[3] == "0A":
                ports.add(int(columns[1].rsplit(":", 1)[1], 16))
    return sorted(ports)


def addresses(trie: str) -> list[str]:
    """The host's own IPv4 addresses, of /proc/net/fib_trie's text, where each stands above its ``host LOCAL``."""
    found = re.findall(r"\|-- (\d+\.\d+\.\d+\.\d+)\n\s+/32 host LOCAL", trie)
    return sorted(set(found))


def systemd(run: Any = subprocess.run) -> dict[str, Any]:
    """Whether systemd runs this host, its version (0 where unknown), and whether our unit is active."""
    facts: dict[str, Any] = {"running": os.path.isdir("/run/systemd/system"), "version": 0, "service_active": False}
    if shutil.which("systemctl") is None:
        return facts
    try:
        done = run(["systemctl", "--version"], capture_output=True, text=True, timeout=20, check=False)
        match = re.match(r"systemd (\d+)", done.stdout)
        facts["version"] = int(match[1]) if match else 0
        if facts["running"]:
            command = ["systemctl", "is-active", "--quiet", layout.UNIT]
            facts["service_active"] = run(command, timeout=20, check=False).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        pass
    return facts


def releases(root: str) -> dict[str, Any]:
    """Releases under the root that were finished, the one that ``current`` points to, and what a plan says of it."""
    paths = layout.Paths(root)
    complete = []
    try:
        names = sorted(os.listdir(paths.releases))
    except OSError:
        names = []
    for name in names:
        try:
            with open(os.path.join(paths.releases, name, layout.RELEASE_FILE), encoding="utf-8") as handle:
                if json.load(handle).get("id") == name:
                    complete.append(name)
        except (OSError, ValueError, AttributeError):
            continue
    try:
        current = os.path.basename(os.readlink(paths.current))
    except OSError:
        current = None
    former = release.former(paths)
    return {"complete": complete, "current": current, "former": asdict(former) if former else None}


def candidate_left(home: str, unit_folder: str = layout.UNIT_FOLDER) -> bool:
    """Whether something of a candidate is there, as a run leaves it that was cut off in an upgrade."""
    places = (os.path.join(unit_folder, layout.CANDIDATE_UNIT), layout.CANDIDATE_SECRETS, layout.candidate_home(home))
    return any(os.path.lexists(place) for place in places)


def gather(root: str, home: str) -> dict[str, Any]:
    """All facts of a host, JSON-ready. Sizes are bytes, ``time`` is seconds since the epoch."""
    return {
        "os": os_release(_read("/etc/os-release")),
        "architecture": platform.machine(),
        "kernel": platform.release(),
        "glibc": glibc(),
        "root_user": os.geteuid() == 0,
        "pythons": pythons(),
        "filesystems": {
            "root": filesystem(root),
            "home": filesystem(home),
            "tmp": filesystem(os.environ.get("TMPDIR", "/tmp")),
        },
        "memory": memory(_read("/proc/meminfo")),
        "cpus": len(os.sched_getaffinity(0)),
        # What Python sizes its thread pools by, whatever the affinity.
        "cpu_count": os.cpu_count() or 1,
        "addresses": addresses(_read("/proc/net/fib_trie")),
        "nft": packet_filter.find_nft(),
        "listeners": listeners([_read("/proc/net/tcp"), _read("/proc/net/tcp6")]),
        "systemd": systemd(),
        "releases": releases(root),
        "selinux": selinux.facts(layout.Paths(root).current),
        "candidate_left": candidate_left(home),
        "time": time.time(),
    }


def summary(facts: Mapping[str, Any]) -> str:
    """One line that names the host's platform."""
    versions = ", ".join(item["version"] for item in facts["pythons"]) or "none"
    name = facts["os"]["pretty_name"] or facts["os"]["id"] or "unknown system"
    return f"{name}, {facts['architecture']}, glibc {'.'.join(map(str, facts['glibc'])) or '?'}, Python {versions}"
