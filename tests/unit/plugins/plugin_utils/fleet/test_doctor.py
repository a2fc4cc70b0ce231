# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.voicefleet.kokoro.plugins.module_utils.doctor.failures import FAILURES
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.fleet import doctor, gpu
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.store import advisories
from ansible_collections.voicefleet.kokoro.tests.unit.plugins.module_utils.recorded_gpu import (
    MESSAGES,
    NO_CARD,
    Smi,
    host,
    recorded,
)

NOW = 1_000_000.0
RELEASE = "1.2.3-3f9a1c2b7d5e"
EXPECTED = doctor.Expected(
    root="/opt/voicefleet",
    home="/var/lib/voicefleet",
    unit="voicefleet-xinference.service",
    host="127.0.0.1",
    port=9997,
    model="kokoro",
    minimum_memory_mb=3500,
)


def system(path: str, device: int) -> dict[str, Any]:
    return {"path": path, "free": 50_000_000_000, "device": device, "noexec": False}


HEALTHY: dict[str, Any] = {
    "errors": {},
    "platform": {
        "root_user": True,
        "systemd": {"running": True, "version": 252, "service_active": True},
        "glibc": [2, 36],
        "missing_instructions": [],
        "memory": {"total": 16_000_000_000, "available": 9_000_000_000},
        "listeners": [9997],
        "filesystems": {"root": system("/opt", 1), "home": system("/var/lib/voicefleet", 1), "tmp": system("/tmp", 2)},
        "time": NOW,
        "candidate_left": False,
        "architecture": "x86_64",
        "gpu": NO_CARD,
    },
    "unit": {
        "LoadState": "loaded",
        "ActiveState": "active",
        "UnitFileState": "enabled",
        "NRestarts": "0",
        "Result": "success",
        "ExecMainStatus": "0",
        "NeedDaemonReload": "no",
        "MemoryCurrent": "2248658944",
        "MemoryMax": "6442450944",
        "age": 4000.0,
        "foreign": False,
        "release": RELEASE,
        "stale": [],
    },
    "processes": [{"pid": 843, "name": "Model: kokoro-rep0", "rss": 1_500_000_000, "peak": 1_600_000_000}],
    "oom": {"lines": [], "kills": 0},
    "port": {"port": 9997, "holder": "768 (python)", "ours": True},
    "files": [{"path": "/etc/voicefleet", "wrong": None}, {"path": "/etc/voicefleet/secrets.json", "wrong": None}],
    "release": {
        "current": RELEASE,
        "sealed": True,
        "damage": [],
        "drift": {},
        "espeak": "/opt/voicefleet/releases/x/env/lib/python3.11/site-packages/espeakng_loader/espeak-ng-data",
        "leftovers": [],
        "unpublished": {},
        "voices": ["af_heart"],
        "components": [{"path": "wheels/torch.whl", "kind": "wheel", "name": "torch", "version": "2.7.1+cpu"}],
    },
    "proxies": {"service": [], "clients": {}},
    "lock": None,
    "receipt": {"release": RELEASE, "proof_level": "acoustic"},
    "api": {"state": "READY", "error": "", "workers": 1},
    "speech": {"voice": "af_heart", "level": "acoustic", "seconds": 0.9, "wrong": []},
    "peer": {"error": ""},
    "logs": {"serves": True, "found": [], "last_faults": []},
}


def row(code: str, general: bool = False) -> dict[str, Any]:
    return {
        "source": "the log",
        "code": code,
        "cause": "Because.",
        "remedy": "Do.",
        "line": "it broke",
        "times": 2,
        "general": general,
    }


def changed(**parts: Any) -> dict[str, Any]:
    """The healthy facts with some values replaced: ``unit__ActiveState="failed"``."""
    facts = copy.deepcopy(HEALTHY)
    for name, value in parts.items():
        *way, last = name.split("__")
        place = facts
        for step in way:
            place = place[step]
        place[last] = value
    return facts


def bad(facts: dict[str, Any], now: float = NOW) -> list[tuple[str, str]]:
    return [(item.level, item.code) for item in doctor.judge(facts, EXPECTED, now) if item.level != "OK"]


