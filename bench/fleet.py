# SPDX-License-Identifier: GPL-3.0-or-later
"""Run deploy.yml to its phase preflight with several forks and strategies, and print what the controller takes.

Arguments: folder, playbooks, numbers of hosts, numbers of forks, and the hosts. bench/fleet starts it.

fleet.json holds `runs`: `hosts`, `strategy`, `forks`, `seconds`, `cpu` (seconds of the controller), `mb` (the most
memory of all its processes at one time, shared memory counted once), `failed` (hosts that failed); and `machine`. With
the strategy `free`, hosts do not wait for each other after each task. The playbook asks for `linear`, so a copy of it
with another strategy runs.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from memory import Watch
from targets import machine

STRATEGIES = ("linear", "free")


def playbooks(original: Path, folder: Path, strategy: str) -> Path:
    """Return a copy of the playbooks that has the strategy."""
    copy = folder / strategy
    shutil.copytree(original, copy, ignore=shutil.ignore_patterns("collections"))
    play = copy / "deploy.yml"
    text, count = re.subn(r"strategy: \S+", f"strategy: ansible.builtin.{strategy}", play.read_text(encoding="utf-8"))
    if not count:
        raise SystemExit("deploy.yml names no strategy.")
    play.write_text(text, encoding="utf-8")
    return play


def run(play: Path, inventory: Path, forks: int) -> dict[str, Any]:
    """Run a playbook once."""
    with tempfile.TemporaryDirectory() as sockets:
        begun = time.monotonic()
        running = subprocess.Popen(
            ["ansible-playbook", play.name, "-i", inventory, "--forks", str(forks), "--tags", "preflight",
             "-e", "voicefleet_canary=0", "-e", "voicefleet_serial=100%"],
            cwd=play.parent, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            env={**os.environ, "ANSIBLE_SSH_CONTROL_PATH_DIR": sockets, "ANSIBLE_NOCOLOR": "1"},
        )  # fmt: skip
        watch = Watch(running.pid)
        assert running.stdout
        said = running.stdout.read()
        _pid, status, used = os.wait4(running.pid, 0)
        running.returncode = os.waitstatus_to_exitcode(status)
        seconds = time.monotonic() - begun
        watch.ended.set()
        watch.join()
    recap = said.rpartition("PLAY RECAP")[2]
    failed = len(re.findall(r"(?:failed|unreachable)=[1-9]", recap))
    if running.returncode and not failed:
        raise SystemExit(f"{play} failed:\n{said}")
    return {
        "seconds": round(seconds, 1),
        "cpu": round(used.ru_utime + used.ru_stime, 1),
        "mb": round(watch.most),
        "failed": failed,
    }


def main() -> None:
    folder, original = map(Path, sys.argv[1:3])
    counts, forks = ([int(number) for number in given.split(",")] for given in sys.argv[3:5])
    hosts, found = sys.argv[5:], []
    print(f"{'hosts':>6}{'strategy':>10}{'forks':>7}{'s':>8}{'CPU s':>8}{'MB':>7}{'failed':>8}")
    with tempfile.TemporaryDirectory() as name:
        plays = {strategy: playbooks(original, Path(name), strategy) for strategy in STRATEGIES}
        for count in counts:
            group = {"hosts": dict.fromkeys(hosts[:count], {})}
            inventory = folder / f"fleet-{count}.json"
            inventory.write_text(json.dumps({"voicefleet": group}), encoding="utf-8")
            variables = folder / "group_vars" / "voicefleet.yml"
            variables.parent.mkdir(exist_ok=True)
            shutil.copy(folder / "fleet-vars.yml", variables)
            run(plays["linear"], inventory, max(forks))  # fills the caches of hosts and controller
            for strategy in STRATEGIES:
                for number in forks:
                    row = {"hosts": count, "strategy": strategy, "forks": number}
                    row |= run(plays[strategy], inventory, number)
                    found.append(row)
                    print(
                        f"{count:>6}{strategy:>10}{number:>7}{row['seconds']:>8.1f}{row['cpu']:>8.1f}{row['mb']:>7}"
                        f"{row['failed']:>8}",
                        flush=True,
                    )
    text = json.dumps({"runs": found, "machine": machine()}, indent=2)
    (folder / "fleet.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
