# SPDX-License-Identifier: GPL-3.0-or-later
"""The pages of the ledgers and of the doctor, for one host or a thousand: a row for each host, those to look at first.

As plain HTML, and like the page of the report a single file that needs no network.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from itertools import islice
from typing import Any

from ..fleet import doctor, odd, receipts
from . import frame

# At most this many receipts of a host; the summary has all.
MOST_RECEIPTS = 10
KINDS = {"failed": "\u2717", "odd": "\u2260", "well": "\u2713"}
_COLOURS = {"failed": "bad", "odd": "odd", "well": "good"}


def ledgers(summary: Mapping[str, Any]) -> str:
    """The page of the ledgers, from the summary of ``receipts``."""
    ranked = receipts.ranked(summary["hosts"])
    kinds = ["failed" if rank < 2 else "odd" if rank < receipts.WELL else "well" for rank, _entry in ranked]
    rows = []
    for place, ((rank, entry), kind) in enumerate(zip(ranked, kinds, strict=True)):
        cells = receipts.cells(entry)
        # A number in front of its unit, so that the column is sorted by it.
        sort = {"took": entry["seconds"].get("total", -1)}
        rows.append(_row(place, kind, cells, receipts.why(entry, rank), _history(entry["receipts"]), sort))
    said = [*receipts.counts(summary["hosts"]), *receipts.warnings(summary)]
    titles = ("Not read or failed", "Stand out")
    heads = [(name.capitalize(), name) for name in receipts.COLUMNS]
    return _page("What serves where", summary["made_at"], said, kinds, titles, heads, rows)


def _history(found: Sequence[Mapping[str, Any]]) -> str:
    """The last receipts of a host, folded, the newest first."""
    if not found:
        return ""
    # One text, because a table in each of a thousand rows takes a browser many seconds.
    names = ("time", "release", "event", "operator")
    lines = ("  ".join(odd.printable(one[name], 100) for name in names if one.get(name)) for one in reversed(found))
    more = f", the last {MOST_RECEIPTS}" if len(found) > MOST_RECEIPTS else ""
    title = f"{len(found):,} {'receipt' if len(found) == 1 else 'receipts'}{more}"
    text = "\n".join(islice(lines, MOST_RECEIPTS))
    return f'<details class="history"><summary>{title}</summary><pre>{escape(text)}</pre></details>'


def examined(data: Mapping[str, Any]) -> str:
    """The page of the doctor, from the report of ``doctor``. Of findings that are OK, it has the number."""
    ordered = sorted(data["hosts"].items(), key=lambda item: -item[1]["status"])
    kinds = [("well", "odd", "failed")[host["status"]] for _name, host in ordered]
    rows = []
    for place, ((name, host), kind) in enumerate(zip(ordered, kinds, strict=True)):
        found = sorted(host["findings"], key=lambda row: -doctor.STATUS[row["level"]])
        counts = {level: sum(row["level"] == level for row in found) for level in ("FAIL", "WARN", "OK")}
        said = [f"{row['level']} {doctor.sentence(row)}" for row in found if row["level"] != "OK"]
        result = next((row["level"] for row in found), "FAIL")
        cells = {"host": name, "result": result, **{level: str(count) for level, count in counts.items()}}
        rows.append(_row(place, kind, cells, said, "", counts))
    heads = [("Host", "host"), ("Result", "result"), ("FAIL", "FAIL"), ("WARN", "WARN"), ("OK", "OK")]
    said = [*reversed(doctor.together(data, show_ok=False)), doctor.lines(data)[-1]]
    return _page("The doctor", data["time"], said, kinds, ("FAIL", "WARN"), heads, rows)


def _row(
    place: int, kind: str, cells: Mapping[str, str], said: Iterable[str], more: str, sort: Mapping[str, float]
) -> str:
    sign = f'<span class="sign {_COLOURS[kind]}" aria-hidden="true">{KINDS[kind]}</span>'
    notes = frame.notes(odd.printable(text) for text in said)
    host = f'<th scope="row">{sign} <bdi class="name">{escape(odd.shown_name(cells["host"]))}</bdi>{notes}{more}</th>'
    by = {name: f' data-sort="{value}"' for name, value in sort.items()}
    others = (
        f'<td data-name="{name.capitalize()}"{by.get(name, "")}>{_text(cell)}</td>'
        for name, cell in cells.items()
        if name != "host"
    )
    return f'<tr id="h{place}" data-kinds="{kind}">{host}{"".join(others)}</tr>\n'


def _text(value: object) -> str:
    return escape(odd.printable(value, 500))


def _page(
    title: str,
    time: str,
    said: Iterable[str],
    kinds: Sequence[str],
    titles: tuple[str, str],
    heads: Iterable[tuple[str, str]],
    rows: Iterable[str],
) -> str:
    # The kinds of rows that one may want to see alone.
    alone = [(kind, name, kinds.count(kind)) for kind, name in zip(("failed", "odd"), titles, strict=True)]
    well = kinds.count("well")
    tiles = [
        ("hosts", f"{len(kinds):,}", ""),
        *((name, f"{count:,}", _COLOURS[kind] if count else "") for kind, name, count in alone),
        ("well", f"{well:,}", "good" if well else ""),
    ]
    notes = "".join(f"<li>{escape(odd.printable(line))}</li>" for line in said)
    return frame.document(
        f"{title}: {frame.hosts(len(kinds))}",
        [
            frame.head(title, time), frame.tiles(tiles), f'<ul class="notes">{notes}</ul>',
            frame.tools([("all", "All", len(kinds)), *alone], "host, release, message"), frame.table(heads, rows),
        ],
        ["table.js"],
    )  # fmt: skip