GPU = {code for code in doctor.CHECKS if code.startswith("GPU_")}
L40S = [("0000:17:00.0", "nvidia"), ("0000:65:00.0", "nvidia")]


def test_a_healthy_host_is_ok_in_every_check_that_can_be_made() -> None:
    found = doctor.judge(HEALTHY, EXPECTED, NOW, advisories.Advisories("2026-11-20", ()))
    assert {item.level for item in found} == {"OK"}
    assert {item.code for item in found} == set(doctor.CHECKS) - {"UNREACHABLE", "UNREAD"} - GPU
    assert len(found) == len({item.code for item in found})


@pytest.mark.parametrize(
    ("addresses", "networks", "seen"),
    [
        (["10.20.0.11"], ["localhost", "10.20.0.0/16"], True),
        (["192.168.1.1", "10.20.0.11"], ["10.20.0.11"], True),
        (["10.20.0.11"], ["any"], True),
        (["10.20.0.11"], ["localhost", "10.21.0.0/16", "fd00::/8"], False),
        (["10.20.0.11"], [], False),
        ([], ["any"], False),
    ],
)
def test_a_closed_port_of_another_host_is_a_warning_where_this_host_may_connect(
    addresses: list[str], networks: list[str], seen: bool
) -> None:
    peer = {"name": "speech-02", "reach": "10.20.0.12", "port": 9997, "open": True, "networks": networks}
    facts = changed(peer={"error": "timed out"}, platform__addresses=addresses)
    found = [item for item in doctor.judge(facts, replace(EXPECTED, peer=peer), NOW) if item.code == "PEER"]
    assert [item.level for item in found] == (["WARN"] if seen else [])
    assert all("speech-02 is not reached from here, at 10.20.0.12:9997: timed out." in str(item) for item in found)


def test_without_another_host_nothing_is_said_about_one() -> None:
    assert "PEER" not in {item.code for item in doctor.judge(changed(peer=None), EXPECTED, NOW)}


ADVISORY = {"id": "GHSA-1", "aliases": ["CVE-2026-1"], "affected": [
    {"package": {"ecosystem": "PyPI", "name": "torch"}, "ranges": [{"events": [{"introduced": "0"}, {"fixed": "2.8"}]}]}
]}  # fmt: skip
KNOWN = advisories.Advisories("2026-11-20", (advisories.parse(ADVISORY, "file"),))


def test_a_component_of_the_release_that_an_advisory_names_is_a_warning() -> None:
    [finding] = [item for item in doctor.judge(HEALTHY, EXPECTED, NOW, KNOWN) if item.level != "OK"]
    assert (finding.level, finding.code) == ("WARN", "ADVISORIES")
    assert finding.cause == (
        f"advisories up to 2026-11-20 name 1 component of the release {RELEASE}: "
        "torch 2.7.1+cpu (CVE-2026-1, fixed in 2.8)."
    )
    assert "contents.yml" in finding.remedy


def test_without_advisories_nothing_is_said_about_them() -> None:
    assert "ADVISORIES" not in {item.code for item in doctor.judge(HEALTHY, EXPECTED, NOW)}
    no_release = changed(release__components=[])
    assert "ADVISORIES" not in {item.code for item in doctor.judge(no_release, EXPECTED, NOW, KNOWN)}


@pytest.mark.parametrize(
    "odd", [1, {"a": 1}, [1], [{}], [{"path": []}], [{"path": "x", "kind": "odd", "name": "n", "version": "1"}]]
)
def test_odd_components_of_a_host_are_passed_over(odd: Any) -> None:
    found = doctor.judge(changed(release__components=odd), EXPECTED, NOW, KNOWN)
    assert [item.level for item in found if item.code == "ADVISORIES"] == ["OK"]


LOCK = {"owner": {"user": "kim", "controller": "fetch1", "pid": 4}, "age": 60.0}

