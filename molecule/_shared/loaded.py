# SPDX-License-Identifier: GPL-3.0-or-later
"""A load on a gateway or balancer while something changes, counted at the client."""

from __future__ import annotations

import contextlib
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

LOAD = (Path(__file__).parent / "load.py").read_text(encoding="utf-8")
CLIENTS = 2


@contextlib.contextmanager
def load(host: str, *place: str) -> Iterator[list[dict[str, Any]]]:
    """Clients that send requests until the end of the block, and retry nothing. The list is full after it.

    They run on this host. ``place`` is where they ask: base URL, and for a gateway the files of key and authority.
    """
    url, *files = place
    command = ["docker", "exec", "--interactive", host, "python3", "-c", LOAD]
    command += [url, str(CLIENTS), "0", "All is well.", *files]
    rows: list[dict[str, Any]] = []
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield rows
        finally:
            said, _none = process.communicate(timeout=600)
            rows += map(json.loads, said.splitlines())


def assert_none_lost(rows: list[dict[str, Any]]) -> None:
    print(f"{len(rows)} requests, the slowest took {max(row['seconds'] for row in rows):.1f} s")
    assert [row for row in rows if row["status"] != 200 or not row["sound"]] == []
    assert len(rows) > 10
