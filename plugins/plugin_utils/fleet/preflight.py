# SPDX-License-Identifier: GPL-3.0-or-later
"""Judge a host before a file is sent: which release it gets, and every problem at once."""

from __future__ import annotations

import contextlib
import os
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ...module_utils.host import sources
from ...module_utils.host.disk import unpacked
from ...module_utils.host.layout import EVIDENCE, SECRETS, WORKER_HOME, Paths, candidate_home
from ...module_utils.release import patch_data
from ...module_utils.release.patches import Patch
from ...module_utils.release.plan import Candidate, Model, Plan, Python, Release, former_of
from ..store import catalogue, repairs, selection
from ..store.manifest import Artifact, Manifest, release_id, unpublished
from ..store.profiles import HOST_GLIBC, Profile, parse_profile
from ..store.selection import setting
from . import gpu, platforms
from .cluster import Cluster

# Artifacts of these kinds take more space unpacked than as files.
UNPACKED_KINDS = ("wheel", "python", "dictionary")
# Space for logs, receipts and what the service writes to its home.
HOME_BYTES = 1_000_000_000
# Xinference's two processes take 0.9 GB. Kokoro takes 1.4 GB, with nine languages 2.1 GB, and 1.8 GB more while it
# computes a very long sentence (bench/languages.py).
MEMORY_MB = 4000
# Memory of a candidate while it is proved: two processes, and Kokoro after its first sentences.
CANDIDATE_BYTES = 2_500_000_000
# What a candidate takes beyond that while it answers clients, whose texts may be long.
ANSWERING_BYTES = 1_500_000_000
# The front end of each further language: 0.01 GB for most, 0.10 for British English, 0.12 for Mandarin.
LANGUAGE_BYTES = 100_000_000
# en_core_web_trf takes this in each process that reads English (bench/english.py).
ENGLISH_BYTES = {"en_core_web_trf": 600_000_000}
# A model with weights of its own is one more process.
MODEL_BYTES = 1_500_000_000
# Whisper base at most, after ten sentences.
HEARING_BYTES = 1_400_000_000
# The supervisor's main process blocks six threads of a pool that has CPUs + 4. Large answers need more threads.
SUPERVISOR_CPUS = 4
# How long a restart takes on two to eight CPUs, before one was measured on the host.
USUAL_GAP = "A restart takes 20 to 100 s"
# Xinference's sockets are in the home. The path of a socket has at most 108 bytes.
HOME_PATH = 50
SYSTEMD_VERSION = 245
CLOCK_SECONDS = 300
# espeak keeps the path of its data in 160 bytes, and ends the process if the path is longer.
ESPEAK_PATH = 159


@dataclass(frozen=True)
class Finding:
    """One result of a check. ``level`` is ``FAIL`` (it cannot work) or ``WARN``. The doctor also uses ``OK``."""

    level: str
    code: str
    cause: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.level} {self.code}: {self.cause} {self.remedy}"


class Findings(list[Finding]):
    """Findings in the order in which the checks made them."""

    def fail(self, code: str, cause: str, remedy: str) -> None:
        self.append(Finding("FAIL", code, cause, remedy))

    def warn(self, code: str, cause: str, remedy: str) -> None:
        self.append(Finding("WARN", code, cause, remedy))


@dataclass(kw_only=True)
class Wanted(selection.Wanted):
    """What the operator asked for of a host."""

    root: str = field(metadata=setting("voicefleet_root"))
    home: str = field(metadata=setting("xinference_home"))
    worker_home: str = field(metadata=setting("xinference_worker_home"), default=WORKER_HOME)
    secrets: str = field(metadata=setting("xinference_secrets_dir"), default=SECRETS)
    evidence: str = field(metadata=setting("synthesis_evidence_dir"), default=EVIDENCE)
    port: int = field(metadata=setting("xinference_port"))
    replicas: int = field(metadata=setting("xinference_replicas"), default=1)
    # nvidia-smi's indexes; empty means all usable GPUs
    cards: Sequence[int] = field(metadata=setting("xinference_cards"), default=())
    candidate: str = field(metadata=setting("xinference_candidate"), default="auto")  # or "always", "never"
    # 0: the next free port after ``port``
    candidate_port: int = field(metadata=setting("xinference_candidate_port"), default=0)
    minimum_memory_mb: int = field(metadata=setting("voicefleet_minimum_memory_mb"), default=MEMORY_MB)
    transport: str = ""  # of the artifacts; only "swarm" needs something of the store
    accelerator: str = "auto"  # or "cuda", "cpu"
    any_platform: bool = False
    host: str = ""  # the name in the inventory
    open: bool = False  # an independent host that other hosts can reach
    service: str = ""  # the address and port at which a gateway on the host asks its service
    cluster: Cluster | None = None
    cluster_faults: Sequence[str] = ()
    supervisor_cpus: int = SUPERVISOR_CPUS

    @property
    def places(self) -> dict[str, str]:
        """The folders that the collection uses on the host, by the variables that name them."""
        return {
            "voicefleet_root": self.root,
            "xinference_home": self.home,
            "xinference_worker_home": self.worker_home,
            "xinference_secrets_dir": self.secrets,
            "synthesis_evidence_dir": self.evidence,
        }

    @property
    def models(self) -> int:
        """How many model processes run on the host. A model with weights of its own is a process of its own."""
        others = len(self.language_models)
        return (others + (len(set(self.languages)) > others)) * self.replicas + len(self.hearing)


