# SPDX-License-Identifier: GPL-3.0-or-later
"""How a host differs from the rest of its fleet: what it runs, how fast it is and how it sounds.

The rows are those of ``report.build``. A number stands out if two things hold. Its distance from the fleet's median is
more than six robust standard deviations (1.4826 times the median absolute deviation). And it is more than a floor,
below which nobody would hear or feel it. With the usual 3.5 deviations, chance alone would name a host in every seventh
fleet of eight, and in half of the fleets of a thousand. It takes three hosts to say which one is the odd one. Of two
hosts, the difference is named and neither is judged.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import Any

from ...module_utils.proof.terms import LEVELS
from ..fleet.lines import names

LIMIT = 6.0
# With fewer hosts, none can be the odd one.
FEWEST = 3
Row = dict[str, Any]


@dataclass(frozen=True)
class Speed:
    """A number of which less is better. It is odd from ``times`` the median on, if the excess is at least ``floor``."""

    name: str
    what: str
    unit: str
    floor: float
    times: float = 1.5


@dataclass(frozen=True)
class Sound:
    """A number from a sample's ``measurements`` that describes the audio of a voice.

    ``scale`` puts it on an axis on which distances count. ``floor`` is the least distance that anybody would hear:
    Kokoro never says a sentence twice in the same way. ``words`` describe an odd value, with ``more`` or ``less``.
    """

    name: str
    what: str
    unit: str
    scale: Callable[[float], float]
    floor: float
    words: str
    more: str = ""
    less: str = ""

    def say(self, mine: float, usual: float) -> str:
        """What is odd, without the name of the voice."""
        how = self.more if mine > usual else self.less
        return self.words.format(mine=mine, usual=usual, apart=abs(mine - usual), how=how)


def octaves(value: float) -> float:
    """A value on an axis on which each doubling is one step."""
    return math.log2(max(value, 0.01))


LATENCY = Speed("latency_seconds", "from the request to the last byte", " s", 0.1)
FACTOR = Speed("real_time_factor", "real-time factor", "", 0.02)
# Of some ten requests, the 95th percentile is the slowest one. It varies more than a median.
LOADED = (
    Speed("first_byte", "to the first byte, p95", " s", 0.1, 2.0),
    Speed("latency", "to the last byte, p95", " s", 0.1, 2.0),
    Speed("real_time_factor", "real-time factor, p95", "", 0.02, 2.0),
)
_LENGTH = "lasts {mine:.2f} s, on most hosts {usual:.2f} s"
_LOUDNESS = "is {apart:.0f} dB {how} than on most hosts ({mine:.0f} dBFS, median {usual:.0f} dBFS)"
_COLOUR = "sounds {how} than on most hosts (centre of its spectrum {mine:.0f} Hz, median {usual:.0f} Hz)"
_PITCH = "has the pitch of a voice in {mine:.0%} of its sound, on most hosts in {usual:.0%}"
SOUNDS = (
    Sound("seconds", "length", " s", octaves, octaves(1.2), _LENGTH),
    Sound("rms_dbfs", "loudness", " dBFS", float, 3.0, _LOUDNESS, "louder", "quieter"),
    Sound("centroid_hz", "centre of its spectrum", " Hz", octaves, octaves(1.25), _COLOUR, "brighter", "duller"),
    Sound("voiced_share", "share with the pitch of a voice", "", float, 0.15, _PITCH),
)


def compare(rows: Sequence[Row]) -> list[str]:
    """Add to each row's ``stands_out`` how its host differs from most. Return other differences, in sentences.

    An entry of ``stands_out`` is {"kind": "identity" | "speed" | "sound", "name", "value", "usual", "sentence"}. Kind
    and name are for machines. The sentences are about the fleet: two hosts that differ, or a value without a majority.
    """
    return [*_identity(rows), *_speed(rows), *_sound(rows)]


def _note(row: Row, kind: str, name: str, value: Any, usual: Any, sentence: str, **more: str) -> None:
    row["stands_out"].append({"kind": kind, "name": name, "value": value, "usual": usual, "sentence": sentence, **more})


# --- what runs -------------------------------------------------------------------------------------------------------

_SAID = {
    "release": "release",
    "manifest_sha256": "manifest",
    "accelerator": "accelerator",
    "profile": "profile",
    "level": "level of proof",
}


def identity(row: Mapping[str, Any]) -> dict[str, str]:
    """What runs on a host, by name, without what is not known."""
    found = {name: row[name] for name in ("release", "manifest_sha256", "accelerator", "profile") if row.get(name)}
    return {**found, **{f"version of {name}": value for name, value in row.get("versions", {}).items()}}


def shown(name: str, value: Any) -> str:
    """A value of ``identity`` for a sentence. Of a digest, it is the beginning, which people compare."""
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
            fleet.append(f"The hosts differ in {what}: {', '.join(each)}.")
            continue
        for value, places in having.items():
            # A higher level than that of most hosts is no fault.
            fine = value == usual or (name == "level" and LEVELS.index(value) > LEVELS.index(usual))
            for place in () if fine else places:
                said = f"{what} {shown(name, value)}, most hosts {shown(name, usual)}"
                _note(rows[place], "identity", name, value, usual, said)
    return fleet


def _follows_accelerator(known: Iterable[Mapping[str, str]]) -> bool:
    """Whether each accelerator has one profile. Then the accelerator says all."""
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
            # One entry for each host, because it is slow in most measures: the first, unless another is far worse.
            worst = max(found, key=lambda of: of[0])
            ratio, value, usual, measure = worst if worst[0] > worst[3].times * found[0][0] else found[0]
            if measured_by[place]["host"] in judged:
                numbers = f"{value:.2f}{measure.unit} {measure.what}; most hosts {usual:.2f}{measure.unit}"
                said = f"takes {ratio:.1f} times {whose} ({numbers})"
                _note(measured_by[place], "speed", measure.name, value, usual, said)
    return []


def _groups(rows: Sequence[Row]) -> list[tuple[str, set[str], list[Row]]]:
    """Groups of hosts: the name of the median, the hosts to judge, and the rows that they are compared with.

    A host is compared with the hosts that have its accelerator, or with all if these are too few.
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
    """Which of two hosts takes longer, in the first measure that shows it."""
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
    """For each measure of speed, by host: the ratio to the median, the value and the median.

    A sample is compared with those of the same voice, format and text on other hosts. So a host that speaks more does
    not count as slower.
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
                what = f"{measure.what}, with {load} requests at once" if load != "1" else measure.what
                named = replace(measure, name=f"parallel.{load}.{measure.name}.p95", what=what)
                found.append((named, {place: (value / usual, value, usual) for place, value in values.items()}))
    return found


def parallel(row: Mapping[str, Any]) -> dict[str, Any]:
    """The measurements by number of requests at once. Empty in proofs without the level "performance"."""
    found = (row.get("performance") or {}).get("parallel") or {}
    return {load: values for load, values in found.items() if str(load).isdigit()}


# --- how it sounds ---------------------------------------------------------------------------------------------------


def _sound(rows: Sequence[Row]) -> list[str]:
    fleet: list[str] = []
    for sound in SOUNDS:
        by_voice: dict[tuple[str, str], dict[int, float]] = {}
        for place, row in enumerate(rows):
            # One format of each voice is enough, because the others are the same sound.
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
            said = f"{voice} {sound.say(value, usual)}{more if len(found) > 1 else ''}"
            _note(rows[place], "sound", sound.name, value, usual, said, voice=voice)
    return fleet


def _bound(floor: float, values: Sequence[float], centre: float) -> float:
    """How far from the centre a value may be.

    In a small fleet, chance often makes the deviation small. So the floor is higher there: by two thirds with three
    hosts.
    """
    least = floor * (1 + 2 / max(1, len(values)))
    if len(values) < FEWEST:
        return least
    return max(least, LIMIT * 1.4826 * median(abs(value - centre) for value in values))
