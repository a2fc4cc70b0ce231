# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import re
import struct
import zlib
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.voicefleet.kokoro.plugins.module_utils.hashing import sha256_bytes
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils import report
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.report import Clip, Host
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.rollout import End
from ansible_collections.voicefleet.kokoro.tests.unit.plugins.module_utils.signals import RATE, pcm, silence, sine, wav

SOUND = wav(pcm(silence(0.5) + sine(0.5, 6000)))
EVIL = "<script>alert('x')</script>"


def sample(
    voice: str = "af_heart", audio_format: str = "wav", level: str = "acoustic", **changes: Any
) -> dict[str, Any]:
    return {
        "voice": voice,
        "format": audio_format,
        "level": level,
        "findings": [
            {"name": "noise", "level": "acoustic", "ok": level == "acoustic", "value": 0.5, "limit": "0.15 or more",
             "sentence": "It has the pitch of a voice."},
        ],
        "latency_seconds": 0.5,
        "audio_seconds": 2.5,
        "real_time_factor": 0.2,
        "bytes": len(SOUND),
        "sha256": sha256_bytes(SOUND),
        "file": f"/var/lib/voicefleet-evidence/4.1.0-abc/{voice}.wav",
        "measurements": {},
        **changes,
    }  # fmt: skip


def host(name: str = "speaker1", **changes: Any) -> Host:
    synthesis = {
        "release_id": "4.1.0-abc",
        "level": "acoustic",
        "required_level": "acoustic",
        "voices": ["af_heart"],
        "formats": ["wav"],
        "text": "Hello there.",
        "time": "2026-11-22T14:00:00Z",
        "synthetic": [],
        "samples": [sample()],
        "manifest_sha256": "5b1c" * 16,
        **changes,
    }
    return Host(name, {}, synthesis, {"af_heart": Clip("af_heart", f"audio/{name}/af_heart.wav", SOUND)})


def page(*hosts: Host) -> tuple[dict[str, Any], str]:
    data = report.build(list(hosts), "2026-11-22 14:00:00 UTC")
    return data, report.render(data, {one.name: one.clips for one in hosts})


class Tags(HTMLParser):
    """All tags with their attributes, and whether every element was closed."""

    VOID = ("meta", "img", "br", "link", "input", "line", "polygon")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.VOID:
            assert self.open.pop() == tag


def test_the_page_is_whole_and_loads_nothing() -> None:
    _data, html = page(host(), host("speaker2"))
    tags = Tags(html)
    assert tags.open == []
    names = [tag for tag, _attrs in tags.tags]
    assert "script" not in names
    assert "link" not in names
    sources = [attrs[key] for _tag, attrs in tags.tags for key in ("src", "href") if key in attrs]
    assert sources
    assert [source for source in sources if not str(source).startswith(("data:", "#"))] == []
    assert "url(" not in html
    assert names.count("audio") == names.count("img") == names.count("svg") == 2


def test_everything_that_hosts_say_is_escaped() -> None:
    finding = {"name": EVIL, "level": "acoustic", "ok": False, "value": EVIL, "limit": EVIL, "sentence": EVIL}
    _data, html = page(
        host(
            EVIL,
            release_id=EVIL,
            profile=EVIL,
            manifest_sha256=EVIL,
            voices=[EVIL],
            text=EVIL,
            time=EVIL,
            synthetic=[EVIL],
            samples=[sample(EVIL, EVIL, findings=[finding])],
        )
    )
    assert "<script" not in html
    assert "&lt;script&gt;" in html
    assert Tags(html).open == []


def test_stand_ins_are_named_large_and_are_never_green() -> None:
    data, html = page(host(synthetic=["kokoro/x.pth"]))
    assert data["synthetic"] == ["kokoro/x.pth"]
    assert "Made-up weights: this audio is not Kokoro\u2019s voice" in html
    assert "kokoro/x.pth" in html
    assert 'class="badge acoustic"' not in html
    assert "MADE-UP WEIGHTS" in report.table(data)[-1]
    data, html = page(host())
    assert "Made-up" not in html
    assert 'class="badge acoustic"' in html
    assert not any("MADE-UP" in line for line in report.table(data))