FAULTS: list[tuple[str, str, dict[str, Any], str]] = [
    ("FAIL", "NOT_ROOT", {"platform__root_user": False}, "become"),
    ("FAIL", "GLIBC", {"platform__glibc": [2, 28]}, "2.28"),
    ("FAIL", "CPU", {"platform__missing_instructions": ["ssse3"]}, "lacks ssse3"),
    ("FAIL", "MEMORY", {"platform__memory__total": 2_000_000_000}, "2.0 GB"),
    ("FAIL", "NOEXEC", {"platform__filesystems__tmp__noexec": True}, "TMPDIR"),
    ("FAIL", "NOEXEC", {"platform__filesystems__home__noexec": True}, "xinference_home"),
    ("WARN", "CLOCK", {"platform__time": NOW - 4000}, "4000 s"),
    ("WARN", "DISK", {f"platform__filesystems__{name}__free": 900_000_000 for name in ("home", "root")},
     "/var/lib/voicefleet: 900 MB"),
    ("FAIL", "DISK", {"platform__filesystems__tmp__free": 1_000_000}, "/tmp: 1 MB"),
    ("WARN", "DEPLOY", {"lock": LOCK}, "kim on fetch1"),
    ("WARN", "DEPLOY", {"platform__candidate_left": True}, "candidate"),
    ("WARN", "DEPLOY", {"release__leftovers": ["1.2.3-aaaaaaaaaaaa"]}, "1.2.3-aaaaaaaaaaaa"),
    ("FAIL", "RELEASE", {"release__sealed": False}, "unfinished"),
    ("FAIL", "RELEASE", {"release__damage": ["/opt/x/config.json"]}, "/opt/x/config.json"),
    ("WARN", "DRIFT", {"release__drift": {"missing": {"count": 1, "first": ["env/a.py"]}}}, "1 missing (env/a.py)"),
    ("FAIL", "PATH_LENGTH", {"release__espeak": "/" + 159 * "x"}, "160 bytes"),
    ("FAIL", "FILES", {"files": [{"path": "/etc/voicefleet/secrets.json", "wrong": "mode 0644"}]}, "mode 0644"),
    ("FAIL", "UNIT", {"unit__foreign": True}, "not written by this collection"),
    ("FAIL", "UNIT", {"unit__LoadState": "not-found"}, "not-found"),
    ("WARN", "UNIT", {"unit__UnitFileState": "disabled"}, "does not start with the host"),
    ("WARN", "UNIT", {"unit__release": "1.2.3-000000000000"}, "1.2.3-000000000000"),
    ("WARN", "STALE", {"unit__stale": ["the unit has changed since the start"]}, "restart"),
    ("WARN", "STALE", {"unit__NeedDaemonReload": "yes"}, "changed file"),
    ("WARN", "RESTARTS", {"unit__NRestarts": "3"}, "3 restarts"),
    ("WARN", "OOM", {"oom__lines": ["Out of memory: Killed process 7"]}, "Killed process 7"),
    ("WARN", "OOM", {"oom__kills": 2}, "counts 2"),
    ("WARN", "GROWTH", {"unit__MemoryCurrent": "6000000000"}, "6.0 GB of the 6.4 GB"),
    ("WARN", "GROWTH", {"processes": [{"pid": 9, "name": "Model: kokoro-rep0", "rss": 4_600_000_000}]}, "4.6 GB"),
    ("FAIL", "PORT", {"port__ours": False, "port__holder": "12 (nginx)"}, "12 (nginx)"),
    ("FAIL", "PORT", {"port__holder": None}, "nothing listens"),
    ("WARN", "PORT", {"port__holder": None, "unit__age": 10}, "nothing listens"),
    ("FAIL", "PROXY", {"proxies__service": ["http_proxy"]}, "xinference_environment"),
    ("WARN", "PROXY", {"proxies__clients": {"/etc/environment": ["http_proxy"]}}, "no_proxy="),
    ("FAIL", "API", {"api": {"state": "silent", "error": "refused"}, "speech": None}, "refused"),
    ("FAIL", "API", {"api": {"state": "wrong_key"}, "speech": None}, "key"),
    ("FAIL", "API", {"api": {"state": "banned"}, "speech": None}, "audit.log"),
    ("FAIL", "API", {"api": {"state": "no_key"}, "speech": None}, "not on the host"),
    ("FAIL", "MODEL", {"api": {"state": "ERROR", "error": "no config"}, "speech": None}, "no config"),
    ("FAIL", "MODEL", {"api": {"state": "absent"}, "speech": None}, "absent"),
    ("WARN", "MODEL", {"api": {"state": "LOADING"}, "speech": None}, "half a minute"),
    ("FAIL", "SPEECH", {"speech": {"voice": "a", "level": "format", "seconds": 1, "wrong": ["Noise."]}}, "Noise."),
    ("FAIL", "SPEECH", {"speech": {"voice": "a", "level": "none", "seconds": None, "wrong": ["Cut."]}}, "Cut."),
    ("WARN", "RECEIPT", {"receipt": None}, "no receipt"),
    ("WARN", "RECEIPT", {"receipt": {"release": "1.2.3-000000000000"}}, "interrupted"),
    ("WARN", "UNREAD", {"errors": {"oom": "OSError: gone"}}, "OSError: gone"),
    ("WARN", "XI05", {"logs": {"serves": True, "found": [row("XI05", True)], "last_faults": []}}, "2 times"),
    ("FAIL", "LOGS", {"logs": {"serves": False, "found": [], "last_faults": ["ValueError: odd"]}}, "ValueError: odd"),
    ("FAIL", "OS01", {"logs": {"serves": False, "found": [row("OS01")], "last_faults": []}}, "it broke"),
]  # fmt: skip


