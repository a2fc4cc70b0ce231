# SPDX-License-Identifier: GPL-3.0-or-later
"""The report on the proofs of all hosts: one HTML page to look at and listen to, JSON for machines, a short table.

The page is one file that needs no network: sounds, waveforms and spectrograms lie in it, and a content policy keeps
the browser from loading anything. Everything that hosts said is escaped.
"""

from __future__ import annotations

import base64
import re
import struct
import zlib
from array import array
from dataclasses import dataclass, field
from html import escape
from operator import mul
from pathlib import Path
from statistics import median
from typing import Any

from ansible_collections.voicefleet.kokoro.plugins.module_utils.acoustics import LEVELS, decibel, hann, power_pair
from ansible_collections.voicefleet.kokoro.plugins.module_utils.audio import AudioError, decode_wav
from ansible_collections.voicefleet.kokoro.plugins.module_utils.hashing import sha256_bytes
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.rollout import GOOD, SERVED, End

# WAV bytes that one page holds; samples beyond it are linked, not embedded. About 200 samples of 3 s.
MOST_EMBEDDED = 32 << 20
COLUMNS, ROWS = 300, 96
# Rows that a table in a terminal has at the most; of more hosts, those that serve are counted only.
MOST_ROWS = 40
# Characters of a reason below that table; all of it was printed where it happened, and is in report.json.
MOST_REASON = 300
TONES = 64  # colours of a spectrogram
RANGE_DB = 70.0

IN_WORDS = {
    "none": "no proof",
    "format": "a whole sound file, not shown to be speech",
    "acoustic": "sounds like speech",
}


def folder_name(host: str) -> str:
    """A host's name as a folder on the controller: inventory names may hold anything."""
    return re.sub(r"[^A-Za-z0-9_.-]", "_", host).lstrip(".") or "_"


@dataclass(frozen=True)
class Clip:
    """The sound of one voice on one host. `path` is relative to the report."""

    voice: str
    path: str
    data: bytes


@dataclass
class Host:
    """What is known of one host: the facts that the roles set, the WAV files that were brought, how the run ended."""

    name: str
    plan: dict[str, Any] = field(default_factory=dict)
    synthesis: dict[str, Any] = field(default_factory=dict)
    clips: dict[str, Clip] = field(default_factory=dict)
    end: End | None = None

    def row(self) -> dict[str, Any]:
        """The host as a row of the report. Times in seconds, medians over its samples."""
        samples = self.synthesis.get("samples") or []
        proved_in_plan = (self.plan.get("release") or {}).get("id") in (None, self.synthesis.get("release_id"))
        level = self.synthesis.get("level", LEVELS[0]) if proved_in_plan else LEVELS[0]
        latencies = [s["latency_seconds"] for s in samples if s["latency_seconds"] is not None]
        factors = [s["real_time_factor"] for s in samples if s["real_time_factor"] is not None]
        return {
            "host": self.name,
            "release": (self.plan.get("release") or {}).get("id") or self.synthesis.get("release_id"),
            "profile": self.plan.get("profile") or self.synthesis.get("profile"),
            "manifest_sha256": self.plan.get("manifest_sha256") or self.synthesis.get("manifest_sha256"),
            "level": level,
            "required_level": self.synthesis.get("required_level"),
            "proved_at": self.synthesis.get("time"),
            "alive_now": bool(self.synthesis.get("live")),
            "voices": self.synthesis.get("voices") or self.plan.get("voices") or [],
            "formats": self.synthesis.get("formats") or [],
            "text": self.synthesis.get("text"),
            "latency_seconds": median(latencies) if latencies else None,
            "real_time_factor": median(factors) if factors else None,
            "synthetic": self.synthesis.get("synthetic") or self.plan.get("synthetic") or [],
            "samples": [{**s, "wav": self._wav_of(s)} for s in samples],
            "stands_out": [],
            **self._ending(),
        }

    def _ending(self) -> dict[str, Any]:
        """How the run ended here, None where no run was counted, and the release that serves, None where unknown."""
        tried = (self.plan.get("release") or {}).get("id") or self.synthesis.get("release_id")
        if self.end is None:
            return {"outcome": None, "why": "", "seconds": None, "serves": tried}
        serves = tried if self.end.outcome == SERVED else self.plan.get("current")
        seconds = None if self.end.seconds is None else round(self.end.seconds, 1)
        return {"outcome": self.end.outcome, "why": self.end.why, "seconds": seconds, "serves": serves}

    def _wav_of(self, sample: dict[str, Any]) -> str | None:
        clip = self.clips.get(sample["voice"]) if sample["format"] == "wav" else None
        return clip.path if clip else None


