# SPDX-License-Identifier: GPL-3.0-or-later
"""Read a host's GPUs and their driver from the kernel, nvidia-smi and NVML. A host needs none of these.

This module only reads facts. On the controller, ``plugin_utils/fleet/gpu.py`` judges whether a GPU suits a release.
Faults are facts, too: the errors of nvidia-smi (``messages``), a hung driver, a GPU without driver or device node.
"""

from __future__ import annotations

import contextlib
import ctypes
import glob
import json
import os
import re
import select
import shutil
import signal
import time
from collections.abc import Callable, Sequence
from typing import Any
from xml.etree import ElementTree

from . import commands, private_files

Json = dict[str, Any]
# Exit status and output of a command. The status is 124 if it ran into the time limit.
Runner = Callable[[Sequence[str], float], tuple[int, str]]

NVIDIA, AMD = "0x10de", "0x1002"
# Display controllers and processing accelerators. A GPU's sound device has the same vendor.
_CLASSES = ("0x03", "0x12")
_MODULES = ("nvidia", "nvidia_uvm", "nvidia_modeset", "nouveau", "amdgpu")
# A driver without persistence wakes each GPU for each query, 1 to 2 s per card. One that hangs never answers.
SECONDS = 40.0
HUNG = commands.LATE
_MIB = 1024 * 1024
_XML = re.compile(r"<nvidia_smi_log>.*</nvidia_smi_log>", re.DOTALL)
_NVML = "libnvidia-ml.so.1"


def run(command: Sequence[str], timeout: float) -> tuple[int, str]:
    """Run a command and return its exit status and output; no output if it ran into the time limit."""
    status, output = commands.run(command, timeout)
    return status, "" if status == HUNG else output


def _read(path: str) -> str:
    return private_files.read_if_possible(path).strip()


def pci(sys: str = "/sys") -> list[Json]:
    """GPUs of NVIDIA and AMD on the PCI bus, with the kernel driver of each."""
    found = []
    for folder in sorted(glob.glob(os.path.join(glob.escape(sys), "bus/pci/devices/*"))):
        vendor, kind = _read(os.path.join(folder, "vendor")), _read(os.path.join(folder, "class"))
        if vendor not in (NVIDIA, AMD) or not kind.startswith(_CLASSES):
            continue
        driver = ""
        with contextlib.suppress(OSError):
            driver = os.path.basename(os.readlink(os.path.join(folder, "driver")))
        found.append(
            {
                "address": os.path.basename(folder),
                "vendor": "nvidia" if vendor == NVIDIA else "amd",
                "device": _read(os.path.join(folder, "device")),
                "class": kind,
                "driver": driver,
            }
        )
    return found


def container(root: str = "/") -> str:
    """The name of the container that this host runs in, or empty."""
    name = _read(os.path.join(root, "run/systemd/container")) or _read(os.path.join(root, "run/host/container-manager"))
    if name:
        return name
    files = {".dockerenv": "docker", "run/.containerenv": "podman"}
    return next((kind for file, kind in files.items() if os.path.exists(os.path.join(root, file))), "")


def _text(node: ElementTree.Element | None, path: str) -> str:
    """The text at a path. It is empty if the field is missing or does not apply."""
    text = (node.findtext(path) or "").strip() if node is not None else ""
    return "" if text.strip("[]") in ("N/A", "None", "Not Supported", "Unknown Error", "GPU is lost") else text


def _bytes(node: ElementTree.Element | None, path: str) -> int:
    match = re.match(r"(\d+) MiB\Z", _text(node, path))
    return int(match[1]) * _MIB if match else 0


def _number(text: str) -> int:
    match = re.match(r"\d+", text)
    return int(match[0]) if match else 0


def _memory(node: ElementTree.Element | None) -> dict[str, int]:
    return {name: _bytes(node, f"fb_memory_usage/{name}") for name in ("total", "used", "free")}


def version(text: str) -> list[int]:
    """``13.0`` as ``[13, 0]``, or empty for other texts."""
    return [int(part) for part in text.split(".")] if re.match(r"\d+(\.\d+)*\Z", text) else []


