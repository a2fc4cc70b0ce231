# SPDX-License-Identifier: GPL-3.0-or-later
"""Judge a host's GPUs: whether they work, and whether a CUDA build of torch runs on them.

The facts come from ``module_utils/host/gpu_facts.py``. A build's lock gives its requirements: the versions of torch
and of the CUDA runtime. ``data/gpu.json`` says which drivers and GPUs fit which build.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ...module_utils.doctor import diagnosis
from ..store import datafile

Json = Mapping[str, Any]


@dataclass(frozen=True)
class KnownBuild:
    """A build of torch and the kinds of GPUs that it was compiled for."""

    torch: str
    cuda: tuple[int, ...]
    architecture: str
    compiled: tuple[str, ...]


_DATA = datafile.read(Path(__file__).resolve().parent / "data/gpu.json")
# The oldest driver that runs every minor version of a CUDA.
DRIVERS: dict[int, int] = {
    int(cuda): driver
    for cuda, driver in datafile.convert(Mapping[str, int], _DATA.get("drivers"), "gpu.json: drivers").items()
}
BUILT_FOR = {
    (row.torch, row.cuda, row.architecture): row.compiled
    for row in datafile.rows(KnownBuild, _DATA, "builds", "gpu.json")
}
# The GPU memory of one replica of the model.
REPLICA_BYTES: int = datafile.convert(int, _DATA.get("replica_bytes"), "gpu.json: replica_bytes")
_RUNTIME = re.compile(r"nvidia-cuda-runtime(-cu\d+)?\Z")
CPU_WAY = "preflight_accelerator: cpu"


@dataclass(frozen=True)
class Build:
    """A profile's torch: its public version, its CUDA as ``(major, minor)`` and the processor's architecture.

    ``read`` are the kinds of GPUs that a fetch read from the wheel, if it did.
    """

    torch: str
    cuda: tuple[int, ...]
    architecture: str
    read: tuple[str, ...] = ()

    @property
    def compiled(self) -> tuple[str, ...]:
        """The kinds of GPUs that it has code for. Empty if neither the wheel nor this collection says."""
        return self.read or BUILT_FOR.get((self.torch, self.cuda, self.architecture), ())

    @property
    def cuda_name(self) -> str:
        return ".".join(map(str, self.cuda)) or "unknown"


@dataclass(frozen=True)
class Fault:
    """A problem with a GPU. ``card`` is its index, or None if the problem concerns all GPUs.

    ``level`` is ``FAIL``, or ``WARN`` if the GPU can be used all the same.
    """

    code: str
    cause: str
    remedy: str
    card: int | None = None
    level: str = "FAIL"


@dataclass(frozen=True)
class Usable:
    """The indexes of the usable GPUs, and all faults."""

    cards: tuple[int, ...] = ()
    faults: tuple[Fault, ...] = field(default=())


def build_of(wheels: Iterable[tuple[str, str]], architecture: str, read: tuple[str, ...] = ()) -> Build:
    """The torch of an environment, by the names and versions of its wheels. ``read`` is as in Build."""
    versions = dict(wheels)
    cuda = next((version for name, version in versions.items() if _RUNTIME.match(name)), "")
    numbers = tuple(int(part) for part in cuda.split(".")[:2] if part.isdigit())
    return Build(versions.get("torch", "").split("+")[0], numbers, architecture, read)


def notes_on(profile: str, wheels: Iterable[tuple[str, str]]) -> list[str]:
    """What is not known about the GPUs and drivers that a lock's torch runs on. Empty for a profile without GPUs."""
    accelerator, _python, architecture = profile.split("-")
    build = build_of(wheels, architecture)
    if accelerator != "cuda":
        return []
    if build.compiled:
        return [f"{profile}: torch {build.torch} for CUDA {build.cuda_name} has code for {', '.join(build.compiled)}."]
    found = [f"{profile}: fetch.yml will read the kinds of GPUs from the wheel of torch {build.torch}."]
    if not build.cuda or build.cuda[0] not in DRIVERS:
        found.append(
            f"{profile}: it is not known which driver CUDA {build.cuda_name} needs. preflight compares CUDA with what "
            "the host's driver reports."
        )
    return found


def runs(compiled: Sequence[str], capability: Sequence[int]) -> bool:
    """Whether a GPU with this compute capability runs code that was compiled for these kinds of GPUs.

    Machine code runs on GPUs with the same major version and the same or a later minor version. PTX runs on all later
    GPUs.
    """
    major, minor = capability
    for kind in compiled:
        match = re.fullmatch(r"(sm|compute)_(\d+)(\d)[af]?", kind)
        if match is None:
            continue
        built = (int(match[2]), int(match[3]))
        if (match[1] == "sm" and built[0] == major and built[1] <= minor) or (
            match[1] == "compute" and built <= (major, minor)
        ):
            return True
    return False


