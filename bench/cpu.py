# SPDX-License-Identifier: GPL-3.0-or-later
"""Print the seconds of CPU that containers have taken so far, without those of the service in them.

Arguments: names of containers on this machine. Docker counts a container's whole CPU. The service runs all the time, as
its own user, so its processes tell theirs.
"""

from __future__ import annotations

import http.client
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

USER = "voicefleet"
SOCKET = "/var/run/docker.sock"


class Docker(http.client.HTTPConnection):
    """Docker's API at its socket."""

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(SOCKET)


def whole(name: str) -> float:
    """All CPU of a container."""
    docker = Docker("docker")
    docker.request("GET", f"/containers/{name}/stats?stream=false&one-shot=true")
    return float(json.load(docker.getresponse())["cpu_stats"]["cpu_usage"]["total_usage"]) / 1e9


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