def load_clips(folder: Path, host: str, synthesis: dict[str, Any]) -> dict[str, Clip]:
    """The WAV files of a host that lie beside the report and are those of its proof, by voice."""
    found = {}
    for sample in synthesis.get("samples") or []:
        path = f"audio/{folder_name(host)}/{sample['voice']}.wav"
        if sample["format"] != "wav" or "/" in sample["voice"]:
            continue
        try:
            data = (folder / path).read_bytes()
        except OSError:
            continue
        if sha256_bytes(data) == sample["sha256"]:
            found[sample["voice"]] = Clip(sample["voice"], path, data)
    return found


def build(hosts: list[Host], time: str, run: dict[str, Any] | None = None) -> dict[str, Any]:
    """The report as data. `time` is now, in UTC; `run` is the state that plugin_utils/rollout.py describes."""
    run = run or {}
    rows = [host.row() for host in sorted(hosts, key=lambda host: host.name)]
    compare([row for row in rows if row["outcome"] in (None, *GOOD)])
    return {
        "schema": 1,
        "time": time,
        "level": min((row["level"] for row in rows), key=LEVELS.index, default=LEVELS[0]),
        "synthetic": sorted({path for row in rows for path in row["synthetic"]}),
        "batches": [batch["hosts"] for batch in run.get("batches", [])],
        "stopped": run.get("stop", ""),
        "hosts": rows,
    }


def unfinished(report: dict[str, Any]) -> list[str]:
    """The hosts on which the run did not do what it was to do."""
    return [row["host"] for row in report["hosts"] if row["outcome"] not in (None, *GOOD)]


def compare(rows: list[dict[str, Any]]) -> None:
    """Say of each host in what it stands out from the others, in `stands_out`."""
    for name, what in (("release", "release"), ("manifest_sha256", "manifest"), ("level", "level")):
        values = [row[name] for row in rows]
        usual = max(set(values), key=values.count, default=None)
        for row in rows:
            if row[name] != usual and values.count(usual) > len(rows) / 2:
                row["stands_out"].append(f"other {what} than most hosts")
    factors = [row["real_time_factor"] for row in rows if row["real_time_factor"] is not None]
    if len(factors) > 2:
        usual_factor = median(factors)
        for row in rows:
            factor = row["real_time_factor"]
            if factor is not None and factor > 1.5 * usual_factor:
                row["stands_out"].append(f"slow: real-time factor {factor:.2f}, most hosts {usual_factor:.2f}")


def table(report: dict[str, Any]) -> list[str]:
    """The report in a few lines for the terminal, and below it why a host did not get there."""
    rows, folded = report["hosts"], 0
    if len(rows) > MOST_ROWS:
        rows = [row for row in rows if row["outcome"] not in GOOD][:MOST_ROWS]
        folded = sum(row["outcome"] in GOOD for row in report["hosts"])
    counted = any(row["outcome"] for row in report["hosts"])
    head: tuple[str, ...] = ("host", "serves" if counted else "release", "level", "voices", "latency", "RTF")
    if counted:
        head = (*head[:3], "outcome", "seconds", *head[3:])
    lines = [head]
    for row in rows:
        cells = [
            row["host"],
            row["serves"] or "-",
            row["level"],
            str(len(row["voices"])),
            _number(row["latency_seconds"], " s"),
            _number(row["real_time_factor"]),
        ]
        if counted:
            cells[3:3] = [row["outcome"] or "-", "-" if row["seconds"] is None else f"{row['seconds']:.0f}"]
        lines.append(tuple(cells))
    widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
    text = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]
    left = len(report["hosts"]) - folded - len(rows)
    if folded:
        text.append(f"{folded} hosts did well, and are not listed here.")
    if folded and left:
        text.append(f"{left} more are not listed here.")
    for row in rows:
        if row["why"]:
            why = " ".join(row["why"].split())
            text.append(f"{row['host']}: {why if len(why) <= MOST_REASON else why[:MOST_REASON] + ' …'}")
        text += [f"{row['host']}: {note}" for note in row["stands_out"]]
    if report["synthetic"]:
        text.append(f"MADE-UP WEIGHTS: this audio is not Kokoro's voice ({', '.join(report['synthetic'])}).")
    if report["stopped"]:
        text.append(f"STOPPED before the next batch: {report['stopped']}.")
    return text