@dataclass
class Verdict:
    """The plan for a host, and the findings. There is no plan if no release fits the host."""

    plan: Plan | None = None
    findings: list[Finding] = field(default_factory=list)

    @property
    def failures(self) -> list[Finding]:
        return [finding for finding in self.findings if finding.level == "FAIL"]


def profiles_of(manifest: Manifest, architecture: str, accelerator: str = "") -> list[Profile]:
    """The store's profiles for an architecture, and for one accelerator if given. The newest Python is first."""
    every = sorted((parse_profile(name) for name in manifest.profiles), key=lambda p: p.python, reverse=True)
    return [p for p in every if p.architecture == architecture and accelerator in ("", p.accelerator)]


def choose(
    manifest: Manifest, facts: Mapping[str, Any], accelerator: str = ""
) -> tuple[Profile, Mapping[str, str] | Artifact] | None:
    """The newest profile of the store with a matching Python.

    A Python of the host is preferred to a Python of the store, because the host's owner keeps it patched.
    """
    profiles = profiles_of(manifest, facts["architecture"], accelerator)
    for profile in profiles:
        for python in facts["pythons"]:
            if ".".join(python["version"].split(".")[:2]) == profile.python:
                return profile, python
    for profile in profiles:
        for artifact in manifest.of_kind("python"):
            if profile.name in artifact.profiles:
                return profile, artifact
    return None


@dataclass(frozen=True)
class Accelerator:
    """What a host computes on: ``cpu`` or ``cuda``, and the GPUs that it uses. No GPUs here means all of them."""

    name: str
    cards: tuple[int, ...] = ()
    findings: tuple[Finding, ...] = ()


def choose_accelerator(manifest: Manifest, facts: Mapping[str, Any], wanted: Wanted) -> Accelerator:
    """What a host computes on, by its GPUs and the profiles of the store.

    ``auto`` is ``cuda`` if there is an NVIDIA GPU and a cuda profile. If that GPU cannot be used, it is a failure:
    otherwise the host would only be slow, without a message. If either is missing, ``auto`` is ``cpu``.
    """
    cards, architecture = facts["gpu"], facts["architecture"]
    cpu, cuda = (profiles_of(manifest, architecture, name) for name in ("cpu", "cuda"))
    name = wanted.accelerator
    findings = Findings()
    if not cpu and not cuda:  # reported as ARCHITECTURE
        return Accelerator("cpu" if name == "auto" else name)

    def lacks(accelerator: str, remedy: str) -> Accelerator:
        have = ", ".join(profile.name for profile in (*cpu, *cuda))
        cause = f"the store has {have}, but no {accelerator} profile; the host has {gpu.describe(cards)}."
        return Accelerator(accelerator, (), (Finding("FAIL", "ACCELERATOR", cause, remedy),))

    def fetch(profile: str) -> str:
        return (
            f"Fetch a {profile} profile on the connected machine (artifact_store_profiles: "
            f"[{profile}-py311-{architecture}])"
        )

    if name == "cpu" or (name == "auto" and not (cards["vendor"] == "nvidia" and cuda)):
        if not cpu:
            return lacks("cpu", fetch("cpu") + ".")
        has = f"the host has {gpu.describe(cards)}"
        # A container without a device node was given no GPU.
        given = cards["vendor"] == "nvidia" and (cards["nodes"] or cards["cards"] or not cards["container"])
        if name == "auto" and given:
            cause = f"{has}, but the store has no cuda profile: the CPU makes the speech."
            findings.warn("ACCELERATOR", cause, f"{fetch('cuda')}, or confirm the CPU: {gpu.CPU_WAY}.")
        elif name == "auto" and any(card["vendor"] == "amd" and card["class"] >= "0x038" for card in cards["pci"]):
            # Many desktops have an AMD GPU for the screen. This class is made for computing.
            findings.warn("ACCELERATOR", f"{has}: the CPU makes the speech.", f"Confirm the CPU: {gpu.CPU_WAY}.")
        return Accelerator("cpu", (), tuple(findings))
    if not cuda:
        return lacks("cuda", f"{fetch('cuda')}, or set {gpu.CPU_WAY}.")
    if wanted.cluster is not None and wanted.host == wanted.cluster.supervisor.name and not wanted.cluster.works:
        return Accelerator("cuda")  # it gets its workers' release and computes nothing
    chosen = choose(manifest, facts, "cuda")
    profile = chosen[0] if chosen is not None else cuda[0]
    wheels = [row for row in manifest.of_kind("wheel") if not row.profiles or profile.name in row.profiles]
    read = next((row.compiled for row in wheels if row.name == "torch"), ())
    build = gpu.build_of([(row.name, row.version) for row in wheels], architecture, read)
    usable = gpu.check(cards, build, wanted.cards, wanted.models, facts["systemd"]["service_active"])
    way = (
        f", or use the CPU with the store's profile {cpu[0].name}: {gpu.CPU_WAY}."
        if cpu
        else f", or also fetch a cpu profile (artifact_store_profiles) and set {gpu.CPU_WAY}."
    )
    for fault in usable.faults:
        remedy = fault.remedy.rstrip(".") + (way if fault.level == "FAIL" else ".")
        findings.append(Finding(fault.level, fault.code, fault.cause, remedy))
    there = tuple(card["index"] for card in cards["cards"])
    return Accelerator("cuda", tuple(wanted.cards) or (() if usable.cards == there else usable.cards), tuple(findings))