@pytest.mark.parametrize(("level", "code", "parts", "word"), FAULTS)
def test_each_fault_is_one_finding_with_its_code(level: str, code: str, parts: dict[str, Any], word: str) -> None:
    facts = changed(**parts)
    assert bad(facts) == [(level, code)]
    [finding] = [item for item in doctor.judge(facts, EXPECTED, NOW) if item.level != "OK"]
    assert word in f"{finding.cause} {finding.remedy}"
    assert finding.remedy
    assert doctor.status_of(doctor.as_rows([finding])) == doctor.STATUS[level]


def test_checks_that_depend_on_a_stopped_service_are_not_ok() -> None:
    facts = changed(
        unit__ActiveState="failed",
        unit__Result="exit-code",
        port__holder=None,
        processes=[],
        api={"state": "silent", "error": "Connection refused"},
        speech=None,
    )
    assert bad(facts) == [("FAIL", "UNIT"), ("FAIL", "API")]
    said = {item.code for item in doctor.judge(facts, EXPECTED, NOW)}
    assert said.isdisjoint({"PORT", "MODEL", "SPEECH", "STALE", "RESTARTS"})


def test_a_service_that_keeps_ending_is_a_failure() -> None:
    facts = changed(unit__ActiveState="activating", unit__NRestarts="7", unit__Result="exit-code", port__holder=None)
    assert ("FAIL", "RESTARTS") in bad(facts)
    assert "UNIT" not in {item.code for item in doctor.judge(facts, EXPECTED, NOW)}


def test_a_service_that_ended_once_and_runs_for_a_day_is_ok() -> None:
    assert bad(changed(unit__NRestarts="1", unit__age=90_000.0)) == []


def test_a_foreign_process_on_the_port_of_a_service_that_is_down() -> None:
    facts = changed(unit__ActiveState="failed", port__holder="unknown", port__ours=None, processes=[], speech=None)
    facts["api"] = {"state": "foreign", "error": "not Xinference's"}
    assert ("FAIL", "PORT") in bad(facts)


def test_a_host_without_a_deploy_has_only_that_finding() -> None:
    facts = changed(
        release__current=None,
        unit__LoadState="not-found",
        files=[{"path": "/etc/voicefleet", "wrong": "missing"}],
        api={"state": "silent"},
        receipt=None,
        speech=None,
    )
    assert bad(facts) == [("FAIL", "RELEASE")]


