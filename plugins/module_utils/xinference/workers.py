# SPDX-License-Identifier: GPL-3.0-or-later
"""Show that each worker of a cluster speaks, although an answer does not say which worker gave it."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping
from typing import Callable

from ..host import direct

# Exported by each worker (Xinference's core/metrics.py); the second are among the first.
TOTAL, ERRORS = "xinference:model_request_total", "xinference:model_request_errors_total"
# Xinference sends requests to the replicas in turn, and other clients' requests take turns too.
ROUNDS = 4
METRICS_BYTES = 16 << 20
_LINE = re.compile(rf"^({TOTAL}|{ERRORS})(?:{{[^}}\n]*}})? ([0-9.eE+]{{1,40}})\s*$")


class WorkerSilent(Exception):
    """Workers answered no request, or their counters cannot be read; the text is a sentence for the operator."""


def answered(metrics: str) -> float:
    """Return from a worker's metrics how many requests it has answered well since its start."""
    counts = {TOTAL: 0.0, ERRORS: 0.0}
    for line in filter(None, map(_LINE.match, metrics.splitlines())):
        with contextlib.suppress(ValueError):
            counts[line[1]] += float(line[2])
    return counts[TOTAL] - counts[ERRORS]


def read_metrics(address: str, timeout: float = 10.0) -> str:
    """Return a worker's metrics from ``host:port``. Raises :class:`WorkerSilent`."""
    try:
        answer = direct.ask("GET", f"http://{address}/metrics", timeout, METRICS_BYTES)
    except direct.PeerError as error:
        raise WorkerSilent(f"the metrics of a worker at {address} cannot be read: it {error}") from None
    if not answer.good:
        raise WorkerSilent(f"the metrics of a worker at {address} cannot be read: it answered {answer.status}")
    return answer.data.decode("utf-8", "replace")


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