def check_store(manifest: Manifest, wanted: selection.Wanted) -> tuple[list[str], list[Finding]]:
    """The voices of a deploy, and what the store lacks for it."""
    findings = Findings()
    try:
        voices = wanted.chosen_voices
    except ValueError as error:
        findings.fail("VOICES", f"{error}.", "docs/voices.md lists the voices.")
        return [], findings
    try:
        models = wanted.chosen_spacy_models
    except ValueError as error:
        findings.fail("SPACY_MODEL", f"{error}.", "Correct the name or remove it.")
        return [], findings
    _check_languages(manifest, wanted, findings)
    spacy = {artifact.name for artifact in manifest.of_kind("spacy-model")}
    for model in models:
        if model.name not in spacy:
            findings.fail("SPACY_MODEL", f"spacy/{model.filename} is not in the store.", catalogue.SPACY_REASON)
    if not manifest.of_kind("kokoro-config") or not manifest.of_kind("kokoro-weights"):
        folder = f"kokoro/{catalogue.KOKORO_NAME}"
        files = f"{folder}/{catalogue.KOKORO_CONFIG[0]} and {folder}/{catalogue.KOKORO_WEIGHTS[0]}"
        remedy = "Run playbooks/fetch.yml on the connected machine."
        findings.fail("KOKORO", f"{files} are not both in the store.", remedy)
    there = {artifact.name for artifact in manifest.of_kind("kokoro-voice")}
    absent = [voice for voice in voices if voice not in there]
    if wanted.voices and absent:
        remedy = (
            "If a voice is not on the host, Xinference asks the model hub for it, which fails without a network. "
            f"The store has: {', '.join(sorted(there)) or 'none'}. Add the voice to kokoro_voices "
            "and run playbooks/fetch.yml again, or remove it."
        )
        files = ", ".join(f"voices/{voice}.pt" for voice in absent)
        findings.fail("VOICE_MISSING", f"the store has no {files}.", remedy)
    voices = [voice for voice in voices if voice in there]
    if not voices and not findings:
        cause = "the store has no voice of the configured languages."
        findings.fail("VOICE_MISSING", cause, "Run playbooks/fetch.yml with the same kokoro_languages.")
    if manifest.unpublished and not wanted.accept_unpublished:
        cause = f"the store holds files that are not the published ones. {sources.sentence(manifest.unpublished)}"
        remedy = "Fetch the published files, or set preflight_accept_unpublished: true for a trial."
        findings.fail("UNPUBLISHED", cause, remedy)
    return voices, findings


def check_transport(manifest: Manifest, wanted: Wanted) -> list[Finding]:
    """Whether the store carries what the transport needs. Push needs nothing."""
    if wanted.transport != "swarm" or manifest.of_kind("engine"):
        return []
    cause = "artifacts_transport is swarm, but the store carries no engine for it."
    remedy = (
        "Run playbooks/fetch.yml with artifact_store_swarm: true on the connected machine, and transfer the store"
        " again. Or set artifacts_transport: push."
    )
    return [Finding("FAIL", "SWARM", cause, remedy)]


def _check_languages(manifest: Manifest, wanted: selection.Wanted, findings: Findings) -> None:
    """Find missing Python packages and dictionaries of the languages."""
    rows = [artifact for artifact in manifest.artifacts if artifact.kind != "lock"]
    lacking = sorted(set(wanted.extras) - {extra for artifact in rows for extra in artifact.extras})
    for model in set(wanted.hearing) & set(lacking):
        lacking.remove(model)
        remedy = "Run playbooks/fetch.yml with the same xinference_hearing_model, and transfer the store again."
        findings.fail("HEARING", f"the store has no {model}, the model that hears.", remedy)
    if lacking:
        names = ", ".join(row.title for code in wanted.languages if (row := catalogue.LANGUAGES[code]).extras)
        cause = f"the store has nothing for {', '.join(lacking)}; {names} cannot start without it."
        remedy = (
            "Run playbooks/fetch.yml with the same kokoro_languages, kokoro_japanese_dictionary and "
            "kokoro_mandarin_model, and transfer the store again."
        )
        findings.fail("LANGUAGE", cause, remedy)


