# SPDX-License-Identifier: GPL-3.0-or-later
"""The last proof as metrics for node_exporter's textfile collector, in Prometheus' text format."""

from __future__ import annotations

import calendar
import os
import time
from collections.abc import Mapping
from typing import Any

from ..host.hashing import write_atomic
from .acoustics import LEVELS

FILE = "voicefleet.prom"
_NUMBERED = [(str(number), level) for number, level in enumerate(LEVELS)]


def _label(value: object) -> str:
    return str(value).replace("\\", "\\\\").replace('"', '\\"').replace("\n", " ")


def render(report: Mapping[str, Any], alive_seconds: float | None, now: float) -> str:
    """The metrics of a proof (``release_id``, ``level``, ``required_level``, ``time``, ``synthetic``, ``samples``).

    ``alive_seconds`` is how long the host took to speak just now, None where it did not; ``now`` is when that was.
    """
    voices = {sample["voice"] for sample in report.get("samples", [])}
    synthetic = bool(report.get("synthetic"))
    rows: list[tuple[str, str, float]] = [
        ("proof_level", f"What the last proof of speech reached: {', '.join(map(' '.join, _NUMBERED))}.",
         LEVELS.index(report["level"])),
        ("proof_required_level", "What it had to reach.", LEVELS.index(report["required_level"])),
        ("proof_timestamp_seconds", "When the last proof was made.", _seconds(report.get("time"), now)),
        ("proof_voices", "How many voices it tried.", len(voices)),
        ("proof_synthetic", "1 where stand-ins with made-up weights are deployed, not Kokoro's voice.", synthetic),
        ("check_timestamp_seconds", "When it was last tried whether the host speaks.", round(now)),
        ("check_success", "Whether it spoke then.", alive_seconds is not None),
    ]  # fmt: skip
    if alive_seconds is not None:
        rows.append(("check_seconds", "How long it took to say one sentence then.", round(alive_seconds, 3)))
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
