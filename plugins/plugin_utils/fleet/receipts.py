# SPDX-License-Identifier: GPL-3.0-or-later
"""One summary of all ledgers: what serves where, since when, deployed by whom, from which manifest, how proved."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from ...module_utils.host import sources
from ...module_utils.release import ledger
from . import odd
from .lines import MOST_NOTES, MOST_ROWS, names, notes

# The table shows this much of a failure's message. The summary has the whole message.
MESSAGE = 200
COLUMNS = ("host", "current", "since", "by", "manifest", "proof", "took", "source")
# The columns in which the hosts of a fleet are usually equal.
SERVES = ("current", "manifest", "proof", "source")
# The place of a host that needs no look.
WELL = 9


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
    """The summary for a terminal, with warnings below it. Of many hosts, only those to look at have rows."""
    entries: list[Mapping[str, Any]] = summary["hosts"]
    if len(entries) <= MOST_ROWS:
        return [*_columns(entries), *warnings(summary)]
    amiss = [entry for rank, entry in ranked(entries) if rank < WELL]
    shown = f", {MOST_ROWS} of them here" if len(amiss) > MOST_ROWS else ""
    total = f"{len(amiss):,} of {len(entries):,} hosts to look at{shown}."
    return [*counts(entries), total, *(_columns(amiss[:MOST_ROWS]) if amiss else []), *warnings(summary)]


def cells(entry: Mapping[str, Any]) -> dict[str, str]:
    """The row of a host by column."""
    if not entry["read"]:
        return {**dict.fromkeys(COLUMNS, ""), "host": entry["host"], "current": "NOT READ"}
    return {
        "host": entry["host"],
        "current": entry["current"] or "nothing",
        "since": entry["since"] or "",
        "by": entry["operator"] or "",
        "manifest": (entry["manifest_sha256"] or "")[:12],
        "proof": "" if entry["current"] is None else entry["proof_level"] or "UNVERIFIED",
        "took": f"{entry['seconds']['total']:.0f} s" if "total" in entry["seconds"] else "",
        "source": sources.of(entry["unpublished"]) if entry["since"] else "",
    }


def _columns(entries: Sequence[Mapping[str, Any]]) -> list[str]:
    lines = [COLUMNS, *(tuple(cells(entry).values()) for entry in entries)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(COLUMNS))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]


def _serves(entry: Mapping[str, Any]) -> str:
    return " ".join(filter(None, map(cells(entry).get, SERVES)))


def counts(entries: Sequence[Mapping[str, Any]]) -> list[str]:
    """What serves on how many hosts, the most frequent first."""
    found = Counter(map(_serves, entries)).most_common()
    text = [f"{count:,} {'host' if count == 1 else 'hosts'}: {what}" for what, count in found[:MOST_NOTES]]
    left = sum(count for _what, count in found[MOST_NOTES:])
    return [*text, f"{left:,} hosts: something else"] if left else text


def ranked(entries: Sequence[Mapping[str, Any]]) -> list[tuple[int, Mapping[str, Any]]]:
    """The hosts, those to look at first, each with its place among them. The others have ``WELL``."""
    served = [_serves(entry) for entry in entries]
    usual = Counter(served).most_common(1)[0][0] if served else ""
    found = [(_rank(entry, what != usual), entry) for entry, what in zip(entries, served, strict=True)]
    return sorted(found, key=lambda pair: pair[0])


def _rank(entry: Mapping[str, Any], differs: bool) -> int:
    signs = (not entry["read"], entry["failure"], _unproved(entry), entry.get("odd"), differs)
    return next((rank for rank, sign in enumerate(signs) if sign), WELL)


def _unproved(entry: Mapping[str, Any]) -> bool:
    return bool(entry["current"] and not entry["since"])


def warnings(summary: Mapping[str, Any]) -> list[str]:
    """What to know about the fleet, each once with its hosts."""
    entries = summary["hosts"]
    text = [f"{words}." for words in sorted({sources.in_words(entry["unpublished"]) for entry in entries} - {""})]
    text += notes(((entry["host"], f"{note}.") for entry in entries for note in entry.get("odd", [])), "in the summary")
    text += _failures([entry for entry in entries if entry["failure"]])
    unknown = [entry["host"] for entry in entries if _unproved(entry)]
    if unknown:
        text.append(f"No receipt for the current release on: {names(unknown)}. verify.yml proves it again.")
    if len(summary["releases"]) > 1:
        text.append(f"{len(summary['releases'])} releases serve at once.")
    return text


def _failures(entries: Sequence[Mapping[str, Any]]) -> list[str]:
    """A line for each failure that no later run fixed, with the last time at which it happened."""
    said = {entry["host"]: _failed(entry["failure"]) for entry in entries}
    last: dict[str, str] = {}
    for entry in entries:
        key = said[entry["host"]]
        last[key] = max(last.get(key, ""), str(entry["failure"].get("time")))
    return notes(((host, f"the last run failed, {last[key]}, {key}") for host, key in said.items()), "in the summary")


def _failed(failure: Mapping[str, Any]) -> str:
    message = " ".join(str(failure.get("message", "")).split())
    shown = message[:MESSAGE] + ("…" if len(message) > MESSAGE else "")
    who, phase = failure.get("operator") or "?", failure.get("phase") or "?"
    return f"by {who}, in phase {phase}: {failure.get('task')}: {shown}"


def why(entry: Mapping[str, Any], rank: int) -> list[str]:
    """Why a host is to look at, in sentences without its name."""
    said = [] if entry["read"] else ["The ledger was not read; the host's own output says why."]
    if entry["failure"]:
        said.append(f"The last run failed, {entry['failure'].get('time')}, {_failed(entry['failure'])}")
    if _unproved(entry):
        said.append("There is no receipt for the current release. verify.yml proves it again.")
    said += [f"{note}." for note in entry.get("odd", [])]
    return said if said or rank == WELL else ["Most hosts serve something else."]
