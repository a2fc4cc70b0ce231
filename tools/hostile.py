#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Count how the collection withstands hostile input.

    tools/hostile.py                  # all counts
    tools/hostile.py --examples 5000  # more inputs for each parser

It counts the bad values of variables that are refused, the inputs of parsers that end in a traceback, and the secrets
that leak from the redaction. It exits with 1 if one is accepted, ends in a traceback or leaks. Run it with the Python
of the tests, for instance .cache/env/test/bin/python tools/hostile.py.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import importlib
import json
import random
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[1]
# It links the checkout as a collection, so that the imports below work.
sys.path.insert(0, str(ROOT / "tests"))
importlib.import_module("conftest")

from ansible_collections.voicefleet.kokoro.plugins.module_utils.host import direct, redaction
from ansible_collections.voicefleet.kokoro.plugins.module_utils.proof import audio, proof, speech, transcript
from ansible_collections.voicefleet.kokoro.plugins.module_utils.release import ledger
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.fleet import receipts, values
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.report import junit, listing, page, report, table
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.store import (
    advisories,
    download,
    export,
    locks,
    manifest,
    provenance,
    prune,
)
from ansible_collections.voicefleet.kokoro.tests.unit.plugins.module_utils import hostile, secret_shapes
from ansible_collections.voicefleet.kokoro.tests.unit.plugins.module_utils.proof import test_fuzz as proofs
from ansible_collections.voicefleet.kokoro.tests.unit.plugins.plugin_utils.fleet import test_values
from ansible_collections.voicefleet.kokoro.tests.unit.plugins.plugin_utils.report import test_odd_hosts
from ansible_collections.voicefleet.kokoro.tests.unit.plugins.plugin_utils.store import test_fuzz as stores

# Parts of texts and values that break parsers.
SCRAPS = (
    *("\0", "\x1b[31m", "\ud800", "{", "[", '"', "}", "]", ":", "=", "\n", "<a", "-1", "1e999", "../", "null", "a"),
    *("9" * 400, "[" * 10_000),
)
VALUES: tuple[Any, ...] = (
    *(None, True, -1, 10**400, float("nan"), float("inf"), "", "\x1b]0;x\x07", "\ud800", "../../x"),
    *([], {}, [None], {"a": []}),
)


WHEELS = (manifest.Artifact("wheels/a.whl", stores.SHA, 3, "wheel", "a", "1.0"),)
ADVISORY = {
    "id": "A-1",
    "modified": "2026-11-20T00:00:00Z",
    "aliases": ["CVE-2026-1"],
    "summary": "words",
    "database_specific": {"severity": "HIGH"},
    "affected": [
        {
            "package": {"ecosystem": "PyPI", "name": "a", "purl": "pkg:pypi/a"},
            "versions": ["1.0"],
            "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "2.0"}]}],
        }
    ],
}


class Parser(NamedTuple):
    """Something that reads what others wrote: good inputs, and the errors with which it refuses others."""

    read: Callable[[bytes], object]
    good: list[bytes]
    refusals: tuple[type[Exception], ...] = ()


def as_json(value: Any) -> bytes:
    return json.dumps(value).encode()


