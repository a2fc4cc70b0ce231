# SPDX-License-Identifier: GPL-3.0-or-later
"""How fast an endpoint speaks, one request at a time and several at once, and whether it uses a GPU."""

from __future__ import annotations

import csv
import math
import threading
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Callable

from . import audio
from .acoustics import Finding
from .speech import Reply, SpeechError
from .terms import MEASURES

LEVEL = "performance"
# A limit applies to the 95th percentile of single requests; this prefix makes it apply to parallel requests.
PARALLEL = "parallel_"
LIMITS = (*MEASURES, *(PARALLEL + name for name in MEASURES))
# A series starts no further request after this many seconds, because a CPU needs seconds for each.
SERIES_SECONDS = 60.0

Ask = Callable[[str], Reply]


@dataclass(frozen=True)
class Load:
    """What to request and which limits apply: `requests` per series, `parallel` at once in the second series."""

    requests: int = 10
    parallel: int = 4
    limits: Mapping[str, float] = field(default_factory=dict)

    def faults(self) -> list[str]:
        """Return what is wrong with the settings, in sentences."""
        found = []
        if not 1 <= self.requests <= 1000:
            found.append(f"synthesis_requests is {self.requests}; it must be 1 to 1000.")
        if not 1 <= self.parallel <= 256:
            found.append(f"synthesis_parallel is {self.parallel}; it must be 1 to 256.")
        for name, value in self.limits.items():
            if name not in LIMITS:
                found.append(f"synthesis_limits: there is no limit {name!r}. Known limits: {', '.join(LIMITS)}.")
            elif not value > 0 or math.isinf(value):
                found.append(f"synthesis_limits: {name} is {value}; it must be a number above 0.")
        return found


def percentile(values: Sequence[float], share: float) -> float:
    """Return the nearest-rank percentile: the smallest value that at least this share (0..1) of all does not exceed."""
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]


@dataclass
class Series:
    """A series of requests: its numbers by name of the measure, and its errors."""

    at_once: int
    sent: int = 0
    values: dict[str, list[float]] = field(default_factory=lambda: {name: [] for name in MEASURES})
    errors: list[str] = field(default_factory=list)

    @property
    def requests(self) -> int:
        return len(self.values["latency"])

    @property
    def missing(self) -> int:
        """Return how many requests have neither an answer nor an error; never below 1 if nothing was measured."""
        known = self.requests + len(self.errors)
        return self.sent - known if known else max(1, self.sent)

    def add(self, reply: Reply) -> None:
        """Raises AudioError if the answer is not a sound file."""
        stream = audio.inspect(reply.data)
        if not stream.complete or stream.seconds <= 0:
            raise audio.AudioError(f"The answer is not complete: {stream.note or 'it has no length'}.")
        self.values["first_byte"].append(reply.first_byte_seconds)
        self.values["latency"].append(reply.seconds)
        self.values["real_time_factor"].append(reply.seconds / stream.seconds)

    def summary(self) -> dict[str, Any]:
        """``{first_byte: {p50, p95}, latency: ..., real_time_factor: ..., requests: n, errors: n}``."""
        numbers = {
            name: {"p50": round(percentile(values, 0.5), 4), "p95": round(percentile(values, 0.95), 4)}
            for name, values in self.values.items()
            if values
        }
        return {**numbers, "requests": self.requests, "errors": len(self.errors)}


def measure(ask: Ask, voices: Sequence[str], requests: int, at_once: int, seconds: float = SERIES_SECONDS) -> Series:
    """Request every voice in turn, `at_once` in parallel: `requests` in all, or as many as start within `seconds`.

    Complete at least one round. The first error that affects all requests ends the series.
    """
    series, lock = Series(at_once), threading.Lock()
    waiting = [voices[number % len(voices)] for number in range(max(requests, at_once))][::-1]
    end = time.monotonic() + seconds

    def work() -> None:
        while True:
            with lock:
                if not waiting or series.errors or (series.sent >= at_once and time.monotonic() > end):
                    return
                voice = waiting.pop()
                series.sent += 1
            try:
                reply = ask(voice)
                with lock:
                    series.add(reply)
            except Exception as error:  # a thread that dies would take its request out of the count
                known = isinstance(error, (SpeechError, audio.AudioError))
                with lock:
                    series.errors.append(str(error) if known else f"{type(error).__name__}: {error}")

    threads = [threading.Thread(target=work, daemon=True) for _each in range(at_once)]
    started = []
    try:
        for thread in threads:
            thread.start()
            started.append(thread)
    except RuntimeError as error:  # the host has no room for more threads
        series.errors.append(f"{at_once} requests at once are not possible: {error}")
    for thread in started:
        thread.join()
    return series


