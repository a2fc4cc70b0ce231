# SPDX-License-Identifier: GPL-3.0-or-later
"""Resolve the committed locks anew with uv and show what changed. Run by ``bin/refresh-locks``."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import urllib.parse
from dataclasses import replace
from pathlib import Path

from ansible_collections.voicefleet.kokoro.plugins.module_utils.hashing import sha256_file
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils import locks
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.profiles import Profile, parse_profile

LOCKS = Path(__file__).resolve().parent.parent / "roles" / "artifact_store" / "files" / "locks"
TORCH_INDEX = {"cpu": "https://download.pytorch.org/whl/cpu"}


def resolve(profile: Profile, uv: str) -> str:
    """uv's answer for one profile, as PEP 751 TOML with every file of every package."""
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "pylock.toml"
        command = [
            uv, "pip", "compile", "--quiet", "--no-config", "--no-header", "--format", "pylock.toml",
            "--python-version", profile.python, "--python-platform", profile.uv_platform,
            "--override", str(LOCKS / f"overrides.{profile.accelerator}.txt"),
            "--output-file", str(output), str(LOCKS / "requirements.in"),
        ]  # fmt: skip
        environment = dict(os.environ)
        # uv does not read pip's variable; a folder of CPU builds named there serves both.
        if "PIP_FIND_LINKS" in environment:
            environment.setdefault("UV_FIND_LINKS", environment["PIP_FIND_LINKS"])
        subprocess.run(command, check=True, env=environment)
        return output.read_text(encoding="utf-8")


def published(package: locks.LockedPackage, profile: Profile) -> locks.LockedPackage:
    """The package with its public address, where uv found it in a local folder; sizes filled in."""
    if not package.location.startswith("file://"):
        return package
    local = Path(urllib.parse.unquote(urllib.parse.urlsplit(package.location).path))
    if sha256_file(str(local)) != package.sha256:
        raise SystemExit(f"{local} does not have the hash that uv recorded")
    address = f"{TORCH_INDEX[profile.accelerator]}/{urllib.parse.quote(package.filename)}"
    return replace(package, location=address, size=local.stat().st_size)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--uv", default="uv")
    parser.add_argument("--check", action="store_true", help="change nothing; exit status 1 if a lock would change")
    parser.add_argument("profiles", nargs="*", default=["cpu-py311-x86_64"])
    arguments = parser.parse_args()
    stale = False
    for name in arguments.profiles:
        profile = parse_profile(name)
        path = LOCKS / Path(profile.lock_path).name
        fresh = locks.parse_lock(resolve(profile, arguments.uv), "uv's answer", profile)
        fresh = locks.Lock(fresh.requires_python, tuple(published(p, profile) for p in fresh.packages))
        before = locks.read_lock(path) if path.exists() else None
        changes = locks.differences(before, fresh)
        print(f"{profile.name}: {len(fresh.packages)} packages, {len(changes)} changed")
        for line in changes:
            print(f"  {line}")
        stale = stale or bool(changes)
        if not arguments.check:
            path.write_text(locks.render_lock(fresh, profile), encoding="utf-8")
    return 1 if arguments.check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
