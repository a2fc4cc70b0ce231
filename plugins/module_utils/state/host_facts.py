# SPDX-License-Identifier: GPL-3.0-or-later
"""Read what a deploy must know about a host. Nothing is changed."""

from __future__ import annotations

import contextlib
import os
import platform
import re
import shutil
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from ..host import disk, layout, ownership, packet_filter, selinux, systemd_unit
from ..host.private_files import read_if_possible as _read
from ..host.upstream import Upstream
from ..release import ledger, release

# Where Pythons are searched: the PATH of a root shell without profile, and where builds from source go.
PYTHON_FOLDERS = ("/usr/bin", "/usr/local/bin", "/opt/python/bin")
_PYTHON_NAME = re.compile(r"python3(\.\d+)?\Z")
# The level x86-64-v2, in the kernel's names. ``pni`` is SSE3.
_X86_64_V2 = {"cx16", "lahf_lm", "pni", "popcnt", "sse4_1", "sse4_2", "ssse3"}
_MOUNT_NOEXEC = 8  # ST_NOEXEC of statvfs(3)


def os_release(text: str) -> dict[str, str]:
    """Read the fields of os-release(5) that identify a platform. Missing fields are empty."""
    fields = dict(line.split("=", 1) for line in text.splitlines() if "=" in line and not line.startswith("#"))
    clean = {key: value.strip().strip("\"'") for key, value in fields.items()}
    return {name: clean.get(name.upper(), "") for name in ("id", "version_id", "pretty_name", "id_like")}


def missing_instructions(cpuinfo: str) -> list[str]:
    """What a processor lacks for x86-64-v2, from the text of /proc/cpuinfo. Empty if the text names no flags."""
    line = re.search(r"^flags\s*:(.*)", cpuinfo, re.MULTILINE)
    return sorted(_X86_64_V2 - set(line[1].split())) if line else []


def glibc() -> list[int]:
    """The version of glibc as ``[major, minor]``, or empty for another C library."""
    try:
        value = os.confstr("CS_GNU_LIBC_VERSION") or ""
    except (ValueError, OSError):
        return []
    match = re.match(r"glibc (\d+)\.(\d+)", value)
    return [int(match[1]), int(match[2])] if match else []


def pythons(folders: Sequence[str] = PYTHON_FOLDERS) -> list[dict[str, str]]:
    """Find CPython 3 in some folders: ``[{"path": str, "version": "3.11.2"}]``, each file once."""
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
    """The file system that a path is or will be on: free bytes, device number, and whether it is noexec."""
    parent = disk.existing_parent(path)
    status = os.statvfs(parent)
    return {
        "path": path,
        "free": status.f_bavail * status.f_frsize,
        "device": os.stat(parent).st_dev,
        "noexec": bool(status.f_flag & _MOUNT_NOEXEC),
    }


def memory(text: str) -> dict[str, int]:
    """Read total and available memory in bytes from the text of /proc/meminfo."""
    values = {m[1]: int(m[2]) * 1024 for m in re.finditer(r"^(\w+):\s+(\d+) kB", text, re.MULTILINE)}
    return {"total": values.get("MemTotal", 0), "available": values.get("MemAvailable", 0)}


def listeners(texts: Sequence[str]) -> list[int]:
    """Read the listening ports from the texts of /proc/net/tcp and tcp6."""
    ports = set()
    for text in texts:
        for line in text.splitlines()[1:]:
            columns = line.split()
            if len(columns) > 3 and columns[3] == "0A":
                ports.add(int(columns[1].rsplit(":", 1)[1], 16))
    return sorted(ports)


def addresses(trie: str) -> list[str]:
    """Read the host's IPv4 addresses from the text of /proc/net/fib_trie: each is above a ``host LOCAL``."""
    found = re.findall(r"\|-- (\d+\.\d+\.\d+\.\d+)\n\s+/32 host LOCAL", trie)
    return sorted(set(found))


def systemd(run: Any = subprocess.run) -> dict[str, Any]:
    """Whether systemd runs this host, its version (0 if unknown), and whether our unit is active."""
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
    """The sealed releases below the root, the current one, and how a plan describes that."""
    paths = layout.Paths(root)
    names = sorted(os.listdir(paths.releases)) if os.access(paths.releases, os.R_OK) else []
    complete = [name for name in names if release.read(paths.release(name)) is not None]
    former = release.former(paths)
    return {"complete": complete, "current": release.current(paths), "former": asdict(former) if former else None}


def last_gap(receipts: str = layout.RECEIPTS) -> float | None:
    """How many seconds the service did not answer during its last known restart; None if that cannot be read."""
    with contextlib.suppress(OSError):
        return ledger.gap(ledger.read(receipts))
    return None


def candidate_left(home: str, unit_folder: str = layout.UNIT_FOLDER) -> bool:
    """Whether a candidate of ours is left over from an interrupted upgrade."""
    folders = (layout.CANDIDATE_SECRETS, layout.candidate_home(home))
    unit = os.path.join(unit_folder, layout.CANDIDATE_UNIT)
    return os.path.lexists(unit) or any(ownership.is_ours(folder) for folder in folders)


def gather(root: str, home: str, places: Mapping[str, str] | None = None, user: str = "") -> dict[str, Any]:
    """All facts of a host, JSON-ready. Sizes are in bytes, ``time`` is in seconds since the epoch.

    ``places`` are folders by the variables that name them, ``user`` is the service's.
    """
    candidate = {"home": layout.candidate_home(home), "secrets": layout.CANDIDATE_SECRETS}
    return {
        "os": os_release(_read("/etc/os-release")),
        "architecture": platform.machine(),
        # Only processors of the family x86 have a line of flags.
        "missing_instructions": missing_instructions(_read("/proc/cpuinfo")),
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
        # Python sizes its thread pools by this, not by the affinity.
        "cpu_count": os.cpu_count() or 1,
        "addresses": addresses(_read("/proc/net/fib_trie")),
        "nft": packet_filter.find_nft(),
        "listeners": listeners([_read("/proc/net/tcp"), _read("/proc/net/tcp6")]),
        "systemd": systemd(),
        "releases": releases(root),
        "selinux": selinux.facts(layout.Paths(root).current),
        # fapolicyd(8) has this pipe while it runs.
        "fapolicyd": os.path.exists("/run/fapolicyd/fapolicyd.fifo"),
        "candidate_left": candidate_left(home),
        "gateway": Upstream(systemd_unit.Unit(layout.GATEWAY_UNIT)).facts(),
        "gap": last_gap(),
        "foreign": ownership.refusals(places or {}, user),
        "candidate_foreign": list(ownership.refusals(candidate).values()),
        "time": time.time(),
    }


def summary(facts: Mapping[str, Any]) -> str:
    """One line that describes the platform of the host."""
    versions = ", ".join(item["version"] for item in facts["pythons"]) or "none"
    name = facts["os"]["pretty_name"] or facts["os"]["id"] or "unknown system"
    return f"{name}, {facts['architecture']}, glibc {'.'.join(map(str, facts['glibc'])) or '?'}, Python {versions}"