def _number(value: float | None, unit: str = "") -> str:
    return "-" if value is None else f"{value:.2f}{unit}"


# --- pictures --------------------------------------------------------------------------------------------------------


def waveform(samples: array[int]) -> str:
    """Highest and lowest sample of each column as one filled SVG shape, full scale from top to bottom."""
    step = max(1, -(-len(samples) // COLUMNS))
    parts = [samples[i : i + step] for i in range(0, len(samples), step)]
    top = [f"{x},{50 - max(part) / 32768 * 50:.1f}" for x, part in enumerate(parts)]
    bottom = [f"{x},{50 - min(part) / 32768 * 50:.1f}" for x, part in enumerate(parts)]
    return (
        f'<svg class="wave" viewBox="0 0 {COLUMNS} 100" preserveAspectRatio="none" role="img" aria-label="waveform">'
        f'<line x1="0" x2="{COLUMNS}" y1="50" y2="50"/><polygon points="{" ".join([*top, *reversed(bottom)])}"/></svg>'
    )


def spectrogram(samples: array[int], points: int = 512) -> bytes:
    """A PNG: time to the right, 0 Hz at the bottom, half the sample rate at the top, `RANGE_DB` from dark to light."""
    window = hann(points)
    samples = samples + array("h", bytes(2 * points))
    last = len(samples) - points
    places = [last * i // COLUMNS for i in range(COLUMNS)]
    columns: list[list[float]] = []
    for one, two in zip(places[::2], places[1::2], strict=True):
        frames = [list(map(mul, samples[at : at + points], window)) for at in (one, two)]
        columns += power_pair(*frames)
    bins = points // 2
    bands = [(bins * row // ROWS, max(bins * (row + 1) // ROWS, bins * row // ROWS + 1)) for row in range(ROWS)]
    levels = [[decibel(max(column[a:b]) / 2**30) for a, b in bands] for column in columns]
    loudest = max(max(column) for column in levels)
    picture = [
        bytes(
            min(TONES - 1, max(0, round((column[row] - loudest + RANGE_DB) / RANGE_DB * (TONES - 1))))
            for column in levels
        )
        for row in reversed(range(ROWS))
    ]
    return png(picture, palette())


def palette() -> list[tuple[int, int, int]]:
    """From nearly black over violet and orange to pale yellow."""
    stops = [(4, 5, 22), (66, 15, 117), (148, 38, 110), (221, 81, 58), (252, 165, 10), (252, 253, 191)]
    colours = []
    for i in range(TONES):
        place = i / (TONES - 1) * (len(stops) - 1)
        low = min(int(place), len(stops) - 2)
        part = place - low
        red, green, blue = (round(a + (b - a) * part) for a, b in zip(stops[low], stops[low + 1], strict=True))
        colours.append((red, green, blue))
    return colours


def png(rows: list[bytes], colours: list[tuple[int, int, int]]) -> bytes:
    """An indexed PNG with one byte for each pixel."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", len(rows[0]), len(rows), 8, 3, 0, 0, 0)
    pixels = zlib.compress(b"".join(b"\0" + row for row in rows), 9)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"PLTE", b"".join(bytes(colour) for colour in colours))
        + chunk(b"IDAT", pixels)
        + chunk(b"IEND", b"")
    )


# --- page ------------------------------------------------------------------------------------------------------------

STYLE = """
:root { color-scheme: light; --line: #d8dce3; --soft: #5a6472; --good: #17703b; --mid: #8a5a00; --bad: #a3201a; }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 76rem; padding: 2rem 1.5rem 4rem; color: #1a2029; background: #fbfbfc;
  font: 16px/1.5 system-ui, "Segoe UI", "DejaVu Sans", sans-serif; }
h1 { margin: 0; font-size: 1.7rem; } h2 { font-size: 1.15rem; margin: 2.2rem 0 .6rem; }
.sub, .soft { color: var(--soft); } .sub { margin: .2rem 0 1.2rem; }
.banner { margin: 1.2rem 0; padding: 1rem 1.3rem; border-radius: .5rem; color: #fff; background: #a3201a; }
.banner code { white-space: normal; } .banner strong { display: block; font-size: 1.45rem; line-height: 1.3; }
.scroll { overflow-x: auto; }
table { width: 100%; border-collapse: collapse; background: #fff; border: 1px solid var(--line); }
th, td { padding: .5rem .8rem; text-align: left; border-bottom: 1px solid var(--line); vertical-align: top; }
th { font-size: .8rem; color: var(--soft); font-weight: 600; white-space: nowrap; }
td.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; } th.n { text-align: right; }
code { white-space: nowrap; font: .88em ui-monospace, "DejaVu Sans Mono", monospace; }
.badge { display: inline-block; padding: 0 .55rem; border-radius: 1rem; color: #fff;
  font-weight: 600; font-size: .88rem; }
.acoustic { background: var(--good); } .format { background: var(--mid); } .none { background: var(--bad); }
.odd { color: var(--bad); font-weight: 600; }
.cards { display: grid; gap: 1rem; grid-template-columns: repeat(auto-fill, minmax(21rem, 1fr)); }
.card { padding: .9rem 1rem; background: #fff; border: 1px solid var(--line); border-radius: .5rem; }
.card h3 { margin: 0 0 .6rem; font-size: 1rem; }
.wave, .spec img { display: block; width: 100%; border-radius: .25rem; }
.wave { height: 4.2rem; background: #eef1f6; } .wave polygon { fill: #2b5fab; } .wave line { stroke: #b8c1cf; }
.spec { position: relative; margin-top: .4rem; } .spec img { height: 7rem; background: #04051c; }
.spec span { position: absolute; left: .3rem; font-size: .68rem; line-height: 1.6; color: #fff;
  text-shadow: 0 0 3px #000; }
.spec span:first-of-type { top: 0; } .spec span:last-of-type { bottom: 0; }
audio { display: block; width: 100%; height: 2.4rem; margin: .6rem 0; }
.card p { margin: .35rem 0; font-size: .9rem; } .finding { color: var(--bad); }
summary { cursor: pointer; color: var(--soft); font-size: .9rem; }
details table { margin-top: .4rem; font-size: .82rem; }
details td, details th { padding: .2rem .5rem; }
"""
POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; media-src data:"


def render(report: dict[str, Any], clips: dict[str, dict[str, Clip]]) -> str:
    """The page. `clips` holds the WAV files by host and voice."""
    rows = "".join(_row(row) for row in report["hosts"])
    room = MOST_EMBEDDED
    sections = []
    for row in report["hosts"]:
        cards = []
        for voice in dict.fromkeys(sample["voice"] for sample in row["samples"]):
            clip = clips.get(row["host"], {}).get(voice)
            embed = clip is not None and len(clip.data) <= room
            room -= len(clip.data) if clip is not None and embed else 0
            mine = [sample for sample in row["samples"] if sample["voice"] == voice]
            cards.append(_card(voice, mine, clip, embed, bool(row["synthetic"])))
        body = "".join(cards) or '<p class="odd">No proof of speech was made on this host: see its own output.</p>'
        sections.append(
            f'<h2 id="{escape(folder_name(row["host"]))}">{escape(row["host"])}</h2>'
            f'<p class="soft">{escape(_history(row))}</p><div class="cards">{body}</div>'
        )
    count = len(report["hosts"])
    return (
        '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>Proof of speech</title><style>{STYLE}</style></head><body>"
        f"<h1>Proof of speech</h1>"
        f'<p class="sub">{count} {"host" if count == 1 else "hosts"}, {escape(report["time"])}. '
        f"Lowest level: {_badge(report['level'], bool(report['synthetic']))}</p>"
        f"{_banner(report['synthetic'])}{_stopped(report['stopped'])}"
        '<div class="scroll"><table><thead><tr><th>Host</th><th>Release</th><th>Profile</th><th>Level</th>'
        '<th>Voices</th><th class="n">Latency</th><th class="n">Real-time factor</th><th>Manifest</th></tr></thead>'
        f"<tbody>{rows}</tbody></table></div>"
        '<p class="soft">Latency is from the request to the last byte, and the real-time factor is that divided by the'
        " length of the audio (below 1: faster than speaking); both are medians over a host's samples. The level of a"
        " host is that of its worst sample. What the words are is not heard.</p>"
        f"{''.join(sections)}</body></html>\n"
    )


def _banner(synthetic: list[str]) -> str:
    if not synthetic:
        return ""
    names = ", ".join(f"<code>{escape(path)}</code>" for path in synthetic)
    return (
        '<div class="banner" role="alert"><strong>Made-up weights: this audio is not Kokoro\u2019s voice</strong>'
        f"These artifacts are stand-ins for tests: {names}. Levels and times show that the machinery works,"
        " nothing more.</div>"
    )


def _stopped(why: str) -> str:
    return f'<p class="odd">Stopped before the next batch: {escape(why)}.</p>' if why else ""


def _badge(level: str, synthetic: bool) -> str:
    """A level in colour; what rests on stand-ins is never green."""
    colour = "format" if synthetic and level == "acoustic" else level
    return f'<span class="badge {escape(colour)}" title="{escape(IN_WORDS.get(level, ""))}">{escape(level)}</span>'


def _row(row: dict[str, Any]) -> str:
    level = "stand-in" if row["synthetic"] else IN_WORDS.get(row["level"], "")
    notes = row["stands_out"] if row["outcome"] in (None, *GOOD) else [f"{row['outcome']}. {row['why']}"]
    odd = "".join(f'<div class="odd">{escape(note)}</div>' for note in notes)
    below = ""
    if row["required_level"] in LEVELS and LEVELS.index(row["level"]) < LEVELS.index(row["required_level"]):
        below = f'<div class="odd">{escape(row["required_level"])} was required</div>'
    return (
        f'<tr><td><a href="#{escape(folder_name(row["host"]))}">{escape(row["host"])}</a>{odd}</td>'
        f"<td><code>{escape(row['release'] or '-')}</code></td><td><code>{escape(row['profile'] or '-')}</code></td>"
        f'<td>{_badge(row["level"], bool(row["synthetic"]))}<div class="soft">{escape(level)}</div>{below}</td>'
        f"<td>{escape(', '.join(row['voices']))}</td>"
        f'<td class="n">{_number(row["latency_seconds"], " s")}</td>'
        f'<td class="n">{_number(row["real_time_factor"])}</td>'
        f'<td><code title="{escape(row["manifest_sha256"] or "")}">{escape((row["manifest_sha256"] or "-")[:12])}'
        "</code></td></tr>"
    )


def _history(row: dict[str, Any]) -> str:
    if not row["proved_at"]:
        return ""
    text = f"\u201c{row['text']}\u201d Proved at {row['proved_at']}."
    return text + " Found alive in this run." if row["alive_now"] else text


def _card(voice: str, samples: list[dict[str, Any]], clip: Clip | None, embed: bool, synthetic: bool) -> str:
    """One voice: picture and player of its WAV, then each format with its numbers and what was found wrong."""
    parts = [f"<h3>{escape(voice)}</h3>"]
    if clip is not None and embed:
        try:
            pcm, rate = decode_wav(clip.data)
        except AudioError:
            pcm, rate = array("h"), 0
        if pcm:
            picture = base64.b64encode(spectrogram(pcm)).decode()
            parts.append(
                f'{waveform(pcm)}<div class="spec"><img alt="spectrogram" src="data:image/png;base64,{picture}">'
                f"<span>{rate // 2000} kHz</span><span>0</span></div>"
            )
        sound = base64.b64encode(clip.data).decode()
        parts.append(f'<audio controls preload="metadata" src="data:audio/wav;base64,{sound}"></audio>')
    elif clip is not None:
        parts.append(f'<p><a href="{escape(clip.path)}">Listen</a> (not in this page, which is large already)</p>')
    return f'<div class="card">{"".join(parts)}{"".join(_sample(sample, synthetic) for sample in samples)}</div>'


def _sample(sample: dict[str, Any], synthetic: bool) -> str:
    """One format of a voice, in words."""
    numbers = ""
    if sample["latency_seconds"] is not None:
        numbers = (
            f"{_number(sample['audio_seconds'], ' s')} of audio in {_number(sample['latency_seconds'], ' s')}"
            f" ({_number(sample['real_time_factor'])})"
        )
    parts = [f"<p><strong>{escape(sample['format'])}</strong> {_badge(sample['level'], synthetic)} {numbers}</p>"]
    for finding in sample["findings"]:
        if finding["ok"] is not True:
            word = "" if finding["ok"] is False else "UNVERIFIED "
            said = finding["sentence"].removeprefix("UNVERIFIED: ")
            parts.append(f'<p class="finding"><strong>{word}{escape(finding["name"])}</strong>: {escape(said)}</p>')
    lines = "".join(
        f"<tr><td>{escape(finding['name'])}</td><td>{escape(str(finding['value']))}</td>"
        f"<td>{escape(finding['limit'])}</td></tr>"
        for finding in sample["findings"]
    )
    parts.append(
        f"<details><summary>{len(sample['findings'])} things looked at</summary>"
        f"<table><tr><th>What</th><th>Measured</th><th>Limit</th></tr>{lines}</table></details>"
    )
    return "".join(parts)
