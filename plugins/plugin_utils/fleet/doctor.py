# SPDX-License-Identifier: GPL-3.0-or-later
"""Judge the facts of a host: findings with a stable code, cause and remedy, and the exit status of a run."""

from __future__ import annotations

import contextlib
import ipaddress
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from ...module_utils.host import sources
from ...module_utils.proof.terms import LEVELS
from ..store import advisories, datafile
from ..store.manifest import Artifact
from . import deploy_lock, gpu
from .lines import MOST_ROWS, names as hosts_of
from .preflight import ESPEAK_PATH, Finding, Findings, Wanted, check_platform, drift_finding, selinux_findings
from .service import at

Json = Mapping[str, Any]

STATUS = {"OK": 0, "WARN": 1, "FAIL": 2}

# What each check means when it is OK. A test compares this with docs/doctor.md.
CHECKS = {
    "UNREACHABLE": "the host answers, and a module can run on it",
    "NOT_ROOT": "the connection is root's",
    "SYSTEMD": "systemd runs the host, and is new enough",
    "GLIBC": "glibc is 2.29 or newer",
    "CPU": "an x86_64 processor has the instructions of x86-64-v2",
    "MEMORY": "the host has the memory that Kokoro needs",
    "GPU_DRIVER": "the driver of the host's NVIDIA GPUs answers, and runs the release's CUDA",
    "GPU_CARD": "each GPU answers, has no errors, and runs the release's build",
    "GPU_NODES": "the GPU's device nodes exist",
    "GPU_USED": "the model's process runs on a GPU",
    "NOEXEC": "programs may run from the releases, the service's home and the temporary folder",
    "SELINUX": "if SELinux is on, the programs that systemd starts have the right label",
    "FAPOLICYD": "fapolicyd does not run, or it lets the service run",
    "PATH_LENGTH": "the service's home has 50 bytes at most, and the path of espeak's data less than 160",
    "CLOCK": "the clocks of host and controller differ by less than five minutes",
    "DISK": "the file systems of the releases, the home and the temporary folder have free space",
    "DEPLOY": "no deploy is in progress, and none left a candidate or an unfinished release",
    "RELEASE": "a release is current, sealed and whole",
    "DRIFT": "its files have not changed since it was sealed",
    "ADVISORIES": "the advisories that the store carries name no component of the release",
    "FILES": "only their owners can read secrets and accounts, and these match each other",
    "UNIT": "the unit is ours, enabled and active, and runs the current release",
    "STALE": "the process was started from the files that are on disk now",
    "RESTARTS": "the service did not end by itself within a day",
    "OOM": "the kernel killed no process for lack of memory within a day",
    "GROWTH": "the service's memory is far below its limit, and the model's process below 4.5 GB",
    "PORT": "the service holds its port, and no other process does",
    "PEER": "the service of another host of the play accepts a connection from here",
    "PROXY": "no proxy is between clients on the host and the service",
    "API": "the service answers at its own address as Xinference, and accepts the client's key",
    "MODEL": "the model is READY",
    "SPEECH": "a sentence becomes sound, at the level that the last receipt proved",
    "RECEIPT": "the last receipt is for the current release",
    "LOGS": "journal and log show no known failure",
    "UNREAD": "every part of the host could be read",
}