def test_a_stopped_service_is_reported_with_causes_without_consequences() -> None:
    facts = changed(logs={"serves": False, "found": [row("XI05", True), row("OS01")], "last_faults": []})
    assert bad(facts) == [("FAIL", "OS01")]
    assert bad(changed(logs={"serves": False, "found": [row("XI05", True)], "last_faults": []})) == [("FAIL", "XI05")]


def test_a_proof_with_stand_ins_is_no_failure_and_is_named() -> None:
    facts = changed(
        release__unpublished={"kokoro/x.pth": "made-up"},
        receipt={"release": RELEASE, "proof_level": "format"},
        speech={"voice": "a", "level": "format", "seconds": 1.0, "wrong": ["The audio is white noise."]},
    )
    found = doctor.judge(facts, EXPECTED, NOW)
    assert {item.level for item in found} == {"OK"}
    assert "not Kokoro's voice" in next(item.cause for item in found if item.code == "RELEASE")


@pytest.mark.parametrize("proved", ["acoustic", "phonemes", "performance", "offline"])
def test_one_sentence_need_not_reach_the_level_of_the_whole_proof(proved: str) -> None:
    said = {"voice": "a", "level": "acoustic", "seconds": 1.0, "wrong": []}
    assert bad(changed(receipt={"release": RELEASE, "proof_level": proved}, speech=said)) == []
    noise = {**said, "level": "format", "wrong": ["The audio is white noise."]}
    assert bad(changed(receipt={"release": RELEASE, "proof_level": proved}, speech=noise)) == [("FAIL", "SPEECH")]


def test_parts_that_could_not_be_read_are_not_ok() -> None:
    facts = {"errors": {"platform": "OSError: broken"}}
    assert [(item.level, item.code) for item in doctor.judge(facts, EXPECTED, NOW)] == [("WARN", "UNREAD")]


def test_every_code_is_a_check_or_a_known_failure() -> None:
    known = {*doctor.CHECKS, *(failure.code for failure in FAILURES)}
    assert {code for _level, code, _parts, _word in FAULTS} <= known


def test_the_report_has_the_worst_status_and_shows_the_worst_last() -> None:
    hosts = {
        "speech-02": doctor.as_rows(doctor.unreachable("no route")),
        "speech-01": [{"level": "OK", "code": "GLIBC", "cause": "new.", "remedy": ""}],
        "long-name-03": [{"level": "WARN", "code": "CLOCK", "cause": "late.", "remedy": "Mend\nit."}],
    }
    data = doctor.report(hosts, "2026-11-22T12:00:00Z")
    assert data["status"] == 2
    assert [host["status"] for host in data["hosts"].values()] == [1, 0, 2]
    assert data["counts"] == {"OK": 1, "WARN": 1, "FAIL": 1}
    lines = doctor.lines(data)
    assert lines[0] == "OK   speech-01    GLIBC: new."
    assert lines[1] == "WARN long-name-03 CLOCK: late. Mend it."
    assert lines[2].startswith("FAIL speech-02    UNREACHABLE: nothing could be read: no route.")
    assert lines[3] == "3 hosts: 1 FAIL, 1 WARN, 1 OK"
    assert len(doctor.lines(data, show_ok=False)) == 3


def test_a_large_fleet_shows_each_finding_once_with_its_hosts() -> None:
    def row(level: str, code: str, cause: str) -> dict[str, str]:
        return {"level": level, "code": code, "cause": cause, "remedy": "" if level == "OK" else "Mend it."}

    hosts = {f"s{n:04}": [row("OK", "GLIBC", "new."), row("OK", "CPU", "fast.")] for n in range(1000)}
    for n in range(900):
        hosts[f"s{n:04}"][1] = row("WARN", "DISK", f"{n} MB are free.")
    hosts["s0007"][0] = hosts["s0008"][0] = row("FAIL", "UNIT", "inactive.")
    lines = doctor.lines(doctor.report(hosts, "now"))
    assert lines[0].startswith("OK   s0900, s0901, ")
    assert lines[0].endswith(" and 88 more CPU: fast.")
    assert lines[1].endswith(" and 986 more GLIBC: new.")
    assert lines[2:5] == [f"WARN s000{n} DISK: {n} MB are free. Mend it." for n in range(3)]
    assert lines[5].endswith("and 885 more DISK: 897 more causes. --json shows each, --limit one host.")
    assert lines[6:] == ["FAIL s0007, s0008 UNIT: inactive. Mend it.", "1,000 hosts: 2 FAIL, 900 WARN, 1,098 OK"]