def _branch(driver: str) -> int:
    match = re.match(r"\d+", driver)
    return int(match[0]) if match else 0


def name_of(card: Json) -> str:
    """A GPU's index and product name."""
    return f"GPU {card['index']} ({card['name'] or 'unknown'})"


def describe(facts: Json) -> str:
    """One line on a host's GPUs: their names and the driver."""
    if facts["vendor"] == "none":
        return "no GPU"
    if facts["vendor"] == "amd":
        return f"{len(facts['pci'])} AMD GPU(s), which no profile supports"
    names: dict[str, int] = {}
    for card in facts["cards"]:
        names[card["name"] or "unknown"] = names.get(card["name"] or "unknown", 0) + 1
    cards = ", ".join(f"{count} x {name}" for name, count in names.items()) or "an NVIDIA GPU that does not answer"
    cuda = f", CUDA {'.'.join(map(str, facts['cuda']))}" if facts["cuda"] else ""
    return f"{cards}, driver {facts['driver'] or facts['kernel'] or 'none'}{cuda}"


def driver_faults(facts: Json) -> list[Fault]:
    """What is wrong with NVIDIA's driver as a whole. With one of these faults, no GPU can be used."""
    if facts["hung"]:
        cause = "nvidia-smi does not answer: the driver hangs, as it does after a GPU has failed."
        remedy = "Look for NVRM and Xid in journalctl -k, then reboot: processes that wait for it cannot be killed."
        return [Fault("GPU_DRIVER", cause, remedy)]
    if facts["cards"]:
        return []
    held = sorted({card["driver"] for card in facts["pci"] if card["vendor"] == "nvidia" and card["driver"]})
    if "nouveau" in held:
        cause = "the driver nouveau holds the GPU, and nouveau has no CUDA."
        remedy = "Install NVIDIA's driver. Its packages put nouveau on the kernel's blacklist. Then reboot the host."
        return [Fault("GPU_DRIVER", cause, remedy)]
    if facts["container"] and not facts["nodes"]:
        cause = f"the host is a container ({facts['container']}). It sees the GPU on the bus, but has no device node."
        remedy = "Start the container with its devices, as with Docker's --gpus all and NVIDIA's container toolkit."
        return [Fault("GPU_NODES", cause, remedy)]
    known = diagnosis.causes(diagnosis.diagnose(facts["messages"]))
    if known:
        return [Fault("GPU_DRIVER", f"{found.line}: {found.cause}", found.remedy) for found in known]
    said = f": {'; '.join(facts['messages'])}" if facts["messages"] else ""
    if "nvidia" in facts["modules"]:
        cause = (
            f"NVIDIA's driver {facts['kernel']} is loaded, but neither nvidia-smi nor libnvidia-ml reports a GPU{said}."
        )
        remedy = "Install the driver's programs and libraries of the same version. Look for NVRM in journalctl -k."
        return [Fault("GPU_DRIVER", cause, remedy)]
    other = [driver for driver in held if driver != "nvidia"]
    cause = f"the GPU has no driver{f' but {other[0]}' if other else ''}{said}."
    remedy = (
        "Install NVIDIA's driver, which is not part of the release, and reboot the host. With Secure Boot, the "
        "driver's module must be signed."
    )
    return [Fault("GPU_DRIVER", cause, remedy)]


def card_faults(facts: Json) -> list[Fault]:
    """What is wrong with single GPUs, whatever is to run on them."""
    found = []
    # Some GPUs answer while another one is lost.
    for known in diagnosis.causes(diagnosis.diagnose(facts["messages"])) if facts["cards"] else []:
        found.append(Fault("GPU_CARD", f"{known.line}: {known.cause}", known.remedy))
    answer = {card["bus"].lower()[-12:] for card in facts["cards"] if card["bus"]}
    on_bus = {card["address"].lower()[-12:] for card in facts["pci"] if card["vendor"] == "nvidia"}
    silent = sorted(on_bus - answer) if answer else []
    if silent and not found:
        cause = f"{', '.join(silent)}: on the bus, but unknown to the driver."
        remedy = (
            "Look for NVRM and this address in journalctl -k. The GPU is too old for the driver, has failed, or "
            "belongs to a virtual machine."
        )
        found.append(Fault("GPU_CARD", cause, remedy, level="WARN"))
    for card in facts["cards"]:
        found += _faults_of(card)
    return found


