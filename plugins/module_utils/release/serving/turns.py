# SPDX-License-Identifier: GPL-3.0-or-later
"""Let requests take turns at one model, part by part.

Xinference gives the model to one request until its whole text is spoken. So a short request waits for minutes behind a
long one. Here the request that has had the least time comes next, and a request that waited too long comes first.
"""

from __future__ import annotations

import threading
import time
from concurrent.futures import Future
from typing import Any, Callable, TypeVar

T = TypeVar("T")

# A request comes first after it has waited for so many seconds. Otherwise new short requests could hold it up forever.
PATIENCE = 15.0
# So many requests may wait. Each takes memory.
WAITING = 256


class Busy(Exception):
    """Too many requests wait."""


class Job:
    """One request: how much time it has had, in seconds."""

    def __init__(self) -> None:
        self.used = 0.0


class Turns:
    """Runs one piece of work at a time, in a thread of its own."""

    def __init__(self, patience: float = PATIENCE, waiting: int = WAITING, clock: Callable[[], float] = time.monotonic):
        self._patience, self._limit, self._clock = patience, waiting, clock
        self._waiting: list[tuple[float, Job, Callable[[], Any], Future[Any]]] = []
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None

    def submit(self, job: Job, work: Callable[[], T]) -> Future[T]:
        """Queue a job's next piece of work. Work whose future is cancelled before its turn is left out. Raises Busy."""
        future: Future[T] = Future()
        with self._changed:
            if len(self._waiting) >= self._limit:
                self._waiting = [entry for entry in self._waiting if not entry[3].cancelled()]
            if len(self._waiting) >= self._limit:
                raise Busy(f"{self._limit} requests wait already")
            self._waiting.append((self._clock(), job, work, future))
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="voicefleet-turns", daemon=True)
                self._thread.start()
            self._changed.notify()
        return future

    def _next(self) -> tuple[Job, Callable[[], Any], Future[Any]]:
        with self._changed:
            while not self._waiting:
                self._changed.wait()
            now = self._clock()
            oldest = min(range(len(self._waiting)), key=lambda at: self._waiting[at][0])
            at = oldest
            if now - self._waiting[oldest][0] < self._patience:
                at = min(range(len(self._waiting)), key=lambda at: (self._waiting[at][1].used, self._waiting[at][0]))
            _since, job, work, future = self._waiting.pop(at)
            return job, work, future

    def _run(self) -> None:
        while True:
            job, work, future = self._next()
            if not future.set_running_or_notify_cancel():
                continue
            start = self._clock()
            try:
                result = work()
            except BaseException as error:  # the waiting request gets it
                future.set_exception(error)
            else:
                future.set_result(result)
            finally:
                job.used += self._clock() - start
            # Keep nothing of the request until the next one comes.
            del job, work, future
