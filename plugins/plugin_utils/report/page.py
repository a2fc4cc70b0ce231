# SPDX-License-Identifier: GPL-3.0-or-later
"""The report's page: one file that needs no network, for one host or a thousand.

The table is plain HTML. The details of each row are data in the page. When a row is opened, the script
(roles/synthesis/files/report.js) draws players, waveforms and spectrograms from them. So a page with a thousand hosts
opens at once. ``frame`` has what all pages share.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Any

from ...module_utils.host import sources
from ...module_utils.host.hashing import sha256_bytes
from ...module_utils.proof.terms import LEVELS
from ..fleet.rollout import GOOD
from . import frame
from .differences import FEWEST, identity, shown
from .report import FAILED, IN_WORDS, ODD, UNTRIED, UNVERIFIED, WELL, Clip, below, first_the_worst, reasons, summary
from .table import MOST_REASON, number

# Megabytes of WAV in one page; other sounds are linked. That is about 165 samples of three seconds, in 32 MB of page.
AUDIO_MB = 24
# With more samples than this, the passed findings are only in the hosts' records, not in the page.
MOST_MEASURED = 8000
# At most this many notes are above the table. All are in the table.
MOST_NOTES = 12
# Each state has a sign too, because not everybody can tell the colours apart.
SIGNS = {FAILED: "\u2717", ODD: "\u2260", WELL: "\u2713"}
HEADS = (
    ("Host", "host"), ("Result", "result"), ("Level", "level"), ("Voices", "voices"), ("Latency", "latency"),
    ("Real-time factor", "rtf"), ("Release", "release"), ("Profile", "profile"),
)  # fmt: skip


@dataclass
class Sounds:
    """The clips that lie in the page: place by (host, voice), their bytes in base64, and what was left out."""

    places: dict[tuple[str, str], int] = field(default_factory=dict)
    data: list[str] = field(default_factory=list)
    reference: str | None = None
    bytes: int = 0
    known: int = 0


def render(report: Mapping[str, Any], clips: Mapping[str, Mapping[str, Clip]], audio_mb: float = AUDIO_MB) -> str:
    """The page. `clips` are the WAV files by host and voice, of which those that matter most are put into it."""
    rows = first_the_worst(report["hosts"])
    sounds = choose(rows, clips, int(audio_mb * 1e6))
    return frame.document(
        f"Proof of speech: {frame.hosts(len(rows))}",
        [
            _head(report, rows),
            _tools(report),
            frame.table(HEADS, (_row(place, row, report["usual"]) for place, row in enumerate(rows))),
            _foot(report, sounds),
            f'<script type="application/json" id="data">{as_data(rows, sounds)}</script>\n',
            *(f'<script type="audio/wav" id="wav{place}">{data}</script>\n' for place, data in enumerate(sounds.data)),
        ],
        ["table.js", "report.js"],
        media=True,
    )


# --- which sounds ----------------------------------------------------------------------------------------------------


def choose(rows: Sequence[Mapping[str, Any]], clips: Mapping[str, Mapping[str, Clip]], most: int) -> Sounds:
    """Put sounds into the page while there is room for them.

    The order: one host to compare with, then all voices of hosts that failed or stand out, then one voice of each
    other host, then a second one, and so on. Files that cannot be read or have changed since the proof are left out.
    """
    digests = {
        (row["host"], sample["voice"]): sample["sha256"]
        for row in rows
        for sample in row["samples"]
        if sample["format"] == "wav"
    }
    sounds = Sounds(reference=_reference(rows, clips), known=sum(len(clips.get(row["host"], {})) for row in rows))
    for clip, host in _in_turn(rows, clips, sounds.reference):
        if (host, clip.voice) in sounds.places or sounds.bytes + clip.size > most:
            continue
        try:
            data = clip.file.read_bytes()
        except OSError:
            continue
        if sha256_bytes(data) == digests.get((host, clip.voice)):
            sounds.places[host, clip.voice] = len(sounds.data)
            sounds.data.append(base64.b64encode(data).decode())
            sounds.bytes += len(data)
    return sounds


def _reference(rows: Sequence[Mapping[str, Any]], clips: Mapping[str, Mapping[str, Clip]]) -> str | None:
    """The host to compare others with: of those that did well, the one with the median speed."""
    well = [row for row in rows if row["state"] == WELL and clips.get(row["host"]) and row["real_time_factor"]]
    ordered: list[str] = [row["host"] for row in sorted(well, key=lambda row: (row["real_time_factor"], row["host"]))]
    return ordered[len(ordered) // 2] if ordered else None


def _in_turn(
    rows: Sequence[Mapping[str, Any]], clips: Mapping[str, Mapping[str, Clip]], reference: str | None
) -> Iterator[tuple[Clip, str]]:
    if reference is not None:
        yield from ((clip, reference) for clip in clips[reference].values())
    for row in rows:
        if row["state"] != WELL:
            yield from ((clip, row["host"]) for clip in clips.get(row["host"], {}).values())
    others = [(row["host"], list(clips.get(row["host"], {}).values())) for row in rows if row["state"] == WELL]
    for turn in range(max((len(of) for _host, of in others), default=0)):
        yield from ((of[turn], host) for host, of in others if turn < len(of))


# --- what is above the table -------------------------------------------------------------------------------------


def _head(report: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> str:
    counts, usual = report["counts"], report["usual"]
    states, source = counts["states"], sources.of(report["unpublished"])
    tiles = [
        ("hosts", f"{counts['hosts']:,}", ""),
        ("did well" if source == sources.PUBLISHED else f"did well, {source}", f"{states[WELL]:,}",
         "good" if states[WELL] and source == sources.PUBLISHED else ""),
        ("stand out", f"{states[ODD]:,}", "odd" if states[ODD] else ""),
        ("failed or not done", f"{states[FAILED]:,}", "bad" if states[FAILED] else ""),
        ("lowest level", report["level"], "" if report["level"] != LEVELS[0] else "bad"),
        ("median latency", number(usual["latency_seconds"], " s"), ""),
        ("median real-time factor", number(usual["real_time_factor"]), ""),
    ]  # fmt: skip
    stopped = (
        f"<p class=stop>Stopped before the next batch: {escape(report['stopped'])}.</p>" if report["stopped"] else ""
    )
    said = summary(report)
    return (
        f"{frame.head('Proof of speech', report['time'])}{_banner(report['unpublished'])}{stopped}"
        f'<p class="said">{escape(" ".join(said))}</p>{frame.tiles(tiles)}'
        f'<div class="two">{_notes(rows)}{_what_runs(rows)}</div>{_strips(rows, usual)}'
    )


def _banner(unpublished: Mapping[str, str]) -> str:
    if not unpublished:
        return ""
    files = ", ".join(f"<code>{escape(path)}</code> ({source})" for path, source in unpublished.items())
    shows = "For quickstart and tests only."
    if sources.of(unpublished) == sources.MADE_UP:
        shows = "Levels and times show that the machinery works, nothing more."
    return (
        f'<div class="banner" role="alert"><strong>{escape(sources.in_words(unpublished))}</strong>'
        f"These files are not the published ones: {files}. {shows}</div>"
    )


def _notes(rows: Sequence[Mapping[str, Any]]) -> str:
    """Failures and differences, each listed once with all its hosts."""
    found: dict[tuple[str, str], list[int]] = {}
    for place, row in enumerate(rows):
        for reason in reasons(row):
            said = " ".join(reason.split())
            said = said if len(said) <= MOST_REASON else f"{said[:MOST_REASON]} \u2026"
            found.setdefault((row["state"], said), []).append(place)
    if not found:
        return ""
    items = []
    for (state, said), places in list(found.items())[:MOST_NOTES]:
        links = ", ".join(_link(place, rows[place]["host"]) for place in places[:6])
        more = f" and {len(places) - 6:,} more" if len(places) > 6 else ""
        items.append(f"<li>{_sign(state)} <strong>{links}{more}</strong> {escape(said)}</li>")
    if len(found) > MOST_NOTES:
        items.append(f'<li class="soft">{len(found) - MOST_NOTES:,} more notes are in the table.</li>')
    return f'<section><h2>Look at these first</h2><ul class="notes">{"".join(items)}</ul></section>'


def _link(place: int, host: str) -> str:
    return f'<a href="#h{place}"><bdi>{escape(host)}</bdi></a>'


def _sign(state: str, unpublished: bool = False) -> str:
    """The sign of a state. It is green only if all files are the published ones."""
    if unpublished and state == WELL:
        return '<span class="sign odd" aria-hidden="true">!</span>'
    kind = {FAILED: "bad", ODD: "odd", WELL: "good"}[state]
    return f'<span class="sign {kind}" aria-hidden="true">{SIGNS[state]}</span>'


def _what_runs(rows: Sequence[Mapping[str, Any]]) -> str:
    """Release, manifest, profile and versions of the fleet, and the hosts that have others."""
    values: dict[str, dict[str, list[int]]] = {}
    for place, row in enumerate(rows):
        for name, value in identity(row).items():
            values.setdefault(name, {}).setdefault(value, []).append(place)
    if not values:
        return ""
    lines = []
    for name, having in values.items():
        told = []
        ordered = sorted(having.items(), key=lambda item: -len(item[1]))
        for turn, (value, places) in enumerate(ordered):
            if len(ordered) == 1:
                who = ""
            elif turn and len(places) <= 3:
                who = f" on {', '.join(_link(place, rows[place]['host']) for place in places)}"
            else:
                who = f" on {len(places):,}"
            kind = "odd" if turn else ""
            sign = '<span class="sign odd" aria-hidden="true">\u2260</span> ' if turn else ""
            code = f'<code title="{escape(value)}">{escape(shown(name, value))}</code>'
            told.append(f'<div class="{kind}">{sign}{code}{who}</div>')
        title = {"manifest_sha256": "manifest"}.get(name, name.removeprefix("version of "))
        lines.append(f'<tr><th scope="row">{escape(title)}</th><td>{"".join(told)}</td></tr>')
    return f'<section><h2>What runs</h2><table class="runs">{"".join(lines)}</table></section>'


def _strips(rows: Sequence[Mapping[str, Any]], usual: Mapping[str, float | None]) -> str:
    """A dot for each host on the axes of latency and real-time factor, if there are enough hosts to compare."""
    drawn = [
        _strip(rows, "latency_seconds", "Latency", " s", usual["latency_seconds"]),
        _strip(rows, "real_time_factor", "Real-time factor", "", usual["real_time_factor"]),
    ]
    return f'<div class="two strips">{"".join(drawn)}</div>' if all(drawn) else ""


def _strip(rows: Sequence[Mapping[str, Any]], name: str, title: str, unit: str, usual: float | None) -> str:
    known = [(place, row, row[name]) for place, row in enumerate(rows) if row[name] is not None]
    if len(known) < FEWEST or usual is None:
        return ""
    highest = max(value for _place, _row, value in known)
    top = highest * 1.05 or 1.0
    middle = usual / top * 600
    radius = 4 if len(known) < 200 else 2
    marks = []
    # Draw the hosts to look at last, so that they are on top.
    for place, row, value in reversed(known):
        x, y = value / top * 600, 12 + place * 37 % 40
        label = f"<title>{escape(row['host'])}: {number(value, unit)}</title>"
        if row["state"] == WELL:
            marks.append(f'<circle cx="{x:.0f}" cy="{y}" r="{radius}">{label}</circle>')
        else:
            kind = "bad" if row["state"] == FAILED else "odd"
            marks.append(f'<path class="{kind}" d="M{x:.0f} {y - 7}l7 7-7 7-7-7z">{label}</path>')
    anchor = "end" if middle > 400 else "start"
    return (
        f'<figure><figcaption>{title} <span class="soft">a dot for each host, a diamond for one to look at</span>'
        f'</figcaption><svg viewBox="-8 0 616 86" role="img" aria-label="{title} of {len(known):,} hosts, median '
        f'{number(usual, unit)}, highest {number(highest, unit)}">'
        '<line x1="0" x2="600" y1="64" y2="64"/>'
        f'<line class="middle" x1="{middle:.0f}" x2="{middle:.0f}" y1="4" y2="64"/>'
        f'{"".join(marks)}<text x="0" y="82">0</text><text x="{middle:.0f}" y="82" text-anchor="{anchor}">median '
        f"{number(usual, unit)}</text>"
        f'<text x="600" y="82" text-anchor="end">{number(top, unit)}</text></svg></figure>'
    )


def _tools(report: Mapping[str, Any]) -> str:
    """Search and filters; the script makes them work."""
    states = report["counts"]["states"]
    open_ = sum(_unverified(row) for row in report["hosts"])
    choices = [
        ("all", "All", report["counts"]["hosts"]), ("failed", "Failed", states[FAILED]),
        ("odd", "Stand out", sum(bool(row["stands_out"]) for row in report["hosts"])), ("open", "UNVERIFIED", open_),
    ]  # fmt: skip
    return frame.tools(choices, "host, release, message")


def _unverified(row: Mapping[str, Any]) -> bool:
    """Whether a level is UNVERIFIED."""
    return any(step["state"] == UNVERIFIED for step in row["levels"])


# --- the table -------------------------------------------------------------------------------------------------------


def _row(place: int, row: Mapping[str, Any], usual: Mapping[str, float | None]) -> str:
    kinds = [{FAILED: "failed", ODD: "odd", WELL: "well"}[row["state"]]]
    kinds += ["odd"] if row["stands_out"] and row["state"] != ODD else []
    kinds += ["open"] if _unverified(row) else []
    odd = {note["name"] for note in row["stands_out"]}
    slow = any(note["kind"] == "speed" for note in row["stands_out"])
    notes = frame.notes(reasons(row))
    voices = ", ".join(row["voices"]) if len(row["voices"]) <= 3 else f"{len(row['voices'])} voices"
    cells = [
        f'<th scope="row"><button type="button" class="fold" aria-expanded="false" aria-controls="d{place}">'
        f"<bdi class=name>{escape(row['host'])}</bdi></button>{notes}</th>",
        f'<td data-name="Result" data-sort="{(FAILED, ODD, WELL).index(row["state"])}">'
        f'{_sign(row["state"], bool(row["unpublished"]))} '
        f'{escape(_outcome(row))}{_seconds(row["seconds"])}</td>',
        f'<td data-name="Level" data-sort="{LEVELS.index(row["level"])}">{_badge(row)}</td>',
        f'<td data-name="Voices" data-sort="{len(row["voices"])}"><span title="{escape(", ".join(row["voices"]))}">'
        f"{escape(voices or '-')}</span></td>",
        _number_cell("Latency", row["latency_seconds"], usual["latency_seconds"], " s", slow),
        _number_cell("Real-time factor", row["real_time_factor"], usual["real_time_factor"], "", slow),
        _code_cell("Release", row["release"], "release" in odd),
        _code_cell("Profile", row["profile"], bool({"profile", "accelerator"} & odd)),
    ]  # fmt: skip
    return f'<tr id="h{place}" data-kinds="{" ".join(kinds)}">{"".join(cells)}</tr>\n'


def _outcome(row: Mapping[str, Any]) -> str:
    if row["state"] == ODD:
        return f"{row['outcome']}, stands out" if row["outcome"] else "stands out"
    if row["outcome"] and (row["state"] != FAILED or row["outcome"] not in GOOD):
        return str(row["outcome"])
    if row["state"] == FAILED:
        return "not proved" if not row["samples"] else "below the required level"
    return "proved"


def _seconds(value: float | None) -> str:
    return "" if value is None else f'<div class="soft">{value:.0f} s</div>'


def _badge(row: Mapping[str, Any]) -> str:
    """The level with a sign and in words. It is green only if all files are the published ones."""
    if row["level"] == LEVELS[0] or below(row):
        kind, sign = "bad", SIGNS[FAILED]
    else:
        kind, sign = ("odd", "!") if row["unpublished"] else ("good", SIGNS[WELL])
    words = ""
    if row["unpublished"]:
        words = f'<div class="soft">{sources.of(row["unpublished"])}</div>'
    elif kind == "bad":
        words = f'<div class="soft">{escape(IN_WORDS[row["level"]])}</div>'
    return (
        f'<span class="badge {kind}" title="{escape(IN_WORDS[row["level"]])}"><span aria-hidden="true">{sign}</span>'
        f" {escape(row['level'])}</span>{words}"
    )


def _number_cell(name: str, value: float | None, usual: float | None, unit: str, odd: bool) -> str:
    """A number with a bar below it. The tick in the bar is the fleet's median."""
    ruler = ""
    if value is not None and usual:
        # 2.5 times the median fills the bar.
        width = min(100.0, value / usual * 40)
        ruler = (
            '<svg class="bar" viewBox="0 0 100 6" preserveAspectRatio="none" aria-hidden="true">'
            f'<rect width="{width:.0f}" height="6"/><line x1="40" x2="40" y1="0" y2="6"/></svg>'
        )
    kind = ' class="odd"' if odd else ""
    return (
        f'<td data-name="{name}" data-sort="{-1 if value is None else value}"{kind}>{number(value, unit)}{ruler}</td>'
    )


