# SPDX-License-Identifier: GPL-3.0-or-later
"""Judge a host before a byte moves: which release it gets, and everything that stands in the way, at once."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ...module_utils.host.disk import unpacked
from ...module_utils.host.layout import Paths, candidate_home
from ...module_utils.release.patches import Patch
from ...module_utils.release.plan import Candidate, Model, Plan, Python, Release, former_of
from ..store import catalogue
from ..store.manifest import Artifact, Manifest, release_id
from ..store.profiles import HOST_GLIBC, Profile, parse_profile
from ..store.selection import Selection, setting
from . import gpu, platforms
from .cluster import Cluster

# What of a release takes more room than its files.
UNPACKED_KINDS = ("wheel", "python", "dictionary")
# Room for logs, receipts and what the service writes at home.
HOME_BYTES = 1_000_000_000
# Xinference's two processes take 0.9 GB, Kokoro 1.4 GB at first and up to 3.3 GB after long texts.
MEMORY_MB = 3500
# What a second instance takes for the minute in which it is proved: two processes, and Kokoro at its first sentences.
CANDIDATE_BYTES = 2_500_000_000
# Each language after the first is a model of its own.
LANGUAGE_BYTES = 1_500_000_000
# The supervisor's host process parks six threads in a pool of CPUs + 4, and a seventh and more carry large answers.
SUPERVISOR_CPUS = 4
# Xinference's sockets lie in the home, and their paths have 108 bytes.
HOME_PATH = 50
SYSTEMD_VERSION = 245
CLOCK_SECONDS = 300
# espeak keeps the path of its data in 160 bytes and ends the process where it is longer.
ESPEAK_PATH = 159


@dataclass(frozen=True)
class Finding:
    """One thing that a host lacks. ``level`` is ``FAIL`` (it can't work) or ``WARN``; the doctor also says ``OK``."""

    level: str
    code: str
    cause: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.level} {self.code}: {self.cause} {self.remedy}"


@dataclass(kw_only=True)
class Wanted(Selection):
    """What the operator asked for."""

    root: str = field(metadata=setting("voicefleet_root"))
    home: str = field(metadata=setting("xinference_home"))
    port: int = field(metadata=setting("xinference_port"))
    replicas: int = field(metadata=setting("xinference_replicas"), default=1)
    # nvidia-smi's indexes; empty for all usable ones
    cards: Sequence[int] = field(metadata=setting("xinference_cards"), default=())
    candidate: str = field(metadata=setting("xinference_candidate"), default="auto")  # or "always", "never"
    # 0: the next free one after ``port``
    candidate_port: int = field(metadata=setting("xinference_candidate_port"), default=0)
    minimum_memory_mb: int = field(metadata=setting("voicefleet_minimum_memory_mb"), default=MEMORY_MB)
    accelerator: str = "auto"  # or "cuda", "cpu"
    patches: Sequence[Patch] = ()  # repairs of upstream's files, which are part of the release
    accept_synthetic: bool = False
    any_platform: bool = False
    host: str = ""  # the name in the inventory
    open: bool = False  # a node by itself that listens for others
    cluster: Cluster | None = None
    cluster_faults: Sequence[str] = ()
    supervisor_cpus: int = SUPERVISOR_CPUS

    @property
    def all_patches(self) -> list[Patch]:
        """The repairs that the release gets."""
        return self.repairs(self.patches)

    @property
    def models(self) -> int:
        """How many model processes run on the host: one for each language and replica."""
        return len(self.languages) * self.replicas


@dataclass
class Verdict:
    """The plan for a host, and what was found. There is no plan where no release could be chosen."""

    plan: Plan | None = None
    findings: list[Finding] = field(default_factory=list)

    @property
    def failures(self) -> list[Finding]:
        return [finding for finding in self.findings if finding.level == "FAIL"]