def _card(index: int, gpu: ElementTree.Element) -> Json:
    errors = gpu.find("ecc_errors/volatile")
    # Up to driver 440: a total. Later drivers: a count for each kind of memory, then one for each check.
    names = ("double_bit/total", "sram_uncorrectable", "sram_uncorrectable_parity", "sram_uncorrectable_secded",
             "dram_uncorrectable")  # fmt: skip
    pending = (_text(gpu, "retired_pages/pending_retirement"), _text(gpu, "retired_pages/pending_blacklist"),
               _text(gpu, "remapped_rows/remapped_row_pending"))  # fmt: skip
    mig = _text(gpu, "mig_mode/current_mig")
    persistence = _text(gpu, "persistence_mode")
    reset = _text(gpu, "gpu_reset_status/reset_required") == "Yes"
    return {
        "index": index,
        "name": _text(gpu, "product_name"),
        "uuid": _text(gpu, "uuid"),
        "bus": _text(gpu, "pci/pci_bus_id") or gpu.get("id", ""),
        "memory": _memory(gpu),
        "capability": [],
        "mig": mig == "Enabled",
        "instances": [
            {"index": _number(_text(node, "index")), "memory": _memory(node)}
            for node in gpu.findall("mig_devices/mig_device")
        ],
        "persistence": None if not persistence else persistence == "Enabled",
        "compute_mode": _text(gpu, "compute_mode"),
        "ecc": {
            "enabled": _text(gpu, "ecc_mode/current_ecc") == "Enabled",
            "uncorrectable": sum(_number(_text(errors, name)) for name in names),
            "pending": "Yes" in pending,
            "failure": _text(gpu, "remapped_rows/remapped_row_failure") == "Yes",
        },
        # What the driver asks for (R550 and newer). Older drivers only say that a reset is needed.
        "recovery": _text(gpu, "gpu_recovery_action") or ("Reset" if reset else ""),
        # GPUs with NVSwitch: what the fabric manager has done, as "In Progress" or "Completed, Success".
        "fabric": ", ".join(filter(None, (_text(gpu, "fabric/state"), _text(gpu, "fabric/status")))),
        # Virtual GPUs: "Licensed (Expiry: ...)" or "Unlicensed (Restricted)". The older name is GRID's.
        "licence": _text(gpu, "vgpu_software_licensed_product/license_status")
        or _text(gpu, "grid_licensed_product/license_status"),
    }


def parse_xml(text: str) -> Json:
    """Read driver, CUDA version, cards, processes and messages from the output of ``nvidia-smi -q -x``.

    Fields that an older driver lacks are empty. Raises ValueError if the output contains no such document.
    """
    document = _XML.search(text)
    if document is None:
        raise ValueError("nvidia-smi printed no XML")
    try:
        root = ElementTree.fromstring(document[0])
    except ElementTree.ParseError as error:
        raise ValueError(f"nvidia-smi's XML is damaged: {error}") from error
    cards, processes = [], []
    for index, gpu in enumerate(root.findall("gpu")):
        cards.append(_card(index, gpu))
        for node in gpu.findall("processes/process_info"):
            processes.append(
                {
                    "pid": _number(_text(node, "pid")),
                    "name": _text(node, "process_name"),
                    "type": _text(node, "type"),
                    "memory": _bytes(node, "used_memory"),
                    "card": index,
                }
            )
    outside = text[: document.start()] + "\n" + text[document.end() :]
    return {
        "driver": _text(root, "driver_version"),
        "cuda": version(_text(root, "cuda_version")),
        "cards": cards,
        "processes": processes,
        "messages": complaints(outside),
    }


def complaints(text: str) -> list[str]:
    """The lines of nvidia-smi's output that are not XML, without repeated ones."""
    lines = (line.strip() for line in text.splitlines())
    return list(dict.fromkeys(line[:300] for line in lines if line and not line.startswith("<")))[:8]


def parse_capabilities(text: str) -> dict[int, list[int]]:
    """Read compute capabilities by index from ``--query-gpu=index,compute_cap --format=csv,noheader``."""
    rows = (re.match(r"(\d+),\s*(\d+)\.(\d+)\s*\Z", line.strip()) for line in text.splitlines())
    return {int(row[1]): [int(row[2]), int(row[3])] for row in rows if row}


class _MemoryInfo(ctypes.Structure):
    _fields_ = [("total", ctypes.c_ulonglong), ("free", ctypes.c_ulonglong), ("used", ctypes.c_ulonglong)]


