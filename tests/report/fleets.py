# SPDX-License-Identifier: GPL-3.0-or-later
"""Fleets of hosts for the report: proofs by the code that proves hosts, of sounds that are made here, as WAV files.

What a host would send is made once for each voice; the hosts differ in how long it took, and where a fleet wants it, in
how it sounds, in what runs there, and in how the run ended.
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from ansible_collections.voicefleet.kokoro.plugins.module_utils.proof import proof, speech
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.fleet import doctor
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.fleet.rollout import End
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.report import report
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.store import locks
from ansible_collections.voicefleet.kokoro.tests.unit.plugins.module_utils.signals import pcm, speech_like, wav, white

TIME = "2026-11-22T14:00:00Z"
VOICES = ("af_heart", "am_michael")
LOCK = locks.read_lock(
    Path(__file__).resolve().parents[2] / "roles/artifact_store/files/locks/pylock.cpu-py311-x86_64.toml"
)
VERSIONS = {name: str(LOCK.version_of(name)) for name in ("xinference", "kokoro", "misaki", "torch")}
RELEASE, OLDER = (f"{VERSIONS['xinference']}-{contents}" for contents in ("3f9a1c2b7d5e", "9c0d4e11aa27"))
ARTIFACTS = [{"kind": "wheel", "name": name, "version": version} for name, version in VERSIONS.items()]
EVIL = "<img src=x onerror=\"document.title='evil'\"></script><script>document.title='evil'</script>"


class Server:
    """Answers with the sound of the voice, as an endpoint would that takes so many seconds."""

    timeout = 1.0
    endpoint = "http://127.0.0.1:9997"

    def __init__(self, sounds: dict[str, bytes]) -> None:
        self.sounds = sounds

    def speak(self, _model: str, _text: str, voice: str, _format: str, speed: float = 1.0) -> speech.Reply:
        return speech.Reply(self.sounds[voice], "audio/wav", 0.4, 0.5)


@cache
def sound(voice: str, kind: str = "speech") -> bytes:
    """WAV bytes of a voice: speech, the same much quieter, or noise."""
    values = white(2.6, len(voice)) if kind == "noise" else speech_like(2.6, sum(map(ord, voice)))
    return wav(pcm([value * (0.2 if kind == "quiet" else 1.0) for value in values]))


@cache
def proved(
    kind: str, voices: tuple[str, ...], unpublished: tuple[tuple[str, str], ...] = ()
) -> tuple[dict[str, Any], dict[str, bytes]]:
    """A proof and its WAV files by voice."""
    wanted = proof.Wanted(
        RELEASE, "kokoro", list(voices), ["wav"], required_level="format" if unpublished else "acoustic"
    )
    server: Any = Server({voice: sound(voice, kind) for voice in voices})
    samples, answers = proof.prove(server, wanted)[:2]
    facts = {"profile": "cuda-py311-x86_64", "manifest_sha256": "5b1c" * 16}
    kept = proof.as_report(wanted, samples, dict(unpublished), facts)
    return kept, {name.partition(".")[0]: data for name, data in answers.items()}


def host(
    folder: Path,
    name: str,
    seconds: float = 0.5,
    kind: str = "speech",
    voices: tuple[str, ...] = VOICES,
    unpublished: tuple[tuple[str, str], ...] = (),
    end: End | None = None,
    plan: dict[str, Any] | None = None,
    **changes: Any,
) -> report.Host:
    """A host that took so many seconds for each sentence, with its WAV files below the folder."""
    kept, sounds = proved(kind, voices, unpublished)
    samples = [
        {
            **sample,
            "latency_seconds": round(seconds, 3),
            "real_time_factor": round(seconds / sample["audio_seconds"], 3),
        }
        for sample in kept["samples"]
    ]
    synthesis = {**kept, "time": TIME, "samples": samples, **changes}
    place = folder / "audio" / report.folder_name(name)
    place.mkdir(parents=True, exist_ok=True)
    for voice, data in sounds.items():
        (place / f"{voice}.wav").write_bytes(data)
    planned = {
        "release": {"id": synthesis["release_id"]}, "current": OLDER, "profile": synthesis["profile"],
        "manifest_sha256": synthesis["manifest_sha256"], "artifacts": ARTIFACTS, "python": {"version": "3.11"},
        **(plan or {}),
    }  # fmt: skip
    one = report.Host(name, planned, synthesis, end=end)
    return replace(one, clips=report.load_clips(folder, name, synthesis))


def one(folder: Path) -> list[report.Host]:
    """A single host."""
    return [host(folder, "speaker1", end=End("served", seconds=74.2))]


def eight(folder: Path) -> list[report.Host]:
    """Eight hosts: one is slow, one quiet, one has another manifest, and one failed. Higher levels were tried."""
    chance = random.Random(7)
    fleet = []
    for number in range(1, 9):
        seconds = chance.gauss(0.5, 0.02)
        fleet.append(host(folder, f"gpu-{number:03}", seconds, end=End("served", seconds=chance.gauss(80, 4))))
    fleet[2] = host(folder, "gpu-003", 1.56, end=End("served", seconds=131.0))
    fleet[4] = host(folder, "gpu-005", 0.51, "quiet", end=End("served", seconds=83.0))
    fleet[5] = host(folder, "gpu-006", 0.49, manifest_sha256="a0b1" * 16, end=End("served", seconds=79.0))
    why = "2 of 2 samples did not reach the level acoustic. The audio is white noise.\n" + "Traceback: line\n" * 40
    fleet[7] = host(folder, "gpu-008", 0.52, "noise", end=End("failed", why, 64.0))
    for of in fleet:
        higher(of, chance)
    return fleet


def higher(of: report.Host, chance: random.Random) -> None:
    """Findings of the levels above "acoustic", as the proof adds them."""

    def finding(name: str, level: str, ok: bool | None, value: Any, sentence: str) -> dict[str, Any]:
        return {"name": name, "level": level, "ok": ok, "value": value, "limit": "", "sentence": sentence}

    slow = of.synthesis["samples"][0]["latency_seconds"]
    heard = finding("words", "intelligible", True, "the quick brown fox", "Heard: the quick brown fox.")
    for sample in of.synthesis["samples"]:
        sample["findings"] = [*sample["findings"], *([heard] if sample["level"] == "acoustic" else [])]
    of.synthesis["findings"] = [
        finding("reference", "phonemes", True, "ðə kwˈɪk", "The reference text has the phonemes that it should."),
        finding("gpu", "performance", None, None, "UNVERIFIED: nvidia-smi is not there."),
        finding("attempts", "offline", True, 0, "No attempt to reach anything outside."),
    ]
    of.synthesis["performance"] = {
        "parallel": {
            load: {
                "first_byte": {"p50": slow * times, "p95": slow * times * chance.uniform(1.05, 1.15)},
                "latency": {"p50": slow * times, "p95": slow * times * chance.uniform(1.1, 1.2)},
                "real_time_factor": {"p50": slow * times / 2.6, "p95": slow * times / 2.4},
                "requests": 8,
            }
            for load, times in (("1", 1.0), ("4", 2.6))
        }
    }


def thousand(folder: Path, count: int = 1000) -> list[report.Host]:
    """A thousand hosts: four slow ones, three that failed, one on another release, two that were not tried."""
    chance = random.Random(11)
    fleet = []
    for number in range(count - 2):
        name = name_of(number)
        seconds = max(0.2, chance.gauss(0.5, 0.03)) * (3.1 if number in (17, 240, 511, 800) else 1.0)
        end = End("served", seconds=chance.gauss(80, 6))
        if number in (99, 300, 702):
            end = End("failed", "The model was not ready after 300 s: CUDA out of memory.", 310.0)
        of = host(folder, name, seconds, end=end, **({"release_id": OLDER} if number == 42 else {}))
        fleet.append(of)
    return [*fleet, *(report.Host(f"gpu-9{number}.site-d.example", end=End("not tried")) for number in range(2))]


def name_of(number: int) -> str:
    return f"gpu-{number:04}.site-{'abcd'[number % 4]}.example"


def ledgers(count: int = 1000) -> dict[str, Any]:
    """What the hosts' ledgers say: one was not read, three have a failure, one an older release, one no receipt."""
    old, new = (
        {
            "release": release, "previous": before, "time": time, "operator": "ann", "manifest_sha256": "5b1c" * 16,
            "proof_level": "acoustic", "unpublished": {}, "seconds": {"proof": 8.5, "total": 62.9},
        }
        for release, before, time in ((OLDER, None, "2026-11-01T10:00:00Z"), (RELEASE, OLDER, TIME))
    )  # fmt: skip
    failure = {"event": "failed", "attempted": RELEASE, "operator": "kim", "phase": "proof", "task": "Prove the speech"}
    found: dict[str, Any] = {}
    for number in range(count):
        receipts = [old] * 8 + [new]
        if number in (99, 300, 702):
            receipts += [
                {**failure, "time": f"2026-11-23T02:0{number % 9}:00Z", "message": EVIL if number == 99 else "No."}
            ]
        current = OLDER if number == 42 else RELEASE
        receipts = [old] if number == 42 else [] if number == 7 else receipts
        found[name_of(number)] = {"current": current, "whole": [current], "receipts": receipts}
    found[name_of(5)] = None
    return found


