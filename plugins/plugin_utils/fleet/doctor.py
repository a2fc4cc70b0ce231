# SPDX-License-Identifier: GPL-3.0-or-later
"""Judge what was read of a host: findings with a stable code, cause and remedy, and the exit status of them all."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ...module_utils.proof.acoustics import LEVELS
from . import deploy_lock, gpu
from .preflight import ESPEAK_PATH, Finding, Wanted, check_platform, selinux_findings

Json = Mapping[str, Any]

STATUS = {"OK": 0, "WARN": 1, "FAIL": 2}

# What each check is about. docs/doctor.md has them all; a test compares.
CHECKS = {
    "UNREACHABLE": "the host answers, and a module can run on it",
    "NOT_ROOT": "the connection is root's",
    "SYSTEMD": "systemd runs the host, and is new enough",
    "GLIBC": "glibc is 2.29 or newer",
    "MEMORY": "the host has the memory that Kokoro needs",
    "GPU_DRIVER": "the driver of the host's NVIDIA cards answers, and runs the release's CUDA",
    "GPU_CARD": "each card answers, has no errors, and is one that the release was built for",
    "GPU_NODES": "the card's device nodes are there",
    "GPU_USED": "the model's process is on a card",
    "NOEXEC": "programs may run from the releases, the service's home and the temporary folder",
    "SELINUX": "where SELinux is on, what systemd starts is labelled as a program",
    "PATH_LENGTH": "the service's home has 50 bytes at most, and the path of espeak's data less than 160",
    "CLOCK": "the clock agrees with the controller's within five minutes",
    "DISK": "the file systems of the releases, the home and the temporary folder have room",
    "DEPLOY": "no deploy is under way, and none left a candidate or half a release",
    "RELEASE": "a release is current, sealed and whole",
    "DRIFT": "its files are as they were sealed",
    "FILES": "secrets and accounts are closed to others, and agree with each other",
    "UNIT": "the unit is ours, enabled and active, and runs the current release",
    "STALE": "the process was started from what is on disk now",
    "RESTARTS": "the service did not end by itself within a day",
    "OOM": "the kernel ended no process for want of memory within a day",
    "GROWTH": "the service's memory is far from its limit, and the model's process below 4 GB",
    "PORT": "the service holds its port, and nobody else does",
    "PROXY": "no proxy stands between clients on the host and the service",
    "API": "the service answers at its own address as Xinference, and takes the client's key",
    "MODEL": "the model is READY",
    "SPEECH": "a sentence comes back as sound, to the level that the last receipt proved",
    "RECEIPT": "the last receipt is of the current release",
    "LOGS": "journal and log tell of no known failure",
    "UNREAD": "every part of the host could be read",
}

# A check that is not said to be OK where one of these failed: it was not made, or says nothing then.
_NEEDS = {
    "DRIFT": ("RELEASE",),
    "PATH_LENGTH": ("RELEASE",),
    "UNIT": ("RESTARTS",),
    "STALE": ("UNIT",),
    "RESTARTS": ("UNIT",),
    "PORT": ("UNIT", "API"),
    "MODEL": ("API",),
    "SPEECH": ("API", "MODEL"),
    "GPU_CARD": ("GPU_DRIVER", "GPU_NODES"),
    "GPU_NODES": ("GPU_DRIVER",),
    "GPU_USED": ("GPU_DRIVER", "GPU_NODES", "GPU_CARD", "API", "MODEL"),
}
_GPU = ("GPU_DRIVER", "GPU_CARD", "GPU_NODES", "GPU_USED")
DAY = 86400
GROWTH_BYTES = 4_000_000_000  # Kokoro grows to 3.3 GB with long texts, and more is a leak
GROWTH_SHARE = 0.85  # of the unit's MemoryMax
DISK_WARN, DISK_FAIL = 1_000_000_000, 200_000_000
_AGAIN = "Run deploy.yml again: it finds what is wrong and mends it."


@dataclass(frozen=True)
class Expected:
    """What the inventory says of a host."""

    root: str
    home: str
    unit: str
    host: str
    port: int
    model: str
    minimum_memory_mb: int


def judge(facts: Json, expected: Expected, controller_time: float) -> list[Finding]:
    """All findings of one host, one OK for each check that found nothing. ``facts`` are those of ``service_state``."""
    if facts.get("release", {}).get("current", "") is None and facts.get("unit", {}).get("LoadState") == "not-found":
        # All else would only say the same again.
        judges = (_platform, _gpu, _release) if "platform" in facts else (_release,)
        return [finding for check in judges for finding in check(facts, expected, controller_time)]
    found: list[Finding] = []
    checked: set[str] = set()
    for names, codes, check in _JUDGES:
        if all(name in facts for name in names):
            found += check(facts, expected, controller_time)
            checked.update(codes)
    for name, why in facts["errors"].items():
        found.append(Finding("WARN", "UNREAD", f"{name} could not be read: {why}.", "Look at it by hand on the host."))
    said = {finding.code for finding in found}
    failed = {finding.code for finding in found if finding.level == "FAIL"}
    unknown = {code for code, needs in _NEEDS.items() if failed.intersection(needs)}
    unknown |= {"LOGS"} if facts.get("logs", {}).get("found") else set()
    unknown |= {"SPEECH"} if facts.get("speech") is None else set()
    unknown |= _gpu_unknown(facts)
    found += [Finding("OK", code, f"{CHECKS[code]}.", "") for code in CHECKS if code in checked - said - unknown]
    return found


def unreachable(why: str) -> list[Finding]:
    """The one finding of a host on which nothing could be read."""
    return [
        Finding(
            "FAIL",
            "UNREACHABLE",
            f"nothing could be read: {why.strip()}.",
            "Check that the host is up, that the controller reaches it (ansible -m ping), that its user may become "
            "root, and that it has a Python 3.9 or newer.",
        )
    ]


def _platform(facts: Json, expected: Expected, controller_time: float) -> list[Finding]:
    wanted = Wanted(
        languages=(),
        voices=(),
        root=expected.root,
        home=expected.home,
        port=expected.port,
        minimum_memory_mb=expected.minimum_memory_mb,
    )
    platform = facts["platform"]
    # Who holds the port is judged below, from the unit's processes.
    found = [item for item in check_platform(platform, wanted, controller_time) if item.code != "PORT"]
    found += selinux_findings(platform, expected.root)
    by_device: dict[int, tuple[int, list[str]]] = {}
    for system in platform["filesystems"].values():
        by_device.setdefault(system["device"], (system["free"], []))[1].append(system["path"])
    for free, places in by_device.values():
        if free < DISK_WARN:
            found.append(
                Finding(
                    "FAIL" if free < DISK_FAIL else "WARN",
                    "DISK",
                    f"{' and '.join(places)}: {free / 1e6:.0f} MB are free.",
                    "Logs, receipts and temporary files need a gigabyte. df -h and du -x show what is there; releases "
                    "that served before go with releases_keep.",
                )
            )
    return found


def _accelerator(facts: Json) -> str:
    """What the current release computes on, empty where there is none."""
    return str(facts.get("release", {}).get("profile") or "").split("-", maxsplit=1)[0]


def _gpu(facts: Json, expected: Expected, controller_time: float) -> list[Finding]:
    """The host's cards. What is wrong with them stops a release for cards, and is worth a word on any other host."""
    cards, accelerator = facts["platform"]["gpu"], _accelerator(facts)
    computes = accelerator == "cuda" and facts.get("unit", {}).get("node") != "supervisor"
    if cards["vendor"] != "nvidia" and not computes:
        return []
    wheels = facts.get("release", {}).get("wheels", {}) if accelerator == "cuda" else {}
    build = gpu.build_of(wheels.items(), facts["platform"]["architecture"])
    faults = gpu.check(cards, build, (), 0, True).faults
    found = [
        Finding(
            fault.level if accelerator == "cuda" else "WARN", fault.code, fault.cause, fault.remedy.rstrip(".") + "."
        )
        for fault in faults
    ]
    if found or accelerator != "cuda" or _gpu_used_unknown(facts):
        return found
    own, on_card = {row["pid"] for row in facts["processes"]}, {row["pid"] for row in cards["processes"]}
    if not own & on_card:
        cause = "none of the service's processes is on a card: speech is made by the CPU."
        remedy = f"systemctl restart {expected.unit}; if it stays so, its log says why (LOGS)."
        found.append(Finding("FAIL", "GPU_USED", cause, remedy))
    return found