class NvmlError(Exception):
    """NVML refused a call. The message is its own."""


def nvml(library: Any) -> Json:
    """Read driver, CUDA version and cards from NVML, in the form of :func:`parse_xml`. Raises :class:`NvmlError`.

    It may hang in the driver, so :func:`ask_nvml` calls it in a process that it can abandon.
    """

    def call(name: str, *arguments: Any) -> None:
        status = getattr(library, name)(*arguments)
        if status != 0:
            words = library.nvmlErrorString
            words.restype = ctypes.c_char_p
            raise NvmlError(f"{name}: {(words(status) or b'').decode('utf-8', 'replace')} ({status})")

    def text(name: str, *before: Any) -> str:
        buffer = ctypes.create_string_buffer(96)
        call(name, *before, buffer, ctypes.c_uint(96))
        return buffer.value.decode("utf-8", "replace")

    call("nvmlInit_v2")
    try:
        cuda, count, cards, messages = ctypes.c_int(), ctypes.c_uint(), [], []
        with contextlib.suppress(NvmlError, AttributeError):
            call("nvmlSystemGetCudaDriverVersion", ctypes.byref(cuda))
        call("nvmlDeviceGetCount_v2", ctypes.byref(count))
        for index in range(count.value):
            device, major, minor, mode, pending = (
                ctypes.c_void_p(), ctypes.c_int(), ctypes.c_int(), ctypes.c_uint(), ctypes.c_uint()
            )  # fmt: skip
            memory = _MemoryInfo()
            try:
                call("nvmlDeviceGetHandleByIndex_v2", ctypes.c_uint(index), ctypes.byref(device))
                name, uuid = text("nvmlDeviceGetName", device), text("nvmlDeviceGetUUID", device)
                call("nvmlDeviceGetCudaComputeCapability", device, ctypes.byref(major), ctypes.byref(minor))
            except NvmlError as error:
                messages.append(f"card {index}: {error}")
                continue
            # Unified memory has no such numbers, and old drivers do not know MIG.
            with contextlib.suppress(NvmlError):
                call("nvmlDeviceGetMemoryInfo", device, ctypes.byref(memory))
            with contextlib.suppress(NvmlError, AttributeError):
                call("nvmlDeviceGetMigMode", device, ctypes.byref(mode), ctypes.byref(pending))
            cards.append(
                {
                    "index": index,
                    "name": name,
                    "uuid": uuid,
                    "bus": "",
                    "memory": {"total": memory.total, "used": memory.used, "free": memory.free},
                    "capability": [major.value, minor.value],
                    "mig": mode.value == 1,
                    "instances": [],
                    "persistence": None,
                    "compute_mode": "",
                    "ecc": {"enabled": False, "uncorrectable": 0, "pending": False, "failure": False},
                    "recovery": "",
                    "fabric": "",
                    "licence": "",
                }
            )
        return {
            "driver": text("nvmlSystemGetDriverVersion"),
            "cuda": [cuda.value // 1000, cuda.value % 1000 // 10] if cuda.value else [],
            "cards": cards,
            "processes": [],
            "messages": messages,
        }
    finally:
        library.nvmlShutdown()


def ask_nvml(timeout: float, library: str = _NVML, ask: Callable[[Any], Json] = nvml) -> Json | None:
    """Call :func:`nvml` in a separate process. Return None if the library does not exist.

    Return only ``{"messages": [...]}`` if it refuses, and ``{"hung": True}`` after ``timeout`` seconds.
    """
    receive, send = os.pipe()
    child = os.fork()
    if child == 0:  # pragma: no cover - seen by its answer alone
        answer: Any = None
        try:
            # This process may hang, and Ansible waits until these are closed.
            null = os.open(os.devnull, os.O_RDWR)
            for descriptor in (0, 1, 2):
                os.dup2(null, descriptor)
            os.close(receive)
            try:
                answer = ask(ctypes.CDLL(library))
            except NvmlError as error:
                answer = {"messages": [str(error)]}
            except (OSError, AttributeError):
                answer = None
            os.write(send, json.dumps(answer).encode())
        finally:
            os._exit(0)
    os.close(send)
    data, end = b"", time.monotonic() + timeout
    try:
        while select.select([receive], [], [], max(0.0, end - time.monotonic()))[0]:
            piece = os.read(receive, 65536)
            if not piece:
                os.waitpid(child, 0)
                answered: Json | None = json.loads(data) if data else None
                return answered
            data += piece
    finally:
        os.close(receive)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, os.WNOHANG)
    return {"hung": True}


