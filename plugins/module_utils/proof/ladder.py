# SPDX-License-Identifier: GPL-3.0-or-later
"""The levels of a proof that need more than one answer: phonemes of a language, performance and offline of the host.

A level is tried if the proof is asked to go that high. If it cannot be tried, its finding is UNVERIFIED and says why.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from ..host import deploy_lock, gpu_facts, systemd_unit
from ..host.systemd_unit import Unit
from . import audio, offline, performance, phonemes, proof
from .acoustics import Finding
from .proof import Sample, Wanted
from .speech import Reply, SpeechClient, SpeechError
from .terms import LEVELS

# Do not wait after these: the next answer would be the same.
_FINAL = ("unauthorized", "forbidden", "limited", "no_voice")


@dataclass(frozen=True)
class Place:
    """The host on which the proof runs, and what is known of its release. Times in seconds."""

    python: str | None = None  # the release's interpreter
    profile: str | None = None  # of the release, such as cpu-py311-x86_64
    unit: str | None = None  # the service that answers, if it runs on this host
    gpu_indexes: tuple[int, ...] = ()  # the configured GPUs; empty means any
    restart: bool = False  # whether the service may be restarted
    restart_seconds: float = 300.0
    language_models: Mapping[str, str] = field(default_factory=dict)  # names of models of one language, by language
    lock_owner: Mapping[str, Any] | None = None  # of the deploy that this proof belongs to


@dataclass
class Climb:
    """Results of the levels that need more than one answer."""

    languages: list[phonemes.Spoken] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    performance: dict[str, Any] = field(default_factory=dict)
    offline: dict[str, Any] = field(default_factory=dict)

    def facts(self) -> dict[str, Any]:
        """Return the results for the proof: all findings in one list, and the facts behind them."""
        of_languages = [finding for spoken in self.languages for finding in spoken.findings]
        return {
            "findings": [asdict(finding) for finding in [*of_languages, *self.findings]],
            "phonemes": [spoken.as_dict() for spoken in self.languages],
            "performance": self.performance,
            "offline": self.offline,
        }


def climb(client: SpeechClient, wanted: Wanted, samples: Sequence[Sample], place: Place) -> Climb:
    """Try the wanted levels, and give each sample the level that it then reaches."""
    found = Climb(findings=proof.untried(wanted))
    speaks = any(sample.offered and sample.level != LEVELS[0] for sample in samples)
    if wanted.tries(phonemes.LEVEL):
        found.languages = _phonemes(client, wanted, place, speaks)
    if wanted.tries(performance.LEVEL):
        found.performance, findings = _performance(client, wanted, place, speaks)
        found.findings += findings
    if wanted.tries(offline.LEVEL):
        found.offline, findings = _offline(client, wanted, place, speaks)
        found.findings += findings
    proof.settle(samples, found.languages, found.findings)
    return found


def _phonemes(client: SpeechClient, wanted: Wanted, place: Place, speaks: bool) -> list[phonemes.Spoken]:
    voices = {voice[0]: voice for voice in reversed(wanted.voices)}

    def seconds_of(language: str, text: str) -> float | str:
        voice = voices[language]
        try:
            return audio.inspect(client.speak(wanted.model_of(voice), text, voice, "wav").data).seconds
        except (SpeechError, audio.AudioError) as error:
            return str(error)

    heard = seconds_of if speaks else None
    return phonemes.prove(sorted(voices), place.python, client.timeout, heard, place.language_models)


def _performance(
    client: SpeechClient, wanted: Wanted, place: Place, speaks: bool
) -> tuple[dict[str, Any], list[Finding]]:
    def ask(voice: str) -> Reply:
        return client.speak(wanted.model_of(voice), wanted.text, voice, "wav")

    if not speaks:
        return {}, [Finding("answers", performance.LEVEL, None, None, "answers", "Not measured: no voice answered.")]
    numbers, findings = performance.prove(ask, wanted.voices, wanted.load)
    return numbers, [*findings, _gpu(place)]


def _gpu(place: Place, runner: systemd_unit.Runner = gpu_facts.run) -> Finding:
    """Ask nvidia-smi whether the service's processes hold memory on a GPU."""
    expected = None if not place.profile else not place.profile.startswith("cpu")
    if not expected:
        return performance.gpu_finding(expected, (), None)

    def smi(query: str) -> str | None:
        status, said = runner(["nvidia-smi", query, "--format=csv,noheader,nounits"], 30)
        return said if status == 0 else None

    return performance.gpu_finding(
        expected,
        Unit(place.unit, runner=runner).processes() if place.unit else (),
        smi("--query-compute-apps=gpu_uuid,pid,used_memory"),
        smi("--query-gpu=index,uuid"),
        place.gpu_indexes or None,
        contained=os.path.exists("/run/systemd/container") or os.path.exists("/.dockerenv"),
    )


def _offline(client: SpeechClient, wanted: Wanted, place: Place, speaks: bool) -> tuple[dict[str, Any], list[Finding]]:
    holder = deploy_lock.look()
    reasons = {
        "The check restarts the service, which only synthesis_restart: true allows.": not place.restart,
        "No service of this host is named, so there are no processes to watch.": not place.unit,
        "The check needs root to restart the service and to see its sockets.": os.geteuid() != 0,
        "The service does not speak, so it is not restarted for this check.": not speaks,
        "A deploy is changing this host. Run verify.yml when it is done.": holder is not None
        and holder["owner"] != place.lock_owner,
    }
    why = [reason for reason, holds in reasons.items() if holds]
    if why or place.unit is None:
        return {}, [offline.untried(" ".join(why[:1]))]
    unit = Unit(place.unit)
    return offline.prove(unit, lambda: _spoken(client, wanted, unit, place.restart_seconds), place.restart_seconds)


def _spoken(client: SpeechClient, wanted: Wanted, unit: Unit, seconds: float) -> float:
    """Wait until every model has spoken; return the seconds that this took. Raises SpeechError."""
    end = time.monotonic() + seconds
    while True:
        try:
            return proof.still_alive(client, wanted)
        except SpeechError as error:
            if error.kind in _FINAL or time.monotonic() > end:
                raise
            if unit.show().get("ActiveState") == "failed":
                raise SpeechError("failed", f"{unit.name} failed: {error}") from None
        time.sleep(1)