def check_platform(facts: Mapping[str, Any], wanted: Wanted, controller_time: float) -> Findings:
    """What the host lacks, whatever release it gets."""
    findings = Findings()
    if not facts["root_user"]:
        findings.fail("NOT_ROOT", "the connection is not root's.", "Set become: true, or connect as root.")
    systemd, version = facts["systemd"], tuple(facts["glibc"])
    if not systemd["running"]:
        remedy = "The service is a systemd unit. A container needs systemd as its first process."
        findings.fail("SYSTEMD", "systemd does not run this host.", remedy)
    elif systemd["version"] and systemd["version"] < SYSTEMD_VERSION:
        cause = f"systemd {systemd['version']} is too old."
        findings.fail("SYSTEMD", cause, f"The unit needs {SYSTEMD_VERSION} or newer.")
    if not version:
        remedy = "The wheels of torch and spaCy are built for glibc. musl systems cannot run them."
        findings.fail("GLIBC", "the C library is not glibc.", remedy)
    elif version < HOST_GLIBC:
        remedy = (
            f"espeak's library needs {HOST_GLIBC[0]}.{HOST_GLIBC[1]}. Without it, words that are in no dictionary are "
            "missing from the speech, with no message. RHEL 9, Debian 11, Ubuntu 20.04 and newer have it."
        )
        findings.fail("GLIBC", f"glibc {version[0]}.{version[1]} is too old.", remedy)
    if facts["missing_instructions"]:
        cause = f"its processor lacks {', '.join(facts['missing_instructions'])}, so it is older than x86-64-v2."
        remedy = (
            "numpy is built for x86-64-v2 and does not start without it. A virtual machine needs the processor model "
            "host, or x86-64-v2-AES or newer."
        )
        findings.fail("CPU", cause, remedy)
    total, least = facts["memory"]["total"], wanted.minimum_memory_mb * 1_000_000
    if total and total < least:
        cause = f"it has {total / 1e9:.1f} GB of memory and needs {least / 1e9:.1f} GB."
        remedy = "Xinference takes 0.9 GB, and Kokoro up to 3 GB during long sentences (voicefleet_minimum_memory_mb)."
        findings.fail("MEMORY", cause, remedy)
    if wanted.cluster is None and not systemd["service_active"]:
        _check_ports(facts, {"xinference_port": wanted.port}, findings)
    ways = {
        "root": "choose another voicefleet_root.",
        "home": "choose another xinference_home. The service's TMPDIR is there, and espeak's library runs from it.",
        "tmp": "set TMPDIR to another folder.",
    }
    for name, way in ways.items():
        system = facts["filesystems"][name]
        if system["noexec"]:
            remedy = f"Libraries are loaded from there. Mount it without noexec, or {way}"
            findings.fail("NOEXEC", f"{system['path']} is mounted noexec.", remedy)
    if len(os.fsencode(wanted.home)) > HOME_PATH:
        cause = f"the service's home {wanted.home} has more than {HOME_PATH} bytes."
        remedy = "Paths of sockets and of espeak's data below it would be too long. Choose a shorter xinference_home."
        findings.fail("PATH_LENGTH", cause, remedy)
    if facts.get("fapolicyd") and not systemd["service_active"]:
        remedy = (
            "It lets nothing run that no package of the system brought, unless a rule allows it. Write "
            f"`allow perm=any all : dir={wanted.root.rstrip('/')}/` into /etc/fapolicyd/rules.d/30-voicefleet.rules, "
            f"the same for {wanted.home.rstrip('/')}/tmp/, and run fagenrules --load."
        )
        findings.warn("FAPOLICYD", "fapolicyd runs on this host.", remedy)
    skew = abs(facts["time"] - controller_time)
    if skew > CLOCK_SECONDS:
        cause = f"the host's clock differs from the controller's by {skew:.0f} s."
        remedy = "Logins expire after 30 minutes, and receipts carry the time. Set up a time server."
        findings.warn("CLOCK", cause, remedy)
    return findings


def _check_ports(facts: Mapping[str, Any], ports: Mapping[str, int], findings: Findings) -> None:
    """Find ports that another process has. ``ports`` are by the setting that names them."""
    for variable, port in ports.items():
        if port in facts["listeners"]:
            cause = f"another process listens on port {port}."
            remedy = f"`ss -ltnp 'sport = :{port}'` shows it. Stop it, or set {variable} to a free port."
            findings.fail("PORT", cause, remedy)


