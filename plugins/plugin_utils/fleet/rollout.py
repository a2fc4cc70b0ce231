# SPDX-License-Identifier: GPL-3.0-or-later
"""A run over many hosts in batches: the size of batches, when to stop, and the outcome of each host.

One dict describes the run, as a fact of the controller (``voicefleet_rollout``):

    {"serial": [1, "25%"],            # what Ansible makes the batches of
     "canary": true,                  # whether the first batch decides on all others
     "limit": 0.0,                    # percentage of a batch that may fail
     "hosts": ["speech-01", ...],     # all hosts of the run, in its order
     "batches": [{"hosts": [...], "began": 1795370000.0}, ...],   # started batches; seconds of the epoch
     "stop": ""}                      # why no further batch starts

and one dict for each host that finished (``voicefleet_outcome``):

    {"outcome": "served", "why": "", "at": 1795370090.5}

A host of a started batch without such an outcome lost its connection. An outcome older than the batch belongs to
another run.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .lines import names

SERVED, CHECKED, PREPARED, FAILED, UNREACHABLE, LOST, NOT_TRIED = (
    "served", "checked", "prepared", "failed", "unreachable", "lost on the way", "not tried",
)  # fmt: skip
GOOD = (SERVED, CHECKED, PREPARED)


class RolloutError(Exception):
    """A setting that makes no valid batches."""


@dataclass(frozen=True)
class End:
    """The outcome of a host. ``seconds`` count from the start of its batch, None if it was not tried."""

    outcome: str
    why: str = ""
    seconds: float | None = None


def new(canary: Any, serial: Any, limit: Any) -> dict[str, Any]:
    """The state of a new run. Raises RolloutError with every mistake in the three settings."""
    mistakes = []
    sizes = []
    for name, value, least in (("voicefleet_canary", canary, 0), ("voicefleet_serial", serial, 1)):
        size = _size(value, least)
        if size is None:
            mistakes.append(f"{name} is {value!r}: a number of hosts, {least} or more, or a percentage such as 25%")
        else:
            sizes.append(size)
    try:
        share = float(str(limit).strip().removesuffix("%"))
        if not 0 <= share <= 100:
            raise ValueError
    except ValueError:
        share = 0.0
        mistakes.append(f"voicefleet_max_fail_percentage is {limit!r}: a number from 0 to 100")
    if mistakes:
        raise RolloutError("; ".join(mistakes))
    with_canary = sizes[0] not in (0, "0%")
    serial_list = sizes if with_canary else sizes[1:]
    return {"serial": serial_list, "canary": with_canary, "limit": share, "hosts": [], "batches": [], "stop": ""}


def _size(value: Any, least: int) -> int | str | None:
    """A number of hosts, or a percentage as Ansible writes it. None if it is neither."""
    text = str(value).strip()
    if isinstance(value, bool) or not re.fullmatch(r"\d{1,9}%?", text):
        return None
    number = int(text.removesuffix("%"))
    if number < least or (text.endswith("%") and number > 100):
        return None
    return text if text.endswith("%") else number


def differing(settings: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """A sentence for each setting that differs between hosts. ``settings`` are by host."""
    sentences = []
    for name in sorted({name for values in settings.values() for name in values}):
        found: dict[str, list[str]] = {}
        for host, values in settings.items():
            found.setdefault(str(values.get(name, "not set")), []).append(host)
        if len(found) > 1:
            each = "; ".join(f"{value} for {names(hosts)}" for value, hosts in sorted(found.items()))
            sentences.append(f"{name} applies to the whole run, so it must not differ between hosts ({each})")
    return sentences


def begin(
    state: Mapping[str, Any],
    hosts: Sequence[str],
    batch: Sequence[str],
    ends: Mapping[str, Mapping[str, Any]],
    now: float,
) -> dict[str, Any]:
    """The state with one more batch, or with the reason against it in ``stop``. ``ends`` are by host."""
    state = {**state, "hosts": list(hosts)}
    stop = _verdict(state, ends)
    if stop:
        return {**state, "stop": stop}
    return {**state, "batches": [*state["batches"], {"hosts": list(batch), "began": now}]}


def _verdict(state: Mapping[str, Any], ends: Mapping[str, Mapping[str, Any]]) -> str:
    """Why the next batch must not start; empty if it may.

    An unreachable host proves nothing about the release, so it does not count, unless the whole canary is unreachable.
    """
    if not state["batches"]:
        return ""
    number = len(state["batches"])
    batch = state["batches"][-1]["hosts"]
    came = result({**state, "hosts": batch}, ends, 0)
    failed = [host for host in batch if came[host].outcome == FAILED]
    silent = [host for host in batch if came[host].outcome in (UNREACHABLE, LOST)]
    canary = state["canary"] and number == 1
    if canary and failed:
        return f"the canary failed: {names(failed)}"
    if canary and len(silent) == len(batch):
        return f"the canary could not be reached, so the release is not proved anywhere: {names(silent)}"
    share = 100 * len(failed) / len(batch) if batch else 0.0
    if share > state["limit"]:
        return (
            f"in batch {number}, {len(failed)} of {len(batch)} hosts failed, more than the {state['limit']:g} % that "
            f"voicefleet_max_fail_percentage allows: {names(failed)}"
        )
    return ""


def result(state: Mapping[str, Any], ends: Mapping[str, Mapping[str, Any]], now: float) -> dict[str, End]:
    """The outcome of every host of the run, in the run's order."""
    began = {host: batch["began"] for batch in state["batches"] for host in batch["hosts"]}
    found = {}
    for host in state["hosts"]:
        end = ends.get(host) or {}
        if host not in began:
            found[host] = End(NOT_TRIED)
        elif end.get("at", 0) < began[host]:
            found[host] = End(LOST, "the connection broke during the run", max(0.0, now - began[host]))
        else:
            found[host] = End(str(end["outcome"]), str(end.get("why") or ""), end["at"] - began[host])
    return found
