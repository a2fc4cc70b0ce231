# SPDX-License-Identifier: GPL-3.0-or-later
"""What hosts say, in the form that the report expects. Hosts are not trusted: an odd value is shown as odd.

Each reader returns a usable value. If the host's value is odd, it also notes a sentence about it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ...module_utils.doctor import diagnosis
from ...module_utils.host import sources
from ...module_utils.proof.terms import LEVELS, MEASURES

MOST_TEXT = 20_000  # characters of one text
MOST_ROWS = 5_000  # samples or findings of one host
_LARGEST = 1e9
_SHOWN = 60


def printable(text: Any, most: int = MOST_TEXT) -> str:
    """At most so many characters of a text, without control characters."""
    return diagnosis.printable(str(text)[:most])


def shown_name(host: str) -> str:
    """A host's name with its unprintable characters escaped, so that two names never look the same."""
    return "".join(sign if sign.isprintable() else f"\\x{ord(sign):02x}" for sign in host)


def clean(value: Any, depth: int = 8) -> Any:
    """The same for all texts and names in lists and dicts; what lies too deep is left out."""
    if isinstance(value, str):
        return printable(value)
    if depth == 0:
        return None
    if isinstance(value, Mapping):
        return {printable(key, 200): clean(item, depth - 1) for key, item in list(value.items())[:MOST_ROWS]}
    if isinstance(value, (list, tuple)):
        return [clean(item, depth - 1) for item in value[:MOST_ROWS]]
    return number(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else value


def number(value: Any) -> float | None:
    """A usable number, or None."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return value if abs(value) <= _LARGEST else None


class Reader:
    """Reads the facts of one host and keeps sentences about odd values in ``notes``."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def odd(self, name: str, value: Any) -> None:
        try:
            said = " ".join(printable(repr(value), _SHOWN).split())
        except (ValueError, RecursionError):  # a number of thousands of digits, a list in itself
            said = f"a {type(value).__name__} that cannot be shown"
        note = f"odd value from the host: {printable(name, 80)} is {said}"
        if note not in self.notes and len(self.notes) < 20:
            self.notes.append(note)

    def text(self, of: Mapping[str, Any], name: str) -> str | None:
        value = of.get(name)
        if value is None:
            return None
        if not isinstance(value, str):
            self.odd(name, value)
            return None
        said = printable(value)
        if said != value:
            self.odd(name, value)
        return said

    def number(self, of: Mapping[str, Any], name: str) -> float | None:
        value = of.get(name)
        read = number(value)
        if read is None and value is not None:
            self.odd(name, value)
        if read is not None and read < 0 and name.endswith(("seconds", "factor", "bytes")):
            self.odd(name, value)
            return None
        return read

    def level(self, of: Mapping[str, Any], name: str, other: str | None) -> str | None:
        value = of.get(name)
        if isinstance(value, str) and value in LEVELS:
            return value
        if value is not None:
            self.odd(name, value)
        return other

    def texts(self, of: Mapping[str, Any], name: str) -> list[str]:
        values = self._typed(of, name, list, [])
        kept = [printable(value, 200) for value in values if isinstance(value, str)]
        if len(kept) != len(values):
            self.odd(name, values)
        return kept

    def words(self, of: Mapping[str, Any], name: str) -> dict[str, str]:
        """A dict of texts."""
        values = self._typed(of, name, Mapping, {})
        kept = {printable(key, 200): printable(value, 500) for key, value in values.items() if isinstance(value, str)}
        if len(kept) != len(values) or any(kept.get(key) != value for key, value in values.items()):
            self.odd(name, dict(values))
        return kept

    def mapping(self, of: Mapping[str, Any], name: str) -> dict[str, Any]:
        return dict(self._typed(of, name, Mapping, {}))

    def rows(self, of: Mapping[str, Any], name: str) -> list[Mapping[str, Any]]:
        values = self._typed(of, name, list, [])
        kept = [value for value in values[:MOST_ROWS] if isinstance(value, Mapping)]
        if len(kept) != len(values):
            self.odd(name, values)
        return kept

    def unpublished(self, of: Mapping[str, Any]) -> dict[str, str]:
        """The files that are not the published ones, each with a known source; the lowest if it is unknown."""
        found = self.words(of, "unpublished")
        for path, source in found.items():
            if source not in sources.SOURCES:
                self.odd("unpublished", {path: source})
        return {path: source if source in sources.SOURCES else sources.MADE_UP for path, source in found.items()}

    def _typed(self, of: Mapping[str, Any], name: str, kind: Any, other: Any) -> Any:
        value = of.get(name)
        if value is None:
            return other
        if not isinstance(value, kind):
            self.odd(name, value)
            return other
        return value


def plan(facts: Any, reader: Reader) -> dict[str, Any]:
    """The plan of a host; only what the report reads of it is checked."""
    facts = _facts(facts, "voicefleet_plan", reader)
    names = ("profile", "manifest_sha256", "accelerator", "current")
    texts = {name: reader.text(facts, name) for name in names if facts.get(name) is not None}
    artifacts = [
        {"kind": item["kind"], "name": printable(item["name"], 200), "version": printable(item.get("version"), 100)}
        for item in reader.rows(facts, "artifacts")
        if isinstance(item.get("kind"), str) and isinstance(item.get("name"), str)
    ]
    release = reader.mapping(facts, "release")
    python = reader.mapping(facts, "python")
    if not facts:
        return {}
    return {
        **texts,
        "release": {"id": reader.text(release, "id")} if release else {},
        "python": {"version": reader.text(python, "version")} if python else {},
        "artifacts": artifacts,
        "voices": reader.texts(facts, "voices"),
        "unpublished": reader.unpublished(facts),
    }


def proof(facts: Any, reader: Reader) -> dict[str, Any]:
    """The proof of a host."""
    facts = _facts(facts, "voicefleet_synthesis", reader)
    if not facts:
        return {}
    texts = ("release_id", "profile", "manifest_sha256", "time", "text")
    return {
        **{name: reader.text(facts, name) for name in texts if facts.get(name) is not None},
        "level": reader.level(facts, "level", LEVELS[0]),
        "required_level": reader.level(facts, "required_level", None),
        "live": bool(facts.get("live")),
        "voices": reader.texts(facts, "voices"),
        "formats": reader.texts(facts, "formats"),
        "versions": reader.words(facts, "versions"),
        "unpublished": reader.unpublished(facts),
        "performance": _performance(facts, reader),
        "findings": [_finding(row, reader) for row in reader.rows(facts, "findings")],
        "samples": [_sample(row, reader) for row in reader.rows(facts, "samples")],
    }


def _facts(facts: Any, name: str, reader: Reader) -> Mapping[str, Any]:
    if isinstance(facts, Mapping):
        return {key: value for key, value in facts.items() if isinstance(key, str)}
    if facts is not None:
        reader.odd(name, facts)
    return {}


def _finding(row: Mapping[str, Any], reader: Reader) -> dict[str, Any]:
    ok, value = row.get("ok"), row.get("value")
    if ok is not None and not isinstance(ok, bool):
        reader.odd("ok", ok)
        ok = None
    return {
        "name": reader.text(row, "name") or "unnamed",
        "level": reader.level(row, "level", LEVELS[1]),
        "ok": ok,
        "value": value if isinstance(value, bool) else printable(value) if isinstance(value, str) else number(value),
        "limit": printable(row.get("limit", ""), 500),
        "sentence": reader.text(row, "sentence") or "the host gives no reason",
    }


def _sample(row: Mapping[str, Any], reader: Reader) -> dict[str, Any]:
    digest = reader.text(row, "sha256")
    for name in ("voice", "format"):
        if row.get(name) is None:
            reader.odd(name, None)
    return {
        **{printable(key, 100): clean(value) for key, value in row.items()},
        "voice": reader.text(row, "voice") or "unnamed",
        "format": reader.text(row, "format") or "unnamed",
        "level": reader.level(row, "level", LEVELS[0]),
        "findings": [_finding(one, reader) for one in reader.rows(row, "findings")],
        "latency_seconds": reader.number(row, "latency_seconds"),
        "audio_seconds": reader.number(row, "audio_seconds"),
        "real_time_factor": reader.number(row, "real_time_factor"),
        "sha256": digest if digest and re.fullmatch("[0-9a-f]{64}", digest) else None,
        "measurements": _numbers(row, "measurements", reader),
        "offered": row.get("offered", True) is not False,
    }


def _numbers(of: Mapping[str, Any], name: str, reader: Reader) -> dict[str, float]:
    found = {printable(key, 100): reader.number({"x": value}, "x") for key, value in reader.mapping(of, name).items()}
    return {key: value for key, value in found.items() if value is not None}


def _performance(facts: Mapping[str, Any], reader: Reader) -> dict[str, Any] | None:
    """What was measured under load. A part with another structure is left out."""
    measured = reader.mapping(facts, "performance")
    if not measured:
        return None if facts.get("performance") is None else {}
    kept: dict[str, Any] = clean(measured)
    series = reader.mapping(measured, "parallel")
    whole = {}
    for load, values in series.items():
        good = isinstance(values, Mapping) and re.fullmatch(r"[0-9]{1,6}", str(load))
        if good and all(_whole(name, value) for name, value in values.items()):
            whole[str(load)] = clean(values)
        else:
            reader.odd(f"performance.parallel.{load}", values)
    if "parallel" in measured:
        kept["parallel"] = whole
    return kept


def _whole(name: Any, value: Any) -> bool:
    if name in MEASURES and value is not None and not isinstance(value, Mapping):
        return False
    if isinstance(value, Mapping):
        return all(number(one) is not None for one in value.values())
    return value is None or isinstance(value, (str, bool, list)) or number(value) is not None
