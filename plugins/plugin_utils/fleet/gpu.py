# SPDX-License-Identifier: GPL-3.0-or-later
"""Judge a host's graphics cards: whether they work, and whether a CUDA build of torch runs on them.

The facts are those of ``module_utils/host/gpu_facts.py``. A build's lock tells what it asks of a host: torch's version,
and the CUDA version of its runtime. ``data/gpu.json`` tells which drivers and cards suit which build.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ...module_utils.doctor import diagnosis
from ..store import datafile

Json = Mapping[str, Any]


@dataclass(frozen=True)
class KnownBuild:
    """A build of torch and the kinds of cards that it was compiled for."""

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
# What one replica of the model takes of a card.
REPLICA_BYTES: int = datafile.convert(int, _DATA.get("replica_bytes"), "gpu.json: replica_bytes")
_RUNTIME = re.compile(r"nvidia-cuda-runtime(-cu\d+)?\Z")
CPU_WAY = "preflight_accelerator: cpu"


@dataclass(frozen=True)
class Build:
    """What a profile's torch was built for: its public version, CUDA's ``(major, minor)`` and the processor."""

    torch: str
    cuda: tuple[int, ...]
    architecture: str

    @property
    def compiled(self) -> tuple[str, ...]:
        """Kinds of cards that it has code for; empty where this collection does not know the build."""
        return BUILT_FOR.get((self.torch, self.cuda, self.architecture), ())

    @property
    def cuda_name(self) -> str:
        return ".".join(map(str, self.cuda)) or "unknown"


@dataclass(frozen=True)
class Fault:
    """Something that keeps a card from being used: a code, cause and remedy, and the card's index where it is one's.

    ``level`` is ``FAIL``, or ``WARN`` for what can be worked with.
    """

    code: str
    cause: str
    remedy: str
    card: int | None = None
    level: str = "FAIL"


@dataclass(frozen=True)
class Usable:
    """Indexes of the cards that can be used, and everything that was found."""

    cards: tuple[int, ...] = ()
    faults: tuple[Fault, ...] = field(default=())


def build_of(wheels: Iterable[tuple[str, str]], architecture: str) -> Build:
    """What an environment's torch was built for, as far as the names and versions of its wheels tell."""
    versions = dict(wheels)
    cuda = next((version for name, version in versions.items() if _RUNTIME.match(name)), "")
    numbers = tuple(int(part) for part in cuda.split(".")[:2] if part.isdigit())
    return Build(versions.get("torch", "").split("+")[0], numbers, architecture)


def runs(compiled: Sequence[str], capability: Sequence[int]) -> bool:
    """Whether a card of a compute capability runs code that was compiled for some kinds of cards.

    Machine code runs on cards of its own major version and of the same or a later minor one; PTX on all later cards.
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
    """A card as people know it."""
    return f"card {card['index']} ({card['name'] or 'unknown'})"


def describe(facts: Json) -> str:
    """One line on a host's cards: their names and the driver."""
    if facts["vendor"] == "none":
        return "no graphics card"
    if facts["vendor"] == "amd":
        return f"{len(facts['pci'])} AMD graphics card(s), which no profile is for"
    names: dict[str, int] = {}
    for card in facts["cards"]:
        names[card["name"] or "unknown"] = names.get(card["name"] or "unknown", 0) + 1
    cards = ", ".join(f"{count} x {name}" for name, count in names.items()) or "an NVIDIA card that can't be asked"
    cuda = f", CUDA {'.'.join(map(str, facts['cuda']))}" if facts["cuda"] else ""
    return f"{cards}, driver {facts['driver'] or facts['kernel'] or 'none'}{cuda}"


def driver_faults(facts: Json) -> list[Fault]:
    """What is wrong with the driver of NVIDIA's cards as a whole; with one of these no card can be used."""
    if facts["hung"]:
        return [
            Fault(
                "GPU_DRIVER",
                "nvidia-smi gave no answer: the driver hangs, as after a card has failed.",
                "Look for NVRM and Xid in journalctl -k, then reboot the host: what waits there can't be killed.",
            )
        ]
    if facts["cards"]:
        return []
    held = sorted({card["driver"] for card in facts["pci"] if card["vendor"] == "nvidia" and card["driver"]})
    if "nouveau" in held:
        return [
            Fault(
                "GPU_DRIVER",
                "the card is held by nouveau, which knows nothing of CUDA.",
                "Install NVIDIA's driver; its packages put nouveau on the kernel's blacklist. Then reboot the host.",
            )
        ]
    if facts["container"] and not facts["nodes"]:
        return [
            Fault(
                "GPU_NODES",
                f"the host is a container ({facts['container']}) that sees the card on the bus, and has no device node "
                "of it.",
                "Start the container with its devices, as by --gpus all of Docker with NVIDIA's container toolkit.",
            )
        ]
    known = diagnosis.causes(diagnosis.diagnose(facts["messages"]))
    if known:
        return [Fault("GPU_DRIVER", f"{found.line}: {found.cause}", found.remedy) for found in known]
    said = f": {'; '.join(facts['messages'])}" if facts["messages"] else ""
    if "nvidia" in facts["modules"]:
        return [
            Fault(
                "GPU_DRIVER",
                f"NVIDIA's driver {facts['kernel']} is loaded, and neither nvidia-smi nor libnvidia-ml tells of a "
                f"card{said}.",
                "Install the driver's programs and libraries of the same version, and look for NVRM in journalctl -k.",
            )
        ]
    other = [driver for driver in held if driver != "nvidia"]
    return [
        Fault(
            "GPU_DRIVER",
            f"the card has no driver{f' but {other[0]}' if other else ''}{said}.",
            "Install NVIDIA's driver, which does not come with the release, and reboot the host; with Secure Boot its "
            "module must be signed.",
        )
    ]


