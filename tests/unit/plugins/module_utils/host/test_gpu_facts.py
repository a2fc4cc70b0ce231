# SPDX-License-Identifier: GPL-3.0-or-later
"""GPU facts from recorded output of several driver generations, from broken hosts, and from this machine."""

from __future__ import annotations

import ctypes
import json
import os
import stat
import time
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.voicefleet.kokoro.plugins.module_utils.host import gpu_facts
from ansible_collections.voicefleet.kokoro.tests.unit.plugins.module_utils.recorded_gpu import (
    MESSAGES,
    Smi,
    host,
    recorded,
)

GIB = 1 << 30


def test_a_driver_of_2020_lacks_some_fields() -> None:
    facts = gpu_facts.parse_xml(recorded("r418-t4"))
    assert (facts["driver"], facts["cuda"]) == ("418.126.02", [10, 1])
    [card] = facts["cards"]
    assert (card["name"], card["bus"]) == ("Tesla T4", "00000000:3B:00.0")
    assert card["memory"]["total"] == 15079 << 20
    assert card["mig"] is False
    assert card["persistence"] is False
    assert card["ecc"] == {"enabled": True, "uncorrectable": 2, "pending": True, "failure": False}


def test_a_gpu_with_mig_lists_its_instances() -> None:
    [card] = gpu_facts.parse_xml(recorded("r535-a100-mig"))["cards"]
    assert card["mig"] is True
    assert [row["memory"]["total"] >> 20 for row in card["instances"]] == [19968, 19968]


def test_two_gpus_are_read_with_their_processes() -> None:
    facts = gpu_facts.parse_xml(recorded("r580-2x-l40s"))
    assert (facts["driver"], facts["cuda"]) == ("580.95.05", [13, 0])
    assert [card["index"] for card in facts["cards"]] == [0, 1]
    assert facts["processes"] == [
        {"pid": 4242, "name": "Model: kokoro-rep0", "type": "C", "memory": 1834 << 20, "card": 0}
    ]
    assert facts["messages"] == []


def test_memory_errors_and_the_requested_recovery_are_read() -> None:
    [card] = gpu_facts.parse_xml(recorded("r590-ecc"))["cards"]
    assert card["ecc"] == {"enabled": True, "uncorrectable": 3, "pending": True, "failure": True}
    assert card["recovery"] == "Reboot"


def test_the_fabric_and_the_licence_of_a_virtual_gpu_are_read() -> None:
    more = (
        "<fabric><state>In Progress</state><status>N/A</status></fabric>"
        "<vgpu_software_licensed_product><license_status>Unlicensed (Restricted)</license_status>"
        "</vgpu_software_licensed_product></gpu>"
    )
    [card] = gpu_facts.parse_xml(recorded("r550-l4").replace("</gpu>", more, 1))["cards"]
    assert (card["fabric"], card["licence"]) == ("In Progress", "Unlicensed (Restricted)")
    done = more.replace("In Progress", "Completed").replace("N/A", "Success").replace("vgpu_software", "grid")
    [card] = gpu_facts.parse_xml(recorded("r550-l4").replace("</gpu>", done, 1))["cards"]
    assert (card["fabric"], card["licence"]) == ("Completed, Success", "Unlicensed (Restricted)")
    [card] = gpu_facts.parse_xml(recorded("r550-l4"))["cards"]
    assert (card["fabric"], card["licence"]) == ("", "")


def test_messages_outside_the_xml_are_kept() -> None:
    lost = MESSAGES["lost"][1]
    facts = gpu_facts.parse_xml(lost + recorded("r580-2x-l40s"))
    assert facts["messages"] == [lost.strip()]
    assert len(facts["cards"]) == 2


@pytest.mark.parametrize("text", ["", "No devices were found\n", "<nvidia_smi_log><gpu></nvidia_smi_log>"])
def test_output_without_xml_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="nvidia-smi"):
        gpu_facts.parse_xml(text)


def test_capabilities_are_read_and_other_lines_are_ignored() -> None:
    assert gpu_facts.parse_capabilities("0, 8.9\n1, 12.0\n2, [N/A]\n") == {0: [8, 9], 1: [12, 0]}
    assert gpu_facts.parse_capabilities(MESSAGES["field"][1]) == {}