def prove(ask: Ask, voices: Sequence[str], load: Load) -> tuple[dict[str, Any], list[Finding]]:
    """Measure after a warm-up. Return the numbers, ``{parallel: {"1": ..., "N": ...}, limits}``, and the findings."""
    numbers: dict[str, Any] = {"parallel": {}, "limits": dict(load.limits)}
    findings: list[Finding] = []
    warm_up = measure(ask, voices, len(set(voices)), 1)
    if warm_up.errors or warm_up.missing:
        said = f"The speed was not measured because the warm-up failed: {_fault(warm_up)}"
        return numbers, [Finding("answers", LEVEL, False, None, "every request answered", said)]
    for at_once in dict.fromkeys((1, load.parallel)):
        series = measure(ask, voices, load.requests, at_once)
        numbers["parallel"][str(at_once)] = series.summary()
        findings += judge(series, load.limits)
        if series.errors or series.missing:
            break
    return numbers, findings


def judge(series: Series, limits: Mapping[str, float]) -> list[Finding]:
    """Return a finding for the answers and one for each measure. A measure without a limit is reported and good."""
    at_once = f"{series.at_once} at once" if series.at_once > 1 else "one at a time"
    found = []
    failed = len(series.errors) + series.missing
    if failed:
        said = f"{failed} of {max(series.sent, failed)} requests, {at_once}, failed: {_fault(series)}"
        found.append(Finding("answers", LEVEL, False, failed, "0", said))
    for name, words in MEASURES.items():
        values = series.values[name]
        if not values:
            continue
        middle, high = percentile(values, 0.5), percentile(values, 0.95)
        key = (PARALLEL if series.at_once > 1 else "") + name
        limit = limits.get(key)
        unit = "" if name == "real_time_factor" else " s"
        said = f"Requests {at_once}: {words} {middle:.2f}{unit} in the middle, {high:.2f}{unit} for 95 of 100"
        ok = limit is None or high <= limit
        said += "." if limit is None else f"; {'within' if ok else 'over'} the limit of {limit:g}{unit} ({key})."
        found.append(Finding(key, LEVEL, ok, round(high, 4), "none" if limit is None else f"{limit:g}{unit}", said))
    return found


def _fault(series: Series) -> str:
    return series.errors[0] if series.errors else "there is no answer and no error"


def gpu_finding(
    expected: bool | None,
    processes: Collection[int],
    apps: str | None,
    cards: str | None = None,
    configured: Sequence[int] | None = None,
    contained: bool = False,
) -> Finding:
    """Check that the service's processes hold memory on the configured GPU.

    `apps` is the output of ``nvidia-smi --query-compute-apps=gpu_uuid,pid,used_memory --format=csv,noheader,nounits``.
    `cards` is that of ``--query-gpu=index,uuid``. Each is None if the query is not possible. `configured` lists the
    indexes of the configured GPUs; None means any. In a container, nvidia-smi does not name processes.
    """

    def finding(ok: bool | None, value: str | None, said: str) -> Finding:
        return Finding("gpu", LEVEL, ok, value, "the model's process holds memory on the configured GPU", said)

    if expected is None:
        return finding(None, None, "It is not known whether a GPU should do the work: no release names its profile.")
    if not expected:
        return finding(True, "cpu", "The release is for CPUs, so no GPU is expected.")
    if apps is None:
        return finding(None, None, "It is not known whether the GPU does the work: nvidia-smi gives no answer.")
    if not processes:
        return finding(
            None, None, "It is not known whether the GPU does the work: the service's processes are unknown."
        )
    rows = [(row[0], int(row[1]), row[2]) for row in _rows(apps, 3) if row[1].isdigit()]
    mine = [row for row in rows if row[1] in processes]
    if not mine:
        if contained:
            said = "It is not known whether the GPU does the work: in a container, nvidia-smi does not name processes."
            return finding(None, None, said)
        others = f"; {len(rows)} others do" if rows else ""
        said = f"No process of the service holds memory on a GPU{others}. The CPU does the work."
        return finding(False, "none", said)
    indexes = {row[1]: int(row[0]) for row in _rows(cards or "", 2) if row[0].isdigit()}
    held = ", ".join(f"{row[2]} MiB by process {row[1]} on {_card(row[0], indexes)}" for row in mine)
    if configured is None:
        return finding(True, held, f"The service holds {held}.")
    if any(row[0] not in indexes for row in mine):
        return finding(None, held, f"The service holds {held}; nvidia-smi does not say on which GPU.")
    strays = [row for row in mine if indexes[row[0]] not in configured]
    meant = ", ".join(map(str, configured))
    said = f"The service holds {held}, but the configured GPU is {meant}."
    return finding(not strays, held, said if strays else f"The service holds {held}, as configured.")


def _card(uuid: str, indexes: Mapping[str, int]) -> str:
    return f"card {indexes[uuid]}" if uuid in indexes else uuid


def _rows(text: str, columns: int) -> list[list[str]]:
    return [row for row in csv.reader(text.splitlines(), skipinitialspace=True) if len(row) >= columns]
