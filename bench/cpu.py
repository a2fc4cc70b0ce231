# SPDX-License-Identifier: GPL-3.0-or-later
"""Print the seconds of CPU that containers have taken so far, without those of the service in them.

Arguments: names of containers on this machine. The kernel counts a container's whole CPU in its control group. The
service runs all the time, as its own user, so its processes tell theirs.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

USER = "voicefleet"
GROUPS = Path("/sys/fs/cgroup")


def whole(name: str) -> float:
    """All CPU of a container. Docker's own figure is 0 on hosts that mount both versions of control groups."""
    asked = subprocess.run(
        ["docker", "inspect", "--format", "{{.Id}} {{.State.Pid}}", name], capture_output=True, text=True, check=True
    )
    identity, pid = asked.stdout.split()
    for line in Path(f"/proc/{pid}/cgroup").read_text(encoding="utf-8").splitlines():
        _number, controllers, path = line.split(":", 2)
        # systemd in the container may have put its first process into a group below.
        group = path[: path.index(identity) + len(identity)].lstrip("/") if identity in path else ""
        if group and "cpuacct" in controllers.split(","):
            return int((GROUPS / "cpuacct" / group / "cpuacct.usage").read_text(encoding="utf-8")) / 1e9
        statistics = GROUPS / group / "cpu.stat"
        if group and not controllers and statistics.exists():
            values = dict(line.split() for line in statistics.read_text(encoding="utf-8").splitlines())
            return int(values["usage_usec"]) / 1e6
    raise SystemExit(f"bench/cpu.py finds no control group that counts the CPU of {name}.")


def of_process(pid: str) -> float:
    """The CPU of a process and of its children that have ended."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")


def of_service(name: str) -> float:
    """The CPU of the service's processes."""
    user = subprocess.run(["docker", "exec", name, "id", "-u", USER], capture_output=True, text=True, check=True)
    listed = subprocess.run(["docker", "top", name, "-eo", "uid,pid"], capture_output=True, text=True, check=True)
    rows = [line.split() for line in listed.stdout.splitlines()[1:]]
    return sum(of_process(pid) for uid, pid in rows if uid == user.stdout.strip())


if __name__ == "__main__":
    print(round(sum(whole(name) - of_service(name) for name in sys.argv[1:]), 2))