# A check is not reported as OK if one of these failed: it was not made, or proves nothing then.
_NEEDS = {
    "DRIFT": ("RELEASE",),
    "ADVISORIES": ("RELEASE",),
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
MOST_CAUSES = 3  # of one code that the terminal shows if there are many hosts
COMPONENTS = 5000  # of a release that are compared with advisories; a release has some 200
GROWTH_BYTES = 4_500_000_000  # Kokoro takes 3.9 GB at most, during a very long sentence; more is a leak
GROWTH_SHARE = 0.85  # of the unit's MemoryMax
DISK_WARN, DISK_FAIL = 1_000_000_000, 200_000_000
_AGAIN = "Run deploy.yml again: it finds and repairs this."


@dataclass(frozen=True)
class Expected:
    """A host's settings in the inventory."""

    root: str
    home: str
    unit: str
    host: str
    port: int
    model: str
    minimum_memory_mb: int
    peer: Json = field(default_factory=dict)


def judge(
    facts: Json, expected: Expected, controller_time: float, known: advisories.Advisories | None = None
) -> list[Finding]:
    """All findings of one host, with an OK for each check without one. ``facts`` come from ``service_state``.

    ``known`` are the advisories that the store on the controller carries.
    """
    if facts.get("release", {}).get("current", "") is None and facts.get("unit", {}).get("LoadState") == "not-found":
        # The other checks would only repeat that nothing was deployed.
        judges = (_platform, _gpu, _release) if "platform" in facts else (_release,)
        return [finding for check in judges for finding in check(facts, expected, controller_time)]
    found = Findings()
    checked: set[str] = set()
    for names, codes, check in _JUDGES:
        if all(name in facts for name in names):
            found += check(facts, expected, controller_time)
            checked.update(codes)
    if known and facts.get("release", {}).get("components"):
        found += _advisories(facts["release"], known)
        checked.add("ADVISORIES")
    for name, why in facts["errors"].items():
        found.warn("UNREAD", f"{name} could not be read: {why}.", "Check it by hand on the host.")
    said = {finding.code for finding in found}
    failed = {finding.code for finding in found if finding.level == "FAIL"}
    unknown = {code for code, needs in _NEEDS.items() if failed.intersection(needs)}
    unknown |= {"LOGS"} if facts.get("logs", {}).get("found") else set()
    unknown |= {"SPEECH"} if facts.get("speech") is None else set()
    unknown |= {"PEER"} if (facts.get("peer") or {}).get("error", " ") else set()
    unknown |= _gpu_unknown(facts)
    found += [Finding("OK", code, f"{CHECKS[code]}.", "") for code in CHECKS if code in checked - said - unknown]
    return found


def unreachable(why: str) -> list[Finding]:
    """The one finding of a host on which nothing could be read."""
    remedy = (
        "Check that the host is up, that the controller reaches it (ansible -m ping), that its user may become root, "
        "and that it has Python 3.9 or newer."
    )
    return [Finding("FAIL", "UNREACHABLE", f"nothing could be read: {why.strip()}.", remedy)]


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
    # _port judges who holds the port, by the unit's processes.
    found = Findings(item for item in check_platform(platform, wanted, controller_time) if item.code != "PORT")
    found += selinux_findings(platform, expected.root)
    by_device: dict[int, tuple[int, list[str]]] = {}
    for system in platform["filesystems"].values():
        by_device.setdefault(system["device"], (system["free"], []))[1].append(system["path"])
    for free, places in by_device.values():
        if free < DISK_WARN:
            level = "FAIL" if free < DISK_FAIL else "WARN"
            cause = f"{' and '.join(places)}: {free / 1e6:.0f} MB are free."
            remedy = (
                "Logs, receipts and temporary files need a gigabyte. df -h and du -x show what takes the space. "
                "releases_keep removes earlier releases."
            )
            found.append(Finding(level, "DISK", cause, remedy))
    return found


def _accelerator(facts: Json) -> str:
    """What the current release computes on. Empty if there is no release."""
    return str(facts.get("release", {}).get("profile") or "").split("-", maxsplit=1)[0]


def _gpu(facts: Json, expected: Expected, controller_time: float) -> list[Finding]:
    """The host's GPUs. Their faults stop a release for GPUs, and are a warning on any other host."""
    cards, accelerator = facts["platform"]["gpu"], _accelerator(facts)
    computes = accelerator == "cuda" and facts.get("unit", {}).get("node") != "supervisor"
    if cards["vendor"] != "nvidia" and not computes:
        return []
    wheels = facts.get("release", {}).get("wheels", {}) if accelerator == "cuda" else {}
    build = gpu.build_of(wheels.items(), facts["platform"]["architecture"])
    found = Findings()
    for fault in gpu.check(cards, build, (), 0, True).faults:
        level = fault.level if accelerator == "cuda" else "WARN"
        found.append(Finding(level, fault.code, fault.cause, fault.remedy.rstrip(".") + "."))
    if found or accelerator != "cuda" or _gpu_used_unknown(facts):
        return found
    own, on_card = {row["pid"] for row in facts["processes"]}, {row["pid"] for row in cards["processes"]}
    if not own & on_card:
        cause = "none of the service's processes is on a GPU: the CPU makes the speech."
        found.fail("GPU_USED", cause, f"systemctl restart {expected.unit}. If that does not help, see its log (LOGS).")
    return found


def _gpu_used_unknown(facts: Json) -> bool:
    """Whether it is unknown who computes on the GPUs: nothing serves, or only the container's host could see it."""
    cards = facts["platform"]["gpu"]
    told = cards["source"] == "nvidia-smi" and not cards["container"]
    return not told or not facts.get("processes") or facts.get("api", {}).get("state") != "READY"


def _gpu_unknown(facts: Json) -> set[str]:
    """Checks of GPUs that are not reported as OK, because there is no GPU or it is unknown."""
    if facts.get("platform", {}).get("gpu", {}).get("vendor") != "nvidia":
        return set(_GPU)
    return {"GPU_USED"} if _accelerator(facts) != "cuda" or _gpu_used_unknown(facts) else set()


def _deploy(facts: Json, expected: Expected, controller_time: float) -> list[Finding]:
    found, lock = Findings(), facts.get("lock")
    left = ["a candidate of an upgrade"] if facts["platform"]["candidate_left"] else []
    left += [f"the unfinished release {name}" for name in facts.get("release", {}).get("leftovers", [])]
    if lock:
        who = deploy_lock.in_words({"holder": lock["owner"], "age": lock["age"]})
        remedy = "It may cause other findings: run the doctor again after it ends."
        found.warn("DEPLOY", f"a deploy by {who} is in progress.", remedy)
    elif left:
        cause = f"a deploy was interrupted and left {' and '.join(left)}."
        found.warn("DEPLOY", cause, "The next deploy.yml finishes or removes it.")
    return found


def _release(facts: Json, expected: Expected, controller_time: float) -> list[Finding]:
    release, found = facts["release"], Findings()
    current = release["current"]
    if current is None:
        found.fail("RELEASE", "no release is current: nothing was deployed here.", "Run deploy.yml.")
        return found
    if not release["sealed"]:
        found.fail("RELEASE", f"the current release {current} is missing or unfinished.", _AGAIN)
        return found
    if release["damage"]:
        found.fail("RELEASE", f"the release {current} lacks {_some(release['damage'])}.", _AGAIN)
    if any(row["count"] for row in release["drift"].values()):
        found.append(drift_finding(current, release["drift"]))
    length = len(os.fsencode(release["espeak"] or ""))
    if length > ESPEAK_PATH:
        cause = f"{release['espeak']} has {length} bytes. espeak allows {ESPEAK_PATH}."
        found.fail("PATH_LENGTH", cause, "Choose a shorter voicefleet_root.")
    if not release["damage"]:
        source = " ".join(filter(None, ("sealed and whole.", sources.sentence(release["unpublished"]))))
        found.append(Finding("OK", "RELEASE", f"{current} is current, {source}", ""))
    return found


def _components(release: Json) -> list[Artifact]:
    """The files of a release, as far as they have the form of a manifest's."""
    found, rows, odd = [], release["components"], release.get("unpublished", {})
    for row in rows[:COMPONENTS] if isinstance(rows, list) else []:
        with contextlib.suppress(datafile.DataError, AttributeError, KeyError, TypeError):
            source = odd.get(row["path"], sources.PUBLISHED)
            more = {"sha256": "0" * 64, "size": 0, "source": source}
            found.append(datafile.row(Artifact, {**row, **more}, "component"))
    return found


def _advisories(release: Json, known: advisories.Advisories) -> list[Finding]:
    hits = advisories.match(known, _components(release))
    if not hits:
        return []
    cause = advisories.sentence(known.until, hits, f"the release {release['current']}", 3)
    remedy = (
        "contents.yml lists them all. docs/supply-chain.md says how to judge them, and how to fetch other versions."
    )
    return [Finding("WARN", "ADVISORIES", cause[0].lower() + cause[1:], remedy)]


def _files(facts: Json, expected: Expected, controller_time: float) -> list[Finding]:
    wrong = [f"{row['path']} ({row['wrong']})" for row in facts["files"] if row["wrong"]]
    if not wrong:
        return []
    missing = any(row["wrong"] == "missing" for row in facts["files"])
    risk = "" if missing else " Until then, other users of the host may read secrets or stop the service."
    return [Finding("FAIL", "FILES", f"these files are wrong: {_some(wrong, 6)}.", _AGAIN + risk)]


def _unit(facts: Json, expected: Expected, controller_time: float) -> list[Finding]:
    unit, name, found = facts["unit"], expected.unit, Findings()
    if unit.get("foreign"):
        remedy = f"Move that file away, then run deploy.yml. systemctl cat {name} shows it."
        found.fail("UNIT", f"{name} was not written by this collection.", remedy)
        return found
    if unit.get("LoadState") != "loaded":
        found.fail("UNIT", f"{name} is {unit.get('LoadState', 'unknown')}.", _AGAIN)
        return found
    active = unit.get("ActiveState")
    how = f"result {unit.get('Result')}, status {unit.get('ExecMainStatus')}, {unit.get('NRestarts')} restarts"
    lately = active == "active" and int(unit.get("NRestarts") or 0) > 0 and (unit.get("age") or 0) < DAY
    if active == "activating" or lately:
        level = "FAIL" if active == "activating" else "WARN"
        remedy = f"journalctl -u {name} says why. After the repair, run systemctl reset-failed {name}."
        found.append(Finding(level, "RESTARTS", f"{name} is {active}, but ended before ({how}).", remedy))
    if active not in ("active", "activating"):
        remedy = f"systemctl start {name}, or deploy.yml. journalctl -u {name} says why it ended."
        found.fail("UNIT", f"{name} is {active} ({how}).", remedy)
    elif unit.get("UnitFileState") != "enabled":
        cause = f"{name} is {unit.get('UnitFileState') or 'not enabled'}: it does not start with the host."
        found.warn("UNIT", cause, _AGAIN)
    current = facts.get("release", {}).get("current")
    if unit.get("release") and current and unit["release"] != current:
        found.warn("UNIT", f"{name} runs the release {unit['release']}, but {current} is current.", _AGAIN)
    stale = [*unit["stale"]]
    stale += ["systemd has not read a changed file"] if unit.get("NeedDaemonReload") == "yes" else []
    if stale:
        remedy = f"Run deploy.yml, or systemctl daemon-reload and restart {name}."
        found.warn("STALE", f"{'; '.join(stale)}.", remedy)
    return found


def _memory(facts: Json, expected: Expected, controller_time: float) -> list[Finding]:
    found = Findings()
    oom, unit = facts["oom"], facts.get("unit", {})
    if oom["lines"] or oom["kills"]:
        cause = oom["lines"][-1] if oom["lines"] else f"the unit's control group counts {oom['kills']} kills"
        remedy = "If the unit's own limit was reached, raise xinference_memory_max. Else give the host more memory."
        found.warn("OOM", f"the kernel killed a process for lack of memory: {cause}.", remedy)
    used, most = _number(unit.get("MemoryCurrent")), _number(unit.get("MemoryMax"))
    model = next((row for row in facts.get("processes", []) if row["name"].startswith("Model:")), None)
    grown = []
    if used and most and used > GROWTH_SHARE * most:
        grown.append(f"the service uses {used / 1e9:.1f} GB of the {most / 1e9:.1f} GB that its unit allows")
    if model and model["rss"] > GROWTH_BYTES:
        grown.append(f"the model's process {model['pid']} uses {model['rss'] / 1e9:.1f} GB; 1.4 to 2.1 GB are usual")
    if grown:
        remedy = (
            f"systemctl restart {expected.unit} frees it. Let clients send shorter texts, or raise "
            "xinference_memory_max."
        )
        found.warn("GROWTH", f"{'; '.join(grown)}.", remedy)
    return found


def _port(facts: Json, expected: Expected, controller_time: float) -> list[Finding]:
    port, active = facts["port"], facts.get("unit", {}).get("ActiveState") == "active"
    state = facts.get("api", {}).get("state")
    where = f"port {port['port']}"
    if port["ours"] is False or state == "foreign" or (port["holder"] and not facts.get("processes")):
        cause = f"another process holds {where}: {port['holder'] or 'unknown'}."
        remedy = f"ss -ltnp 'sport = :{port['port']}' shows it. Stop it, or set xinference_port to a free port."
        return [Finding("FAIL", "PORT", cause, remedy)]
    if active and port["holder"] is None:
        age = facts["unit"].get("age") or 0
        cause = f"the service has been active for {age:.0f} s, but nothing listens on {where}."
        remedy = "A start takes half a minute. If nothing listens after that, see its log (LOGS)."
        return [Finding("WARN" if age < 120 else "FAIL", "PORT", cause, remedy)]
    return []


def _proxies(facts: Json, expected: Expected, controller_time: float) -> list[Finding]:
    proxies, found = facts["proxies"], Findings()
    if proxies["service"]:
        cause = f"the service runs with {', '.join(proxies['service'])}, so it talks to itself through that proxy."
        remedy = "Remove it from xinference_environment and from the unit's drop-ins, then deploy again."
        found.fail("PROXY", cause, remedy)
    for file, names in proxies["clients"].items():
        cause = f"{file} sets {', '.join(names)}: clients on this host ask that proxy for 127.0.0.1."
        found.warn("PROXY", cause, "Also set no_proxy=localhost,127.0.0.1,::1 and the host's own names there.")
    return found


def _api(facts: Json, expected: Expected, controller_time: float) -> list[Finding]:
    state, error = facts["api"]["state"], facts["api"].get("error", "")
    said = f": {error}" if error else ""
    known = {
        "silent": (
            "it does not answer",
            f"See systemctl status {expected.unit}. It answers half a minute after a start.",
        ),
        "foreign": ("something other than Xinference answers", "Another program holds the port: see PORT."),
        "no_key": ("the client's key is not on the host", _AGAIN),
        "wrong_key": ("it does not accept the client's key", "Run deploy.yml again: it repairs accounts and keys."),
        "banned": (
            "it has banned this address after wrong credentials",
            f"{expected.home}/logs/audit.log says who sends wrong keys. A restart of {expected.unit} ends the ban.",
        ),
    }
    if state in known:
        cause, remedy = known[state]
        return [Finding("FAIL", "API", f"{cause}{said}.", remedy)]
    if state == "READY":
        return []
    level = "WARN" if state in ("CREATING", "LOADING", "UPDATING") else "FAIL"
    remedy = "Check again in half a minute." if level == "WARN" else "Run deploy.yml, or restart the service. See LOGS."
    return [Finding(level, "MODEL", f"the model {expected.model} is {state}{said}.", remedy)]


def _speech(facts: Json, expected: Expected, controller_time: float) -> list[Finding]:
    speech = facts["speech"]
    if speech is None:
        return []
    proved = (facts.get("receipt") or {}).get("proof_level")
    # One sentence cannot prove more than this, whatever level the whole proof reached.
    wanted = min(proved, "acoustic", key=LEVELS.index) if proved in LEVELS[1:] else "format"
    known = [level for level in LEVELS if level in (speech["level"], wanted)]
    if speech["level"] != wanted and known[0] == speech["level"]:
        cause = f"{speech['voice']} reached the level {speech['level']}, but {wanted} was proved before: "
        remedy = "Run verify.yml for the whole proof. rollback.yml switches to the previous release."
        return [Finding("FAIL", "SPEECH", cause + " ".join(speech["wrong"]), remedy)]
    took = f" in {speech['seconds']:.1f} s" if speech["seconds"] is not None else ""
    return [Finding("OK", "SPEECH", f"a sentence by {speech['voice']} reached the level {speech['level']}{took}.", "")]


def _peer(facts: Json, expected: Expected, controller_time: float) -> list[Finding]:
    """Whether a packet filter is between this host and another one that should answer it."""
    error, peer = (facts["peer"] or {}).get("error"), expected.peer
    if not error or not _allowed(facts.get("platform", {}).get("addresses", []), peer["networks"]):
        return []
    cause = f"the service of {peer['name']} is not reached from here, at {at(peer['reach'], peer['port'])}: {error}."
    remedy = (
        f"If {peer['name']} has no finding about its service, something between the hosts closes the port. There, "
        "firewall-cmd --list-all shows firewalld's rules, and nft list ruleset those of nftables."
    )
    return [Finding("WARN", "PEER", cause, remedy)]


def _allowed(addresses: Iterable[str], networks: Iterable[str]) -> bool:
    """Whether one of the addresses is in one of the networks, which are those of ``IPAddressAllow=``."""
    for network in networks:
        with contextlib.suppress(ValueError):  # a name, such as localhost, which is no other host
            known = ipaddress.ip_network("0.0.0.0/0" if network == "any" else network, strict=False)
            if any(ipaddress.ip_address(each) in known for each in addresses):
                return True
    return False


def _receipt(facts: Json, expected: Expected, controller_time: float) -> list[Finding]:
    receipt, current = facts["receipt"], facts.get("release", {}).get("current")
    if current is None:
        return []
    if receipt is None:
        return [Finding("WARN", "RECEIPT", "there is no receipt: it is unknown who deployed what.", _AGAIN)]
    if receipt.get("release") != current:
        cause = f"the last receipt is for {receipt.get('release')}, but {current} is current: a deploy was interrupted."
        return [Finding("WARN", "RECEIPT", cause, _AGAIN)]
    return []


def _logs(facts: Json, expected: Expected, controller_time: float) -> list[Finding]:
    """Known failures in the logs: WARN if the service serves, else FAIL. Special failures then hide general ones."""
    logs = facts["logs"]
    rows: dict[str, dict[str, Any]] = {}
    for row in logs["found"]:
        rows.setdefault(row["code"], row)
    telling = [row for row in rows.values() if not row["general"]] or list(rows.values())
    chosen = list(rows.values()) if logs["serves"] else telling
    if not rows and not logs["serves"] and logs["last_faults"]:
        cause = f"the last errors in the log are not known ones: {' / '.join(logs['last_faults'][-3:])}."
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
    (
        ("platform",),
        ("NOT_ROOT", "SYSTEMD", "GLIBC", "CPU", "MEMORY", "NOEXEC", "SELINUX", "FAPOLICYD", "CLOCK", "DISK"),
        _platform,
    ),
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
    (("peer",), ("PEER",), _peer),
    (("receipt", "release"), ("RECEIPT",), _receipt),
    (("logs",), ("LOGS",), _logs),
)