def test_a_finding_of_all_hosts_of_a_large_fleet_names_none() -> None:
    hosts = {f"s{n}": doctor.as_rows(doctor.unreachable("no route")) for n in range(30)}
    lines = doctor.lines(doctor.report(hosts, "now"))
    assert len(lines) == 2
    assert lines[0].startswith("FAIL all 30 hosts UNREACHABLE: nothing could be read: no route.")


def test_a_report_without_hosts_is_a_failure() -> None:
    assert doctor.report({}, "now")["status"] == 2


# --- GPUs


def with_card(
    tmp_path: Path, profile: str = "cuda-py311-x86_64", smi: Smi | None = None, **card: Any
) -> dict[str, Any]:
    """The healthy host with two GPUs, its model on one of them, and a release for GPUs."""
    facts = copy.deepcopy(HEALTHY)
    cards = host(tmp_path, smi or Smi(recorded("r580-2x-l40s")), L40S, modules=["nvidia"])
    facts["platform"]["gpu"] = {**cards, **card}
    facts["release"].update(
        profile=profile, wheels={"torch": next(iter(gpu.BUILT_FOR))[0], "nvidia-cuda-runtime": "13.0.96"}
    )
    facts["processes"][0]["pid"] = 4242
    return facts


def test_a_host_whose_model_is_on_its_gpu_is_ok(tmp_path: Path) -> None:
    found = doctor.judge(with_card(tmp_path), EXPECTED, NOW)
    assert {item.level for item in found} == {"OK"}
    assert {item.code for item in found} >= GPU


def test_a_model_that_is_not_on_its_gpu_is_reported(tmp_path: Path) -> None:
    facts = with_card(tmp_path)
    facts["processes"][0]["pid"] = 843
    [finding] = wrong(facts)
    assert (finding.level, finding.code) == ("FAIL", "GPU_USED")
    facts["platform"]["gpu"]["container"] = "docker"  # there nvidia-smi sees no process
    assert wrong(facts) == []
    assert "GPU_USED" not in {item.code for item in doctor.judge(facts, EXPECTED, NOW)}


@pytest.mark.parametrize("message", ["mismatch", "lost", "not_loaded", "none", "unknown"])
def test_a_driver_that_fails_is_reported(tmp_path: Path, message: str) -> None:
    status, text = MESSAGES[message]
    [finding] = wrong(with_card(tmp_path / "a", smi=Smi(text, status)))
    assert (finding.level, finding.code) == ("FAIL", "GPU_DRIVER")
    # A release for the CPU still serves.
    [finding] = wrong(with_card(tmp_path / "b", "cpu-py311-x86_64", Smi(text, status)))
    assert (finding.level, finding.code) == ("WARN", "GPU_DRIVER")


def test_a_missing_gpu_is_reported(tmp_path: Path) -> None:
    facts = with_card(tmp_path)
    facts["platform"]["gpu"] = NO_CARD
    [finding] = wrong(facts)
    assert (finding.level, finding.code) == ("FAIL", "GPU_CARD")
    facts["unit"]["node"] = "supervisor"  # of a cluster: its workers have the cards
    assert wrong(facts) == []


def test_gpus_are_checked_before_the_first_deploy(tmp_path: Path) -> None:
    status, text = MESSAGES["mismatch"]
    facts = with_card(tmp_path, smi=Smi(text, status))
    facts["unit"], facts["release"] = {"LoadState": "not-found"}, {**HEALTHY["release"], "current": None}
    assert [item.code for item in doctor.judge(facts, EXPECTED, NOW)] == ["GPU_DRIVER", "RELEASE"]


def wrong(facts: dict[str, Any]) -> list[doctor.Finding]:
    return [item for item in doctor.judge(facts, EXPECTED, NOW) if item.level != "OK"]
