# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import random
from typing import Any

import pytest
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.report.differences import compare

SOUND = {"seconds": 2.6, "rms_dbfs": -20.0, "centroid_hz": 1500.0, "voiced_share": 0.6}


def row(host: str, seconds: float = 0.5, sound: dict[str, float] | None = None, **changes: Any) -> dict[str, Any]:
    measurements = {**SOUND, **(sound or {})}
    sample = {"format": "wav", "latency_seconds": seconds, "measurements": measurements}
    factor = seconds / measurements["seconds"]
    samples = [{**sample, "voice": voice, "real_time_factor": factor} for voice in ("af_heart", "am_michael")]
    return {
        "host": host, "release": "r", "manifest_sha256": "5b1c" * 16, "profile": "cuda-py311-x86_64",
        "accelerator": "cuda", "versions": {}, "level": "acoustic", "text": "Hello.", "samples": samples,
        "performance": None, "stands_out": [], **changes,
    }  # fmt: skip


def notes(rows: list[dict[str, Any]]) -> dict[str, list[tuple[str, str]]]:
    return {
        one["host"]: [(note["kind"], note["name"]) for note in one["stands_out"]] for one in rows if one["stands_out"]
    }


def test_one_host_is_slower_than_the_rest() -> None:
    rows = [row(f"gpu-{number:03}", 0.5 + number / 1000) for number in range(20)]
    rows.append(row("gpu-020", 1.55))
    assert compare(rows) == []
    assert notes(rows) == {"gpu-020": [("speed", "latency_seconds")]}
    said = rows[-1]["stands_out"][0]
    assert said["sentence"] == (
        "takes 3.0 times the fleet's median (1.55 s from the request to the last byte; most hosts 0.51 s)"
    )
    assert (said["value"], said["usual"]) == (1.55, 0.51)


@pytest.mark.parametrize("seed", range(20))
def test_chance_makes_no_host_stand_out(seed: int) -> None:
    """Times vary by a fifth and voices inaudibly, on 3 to 1,000 hosts."""
    chance = random.Random(seed)
    for count in (3, 4, 8, 50, 1000 if seed == 0 else 60):
        rows = [
            row(
                f"h{number}",
                max(0.1, chance.gauss(0.5, 0.05)),
                {
                    "seconds": chance.gauss(2.6, 0.1), "rms_dbfs": chance.gauss(-20, 1.0),
                    "centroid_hz": chance.gauss(1500, 80), "voiced_share": chance.gauss(0.6, 0.04),
                },
            )
            for number in range(count)
        ]  # fmt: skip
        assert compare(rows) == []
        assert notes(rows) == {}


def test_milliseconds_never_make_a_difference() -> None:
    rows = [row("a", 0.02), row("b", 0.021), row("c", 0.02), row("d", 0.06)]
    assert compare(rows) == []
    assert notes(rows) == {}


def test_in_a_widely_varying_fleet_no_host_stands_out() -> None:
    rows = [row(f"h{number}", 0.5 + 0.25 * number) for number in range(9)]
    compare(rows)
    assert notes(rows) == {}


@pytest.mark.parametrize(
    ("sound", "name", "words"),
    [
        ({"seconds": 3.6}, "seconds", "af_heart lasts 3.60 s, on most hosts 2.60 s; likewise one more voice"),
        ({"rms_dbfs": -29.0}, "rms_dbfs", "is 9 dB quieter than on most hosts (-29 dBFS, median -20 dBFS)"),
        ({"rms_dbfs": -12.0}, "rms_dbfs", "is 8 dB louder than"),
        ({"centroid_hz": 2600.0}, "centroid_hz", "sounds brighter than"),
        ({"centroid_hz": 700.0}, "centroid_hz", "sounds duller than"),
        ({"voiced_share": 0.3}, "voiced_share", "has the pitch of a voice in 30% of its sound, on most hosts in 60%"),
    ],
)
def test_one_host_sounds_different(sound: dict[str, float], name: str, words: str) -> None:
    rows = [row("a"), row("b"), row("c"), row("odd", sound=sound)]
    assert compare(rows) == []
    assert notes(rows) == {"odd": [("sound", name)]}
    assert words in rows[-1]["stands_out"][0]["sentence"].replace("am_michael", "af_heart")