def _faults_of(card: Json) -> Iterator[Fault]:
    """What is wrong with a GPU that answers."""
    index, ecc = card["index"], card["ecc"]
    reset = "Reboot the host, or reset the GPU"

    def fault(cause: str, remedy: str, level: str = "FAIL") -> Fault:
        return Fault("GPU_CARD", f"{name_of(card)}: {cause}", remedy, index, level)

    if card["recovery"]:
        remedy = f"{reset} (nvidia-smi --gpu-reset) while nothing runs on it."
        yield fault(f"the driver asks for a recovery: {card['recovery']}.", remedy)
    if card["fabric"] and card["fabric"] not in ("Completed", "Completed, Success"):
        cause = f"the fabric manager has not set up its NVSwitch: {card['fabric']}. CUDA refuses the GPU until then."
        remedy = "systemctl status nvidia-fabricmanager shows why. Its version must be exactly the driver's."
        yield fault(cause, remedy)
    if card["licence"].startswith("Unlicensed"):
        cause = f"this virtual GPU has no licence: {card['licence']}. Its driver slows it down after some minutes."
        yield fault(cause, "systemctl status nvidia-gridd shows why. The host must reach the licence server.", "WARN")
    if ecc["failure"]:
        remedy = "Replace the GPU. Until then, name the others in xinference_cards."
        yield fault("a bad row of its memory could not be replaced.", remedy)
    if ecc["uncorrectable"]:
        cause = f"its memory had {ecc['uncorrectable']} errors since the driver was loaded that could not be corrected."
        yield fault(cause, f"{reset}. If the errors return, replace the GPU.")
    if ecc["pending"]:
        yield fault("bad memory will be retired at the next start.", f"{reset}, at a quiet time.", "WARN")
    if card["compute_mode"] == "Prohibited":
        remedy = f"nvidia-smi -i {index} -c DEFAULT; find out who set the mode."
        yield fault("its compute mode is Prohibited, so nothing may compute on it.", remedy)
    if card["mig"] and not card["instances"]:
        remedy = f"Create an instance (nvidia-smi mig -cgi PROFILE -C), or switch MIG off (-i {index} -mig 0)."
        yield fault("MIG is on, but there is no instance, so nothing can compute on it.", remedy)
    elif card["mig"]:
        cause = (
            "MIG is on. Xinference knows GPUs by their number, so the service uses only the first instance. This has "
            "not been tried on a real GPU."
        )
        yield fault(cause, "Switch MIG off if the whole GPU is for speech.", "WARN")


def build_faults(facts: Json, build: Build) -> list[Fault]:
    """Whether the driver and the GPUs run a build of torch."""
    found: list[Fault] = []
    if not build.cuda:
        return found
    needed = DRIVERS.get(build.cuda[0])
    wants = f"driver {needed} or newer" if needed else "a newer driver"
    branch = _branch(facts["driver"] or facts["kernel"])
    # The driver's own answer comes first: with a compatibility package, an old driver runs a newer CUDA.
    old = facts["cuda"][0] < build.cuda[0] if facts["cuda"] else bool(needed and branch and branch < needed)
    if old:
        knows = f", which runs CUDA {'.'.join(map(str, facts['cuda']))} at most" if facts["cuda"] else ""
        cause = (
            f"its driver is {facts['driver'] or facts['kernel']}{knows}; torch {build.torch} of the store is built "
            f"for CUDA {build.cuda_name} and needs {wants}."
        )
        remedy = f"Upgrade the host's NVIDIA driver{f' to {needed} or newer' if needed else ''} and reboot"
        found.append(Fault("GPU_DRIVER", cause, remedy))
    for card in facts["cards"]:
        name, index, capability = name_of(card), card["index"], card["capability"]
        if not capability or not build.compiled:
            what = "its compute capability" if not capability else f"this build of torch {build.torch}"
            cause = f"{name}: {what} is unknown, so it is unknown whether the release runs on it."
            found.append(Fault("GPU_CARD", cause, "The proof after the deploy will show it.", index, "WARN"))
        elif not runs(build.compiled, capability):
            kinds = ", ".join(kind.replace("sm_", "")[:-1] + "." + kind[-1] for kind in build.compiled)
            cause = (
                f"{name} has compute capability {capability[0]}.{capability[1]}; torch {build.torch} of the store has "
                f"code for {kinds}."
            )
            found.append(Fault("GPU_CARD", cause, "Give the service another GPU (xinference_cards)", index))
    return found


