# SPDX-License-Identifier: GPL-3.0-or-later
"""Watch the memory of a process and of all that it starts."""

from __future__ import annotations

import re
import threading
from pathlib import Path

LOOK_SECONDS = 1.0


def family(first: int) -> list[int]:
    """Return a process and its descendants."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text(encoding="utf-8").rpartition(")")[2].split()
            except OSError:
                continue
            children.setdefault(int(fields[1]), []).append(int(entry.name))
    found = [first]
    for each in found:
        found += children.get(each, [])
    return found


def megabytes(processes: list[int]) -> float:
    """Return the memory of processes in MB. What several share is divided among them."""
    kilobytes = 0
    for process in processes:
        try:
            rollup = Path(f"/proc/{process}/smaps_rollup").read_text(encoding="utf-8")
        except OSError:
            continue
        kilobytes += int(re.search(r"^Pss:\s+(\d+)", rollup, re.MULTILINE)[1])  # type: ignore[index]
    return kilobytes * 1024 / 1e6


class Watch(threading.Thread):
    """Looks at the memory of a process and its descendants until it ends."""

    def __init__(self, process: int) -> None:
        super().__init__(daemon=True)
        self.process, self.most, self.ended = process, 0.0, threading.Event()
        self.start()

    def run(self) -> None:
        while not self.ended.wait(LOOK_SECONDS):
            self.most = max(self.most, megabytes(family(self.process)))