def test_sounds_of_different_texts_are_not_compared() -> None:
    rows = [row("a"), row("b"), row("c"), row("d", sound={"seconds": 9.0}, text="A much longer sentence.")]
    compare(rows)
    assert notes(rows) == {}


def test_what_runs_on_few_hosts_stands_out() -> None:
    rows = [row("a"), row("b"), row("c", release="old", versions={"torch": "2.12"}), row("d", manifest_sha256="f" * 64)]
    for one in rows:
        one["versions"] = {"torch": "2.13", **one["versions"]}
    assert compare(rows) == []
    assert notes(rows) == {
        "c": [("identity", "release"), ("identity", "version of torch")],
        "d": [("identity", "manifest_sha256")],
    }
    assert rows[2]["stands_out"][0]["sentence"] == "release old, most hosts r"
    assert rows[3]["stands_out"][0]["sentence"] == "manifest ffffffffffff, most hosts 5b1c5b1c5b1c"


def test_a_lower_level_stands_out_and_a_higher_one_does_not() -> None:
    rows = [row("a"), row("b"), row("c"), row("d", level="format"), row("e", level="offline")]
    assert compare(rows) == []
    assert notes(rows) == {"d": [("identity", "level")]}


def test_the_one_host_on_its_cpu_stands_out() -> None:
    rows = [row(f"gpu-{number}", 0.1 + number / 1000) for number in range(7)]
    rows.append(row("gpu-7", 1.9, accelerator="cpu", profile="cpu-py311-x86_64"))
    assert compare(rows) == []
    # The profile adds nothing to the accelerator.
    assert notes(rows) == {"gpu-7": [("identity", "accelerator"), ("speed", "latency_seconds")]}


def test_hosts_on_cpus_are_compared_with_each_other() -> None:
    rows = [row(f"gpu-{number}", 0.1) for number in range(5)]
    rows += [row(f"cpu-{number}", 2.0, accelerator="cpu", profile="cpu-py311-x86_64") for number in range(5)]
    assert compare(rows) == ["The hosts differ in accelerator: cuda on 5 hosts, cpu on 5 hosts."]
    assert notes(rows) == {}
    rows[9] = row("cpu-9", 7.0, accelerator="cpu", profile="cpu-py311-x86_64")
    compare(rows)
    assert "the median of all cpu hosts" in rows[9]["stands_out"][0]["sentence"]


def test_two_hosts_are_compared_and_neither_stands_out() -> None:
    rows = [row("a", 0.5), row("b", 1.5, {"rms_dbfs": -28.0}, release="other")]
    assert compare(rows) == [
        "The hosts differ in release: r on a, other on b.",
        "b takes 3.0 times as long as a (1.50 s and 0.50 s from the request to the last byte).",
        "af_heart does not sound the same on a as on b (loudness -20.00 dBFS and -28.00 dBFS).",
    ]
    assert notes(rows) == {}
    same = [row("a", 0.5), row("b", 0.6)]
    assert compare(same) == []


def test_a_single_host_is_not_compared() -> None:
    assert compare([row("a")]) == []
    assert compare([]) == []


def test_a_host_that_is_slow_only_under_load_stands_out() -> None:
    def loaded(p95: float) -> dict[str, Any]:
        return {"parallel": {"4": {"latency": {"p50": 1.0, "p95": p95}, "requests": 8}, "odd": {}}}

    rows = [row(f"h{number}", performance=loaded(1.2)) for number in range(5)]
    rows.append(row("h5", performance=loaded(4.8)))
    compare(rows)
    assert notes(rows) == {"h5": [("speed", "parallel.4.latency.p95")]}
    assert "takes 4.0 times the fleet's median (4.80 s to the last byte, p95, with 4 requests at once" in str(
        rows[5]["stands_out"]
    )


def test_one_late_answer_under_load_does_not_stand_out() -> None:
    def loaded(p95: float) -> dict[str, Any]:
        return {"parallel": {"1": {"latency": {"p50": 0.5, "p95": p95}, "requests": 10}}}

    rows = [row("a", performance=loaded(0.6)), row("b", performance=loaded(0.6)), row("c", performance=loaded(1.1))]
    compare(rows)
    assert notes(rows) == {}


def test_unknown_values_are_not_compared() -> None:
    rows = [row("a"), row("b"), row("c"), row("d", samples=[], manifest_sha256=None, profile=None, accelerator=None)]
    assert compare(rows) == []
    assert notes(rows) == {}