def _gpu_used_unknown(facts: Json) -> bool:
    """Whether it can't be told who computes on the cards: nobody serves, or only nvidia-smi outside would know."""
    cards = facts["platform"]["gpu"]
    told = cards["source"] == "nvidia-smi" and not cards["container"]
    return not told or not facts.get("processes") or facts.get("api", {}).get("state") != "READY"


def _gpu_unknown(facts: Json) -> set[str]:
    """Checks of cards that are not said to be OK, as there is none or it can't be told."""
    if "gpu" not in facts.get("platform", {}):
        return set(_GPU)
    if facts["platform"]["gpu"]["vendor"] != "nvidia":
        return set(_GPU)
    return {"GPU_USED"} if _accelerator(facts) != "cuda" or _gpu_used_unknown(facts) else set()


def _deploy(facts: Json, expected: Expected, controller_time: float) -> list[Finding]:
    found = []
    lock = facts.get("lock")
    if lock:
        who = deploy_lock.in_words({"holder": lock["owner"], "age": lock["age"]})
        remedy = "What the doctor finds may be its work: look again once it has ended."
        found.append(Finding("WARN", "DEPLOY", f"a deploy by {who} is under way.", remedy))
        return found
    left = ["a candidate of an upgrade"] if facts["platform"]["candidate_left"] else []
    left += [f"the unfinished release {name}" for name in facts.get("release", {}).get("leftovers", [])]
    if left:
        remedy = "The next deploy.yml finishes or removes it."
        found.append(Finding("WARN", "DEPLOY", f"a deploy was cut off and left {' and '.join(left)}.", remedy))
    return found


