# SPDX-License-Identifier: GPL-3.0-or-later
"""One odd host never spoils the report, the JUnit file, the ledger summary or the rows of other hosts."""

from __future__ import annotations

import copy
import json
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("hypothesis")

from ansible_collections.voicefleet.kokoro.plugins.module_utils.host.hashing import canonical_json
from ansible_collections.voicefleet.kokoro.plugins.module_utils.release import ledger
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.fleet import odd, receipts
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.report import junit, listing, page, report, table
from hypothesis import given, strategies as st

FINDING = {"name": "noise", "level": "acoustic", "ok": True, "value": 0.5, "limit": "0.15", "sentence": "It is so."}
SAMPLE = {
    "voice": "af_heart",
    "format": "wav",
    "level": "acoustic",
    "findings": [FINDING],
    "latency_seconds": 0.5,
    "audio_seconds": 2.5,
    "real_time_factor": 0.2,
    "bytes": 9,
    "sha256": "0" * 64,
    "file": "/x.wav",
    "measurements": {"seconds": 2.5, "rms_dbfs": -20.0},
}
PROOF = {
    "release_id": "1.2.3-abc",
    "level": "acoustic",
    "required_level": "acoustic",
    "voices": ["af_heart"],
    "formats": ["wav"],
    "text": "Hello there.",
    "time": "2026-11-22T14:00:00Z",
    "unpublished": {},
    "samples": [SAMPLE],
    "manifest_sha256": "5b1c" * 16,
    "versions": {"torch": "2.5.1"},
    "findings": [FINDING],
    "performance": {"parallel": {"1": {"requests": 10, "latency": {"p50": 0.5, "p95": 0.6}}}},
}
ODD = [
    ("level", "great"),
    ("level", None),
    ("level", 3),
    ("level", ["acoustic"]),
    ("required_level", "best"),
    ("voices", "af_heart"),
    ("voices", [None, 5]),
    ("formats", 7),
    ("text", {"a": 1}),
    ("time", 12),
    ("time", "\x1b]0;x\x07"),
    ("unpublished", ["x"]),
    ("unpublished", {"a": None}),
    ("versions", {"torch": "2\x1b[31m"}),
    ("versions", {"torch": []}),
    ("samples", "none"),
    ("samples", [None]),
    ("samples", [{}]),
    ("samples", {"a": 1}),
    ("findings", None),
    ("findings", [3]),
    ("performance", "fast"),
    ("performance", {"parallel": {"x": 1}}),
    ("performance", {"parallel": {"2": {"latency": "slow"}}}),
    ("performance", {"parallel": {"2": {"latency": {"p95": "slow"}}}}),
    ("manifest_sha256", 5),
    ("release_id", ["x"]),
    ("samples.latency_seconds", "0.5"),
    ("samples.latency_seconds", float("nan")),
    ("samples.latency_seconds", 10**400),
    ("samples.latency_seconds", -1),
    ("samples.real_time_factor", True),
    ("samples.voice", None),
    ("samples.format", {}),
    ("samples.findings", None),
    ("samples.findings", [{"ok": "yes"}]),
    ("samples.level", "loud"),
    ("samples.sha256", 0),
    ("samples.measurements", [1]),
    ("samples.measurements", {"seconds": "long"}),
    ("samples.voice", "\ud800\x00"),
]


def odd_proof(name: str, value: Any) -> dict[str, Any]:
    proof = copy.deepcopy(PROOF)
    first, _dot, second = name.partition(".")
    if second:
        proof["samples"][0][second] = value  # type: ignore[index]
    else:
        proof[first] = value
    return proof


def made(*hosts: report.Host) -> dict[str, Any]:
    """The report of some hosts, after each of its files was made and read."""
    data = report.build(list(hosts), "2026-11-22T14:00:00Z")
    root = ET.fromstring(junit.render(data))
    assert len(root.findall("testsuite")) == len(hosts)
    html = page.render(data, {host.name: host.clips for host in hosts})
    written = canonical_json(report.for_machines(data)).decode()
    for text in (html, written, *table.table(data), ET.tostring(root, "unicode")):
        assert not {sign for sign in text if not sign.isprintable()} - {"\n", "\t", "\r", "\u2028"}
    json.loads(written)
    return data