def card_faults(facts: Json) -> list[Fault]:
    """What is wrong with single cards, whatever is to run on them."""
    found = []
    # Cards that answer while another is lost.
    for known in diagnosis.causes(diagnosis.diagnose(facts["messages"])) if facts["cards"] else []:
        found.append(Fault("GPU_CARD", f"{known.line}: {known.cause}", known.remedy))
    answer = {card["bus"].lower()[-12:] for card in facts["cards"] if card["bus"]}
    on_bus = {card["address"].lower()[-12:] for card in facts["pci"] if card["vendor"] == "nvidia"}
    silent = sorted(on_bus - answer) if answer else []
    if silent and not found:
        found.append(
            Fault(
                "GPU_CARD",
                f"{', '.join(silent)}: on the bus, and unknown to the driver.",
                "Look for NVRM and this address in journalctl -k: too old a card for the driver, a failed one, or one "
                "that is given to a virtual machine.",
                level="WARN",
            )
        )
    for card in facts["cards"]:
        name, index, ecc = name_of(card), card["index"], card["ecc"]
        if card["recovery"]:
            found.append(
                Fault(
                    "GPU_CARD",
                    f"{name}: the driver wants a recovery: {card['recovery']}.",
                    "Reboot the host, or reset the card (nvidia-smi --gpu-reset) while nothing runs on it.",
                    index,
                )
            )
        if ecc["failure"]:
            found.append(
                Fault(
                    "GPU_CARD",
                    f"{name}: a bad row of its memory could not be replaced.",
                    "The card must be exchanged; until then name the others in xinference_cards.",
                    index,
                )
            )
        if ecc["uncorrectable"]:
            found.append(
                Fault(
                    "GPU_CARD",
                    f"{name}: {ecc['uncorrectable']} errors of its memory since the driver was loaded could not be "
                    "corrected.",
                    "Reboot the host, or reset the card; where they come again the card must be exchanged.",
                    index,
                )
            )
        if ecc["pending"]:
            found.append(
                Fault(
                    "GPU_CARD",
                    f"{name}: bad memory is to be taken out of use at the next start.",
                    "Reboot the host, or reset the card, at a quiet time.",
                    index,
                    "WARN",
                )
            )
        if card["compute_mode"] == "Prohibited":
            found.append(
                Fault(
                    "GPU_CARD",
                    f"{name}: its compute mode is Prohibited, so that nothing may compute on it.",
                    f"nvidia-smi -i {index} -c DEFAULT; find out who set it.",
                    index,
                )
            )
        if card["mig"] and not card["instances"]:
            found.append(
                Fault(
                    "GPU_CARD",
                    f"{name}: MIG is on and it is not divided, so that nothing can compute on it.",
                    f"Make an instance (nvidia-smi mig -cgi PROFILE -C), or switch it off (-i {index} -mig 0).",
                    index,
                )
            )
        elif card["mig"]:
            found.append(
                Fault(
                    "GPU_CARD",
                    f"{name}: MIG is on. Xinference knows cards by their number, so the service uses the first "
                    "instance alone; nobody has tried this on a card yet.",
                    "Switch MIG off where the whole card is for speech.",
                    index,
                    "WARN",
                )
            )
    return found


def build_faults(facts: Json, build: Build) -> list[Fault]:
    """Whether driver and cards run a build of torch."""
    found: list[Fault] = []
    if not build.cuda:
        return found
    needed = DRIVERS.get(build.cuda[0])
    wants = f"driver {needed} or newer" if needed else "a newer driver"
    branch = _branch(facts["driver"] or facts["kernel"])
    # The driver's own word first: a compatibility package makes an old one run a newer CUDA.
    old = facts["cuda"][0] < build.cuda[0] if facts["cuda"] else bool(needed and branch and branch < needed)
    if old:
        knows = f", which runs CUDA {'.'.join(map(str, facts['cuda']))} at most" if facts["cuda"] else ""
        found.append(
            Fault(
                "GPU_DRIVER",
                f"its driver is {facts['driver'] or facts['kernel']}{knows}; torch {build.torch} of the store is built "
                f"for CUDA {build.cuda_name} and needs {wants}.",
                f"Upgrade the host's NVIDIA driver{f' to {needed} or newer' if needed else ''} and reboot",
            )
        )
    for card in facts["cards"]:
        capability = card["capability"]
        if not capability or not build.compiled:
            what = "its compute capability is not known" if not capability else f"torch {build.torch} is not known here"
            found.append(
                Fault(
                    "GPU_CARD",
                    f"{name_of(card)}: {what}, so it can't be told whether the release runs on it.",
                    "The proof after the deploy will tell.",
                    card["index"],
                    "WARN",
                )
            )
        elif not runs(build.compiled, capability):
            kinds = ", ".join(kind.replace("sm_", "")[:-1] + "." + kind[-1] for kind in build.compiled)
            found.append(
                Fault(
                    "GPU_CARD",
                    f"{name_of(card)} has compute capability {capability[0]}.{capability[1]}; torch {build.torch} of "
                    f"the store has code for {kinds}.",
                    "Give the service another card (xinference_cards)",
                    card["index"],
                )
            )
    return found