def _release(facts: Json, expected: Expected, controller_time: float) -> list[Finding]:
    release = facts["release"]
    current = release["current"]
    if current is None:
        return [Finding("FAIL", "RELEASE", "no release is current: nothing was deployed here.", "Run deploy.yml.")]
    if not release["sealed"]:
        return [Finding("FAIL", "RELEASE", f"the current release {current} is gone or was never finished.", _AGAIN)]
    found = []
    if release["damage"]:
        lacks = _some(release["damage"])
        found.append(Finding("FAIL", "RELEASE", f"the release {current} lacks {lacks}.", _AGAIN))
    sorts = [f"{row['count']} {sort} ({_some(row['first'])})" for sort, row in release["drift"].items() if row["count"]]
    if sorts:
        cause = f"files of the release {current} are not as they were sealed: {'; '.join(sorts)}."
        found.append(Finding("WARN", "DRIFT", cause, _AGAIN + " Find out who changed them."))
    length = len(os.fsencode(release["espeak"] or ""))
    if length > ESPEAK_PATH:
        cause = f"{release['espeak']} has {length} bytes, espeak can hold {ESPEAK_PATH}."
        found.append(Finding("FAIL", "PATH_LENGTH", cause, "Choose a shorter voicefleet_root."))
    if not release["damage"]:
        made_up = "; its models are stand-ins, the audio is not Kokoro's voice" if release["synthetic"] else ""
        found.append(Finding("OK", "RELEASE", f"{current} is current, sealed and whole{made_up}.", ""))
    return found


def _files(facts: Json, expected: Expected, controller_time: float) -> list[Finding]:
    wrong = [f"{row['path']} ({row['wrong']})" for row in facts["files"] if row["wrong"]]
    if not wrong:
        return []
    missing = any(row["wrong"] == "missing" for row in facts["files"])
    return [
        Finding(
            "FAIL",
            "FILES",
            f"not as they must be: {_some(wrong, 6)}.",
            _AGAIN + ("" if missing else " Until then other users of the host may read secrets or stop the service."),
        )
    ]