def _some(names: Sequence[str], most: int = 3) -> str:
    return ", ".join(names[:most]) + (", …" if len(names) > most else "")


def _number(text: object) -> int:
    """A size that systemd reports, 0 if it has none (``infinity``, ``[not set]``)."""
    return int(str(text)) if str(text).isdigit() else 0


def status_of(findings: Iterable[Mapping[str, str]]) -> int:
    """0 if all is OK, 1 with a warning, 2 with a failure."""
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
    """The report for the terminal, the worst last, just above the prompt.

    One line is for one finding of a host, or of all hosts that have it if there are many hosts.
    """
    many = len(data["hosts"]) > MOST_ROWS
    counts = data["counts"]
    hosts = f"{len(data['hosts']):,} host{'' if len(data['hosts']) == 1 else 's'}"
    return [
        *(together(data, show_ok) if many else _of_each(_rows(data, show_ok))),
        f"{hosts}: {counts['FAIL']:,} FAIL, {counts['WARN']:,} WARN, {counts['OK']:,} OK",
    ]


def _rows(data: Mapping[str, Any], show_ok: bool) -> list[tuple[str, Mapping[str, str]]]:
    return [
        (name, row)
        for name, host in data["hosts"].items()
        for row in host["findings"]
        if show_ok or row["level"] != "OK"
    ]