def parsers(folder: Path) -> dict[str, Parser]:
    """Each parser by name. Add yours here."""
    file = folder / "file"
    evidence = proof.Evidence(str(folder), proofs.WANTED.release_id)
    Path(evidence.folder).mkdir()
    receipt = {"release": "1", "previous": None, "time": "now", "operator": "kim", "seconds": {"total": 9.0}}
    plan = {"release": {"id": "1"}, "profile": "cpu", "artifacts": [], "unpublished": {"kokoro/x": "made-up"}}

    def on_disk(read: Callable[[Path], object], path: Path = file) -> Callable[[bytes], object]:
        def written(data: bytes) -> object:
            path.write_bytes(data)
            return read(path)

        return written

    def value(data: bytes) -> Any:
        with contextlib.suppress(ValueError, RecursionError):
            return json.loads(data)
        return data.decode("utf-8", "replace")

    def of_lock(data: bytes) -> object:
        found = value(data)
        return locks.parse_lock(found, "lock") if isinstance(found, str) else locks.lock_of(found, "lock")

    def of_receipts(data: bytes) -> object:
        found = {"good": {"current": "1", "receipts": [receipt]}, "odd": value(data)}
        summary = receipts.build(found, "now")
        return receipts.table(summary), listing.ledgers(summary)

    def of_report(data: bytes) -> object:
        odd = value(data)
        plan, proof = (odd.get(name) if isinstance(odd, dict) else odd for name in ("plan", "proof"))
        hosts = [report.Host("good", {}, test_odd_hosts.PROOF), report.Host("odd", plan, proof)]
        made = report.build(hosts, "2026-11-22T14:00:00Z")
        return junit.render(made), page.render(made, {}), table.table(made)

    def of_transcription(data: bytes) -> object:
        heard = data.decode("utf-8", "replace")[: speech.MOST_TRANSCRIBED]
        return transcript.compare("It is 7 o'clock.", heard, proofs.LANGUAGES[len(data) % len(proofs.LANGUAGES)])

    def of_answer(data: bytes) -> object:
        ours, theirs = socket.socketpair()
        with ours:
            theirs.sendall(data)
            theirs.close()
            with contextlib.closing(direct.receive(ours, "GET", time.monotonic() + 10, 1000)) as answer:
                return speech.server_words(direct._body(answer, 1000))

    return {
        "manifest": Parser(stores.as_manifest, [stores.MANIFEST], (manifest.ManifestError,)),
        "export index": Parser(stores.as_index, [stores.INDEX], (export.ExportError,)),
        "lock": Parser(of_lock, [as_json(stores.LOCK), b'lock-version = "1.0"\n[[packages]]\n'], (locks.LockError,)),
        "advisories": Parser(
            on_disk(lambda path: advisories.match(advisories.select(path, WHEELS)[0], WHEELS)),
            [as_json({"vulns": [ADVISORY]}), as_json(ADVISORY)],
            (advisories.AdvisoryError,),
        ),
        "provenance": Parser(
            lambda data: provenance.parse(data, stores.SHA, "file").sentence,
            [provenance.render(manifest.Manifest(()), stores.SHA, provenance.Maker("kim", "here"), {}, 0, 0)],
            (provenance.ProvenanceError,),
        ),
        "prune list": Parser(on_disk(prune.read_listing), [stores.LISTING], (prune.PruneError,)),
        "download index": Parser(
            lambda data: download._on_page("https://i/a/", "https://i/a/", data.decode("utf-8", "replace"), "a.whl"),
            [b'<html><a href="https://h:1/x/a.whl#sha256=0">a.whl</a><a href="../a.whl">a</a>'],
            (ValueError, AssertionError),  # both are answered in words by its caller
        ),
        "ledger": Parser(on_disk(lambda path: ledger.read(str(path))), [as_json(receipt) + b"\n" + as_json(receipt)]),
        "ledger summary": Parser(of_receipts, [as_json({"current": "1", "receipts": [receipt]})]),
        "kept proof": Parser(
            on_disk(lambda _path: evidence.holds(proofs.WANTED), Path(evidence.proof)), [as_json(proofs.REPORT)]
        ),
        "report input": Parser(of_report, [as_json({"plan": plan, "proof": test_odd_hosts.PROOF})]),
        "audio containers": Parser(audio.inspect, proofs.SOUNDS, (audio.AudioError,)),
        "speech answers": Parser(
            of_answer,
            [
                start + b"\r\n" + as_json({"detail": "x"})
                for start in (hostile.HEAD, hostile.CHUNKED, b"HTTP/1.1 100 C")
            ],
            (OSError, http.client.HTTPException, ValueError, direct.PeerError),
        ),
        "transcriptions": Parser(
            of_transcription, [b"It's 7 o'clock on the 23rd, $1,250.50.", b"7" * 5000, b"7" * 5000 + b"th"]
        ),
        "redaction": Parser(
            lambda data: redaction.Redactor().text(data.decode("utf-8", "replace")), [b"password: " + b"x" * 50]
        ),
    }


def altered(value: Any, chance: random.Random) -> Any:
    """A value of which one part, somewhere, is replaced by an odd one."""
    if not isinstance(value, (dict, list)) or not value or chance.random() < 0.2:
        return chance.choice(VALUES)
    key = chance.choice(list(value) if isinstance(value, dict) else range(len(value)))
    copy: Any = dict(value) if isinstance(value, dict) else list(value)
    copy[key] = altered(value[key], chance)
    return copy


def damaged(good: bytes, chance: random.Random) -> bytes:
    """A good input with an odd value, or with other bytes, perhaps cut."""
    if chance.random() < 0.6:
        with contextlib.suppress(ValueError):
            return as_json(altered(json.loads(good), chance))
    at, end = chance.randrange(len(good) + 1), chance.randrange(len(good) + 1)
    other = chance.choice([chance.randbytes(8), chance.choice(SCRAPS).encode("utf-8", "surrogatepass")])
    data = good[:at] + other + good[at + chance.choice([0, len(other)]) :]
    return data[:end] if chance.random() < 0.3 else data


def tracebacks(parser: Parser, examples: int) -> Iterator[str]:
    """The errors in which inputs end."""
    for seed in range(examples):
        chance = random.Random(seed)
        data = damaged(chance.choice(parser.good), chance)
        try:
            with contextlib.suppress(*parser.refusals):
                parser.read(data)
        except Exception as error:  # this is what it counts
            yield f"input {seed}: {type(error).__name__}: {str(error)[:100]!r}"


def leaked() -> tuple[int, int]:
    """Shapes tried and leaked: those of the table, and each known secret in each encoding."""
    tried = failed = 0
    for text, secrets in secret_shapes.shapes().values():
        left = redaction.Redactor().text(text)
        tried, failed = tried + 1, failed + any(secret_shapes.leaks(secret, left) for secret in secrets)
    for secret in ("a1b2c3d4e5f60718293a4b5c6d7e8f90", 'pass "word" of @dmin/x'):
        for text in secret_shapes.encodings(secret).values():
            left = redaction.Redactor([secret]).known(text)
            tried, failed = tried + 1, failed + any(text[at : at + 6] in left for at in range(3, len(text) - 9))
    return tried, failed


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--examples", type=int, default=300, help="inputs for each parser (default: 300)")
    examples: int = parser.parse_args().examples
    bad = test_values.BAD
    failed = accepted = sum(not values.problems({name: value}, test_values.OPTIONS) for name, value in bad)
    print(f"bad values of variables: {len(bad) - accepted} of {len(bad)} refused")
    with tempfile.TemporaryDirectory() as folder:
        for name, each in parsers(Path(folder)).items():
            errors = list(tracebacks(each, examples))
            failed += len(errors)
            print(f"{name}: {examples} inputs tried, {len(errors)} tracebacks", *errors[:3], sep="\n  ")
    tried, left = leaked()
    print(f"secret shapes: {tried} tried, {left} leaked")
    return 1 if failed or left else 0


if __name__ == "__main__":
    sys.exit(main())