def nodes(dev: str = "/dev") -> list[str]:
    """Device nodes of NVIDIA's driver, including those of MIG instances."""
    found = [*glob.glob(os.path.join(dev, "nvidia*")), *glob.glob(os.path.join(dev, "nvidia-caps/nvidia-cap*"))]
    return sorted(path for path in found if not os.path.isdir(path))


def modules(sys: str = "/sys") -> list[str]:
    """The GPU drivers that the kernel has loaded."""
    return [name for name in _MODULES if os.path.isdir(os.path.join(sys, "module", name))]


def gather(
    runner: Runner = run,
    sys: str = "/sys",
    dev: str = "/dev",
    root: str = "/",
    smi: str | None = None,
    ask: Callable[[float], Json | None] = ask_nvml,
    seconds: float = SECONDS,
) -> Json:
    """All facts about a host's GPUs, JSON-ready, with sizes in bytes. Without a GPU, it calls no program.

    ``vendor`` is ``nvidia`` if the host has a GPU or a driver, else ``amd`` or ``none``. ``cards`` have nvidia-smi's
    indexes, in the order of the PCI bus. ``seconds`` limits everything that may hang.
    """
    on_bus = pci(sys)
    smi = smi if smi is not None else shutil.which("nvidia-smi") or ""
    loaded = modules(sys)
    facts: Json = {
        "vendor": "none",
        "pci": on_bus,
        "modules": loaded,
        "kernel": _read(os.path.join(sys, "module/nvidia/version")),
        "nodes": nodes(dev),
        "container": container(root),
        "source": "",
        "driver": "",
        "cuda": [],
        "cards": [],
        "processes": [],
        "messages": [],
        "hung": False,
    }
    ours = any(card["vendor"] == "nvidia" for card in on_bus)
    if not (ours or smi or "nvidia" in loaded):
        facts["vendor"] = "amd" if on_bus else "none"
        return facts
    end = time.monotonic() + seconds
    if smi:
        _ask_smi(facts, runner, smi, end)
    if not facts["hung"] and not (facts["cards"] and facts["cuda"] and all(c["capability"] for c in facts["cards"])):
        _merge(facts, ask(max(1.0, end - time.monotonic())))
    # nvidia-smi alone proves no GPU: its package may be installed everywhere.
    seen = ours or facts["cards"] or facts["hung"] or "nvidia" in loaded
    facts["vendor"] = "nvidia" if seen else "amd" if on_bus else "none"
    return facts


def _ask_smi(facts: Json, runner: Runner, smi: str, end: float) -> None:
    """Add what nvidia-smi reports."""
    status, output = runner([smi, "-q", "-x"], max(1.0, end - time.monotonic()))
    if status == HUNG:
        facts["hung"] = True
        return
    try:
        facts.update(parse_xml(output), source="nvidia-smi")
    except ValueError as error:
        facts["messages"] = complaints(output) or [f"{error} (status {status})"]
        return
    status, output = runner(
        [smi, "--query-gpu=index,compute_cap", "--format=csv,noheader"], max(1.0, end - time.monotonic())
    )
    # Drivers before R470 refuse this field.
    known = parse_capabilities(output) if status == 0 else {}
    for card in facts["cards"]:
        card["capability"] = known.get(card["index"], [])


def _merge(facts: Json, answer: Json | None) -> None:
    """Fill gaps with what NVML reports."""
    if answer is None:
        return
    if answer.get("hung"):
        facts["hung"] = True
        return
    facts["messages"] += [line for line in answer["messages"] if line not in facts["messages"]]
    if "cards" not in answer:
        return
    if not facts["source"]:
        facts.update({name: answer[name] for name in ("driver", "cuda", "cards", "processes")}, source="nvml")
        return
    facts["cuda"] = facts["cuda"] or answer["cuda"]
    by_uuid = {card["uuid"]: card for card in answer["cards"]}
    for card in facts["cards"]:
        other = by_uuid.get(card["uuid"])
        if other is not None and not card["capability"]:
            card["capability"] = other["capability"]
