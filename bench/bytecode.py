# SPDX-License-Identifier: GPL-3.0-or-later
"""Measure the byte code of an environment. Runs with the Python of that environment, and needs this
checkout as ``ansible_collections/voicefleet/kokoro`` on PYTHONPATH.

    bytecode.py cost SITE      what compiling all packages below SITE costs, and what each entry of the list saves
    bytecode.py loaded SITE    the skipped files that have byte code now

For ``loaded``, remove all folders ``__pycache__`` from a copy of the environment. Start the service on it with leave to
write byte code, and let it speak. Python then writes byte code for exactly the files that it loads.
"""

from __future__ import annotations

import gc
import marshal
import sys
import time
from collections import defaultdict
from importlib.util import cache_from_source
from pathlib import Path

from ansible_collections.voicefleet.kokoro.plugins.module_utils.release import bytecode


def entry_of(path: str) -> str:
    """The entry of the list that skips a file; "" for a file that is compiled."""
    if bytecode.is_wanted(path):
        return ""
    parts = path.split("/")
    above = ["/".join(parts[:count]) for count in range(1, len(parts))]
    return next((folder for folder in above if folder in bytecode.SKIPPED), f"*/{bytecode.TESTS}")


def cost(site: Path) -> None:
    """Compile every file in memory, and print the table."""
    gc.disable()
    table: dict[str, list[float]] = defaultdict(lambda: [0, 0, 0])
    for file in sorted(site.rglob("*.py")):
        started = time.process_time()
        try:
            size = len(marshal.dumps(compile(file.read_bytes(), file, "exec", dont_inherit=True)))
        except (OSError, SyntaxError, ValueError, RecursionError):
            size = 0
        for entry in ("all", entry_of(str(file.relative_to(site))) or "compiled"):
            for at, amount in enumerate((1, time.process_time() - started, size / 1e6)):
                table[entry][at] += amount
    print(f"{'':<32}{'files':>8}{'CPU s':>8}{'MB':>8}")
    for entry, (files, seconds, size) in sorted(table.items(), key=lambda row: -row[1][1]):
        print(f"{entry:<32}{files:>8}{seconds:>8.2f}{size:>8.1f}")


def loaded(site: Path) -> None:
    """Print the skipped files that a service loaded."""
    for file in sorted(site.rglob("*.py")):
        path = str(file.relative_to(site))
        if not bytecode.is_wanted(path) and Path(cache_from_source(str(file))).exists():
            print(path)


if __name__ == "__main__":
    {"cost": cost, "loaded": loaded}[sys.argv[1]](Path(sys.argv[2]))
