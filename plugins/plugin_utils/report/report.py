# SPDX-License-Identifier: GPL-3.0-or-later
"""The report on the proofs of all hosts, as data: what was proved where, what failed, and which hosts differ.

``page`` renders it for people, ``table`` for the terminal and ``junit`` for CI. ``for_machines`` is the content of
``report.json``.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from ansible_collections.voicefleet.kokoro.plugins.module_utils.host import sources
from ansible_collections.voicefleet.kokoro.plugins.module_utils.host.hashing import sha256_bytes, sha256_file
from ansible_collections.voicefleet.kokoro.plugins.module_utils.proof.terms import LEVELS, versions_of
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.fleet import odd
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.fleet.rollout import GOOD, SERVED, End

from . import differences

# The version of report.json, which docs/report.md describes.
SCHEMA = 3
# The states of a host, in the order in which people want to see them: the worst first.
FAILED, ODD, WELL = STATES = ("failed", "stands out", "well")
# A level of a host: every check is good, a check is not, or a check is missing in at least one place.
PASSED, REFUSED, UNVERIFIED = "passed", "failed", "UNVERIFIED"
# These levels belong to the host as a whole. The others belong to each sample.
OF_THE_HOST = ("phonemes", "performance", "offline")
# The name of a finding that stands for a whole level that was not requested.
UNTRIED = "untried"

IN_WORDS = {
    "none": "no proof",
    "format": "a complete sound file, which may not be speech",
    "acoustic": "sounds like speech",
    "phonemes": "the text front end knows the words",
    "intelligible": "a recogniser heard the sentence",
    "performance": "fast enough, on the intended hardware",
    "offline": "the service contacted nothing outside",
}


def folder_name(host: str) -> str:
    """A host's name as a folder on the controller. A name in the inventory may contain any character."""
    plain = re.sub(r"[^A-Za-z0-9_.-]", "_", host).lstrip(".")[:100]
    # Names that differ in odd characters alone must not share a folder.
    return plain if plain == host else f"{plain}-{sha256_bytes(host.encode('utf-8', 'surrogatepass'))[:8]}"


@dataclass(frozen=True)
class Clip:
    """The sound of one voice on one host. ``path`` is relative to the report. The bytes stay in the file."""

    voice: str
    path: str
    file: Path
    size: int


@dataclass
class Host:
    """What is known of one host: the facts that the roles set, the copied WAV files, and the end of the run."""

    name: str
    plan: dict[str, Any] = field(default_factory=dict)
    synthesis: dict[str, Any] = field(default_factory=dict)
    clips: dict[str, Clip] = field(default_factory=dict)
    end: End | None = None

    def __post_init__(self) -> None:
        """Facts come from the host, so bring them into the expected form. Odd values are shown as odd."""
        self.folder = folder_name(self.name)
        self.name = odd.shown_name(self.name)
        reader = odd.Reader()
        self.plan, self.synthesis = odd.plan(self.plan, reader), odd.proof(self.synthesis, reader)
        self.notes = reader.notes

    def row(self) -> dict[str, Any]:
        """The host as a row of the report. Times are in seconds, and medians over its samples."""
        proof, plan = self.synthesis, self.plan
        samples = proof.get("samples") or []
        proved_in_plan = (plan.get("release") or {}).get("id") in (None, proof.get("release_id"))
        profile = plan.get("profile") or proof.get("profile")
        row = {
            "host": self.name,
            "release": (plan.get("release") or {}).get("id") or proof.get("release_id"),
            "profile": profile,
            "accelerator": accelerator_of(plan, profile),
            "manifest_sha256": plan.get("manifest_sha256") or proof.get("manifest_sha256"),
            "versions": versions_of(plan) or proof.get("versions") or {},
            "level": proof.get("level", LEVELS[0]) if proved_in_plan else LEVELS[0],
            "required_level": proof.get("required_level"),
            "proved_at": proof.get("time"),
            "alive_now": bool(proof.get("live")),
            "voices": proof.get("voices") or plan.get("voices") or [],
            "formats": proof.get("formats") or [],
            "text": proof.get("text"),
            "latency_seconds": _median(sample.get("latency_seconds") for sample in samples),
            "real_time_factor": _median(sample.get("real_time_factor") for sample in samples),
            "performance": proof.get("performance"),
            "unpublished": proof.get("unpublished") or plan.get("unpublished") or {},
            "findings": proof.get("findings") or [],
            "samples": [{**sample, "wav": self._wav_of(sample)} for sample in samples],
            "record": f"hosts/{self.folder}.json" if samples else None,
            "stands_out": [
                {"kind": "odd", "name": "odd value", "value": None, "usual": None, "sentence": note}
                for note in self.notes
            ],
            **self._ending(),
        }
        row["levels"] = ladder(row)
        return row

    def _ending(self) -> dict[str, Any]:
        """How the run ended on the host, and the release that serves. Unknown values are None."""
        tried = (self.plan.get("release") or {}).get("id") or self.synthesis.get("release_id")
        if self.end is None:
            return {"outcome": None, "why": "", "seconds": None, "serves": tried}
        serves = tried if self.end.outcome == SERVED else self.plan.get("current")
        seconds = None if self.end.seconds is None else round(self.end.seconds, 1)
        return {"outcome": self.end.outcome, "why": odd.printable(self.end.why), "seconds": seconds, "serves": serves}

    def _wav_of(self, sample: Mapping[str, Any]) -> str | None:
        clip = self.clips.get(sample["voice"]) if sample["format"] == "wav" else None
        return clip.path if clip else None


