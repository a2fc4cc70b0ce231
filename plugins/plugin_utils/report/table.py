# SPDX-License-Identifier: GPL-3.0-or-later
"""The report for a terminal of 80 columns: a summary of the fleet, then the hosts to look at."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from ...module_utils.host import sources
from ..fleet import odd
from ..fleet.lines import MOST_ROWS, notes
from .report import FAILED, WELL, first_the_worst, reasons, summary

WIDTH = 80
# At most this many characters of a reason, here and above the page's table. The page's table has all of it.
MOST_REASON = 300
# Columns to leave out if the lines are too long, the first one first.
LEAST_NEEDED = ("voices", "seconds", "RTF", "latency")


def table(report: Mapping[str, Any]) -> list[str]:
    """The lines."""
    lines = textwrap.wrap(" ".join(summary(report)), WIDTH)
    rows = first_the_worst(report["hosts"])
    many = len(rows) > MOST_ROWS
    shown = [row for row in rows if row["state"] != WELL][:MOST_ROWS] if many else rows
    if shown:
        lines += ["", *_columns(shown, report)]
    hidden = [row for row in rows[len(shown) :] if many]
    if hidden:
        well = sum(row["state"] == WELL for row in hidden)
        left = [f"{well:,} hosts did well"] if well else []
        left += [f"{len(hidden) - well:,} more failed or stand out"] if len(hidden) > well else []
        lines += textwrap.wrap(f"Not listed here: {'; '.join(left)}.", WIDTH)
    lines += _why(rows)
    if report["unpublished"]:
        said = sources.sentence(report["unpublished"])
        lines += textwrap.wrap(said, WIDTH, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)
    if report["stopped"]:
        lines += textwrap.wrap(f"STOPPED before the next batch: {report['stopped']}.", WIDTH, subsequent_indent="  ")
    return lines


def _columns(rows: Sequence[Mapping[str, Any]], report: Mapping[str, Any]) -> list[str]:
    """Rows below their heads. A column with the same or no value on all hosts is left out."""
    columns: dict[str, list[str]] = {
        "host": [_short(row["host"], 36) for row in rows],
        "serves": [row["serves"] or "-" for row in rows],
        "level": [row["level"] for row in rows],
        "outcome": [row["outcome"] or ("failed" if row["state"] == FAILED else "proved") for row in rows],
        "seconds": ["-" if row["seconds"] is None else f"{row['seconds']:.0f}" for row in rows],
        "voices": [str(len(row["voices"]) or "-") for row in rows],
        "latency": [number(row["latency_seconds"], " s") for row in rows],
        "RTF": [number(row["real_time_factor"]) for row in rows],
    }
    if len({row["serves"] for row in report["hosts"]}) == 1 and len(report["hosts"]) > 1:
        del columns["serves"]
    columns = {name: cells for name, cells in columns.items() if set(cells) != {"-"} or name in ("host", "level")}
    for name in LEAST_NEEDED:
        if _width(columns) > WIDTH:
            columns.pop(name, None)
    lines = []
    for cells in zip(*([name, *cells] for name, cells in columns.items()), strict=True):
        widths = [max(len(name), *map(len, column)) for name, column in columns.items()]
        lines.append("  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip())
    return lines


def _width(columns: Mapping[str, Sequence[str]]) -> int:
    return sum(max(len(name), *map(len, cells)) + 2 for name, cells in columns.items()) - 2


def _why(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Every reason with its hosts, the worst first."""
    said = []
    for row in rows:
        # Do not repeat what the table shows.
        for reason in (reason for reason in reasons(row) if reason != f"{row['outcome']}."):
            # Text from a host must not contain control characters for the terminal.
            line = odd.printable(" ".join(reason.split()))
            said.append((row["host"], line if len(line) <= MOST_REASON else line[:MOST_REASON] + " …"))
    wrap = textwrap.TextWrapper(WIDTH, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)
    return [part for line in notes(said, "on the page") for part in wrap.wrap(line)]


def number(value: float | None, unit: str = "") -> str:
    """A number with two decimals, or a dash if it is unknown."""
    return "-" if value is None else f"{value:.2f}{unit}"


def _short(name: str, most: int) -> str:
    """A name without its middle if it is longer than ``most`` characters."""
    return name if len(name) <= most else f"{name[: most // 2]}…{name[-(most // 2 - 1) :]}"