def _unit(facts: Json, expected: Expected, controller_time: float) -> list[Finding]:
    unit, name = facts["unit"], expected.unit
    if unit.get("foreign"):
        remedy = f"Move that file away, then run deploy.yml; systemctl cat {name} shows it."
        return [Finding("FAIL", "UNIT", f"{name} was not written by this collection.", remedy)]
    if unit.get("LoadState") != "loaded":
        return [Finding("FAIL", "UNIT", f"{name} is {unit.get('LoadState', 'unknown')}.", _AGAIN)]
    found = []
    active = unit.get("ActiveState")
    how = f"result {unit.get('Result')}, status {unit.get('ExecMainStatus')}, {unit.get('NRestarts')} restarts"
    lately = active == "active" and int(unit.get("NRestarts") or 0) > 0 and (unit.get("age") or 0) < DAY
    if active == "activating" or lately:
        level = "FAIL" if active == "activating" else "WARN"
        remedy = f"journalctl -u {name} says why. Once that is mended, systemctl reset-failed {name} forgets it."
        found.append(Finding(level, "RESTARTS", f"{name} is {active} and ended before ({how}).", remedy))
    if active not in ("active", "activating"):
        remedy = f"systemctl start {name}, or deploy.yml; journalctl -u {name} says why it ended."
        found.append(Finding("FAIL", "UNIT", f"{name} is {active} ({how}).", remedy))
    elif unit.get("UnitFileState") != "enabled":
        cause = f"{name} is {unit.get('UnitFileState') or 'not enabled'}: it does not start with the host."
        found.append(Finding("WARN", "UNIT", cause, _AGAIN))
    current = facts.get("release", {}).get("current")
    if unit.get("release") and current and unit["release"] != current:
        cause = f"{name} runs the release {unit['release']}, and {current} is current."
        found.append(Finding("WARN", "UNIT", cause, _AGAIN))
    stale = [
        *unit["stale"],
        *(["systemd has not read a changed file"] if unit.get("NeedDaemonReload") == "yes" else []),
    ]
    if stale:
        remedy = f"Run deploy.yml, or systemctl daemon-reload and restart {name}."
        found.append(Finding("WARN", "STALE", f"{'; '.join(stale)}.", remedy))
    return found


def _memory(facts: Json, expected: Expected, controller_time: float) -> list[Finding]:
    found = []
    oom, unit = facts["oom"], facts.get("unit", {})
    if oom["lines"] or oom["kills"]:
        cause = oom["lines"][-1] if oom["lines"] else f"the unit's control group counts {oom['kills']} such ends"
        remedy = "Raise xinference_memory_max where the unit's own limit was met, else give the host more memory."
        found.append(Finding("WARN", "OOM", f"the kernel ended a process for want of memory: {cause}.", remedy))
    used, most = _number(unit.get("MemoryCurrent")), _number(unit.get("MemoryMax"))
    model = next((row for row in facts.get("processes", []) if row["name"].startswith("Model:")), None)
    grown = []
    if used and most and used > GROWTH_SHARE * most:
        grown.append(f"the service holds {used / 1e9:.1f} GB of the {most / 1e9:.1f} GB that its unit allows")
    if model and model["rss"] > GROWTH_BYTES:
        grown.append(f"the model's process {model['pid']} holds {model['rss'] / 1e9:.1f} GB, and 3.3 GB are usual")
    if grown:
        remedy = (
            f"systemctl restart {expected.unit} frees it; let clients send sentences, or raise xinference_memory_max."
        )
        found.append(Finding("WARN", "GROWTH", f"{'; '.join(grown)}.", remedy))
    return found


def _port(facts: Json, expected: Expected, controller_time: float) -> list[Finding]:
    port, active = facts["port"], facts.get("unit", {}).get("ActiveState") == "active"
    state = facts.get("api", {}).get("state")
    where = f"port {port['port']}"
    others = port["ours"] is False or state == "foreign" or (port["holder"] and not facts.get("processes"))
    if others:
        see = f"ss -ltnp 'sport = :{port['port']}' shows it. Stop it, or set xinference_port to a free one."
        return [Finding("FAIL", "PORT", f"{where} is held by another process: {port['holder'] or 'unknown'}.", see)]
    if active and port["holder"] is None:
        age = facts["unit"].get("age") or 0
        cause = f"the service is active for {age:.0f} s and nobody listens on {where}."
        remedy = "It takes half a minute to start. If it stays so, its log says why (see LOGS)."
        return [Finding("WARN" if age < 120 else "FAIL", "PORT", cause, remedy)]
    return []