def accelerator_of(plan: Mapping[str, Any], profile: str | None) -> str | None:
    """What a host computes on, by its plan or else by the first word of its profile."""
    said = plan.get("accelerator")
    return said if isinstance(said, str) and said else (profile or "").partition("-")[0] or None


def ladder(row: Mapping[str, Any]) -> list[dict[str, str]]:
    """Each level with its state and the reason, [{"level", "state", "why"}], for the host as a whole."""
    steps = []
    # A format that the server lacks does not count.
    samples = [sample for sample in row["samples"] if sample.get("offered", True)]
    for level in LEVELS[1:]:
        findings = [finding for finding in row["findings"] if finding["level"] == level]
        unseen = 0
        for sample in samples:
            mine = [finding for finding in sample["findings"] if finding["level"] == level]
            findings += mine
            unseen += not mine
        wrong = [finding["sentence"] for finding in findings if finding["ok"] is False]
        untried = [_why_not(finding) for finding in findings if finding["ok"] is None]
        if LEVELS.index(level) <= LEVELS.index(row["level"]):
            state, why = PASSED, []
        elif wrong:
            state, why = REFUSED, wrong
        elif untried or not findings:
            state, why = UNVERIFIED, untried or ["not tried"]
        elif level not in OF_THE_HOST and unseen:
            state, why = UNVERIFIED, [f"Not checked in {unseen} of {len(samples)} samples."]
        else:
            state, why = PASSED, []
        said = list(dict.fromkeys(sentence.removeprefix("UNVERIFIED: ") for sentence in why))
        more = f" And {len(said) - 3} more." if len(said) > 3 else ""
        steps.append({"level": level, "state": state, "why": " ".join(said[:3]) + more})
    return steps


def _why_not(finding: Mapping[str, Any]) -> str:
    """Why a check did not run. A level that was not requested needs few words, because there may be four of them."""
    return "not tried (synthesis_try_level)" if finding["name"] == UNTRIED else str(finding["sentence"])


def load_clips(folder: Path, host: str, synthesis: Mapping[str, Any]) -> dict[str, Clip]:
    """The WAV files beside the report that belong to a host's proof, by voice. Their content is not read yet."""
    found = {}
    for sample in synthesis.get("samples") or []:
        path = f"audio/{folder_name(host)}/{sample['voice']}.wav"
        if sample["format"] != "wav" or "/" in sample["voice"]:
            continue
        file = folder / path
        try:
            if sha256_file(str(file)) == sample["sha256"]:
                found[sample["voice"]] = Clip(sample["voice"], path, file, file.stat().st_size)
        except OSError:
            continue
    return found


