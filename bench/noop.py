# SPDX-License-Identifier: GPL-3.0-or-later
"""Print what bench/noop measured, with the targets, and write it to noop.json.  Arguments: folder, numbers of hosts.

noop.json holds, by number of hosts: `seconds` of the quicker run and of `all_runs`, `tasks` (the most that a host
executed), `changed` (of all hosts), `longest` ([[seconds, task], ...]) and `cpu` (seconds of `controller` and `hosts`
in the run that took less); beside them `targets` ({name: {"got", "at_most", "met"}}) and `machine`.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from targets import judge, machine, missed, show

# The targets on two cores. CPU is that of controller and host together, for one host.
SECONDS = {1: 12.0, 8: 30.0}
CPU = 8.7
TASKS = 12


def cpu(path: Path) -> dict[str, float]:
    """The seconds of CPU of one run, without those of the service."""
    user, system, before, after = map(float, path.read_text().split()[-4:])
    return {"controller": round(user + system, 1), "hosts": round(after - before, 1)}


def read(folder: Path, count: int) -> dict[str, Any]:
    """One size of fleet. Raises OSError if it was not measured."""
    runs = [json.loads((folder / f"noop-{count}.{run}.json").read_text()) for run in (1, 2)]
    best = min(runs, key=lambda run: float(run["seconds"]))
    hosts = best["hosts"].values()
    return {
        "seconds": best["seconds"],
        "all_runs": [run["seconds"] for run in runs],
        "tasks": max(host["ok"] for host in hosts),
        "changed": max(sum(host["changed"] for host in run["hosts"].values()) for run in runs),
        "hosts": len(hosts),
        "longest": sorted(best["tasks"], reverse=True)[:5],
        "cpu": min((cpu(folder / f"noop-{count}.{run}.cpu") for run in (1, 2)), key=lambda each: sum(each.values())),
    }


def main() -> int:
    folder, counts = Path(sys.argv[1]), [int(count) for count in sys.argv[2:]]
    sizes = {count: read(folder, count) for count in counts}
    figures: dict[str, tuple[float, float]] = {}
    for count, size in sizes.items():
        for name, value, limit in (
            ("seconds", size["seconds"], SECONDS[count]),
            *([("seconds of CPU", round(sum(size["cpu"].values()), 1), CPU)] if count == 1 else []),
            ("tasks per host", size["tasks"], TASKS),
            ("tasks that changed something", size["changed"], 0),
            ("hosts that were left out", count - size["hosts"], 0),
        ):
            hosts = "1 host" if count == 1 else f"{count} hosts"
            figures[f"{hosts}, {name}"] = (value, limit)
    targets = judge(figures)
    result = {
        "unchanged": sizes,
        "targets": targets,
        "machine": machine(),
    }
    (folder / "noop.json").write_text(json.dumps(result, indent=2) + "\n")

    print(f"\n{'unchanged run over SSH':<30}{'hosts':>7}{'s':>8}{'tasks':>8}{'CPU s: controller':>20}{'hosts':>8}")
    for count, size in sizes.items():
        used = f"{size['cpu']['controller']:>20.1f}{size['cpu']['hosts']:>8.1f}"
        print(f"  {'deploy.yml':<28}{count:>7}{size['seconds']:>8.1f}{size['tasks']:>8}{used}")
        for seconds, task in size["longest"]:
            print(f"    {task[:60]:<60}{seconds:>5.1f}")
    show(targets)
    return missed(targets)


if __name__ == "__main__":
    sys.exit(main())
