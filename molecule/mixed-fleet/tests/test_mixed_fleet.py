# SPDX-License-Identifier: GPL-3.0-or-later
"""One store, three kinds of hosts. The GPU is simulated: the tests show the decision and its consequences."""

from __future__ import annotations

import json
import os
import re

import pytest
import testinfra
from deployed import UNIT, Speaker
from deploys import current, deploy as play, folded, succeed
from testinfra.host import Host

INVENTORY = os.environ["MOLECULE_INVENTORY_FILE"]
CPU, CARD, OLD = "vf-mixed-cpu", "vf-mixed-card", "vf-mixed-old"


def on(name: str) -> Host:
    return testinfra.get_host(f"ansible://{name}", ansible_inventory=INVENTORY)


def release(name: str) -> dict[str, object]:
    there = on(name)
    found: dict[str, object] = json.loads(
        there.file(f"/opt/voicefleet/releases/{current(there)}/release.json").content_string
    )
    return found


def unit(name: str) -> str:
    return on(name).file(f"/etc/systemd/system/{UNIT}").content_string


def test_each_host_got_the_release_of_its_kind_in_one_run() -> None:
    assert release(CPU)["profile"] == "cpu-py311-x86_64"
    assert release(CARD)["profile"] == "cuda-py311-x86_64"
    assert release(CPU)["id"] != release(CARD)["id"]


@pytest.mark.parametrize("name", [CPU, CARD])
def test_it_speaks(name: str) -> None:
    assert Speaker(on(name)).ask().status == 200


def test_only_the_service_with_a_gpu_release_may_use_gpu_devices() -> None:
    assert "DeviceAllow=char-nvidia* rwm" in unit(CARD)
    assert "CUDA_DEVICE_ORDER=PCI_BUS_ID" in unit(CARD)
    assert "PrivateDevices=true" in unit(CPU)
    assert "nvidia" not in unit(CPU)


@pytest.mark.parametrize("name", [CPU, CARD])
def test_the_unit_stays_closed(name: str) -> None:
    said = on(name).check_output("systemd-analyze security --no-pager %s", UNIT)
    score = re.search(r"Overall exposure level for .*: ([\d.]+)", said)
    assert score is not None
    assert float(score[1]) <= 2.0


def test_a_run_over_all_hosts_changes_no_serving_host_and_refuses_the_old_driver() -> None:
    status, said = play()
    assert status == 2
    assert "vf-mixed-old cannot be deployed, nothing was changed" in said
    assert "550.163.01, which runs CUDA 12.4 at most" in said
    assert "is built for CUDA 13.0 and needs driver 580 or newer" in said
    assert "or use the CPU with the store's profile cpu-py311-x86_64: preflight_accelerator: cpu" in said
    recap = said[said.index("PLAY RECAP") :]
    for name in (CPU, CARD):
        assert re.search(rf"{name} : ok=\d+ changed=0 unreachable=0 failed=0", recap), recap
    assert not on(OLD).file("/opt/voicefleet").exists


def test_a_host_with_an_old_driver_may_use_the_cpu() -> None:
    said = succeed("--limit", OLD, "-e", "preflight_accelerator=cpu", play="plan")
    assert "(cpu-py311-x86_64): to be built" in said
    assert "WARN" not in said


def test_cuda_is_refused_on_a_host_without_a_gpu() -> None:
    status, said = play("--limit", CPU, "-e", "preflight_accelerator=cuda", play="plan")
    assert status == 2
    assert "it has no GPU, and no NVIDIA GPU is visible" in folded(said)


def test_the_doctor_reports_the_drivers() -> None:
    _status, said = play("-e", "doctor_speak=false", play="doctor.yml")
    assert re.search(rf"FAIL {OLD} +RELEASE", said), said
    assert re.search(rf"OK +{CARD} +GPU_DRIVER", said), said
    assert not re.search(rf"{CPU} +GPU_", said), said
