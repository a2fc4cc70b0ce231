# SPDX-License-Identifier: GPL-3.0-or-later
"""Bring one model of a local Xinference to READY, or say why that is impossible.

Autostart launches the model with the service, so this mostly waits. If autostart does not launch it, this does so by
REST. If a running model has other parameters than wanted, it is stopped and launched again.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Callable, Protocol

from ..doctor import diagnosis
from ..host import private_files
from ..host.hashing import parse_json
from . import api

Json = dict[str, Any]

# Parameters by which a running replica is compared; Xinference decides the others.
COMPARED = ("model_name", "model_path", "lang_code", "enable_virtual_env", "device", "gpu_idx", "request_limits")
ABSENT_GRACE = 10.0  # seconds that autostart may take to begin, once the service answers
CRASHES = 2  # stop waiting after the service restarted this often
_FAULT = re.compile(r" (ERROR|CRITICAL) |^[A-Za-z_][\w.]{0,200}?(Error|Exception|Exit)\b")

_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d")


class ModelError(Exception):
    """The model did not become READY; the message is cleaned."""


class Process(Protocol):
    """The service's process: a unit of systemd, or the main process of a container."""

    name: str

    def show(self) -> Mapping[str, str]:
        """Its state, as ``systemctl show`` names it: ActiveState, Result, ExecMainStatus, NRestarts."""

    def journal(self) -> list[str]:
        """Its last lines."""


@dataclass
class Outcome:
    """Result of :meth:`Keeper.ensure`."""

    changes: list[str] = field(default_factory=list)
    workers: tuple[str, ...] = ()
    waited: float = 0.0
    course: list[str] = field(default_factory=list)  # the states on the way, as "12 s: CREATING, 40 %"


def launched_with(home: str, uid: str, workers: tuple[str, ...]) -> Json | None:
    """Return the payload with which a running replica was launched, or None if it is not known.

    The API does not return it. Xinference's worker keeps it for its own recovery, in
    ``<home>/worker_recovery/<host>_<port>/models.json``. The service's user owns that file. Follow no link, and use
    the content only for a comparison.
    """
    for worker in workers:
        path = os.path.join(home, "worker_recovery", worker.replace(":", "_"), "models.json")
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
            with os.fdopen(descriptor, encoding="utf-8", errors="replace") as handle:
                models = parse_json(handle.read(1 << 20))
            for name, payload in models.items():
                if re.fullmatch(re.escape(uid) + r"-rep\d+", name):
                    return dict(payload)
        except (OSError, ValueError, AttributeError, TypeError):
            continue
    return None


def differences(wanted: Json, launched: Json | None) -> list[str]:
    """Return the compared parameters in which a running model differs from the wanted one."""
    if launched is None:
        return []
    found = [name for name in COMPARED if name in launched and wanted.get(name) != launched[name]]
    # A replica keeps its cards: its share of those that were requested, or Xinference's own choice.
    share, asked = launched.get("gpu_idx"), wanted.get("gpu_idx")
    asked = asked if asked is None or isinstance(asked, list) else [asked]
    if "gpu_idx" in found and isinstance(share, list) and (asked is None or set(share) <= set(asked)):
        found.remove("gpu_idx")
    return found


def log_lines(path: str, since: str, most: int) -> list[str]:
    """Return the lines of Xinference's log since a time in UTC (``2026-01-31T12:00:00``), from its last ``most`` bytes.

    Empty if there is no log. Raises OSError.
    """
    try:
        lines = private_files.end_of(path, most).splitlines()
    except FileNotFoundError:
        return []
    times = itertools.accumulate(lines, lambda last, line: line[:19] if _TIME.match(line) else last, initial="")
    return [line for line, written in zip(lines, list(times)[1:]) if written >= since]


def log_faults(path: str, since: str, count: int = 6) -> list[str]:
    """Return the last error lines of Xinference's log, each once. An error before ``since`` suggests a wrong cause."""
    with contextlib.suppress(OSError):
        lines = [line[: diagnosis.LINE_READ] for line in log_lines(path, since, 1 << 16)]
        faults = [api.clean(line)[:240] for line in lines if _FAULT.search(line)]
        return list(dict.fromkeys(reversed(faults)))[:count][::-1]
    return []


