# SPDX-License-Identifier: GPL-3.0-or-later
"""Collect a host's texts for a support bundle: a fixed list, from which the host removes every secret.

No text is collected by pattern. Files with secrets are read only to know what to remove, and for names of variables.
When in doubt, a text is left out: a missing line is better than a leaked secret.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Iterable, Sequence
from typing import Any, Callable
from urllib.parse import quote

from ..host import gpu_facts, layout, private_files, systemd_unit
from ..release import ledger, release
from ..xinference import config as xinference_config

MOST_BYTES = 4 << 20  # of all texts of one host
FILE_BYTES = 1 << 20  # of one text, from its end
SAFE_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]{0,60}")
HIDDEN = "[hidden]"
SHORTEST = 6  # characters; a shorter value would match parts of other words

_SHAPES = (
    re.compile(r"(?<=://)[^/\s:@]+(:[^/\s@]*)?(?=@)"),  # credentials in an address
    re.compile(r"(?i)(?<=bearer )\s*\S+"),
    re.compile(r"(?i)(?<=basic )[A-Za-z0-9+/=]{8,}"),
    re.compile(r"\bxf-[A-Za-z0-9]{16,}"),  # Xinference's API keys
    re.compile(r"\beyJ[\w-]+\.[\w-]+\.[\w-]*"),  # JSON web tokens
    re.compile(r"\$2[aby]\$\d\d\$[./A-Za-z0-9]{53}"),  # bcrypt
    re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL),
)
_ASSIGNED = re.compile(
    r"""(?ix)\b([\w.-]*(?:password|passwd|secret|token|api[_-]?key|auth[_-]?key|encryption[_-]?key|credential)[\w.-]*
    ["']?\s*[:=]\s*)("[^"]*"|'[^']*'|[^\s,;}"']+)"""
)


def values(texts: Iterable[str]) -> list[str]:
    """All values in JSON files, environment files and plain key files, longest first."""
    found: set[str] = set()
    for text in texts:
        with contextlib.suppress(ValueError):
            loaded = json.loads(text)
            if isinstance(loaded, dict):
                found.update(str(value) for value in loaded.values() if isinstance(value, str))
                continue
        for line in text.splitlines():
            name, sign, value = line.partition("=")
            found.update((value.strip().strip("\"'"), line.strip()) if sign and " " not in name else (line.strip(),))
    usable = {value for value in found if len(value) >= SHORTEST and not value.startswith("#")}
    return sorted(usable, key=lambda value: (-len(value), value))


def redact(text: str, secrets: Iterable[str]) -> str:
    """Remove known secrets, also percent-encoded or JSON-escaped, and everything that looks like one."""
    for secret in secrets:
        for form in (secret, quote(secret, safe=""), json.dumps(secret)[1:-1]):
            text = text.replace(form, HIDDEN)
    for shape in _SHAPES:
        text = shape.sub(HIDDEN, text)
    return _ASSIGNED.sub(lambda match: match[1] + HIDDEN, text)


def redact_all(value: Any, secrets: Sequence[str]) -> Any:
    """Apply :func:`redact` to all texts in lists and dicts."""
    if isinstance(value, str):
        return redact(value, secrets)
    if isinstance(value, dict):
        return {key: redact_all(item, secrets) for key, item in value.items()}
    return [redact_all(item, secrets) for item in value] if isinstance(value, list) else value


def end_of(path: str, most: int = FILE_BYTES) -> str:
    """The end of a file, starting with a whole line. Links are not followed. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    with os.fdopen(descriptor, "rb") as handle:
        size = handle.seek(0, os.SEEK_END)
        handle.seek(max(0, size - most))
        text = handle.read(most).decode("utf-8", "replace")
    return text if size <= most else text.split("\n", 1)[-1]


def secrets_of(secrets_dir: str) -> list[str]:
    """Every secret of the service on this host."""
    names = (
        xinference_config.SECRETS_FILE,
        xinference_config.ENVIRONMENT_FILE,
        xinference_config.KEY_FILE,
        xinference_config.APPLIED_FILE,
    )
    texts = []
    for name in names:
        with contextlib.suppress(OSError):
            texts.append(private_files.read_text(os.path.join(secrets_dir, name)) or "")
    return values(texts)


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
        return "\n".join(f"# {path}\n{end_of(path)}" for path in [ours.path, *ours.drop_ins()])

    sources: dict[str, Callable[[], str]] = {
        "journal.txt": command("journalctl", "--unit", unit, "--lines", "5000", "--no-pager", "--output", "short-iso"),
        "kernel.txt": command(
            "journalctl", "--dmesg", "--boot", "--lines", "200", "--no-pager", "--output", "short-iso"
        ),
        "xinference.log": lambda: end_of(os.path.join(home, "logs", "xinference.log")),
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
        # It hangs forever if a card has failed.
        "nvidia-smi.txt": lambda: gpu_facts.run(["nvidia-smi"], 30)[1],
    }
    secrets = secrets_of(secrets_dir)
    collected: dict[str, str] = {}
    room = MOST_BYTES
    for name, read in sources.items():
        try:
            text = read()
        except (OSError, ValueError) as error:
            text = f"could not be read: {error}"
        # Cut first and drop the first line: half a secret would no longer be recognised.
        kept = text[-FILE_BYTES:]
        kept = redact(kept if len(kept) == len(text) else kept.split("\n", 1)[-1], secrets)[: max(0, room)]
        room -= len(kept.encode())
        collected[name] = kept
    return collected