def _of_each(rows: Sequence[tuple[str, Mapping[str, str]]]) -> list[str]:
    wide = max((len(name) for name, _row in rows), default=0)
    ordered = sorted(rows, key=lambda pair: STATUS[pair[1]["level"]])
    return [f"{row['level']:<4} {name:<{wide}} {sentence(row)}" for name, row in ordered]


def together(data: Mapping[str, Any], show_ok: bool) -> list[str]:
    """Each finding once with its hosts, the worst last. Of a code with many causes, only the most frequent ones."""
    hosts = len(data["hosts"])
    codes: dict[tuple[str, str], dict[str, list[str]]] = {}
    for name, row in _rows(data, show_ok):
        codes.setdefault((row["level"], row["code"]), {}).setdefault(sentence(row), []).append(name)
    found = []
    for (level, code), causes in codes.items():
        ordered = sorted(causes.items(), key=lambda item: -len(item[1]))
        found += [(STATUS[level], len(having), level, having, said) for said, having in ordered[:MOST_CAUSES]]
        others = list(dict.fromkeys(name for _said, having in ordered[MOST_CAUSES:] for name in having))
        if others:
            said = f"{code}: {len(ordered) - MOST_CAUSES:,} more causes. --json shows each, --limit one host."
            found.append((STATUS[level], len(others), level, others, said))
    found.sort(key=lambda each: each[:2])
    return [
        f"{level:<4} {f'all {hosts:,} hosts' if count == hosts > 1 else hosts_of(having)} {said}"
        for _status, count, level, having, said in found
    ]


def sentence(row: Mapping[str, str]) -> str:
    """A finding in one line, without its level and host."""
    return f"{row['code']}: {row['cause']} {row['remedy']}".rstrip().replace("\n", " ")


def as_rows(findings: Iterable[Finding]) -> list[dict[str, str]]:
    """Findings as data for JSON."""
    return [asdict(finding) for finding in findings]