def selinux_findings(facts: Mapping[str, Any], root: str) -> list[Finding]:
    """Wrong labels on a host with SELinux, and labels that a relabel would remove."""
    selinux = facts.get("selinux") or {}
    findings = Findings()
    if not selinux.get("enabled"):
        return findings
    if selinux["mislabelled"]:
        level = "FAIL" if selinux["enforcing"] else "WARN"
        cause = f"programs of the current release are not labelled bin_t: {', '.join(selinux['mislabelled'])}."
        remedy = f"systemd cannot start them in the service's own domain. On the host: restorecon -RF {root}"
        findings.append(Finding(level, "SELINUX", cause, remedy))
    if not f"{root.rstrip('/')}/".startswith("/opt/"):
        remedy = (
            "They get labels when they are installed, but a relabel of the system removes them. To keep them: "
            f"semanage fcontext -a -t bin_t '{root.rstrip('/')}/(.*/)?bin(/.*)?'"
        )
        findings.warn("SELINUX", f"the policy knows programs below /opt, but not below {root}.", remedy)
    return findings


def check_host(
    facts: Mapping[str, Any], wanted: Wanted, manifest: Manifest, controller_time: float, accelerator: str = ""
) -> list[Finding]:
    """What the host lacks, whatever release of the store it gets."""
    findings = check_platform(facts, wanted, controller_time)
    # A deploy labels what it makes. The labels of the current release are the doctor's concern.
    findings += [finding for finding in selinux_findings(facts, wanted.root) if finding.level == "WARN"]
    for variable, cause in facts["foreign"].items():
        findings.fail("OWNERSHIP", cause, f"It is set by {variable}. Nothing was changed there.")
    if platforms.find(facts["os"]) is None:
        level = "WARN" if wanted.any_platform else "FAIL"
        cause = f"{facts['os']['pretty_name'] or 'it'} is not a supported platform: {platforms.titles()}."
        remedy = (
            "The release takes nothing from the system, so another platform with systemd and glibc "
            f"{HOST_GLIBC[0]}.{HOST_GLIBC[1]} may work. Try it on one host with preflight_any_platform: true."
        )
        findings.append(Finding(level, "PLATFORM", cause, remedy))
    profiles = profiles_of(manifest, facts["architecture"], accelerator)
    if not profiles_of(manifest, facts["architecture"]):
        cause = f"the host is {facts['architecture']}; the store has {', '.join(manifest.profiles) or 'no profile'}."
        findings.fail("ARCHITECTURE", cause, "Fetch a profile of this architecture (artifact_store_profiles).")
    elif profiles and choose(manifest, facts, accelerator) is None:
        versions = [tuple(map(int, python["version"].split(".")[:2])) for python in facts["pythons"]]
        have = ", ".join(f"{python['version']} ({python['path']})" for python in facts["pythons"]) or "none"
        need = sorted({profile.python for profile in profiles})
        cause = f"no Python fits: the host has {have}, and the store's profiles need {', '.join(need)}."
        newer = versions and min(versions) >= (3, 13)
        remedy = "Kokoro runs on Python 3.10, 3.11 or 3.12, and on nothing newer. " if newer else ""
        remedy += (
            f"Install python{need[0]} too, fetch a profile for a Python that the host has, or put one into the store: "
            f'artifact_store_pythons: ["{need[0]}"].'
        )
        findings.fail("PYTHON", cause, remedy)
    return findings


def check_cluster(facts: Mapping[str, Any], wanted: Wanted) -> list[Finding]:
    """What is wrong with the cluster in the inventory, and with the host as its member."""
    findings = Findings()
    for fault in wanted.cluster_faults:
        findings.fail("CLUSTER", fault, "roles/xinference/README.md shows the whole inventory of a cluster.")
    if wanted.cluster is None:
        if wanted.open and facts["nft"] is None:
            remedy = (
                "Hosts in xinference_allowed_networks can reach the ports of Xinference's internal processes. On a "
                "system with cgroups of version 1, every host can. Only the API key protects them. Install the "
                "system's package nftables."
            )
            findings.warn("OPEN_PORTS", "nft is not installed, and other hosts can reach the service.", remedy)
        return findings
    me = next(member for member in wanted.cluster.members if member.name == wanted.host)
    if me.address not in facts["addresses"]:
        have = ", ".join(address for address in facts["addresses"] if not address.startswith("127.")) or "none"
        cause = f"{me.address} is none of the host's own addresses ({have})."
        remedy = "A member listens on it. Set xinference_address to an address that the other members can reach."
        findings.fail("CLUSTER_ADDRESS", cause, remedy)
    if me == wanted.cluster.supervisor and facts["cpu_count"] < wanted.supervisor_cpus:
        cause = f"the supervisor has {facts['cpu_count']} CPUs and needs {wanted.supervisor_cpus}."
        remedy = (
            "With fewer, Xinference hangs on requests with large answers, such as pages of its user interface. "
            "Choose another host as the supervisor. It needs no GPU. (preflight_supervisor_cpus)"
        )
        findings.fail("CLUSTER_CPUS", cause, remedy)
    if facts["nft"] is None:
        remedy = (
            "Without a packet filter, everybody on the network can reach the ports on which the members give each "
            "other orders. Install the system's package nftables. It needs no configuration."
        )
        findings.fail("CLUSTER_NFT", "nft is not installed.", remedy)
    if not facts["systemd"]["service_active"]:
        _check_ports(facts, wanted.cluster.ports_of(wanted.host), findings)
    return findings