def test_findings_are_said_in_words() -> None:
    bad = {"name": "noise", "level": "acoustic", "ok": False, "value": 0, "limit": "", "sentence": "It is noise."}
    open_ = {**bad, "name": "acoustic", "ok": None, "sentence": "UNVERIFIED: no soundfile"}
    _data, html = page(host(level="format", samples=[sample(level="format", findings=[bad, open_])]))
    assert "<strong>noise</strong>: It is noise." in html
    assert "<strong>UNVERIFIED acoustic</strong>: no soundfile" in html
    assert "acoustic was required" in html


def test_a_host_that_was_planned_and_not_proved_is_in_it() -> None:
    plan = {"release": {"id": "4.1.0-abc"}, "voices": ["af_heart"], "synthetic": [], "profile": "cpu"}
    data, html = page(host(), Host("speaker2", plan))
    assert data["level"] == "none"
    assert data["hosts"][1]["release"] == "4.1.0-abc"
    assert "No proof of speech was made on this host" in html
    assert re.search(r"speaker2 +4\.1\.0-abc +none +1 +- +-", report.table(data)[2])


def test_a_proof_of_another_release_does_not_count() -> None:
    one = host()
    one.plan = {"release": {"id": "4.1.0-new"}}
    assert page(one)[0]["level"] == "none"


def test_hosts_that_stand_out() -> None:
    slow = host("slow", samples=[sample(real_time_factor=0.9)])
    other = host("other", manifest_sha256="ffff", release_id="4.0.0-abc")
    data, html = page(host("a"), host("b"), host("c"), slow, other)
    notes = {row["host"]: row["stands_out"] for row in data["hosts"]}
    assert notes.pop("slow") == ["slow: real-time factor 0.90, most hosts 0.20"]
    assert notes.pop("other") == ["other release than most hosts", "other manifest than most hosts"]
    assert notes == {"a": [], "b": [], "c": []}
    assert html.count('class="odd"') == 3
    assert "slow: slow: real-time factor 0.90, most hosts 0.20" in report.table(data)


def test_the_table() -> None:
    lines = report.table(page(host(), host("a.very.long.name.example"))[0])
    assert lines[0].split() == ["host", "release", "level", "voices", "latency", "RTF"]
    assert lines[1].split() == ["a.very.long.name.example", "4.1.0-abc", "acoustic", "1", "0.50", "s", "0.20"]
    assert lines[1].index("4.1.0") == lines[2].index("4.1.0")


def test_what_is_too_much_for_one_page_is_linked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "MOST_EMBEDDED", len(SOUND) + 10)
    _data, html = page(host("a"), host("b"))
    assert html.count("<audio") == 1
    assert 'href="audio/b/af_heart.wav"' in html


def pixels(png: bytes) -> list[bytes]:
    """Rows of an indexed PNG without filters; checks its checksums."""
    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    at, data, size = 8, b"", (0, 0)
    while at < len(png):
        length, name = struct.unpack_from(">I4s", png, at)
        body = png[at + 8 : at + 8 + length]
        assert zlib.crc32(name + body) == struct.unpack_from(">I", png, at + 8 + length)[0]
        if name == b"IHDR":
            size = struct.unpack_from(">II", body)
        data += body if name == b"IDAT" else b""
        at += 12 + length
    raw = zlib.decompress(data)
    assert len(raw) == size[1] * (size[0] + 1)
    return [raw[i + 1 : i + 1 + size[0]] for i in range(0, len(raw), size[0] + 1)]