def profiles_of(manifest: Manifest, architecture: str, accelerator: str = "") -> list[Profile]:
    """The store's profiles for an architecture, of one accelerator or any, the newest Python first."""
    every = sorted((parse_profile(name) for name in manifest.profiles), key=lambda p: p.python, reverse=True)
    return [p for p in every if p.architecture == architecture and accelerator in ("", p.accelerator)]


def choose(
    manifest: Manifest, facts: Mapping[str, Any], accelerator: str = ""
) -> tuple[Profile, Mapping[str, str] | Artifact] | None:
    """The profile of the store and the Python that go together, newest first.

    A Python of the host is preferred to one of the store: the host's owner keeps it patched.
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
    """What a host computes on: ``cpu`` or ``cuda``, and of its cards those that it uses; empty for all of them."""

    name: str
    cards: tuple[int, ...] = ()
    findings: tuple[Finding, ...] = ()


def choose_accelerator(manifest: Manifest, facts: Mapping[str, Any], wanted: Wanted) -> Accelerator:
    """On what a host is to compute, decided from its cards and the profiles of the store before a byte moves.

    ``auto`` is ``cuda`` where there is an NVIDIA card and a cuda profile, and a card that can't be used then is a
    failure: whoever owns such a host would find out by its slowness otherwise. It is ``cpu`` where either is missing.
    """
    cards, architecture = facts["gpu"], facts["architecture"]
    cpu, cuda = (profiles_of(manifest, architecture, name) for name in ("cpu", "cuda"))
    name = wanted.accelerator
    findings: list[Finding] = []
    if not cpu and not cuda:  # said as ARCHITECTURE
        return Accelerator("cpu" if name == "auto" else name)

    def lacks(accelerator: str, remedy: str) -> Accelerator:
        have = ", ".join(profile.name for profile in (*cpu, *cuda))
        cause = f"the store serves {have} and no {accelerator} profile; the host has {gpu.describe(cards)}."
        return Accelerator(accelerator, (), (Finding("FAIL", "ACCELERATOR", cause, remedy),))

    fetch = "Fetch one of {} architecture on the connected machine (artifact_store_profiles: [{}-py311-{}])"
    if name == "cpu" or (name == "auto" and not (cards["vendor"] == "nvidia" and cuda)):
        if not cpu:
            return lacks("cpu", fetch.format("this", "cpu", architecture) + ".")
        given = cards["vendor"] == "nvidia" and (cards["nodes"] or cards["cards"] or not cards["container"])
        if name == "auto" and given:  # a container that was given no card has none
            cause = f"the host has {gpu.describe(cards)}, and the store no cuda profile: speech is made by the CPU."
            remedy = f"{fetch.format('this', 'cuda', architecture)}, or say that it is meant so: {gpu.CPU_WAY}."
            findings.append(Finding("WARN", "ACCELERATOR", cause, remedy))
        elif name == "auto" and any(card["vendor"] == "amd" and card["class"] >= "0x038" for card in cards["pci"]):
            # An AMD card for a screen is in every other desktop; these are made for computing.
            cause = f"the host has {gpu.describe(cards)}: speech is made by the CPU."
            findings.append(Finding("WARN", "ACCELERATOR", cause, f"Say that it is meant so: {gpu.CPU_WAY}."))
        return Accelerator("cpu", (), tuple(findings))
    if not cuda:
        return lacks("cuda", fetch.format("this", "cuda", architecture) + f", or set {gpu.CPU_WAY}.")
    if wanted.cluster is not None and wanted.host == wanted.cluster.supervisor.name and not wanted.cluster.works:
        return Accelerator("cuda")  # it runs its workers' release and computes nothing
    chosen = choose(manifest, facts, "cuda")
    profile = chosen[0] if chosen is not None else cuda[0]
    wheels = [row for row in manifest.of_kind("wheel") if not row.profiles or profile.name in row.profiles]
    build = gpu.build_of([(row.name, row.version) for row in wheels], architecture)
    usable = gpu.check(cards, build, wanted.cards, wanted.models, facts["systemd"]["service_active"])
    way = (
        f"; or let it run on the CPU, with the store's {cpu[0].name}: {gpu.CPU_WAY}."
        if cpu
        else f"; or fetch a cpu profile too (artifact_store_profiles) and set {gpu.CPU_WAY}."
    )
    for fault in usable.faults:
        remedy = fault.remedy.rstrip(".") + (way if fault.level == "FAIL" else ".")
        findings.append(Finding(fault.level, fault.code, fault.cause, remedy))
    there = tuple(card["index"] for card in cards["cards"])
    return Accelerator("cuda", tuple(wanted.cards) or (() if usable.cards == there else usable.cards), tuple(findings))


def check_store(manifest: Manifest, wanted: Wanted) -> tuple[list[str], list[Finding]]:
    """The voices of a deploy, and what the store lacks for it."""
    try:
        voices = wanted.chosen_voices
    except ValueError as error:
        return [], [Finding("FAIL", "VOICES", f"{error}.", "The list of voices is in docs/voices.md.")]
    findings = []
    spacy = {artifact.name for artifact in manifest.of_kind("spacy-model")}
    try:
        models = wanted.chosen_spacy_models
    except ValueError as error:
        return [], [Finding("FAIL", "SPACY_MODEL", f"{error}.", "Mend the name or take it out.")]
    findings += _language_findings(manifest, wanted)
    for model in models:
        if model.name not in spacy:
            findings.append(
                Finding("FAIL", "SPACY_MODEL", f"spacy/{model.filename} is not in the store.", catalogue.SPACY_REASON)
            )
    if not manifest.of_kind("kokoro-config") or not manifest.of_kind("kokoro-weights"):
        files = " and ".join(
            f"kokoro/{catalogue.KOKORO_NAME}/{f}" for f in (catalogue.KOKORO_CONFIG[0], catalogue.KOKORO_WEIGHTS[0])
        )
        findings.append(
            Finding(
                "FAIL",
                "KOKORO",
                f"{files} are not both in the store.",
                "Run playbooks/fetch.yml on the connected machine.",
            )
        )
    there = {artifact.name for artifact in manifest.of_kind("kokoro-voice")}
    absent = [voice for voice in voices if voice not in there]
    if wanted.voices and absent:
        findings.append(
            Finding(
                "FAIL",
                "VOICE_MISSING",
                f"the store has no {', '.join(f'voices/{v}.pt' for v in absent)}.",
                "A voice that is not on the host is asked from the model hub at its first sentence, which fails with "
                f"no network. Stored are: {', '.join(sorted(there)) or 'none'}. Add the voice to kokoro_voices and run "
                "playbooks/fetch.yml again, or take it out.",
            )
        )
    voices = [voice for voice in voices if voice in there]
    if not voices and not findings:
        findings.append(
            Finding(
                "FAIL",
                "VOICE_MISSING",
                "the store has no voice of the configured languages.",
                "Run playbooks/fetch.yml with the same kokoro_languages.",
            )
        )
    synthetic = manifest.synthetic
    if synthetic and not wanted.accept_synthetic:
        findings.append(
            Finding(
                "FAIL",
                "SYNTHETIC",
                f"the store holds stand-ins made for tests ({', '.join(synthetic[:3])}…): the audio "
                "would not be Kokoro's voice.",
                "Fetch the real files, or set preflight_accept_synthetic: true for a trial.",
            )
        )
    return voices, findings


def _language_findings(manifest: Manifest, wanted: Wanted) -> list[Finding]:
    """What the store lacks of the Python packages and dictionaries of the languages."""
    rows = [artifact for artifact in manifest.artifacts if artifact.kind != "lock"]
    lacking = sorted(set(wanted.extras) - {extra for artifact in rows for extra in artifact.extras})
    if not lacking:
        return []
    names = ", ".join(row.title for code in wanted.languages if (row := catalogue.LANGUAGES[code]).extras)
    return [
        Finding(
            "FAIL",
            "LANGUAGE",
            f"the store has nothing for {', '.join(lacking)}; {names} can't be launched without.",
            "Run playbooks/fetch.yml with the same kokoro_languages, kokoro_japanese_dictionary and "
            "kokoro_mandarin_model, and carry the store again.",
        )
    ]


def check_platform(facts: Mapping[str, Any], wanted: Wanted, controller_time: float) -> list[Finding]:
    """What the host lacks, whatever it is to run."""
    findings: list[Finding] = []

    def fail(code: str, cause: str, remedy: str) -> None:
        findings.append(Finding("FAIL", code, cause, remedy))

    if not facts["root_user"]:
        fail("NOT_ROOT", "the connection is not root's.", "Set become: true, or connect as root.")
    if not facts["systemd"]["running"]:
        fail(
            "SYSTEMD",
            "systemd does not run this host.",
            "The service is a systemd unit; a container needs systemd as its first process.",
        )
    elif facts["systemd"]["version"] and facts["systemd"]["version"] < SYSTEMD_VERSION:
        fail(
            "SYSTEMD",
            f"systemd {facts['systemd']['version']} is too old.",
            f"The unit needs {SYSTEMD_VERSION} or newer.",
        )
    version = tuple(facts["glibc"])
    if not version:
        fail(
            "GLIBC",
            "the C library is not glibc.",
            "The wheels of torch and spaCy are built for glibc; musl systems can't run them.",
        )
    elif version < HOST_GLIBC:
        fail(
            "GLIBC",
            f"glibc {version[0]}.{version[1]} is too old.",
            f"espeak's library needs {HOST_GLIBC[0]}.{HOST_GLIBC[1]}, else words that are in no dictionary are left "
            "out of the speech without a word. RHEL 9, Debian 11, Ubuntu 20.04 or newer have it.",
        )
    total, least = facts["memory"]["total"], wanted.minimum_memory_mb * 1_000_000
    if total and total < least:
        fail(
            "MEMORY",
            f"it has {total / 1e9:.1f} GB of memory and needs {least / 1e9:.1f} GB.",
            "Xinference takes 0.9 GB and Kokoro grows to 3 GB with long texts (voicefleet_minimum_memory_mb).",
        )
    if wanted.cluster is None and wanted.port in facts["listeners"] and not facts["systemd"]["service_active"]:
        fail(
            "PORT",
            f"another process listens on port {wanted.port}.",
            f"See which with `ss -ltnp 'sport = :{wanted.port}'`; stop it, or set xinference_port to a free one.",
        )
    ways = {
        "root": "choose another voicefleet_root.",
        "home": "choose another xinference_home: the service's TMPDIR is there, and espeak's library is run from it.",
        "tmp": "set TMPDIR to a folder without it.",
    }
    for name, way in ways.items():
        system = facts["filesystems"][name]
        if system["noexec"]:
            fail(
                "NOEXEC",
                f"{system['path']} is mounted noexec.",
                f"Libraries are loaded from there. Mount it without noexec, or {way}",
            )
    if len(os.fsencode(wanted.home)) > HOME_PATH:
        fail(
            "PATH_LENGTH",
            f"the service's home {wanted.home} has more than {HOME_PATH} bytes.",
            "Sockets and espeak's data have little room for a path below it. Choose a shorter xinference_home.",
        )
    skew = abs(facts["time"] - controller_time)
    if skew > CLOCK_SECONDS:
        findings.append(
            Finding(
                "WARN",
                "CLOCK",
                f"the clock is {skew:.0f} s away from the controller's.",
                "Sign-ins last 30 minutes by the clock and receipts carry the time: set up a time server.",
            )
        )
    return findings


def selinux_findings(facts: Mapping[str, Any], root: str) -> list[Finding]:
    """What is wrong with the labels of a host with SELinux, and what will be after a relabel."""
    selinux = facts.get("selinux") or {}
    if not selinux.get("enabled"):
        return []
    findings = []
    if selinux["mislabelled"]:
        findings.append(
            Finding(
                "FAIL" if selinux["enforcing"] else "WARN",
                "SELINUX",
                f"programs of the release that serves are not labelled bin_t: {', '.join(selinux['mislabelled'])}.",
                f"systemd can't start them as a service of their own. On the host: restorecon -RF {root}",
            )
        )
    if not f"{root.rstrip('/')}/".startswith("/opt/"):
        findings.append(
            Finding(
                "WARN",
                "SELINUX",
                f"the policy knows programs below /opt, and nothing of {root}.",
                "They are labelled as they are installed, and a relabel of the system takes that back. Keep it with: "
                f"semanage fcontext -a -t bin_t '{root.rstrip('/')}/(.*/)?bin(/.*)?'",
            )
        )
    return findings


def check_host(
    facts: Mapping[str, Any], wanted: Wanted, manifest: Manifest, controller_time: float, accelerator: str = ""
) -> list[Finding]:
    """What the host lacks, whatever release of the store it gets; ``accelerator`` is what it was decided to have."""
    findings = check_platform(facts, wanted, controller_time)
    # What a deploy makes gets its labels then; those of the release that serves are the doctor's to tell.
    findings += [finding for finding in selinux_findings(facts, wanted.root) if finding.level == "WARN"]

    def fail(code: str, cause: str, remedy: str) -> None:
        findings.append(Finding("FAIL", code, cause, remedy))

    if platforms.find(facts["os"]) is None:
        findings.append(
            Finding(
                "WARN" if wanted.any_platform else "FAIL",
                "PLATFORM",
                f"{facts['os']['pretty_name'] or 'it'} is none of the supported platforms: {platforms.titles()}.",
                "Nothing that is installed comes from the system, so another one with systemd and glibc "
                f"{HOST_GLIBC[0]}.{HOST_GLIBC[1]} may do: try it on one host with preflight_any_platform: true.",
            )
        )
    profiles = profiles_of(manifest, facts["architecture"], accelerator)
    if not profiles_of(manifest, facts["architecture"]):
        fail(
            "ARCHITECTURE",
            f"the host is {facts['architecture']}, the store serves {', '.join(manifest.profiles) or 'none'}.",
            "Fetch a profile of this architecture (artifact_store_profiles).",
        )
    elif profiles and choose(manifest, facts, accelerator) is None:
        have = ", ".join(f"{p['version']} ({p['path']})" for p in facts["pythons"]) or "none"
        need = ", ".join(sorted({profile.python for profile in profiles}))
        first = need.split(", ", maxsplit=1)[0]
        newer = (
            all(tuple(map(int, p["version"].split(".")[:2])) >= (3, 13) for p in facts["pythons"]) and facts["pythons"]
        )
        fail(
            "PYTHON",
            f"no Python that fits: the host has {have}, the store serves {need}.",
            ("Kokoro needs Python 3.10, 3.11 or 3.12 and refuses anything newer. " if newer else "")
            + f"Install python{first} beside it, fetch a profile for one that it has, or let the store carry one: "
            f'artifact_store_pythons: ["{first}"].',
        )
    return findings


def check_cluster(facts: Mapping[str, Any], wanted: Wanted) -> list[Finding]:
    """What stands in the way of a member of a cluster, and of the cluster as the inventory has it."""
    findings = [
        Finding("FAIL", "CLUSTER", fault, "The whole inventory of a cluster is in roles/xinference/README.md.")
        for fault in wanted.cluster_faults
    ]
    if wanted.cluster is None and wanted.open and facts["nft"] is None:
        cause = "nft is not installed, and the service listens for others than this host."
        remedy = (
            "The ports of its own processes are open to all whom xinference_allowed_networks lets in, and on a system "
            "with cgroups of version 1 to everybody; the key that they ask for is all that closes them. Install the "
            "package nftables of the host's system."
        )
        findings.append(Finding("WARN", "OPEN_PORTS", cause, remedy))
    if wanted.cluster is None:
        return findings

    def fail(code: str, cause: str, remedy: str) -> None:
        findings.append(Finding("FAIL", code, cause, remedy))

    me = next(member for member in wanted.cluster.members if member.name == wanted.host)
    if me.address not in facts["addresses"]:
        have = ", ".join(address for address in facts["addresses"] if not address.startswith("127.")) or "none"
        fail(
            "CLUSTER_ADDRESS",
            f"{me.address} is none of the host's own addresses ({have}).",
            "A member listens on it. Set xinference_address to one of them that the other members reach.",
        )
    if me == wanted.cluster.supervisor and facts["cpu_count"] < wanted.supervisor_cpus:
        fail(
            "CLUSTER_CPUS",
            f"the supervisor has {facts['cpu_count']} CPUs and needs {wanted.supervisor_cpus}.",
            "With fewer, Xinference 4.1 never answers requests with large answers, as pages of its user interface are. "
            "Let another host be the supervisor; it needs no GPU. (preflight_supervisor_cpus)",
        )
    if facts["nft"] is None:
        fail(
            "CLUSTER_NFT",
            "nft is not installed.",
            "Without a packet filter everybody on the network reaches the ports by which the members of a cluster give "
            "each other orders. Install the package nftables of the host's system; nothing of it need be set up.",
        )
    if not facts["systemd"]["service_active"]:
        for variable, port in wanted.cluster.ports_of(wanted.host).items():
            if port in facts["listeners"]:
                fail(
                    "PORT",
                    f"another process listens on port {port}.",
                    f"See which with `ss -ltnp 'sport = :{port}'`; stop it, or set {variable} to a free one.",
                )
    return findings


def check_disk(facts: Mapping[str, Any], wanted: Wanted, travelling: int, building: int) -> list[Finding]:
    """Whether the bytes fit, summed for each file system that holds more than one of the places."""
    needs = (("root", wanted.root, travelling + building), ("home", wanted.home, HOME_BYTES))
    by_device: dict[int, list[tuple[str, int, int]]] = {}
    for name, path, size in needs:
        system = facts["filesystems"][name]
        by_device.setdefault(system["device"], []).append((path, size, system["free"]))
    findings = []
    for rows in by_device.values():
        need, free = sum(row[1] for row in rows), rows[0][2]
        if need > free:
            places = " and ".join(row[0] for row in rows)
            findings.append(
                Finding(
                    "FAIL",
                    "DISK",
                    f"{places} need {need / 1e9:.1f} GB, {free / 1e9:.1f} GB are free.",
                    "Free some, or set voicefleet_root to a larger file system.",
                )
            )
    return findings


def candidates(manifest: Manifest, wanted: Wanted) -> list[str]:
    """The ids of the releases that a host may get, whatever its platform and Python: known before it was asked."""
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
    """What is not as it was when a release was sealed, with the first paths of each sort."""
    sorts = [
        f"{found['count']} {sort} ({', '.join(found['first'])}{', …' if found['count'] > len(found['first']) else ''})"
        for sort, found in drift.items()
        if found["count"]
    ]
    return Finding(
        "WARN",
        "DRIFT",
        f"files of the release {identity} are not as they were when it was sealed: {'; '.join(sorts)}.",
        "A deploy makes them anew, starts the service again and proves it again. Find out who changed them.",
    )


def choose_candidate(
    facts: Mapping[str, Any], wanted: Wanted, release: str, accelerator: Accelerator = Accelerator("cpu")
) -> tuple[Candidate, list[Finding]]:
    """Whether an upgrade first tries the release beside the one that serves, and what stands in its way."""
    taken = {wanted.port, *facts["listeners"]}
    port = wanted.candidate_port or next((p for p in range(wanted.port + 1, 65536) if p not in taken), 0)
    candidate = Candidate(
        wanted=False,
        left=facts["candidate_left"],
        home=candidate_home(wanted.home),
        account_home=wanted.home,
        port=port,
    )
    upgrade = facts["releases"]["current"] not in (None, release) and facts["systemd"]["service_active"]
    if wanted.candidate == "never" or not upgrade:
        return candidate, []
    obstacles = ["a cluster is changed as a whole"] if wanted.cluster is not None else []
    available = facts["memory"]["available"]
    needed = CANDIDATE_BYTES + LANGUAGE_BYTES * (len(wanted.languages) - 1)
    if available < needed:
        obstacles.append(f"{available / 1e9:.1f} GB of memory are free and it needs {needed / 1e9:.1f} GB")
    if accelerator.name == "cuda":
        obstacles += gpu.candidate_obstacles(facts["gpu"], accelerator.cards, wanted.models)
    if port == 0:
        obstacles.append(f"there is no free port above {wanted.port} (xinference_candidate_port)")
    elif port == wanted.port or (port in taken and not candidate.left):
        obstacles.append(f"port {port} is taken (xinference_candidate_port)")
    if len(candidate.home) > HOME_PATH:
        obstacles.append(f"its home {candidate.home} has more than {HOME_PATH} characters")
    if not obstacles:
        return replace(candidate, wanted=True), []
    cause = f"the new release can't be tried beside the one that serves: {'; '.join(obstacles)}."
    if wanted.candidate == "always":
        remedy = "Make room, or set xinference_candidate: auto, which then upgrades with a short gap."
        return candidate, [Finding("FAIL", "CANDIDATE", cause, remedy)]
    remedy = (
        "The service is restarted with the new release at once: clients have a gap until it speaks, or until the "
        "former one is back. Where that must not be, set xinference_candidate: always."
    )
    return candidate, [Finding("WARN", "CANDIDATE", cause, remedy)]


def judge(
    manifest: Manifest,
    manifest_sha256: str,
    store: str,
    facts: Mapping[str, Any],
    held: Mapping[str, Any],
    wanted: Wanted,
    controller_time: float,
) -> Verdict:
    """The plan for one host and all that was found.

    ``facts`` and ``held`` (``missing``, ``stale``, ``surplus``, ``arrived``, ``drift``) are what ``host_state`` gave.
    """
    voices, findings = check_store(manifest, wanted)
    accelerator = choose_accelerator(manifest, facts, wanted)
    findings += check_host(facts, wanted, manifest, controller_time, accelerator.name)
    findings += accelerator.findings
    findings += check_cluster(facts, wanted)
    verdict = Verdict(findings=findings)
    chosen = choose(manifest, facts, accelerator.name)
    if chosen is None:
        return verdict
    profile, python = chosen
    models = wanted.chosen_spacy_models if voices else []
    paths = Paths(wanted.root)
    carried = python.sha256 if isinstance(python, Artifact) else None
    interpreter = Python(
        profile.python,
        paths.python(python.version) if isinstance(python, Artifact) else python["path"],
        carried,
    )
    extras = wanted.extras if voices else ()
    artifacts = manifest.for_release(profile.name, [model.name for model in models], voices, carried, extras)
    identity = release_id(artifacts, version_of(artifacts, "xinference"), wanted.all_patches if voices else ())
    release = paths.release(identity)
    drift = held.get("drift", {}).get(identity)
    complete = identity in facts["releases"]["complete"] and not drift
    if drift:
        verdict.findings.append(drift_finding(identity, drift))
    lacking = {*held["missing"], *held["stale"]}
    absent = [artifact for artifact in artifacts if artifact.sha256 in lacking]
    # A finished release does not need the files it was made of.
    travelling = 0 if complete else sum(artifact.size for artifact in absent)
    # What drifted is removed before it is made anew.
    made_of = [(a.name, a.version, a.size) for a in artifacts if a.kind in UNPACKED_KINDS]
    building = 0 if complete or drift else unpacked(made_of)
    verdict.findings += check_disk(facts, wanted, max(0, travelling - held["arrived"]), building)
    candidate, obstacles = choose_candidate(facts, wanted, identity, accelerator)
    verdict.findings += obstacles
    data = f"{release}/env/lib/python{profile.python}/site-packages/espeakng_loader/espeak-ng-data"
    if len(os.fsencode(data)) > ESPEAK_PATH:
        verdict.findings.append(
            Finding(
                "FAIL",
                "PATH_LENGTH",
                f"{data} has {len(os.fsencode(data))} bytes, espeak can hold {ESPEAK_PATH}.",
                "Choose a shorter voicefleet_root.",
            )
        )
    verdict.plan = Plan(
        store=store,
        manifest_sha256=manifest_sha256,
        profile=profile.name,
        accelerator=profile.accelerator,
        cards=list(accelerator.cards),
        release=Release(identity, release, complete, drifted=bool(drift)),
        current=facts["releases"]["current"],
        former=former_of(facts["releases"].get("former")),
        candidate=candidate,
        paths=paths.as_dict(),
        python=interpreter,
        artifacts=[row_of(artifact) for artifact in artifacts],
        missing=[] if complete else [artifact.sha256 for artifact in absent],
        stale=[artifact.path for artifact in artifacts if artifact.sha256 in set(held["stale"])],
        surplus=list(held["surplus"]),
        bytes=travelling,
        model=Model(catalogue.KOKORO_NAME, f"{release}/models/{catalogue.KOKORO_NAME}"),
        languages=list(wanted.languages),
        language_models=wanted.language_models if voices else {},
        voices=voices,
        extras=[extra for extra in extras if extra in catalogue.EXTRAS],
        synthetic=[artifact.path for artifact in artifacts if artifact.synthetic],
        patches=[patch.as_dict() for patch in (wanted.all_patches if voices else ())],
    )
    return verdict


def table(plan: Plan) -> list[str]:
    """What a deploy would do to a host, in lines for people: what is missing, stale and surplus, and the bytes."""
    release, sizes = plan.release, {row["sha256"]: row for row in plan.artifacts}
    lines = [
        f"release {release.id} ({plan.profile}): "
        + ("complete" if release.complete else "to be mended" if release.drifted else "to be made")
        + f"; current is {plan.current or 'none'}"
    ]
    rows = [sizes[sha256] for sha256 in plan.missing]
    lines.append(f"to bring: {len(rows)} files, {plan.bytes / 1e6:.1f} MB")
    lines += [f"  missing  {row['size'] / 1e6:9.1f} MB  {row['path']}" for row in rows if row["path"] not in plan.stale]
    lines += [f"  stale    {row['size'] / 1e6:9.1f} MB  {row['path']}" for row in rows if row["path"] in plan.stale]
    surplus = sum(row["size"] for row in plan.surplus)
    lines.append(f"surplus on the host: {len(plan.surplus)} files, {surplus / 1e6:.1f} MB")
    lines += [f"  surplus  {row['size'] / 1e6:9.1f} MB  {row['name']}" for row in plan.surplus]
    return lines


def version_of(artifacts: Sequence[Artifact], name: str) -> str:
    """The version of a wheel of the release, ``0`` where it has none."""
    return next((a.version for a in artifacts if a.kind == "wheel" and a.name == name), "0")


def row_of(artifact: Artifact) -> dict[str, Any]:
    """A manifest row as the plan and the modules have it."""
    keys = ("path", "sha256", "size", "kind", "name", "version", "synthetic")
    return {key: getattr(artifact, key) for key in keys}
