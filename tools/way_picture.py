# SPDX-License-Identifier: GPL-3.0-or-later
"""Draw docs/way.svg: the way of an artifact from its publisher to a host. ``bin/refresh pages`` calls it."""

from __future__ import annotations

import html
from typing import NamedTuple

FONT = 'font-family="system-ui, sans-serif"'
WIDTH, ROW, TOP = 250, 92, 76
LEFT = (20, 320, 620)
# A border in the colour of the ground keeps lines out of the words.
WORDS = 'font-size="11" fill="#456" paint-order="stroke" stroke="#f4f7fa" stroke-width="5"'
LANES = ("Connected machine", "Controller", "Each host")


class Box(NamedTuple):
    """One place where an artifact is, by its lane and row."""

    lane: int
    row: int
    title: str
    text: tuple[str, ...]

    @property
    def x(self) -> int:
        return LEFT[self.lane]

    @property
    def y(self) -> int:
        return TOP + self.row * ROW


BOXES = (
    Box(0, 0, "Publishers", ("PyPI, model hub, spaCy's releases,", "Python builds")),
    Box(0, 1, "Store", ("manifest with each digest, signature,", "bill of materials, provenance")),
    Box(1, 1, "Store", ("the same files, hashed and checked", "against the signed manifest")),
    Box(2, 1, "Artifacts", ("hashed again on arrival, by push,", "http or swarm")),
    Box(2, 2, "Release", ("packages, models and voices, sealed;", "the current one continues to serve")),
    Box(2, 3, "Candidate", ("the release in a service of its own,", "proved: every voice speaks")),
    Box(2, 4, "Current", ("a link moves; the service answers", "on port 9997")),
    Box(1, 4, "Report", ("a row, sound and levels of each host", "on one page")),
)
# From, to, what moves it.
ARROWS = (
    (0, 1, "fetch.yml"),
    (1, 2, "carried by hand"),
    (2, 3, "deploy.yml"),
    (3, 4, "uv, without a network"),
    (4, 5, "an upgrade tries it"),
    (5, 6, "only after the proof"),
    (6, 7, "evidence"),
)


def _text(x: int, y: int, words: str, more: str = "") -> str:
    return f'<text x="{x}" y="{y}" {FONT} {more}>{html.escape(words, quote=False)}</text>\n'


def _box(box: Box) -> str:
    return (
        f'<rect x="{box.x}" y="{box.y}" width="{WIDTH}" height="62" rx="6" fill="#fff" stroke="#456"/>\n'
        + _text(box.x + 12, box.y + 20, box.title, 'font-size="14" font-weight="bold" fill="#123"')
        + "".join(
            _text(box.x + 12, box.y + 37 + 16 * number, line, 'font-size="12" fill="#345"')
            for number, line in enumerate(box.text)
        )
    )


def _arrow(start: Box, end: Box, words: str) -> str:
    """A line from box to box, with its words beside it, or above it if it is level."""
    if start.lane == end.lane:
        x, first, last = start.x + WIDTH // 2, start.y + 62, end.y
        place = _text(x + 10, (first + last) // 2 + 4, words, WORDS)
        return f'<path d="M{x} {first}V{last - 2}" class="way"/>\n' + place
    right = end.lane > start.lane
    first, last = (start.x + WIDTH, end.x - 2) if right else (start.x, end.x + WIDTH + 2)
    y = start.y + 31
    place = _text((first + last) // 2, start.y - 8, words, WORDS + ' text-anchor="middle"')
    return f'<path d="M{first} {y}H{last}" class="way"/>\n' + place


def page() -> str:
    """Return the picture."""
    height = TOP + ROW * (max(box.row for box in BOXES) + 1)
    width = LEFT[-1] + WIDTH + 20
    gap = (LEFT[0] + WIDTH + LEFT[1]) // 2
    lanes = "".join(
        _text(x, 34, name, 'font-size="16" font-weight="bold" fill="#123"') for x, name in zip(LEFT, LANES, strict=True)
    )
    return (
        "<!-- tools/way_picture.py draws it. -->\n"
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img">\n'
        "<title>The way of an artifact, from its publisher to a host that speaks</title>\n"
        "<style>.way{fill:none;stroke:#456;stroke-width:1.5;marker-end:url(#tip)}</style>\n"
        '<defs><marker id="tip" markerWidth="8" markerHeight="8" refX="7" refY="4" orient="auto">'
        '<path d="M0 0L8 4L0 8z" fill="#456"/></marker></defs>\n'
        f'<rect width="{width}" height="{height}" rx="8" fill="#f4f7fa"/>\n'
        f'<path d="M{gap} 50V{height - 16}" stroke="#b33" stroke-width="2" stroke-dasharray="7 6"/>\n'
        + _text(gap, height - 4, "air gap", 'font-size="12" fill="#b33" text-anchor="middle"')
        + lanes
        + "".join(map(_box, BOXES))
        + "".join(_arrow(BOXES[start], BOXES[end], words) for start, end, words in ARROWS)
        + "</svg>\n"
    )


if __name__ == "__main__":
    print(page(), end="")