class Keeper:
    """One model of one service. ``login`` gives the client a user's token and is called only if one is needed.

    ``workers`` are the workers of a cluster (``host:port``), each of which must have a replica.
    """

    def __init__(
        self,
        client: api.XinferenceClient,
        login: Callable[[], None],
        unit: Process,
        payload: Json,
        home: str,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        workers: tuple[str, ...] = (),
    ) -> None:
        self.client = client
        self.login = login
        self.unit = unit
        self.uid: str = payload["model_uid"]
        self.payload = payload
        self.replicas = int(payload.get("replica") or 1)
        self.home = home
        self.workers = workers
        self._launched = False
        self._clock = clock
        self._sleep = sleep
        self._begun = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime())
        self._restarts: int | None = None
        self._watched = float("-inf")

    def look(self) -> api.Instance | None:
        """Return the model's present instance, or None."""
        found = self.client.instances(self.uid)
        return found[0] if found else None

    def differing(self, instance: api.Instance) -> list[str]:
        return differences(self.payload, launched_with(self.home, self.uid, instance.workers))

    def watch(self) -> None:
        """Raise :class:`ModelError` if the service is down or keeps ending; ask systemd at most every 2 s."""
        if self._clock() - self._watched < 2:
            return
        self._watched = self._clock()
        state = self.unit.show()
        active = state.get("ActiveState", "")
        if active in ("failed", "inactive"):
            raise ModelError(
                f"{self.unit.name} is {active} (result {state.get('Result')}, status {state.get('ExecMainStatus')})"
            )
        restarts = int(state.get("NRestarts") or 0)
        if self._restarts is None:
            self._restarts = restarts
        elif restarts - self._restarts >= CRASHES:
            raise ModelError(
                f"{self.unit.name} keeps ending: {restarts - self._restarts} restarts while waiting"
                f" (result {state.get('Result')}, status {state.get('ExecMainStatus')})"
            )

    def ensure(self, timeout: float, whole: float = 0.0) -> Outcome:
        """Wait for the service and the model; launch the model if needed. Raises ModelError, XinferenceError.

        ``timeout`` is what other models have left of ``whole``; both are seconds.
        """
        begin = self._clock()
        end = begin + timeout
        outcome = Outcome()
        self.client.wait_ready(timeout, watch=self.watch, clock=self._clock, sleep=self._sleep)
        self._await_workers(end)
        answered = self._clock()
        launching = False  # a launch was seen under way, so an ERROR after it is final
        while True:
            instance = self.look()
            status = instance.status if instance is not None else "absent"
            self._note(outcome, self._clock() - begin, status)
            if instance is not None and status == api.READY:
                names = self.differing(instance)
                silent = [worker for worker in self.workers if worker not in instance.ready]
                if silent and (not names or self._launched):
                    self._add(silent[0], outcome, end)
                    continue
                if not names or self._launched:
                    self._scale(instance, outcome, end)
                    outcome.workers = instance.workers
                    outcome.waited = self._clock() - begin
                    return outcome
                self._launch(f"launched again with other {', '.join(names)}", outcome, end, running=True)
                continue
            if status == api.ERROR and instance is not None:
                if launching:
                    raise ModelError("; ".join(instance.errors) or self._autostart_error())
                self._launch("launched (it was in state ERROR)", outcome, end)
                continue
            if instance is None:
                if self._clock() - answered >= ABSENT_GRACE:
                    self._launch("launched (autostart had not)", outcome, end)
                    continue
            else:
                launching = True
            if self._clock() >= end:
                rest = f", the rest of the {whole:g} s for all models" if whole > timeout + 1 else ""
                raise ModelError(
                    f"it is still {status} after {timeout:.0f} s{rest} ({', '.join(outcome.course)});"
                    f" last error: {self._autostart_error()}"
                )
            self.watch()
            self._sleep(0.5)

    def _note(self, outcome: Outcome, seconds: float, status: str) -> None:
        """Record the course of the wait: each new state, and each fifth of the loading."""
        part = ""
        if status not in ("absent", api.READY, api.ERROR):
            with contextlib.suppress(api.XinferenceError):
                part = f", {int(self.client.progress(self.uid) * 5) * 20} %"
        if not outcome.course or not outcome.course[-1].endswith(f": {status}{part}"):
            outcome.course.append(f"{seconds:.0f} s: {status}{part}")

    def unscaled(self, instance: api.Instance) -> list[str]:
        """Say by how many replicas the model differs from the wanted number; empty if it does not."""
        if self.workers:  # a cluster has one on each worker; `ensure` takes care of that
            return []
        wanted, running = self.replicas, len(instance.replica_ids)
        return [f"{running} replicas run, {wanted} are wanted"] if running != wanted else []

    def _scale(self, instance: api.Instance, outcome: Outcome, end: float) -> None:
        """Bring a serving model to the wanted number of replicas. The others keep serving meanwhile."""
        changes = self.unscaled(instance)
        if not changes:
            return
        self.login()
        missing = self.replicas - len(instance.replica_ids)
        if missing > 0:
            self.client.add_replicas(self.uid, missing, timeout=max(1.0, end - self._clock()))
        for number in sorted(instance.replica_ids)[self.replicas :]:
            self.client.remove_replica(self.uid, number)
        outcome.changes += changes

    @staticmethod
    def runs(instance: api.Instance | None) -> bool:
        """Whether there is anything to stop: Xinference reports a failed launch until the next one."""
        return instance is not None and instance.status not in ("TERMINATED", api.ERROR)

    def end(self, timeout: float) -> Outcome:
        """Stop the model and wait until it is gone. Raises :class:`ModelError`, XinferenceError."""
        begin = self._clock()
        outcome = Outcome()
        self.client.wait_ready(timeout, watch=self.watch, clock=self._clock, sleep=self._sleep)
        while self.runs(self.look()):
            if not outcome.changes:
                self.login()
                outcome.changes.append("stopped")
                with contextlib.suppress(api.BadRequest):  # it ended by itself meanwhile
                    self.client.terminate(self.uid)
            elif self._clock() - begin >= timeout:
                raise ModelError(f"it still exists {timeout:g} s after it was stopped")
            else:
                self._sleep(0.5)
        outcome.waited = self._clock() - begin
        return outcome

    def _await_workers(self, end: float) -> None:
        """Wait until all wanted workers are registered. Raises :class:`ModelError` with the names of the others."""
        while self.workers:
            missing = sorted({*self.workers} - {*self.client.status()["workers"]})
            if not missing:
                return
            if self._clock() >= end:
                raise ModelError(
                    f"the workers {', '.join(missing)} have not registered. Check systemctl status"
                    " voicefleet-xinference on each of them (voicefleet-worker if it runs beside the supervisor). A"
                    " worker must reach the ports of this supervisor and have the same XOSCAR_AUTH_KEY"
                )
            self.watch()
            self._sleep(0.5)

    def _add(self, worker: str, outcome: Outcome, end: float) -> None:
        """Add the missing replica on a worker, and wait for it. Raises :class:`ModelError` if it ends at once."""
        if f"replica added on {worker}" in outcome.changes:
            raise ModelError(f"the replica on worker {worker} ended again right after it was launched")
        self.login()
        label = f"{self.uid}-{re.sub('[^0-9a-z]', '-', worker)}-{int(time.time()):x}"
        self.client.add_replica(self.uid, worker, label, timeout=max(1.0, end - self._clock()))
        outcome.changes.append(f"replica added on {worker}")

    def _launch(self, why: str, outcome: Outcome, end: float, running: bool = False) -> None:
        """Launch by REST and wait; once only, because a second try would fail the same way."""
        if self._launched:
            raise ModelError("it ended again right after it was launched; last error: " + self._autostart_error())
        self.login()
        outcome.changes.append(why)
        self._launched = True
        if running:
            self.client.terminate(self.uid)
        try:
            self.client.launch(self.payload, timeout=max(1.0, end - self._clock()))
        except api.AlreadyRunning:
            # autostart was quicker
            outcome.changes.remove(why)
            self._launched = False

    def _autostart_error(self) -> str:
        """Return what autostart says about its last failure, for a message."""
        try:
            self.login()
            for entry in self.client.autostart():
                if entry.get("launch", {}).get("model_uid") == self.uid:
                    return api.clean(entry.get("state", {}).get("last_error")) or "none is known"
        except (api.XinferenceError, AttributeError):
            pass
        return "none is known"

    def explain(self, error: Exception) -> str:
        """Return the whole message for the operator: the failure, log lines, their meaning and what to do."""
        journal = self.unit.journal()
        log = os.path.join(self.home, "logs", "xinference.log")
        faults = log_faults(log, self._begun)
        # Explain the failure itself first; search older lines only if it matches no known failure.
        meaning = diagnosis.words(str(error)) or diagnosis.words(journal) or diagnosis.words(faults)
        parts = [f"Model {self.uid} is not ready: {error}"]
        for title, lines in ((f"Journal of {self.unit.name}", journal), (log, faults)):
            parts.append(f"{title}, last lines:\n" + ("\n".join(f"  {line}" for line in lines) or "  (none)"))
        # The service and its clients wrote parts of it.
        return diagnosis.printable("\n".join([*parts, meaning] if meaning else parts))