def check_disk(facts: Mapping[str, Any], wanted: Wanted, travelling: int, building: int) -> list[Finding]:
    """Whether the disks have space for the release and the home, which may share a file system."""
    needs = (("root", wanted.root, travelling + building), ("home", wanted.home, HOME_BYTES))
    by_device: dict[int, list[tuple[str, int, int]]] = {}
    for name, path, size in needs:
        system = facts["filesystems"][name]
        by_device.setdefault(system["device"], []).append((path, size, system["free"]))
    findings = Findings()
    for rows in by_device.values():
        need, free = sum(row[1] for row in rows), rows[0][2]
        if need > free:
            places = " and ".join(row[0] for row in rows)
            cause = f"{places} need {need / 1e9:.1f} GB; {free / 1e9:.1f} GB are free."
            findings.fail("DISK", cause, "Free some space, or set voicefleet_root to a larger file system.")
    return findings


def candidates(manifest: Manifest, wanted: Wanted) -> list[str]:
    """The ids of all releases that a host can get. They are known before its platform and Python are."""
    voices, _findings = check_store(manifest, wanted)
    if not voices:
        return []
    try:
        models = [model.name for model in wanted.chosen_spacy_models]
    except ValueError:
        return []
    found = set()
    for profile in manifest.profiles:
        carried = [row.sha256 for row in manifest.of_kind("python") if profile in row.profiles]
        for python in (None, *carried):
            artifacts = manifest.for_release(profile, models, voices, python, wanted.extras)
            found.add(release_id(artifacts, version_of(artifacts, "xinference"), wanted.all_patches))
    return sorted(found)


def drift_finding(identity: str, drift: Mapping[str, Mapping[str, Any]]) -> Finding:
    """The finding for a release whose files have changed since it was sealed, with the first paths of each kind."""
    sorts = [
        f"{found['count']} {sort} ({', '.join(found['first'])}{', …' if found['count'] > len(found['first']) else ''})"
        for sort, found in drift.items()
        if found["count"]
    ]
    return Finding(
        "WARN",
        "DRIFT",
        f"the release {identity} has drifted since it was sealed: {'; '.join(sorts)}.",
        "A deploy rebuilds them, restarts the service and proves it again. Find out who changed them.",
    )


def gateway_obstacles(gateway: Mapping[str, Any], wanted: Wanted) -> list[str]:
    """Why a gateway cannot let a candidate answer while the service restarts."""
    if not gateway["running"] or gateway["service"] != wanted.service:
        return ["no gateway of this collection is in front of it"]
    return [] if gateway["movable"] else ["an older version made its gateway (run gateway.yml)"]


def choose_candidate(
    facts: Mapping[str, Any], wanted: Wanted, release: str, accelerator: Accelerator = Accelerator("cpu")
) -> tuple[Candidate, list[Finding]]:
    """Whether an upgrade first proves a candidate beside the current release, and what prevents it.

    Also whether that one may answer the gateway's clients during any restart of the service. The candidate of a cluster
    is an independent instance on the supervisor's host. Two releases cannot form one cluster, so workers have none.
    """
    gateway, current = facts["gateway"], facts["releases"]["current"]
    cluster = wanted.cluster
    taken = {wanted.port, *facts["listeners"], *(cluster.ports_of(wanted.host).values() if cluster else ())}
    port = wanted.candidate_port or next((p for p in range(wanted.port + 1, 65536) if p not in taken), 0)
    candidate = Candidate(
        wanted=False,
        left=facts["candidate_left"] or gateway["candidate"] > 0,
        home=candidate_home(wanted.home),
        account_home=wanted.home,
        service_secrets=wanted.secrets,
        port=port,
    )
    if facts["candidate_left"] and gateway["candidate"]:
        # It was proved. The service may be half changed, so it answers until this run has proved the service.
        return replace(candidate, answers=True, stays=True, port=gateway["candidate"]), []
    if current is None or not facts["systemd"]["service_active"]:
        return candidate, []
    if cluster and wanted.host != cluster.supervisor.name:
        return candidate, []
    gap = f"{{}}. {_gap(facts['gap'])}."
    if wanted.candidate == "never":
        return replace(candidate, gap=gap.format("xinference_candidate is never")), []
    obstacles = []
    available = facts["memory"]["available"]
    needed = CANDIDATE_BYTES + LANGUAGE_BYTES * (len(wanted.languages) - 1) + MODEL_BYTES * len(wanted.language_models)
    needed += HEARING_BYTES * len(wanted.hearing)
    needed += ENGLISH_BYTES.get(wanted.english, 0) * (1 + len(wanted.language_models))
    if available < needed:
        obstacles.append(f"{available / 1e9:.1f} GB of memory are free, it needs {needed / 1e9:.1f} GB")
    if accelerator.name == "cuda" and cluster and not cluster.works:
        obstacles.append("the release computes on GPUs, and the supervisor computes nothing")
    elif accelerator.name == "cuda":
        obstacles += gpu.candidate_obstacles(facts["gpu"], accelerator.cards, wanted.models)
    if port == 0:
        obstacles.append(f"no port above {wanted.port} is free (xinference_candidate_port)")
    elif port == wanted.port or (port in taken and not candidate.left):
        obstacles.append(f"port {port} is taken (xinference_candidate_port)")
    obstacles += facts["candidate_foreign"]
    if len(candidate.home) > HOME_PATH:
        obstacles.append(f"its home {candidate.home} has more than {HOME_PATH} characters")
    why = obstacles or gateway_obstacles(gateway, wanted)
    if not why and available < (needed := needed + ANSWERING_BYTES):
        why = [f"{available / 1e9:.1f} GB of memory are free, a second instance needs {needed / 1e9:.1f} GB"]
    candidate = replace(candidate, stays=not why, gap=gap.format("; ".join(why)) if why else "")
    if not obstacles or current == release:
        return replace(candidate, wanted=current != release), []
    cause = f"the new release cannot be proved as a candidate: {'; '.join(obstacles)}."
    if wanted.candidate == "always":
        remedy = "Provide what is missing, or set xinference_candidate: auto to upgrade with a short outage."
        return candidate, [Finding("FAIL", "CANDIDATE", cause, remedy)]
    remedy = (
        "The deploy restarts the service with the new release at once. Clients have an outage until it speaks, or "
        "until the previous release is back. To fail instead, set xinference_candidate: always."
    )
    return candidate, [Finding("WARN", "CANDIDATE", cause, remedy)]


