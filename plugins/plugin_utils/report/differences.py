# SPDX-License-Identifier: GPL-3.0-or-later
"""How a host differs from the rest of its fleet: what it runs, how fast it is and how it sounds.

The rows are those of `report.build`. A number stands out where its distance from the fleet's median is more than six
robust standard deviations (1.4826 times the median absolute deviation) and more than a floor below which nobody would
hear or feel it. Six and not the usual 3.5, by which chance alone names a host in every seventh fleet of eight and in
half of those of a thousand. It takes three hosts to say which one is the odd one; of two, the difference is said and
nobody is judged.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import Any

from ...module_utils.proof.acoustics import LEVELS
from ..fleet.rollout import names

LIMIT = 6.0
# Of as many hosts, one can be the odd one.
FEWEST = 3
Row = dict[str, Any]


@dataclass(frozen=True)
class Speed:
    """A number of which less is better. It is odd from so many `times` the median, and from an excess of `floor`."""

    name: str
    what: str
    unit: str
    floor: float
    times: float = 1.5


@dataclass(frozen=True)
class Sound:
    """A number that describes the audio of a voice, taken from a sample's `measurements`.

    `scale` puts it on an axis on which distances count; `floor` is the least distance there that anybody would hear:
    Kokoro as Xinference runs it never says a sentence twice in the same way.
    """

    name: str
    what: str
    unit: str
    scale: Callable[[float], float]
    floor: float
    say: Callable[[float, float], str]


LATENCY = Speed("latency_seconds", "from the request to the last byte", " s", 0.1)
FACTOR = Speed("real_time_factor", "real-time factor", "", 0.02)
# Of some ten requests the 95th percentile is the slowest one: it varies more than a median does.
LOADED = (
    Speed("first_byte", "to the first byte, p95", " s", 0.1, 2.0),
    Speed("latency", "to the last byte, p95", " s", 0.1, 2.0),
    Speed("real_time_factor", "real-time factor, p95", "", 0.02, 2.0),
)
SOUNDS = (
    Sound(
        "seconds",
        "length",
        " s",
        lambda value: math.log2(max(value, 0.01)),
        math.log2(1.2),
        lambda mine, usual: f"lasts {mine:.2f} s, on most hosts {usual:.2f} s",
    ),
    Sound(
        "rms_dbfs",
        "loudness",
        " dBFS",
        float,
        3.0,
        lambda mine, usual: (
            f"is {abs(mine - usual):.0f} dB {'louder' if mine > usual else 'quieter'} than on most hosts"
            f" ({mine:.0f} dBFS, median {usual:.0f} dBFS)"
        ),
    ),
    Sound(
        "centroid_hz",
        "centre of its spectrum",
        " Hz",
        lambda value: math.log2(max(value, 1.0)),
        math.log2(1.25),
        lambda mine, usual: (
            f"sounds {'brighter' if mine > usual else 'duller'} than on most hosts"
            f" (centre of its spectrum {mine:.0f} Hz, median {usual:.0f} Hz)"
        ),
    ),
    Sound(
        "voiced_share",
        "share with the pitch of a voice",
        "",
        float,
        0.15,
        lambda mine, usual: f"has the pitch of a voice in {mine:.0%} of its sound, on most hosts in {usual:.0%}",
    ),
)


def compare(rows: Sequence[Row]) -> list[str]:
    """Put into each row's `stands_out` in what its host differs from most, and return what differs otherwise.

    An entry of `stands_out` is {"kind": "identity" | "speed" | "sound", "name", "value", "usual", "sentence"}, the
    first two for machines. What is returned are sentences on the fleet: two hosts that differ, or no majority.
    """
    return [*_identity(rows), *_speed(rows), *_sound(rows)]


# --- what runs -------------------------------------------------------------------------------------------------------

_SAID = {
    "release": "release",
    "manifest_sha256": "manifest",
    "accelerator": "accelerator",
    "profile": "profile",
    "level": "level of proof",
}


def identity(row: Mapping[str, Any]) -> dict[str, str]:
    """What runs on a host, by name; what is not known is left out."""
    found = {name: row[name] for name in ("release", "manifest_sha256", "accelerator", "profile") if row.get(name)}
    return {**found, **{f"version of {name}": value for name, value in row.get("versions", {}).items()}}


def shown(name: str, value: Any) -> str:
    """A value of `identity` as a sentence holds it: of a digest, what one compares by eye."""
    return str(value)[:12] if name == "manifest_sha256" else str(value)


def _identity(rows: Sequence[Row]) -> list[str]:
    known = [{**identity(row), "level": row["level"]} for row in rows]
    fleet: list[str] = []
    for name in dict.fromkeys(name for one in known for name in one):
        what = _SAID.get(name, name)
        having: dict[str, list[int]] = {}
        for place, one in enumerate(known):
            if name in one:
                having.setdefault(str(one[name]), []).append(place)
        if len(having) < 2 or (name == "profile" and _follows_accelerator(known)):
            continue
        usual, most = max(having.items(), key=lambda item: len(item[1]))
        all_of_them = sum(map(len, having.values()))
        if all_of_them < FEWEST or len(most) * 2 <= all_of_them:
            each = (
                f"{shown(name, value)} on {names([rows[i]['host'] for i in places])}"
                if len(places) <= FEWEST
                else f"{shown(name, value)} on {len(places)} hosts"
                for value, places in having.items()
            )
            fleet.append(f"Not one {what}: {', '.join(each)}.")
            continue
        for value, places in having.items():
            # To be proved to more than most is no fault.
            fine = value == usual or (name == "level" and LEVELS.index(value) > LEVELS.index(usual))
            for place in () if fine else places:
                rows[place]["stands_out"].append(
                    {
                        "kind": "identity",
                        "name": name,
                        "value": value,
                        "usual": usual,
                        "sentence": f"{what} {shown(name, value)}, most hosts {shown(name, usual)}",
                    }
                )
    return fleet


def _follows_accelerator(known: Iterable[Mapping[str, str]]) -> bool:
    """Whether each accelerator has one profile: then the accelerator has said it already."""
    pairs = {(one.get("accelerator"), one.get("profile")) for one in known if "profile" in one}
    return len(pairs) == len({accelerator for accelerator, _profile in pairs})


# --- how fast it is --------------------------------------------------------------------------------------------------


def _speed(rows: Sequence[Row]) -> list[str]:
    if len(rows) < FEWEST:
        return _of_two(rows)
    for whose, judged, measured_by in _groups(rows):
        slow: dict[int, list[tuple[float, float, float, Speed]]] = {}
        for measure, by_row in _times(measured_by):
            bound = _bound(math.log2(measure.times), [math.log2(of[0]) for of in by_row.values()], 0.0)
            for place, (ratio, value, usual) in by_row.items():
                if len(by_row) >= FEWEST and math.log2(ratio) > bound and value - usual >= measure.floor:
                    slow.setdefault(place, []).append((ratio, value, usual, measure))
        for place, found in slow.items():
            # Once for each host, as what is slow in one is slow in most: the plainest, unless another is far worse.
            worst = max(found, key=lambda of: of[0])
            ratio, value, usual, measure = worst if worst[0] > worst[3].times * found[0][0] else found[0]
            if measured_by[place]["host"] in judged:
                numbers = f"{value:.2f}{measure.unit} {measure.what}; most hosts {usual:.2f}{measure.unit}"
                measured_by[place]["stands_out"].append(
                    {
                        "kind": "speed",
                        "name": measure.name,
                        "value": value,
                        "usual": usual,
                        "sentence": f"takes {ratio:.1f} times {whose} ({numbers})",
                    }
                )
    return []


def _groups(rows: Sequence[Row]) -> list[tuple[str, set[str], list[Row]]]:
    """Whose median counts in words, the hosts to judge, and the rows to measure them by.

    A host is measured by those with its accelerator; where these are too few, by all.
    """
    kinds = Counter(row["accelerator"] for row in rows)
    if len(kinds) == 1:
        return [("the fleet's median", {row["host"] for row in rows}, list(rows))]
    groups = []
    for kind, count in kinds.items():
        if count >= FEWEST:
            like = [row for row in rows if row["accelerator"] == kind]
            groups.append((f"the median of all {kind or 'such'} hosts", {row["host"] for row in like}, like))
    rest = {row["host"] for row in rows if kinds[row["accelerator"]] < FEWEST}
    return [*groups, ("the fleet's median", rest, list(rows))] if rest else groups


def _of_two(rows: Sequence[Row]) -> list[str]:
    """Of two hosts, which takes longer, in the first measure that shows it."""
    for measure, by_row in _times(rows):
        if len(by_row) == 2:
            (fast, little), (slow, much) = sorted(
                ((rows[place]["host"], of[1]) for place, of in by_row.items()), key=lambda one: one[1]
            )
            if much > measure.times * little and much - little >= measure.floor:
                unit = measure.unit
                return [
                    f"{slow} takes {much / little:.1f} times as long as {fast}"
                    f" ({much:.2f}{unit} and {little:.2f}{unit} {measure.what})."
                ]
    return []


def _times(group: Sequence[Row]) -> list[tuple[Speed, dict[int, tuple[float, float, float]]]]:
    """For each measure of speed and host: how many times the median, the value, the median.

    Samples are compared with the same voice, format and text elsewhere, so that hosts that speak more are not slower.
    """
    found = []
    for measure in (LATENCY, FACTOR):
        by_sample: dict[tuple[str, str, str], dict[int, float]] = {}
        for place, row in enumerate(group):
            for sample in row["samples"]:
                value = sample.get(measure.name)
                if value is not None and value > 0:
                    by_sample.setdefault((row["text"] or "", sample["voice"], sample["format"]), {})[place] = value
        pairs: dict[int, list[tuple[float, float]]] = {}
        for values in by_sample.values():
            usual = median(values.values())
            for place, value in values.items() if len(values) > 1 else ():
                pairs.setdefault(place, []).append((value, usual))
        found.append(
            (
                measure,
                {
                    place: (
                        median(value / usual for value, usual in of),
                        median(value for value, _usual in of),
                        median(usual for _value, usual in of),
                    )
                    for place, of in pairs.items()
                },
            )
        )
    loads = sorted({load for row in group for load in parallel(row)}, key=int)
    for load in loads:
        for measure in LOADED:
            values = {}
            for place, row in enumerate(group):
                value = (parallel(row).get(load, {}).get(measure.name) or {}).get("p95")
                if value is not None and value > 0:
                    values[place] = float(value)
            if len(values) > 1:
                usual = median(values.values())
                what = f"{measure.what}, of {load} at a time" if load != "1" else measure.what
                named = replace(measure, name=f"parallel.{load}.{measure.name}.p95", what=what)
                found.append((named, {place: (value / usual, value, usual) for place, value in values.items()}))
    return found


def parallel(row: Mapping[str, Any]) -> dict[str, Any]:
    """What was measured at how many requests at a time; empty in proofs without the level "performance"."""
    found = (row.get("performance") or {}).get("parallel") or {}
    return {load: values for load, values in found.items() if str(load).isdigit()}


# --- how it sounds ---------------------------------------------------------------------------------------------------


def _sound(rows: Sequence[Row]) -> list[str]:
    fleet: list[str] = []
    for sound in SOUNDS:
        by_voice: dict[tuple[str, str], dict[int, float]] = {}
        for place, row in enumerate(rows):
            # One format of each voice: the others are the same sound.
            for sample in reversed(row["samples"]):
                value = sample.get("measurements", {}).get(sound.name)
                if value is not None:
                    by_voice.setdefault((row["text"] or "", sample["voice"]), {})[place] = value
        odd: dict[int, list[tuple[float, str, float, float]]] = {}
        for (_text, voice), values in sorted(by_voice.items()):
            usual = median(values.values())
            centre = sound.scale(usual)
            bound = _bound(sound.floor, [sound.scale(value) for value in values.values()], centre)
            if len(values) == 2:
                (one, mine), (two, other) = values.items()
                if abs(sound.scale(mine) - sound.scale(other)) > bound and not fleet:
                    fleet.append(
                        f"{voice} does not sound the same on {rows[one]['host']} as on {rows[two]['host']}"
                        f" ({sound.what} {mine:.2f}{sound.unit} and {other:.2f}{sound.unit})."
                    )
            for place, value in values.items() if len(values) >= FEWEST else ():
                far = abs(sound.scale(value) - centre)
                if far > bound:
                    odd.setdefault(place, []).append((far, voice, value, usual))
        for place, found in odd.items():
            _far, voice, value, usual = max(found)
            more = "; likewise one more voice" if len(found) == 2 else f"; likewise {len(found) - 1} more voices"
            rows[place]["stands_out"].append(
                {
                    "kind": "sound",
                    "name": sound.name,
                    "value": value,
                    "usual": usual,
                    "voice": voice,
                    "sentence": f"{voice} {sound.say(value, usual)}{more if len(found) > 1 else ''}",
                }
            )
    return fleet


def _bound(floor: float, values: Sequence[float], centre: float) -> float:
    """How far from the centre a value may be.

    The floor is higher in a small fleet, by two thirds of itself among three hosts: there the deviation rests on so few
    values that chance makes it small.
    """
    least = floor * (1 + 2 / max(1, len(values)))
    if len(values) < FEWEST:
        return least
    return max(least, LIMIT * 1.4826 * median(abs(value - centre) for value in values))