def test_a_host_without_a_gpu_calls_no_program(tmp_path: Path) -> None:
    def asked(seconds: float) -> Any:
        raise AssertionError("nothing was to be asked")

    facts = host(tmp_path, ask=asked)
    assert facts["vendor"] == "none"
    assert facts["cards"] == []


def test_an_amd_gpu_is_recognised(tmp_path: Path) -> None:
    folder = tmp_path / "sys/bus/pci/devices/0000:c3:00.0"
    folder.mkdir(parents=True)
    for name, text in (("vendor", "0x1002"), ("class", "0x038000"), ("device", "0x74a1")):
        (folder / name).write_text(f"{text}\n")
    facts = host(tmp_path)
    assert facts["vendor"] == "amd"
    assert facts["pci"][0]["device"] == "0x74a1"


def test_a_sound_device_is_not_a_gpu(tmp_path: Path) -> None:
    folder = tmp_path / "sys/bus/pci/devices/0000:17:00.1"
    folder.mkdir(parents=True)
    (folder / "vendor").write_text("0x10de\n")
    (folder / "class").write_text("0x040300\n")
    assert host(tmp_path)["vendor"] == "none"


def test_the_gpus_of_a_healthy_host_are_read(tmp_path: Path) -> None:
    facts = host(
        tmp_path,
        Smi(recorded("r580-2x-l40s")),
        [("0000:17:00.0", "nvidia"), ("0000:65:00.0", "nvidia")],
        modules=["nvidia", "nvidia_uvm"],
        nodes=["nvidia0", "nvidia1", "nvidiactl", "nvidia-uvm", "nvidia-caps/nvidia-cap1"],
    )
    assert (facts["vendor"], facts["source"], facts["kernel"]) == ("nvidia", "nvidia-smi", "580.95.05")
    assert [card["capability"] for card in facts["cards"]] == [[8, 9], [8, 9]]
    assert [row["driver"] for row in facts["pci"]] == ["nvidia", "nvidia"]
    assert [os.path.basename(node) for node in facts["nodes"]] == [
        "nvidia-cap1", "nvidia-uvm", "nvidia0", "nvidia1", "nvidiactl"
    ]  # fmt: skip


def test_nvml_fills_the_gaps_of_an_old_nvidia_smi(tmp_path: Path) -> None:
    answer = {
        "driver": "418.126.02",
        "cuda": [10, 1],
        "cards": [{"uuid": "GPU-4a7e7d2c-0b1e-4c55-9f0e-5d1c2f6f9a01", "capability": [7, 5]}],
        "processes": [],
        "messages": [],
    }
    facts = host(tmp_path, Smi(recorded("r418-t4"), capabilities=None), ask=lambda seconds: answer)
    assert facts["cards"][0]["capability"] == [7, 5]
    assert facts["cards"][0]["name"] == "Tesla T4"


@pytest.mark.parametrize("message", ["mismatch", "not_loaded", "lost", "unknown", "denied", "none"])
def test_the_messages_of_a_failed_driver_are_kept(tmp_path: Path, message: str) -> None:
    status, text = MESSAGES[message]
    facts = host(tmp_path, Smi(text, status), [("0000:17:00.0", "nvidia")])
    assert facts["vendor"] == "nvidia"
    assert facts["cards"] == []
    assert facts["messages"][0] == text.splitlines()[0].strip()


def test_nvidia_smi_alone_is_not_a_gpu(tmp_path: Path) -> None:
    status, text = MESSAGES["not_loaded"]
    assert host(tmp_path, Smi(text, status))["vendor"] == "none"


def test_a_container_sees_the_pci_bus_but_has_no_device_node(tmp_path: Path) -> None:
    facts = host(tmp_path, None, [("0000:17:00.0", "nvidia")], container="docker")
    assert (facts["container"], facts["nodes"]) == ("docker", [])