def _gap(seconds: float | None) -> str:
    return USUAL_GAP if seconds is None else f"The last one took {seconds:.0f} s"


def chosen_artifacts(
    manifest: Manifest,
    wanted: selection.Wanted,
    profile: Profile,
    python: Mapping[str, str] | Artifact,
    voices: list[str],
) -> list[Artifact]:
    """The files of a release. Without voices, nothing of the languages is among them."""
    models = [model.name for model in wanted.chosen_spacy_models] if voices else []
    carried = python.sha256 if isinstance(python, Artifact) else None
    return manifest.for_release(profile.name, models, voices, carried, wanted.extras if voices else ())


def planned(
    manifest_sha256: str,
    store: str,
    root: str,
    wanted: selection.Wanted,
    profile: Profile,
    python: Mapping[str, str] | Artifact,
    voices: list[str],
    artifacts: list[Artifact],
) -> Plan:
    """The plan of a release in an empty root. ``python`` is one of the target or one of the store."""
    paths = Paths(root)
    carried = python if isinstance(python, Artifact) else None
    interpreter = python["path"] if not isinstance(python, Artifact) else paths.python(python.version)
    identity = release_id(artifacts, version_of(artifacts, "xinference"), wanted.all_patches if voices else ())
    path = paths.release(identity)
    return Plan(
        store=store,
        manifest_sha256=manifest_sha256,
        profile=profile.name,
        accelerator=profile.accelerator,
        cards=[],
        release=Release(identity, path, complete=False),
        current=None,
        former=None,
        candidate=Candidate(),
        paths=paths.as_dict(),
        python=Python(profile.python, interpreter, carried.sha256 if carried else None),
        artifacts=[row_of(artifact) for artifact in artifacts],
        missing=[artifact.sha256 for artifact in artifacts],
        stale=[],
        surplus=[],
        bytes=sum(artifact.size for artifact in artifacts),
        model=Model(catalogue.KOKORO_NAME, f"{path}/models/{catalogue.KOKORO_NAME}"),
        languages=list(wanted.languages),
        language_models=wanted.language_models if voices else {},
        hearing_model="".join(wanted.hearing),
        voices=voices,
        extras=[extra for extra in (wanted.extras if voices else ()) if extra in catalogue.EXTRAS],
        unpublished=unpublished(artifacts),
        patches=[patch.as_dict() for patch in (wanted.all_patches if voices else ())],
    )