def _proxies(facts: Json, expected: Expected, controller_time: float) -> list[Finding]:
    proxies, found = facts["proxies"], []
    if proxies["service"]:
        cause = f"the service runs with {', '.join(proxies['service'])} and speaks to itself through that proxy."
        remedy = "Take it out of xinference_environment and of the unit's drop-ins, then deploy again."
        found.append(Finding("FAIL", "PROXY", cause, remedy))
    for file, names in proxies["clients"].items():
        cause = f"{file} sets {', '.join(names)}: clients on this host ask that proxy for 127.0.0.1."
        remedy = "Set no_proxy=localhost,127.0.0.1,::1 and the host's own names beside it."
        found.append(Finding("WARN", "PROXY", cause, remedy))
    return found


def _api(facts: Json, expected: Expected, controller_time: float) -> list[Finding]:
    api = facts["api"]
    state, error = api["state"], api.get("error", "")
    remedies = {
        "silent": f"systemctl status {expected.unit}; half a minute after a start it answers.",
        "foreign": "Another program holds the port: see PORT.",
        "no_key": _AGAIN,
        "wrong_key": "Run deploy.yml again: it puts accounts and keys right.",
        "banned": f"{expected.home}/logs/audit.log tells who sends bad keys; a restart of {expected.unit} lifts it.",
    }
    words = {
        "silent": "it does not answer",
        "foreign": "something else than Xinference answers",
        "no_key": "the client's key is not on the host",
        "wrong_key": "it does not take the client's key",
        "banned": "it has banned this address after bad credentials",
    }
    if state in remedies:
        return [Finding("FAIL", "API", f"{words[state]}{f': {error}' if error else ''}.", remedies[state])]
    if state == "READY":
        return []
    level = "WARN" if state in ("CREATING", "LOADING", "UPDATING") else "FAIL"
    cause = f"the model {expected.model} is {state}{f': {error}' if error else ''}."
    remedy = "Look again in half a minute." if level == "WARN" else "Run deploy.yml, or restart the service; see LOGS."
    return [Finding(level, "MODEL", cause, remedy)]


def _speech(facts: Json, expected: Expected, controller_time: float) -> list[Finding]:
    speech = facts["speech"]
    if speech is None:
        return []
    proved = (facts.get("receipt") or {}).get("proof_level")
    # One sentence can show no more than this, whatever the whole proof reached.
    wanted = min(proved, "acoustic", key=LEVELS.index) if proved in LEVELS[1:] else "format"
    known = [level for level in LEVELS if level in (speech["level"], wanted)]
    if speech["level"] != wanted and known[0] == speech["level"]:
        cause = f"{speech['voice']} reached the level {speech['level']} and {wanted} was proved before: "
        remedy = "Run verify.yml for the whole proof; rollback.yml goes back to the release before."
        return [Finding("FAIL", "SPEECH", cause + " ".join(speech["wrong"]), remedy)]
    took = f" in {speech['seconds']:.1f} s" if speech["seconds"] is not None else ""
    return [Finding("OK", "SPEECH", f"a sentence by {speech['voice']} reached the level {speech['level']}{took}.", "")]


def _receipt(facts: Json, expected: Expected, controller_time: float) -> list[Finding]:
    receipt, current = facts["receipt"], facts.get("release", {}).get("current")
    if current is None:
        return []
    if receipt is None:
        return [Finding("WARN", "RECEIPT", "there is no receipt: nobody knows who deployed what.", _AGAIN)]
    if receipt.get("release") != current:
        cause = f"the last receipt is of {receipt.get('release')}, and {current} is current: a deploy was cut off."
        return [Finding("WARN", "RECEIPT", cause, _AGAIN)]
    return []


