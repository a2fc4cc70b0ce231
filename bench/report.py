# SPDX-License-Identifier: GPL-3.0-or-later
"""Print what bench/phases measured, with the targets, and write it to phases.json.  Arguments: folder, host.

phases.json holds, in seconds: `floor`, `plain`, `fresh` and `unchanged` by phase, task or role, and their sums in
`seconds`. Beside them are `ratio`, `unchanged_tasks`, `unchanged_changed`, `machine` and `targets`
({name: {"got", "at_most", "met"}}).
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
    runs = {name: json.loads((folder / f"{name}.json").read_text()) for name in ("plain", "fresh", "unchanged")}
    plain, fresh, unchanged = runs.values()
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
        **{name: run["phases"] for name, run in runs.items()},
        "seconds": {"floor": bare, **{name: run["seconds"] for name, run in runs.items()}},
        "ratio": targets["fresh / floor"]["got"],
        "unchanged_tasks": host["ok"],
        "unchanged_changed": host["changed"],
        "targets": targets,
        "machine": machine(),
    }
    (folder / "phases.json").write_text(json.dumps(result, indent=2) + "\n")

    for title, phases, together in (
        ("floor, bare", floor, bare),
        ("plain copy and pip", plain["phases"], plain["seconds"]),
    ):
        print(f"\n{title:<26}{'s':>8}")
        for name, seconds in phases.items():
            print(f"  {name:<24}{seconds:>8.1f}")
        print(f"  {'together':<24}{together:>8.1f}")
    print(f"\n{'deploy.yml':<26}{'fresh s':>8}{'unchanged s':>13}")
    for name in fresh["phases"]:
        print(f"  {name:<24}{fresh['phases'][name]:>8.1f}{unchanged['phases'].get(name, 0.0):>13.1f}")
    print(f"  {'together':<24}{fresh['seconds']:>8.1f}{unchanged['seconds']:>13.1f}")
    show(targets)
    return missed(targets)


if __name__ == "__main__":
    sys.exit(main())