def judge(
    manifest: Manifest,
    manifest_sha256: str,
    store: str,
    facts: Mapping[str, Any],
    held: Mapping[str, Any],
    wanted: Wanted,
    controller_time: float,
) -> Verdict:
    """The plan for one host and all findings.

    ``facts`` and ``held`` (``missing``, ``stale``, ``surplus``, ``arrived``, ``drift``) come from ``host_state``.
    """
    voices, findings = check_store(manifest, wanted)
    accelerator = choose_accelerator(manifest, facts, wanted)
    findings += check_transport(manifest, wanted)
    findings += check_host(facts, wanted, manifest, controller_time, accelerator.name)
    findings += accelerator.findings
    findings += check_cluster(facts, wanted)
    verdict = Verdict(findings=findings)
    chosen = choose(manifest, facts, accelerator.name)
    if chosen is None:
        return verdict
    profile, python = chosen
    artifacts = chosen_artifacts(manifest, wanted, profile, python, voices)
    plan = planned(manifest_sha256, store, wanted.root, wanted, profile, python, voices, artifacts)
    identity, release = plan.release.id, plan.release.path
    drift = held.get("drift", {}).get(identity)
    complete = identity in facts["releases"]["complete"] and not drift
    if drift:
        verdict.findings.append(drift_finding(identity, drift))
    if not complete and voices:
        verdict.findings += check_repairs(Path(store), artifacts, wanted.all_patches)
    lacking = {*held["missing"], *held["stale"]}
    absent = [artifact for artifact in artifacts if artifact.sha256 in lacking]
    # A complete release does not need the artifacts that it was made from.
    travelling = 0 if complete else sum(artifact.size for artifact in absent)
    # A drifted release is removed before it is rebuilt.
    made_of = [(a.name, a.version, a.size) for a in artifacts if a.kind in UNPACKED_KINDS]
    building = 0 if complete or drift else unpacked(made_of)
    verdict.findings += check_disk(facts, wanted, max(0, travelling - held["arrived"]), building)
    candidate, obstacles = choose_candidate(facts, wanted, identity, accelerator)
    verdict.findings += obstacles
    data = f"{release}/env/lib/python{profile.python}/site-packages/espeakng_loader/espeak-ng-data"
    if len(os.fsencode(data)) > ESPEAK_PATH:
        cause = f"{data} has {len(os.fsencode(data))} bytes. espeak allows {ESPEAK_PATH}."
        verdict.findings.append(Finding("FAIL", "PATH_LENGTH", cause, "Choose a shorter voicefleet_root."))
    verdict.plan = replace(
        plan,
        cards=list(accelerator.cards),
        release=Release(identity, release, complete, drifted=bool(drift)),
        current=facts["releases"]["current"],
        former=former_of(facts["releases"].get("former")),
        candidate=candidate,
        missing=[] if complete else [artifact.sha256 for artifact in absent],
        stale=[artifact.path for artifact in artifacts if artifact.sha256 in set(held["stale"])],
        surplus=list(held["surplus"]),
        bytes=travelling,
    )
    return verdict


def check_repairs(store: Path, artifacts: Iterable[Artifact], wanted: Sequence[Patch]) -> list[Finding]:
    """Whether the repairs fit the store's packages. Wheels that the repairs were tried with need no look."""
    names, found = {patch.name for patch in wanted}, []
    for artifact in artifacts:
        if artifact.kind == "wheel" and patch_data.WHEELS.get(artifact.name, artifact.sha256) != artifact.sha256:
            with contextlib.suppress(OSError, zipfile.BadZipFile):  # the build of the release says what is wrong
                found += [
                    each for each in repairs.unfit(store / artifact.path, artifact.name) if each.patch.name in names
                ]
    if not found:
        return []
    cause = f"the repairs {', '.join(each.patch.name for each in found)} do not fit the packages of the store."
    return [Finding("FAIL", "REPAIRS", cause, " ".join(repairs.meaning(found)))]


def state_of(plan: Plan) -> str:
    """Whether the planned release is already on the host."""
    if plan.release.complete:
        return "complete"
    return "to be repaired" if plan.release.drifted else "to be built"


def table(plan: Plan) -> list[str]:
    """What a deploy would do to a host, as lines to print: missing, stale and surplus files, and the bytes."""
    sizes = {row["sha256"]: row for row in plan.artifacts}
    lines = [f"release {plan.release.id} ({plan.profile}): {state_of(plan)}; current is {plan.current or 'none'}"]
    rows = [sizes[sha256] for sha256 in plan.missing]
    lines.append(f"to send: {len(rows)} files, {plan.bytes / 1e6:.1f} MB")
    lines += [f"  missing  {row['size'] / 1e6:9.1f} MB  {row['path']}" for row in rows if row["path"] not in plan.stale]
    lines += [f"  stale    {row['size'] / 1e6:9.1f} MB  {row['path']}" for row in rows if row["path"] in plan.stale]
    surplus = sum(row["size"] for row in plan.surplus)
    lines.append(f"surplus on the host: {len(plan.surplus)} files, {surplus / 1e6:.1f} MB")
    lines += [f"  surplus  {row['size'] / 1e6:9.1f} MB  {row['name']}" for row in plan.surplus]
    return lines


def version_of(artifacts: Sequence[Artifact], name: str) -> str:
    """The version of a wheel of the release, ``0`` if the release has no such wheel."""
    return next((a.version for a in artifacts if a.kind == "wheel" and a.name == name), "0")


def row_of(artifact: Artifact) -> dict[str, Any]:
    """A row of the manifest in the form that the plan and the modules use."""
    keys = ("path", "sha256", "size", "kind", "name", "version", "source")
    return {key: getattr(artifact, key) for key in keys}