def _logs(facts: Json, expected: Expected, controller_time: float) -> list[Finding]:
    """Known failures in the logs: of a service that serves WARN, else FAIL, and there the general ones stand back."""
    logs = facts["logs"]
    rows: dict[str, dict[str, Any]] = {}
    for row in logs["found"]:
        rows.setdefault(row["code"], row)
    telling = [row for row in rows.values() if not row["general"]] or list(rows.values())
    chosen = list(rows.values()) if logs["serves"] else telling
    if not rows and not logs["serves"] and logs["last_faults"]:
        cause = f"the last errors in the log are unknown here: {' / '.join(logs['last_faults'][-3:])}."
        remedy = "A support bundle (-e doctor_bundle=support.tar.gz) has the lines around them."
        return [Finding("FAIL", "LOGS", cause, remedy)]
    return [
        Finding(
            "WARN" if logs["serves"] else "FAIL",
            row["code"],
            f"{row['cause']} Seen {row['times']} times in {row['source']}: {row['line']}",
            row["remedy"],
        )
        for row in chosen
    ]


_JUDGES: tuple[tuple[tuple[str, ...], tuple[str, ...], Callable[[Json, Expected, float], list[Finding]]], ...] = (
    # the facts that a judge needs, the checks that it makes, and the judge
    (("platform",), ("NOT_ROOT", "SYSTEMD", "GLIBC", "MEMORY", "NOEXEC", "SELINUX", "CLOCK", "DISK"), _platform),
    (("platform",), _GPU, _gpu),
    (("lock", "platform", "release"), ("DEPLOY",), _deploy),
    (("release",), ("RELEASE", "DRIFT", "PATH_LENGTH"), _release),
    (("files",), ("FILES",), _files),
    (("unit",), ("UNIT", "STALE", "RESTARTS"), _unit),
    (("oom", "processes", "unit"), ("OOM", "GROWTH"), _memory),
    (("port", "unit"), ("PORT",), _port),
    (("proxies",), ("PROXY",), _proxies),
    (("api",), ("API", "MODEL"), _api),
    (("speech",), ("SPEECH",), _speech),
    (("receipt", "release"), ("RECEIPT",), _receipt),
    (("logs",), ("LOGS",), _logs),
)


def _some(names: Sequence[str], most: int = 3) -> str:
    return ", ".join(names[:most]) + (", …" if len(names) > most else "")


def _number(text: object) -> int:
    """A size that systemd names, 0 where it has none (``infinity``, ``[not set]``)."""
    return int(str(text)) if str(text).isdigit() else 0


def status_of(findings: Iterable[Mapping[str, str]]) -> int:
    """0 where all is OK, 1 with a warning, 2 with a failure."""
    return max((STATUS[finding["level"]] for finding in findings), default=0)


def report(hosts: Mapping[str, Sequence[Mapping[str, str]]], now: str) -> dict[str, Any]:
    """The report of a run, JSON-ready; ``hosts`` has the findings of each."""
    counts = {level: sum(row["level"] == level for rows in hosts.values() for row in rows) for level in STATUS}
    return {
        "schema": 1,
        "time": now,
        "status": max((status_of(rows) for rows in hosts.values()), default=2),
        "counts": counts,
        "hosts": {name: {"status": status_of(rows), "findings": list(rows)} for name, rows in sorted(hosts.items())},
    }


def lines(data: Mapping[str, Any], show_ok: bool = True) -> list[str]:
    """The report for the terminal: a line for each finding, the worst last, where the eye is."""
    wide = max((len(name) for name in data["hosts"]), default=0)
    rows = [
        (
            STATUS[row["level"]],
            f"{row['level']:<4} {name:<{wide}} {row['code']}: {row['cause']} {row['remedy']}".rstrip(),
        )
        for name, host in data["hosts"].items()
        for row in host["findings"]
        if show_ok or row["level"] != "OK"
    ]
    counts = data["counts"]
    hosts = f"{len(data['hosts'])} host{'' if len(data['hosts']) == 1 else 's'}"
    total = f"{hosts}: {counts['FAIL']} FAIL, {counts['WARN']} WARN, {counts['OK']} OK"
    return [line.replace("\n", " ") for _status, line in sorted(rows, key=lambda row: row[0])] + [total]


def as_rows(findings: Iterable[Finding]) -> list[dict[str, str]]:
    """Findings as JSON has them."""
    return [asdict(finding) for finding in findings]
