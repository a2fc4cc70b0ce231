# SPDX-License-Identifier: GPL-3.0-or-later
"""What all pages share: a document that needs no network, tiles, tools to find hosts, and a table with a row for each.

The style and the scripts lie in roles/synthesis/files. A content policy allows only them, by their digests. All text
from hosts is escaped here, and no script makes HTML of it.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path

from .table import MOST_REASON

ASSETS = Path(__file__).resolve().parents[3] / "roles" / "synthesis" / "files"


def document(title: str, body: Iterable[str], scripts: Sequence[str], media: bool = False) -> str:
    """A whole page. ``body`` is HTML; ``scripts`` are names of files, and run in this order after it."""
    style = (ASSETS / "report.css").read_text(encoding="utf-8")
    code = [(ASSETS / name).read_text(encoding="utf-8") for name in scripts]
    allowed = " ".join(f"'{_digest(text)}'" for text in code)
    sounds = " media-src data:;" if media else ""
    policy = (
        f"default-src 'none'; style-src '{_digest(style)}'; script-src {allowed}; img-src data:;{sounds}"
        " base-uri 'none'; form-action 'none'"
    )
    return "".join(
        [
            '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
            f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
            '<meta name="viewport" content="width=device-width, initial-scale=1">'
            f"<title>{escape(title)}</title><style>{style}</style></head><body>",
            *body,
            *(f"<script>{text}</script>" for text in code),
            "</body></html>\n",
        ]
    )


def _digest(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def hosts(count: int) -> str:
    return f"{count:,} {'host' if count == 1 else 'hosts'}"


def head(title: str, time: str) -> str:
    when = time.replace("T", " ").replace("Z", " UTC")
    return f'<header><h1>{escape(title)}</h1><p class="soft">{escape(when)}</p></header>'


def tiles(values: Iterable[tuple[str, str, str]]) -> str:
    """The figures of a fleet: name, value, and "good", "odd", "bad" or ""."""
    boxes = (f'<div class="tile {kind}"><dt>{name}</dt><dd>{escape(value)}</dd></div>' for name, value, kind in values)
    return f'<dl class="tiles">{"".join(boxes)}</dl>'


def tools(choices: Iterable[tuple[str, str, int]], words: str) -> str:
    """Search and filters; table.js makes them work. A choice has the kind of rows to show, a title and a count."""
    buttons = "".join(
        f'<button type="button" data-show="{name}" aria-pressed="{"true" if name == "all" else "false"}">{text}'
        f" <span>{count:,}</span></button>"
        for name, text, count in choices
    )
    return (
        '<h2>Hosts</h2><div class="tools" role="search"><label>Find <input id="find" type="search" autocomplete="off"'
        f' placeholder="{words}" title="Press / to get here."></label>'
        f'<div class="choices">{buttons}</div>'
        '<p id="shown" class="soft" aria-live="polite"></p></div>'
    )


def table(heads: Iterable[tuple[str, str]], rows: Iterable[str]) -> str:
    """Rows below their heads, each with a title and a name. A row is ``<tr id="h0" data-kinds="failed odd">``."""
    return "".join(
        [
            '<div class="scroll"><table id="hosts"><thead><tr>',
            *(f'<th scope="col" data-by="{by}"><button type="button">{name}</button></th>' for name, by in heads),
            "</tr></thead><tbody>",
            *rows,
            '</tbody></table></div><p id="none" hidden>No host matches.</p>',
        ]
    )


def notes(said: Iterable[str]) -> str:
    """What a row says below the host's name."""
    return "".join(f'<div class="note">{folded(text)}</div>' for text in said)


def folded(said: str) -> str:
    """A message. Of a long one, such as a compiler's, show the beginning and fold the rest."""
    if len(said) <= MOST_REASON:
        return escape(said)
    begin = " ".join(said[:MOST_REASON].split())
    return f"<details><summary>{escape(begin)} \u2026</summary><pre>{escape(said)}</pre></details>"