def _code_cell(name: str, value: str | None, odd: bool) -> str:
    sign = '<span class="sign odd" aria-hidden="true">\u2260</span> ' if odd else ""
    return f'<td data-name="{name}"{" class=odd" if odd else ""}>{sign}<code>{escape(value or "-")}</code></td>'


def _foot(report: Mapping[str, Any], sounds: Sounds) -> str:
    """How to read the page, and what is not in it."""
    left = ""
    if sounds.known > len(sounds.data):
        hosts = len({host for host, _voice in sounds.places})
        left = (
            f" This page holds {len(sounds.data):,} of {sounds.known:,} sounds ({sounds.bytes / 1e6:.0f} MB), of"
            f" {hosts:,} hosts: those that failed or stand out first, then one voice of each other host, then the rest,"
            " as far as there was space. The other sounds are linked. They are beside the page, in"
            " <code>audio/&lt;host&gt;/&lt;voice&gt;.wav</code>."
        )
    steps = "; ".join(f"<strong>{level}</strong> {IN_WORDS[level]}" for level in LEVELS)
    return (
        '<footer class="soft"><h2>How to read this</h2>'
        f"<p>The level of a host is that of its worst sample. The levels, from the lowest: {steps}. A check that could"
        " not run is UNVERIFIED, and never counts as passed.</p>"
        "<p>Latency is the time from the request to the last byte. The real-time factor is the latency divided by the"
        " length of the audio: below 1 is faster than speech. Both are medians over a host's samples, and the tick in a"
        " bar is the fleet\u2019s median. A host stands out if its speed or its sound is further from the fleet\u2019s"
        " median than chance explains, or if it does not run what most hosts run.</p>"
        f"<p>Open a host to hear it, see it, and read the measurements.{left} For machines: <code>report.json</code>,"
        " <code>junit.xml</code>. All findings of a host: <code>hosts/&lt;host&gt;.json</code>.</p>"
        "<noscript><p>Without JavaScript the table is complete, but nothing can be opened, sorted or found. The sounds"
        " are in the folder <code>audio</code>.</p></noscript></footer>"
    )


