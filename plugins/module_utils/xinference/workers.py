# SPDX-License-Identifier: GPL-3.0-or-later
"""Show that each worker of a cluster speaks, although an answer does not say which worker gave it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Callable

from ..host import direct

# Exported by each worker (Xinference's core/metrics.py); the second are among the first.
TOTAL, ERRORS = "xinference:model_request_total", "xinference:model_request_errors_total"
# Xinference sends requests to the replicas in turn, and other clients' requests take turns too.
ROUNDS = 4
_LINE = re.compile(r"^([A-Za-z_:][\w:]*)(?:\{[^}]*\})? ([0-9.eE+]+)\s*$", re.MULTILINE)


class WorkerSilent(Exception):
    """Workers answered no request, or their counters cannot be read; the text is a sentence for the operator."""


def answered(metrics: str) -> float:
    """Return from a worker's metrics how many requests it has answered well since its start."""
    counts = {TOTAL: 0.0, ERRORS: 0.0}
    for name, value in _LINE.findall(metrics):
        if name in counts:
            counts[name] += float(value)
    return counts[TOTAL] - counts[ERRORS]


def read_metrics(address: str, timeout: float = 10.0) -> str:
    """Return a worker's metrics from ``host:port``. Raises :class:`WorkerSilent`."""
    try:
        with direct.opener().open(f"http://{address}/metrics", timeout=timeout) as answer:
            data: bytes = answer.read(1 << 24)
    except (OSError, ValueError) as error:
        raise WorkerSilent(f"the metrics of a worker at {address} cannot be read: {error}") from None
    return data.decode("utf-8", "replace")


def hear_each(
    workers: Mapping[str, str], speak: Callable[[], object], read: Callable[[str], str] = read_metrics
) -> dict[str, int]:
    """Let ``speak`` make requests until each worker has answered one more; return how many each has answered.

    ``workers`` maps workers to the addresses of their metrics. Raises :class:`WorkerSilent` and what ``speak`` raises.
    """
    before = {worker: answered(read(metrics)) for worker, metrics in workers.items()}
    heard: dict[str, int] = {}
    for _turn in range(ROUNDS * len(workers)):
        speak()
        for worker in workers:
            if worker not in heard:
                now = answered(read(workers[worker]))
                if now > before[worker]:
                    heard[worker] = int(now - before[worker])
        if len(heard) == len(workers):
            return heard
    silent = ", ".join(worker for worker in workers if worker not in heard)
    raise WorkerSilent(
        f"the cluster answered {ROUNDS * len(workers)} requests, but the worker {silent} answered none of them,"
        " although its replica counts as READY. Read its journal and its logs/xinference.log"
    )