def room_of(card: Json, key: str = "total") -> int:
    """The memory of a card, or of its first MIG instance, in bytes; 0 where it is not told."""
    source = card["instances"][0] if card["mig"] and card["instances"] else card
    return int(source["memory"][key])


def memory_faults(facts: Json, cards: Sequence[int], models: int, serving: bool) -> list[Fault]:
    """Whether the cards hold so many models, spread evenly. What is taken now matters where we do not serve yet."""
    found = []
    each = math.ceil(models / max(1, len(cards)))
    need = each * REPLICA_BYTES
    for card in facts["cards"]:
        if card["index"] not in cards:
            continue
        if card["compute_mode"].startswith("Exclusive") and each > 1:
            found.append(
                Fault(
                    "GPU_CARD",
                    f"{name_of(card)}: its compute mode {card['compute_mode']} lets one process in, and {each} "
                    "models are to run on it.",
                    f"nvidia-smi -i {card['index']} -c DEFAULT, or fewer replicas (xinference_replicas).",
                    card["index"],
                )
            )
        total, free = room_of(card), room_of(card, "free")
        holders = ", ".join(
            f"{row['name'] or 'unknown'} ({row['pid']}, {row['memory'] / 1e9:.1f} GB)"
            for row in facts["processes"]
            if row["card"] == card["index"]
        )
        if total and total < need:
            found.append(
                Fault(
                    "GPU_MEMORY",
                    f"{name_of(card)} has {total / 1e9:.1f} GB, and {each} models on it take {need / 1e9:.1f} GB.",
                    "Fewer replicas (xinference_replicas) or languages, or more cards.",
                    card["index"],
                )
            )
        elif total and not serving and free < need:
            found.append(
                Fault(
                    "GPU_MEMORY",
                    f"{name_of(card)}: {free / 1e9:.1f} of its {total / 1e9:.1f} GB are free, and {each} models on it "
                    f"take {need / 1e9:.1f} GB{f'; there are: {holders}' if holders else ''}.",
                    "End what does not belong there, or name another card in xinference_cards.",
                    card["index"],
                    "WARN",
                )
            )
    return found


def candidate_obstacles(facts: Json, cards: Sequence[int], models: int) -> list[str]:
    """Why the cards have no room for so many models beside those that serve; empty where they have, or don't tell."""
    chosen = [card for card in facts["cards"] if not cards or card["index"] in cards]
    need = math.ceil(models / max(1, len(chosen))) * REPLICA_BYTES
    return [
        f"{room_of(card, 'free') / 1e9:.1f} GB of {name_of(card)} are free and it needs {need / 1e9:.1f} GB"
        for card in chosen
        if room_of(card) and room_of(card, "free") < need
    ]


def check(facts: Json, build: Build, wanted: Sequence[int], models: int, serving: bool) -> Usable:
    """Which of a host's cards can be used for a build and so many models, and what stands in the way of others.

    ``wanted`` are indexes, empty for every card. With more than one card to choose from, those that can't be used are
    left out with a warning; where none can, every fault is a failure.
    """
    if facts["vendor"] != "nvidia":
        return Usable(
            faults=(
                Fault(
                    "GPU_CARD",
                    f"it has {describe(facts)}, and nothing of an NVIDIA card is seen.",
                    "Check that the card is in the host and given to it (lspci)",
                ),
            )
        )
    faults = driver_faults(facts)
    if faults:
        return Usable(faults=tuple(faults))
    there = [card["index"] for card in facts["cards"]]
    absent = [index for index in wanted if index not in there]
    if absent:
        return Usable(
            faults=(
                Fault(
                    "GPU_CARD",
                    f"xinference_cards names {', '.join(map(str, absent))}; the host has {', '.join(map(str, there))}.",
                    "Name cards by the index that nvidia-smi shows.",
                ),
            )
        )
    chosen = list(wanted) or there
    faults = [f for f in card_faults(facts) + build_faults(facts, build) if f.card is None or f.card in chosen]
    bad = {fault.card for fault in faults if fault.level == "FAIL" and fault.card is not None}
    whole = [fault for fault in faults if fault.level == "FAIL" and fault.card is None]
    usable = [index for index in chosen if index not in bad]
    if bad and usable and not wanted and not whole:
        # A card beside those that work, as the one for the screen.
        way = f"; to leave it out for good, set xinference_cards: {usable}."
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