# --- data for the script ---------------------------------------------------------------------------------------------


class _Texts:
    """Keeps each text once. The data refer to it by its place."""

    def __init__(self) -> None:
        self.places: dict[str, int] = {}

    def __call__(self, text: Any) -> int:
        return self.places.setdefault(str(text), len(self.places))


def as_data(rows: Sequence[Mapping[str, Any]], sounds: Sounds) -> str:
    """The details of the rows, as JSON that is safe in a script element."""
    texts = _Texts()
    measured = sum(len(row["samples"]) for row in rows) <= MOST_MEASURED
    hosts = [_details(row, sounds, texts, measured) for row in rows]
    reference = {
        "host": sounds.reference,
        "wavs": {voice: place for (host, voice), place in sounds.places.items() if host == sounds.reference},
    }
    data = {"texts": list(texts.places), "hosts": hosts, "reference": reference, "measured": measured}
    text = json.dumps(data, separators=(",", ":"))
    # So nothing in the text can end the script element.
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _details(row: Mapping[str, Any], sounds: Sounds, texts: _Texts, measured: bool) -> dict[str, Any]:
    voices: dict[str, dict[str, Any]] = {}
    for sample in row["samples"]:
        voice = sample["voice"]
        card = voices.setdefault(voice, {"voice": voice, "samples": []})
        if sample["wav"]:
            card["path"] = sample["wav"]
        place = sounds.places.get((row["host"], voice))
        if place is not None:
            card["wav"] = place
        card["samples"].append(
            {
                "format": texts(sample["format"]),
                "level": texts(sample["level"]),
                "latency": sample["latency_seconds"],
                "seconds": sample["audio_seconds"],
                "rtf": sample["real_time_factor"],
                "looked": len(sample["findings"]),
                "findings": _findings(sample["findings"], texts, measured),
            }
        )
    odd = {note.get("voice") for note in row["stands_out"]}

    def amiss_first(card: Mapping[str, Any]) -> tuple[bool, bool]:
        wrong = any(finding[1] is False for sample in card["samples"] for finding in sample["findings"])
        return not wrong, card["voice"] not in odd

    return {
        "host": row["host"],
        "required": row["required_level"],
        "text": texts(row["text"] or ""),
        "proved": row["proved_at"],
        "alive": row["alive_now"],
        "source": sources.of(row["unpublished"]) if row["unpublished"] else "",
        "said": texts(sources.in_words(row["unpublished"])),
        "manifest": row["manifest_sha256"],
        "record": row["record"],
        "versions": {name: texts(value) for name, value in row["versions"].items()},
        "levels": [[texts(step["level"]), texts(step["state"]), texts(step["why"])] for step in row["levels"]],
        # The ladder shows which levels were not requested.
        "findings": _findings([one for one in row["findings"] if one["name"] != UNTRIED], texts, measured),
        "performance": row["performance"],
        "cards": sorted(voices.values(), key=amiss_first),
    }


def _findings(findings: Iterable[Mapping[str, Any]], texts: _Texts, good: bool) -> list[list[Any]]:
    """[name, ok, value, limit, sentence] for each. A passed one with a number needs no sentence."""
    return [
        [
            texts(finding["name"]),
            finding["ok"],
            finding["value"],
            texts(finding["limit"]),
            texts("" if finding["ok"] is True and not isinstance(finding["value"], str) else finding["sentence"]),
        ]
        for finding in findings
        if good or finding["ok"] is not True
    ]