def examined(count: int = 1000) -> dict[str, list[dict[str, str]]]:
    """What the doctor found: each check is OK on most hosts, 40 have little disk, three a dead unit, one is gone."""
    fine = [{"level": "OK", "code": code, "cause": f"{means}.", "remedy": ""} for code, means in doctor.CHECKS.items()]
    found = {name_of(number): list(fine) for number in range(count)}
    bad = [(number, "WARN", "DISK", f"{number} MB are free below /opt.") for number in range(0, count, 25)]
    bad += [(number, "FAIL", "UNIT", "the unit is inactive. " + EVIL * (number == 99)) for number in (99, 300, 702)]
    bad = [row for row in bad if row[0] < count]
    for number, level, code, cause in bad:
        place = next(place for place, row in enumerate(fine) if row["code"] == code)
        found[name_of(number)][place] = {"level": level, "code": code, "cause": cause, "remedy": "Mend it."}
    found[name_of(5)] = doctor.as_rows(doctor.unreachable("no route to host"))
    return found


def hostile(folder: Path) -> list[report.Host]:
    """Hosts whose names, voices and messages want to run in the reader's browser."""
    bad = host(folder, f"evil {EVIL}", end=End("failed", EVIL, 3.0))
    bad.synthesis.update(text=EVIL, profile=EVIL, manifest_sha256=EVIL, time=EVIL)
    bad.plan.update(profile=EVIL, manifest_sha256=EVIL, artifacts=[{**ARTIFACTS[0], "version": EVIL}])
    finding = {"name": EVIL, "level": "acoustic", "ok": False, "value": EVIL, "limit": EVIL, "sentence": EVIL}
    bad.synthesis["samples"] = [
        {
            **sample,
            "voice": EVIL if place else sample["voice"],
            "format": "wav" if not place else EVIL,
            "findings": [finding],
        }
        for place, sample in enumerate(bad.synthesis["samples"])
    ]
    return [bad, host(folder, "honest")]


def made_up(folder: Path, source: str = "made-up") -> list[report.Host]:
    """Two hosts with stand-ins that make noise, as the tests of deployments have them."""
    paths = ("kokoro/Kokoro-82M/kokoro-v1_0.pth", "kokoro/Kokoro-82M/voices/af_heart.pt")
    files = tuple((path, source) for path in paths)
    fleet = [host(folder, name, kind="noise", unpublished=files) for name in ("speaker1", "speaker2")]
    fleet[1] = host(folder, "speaker2", 1.4, "noise", unpublished=files)
    return fleet


def converted(folder: Path) -> list[report.Host]:
    """Two hosts with converted weights."""
    return made_up(folder, "converted")


def build(hosts: Iterable[report.Host], stopped: str = "") -> dict[str, Any]:
    """The report on them."""
    return report.build(list(hosts), TIME, {"batches": [], "stop": stopped})