def others() -> list[report.Host]:
    return [report.Host(f"good{number}", {}, copy.deepcopy(PROOF)) for number in range(3)]


@pytest.mark.parametrize(("name", "value"), ODD)
def test_an_odd_value_of_one_host_leaves_the_other_rows_alone(name: str, value: Any) -> None:
    usual = {row["host"]: row for row in made(*others())["hosts"]}
    data = made(*others(), report.Host("strange", {}, odd_proof(name, value)))
    rows = {row["host"]: row for row in data["hosts"]}
    assert {host: row for host, row in rows.items() if host != "strange"} == usual
    if value is not None or name == "samples.voice":
        assert rows["strange"]["state"] != report.WELL or name in ("samples.voice",)


@pytest.mark.parametrize("value", ["great", ["x"], 5, 10**400, "\x1b[31mred"])
def test_an_odd_value_is_shown_as_odd(value: Any) -> None:
    [row] = made(
        report.Host("strange", {}, odd_proof("text", value) if value != "great" else odd_proof("level", value))
    )["hosts"]
    assert any(note["sentence"].startswith("odd value from the host: ") for note in row["stands_out"])


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
PROOFS = st.fixed_dictionaries({}, optional={name: JSON | st.just(value) for name, value in PROOF.items()})
ONE = st.fixed_dictionaries({}, optional={name: JSON | st.just(value) for name, value in SAMPLE.items()})
SAMPLES = st.lists(ONE, max_size=2)
NAMES = ["release", "previous", "event", "time", "operator", "seconds", "unpublished", "manifest_sha256", "message"]
RECEIPTS = st.lists(JSON | st.dictionaries(st.sampled_from(NAMES), JSON), max_size=3)


@given(JSON | PROOFS, JSON | PROOFS, SAMPLES, st.text())
def test_any_facts_make_a_report(plan: Any, proof: Any, samples: Any, name: str) -> None:
    if isinstance(proof, dict):
        proof = {**proof, "samples": samples or proof.get("samples")}
    made(*others(), report.Host(f"x{name}", plan, proof))


@given(JSON | st.fixed_dictionaries({"current": JSON, "receipts": RECEIPTS}))
def test_any_receipts_make_a_summary(found: Any) -> None:
    good = {"current": "1", "receipts": [{"release": "1", "time": "now", "operator": "kim", "seconds": {"total": 9.0}}]}
    summary = receipts.build({"good": good, "strange": found}, "now")
    assert summary["hosts"][0] == receipts.row("good", good)
    assert all(line.isprintable() for line in map(odd.printable, receipts.table(summary)))
    assert all(line.isprintable() for line in listing.ledgers(summary).split("\n"))
    canonical_json(summary)


@given(st.binary())
def test_any_bytes_as_a_ledger(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    file = tmp_path_factory.mktemp("ledger") / "receipts.jsonl"
    file.write_bytes(data + b"\n" + b"[" * 100_000 + b'\n{"release": "1"}\n')
    assert ledger.read(str(file))[-1] == {"release": "1"}


def test_a_record_of_another_host_does_not_count(tmp_path: Path) -> None:
    from ansible_collections.voicefleet.kokoro.plugins.action import synthesis_report

    (tmp_path / "a.json").write_text(json.dumps({"host": "a", "synthesis": PROOF}))
    release = {"id": "1.2.3-abc"}
    assert synthesis_report.left_behind(tmp_path / "a.json", "a", release) == PROOF
    assert synthesis_report.left_behind(tmp_path / "a.json", "b", release) == {}
    assert synthesis_report.left_behind(tmp_path / "a.json", "a", None) == {}


def test_names_that_differ_in_odd_characters_have_their_own_folders() -> None:
    names = ["a/b", "a_b", "a:b", "a%b", ".a_b", "\ud800", "x" * 300, "x" * 301]
    assert len({report.folder_name(name) for name in names}) == len(names)
    assert all(len(report.folder_name(name)) <= 120 for name in names)


@pytest.mark.parametrize("text", ["\x1b[31mred", "\x1b]0;title\x07", "\x9b2J", "a\u202eb", "\x00", "\r"])
def test_control_characters_are_shown_as_odd(text: str) -> None:
    assert odd.printable(text).isprintable()
    assert odd.printable(f"a{text}b") != f"a{text}b"
