#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Count how the collection withstands hostile input: secrets that leak, and inputs that end in a traceback.

    tools/hostile.py                  # all counts
    tools/hostile.py --examples 5000  # more inputs for each parser

It exits with 1 if a secret leaks or an input ends in a traceback. Run it with the Python of the tests.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import json
import random
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
COLLECTION = "ansible_collections.voicefleet.kokoro.plugins"
TABLE = ROOT / "tests" / "unit" / "plugins" / "module_utils" / "secret_shapes.py"
# Parts of texts and values that break parsers.
SCRAPS = (
    "\x00",
    "\x1b[31m",
    "\ud800",
    "{",
    "[",
    '"',
    "}",
    "]",
    ":",
    "=",
    "\n",
    "9" * 400,
    "-1",
    "1e999",
    "../",
    "null",
    "a",
)
VALUES: tuple[Any, ...] = (
    None,
    True,
    -1,
    10**400,
    float("nan"),
    float("inf"),
    "",
    "\x1b]0;x\x07",
    "\ud800",
    "../../x",
    [],
    {},
    [None],
    {"a": []},
)


def leaked(shapes: ModuleType) -> tuple[int, int]:
    """Shapes tried and leaked: those of the table, and each known secret in each encoding."""
    redaction = importlib.import_module(f"{COLLECTION}.module_utils.host.redaction")
    tried = failed = 0
    for text, secrets in shapes.shapes().values():
        left = redaction.Redactor().text(text)
        tried, failed = tried + 1, failed + any(shapes.leaks(secret, left) for secret in secrets)
    for secret in ("a1b2c3d4e5f60718293a4b5c6d7e8f90", 'pass "word" of @dmin/x'):
        for text in shapes.encodings(secret).values():
            left = redaction.Redactor([secret]).known(text)
            tried, failed = tried + 1, failed + any(text[at : at + 6] in left for at in range(3, len(text) - 9))
    return tried, failed


def altered(value: Any, chance: random.Random) -> Any:
    """A value of which one part, somewhere, is replaced by an odd one."""
    if not isinstance(value, (dict, list)) or not value or chance.random() < 0.2:
        return chance.choice(VALUES)
    key = chance.choice(list(value) if isinstance(value, dict) else range(len(value)))
    copy: Any = dict(value) if isinstance(value, dict) else list(value)
    copy[key] = altered(value[key], chance)
    return copy


def parsers(folder: Path) -> Iterator[tuple[str, Callable[[random.Random], None]]]:
    """Each parser by name, with a function that gives it one hostile input. Add yours here."""
    ledger = importlib.import_module(f"{COLLECTION}.module_utils.release.ledger")
    receipts = importlib.import_module(f"{COLLECTION}.plugin_utils.fleet.receipts")
    report = importlib.import_module(f"{COLLECTION}.plugin_utils.report.report")
    junit = importlib.import_module(f"{COLLECTION}.plugin_utils.report.junit")
    page = importlib.import_module(f"{COLLECTION}.plugin_utils.report.page")
    table = importlib.import_module(f"{COLLECTION}.plugin_utils.report.table")
    redaction = importlib.import_module(f"{COLLECTION}.module_utils.host.redaction")
    receipt = {"release": "1", "previous": None, "time": "now", "operator": "kim", "seconds": {"total": 9.0}}
    finding = {"name": "noise", "level": "acoustic", "ok": True, "value": 0.5, "limit": "1", "sentence": "It is so."}
    sample = {"voice": "af", "format": "wav", "level": "acoustic", "findings": [finding], "latency_seconds": 0.5}
    measured = {"parallel": {"1": {"requests": 9, "latency": {"p50": 0.5, "p95": 0.6}}}}
    proof: dict[str, Any] = {
        "release_id": "1",
        "level": "acoustic",
        "samples": [sample],
        "findings": [finding],
        "performance": measured,
    }
    plan = {"release": {"id": "1"}, "profile": "cpu", "artifacts": [], "unpublished": {"kokoro/x": "made-up"}}

    def of_ledger(chance: random.Random) -> None:
        text = "".join(chance.choices(SCRAPS, k=20)).encode("utf-8", "surrogatepass")
        (folder / "ledger").write_bytes(json.dumps(altered(receipt, chance)).encode() + b"\n" + text)
        ledger.read(str(folder / "ledger"))

    def of_receipts(chance: random.Random) -> None:
        found = altered({"current": "1", "receipts": [receipt]}, chance)
        receipts.table(receipts.build({"good": {"current": "1", "receipts": [receipt]}, "odd": found}, "now"))

    def of_report(chance: random.Random) -> None:
        hosts = [report.Host("good", plan, proof), report.Host("odd", altered(plan, chance), altered(proof, chance))]
        data = report.build(hosts, "2026-11-22T14:00:00Z")
        junit.render(data), page.render(data, {}), table.table(data)

    def of_redaction(chance: random.Random) -> None:
        redaction.Redactor().text("password" + "".join(chance.choices(SCRAPS, k=30)))

    yield from {
        "ledger": of_ledger,
        "ledger summary": of_receipts,
        "report": of_report,
        "redaction": of_redaction,
    }.items()


def tracebacks(feed: Callable[[random.Random], None], examples: int) -> list[str]:
    """The errors that inputs ended in."""
    found = []
    for seed in range(examples):
        try:
            feed(random.Random(seed))
        except Exception as error:  # this is what it counts
            found.append(f"input {seed}: {type(error).__name__}: {str(error)[:100]!r}")
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--examples", type=int, default=300, help="inputs for each parser (default: 300)")
    examples: int = parser.parse_args().examples
    sys.path.insert(0, str(ROOT / ".cache" / "tree"))
    spec = importlib.util.spec_from_file_location("secret_shapes", TABLE)
    assert spec is not None
    assert spec.loader is not None
    shapes = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(shapes)
    tried, failed = leaked(shapes)
    print(f"secret shapes: {tried} tried, {failed} leaked")
    with tempfile.TemporaryDirectory() as folder:
        for name, feed in parsers(Path(folder)):
            errors = tracebacks(feed, examples)
            failed += len(errors)
            print(f"{name}: {examples} inputs tried, {len(errors)} tracebacks", *errors[:3], sep="\n  ")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
