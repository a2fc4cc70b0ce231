# SPDX-License-Identifier: GPL-3.0-or-later
"""Print what bench/phases measured, with the targets, and write it to phases.json.  Arguments: folder, host.

phases.json holds, in seconds: `floor`, `fresh` and `unchanged` by phase or role, their sums in `seconds`; beside them
`ratio`, `unchanged_tasks`, `unchanged_changed`, `targets` ({name: {"got", "at_most", "met"}}) and `machine`.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from targets import judge, machine, missed, show

# Targets: a fresh deploy divided by its floor, and an unchanged run on one host.
RATIO, SECONDS, TASKS = 1.10, 12.0, 12


def main() -> int:
    folder = Path(sys.argv[1])
    floor = {name: float(seconds) for name, seconds in map(str.split, (folder / "floor.txt").read_text().splitlines())}
    fresh, unchanged = (json.loads((folder / f"{name}.json").read_text()) for name in ("fresh", "unchanged"))
    host = unchanged["hosts"][sys.argv[2]]
    bare = round(sum(floor.values()), 2)
    targets = judge(
        {
            "fresh / floor": (round(fresh["seconds"] / bare, 2), RATIO),
            "unchanged run, seconds": (unchanged["seconds"], SECONDS),
            "unchanged run, tasks executed": (host["ok"], TASKS),
            "unchanged run, tasks that changed something": (host["changed"], 0),
        }
    )
    result: dict[str, Any] = {
        "floor": floor,
        "fresh": fresh["phases"],
        "unchanged": unchanged["phases"],
        "seconds": {"floor": bare, "fresh": fresh["seconds"], "unchanged": unchanged["seconds"]},
        "ratio": targets["fresh / floor"]["got"],
        "unchanged_tasks": host["ok"],
        "unchanged_changed": host["changed"],
        "targets": targets,
        "machine": machine(),
    }
    (folder / "phases.json").write_text(json.dumps(result, indent=2) + "\n")

    print(f"\n{'floor, bare':<24}{'s':>8}")
    for name, seconds in floor.items():
        print(f"  {name:<22}{seconds:>8.1f}")
    print(f"  {'together':<22}{bare:>8.1f}\n")
    print(f"{'deploy.yml':<24}{'fresh s':>8}{'unchanged s':>13}")
    for name in fresh["phases"]:
        print(f"  {name:<22}{fresh['phases'][name]:>8.1f}{unchanged['phases'].get(name, 0.0):>13.1f}")
    print(f"  {'together':<22}{fresh['seconds']:>8.1f}{unchanged['seconds']:>13.1f}")
    show(targets)
    return missed(targets)


if __name__ == "__main__":
    sys.exit(main())