def build(hosts: list[Host], time: str, run: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The report as data. ``time`` is now, in UTC. ``run`` is a state as plugin_utils/fleet/rollout.py describes it."""
    run = run or {}
    rows = [host.row() for host in sorted(hosts, key=lambda host: host.name)]
    proved = [row for row in rows if row["outcome"] in (None, *GOOD)]
    said = differences.compare(proved)
    unpublished = dict(sorted(item for row in rows for item in row["unpublished"].items()))
    for row in rows:
        row["state"] = state_of(row)
    return {
        "schema": SCHEMA,
        "time": time,
        "level": min((row["level"] for row in rows), key=LEVELS.index, default=LEVELS[0]),
        "source": sources.of(unpublished),
        "unpublished": unpublished,
        "batches": [batch["hosts"] for batch in run.get("batches", [])],
        "stopped": run.get("stop", ""),
        "counts": {
            "hosts": len(rows),
            "states": {state: sum(row["state"] == state for row in rows) for state in STATES},
            "outcomes": dict(Counter(row["outcome"] for row in rows if row["outcome"])),
            "levels": {level: sum(row["level"] == level for row in rows) for level in LEVELS},
        },
        "usual": {name: _median(row[name] for row in proved) for name in ("latency_seconds", "real_time_factor")},
        "differences": said,
        "hosts": rows,
    }


def state_of(row: Mapping[str, Any]) -> str:
    """One of STATES."""
    if row["outcome"] not in (None, *GOOD) or below(row) or (row["outcome"] is None and row["level"] == LEVELS[0]):
        return FAILED
    return ODD if row["stands_out"] else WELL


def below(row: Mapping[str, Any]) -> bool:
    """Whether the proof is below the required level. Without any proof, as in check mode, the answer is no."""
    wanted = row["required_level"]
    return bool(row["samples"]) and wanted in LEVELS and LEVELS.index(row["level"]) < LEVELS.index(wanted)


def reasons(row: Mapping[str, Any]) -> list[str]:
    """Why a host did not do well, in sentences without its name."""
    said = []
    if row["outcome"] not in (None, *GOOD):
        said.append(f"{row['outcome']}. {row['why']}".rstrip(". ") + "." if not row["why"] else row["why"])
    elif row["level"] == LEVELS[0] and not row["samples"] and row["outcome"] is None:
        said.append("no proof of speech was made on this host; its own output says why")
    elif below(row):
        why = next((step["why"] for step in row["levels"] if step["state"] != PASSED), "")
        said.append(f"the level {row['required_level']} was required, {row['level']} was reached. {why}".rstrip())
    return said + [note["sentence"] for note in row["stands_out"]]


def first_the_worst(rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows in the order of their states."""
    return sorted(rows, key=lambda row: STATES.index(row["state"]))


def unfinished(report: Mapping[str, Any]) -> list[str]:
    """The hosts on which the run is not done."""
    return [row["host"] for row in report["hosts"] if row["outcome"] not in (None, *GOOD)]


def for_machines(report: Mapping[str, Any]) -> dict[str, Any]:
    """The content of report.json. It leaves out the good findings, which are in each host's own record."""
    return {**report, "hosts": [_without_good(row) for row in report["hosts"]]}


def _without_good(row: Mapping[str, Any]) -> dict[str, Any]:
    samples = []
    for sample in row["samples"]:
        amiss = [finding for finding in sample["findings"] if finding["ok"] is not True]
        samples.append({**sample, "findings": amiss, "looked_at": len(sample["findings"])})
    return {**row, "samples": samples}


def summary(report: Mapping[str, Any]) -> list[str]:
    """The fleet in a few sentences."""
    counts, rows = report["counts"], report["hosts"]
    outcomes = counts["outcomes"]
    what = ", ".join(f"{count:,} {outcome}" for outcome, count in outcomes.items())
    said = [f"{_hosts(counts['hosts'])}: {what}."] if outcomes else [f"{_hosts(counts['hosts'])}."]
    short = sum(map(below, rows))
    wanted = {row["required_level"] for row in rows if row["required_level"]}
    reached = sum(1 for row in rows if row["samples"] and not below(row))
    if wanted and any(row["samples"] for row in rows):
        names = " or ".join(sorted(wanted, key=LEVELS.index))
        said.append(
            f"The required level is {names}: {_all(reached, counts['hosts'])} reached it"
            f"{f', {short:,} did not' if short else ''}."
        )
    odd = sum(bool(row["stands_out"]) for row in rows)
    if odd:
        said.append(f"{odd:,} {'differs' if odd == 1 else 'differ'} from the rest.")
    elif sum(row["state"] != FAILED for row in rows) >= differences.FEWEST:
        said.append("None differs from the rest.")
    return [*said, *report["differences"]]


def _hosts(count: int) -> str:
    return f"{count:,} {'host' if count == 1 else 'hosts'}"


def _all(count: int, of: int) -> str:
    return ("all" if of > 1 else "it") if count == of else f"{count:,}"


def _median(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return round(median(known), 4) if known else None
