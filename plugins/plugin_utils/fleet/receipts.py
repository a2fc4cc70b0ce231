# SPDX-License-Identifier: GPL-3.0-or-later
"""One summary of all ledgers: what serves where, since when, deployed by whom, from which manifest, how proved."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...module_utils.host import sources
from ...module_utils.release import ledger
from . import odd

# The table shows this much of a failure's message. The summary has the whole message.
MESSAGE = 200
COLUMNS = ("host", "current", "since", "by", "manifest", "proof", "took", "source")


def row(host: str, found: Mapping[str, Any] | None) -> dict[str, Any]:
    """One host. ``found`` is its fact ``releases_receipts``, None if the host was not read."""
    reader = odd.Reader()
    found = found if isinstance(found, Mapping) else {}
    current, receipts = reader.text(found, "current"), odd.clean(reader.rows(found, "receipts"))
    receipt = ledger.since(receipts, current)
    seconds = {name: took for name, took in reader.mapping(receipt, "seconds").items() if odd.number(took) is not None}
    row = {
        "host": host,
        "read": bool(found),
        "current": current,
        "previous": ledger.previous(receipts, current),
        "whole": reader.texts(found, "whole"),
        "since": reader.text(receipt, "time"),
        "operator": reader.text(receipt, "operator"),
        "manifest_sha256": reader.text(receipt, "manifest_sha256"),
        "proof_level": reader.text(receipt, "proof_level"),
        "seconds": seconds,
        "unpublished": reader.unpublished(receipt),
        "failure": dict(ledger.failure(receipts)),
        "receipts": receipts,
    }
    return {**row, "odd": reader.notes} if reader.notes else row


def build(hosts: Mapping[str, Mapping[str, Any] | None], now: str) -> dict[str, Any]:
    """The summary as data for JSON. ``releases`` and ``manifests`` count the hosts that serve each."""
    rows = [row(host, hosts[host]) for host in sorted(hosts)]
    return {
        "schema": 1,
        "made_at": now,
        "releases": _count(rows, "current"),
        "manifests": _count(rows, "manifest_sha256"),
        "not_read": [entry["host"] for entry in rows if not entry["read"]],
        "hosts": rows,
    }


def _count(rows: list[dict[str, Any]], key: str) -> dict[str, int]:
    values = [entry[key] for entry in rows if entry[key]]
    return {value: values.count(value) for value in sorted(set(values))}


def table(summary: Mapping[str, Any]) -> list[str]:
    """The summary for a terminal, with warnings below it."""
    lines = [COLUMNS]
    for entry in summary["hosts"]:
        if not entry["read"]:
            lines.append((entry["host"], "NOT READ", *[""] * (len(COLUMNS) - 2)))
            continue
        proof = "" if entry["current"] is None else entry["proof_level"] or "UNVERIFIED"
        lines.append(
            (
                entry["host"],
                entry["current"] or "nothing",
                entry["since"] or "",
                entry["operator"] or "",
                (entry["manifest_sha256"] or "")[:12],
                proof,
                f"{entry['seconds']['total']:.0f} s" if "total" in entry["seconds"] else "",
                sources.of(entry["unpublished"]) if entry["since"] else "",
            )
        )
    widths = [max(len(line[column]) for line in lines) for column in range(len(COLUMNS))]
    text = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]
    said = {sources.in_words(entry["unpublished"]) for entry in summary["hosts"]} - {""}
    text += [f"{words}." for words in sorted(said)]
    text += [f"{entry['host']}: {note}." for entry in summary["hosts"] for note in entry.get("odd", [])]
    text += [failed(entry["host"], entry["failure"]) for entry in summary["hosts"] if entry["failure"]]
    unknown = [entry["host"] for entry in summary["hosts"] if entry["current"] and not entry["since"]]
    if unknown:
        text.append(f"No receipt for the current release on: {', '.join(unknown)}. verify.yml proves it again.")
    if len(summary["releases"]) > 1:
        text.append(f"{len(summary['releases'])} releases serve at once.")
    return text


def failed(host: str, failure: Mapping[str, Any]) -> str:
    """One line about a failed run, if no later run succeeded."""
    said = " ".join(str(failure.get("message", "")).split())
    shown = said[:MESSAGE] + ("…" if len(said) > MESSAGE else "")
    who, phase = failure.get("operator") or "?", failure.get("phase") or "?"
    when, task = failure.get("time"), failure.get("task")
    return f"{host}: the last run failed, {when}, by {who}, in phase {phase}: {task}: {shown}"