def test_the_spectrogram_shows_where_the_tone_is() -> None:
    """6 kHz is the middle of 0 to 12 kHz; the tone is in the second half."""
    rows = pixels(report.spectrogram(pcm(silence(0.5) + sine(0.5, 6000))))
    assert (len(rows), len(rows[0])) == (report.ROWS, report.COLUMNS)
    brightest = max(range(report.ROWS), key=lambda row: sum(rows[row]))
    assert brightest == pytest.approx(report.ROWS / 2, abs=2)
    assert rows[brightest][: report.COLUMNS // 3] == bytes(report.COLUMNS // 3)
    assert min(rows[brightest][2 * report.COLUMNS // 3 : -20]) > report.TONES - 8


@pytest.mark.parametrize("count", [1, 10, 300, 301, 2 * RATE])
def test_pictures_of_clips_of_any_length(count: int) -> None:
    samples = pcm(sine(2.1, 100))[:count]
    points = re.search(r'points="([^"]*)"', report.waveform(samples))
    assert points
    assert 2 <= len(points[1].split()) <= 2 * report.COLUMNS
    assert len(pixels(report.spectrogram(samples))) == report.ROWS


def test_clips_are_those_of_the_proof(tmp_path: Path) -> None:
    folder = tmp_path / "audio" / "speaker1"
    folder.mkdir(parents=True)
    (folder / "af_heart.wav").write_bytes(SOUND)
    (folder / "am_michael.wav").write_bytes(SOUND + b"x")
    samples = [sample(), sample("am_michael"), sample("none"), sample("../speaker1/af_heart")]
    assert list(report.load_clips(tmp_path, "speaker1", {"samples": samples})) == ["af_heart"]


def test_host_names_become_folders() -> None:
    assert report.folder_name("speaker1.site-b.example") == "speaker1.site-b.example"
    assert report.folder_name("../../etc") == "_.._etc"
    assert report.folder_name("..") == "_"
    assert report.folder_name("fe80::1%eth0") == "fe80__1_eth0"


def ended(name: str, outcome: str, why: str = "", **plan: Any) -> Host:
    one = host(name)
    one.plan = {"release": {"id": "4.1.0-abc"}, "current": "4.1.0-old", **plan}
    one.end = End(outcome, why, None if outcome == "not tried" else 12.3)
    return one


def test_the_table_of_a_counted_run() -> None:
    data = report.build(
        [ended("s1", "served"), ended("s2", "failed", "It is\n  noise."), Host("s3", end=End("not tried"))],
        "now",
        {"batches": [{"hosts": ["s1", "s2"], "began": 1.0}], "stop": "the canary failed: s2"},
    )
    assert data["batches"] == [["s1", "s2"]]
    lines = report.table(data)
    assert lines[0].split() == ["host", "serves", "level", "outcome", "seconds", "voices", "latency", "RTF"]
    assert lines[1].split()[:5] == ["s1", "4.1.0-abc", "acoustic", "served", "12"]
    assert lines[2].split()[:5] == ["s2", "4.1.0-old", "acoustic", "failed", "12"]
    assert lines[3].split()[:6] == ["s3", "-", "none", "not", "tried", "-"]
    assert lines[4:] == ["s2: It is noise.", "STOPPED before the next batch: the canary failed: s2."]
    assert report.unfinished(data) == ["s2", "s3"]
    html = report.render(data, {})
    assert "failed. It is" in html
    assert "Stopped before the next batch: the canary failed: s2." in html


def test_of_many_hosts_those_that_serve_are_counted_only() -> None:
    hosts = [ended(f"s{number:03}", "served") for number in range(report.MOST_ROWS)]
    data = report.build([*hosts, ended("t1", "failed", "x" * 400)], "now")
    lines = report.table(data)
    assert len(lines) == 4
    assert lines[1].startswith("t1 ")
    assert lines[2] == f"{report.MOST_ROWS} hosts did well, and are not listed here."
    assert lines[3] == f"t1: {'x' * report.MOST_REASON} …"


def test_a_host_that_did_not_get_there_is_no_measure_for_the_others() -> None:
    data = report.build([ended("s1", "served"), Host("s2", end=End("unreachable")), Host("s3", end=End("lost"))], "now")
    assert [row["stands_out"] for row in data["hosts"]] == [[], [], []]
