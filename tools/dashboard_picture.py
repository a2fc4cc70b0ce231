# SPDX-License-Identifier: GPL-3.0-or-later
"""Draw docs/dashboard.svg: the panels of Grafana's dashboard, with made-up lines. ``bin/refresh pages`` calls it."""

from __future__ import annotations

import html
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

FILE = Path(__file__).resolve().parent.parent / "roles/monitoring/files/dashboard.json"
FONT = 'font-family="system-ui, sans-serif"'
HOSTS = ("speech-01", "speech-02", "speech-03")
COLOURS = ("#73bf69", "#5794f2", "#ff9830")
CELL_X, CELL_Y, TOP, GAP = 40, 15, 50, 6
# What the panels of single values show for each host.
# Panels whose lines do not swing, each with the rise of its lines.
STEADY = {"Models": 0.0, "State of the models": 0.0, "Uptime": 0.5, "Banned addresses": 0.0}
VALUES = {"Speaks": "yes", "Proof": "intelligible", "Age of the last check": "12 min"}


def _text(x: float, y: float, words: str, more: str = "") -> str:
    return f'<text x="{x:.0f}" y="{y:.0f}" {FONT} {more}>{html.escape(words, quote=False)}</text>\n'


def _values(title: str, x: float, y: float, width: float) -> Iterator[str]:
    """A panel of one value for each host. Raises KeyError on a panel that is not in the table."""
    for number, host in enumerate(HOSTS):
        middle = x + width * (2 * number + 1) / 6
        yield _text(middle, y + 46, VALUES[title], 'font-size="15" fill="#73bf69" text-anchor="middle"')
        yield _text(middle, y + 62, host, 'font-size="10" fill="#9aa" text-anchor="middle"')


def _lines(title: str, seed: int, x: float, y: float, width: float, height: float) -> Iterator[str]:
    """A panel of curves. The same seed gives the same curves."""
    for number, colour in enumerate(COLOURS):
        points = []
        for step in range(41):
            turn, steady = step / 40 * 2 * math.pi, STEADY.get(title)
            wave = math.sin(turn * (1 + seed % 3) + seed + number) + 0.4 * math.sin(turn * (5 + seed % 4) + 2 * number)
            if steady is not None:
                wave = steady * (step / 10 - 2) + number * 0.3 - 0.3
            points.append(f"{x + 10 + (width - 20) * step / 40:.0f},{y + height * 0.58 - wave * height * 0.15:.0f}")
        yield f'<polyline points="{" ".join(points)}" fill="none" stroke="{colour}" stroke-width="1.5"/>\n'


def _panel(panel: dict[str, Any], seed: int) -> Iterator[str]:
    place = panel["gridPos"]
    x, y = place["x"] * CELL_X + GAP, place["y"] * CELL_Y + TOP
    width, height = place["w"] * CELL_X - GAP, place["h"] * CELL_Y - GAP
    yield f'<rect x="{x}" y="{y}" width="{width}" height="{height}" rx="3" fill="#181b1f" stroke="#2c3235"/>\n'
    yield _text(x + 10, y + 20, panel["title"], 'font-size="12" fill="#dde"')
    yield from (
        _values(panel["title"], x, y, width)
        if panel["type"] == "stat"
        else _lines(panel["title"], seed, x, y, width, height)
    )


def page() -> str:
    """Return the picture."""
    dashboard = json.loads(FILE.read_text(encoding="utf-8"))
    panels = dashboard["panels"]
    height = TOP + CELL_Y * max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in panels) + GAP
    width = 24 * CELL_X + 2 * GAP
    return (
        "<!-- tools/dashboard_picture.py draws it. -->\n"
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img">\n'
        "<title>The dashboard with made-up lines for three hosts</title>\n"
        f'<rect width="{width}" height="{height}" fill="#111217"/>\n'
        + _text(16, 32, dashboard["title"], 'font-size="18" fill="#dde"')
        + "".join(text for seed, panel in enumerate(panels) for text in _panel(panel, seed))
        + "</svg>\n"
    )


if __name__ == "__main__":
    print(page(), end="")
