# SPDX-License-Identifier: GPL-3.0-or-later
"""What the benchmarks share: compare figures with targets, and describe the machine."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any


def machine() -> dict[str, Any]:
    return {"cores": os.cpu_count(), "load_average": round(os.getloadavg()[0], 2)}


def judge(figures: Mapping[str, tuple[float, float]]) -> dict[str, dict[str, Any]]:
    """Targets for the JSON, from figures and their limits."""
    return {name: {"got": got, "at_most": limit, "met": got <= limit} for name, (got, limit) in figures.items()}


def missed(targets: Mapping[str, dict[str, Any]]) -> int:
    """The exit status: 1 if a target is missed."""
    return 0 if all(target["met"] for target in targets.values()) else 1


def show(targets: Mapping[str, dict[str, Any]]) -> None:
    """Print the table of targets."""
    print(f"\n{'target':<46}{'got':>8}{'at most':>9}")
    for name, target in targets.items():
        print(f"  {name:<44}{target['got']:>8}{target['at_most']:>9}  {'met' if target['met'] else 'MISSED'}")
