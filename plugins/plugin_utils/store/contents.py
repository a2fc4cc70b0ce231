# SPDX-License-Identifier: GPL-3.0-or-later
"""List what a store contains, for people and for programs: the answer to "what must I carry?"."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any

from ...module_utils.host.sources import PUBLISHED, sentence
from . import advisories
from .manifest import Artifact, Manifest

EVERY = "all hosts"
UNKNOWN = "not stated"


def build(
    manifest: Manifest, manifest_sha256: str, known: advisories.Advisories | None = None, fetched: str = ""
) -> dict[str, Any]:
    """The report as data. Sizes are in bytes. The same store always gives the same report.

    ``known`` are the advisories that the store carries. ``fetched`` says who fetched it.

    ``totals`` holds ``{"files", "size"}`` for the whole store, by kind, by licence and by profile. A profile's total
    includes the files that it shares with other profiles.
    """
    artifacts = sorted(manifest.artifacts, key=lambda a: (a.kind, a.name.lower(), a.version, a.path))
    rows = [
        {
            "kind": artifact.kind,
            "name": artifact.name,
            "version": artifact.version,
            "size": artifact.size,
            "licence": artifact.licence,
            "profiles": sorted(artifact.profiles),
            "source": artifact.source,
            "path": artifact.path,
            "sha256": artifact.sha256,
            "address": artifact.address,
        }
        for artifact in artifacts
    ]
    hits = advisories.match(known, artifacts) if known else []
    suits = {p: [a for a in artifacts if not a.profiles or p in a.profiles] for p in sorted(manifest.profiles)}
    return {
        "schema": 2,
        "manifest_sha256": manifest_sha256,
        "profiles": sorted(manifest.profiles),
        "unpublished": dict(sorted(manifest.unpublished.items())),
        "fetched": fetched,
        "advisories": {
            "until": known.until,
            "sentence": advisories.sentence(known.until, hits, "this store"),
            "affected": [{**asdict(hit), "ids": list(hit.ids)} for hit in hits],
        }
        if known
        else None,
        "totals": {
            "all": _total(artifacts),
            "kinds": {kind: _total(manifest.of_kind(kind)) for kind in sorted({a.kind for a in artifacts})},
            "profiles": {profile: _total(found) for profile, found in suits.items()},
            "licences": {
                licence or UNKNOWN: _total(a for a in artifacts if a.licence == licence)
                for licence in sorted({a.licence for a in artifacts})
            },
        },
        "artifacts": rows,
    }


def _total(artifacts: Iterable[Artifact]) -> dict[str, int]:
    sizes = [artifact.size for artifact in artifacts]
    return {"files": len(sizes), "size": sum(sizes)}


def in_words(size: int) -> str:
    """Format a number of bytes in powers of ten, as storage media are labelled."""
    if size < 1000:
        return f"{size} B"
    value, units = size / 1000, iter(("kB", "MB", "GB", "TB"))
    unit = next(units)
    # From 999.95 on, rounding would show 1000.0.
    while value >= 999.95 and unit != "TB":
        value, unit = value / 1000, next(units)
    return f"{value:.1f} {unit}"


def _hosts(row: dict[str, Any]) -> str:
    return ", ".join(row["profiles"]) or EVERY


def _sections(data: dict[str, Any]) -> list[tuple[str, list[str], list[list[str]]]]:
    """Heading, column names and rows of each table. Columns ``size`` and ``files`` hold numbers."""

    def totals(group: str) -> list[list[str]]:
        return [[name, str(t["files"]), in_words(t["size"])] for name, t in data["totals"][group].items()]

    rows = (data["advisories"] or {"affected": []})["affected"]
    named = ["component", "version", "advisory", "severity", "fixed in", "what it says"]
    affected = [
        [
            row["component"], row["version"], row["id"], row["severity"] or UNKNOWN,
            (row["fixed"] or UNKNOWN) if row["sure"] else "compare by hand", row["summary"],
        ]
        for row in rows
    ]  # fmt: skip
    return [
        *([("Named by advisories", named, affected)] if rows else []),
        ("By kind", ["kind", "files", "size"], totals("kinds")),
        ("By profile, shared files included", ["profile", "files", "size"], totals("profiles")),
        ("By licence", ["licence", "files", "size"], totals("licences")),
        (
            "Every file",
            ["kind", "name", "version", "size", "licence", "hosts", "source"],
            [
                [
                    row["kind"], row["name"], row["version"], in_words(row["size"]), row["licence"] or UNKNOWN,
                    _hosts(row), row["source"] if row["source"] == PUBLISHED else row["source"].upper(),
                ]
                for row in data["artifacts"]
            ],
        ),
    ]  # fmt: skip


def summary(data: dict[str, Any]) -> list[str]:
    """Summarise what must be carried, in a few sentences."""
    total = data["totals"]["all"]
    lines = [
        f"Carry the whole folder: {total['files']} files, {in_words(total['size'])}, for hosts of "
        f"{', '.join(data['profiles']) or 'no profile'}.",
        f"Manifest: sha256 {data['manifest_sha256']}",
    ]
    if data["unpublished"]:
        lines.append(sentence(data["unpublished"]))
    if data["fetched"]:
        lines.append(data["fetched"])
    if data["advisories"]:
        lines.append(data["advisories"]["sentence"])
    return lines


def _numeric(column: str) -> bool:
    return column in ("size", "files")


def text(data: dict[str, Any], widest: int = 40) -> list[str]:
    """The report as lines for a terminal. Cells longer than ``widest`` characters are cut."""
    lines = summary(data)
    for heading, columns, rows in _sections(data):
        cells = [[_cut(cell, widest) for cell in row] for row in [columns, *rows]]
        widths = [max(len(row[i]) for row in cells) for i in range(len(columns))]
        lines += ["", heading]
        lines += [_line(row, columns, widths) for row in cells]
    return lines


def _line(row: Sequence[str], columns: Sequence[str], widths: Sequence[int]) -> str:
    placed = [
        cell.rjust(width) if _numeric(column) else cell.ljust(width)
        for cell, column, width in zip(row, columns, widths, strict=True)
    ]
    return "  " + "  ".join(placed).rstrip()


def _cut(cell: str, widest: int) -> str:
    cell = "".join(character if character.isprintable() else " " for character in cell)
    return cell if len(cell) <= widest else f"{cell[: widest - 1]}…"


def markdown(data: dict[str, Any]) -> str:
    """The report as a Markdown page."""
    lines = ["# What the store holds", ""]
    lines += [line for sentence in summary(data) for line in (sentence, "")]
    for heading, columns, rows in _sections(data):
        lines += [f"## {heading}", "", _cells(columns)]
        lines.append("|" + "|".join(" ---: " if _numeric(column) else " --- " for column in columns) + "|")
        lines += [_cells(row) for row in rows]
        lines.append("")
    return "\n".join(lines)


def _cells(row: Iterable[str]) -> str:
    # What packages say of themselves must neither end a cell nor become markup.
    cells = (c.replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;").replace("\n", " ") for c in row)
    return "| " + " | ".join(cells) + " |"