def room_of(card: Json, key: str = "total") -> int:
    """The memory of a GPU, or of its first MIG instance, in bytes. 0 if it is unknown."""
    source = card["instances"][0] if card["mig"] and card["instances"] else card
    return int(source["memory"][key])


def memory_faults(facts: Json, cards: Sequence[int], models: int, serving: bool) -> list[Fault]:
    """Whether the GPUs have the memory for the models, spread evenly.

    Memory in use counts only on a host that does not serve yet.
    """
    found = []
    each = math.ceil(models / max(1, len(cards)))
    need = each * REPLICA_BYTES
    for card in facts["cards"]:
        index, name, total, free = card["index"], name_of(card), room_of(card), room_of(card, "free")
        if index not in cards:
            continue
        if card["compute_mode"].startswith("Exclusive") and each > 1:
            cause = f"{name}: its compute mode {card['compute_mode']} allows one process, but {each} models need it."
            remedy = f"nvidia-smi -i {index} -c DEFAULT, or fewer replicas (xinference_replicas)."
            found.append(Fault("GPU_CARD", cause, remedy, index))
        if total and total < need:
            cause = f"{name} has {total / 1e9:.1f} GB, and {each} models on it take {need / 1e9:.1f} GB."
            remedy = "Fewer replicas (xinference_replicas) or more GPUs."
            found.append(Fault("GPU_MEMORY", cause, remedy, index))
        elif total and not serving and free < need:
            holders = ", ".join(
                f"{row['name'] or 'unknown'} ({row['pid']}, {row['memory'] / 1e9:.1f} GB)"
                for row in facts["processes"]
                if row["card"] == index
            )
            cause = (
                f"{name}: {free / 1e9:.1f} of its {total / 1e9:.1f} GB are free, and {each} models on it take "
                f"{need / 1e9:.1f} GB{f'. In use by: {holders}' if holders else ''}."
            )
            remedy = "Stop what does not belong there, or name another GPU in xinference_cards."
            found.append(Fault("GPU_MEMORY", cause, remedy, index, "WARN"))
    return found


def candidate_obstacles(facts: Json, cards: Sequence[int], models: int) -> list[str]:
    """Why the GPUs lack the memory for a candidate's models beside those that serve. Empty also if it is unknown."""
    chosen = [card for card in facts["cards"] if not cards or card["index"] in cards]
    need = math.ceil(models / max(1, len(chosen))) * REPLICA_BYTES
    return [
        f"{room_of(card, 'free') / 1e9:.1f} GB of {name_of(card)} are free, it needs {need / 1e9:.1f} GB"
        for card in chosen
        if room_of(card) and room_of(card, "free") < need
    ]


def check(facts: Json, build: Build, wanted: Sequence[int], models: int, serving: bool) -> Usable:
    """Which of a host's GPUs can run a build and the models, and what is wrong with the others.

    ``wanted`` are indexes. If it is empty, every GPU may be chosen: a bad one is left out with a warning, unless all
    are bad.
    """
    if facts["vendor"] != "nvidia":
        cause = f"it has {describe(facts)}, and no NVIDIA GPU is visible."
        remedy = "Check that the GPU is installed and, for a virtual machine, passed through (lspci)"
        return Usable(faults=(Fault("GPU_CARD", cause, remedy),))
    faults = driver_faults(facts)
    if faults:
        return Usable(faults=tuple(faults))
    there = [card["index"] for card in facts["cards"]]
    absent = [index for index in wanted if index not in there]
    if absent:
        cause = f"xinference_cards names {', '.join(map(str, absent))}; the host has {', '.join(map(str, there))}."
        return Usable(faults=(Fault("GPU_CARD", cause, "Name GPUs by the index that nvidia-smi shows."),))
    chosen = list(wanted) or there
    faults = [f for f in card_faults(facts) + build_faults(facts, build) if f.card is None or f.card in chosen]
    bad = {fault.card for fault in faults if fault.level == "FAIL" and fault.card is not None}
    whole = [fault for fault in faults if fault.level == "FAIL" and fault.card is None]
    usable = [index for index in chosen if index not in bad]
    if bad and usable and not wanted and not whole:
        # Often this is a GPU for the screen.
        way = f"; to leave it out permanently, set xinference_cards: {usable}."
        faults = [
            replace(fault, level="WARN", remedy=f"It is left out. {fault.remedy.rstrip('.')}{way}")
            if fault.card in bad and fault.level == "FAIL"
            else fault
            for fault in faults
        ]
    elif bad:
        usable = []
    faults += memory_faults(facts, usable, models, serving) if usable else []
    failed = any(fault.level == "FAIL" for fault in faults)
    return Usable(() if failed else tuple(usable), tuple(faults))
