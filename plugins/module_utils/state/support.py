# SPDX-License-Identifier: GPL-3.0-or-later
"""Collect a host's texts for a support bundle: a fixed list, from which the host removes every secret.

No text is collected by pattern. Files with secrets are read only to know what to remove, and for names of variables.
When in doubt, a text is left out: a missing line is better than a leaked secret.
"""

from __future__ import annotations

import contextlib
import glob
import json
import os
import re
from typing import Any, Callable
from urllib.parse import unquote

from ..host import gpu_facts, layout, private_files, systemd_unit
from ..host.redaction import SHORTEST, Redactor, values
from ..release import ledger, release
from ..xinference import config as xinference_config

MOST_BYTES = 4 << 20  # of all texts of one host
FILE_BYTES = 1 << 20  # of one text, from its end
SAFE_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]{0,60}")

# The collection's files with secrets, in a folder of secrets and elsewhere.
_KEPT = (
    xinference_config.SECRETS_FILE,
    xinference_config.ENVIRONMENT_FILE,
    xinference_config.KEY_FILE,
    xinference_config.HEADER_FILE,
    xinference_config.APPLIED_FILE,
    xinference_config.CLUSTER_FILE,
    f"{xinference_config.KEYS_FOLDER}/*",
)
_FOLDERS = (layout.SECRETS, layout.CANDIDATE_SECRETS, layout.WORKER_SECRETS)
_WITH_ADDRESSES = (
    f"{layout.PROXY}/*",
    "/etc/environment",
    "/etc/environment.d/*voicefleet-proxy*",
    "/etc/apt/apt.conf.d/*voicefleet-proxy*",
    "/etc/dnf/dnf.conf",
    "/etc/profile.d/voicefleet-proxy.sh",
    "/etc/systemd/system.conf.d/*voicefleet-proxy*",
    f"{layout.UNIT_FOLDER}/*.d/*voicefleet-proxy*",
)
_QUOTED_VALUE = re.compile(r'"([^"\n]{1,4096})"')
_LOGIN = re.compile(r"://[^\s:@/]{0,256}:(\S{1,1024})@|(?m:^\s{0,8}proxy_password\s{0,8}=([^\n]{1,1024}))")


def _texts(root: str, *patterns: str) -> list[str]:
    """The files that match; what is missing or cannot be read is left out."""
    found = []
    for path in sorted({path for pattern in patterns for path in glob.glob(glob.escape(root) + pattern)}):
        with contextlib.suppress(OSError):
            found.append(private_files.end_of(path, FILE_BYTES, links=0))
    return found


def secrets_of(secrets_dir: str, root: str = "") -> list[str]:
    """Every secret of the collection on this host, longest first.

    They belong to the service, its candidate and worker, further clients, the gateway, the balancer and the proxy
    settings. ``root`` is put before all folders but ``secrets_dir``.
    """
    of_service = [f"{glob.escape(secrets_dir)}/{name}" for name in _KEPT]
    others = [f"{folder}/{name}" for folder in _FOLDERS for name in _KEPT]
    found = values(_texts("", *of_service) + _texts(root, *others, f"{layout.GATEWAY}/*.key"))
    for text in _texts(root, f"{layout.BALANCER}/keys.cfg"):
        found += _QUOTED_VALUE.findall(text)
    for text in _texts(root, *_WITH_ADDRESSES):
        for match in _LOGIN.finditer(text):
            password = (match[1] or match[2]).strip()
            found += [password, unquote(password)]
    return sorted({value for value in found if len(value) >= SHORTEST}, key=lambda value: (-len(value), value))


def collect(
    root: str, home: str, secrets_dir: str, unit: str, run: systemd_unit.Runner = systemd_unit.run
) -> dict[str, str]:
    """The texts of one host by name, at most 4 MiB in all. A text that cannot be read gives the reason instead."""
    paths = layout.Paths(root)
    current = release.current(paths)

    def command(*words: str) -> Callable[[], str]:
        return lambda: run(list(words), 30)[1]

    def versions() -> str:
        site = os.path.join(paths.current, "env", "lib")
        names = [
            name[: -len(".dist-info")].replace("-", " ", 1)
            for python in sorted(os.listdir(site))
            for name in sorted(os.listdir(os.path.join(site, python, "site-packages")))
            if name.endswith(".dist-info")
        ]
        return "\n".join(names)

    def sealed() -> str:
        contents: dict[str, Any] = dict(release.read(paths.release(current or "")) or {})
        contents.pop("artifacts", None)
        return json.dumps(contents, indent=2, sort_keys=True)

    def receipts() -> str:
        rows = [{k: v for k, v in row.items() if k != "artifacts"} for row in ledger.read(layout.RECEIPTS)[-50:]]
        return "\n".join(json.dumps(row, sort_keys=True) for row in rows)

    def environment() -> str:
        text = private_files.read_text(os.path.join(secrets_dir, xinference_config.ENVIRONMENT_FILE)) or ""
        return "\n".join(line.split("=", 1)[0] for line in text.splitlines() if "=" in line)

    def unit_files() -> str:
        ours = systemd_unit.Unit(unit)
        return "\n".join(
            f"# {path}\n{private_files.end_of(path, FILE_BYTES)}" for path in [ours.path, *ours.drop_ins()]
        )

    sources: dict[str, Callable[[], str]] = {
        "journal.txt": command("journalctl", "--unit", unit, "--lines", "5000", "--no-pager", "--output", "short-iso"),
        "kernel.txt": command(
            "journalctl", "--dmesg", "--boot", "--lines", "200", "--no-pager", "--output", "short-iso"
        ),
        "xinference.log": lambda: private_files.end_of(os.path.join(home, "logs", "xinference.log"), FILE_BYTES),
        "unit.txt": unit_files,
        "unit_state.txt": command("systemctl", "show", unit),
        "environment_names.txt": environment,
        "secrets_folder.txt": command("ls", "-ln", secrets_dir),
        "home_folder.txt": command("ls", "-ln", home),
        layout.RELEASE_FILE: sealed,
        "releases.txt": command("ls", "-l", root, paths.releases),
        "packages.txt": versions,
        layout.LEDGER_FILE: receipts,
        "os-release.txt": lambda: private_files.read_text("/etc/os-release") or "",
        "kernel_version.txt": command("uname", "-a"),
        "disks.txt": command("df", "-h"),
        "mounts.txt": lambda: private_files.read_text("/proc/mounts") or "",
        "memory.txt": lambda: private_files.read_text("/proc/meminfo") or "",
        "processes.txt": command("ps", "-eo", "pid,ppid,user,rss,etime,comm"),
        "ports.txt": command("ss", "-ltn"),
        # It hangs forever if a GPU has failed.
        "nvidia-smi.txt": lambda: gpu_facts.run(["nvidia-smi"], 30)[1],
    }
    redactor = Redactor(secrets_of(secrets_dir))
    collected: dict[str, str] = {}
    room = MOST_BYTES
    for name, read in sources.items():
        try:
            text = read()
        except (OSError, ValueError) as error:
            text = f"could not be read: {error}"
        # Cut first and drop the first line: half a secret would no longer be recognised.
        kept = text[-FILE_BYTES:]
        kept = kept if len(kept) == len(text) else kept.split("\n", 1)[-1]
        kept = redactor.text(kept)[:room] if room > 0 else ""
        room -= len(kept.encode())
        collected[name] = kept
    return collected
