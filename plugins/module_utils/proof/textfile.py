# SPDX-License-Identifier: GPL-3.0-or-later
"""The last proof as metrics for node_exporter's textfile collector, in Prometheus' text format."""

from __future__ import annotations

import calendar
import os
import time
from collections.abc import Mapping
from typing import Any

from ..host import sources
from ..host.hashing import write_atomic
from .terms import LEVELS

FILE = "voicefleet.prom"
_NUMBERED = [(str(number), level) for number, level in enumerate(LEVELS)]
_SOURCES = [(str(number), source) for number, source in enumerate(sources.SOURCES)]


def _label(value: object) -> str:
    return str(value).replace("\\", "\\\\").replace('"', '\\"').replace("\n", " ")


def render(report: Mapping[str, Any], alive_seconds: float | None, now: float) -> str:
    """Return a proof (``release_id``, ``level``, ``required_level``, ``time``, ``unpublished``, ``samples``)
    as metrics.

    ``alive_seconds`` is the time that the host took to speak just now, or None if it did not. ``now`` is that moment.
    """
    voices = {sample["voice"] for sample in report.get("samples", [])}
    source = sources.SOURCES.index(sources.of(report.get("unpublished") or {}))
    rows: list[tuple[str, str, float]] = [
        ("proof_level", f"Level that the last proof of speech reached: {', '.join(map(' '.join, _NUMBERED))}.",
         LEVELS.index(report["level"])),
        ("proof_required_level", "Level that the proof had to reach.", LEVELS.index(report["required_level"])),
        ("proof_timestamp_seconds", "Time of the last proof.", _seconds(report.get("time"), now)),
        ("proof_voices", "Number of voices that the proof tried.", len(voices)),
        ("proof_source", f"Source of the deployed files: {', '.join(map(' '.join, _SOURCES))}.", source),
        ("check_timestamp_seconds", "Time of the last check whether the host speaks.", round(now)),
        ("check_success", "1 if the host spoke in the last check.", alive_seconds is not None),
    ]  # fmt: skip
    if alive_seconds is not None:
        rows.append(("check_seconds", "Time that the last check took to speak one sentence.", round(alive_seconds, 3)))
    release = f'{{release="{_label(report["release_id"])}"}}'
    lines = []
    for name, meaning, value in rows:
        metric = f"voicefleet_{name}"
        lines += [f"# HELP {metric} {meaning}", f"# TYPE {metric} gauge", f"{metric}{release} {float(value):.16g}"]
    return "\n".join(lines) + "\n"


def _seconds(text: object, otherwise: float) -> int:
    try:
        return calendar.timegm(time.strptime(str(text), "%Y-%m-%dT%H:%M:%SZ"))
    except ValueError:
        return round(otherwise)


def write(folder: str, text: str) -> None:
    """Replace the file in one step, readable for the exporter. Raises OSError."""
    write_atomic(os.path.join(folder, FILE), text.encode(), 0o644)
