# SPDX-License-Identifier: GPL-3.0-or-later
"""The unit and the launch that the role xinference makes from a plan, with and without GPUs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template
from ansible_collections.voicefleet.kokoro.plugins.module_utils.release import plan
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.fleet import service
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.image import unit as container
from ansible_collections.voicefleet.kokoro.tests.unit.plugins.module_utils.recorded_gpu import Smi, host, recorded
from ansible_collections.voicefleet.kokoro.tests.unit.plugins.plugin_utils.fleet import test_gpu, test_preflight

pytestmark = pytest.mark.usefixtures("ansible_plugins")

ROLE = Path(__file__).resolve().parents[3] / "roles" / "xinference"
TEMPLATE = ROLE / "templates" / "voicefleet-xinference.service.j2"


class Rendered:
    """The role's unit and launch for a plan and an inventory's variables."""

    def __init__(self, plan: Mapping[str, Any], **inventory: Any) -> None:
        loader = DataLoader()
        values: dict[str, Any] = {}
        for role in (ROLE.parent / "settings", ROLE):
            for file in ("defaults/main.yml", "vars/main.yml"):
                values.update(loader.load_from_file(str(role / file), trusted_as_template=True))
        setup = {"cores": 8, "environment_file": "/etc/voicefleet/xinference.env"}
        values.update(inventory, voicefleet_plan=plan, __xinference_setup=setup)
        values["voicefleet_service"] = service.whole(values, "speaker").as_dict()
        templar = Templar(loader=loader, variables=values)
        self.unit = str(
            templar.template(trust_as_template(f"{{{{ lookup('ansible.builtin.template', '{TEMPLATE}') }}}}"))
        )
        self.launch = templar.template(trust_as_template("{{ __xinference_launch }}"))

    def settings(self, name: str) -> list[str]:
        """Return the values of a directive, in order."""
        return [line.split("=", 1)[1] for line in self.unit.splitlines() if line.startswith(f"{name}=")]

    @property
    def environment(self) -> dict[str, str]:
        return dict(value.strip('"').split("=", 1) for value in self.settings("Environment"))


def planned(tmp_path: Path, ask: Any = None, **changes: Any) -> dict[str, Any]:
    """Return the plan of a host with two L40S."""
    verdict = test_preflight.judge(test_gpu.BOTH, ask, gpu=test_gpu.good(tmp_path, **changes))
    assert verdict.failures == []
    return verdict.plan


def test_without_gpus_the_service_sees_no_device() -> None:
    unit = Rendered(test_preflight.judge(test_gpu.BOTH).plan)
    assert unit.settings("PrivateDevices") == ["true"]
    assert unit.settings("DevicePolicy") == ["closed"]
    assert unit.settings("DeviceAllow") == []
    assert not [name for name in unit.environment if name.startswith("CUDA")]
    assert "nvidia" not in unit.unit
    assert "device" not in unit.launch


def test_in_a_container_the_engine_chooses_the_gpus() -> None:
    plan = {**test_preflight.judge(test_gpu.BOTH).plan, "accelerator": "cuda"}
    unit = Rendered(plan, xinference_cards=[], __xinference_filter_state={"filtered": False})
    found = container.read(unit.unit)
    assert found.command[0].endswith("/env/bin/xinference-local")
    assert found.environment["CUDA_DEVICE_ORDER"] == "PCI_BUS_ID"
    assert "CUDA_VISIBLE_DEVICES" not in found.environment
    assert unit.launch["device"] == "cuda"


def test_with_gpus_the_service_sees_only_their_devices(tmp_path: Path) -> None:
    unit = Rendered(planned(tmp_path))
    assert unit.settings("PrivateDevices") == ["false"]
    assert unit.settings("DevicePolicy") == ["closed"]
    assert unit.settings("DeviceAllow") == ["char-nvidia* rwm"]
    assert unit.environment["CUDA_DEVICE_ORDER"] == "PCI_BUS_ID"
    assert "CUDA_VISIBLE_DEVICES" not in unit.environment
    assert "modprobe@nvidia_uvm.service" in unit.settings("Wants")[-1]
    assert "nvidia-persistenced.service" in unit.settings("After")[-1]
    prepared = [value for value in unit.settings("ExecStartPre") if "nvidia-modprobe" in value]
    assert prepared == ["+-/usr/bin/nvidia-modprobe -c 0", "+-/usr/bin/nvidia-modprobe -u -c 0"]
    # The rest of the hardening is the same as without GPUs.
    assert unit.settings("CapabilityBoundingSet") == [""]
    assert unit.settings("NoNewPrivileges") == ["true"]


def test_a_model_for_gpus_never_falls_back_to_the_cpu(tmp_path: Path) -> None:
    launch = Rendered(planned(tmp_path, test_preflight.wanted(replicas=2)), xinference_replicas=2).launch
    assert launch["device"] == "cuda"
    assert launch["replica"] == 2
    # Xinference spreads replicas over the GPUs that it sees. The operator may name a GPU for each.
    assert "gpu_idx" not in launch
    named = Rendered(planned(tmp_path / "b"), xinference_replicas=2, xinference_launch_options={"gpu_idx": [0, 1]})
    assert named.launch["gpu_idx"] == [0, 1]


def test_an_unusable_gpu_is_hidden(tmp_path: Path) -> None:
    facts = test_gpu.good(tmp_path)
    facts["cards"][0]["capability"] = [6, 1]
    plan = test_preflight.judge(test_gpu.BOTH, gpu=facts).plan
    unit = Rendered(plan)
    assert unit.environment["CUDA_VISIBLE_DEVICES"] == "1"
    assert "+-/usr/bin/nvidia-modprobe -c 1" in unit.settings("ExecStartPre")


def test_named_gpus_keep_their_order(tmp_path: Path) -> None:
    plan = planned(tmp_path, test_preflight.wanted(cards=[1, 0]))
    assert Rendered(plan).environment["CUDA_VISIBLE_DEVICES"] == "1,0"


def test_a_mig_gpu_is_not_named_to_xinference(tmp_path: Path) -> None:
    text = recorded("r535-a100-mig").replace("535.104.05", "580.95.05").replace("12.2<", "13.0<")
    facts = host(tmp_path, Smi(text, capabilities="0, 8.0\n"), [("0000:01:00.0", "nvidia")], modules=["nvidia"])
    unit = Rendered(test_preflight.judge(test_gpu.BOTH, gpu=facts).plan)
    assert "CUDA_VISIBLE_DEVICES" not in unit.environment
    assert unit.settings("DeviceAllow") == ["char-nvidia* rwm"]  # includes nvidia-caps


def test_devices_can_be_named(tmp_path: Path) -> None:
    nodes = ["/dev/nvidia1", "/dev/nvidiactl", "/dev/nvidia-uvm"]
    assert Rendered(planned(tmp_path), xinference_devices=nodes).settings("DeviceAllow") == [f"{n} rwm" for n in nodes]


@pytest.mark.parametrize(
    ("profile", "device"), [("cuda-py311-x86_64", "cuda"), ("cpu-py311-x86_64", None), (None, None)]
)
def test_a_restored_release_keeps_its_accelerator(tmp_path: Path, profile: str | None, device: str | None) -> None:
    """After a failed upgrade, the former release is put into the plan."""
    former = plan.former("/r", {"id": "r", "profile": profile, "model": {"name": "K"}, "languages": ["a"]})
    unit = Rendered({**planned(tmp_path), **asdict(former)})
    assert unit.launch.get("device") == device
    assert unit.settings("PrivateDevices") == ["false" if device else "true"]


def test_openais_names_are_given_unless_they_are_switched_off() -> None:
    plan = test_preflight.judge(test_gpu.BOTH).plan
    given = {"xinference_model_names": ["tts-1"], "xinference_voice_names": {"alloy": "af_alloy", "echo": "am_echo"}}
    names = Rendered(plan, **given).environment
    assert names["VOICEFLEET_MODEL_NAMES"] == "tts-1"
    assert names["VOICEFLEET_VOICE_NAMES"] == "alloy=af_alloy,echo=am_echo"
    assert "whisper-1" in names["VOICEFLEET_HEARING_NAMES"]
    off = Rendered(plan, **given, xinference_openai_names=False).environment
    assert [name for name in off if name.endswith("_NAMES")] == []
    assert off["VOICEFLEET_MODEL"] == names["VOICEFLEET_MODEL"] == "kokoro"