def hanging(folder: Path) -> str:
    """A program that never answers."""
    program = folder / "nvidia-smi"
    program.write_text("#!/bin/sh\nexec sleep 600\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return str(program)


def test_a_hung_driver_is_abandoned(tmp_path: Path) -> None:
    begun = time.monotonic()
    facts = gpu_facts.gather(sys=str(tmp_path), dev=str(tmp_path), root=str(tmp_path), smi=hanging(tmp_path), seconds=1)
    assert facts["hung"] is True
    assert facts["vendor"] == "nvidia"
    assert time.monotonic() - begun < 20


def test_a_missing_program_is_reported(tmp_path: Path) -> None:
    status, output = gpu_facts.run([str(tmp_path / "nvidia-smi")], 5)
    assert status == 127
    assert "No such file" in output


class Library:
    """A stand-in for NVML with one card, as ctypes calls it. ``refused`` gives the calls that fail and their status."""

    def __init__(self, **refused: int) -> None:
        self.refused = refused

        def words(status: int) -> bytes:
            return {18: b"Driver/library version mismatch", 3: b"Not Supported", 15: b"GPU is lost"}[status]

        self.nvmlErrorString = words

    def __getattr__(self, name: str) -> Any:
        def call(*arguments: Any) -> int:
            if name in self.refused:
                return self.refused[name]
            texts = {
                "nvmlSystemGetDriverVersion": b"580.95.05",
                "nvmlDeviceGetName": b"NVIDIA L40S",
                "nvmlDeviceGetUUID": b"GPU-1",
            }
            numbers = {
                "nvmlSystemGetCudaDriverVersion": [13000],
                "nvmlDeviceGetCount_v2": [1],
                "nvmlDeviceGetCudaComputeCapability": [8, 9],
                "nvmlDeviceGetMigMode": [0, 0],
            }
            if name in texts:
                next(a for a in arguments if isinstance(a, ctypes.Array)).value = texts[name]
            for argument, number in zip(arguments[-len(numbers.get(name, ())) :], numbers.get(name, ()), strict=False):
                argument._obj.value = number
            if name == "nvmlDeviceGetMemoryInfo":
                arguments[1]._obj.total, arguments[1]._obj.free = 48 * GIB, 47 * GIB
            return 0

        return call


def test_nvml_alone_reports_the_gpu() -> None:
    facts = gpu_facts.nvml(Library(nvmlDeviceGetMigMode=3))
    assert (facts["driver"], facts["cuda"]) == ("580.95.05", [13, 0])
    [card] = facts["cards"]
    assert (card["name"], card["uuid"], card["capability"], card["mig"]) == ("NVIDIA L40S", "GPU-1", [8, 9], False)
    assert card["memory"] == {"total": 48 * GIB, "used": 0, "free": 47 * GIB}


def test_nvml_reports_a_lost_gpu_and_reads_the_others() -> None:
    facts = gpu_facts.nvml(Library(nvmlDeviceGetHandleByIndex_v2=15))
    assert facts["cards"] == []
    assert facts["messages"] == ["card 0: nvmlDeviceGetHandleByIndex_v2: GPU is lost (15)"]


def test_nvml_reports_why_it_refuses() -> None:
    with pytest.raises(gpu_facts.NvmlError, match="Driver/library version mismatch"):
        gpu_facts.nvml(Library(nvmlInit_v2=18))


def test_nvml_is_called_in_a_separate_process() -> None:
    def refuse(library: Any) -> Any:
        raise gpu_facts.NvmlError("nvmlInit_v2: Driver Not Loaded (9)")

    def hang(library: Any) -> Any:
        time.sleep(600)

    libc = "libc.so.6"
    assert gpu_facts.ask_nvml(20, libc, lambda library: {"asked": os.getpid()}) != {"asked": os.getpid()}
    assert gpu_facts.ask_nvml(20, libc, refuse) == {"messages": ["nvmlInit_v2: Driver Not Loaded (9)"]}
    assert gpu_facts.ask_nvml(0.5, libc, hang) == {"hung": True}
    assert gpu_facts.ask_nvml(20, "libthere-is-none.so.1") is None


def test_this_machine_can_be_read() -> None:
    facts = json.loads(json.dumps(gpu_facts.gather(seconds=30)))
    assert facts["vendor"] in ("none", "amd", "nvidia")
