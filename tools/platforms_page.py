# SPDX-License-Identifier: GPL-3.0-or-later
"""Write docs/platforms.md from the platforms' data and the scenarios; ``bin/refresh pages`` calls this."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.fleet import platforms

ROOT = Path(__file__).resolve().parent.parent
# The image of a scenario that names none: molecule/_shared/create.yml.
DEFAULT = ("debian", "12")
IMAGE = re.compile(r"\bimage: ([a-z]+)(\d+)\b")

HEAD = """# Platforms

What was run on which platform, and what was not. `bin/refresh` writes this page from the list of platforms and from the
scenarios in `molecule/`. The hosts of the scenarios are containers with systemd on x86_64.

## Hosts

| platform | glibc | Python | run | not run |
| --- | --- | --- | --- | --- |
"""
UNTRIED = "nothing on a real host. Unit tests judge facts that such a system reports"
REST = """
## Everything else

| what | run | not run |
| --- | --- | --- |
| x86_64 | all scenarios | |
| aarch64 | the locks are resolved and each wheel's tags are checked | a deploy |
| NVIDIA GPUs | unit tests with recorded facts. [GPUs](gpu.md) says what ran on a card | a deploy to a host with a GPU |
| SELinux in enforcing mode | unit tests with recorded facts | a deploy |
| firewalld | | a deploy. Scenarios use nftables |
| FIPS mode, fapolicyd | unit tests with recorded facts; keys of ecdsa and rsa sign a store | a deploy |
| a cluster on several machines | a cluster of containers on one machine | several machines |
| a network between controller and hosts | SSH and rsync between containers | a real network |

## Controllers

`bin/compatibility` runs ansible-test and a syntax check of the installed playbooks with each of these. On 2026-11-29,
the syntax check passed with all of them, and the sanity tests with the oldest one. The scenario `controller` deploys
with the oldest one and with the newest one that is no candidate.

| ansible-core | Pythons |
| --- | --- |
"""


def scenarios() -> dict[str, set[str]]:
    """The scenarios by the name and version of a platform, such as ``debian 12``."""
    found: dict[str, set[str]] = {}
    for path in sorted((ROOT / "molecule").glob("*/molecule.yml")):
        for name, version in IMAGE.findall(path.read_text(encoding="utf-8")) or [DEFAULT]:
            found.setdefault(f"{name} {version}", set()).add(path.parent.name)
    return found


def _hosts() -> Iterable[str]:
    run = scenarios()
    default = " ".join(DEFAULT)
    for platform in platforms.PLATFORMS:
        name = f"{platform.ids[0]} {platform.version}"
        own = sorted(run.get(name, ()))
        cells = [platform.title, ".".join(map(str, platform.glibc)), platform.python]
        # A new scenario with the default image does not change the page.
        if name == default:
            others = sorted(set().union(*run.values()) - set(own))
            cells += [f"all scenarios but {', '.join(others)}", ""]
        elif own:
            cells += [f"the scenarios {', '.join(own)}", "all others"]
        else:
            cells += [UNTRIED, "all scenarios"]
        yield f"| {' | '.join(cells)} |\n"


def _controllers() -> Iterable[str]:
    for line in (ROOT / "requirements/ansible-core.txt").read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            version, *pythons = line.split()
            yield f"| {version} | {', '.join(pythons)} |\n"


def page() -> str:
    """Return the text of the page."""
    return "".join([HEAD, *_hosts(), REST, *_controllers()])


if __name__ == "__main__":
    print(page(), end="")
