# SPDX-License-Identifier: GPL-3.0-or-later
"""Which hosts compute on their GPUs, decided from recorded facts before anything is sent."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.voicefleet.kokoro.plugins.module_utils.host import gpu_facts
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.fleet import cluster, gpu, preflight
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.store import locks
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.store.manifest import Manifest
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.store.profiles import best_tag, known_profiles
from ansible_collections.voicefleet.kokoro.tests.unit.plugins.module_utils.recorded_gpu import (
    MESSAGES,
    NO_CARD,
    Smi,
    host,
    recorded,
)
from ansible_collections.voicefleet.kokoro.tests.unit.plugins.plugin_utils.fleet.test_preflight import (
    MANIFEST,
    PORTS,
    PROFILE,
    UPGRADE,
    artifact,
    judge,
    wanted,
)

LOCKS = Path(__file__).parents[5] / "roles/artifact_store/files/locks"
CUDA = "cuda-py311-x86_64"
TORCH = next(torch for torch, _cuda, _architecture in gpu.BUILT_FOR)
L40S = ("0000:17:00.0", "0000:65:00.0")


def store(*profiles: str) -> Manifest:
    """A store with some of the two profiles."""
    rows = [row for row in MANIFEST.artifacts if not row.profiles]
    for profile in profiles:
        rows.append(artifact(f"locks/pylock.{profile}.toml", "lock", profile, profiles=(profile,)))
        rows.append(artifact("wheels/xinference.whl", "wheel", "xinference", version="1.2.3", profiles=profiles))
        torch = TORCH if profile == CUDA else f"{TORCH}+cpu"
        rows.append(artifact(f"wheels/torch-{torch}.whl", "wheel", "torch", version=torch, profiles=(profile,)))
    if CUDA in profiles:
        runtime = "nvidia-cuda-runtime"
        rows.append(artifact("wheels/runtime.whl", "wheel", runtime, version="13.0.96", profiles=(CUDA,)))
    return Manifest(tuple({row.path: row for row in rows}.values()), profiles)


BOTH = store(PROFILE, CUDA)
BUILD = gpu.Build(TORCH, (13, 0), "x86_64")


def good(tmp_path: Path, **changes: Any) -> dict[str, Any]:
    facts = host(tmp_path, Smi(recorded("r580-2x-l40s")), [(a, "nvidia") for a in L40S], modules=["nvidia"])
    return {**facts, **changes}


def old(tmp_path: Path) -> dict[str, Any]:
    smi = Smi(recorded("r550-l4"), capabilities="0, 8.9\n")
    return host(tmp_path, smi, [("0000:17:00.0", "nvidia")], modules=["nvidia"])


def codes(verdict: preflight.Verdict) -> list[tuple[str, str]]:
    return [(finding.level, finding.code) for finding in verdict.findings]


# --- the decision


def test_each_host_of_a_mixed_fleet_gets_its_profile(tmp_path: Path) -> None:
    without, with_card = judge(BOTH), judge(BOTH, gpu=good(tmp_path))
    assert (without.plan["profile"], without.findings) == (PROFILE, [])
    assert (with_card.plan["profile"], with_card.findings) == (CUDA, [])
    assert with_card.plan["cards"] == []
    assert without.plan["release"]["id"] != with_card.plan["release"]["id"]


def test_an_old_driver_is_reported_with_the_needed_one_and_the_fitting_profile(tmp_path: Path) -> None:
    verdict = judge(BOTH, gpu=old(tmp_path))
    [finding] = verdict.failures
    assert finding.code == "GPU_DRIVER"
    assert "550.163.01, which runs CUDA 12.4 at most" in finding.cause
    assert "CUDA 13.0 and needs driver 580 or newer" in finding.cause
    assert f"the store's profile {PROFILE}: preflight_accelerator: cpu" in finding.remedy


def test_a_store_without_a_cpu_profile_says_what_to_fetch(tmp_path: Path) -> None:
    [finding] = judge(store(CUDA), gpu=old(tmp_path)).failures
    assert "also fetch a cpu profile" in finding.remedy


def test_a_host_with_accelerator_cpu_gets_no_warning_about_its_gpu(tmp_path: Path) -> None:
    verdict = judge(BOTH, wanted(accelerator="cpu"), gpu=old(tmp_path))
    assert (verdict.plan["profile"], verdict.findings) == (PROFILE, [])


def test_a_gpu_without_a_cuda_profile_is_a_warning(tmp_path: Path) -> None:
    verdict = judge(MANIFEST, gpu=good(tmp_path))
    assert codes(verdict) == [("WARN", "ACCELERATOR")]
    assert "2 x NVIDIA L40S, driver 580.95.05, CUDA 13.0" in verdict.findings[0].cause
    assert verdict.plan["profile"] == PROFILE
    # A container sees its machine's GPUs on the bus, but has access to none.
    inside = host(tmp_path / "c", None, [("0000:17:00.0", "nvidia")], container="docker", modules=["nvidia"])
    assert judge(MANIFEST, gpu=inside).findings == []


@pytest.mark.parametrize(
    ("profiles", "ask", "said"),
    [
        ((CUDA,), "auto", "no cpu profile; the host has no GPU"),
        ((CUDA,), "cpu", "no cpu profile"),
        ((PROFILE,), "cuda", "no cuda profile"),
    ],
)
def test_a_missing_profile_is_reported(profiles: tuple[str, ...], ask: str, said: str) -> None:
    [finding] = judge(store(*profiles), wanted(accelerator=ask)).failures
    assert finding.code == "ACCELERATOR"
    assert said in finding.cause
    assert "artifact_store_profiles" in finding.remedy


def test_cuda_is_refused_on_a_host_without_a_gpu() -> None:
    [finding] = judge(BOTH, wanted(accelerator="cuda")).failures
    assert finding.code == "GPU_CARD"
    assert "no NVIDIA GPU is visible" in finding.cause


def test_an_amd_accelerator_is_reported_and_a_gpu_for_the_screen_is_not() -> None:
    def amd(kind: str) -> dict[str, Any]:
        card = {"address": "0000:c3:00.0", "vendor": "amd", "device": "0x74a1", "class": kind, "driver": "amdgpu"}
        return {**NO_CARD, "vendor": "amd", "pci": [card]}

    assert codes(judge(BOTH, gpu=amd("0x120000"))) == [("WARN", "ACCELERATOR")]
    assert codes(judge(BOTH, gpu=amd("0x038000"))) == [("WARN", "ACCELERATOR")]
    assert codes(judge(BOTH, gpu=amd("0x030000"))) == []


def test_the_supervisor_of_a_cluster_needs_no_gpu() -> None:
    s, w = (cluster.Member(name, f"10.0.0.1{i}", PORTS) for i, name in enumerate("sw"))
    ask = wanted(host="s", cluster=cluster.Cluster(s, (w,)), accelerator="cuda")
    assert [f for f in judge(BOTH, ask).findings if f.code.startswith("GPU")] == []


def test_the_python_is_that_of_the_accelerators_own_profile(tmp_path: Path) -> None:
    manifest = store("cpu-py312-x86_64", CUDA)
    found = judge(manifest, pythons=[{"path": "/usr/bin/python3.11", "version": "3.11.2"}])
    assert [finding.code for finding in found.failures] == ["PYTHON"]
    assert "the store's profiles need 3.12" in found.failures[0].cause
    assert judge(manifest, gpu=good(tmp_path)).plan["profile"] == CUDA


# --- what is broken


@pytest.mark.parametrize(
    ("message", "said"),
    [
        ("mismatch", "but the old kernel module is still loaded"),
        ("not_loaded", "kernel module is not loaded"),
        ("lost", "no longer answers on the bus"),
        ("unknown", "device nodes cannot be opened"),
        ("denied", "device nodes cannot be opened"),
        ("none", "finds no GPU that it can use"),
    ],
)
def test_a_failed_driver_is_reported_with_its_own_message(tmp_path: Path, message: str, said: str) -> None:
    status, text = MESSAGES[message]
    facts = host(tmp_path, Smi(text, status), [("0000:17:00.0", "nvidia")], modules=["nvidia"])
    [finding] = judge(BOTH, gpu=facts).failures
    assert finding.code == "GPU_DRIVER"
    assert text.splitlines()[0].strip() in finding.cause
    assert said in finding.cause
    assert "preflight_accelerator: cpu" in finding.remedy


def test_a_host_without_a_driver_is_refused(tmp_path: Path) -> None:
    card = "0000:17:00.0"
    rows = {
        "nouveau": host(tmp_path / "a", None, [(card, "nouveau")], modules=["nouveau"]),
        "the GPU has no driver": host(tmp_path / "b", None, [(card, "")]),
        "has no driver but vfio-pci": host(tmp_path / "c", None, [(card, "vfio-pci")]),
        "neither nvidia-smi nor libnvidia-ml": host(tmp_path / "d", None, [(card, "nvidia")], modules=["nvidia"]),
        "does not answer": host(tmp_path / "e", None, [(card, "nvidia")], ask=lambda seconds: {"hung": True}),
    }
    for said, facts in rows.items():
        [finding] = judge(BOTH, gpu=facts).failures
        assert (finding.code, said in finding.cause) == ("GPU_DRIVER", True), finding
    inside = host(tmp_path / "f", None, [(card, "nvidia")], container="docker", modules=["nvidia"])
    [finding] = judge(BOTH, gpu=inside).failures
    assert (finding.code, "container (docker)" in finding.cause) == ("GPU_NODES", True)


def test_memory_errors_of_a_gpu_are_reported(tmp_path: Path) -> None:
    facts = host(tmp_path, Smi(recorded("r590-ecc")), [("0000:17:00.0", "nvidia")], modules=["nvidia"])
    verdict = judge(BOTH, gpu=facts)
    causes = " ".join(finding.cause for finding in verdict.failures)
    assert {finding.code for finding in verdict.findings} == {"GPU_CARD"}
    for said in ("asks for a recovery: Reboot", "its memory had 3 errors", "could not be replaced"):
        assert said in causes
    assert [f.level for f in verdict.findings if "at the next start" in f.cause] == ["WARN"]


def test_one_lost_gpu_stops_the_host(tmp_path: Path) -> None:
    smi = Smi(MESSAGES["lost"][1] + recorded("r580-2x-l40s"))
    facts = host(tmp_path, smi, [(a, "nvidia") for a in L40S], modules=["nvidia"])
    assert [finding.code for finding in judge(BOTH, gpu=facts).failures] == ["GPU_CARD"]


def test_a_gpu_that_the_driver_does_not_know_is_reported(tmp_path: Path) -> None:
    cards = [(a, "nvidia") for a in (*L40S, "0000:b1:00.0")]
    facts = host(tmp_path, Smi(recorded("r580-2x-l40s")), cards, modules=["nvidia"])
    [finding] = judge(BOTH, gpu=facts).findings
    assert (finding.level, "0000:b1:00.0" in finding.cause) == ("WARN", True)


def test_compute_modes_and_mig_are_judged(tmp_path: Path) -> None:
    facts = good(tmp_path)
    for card in facts["cards"]:
        card["compute_mode"] = "Prohibited"
    assert {f.code for f in judge(BOTH, gpu=facts).failures} == {"GPU_CARD"}
    for card in facts["cards"]:
        card["compute_mode"] = "Exclusive_Process"
    assert judge(BOTH, wanted(replicas=2), gpu=facts).failures == []
    assert {f.code for f in judge(BOTH, wanted(replicas=3), gpu=facts).failures} == {"GPU_CARD"}
    for card in facts["cards"]:
        card.update(compute_mode="Default", mig=True)
    assert all("there is no instance" in finding.cause for finding in judge(BOTH, gpu=facts).failures)


def test_a_gpu_with_mig_and_a_suitable_driver_is_usable(tmp_path: Path) -> None:
    text = recorded("r535-a100-mig").replace("535.104.05", "580.95.05").replace("12.2<", "13.0<")
    facts = host(tmp_path, Smi(text, capabilities="0, 8.0\n"), [("0000:01:00.0", "nvidia")], modules=["nvidia"])
    verdict = judge(BOTH, gpu=facts)
    assert codes(verdict) == [("WARN", "GPU_CARD")]
    # One instance has 20 of the GPU's 80 GB.
    assert [f.code for f in judge(BOTH, wanted(replicas=10), gpu=facts).failures] == ["GPU_MEMORY"]


# --- which GPUs, and whether they suffice


def test_a_gpu_without_code_in_the_build_is_left_out_beside_others(tmp_path: Path) -> None:
    facts = good(tmp_path)
    facts["cards"][1]["capability"] = [6, 1]
    verdict = judge(BOTH, gpu=facts)
    assert codes(verdict) == [("WARN", "GPU_CARD")]
    assert f"compute capability 6.1; torch {TORCH} of the store has code for 7.5, 8.0, 8.6, 9.0, 10.0, 12.0" in (
        verdict.findings[0].cause
    )
    assert "xinference_cards: [0]" in verdict.findings[0].remedy
    assert verdict.plan["cards"] == [0]
    # If the operator names it, it is a failure. A host without any usable GPU is a failure too.
    assert [f.code for f in judge(BOTH, wanted(cards=[1]), gpu=facts).failures] == ["GPU_CARD"]
    facts["cards"][0]["capability"] = [7, 0]
    assert len(judge(BOTH, gpu=facts).failures) == 2


def test_the_operator_may_name_gpus(tmp_path: Path) -> None:
    assert judge(BOTH, wanted(cards=[1]), gpu=good(tmp_path / "a")).plan["cards"] == [1]
    [finding] = judge(BOTH, wanted(cards=[0, 4]), gpu=good(tmp_path / "b")).failures
    assert "names 4; the host has 0, 1" in finding.cause


def test_the_gpus_memory_must_hold_the_models(tmp_path: Path) -> None:
    facts = good(tmp_path)
    assert judge(BOTH, wanted(replicas=40, minimum_memory_mb=0), gpu=facts).failures == []
    found = judge(BOTH, wanted(replicas=60, minimum_memory_mb=0), gpu=facts).failures
    assert {finding.code for finding in found} == {"GPU_MEMORY"}
    assert "48.3 GB, and 30 models on it take 66.0 GB" in found[0].cause
    facts["cards"][0]["memory"]["free"] = 10**9
    [finding] = judge(BOTH, gpu=facts).findings
    assert (finding.level, finding.code) == ("WARN", "GPU_MEMORY")
    assert "Model: kokoro-rep0 (4242, 1.9 GB)" in finding.cause
    # While the service is active, used memory may be its own.
    assert judge(BOTH, gpu=facts, systemd__service_active=True).findings == []


def test_an_upgrade_needs_gpu_memory_for_the_candidate(tmp_path: Path) -> None:
    facts = good(tmp_path)
    assert judge(BOTH, gpu=facts, **UPGRADE).plan["candidate"]["wanted"]
    facts["cards"][1]["memory"]["free"] = 10**9
    verdict = judge(BOTH, gpu=facts, **UPGRADE)
    assert not verdict.plan["candidate"]["wanted"]
    assert "1.0 GB of GPU 1 (NVIDIA L40S) are free, it needs 2.2 GB" in verdict.findings[0].cause


@pytest.mark.parametrize(
    ("driver", "cuda", "good_enough"),
    [
        ("580.65.06", [13, 0], True),
        ("590.44.01", [13, 1], True),
        ("610.10", [14, 0], True),  # a newer driver runs all that is older
        ("575.57.08", [12, 9], False),
        ("570.133.20", [13, 0], True),  # with NVIDIA's package of forward compatibility
        ("580.65.06", [], True),
        ("575.57.08", [], False),
    ],
)
def test_drivers(tmp_path: Path, driver: str, cuda: list[int], good_enough: bool) -> None:
    faults = gpu.build_faults(good(tmp_path, driver=driver, cuda=cuda), BUILD)
    assert (faults == []) is good_enough


def test_a_minor_version_of_the_same_cuda_is_no_obstacle(tmp_path: Path) -> None:
    build = gpu.Build(TORCH, (12, 8), "x86_64")
    assert gpu.build_faults(good(tmp_path / "a", driver="525.60.13", cuda=[12, 0]), build)[0].level == "WARN"
    assert gpu.build_faults(good(tmp_path / "b", driver="470.256.02", cuda=[11, 4]), build)[0].code == "GPU_DRIVER"


@pytest.mark.parametrize(
    ("capability", "suits"),
    [
        ([7, 5], True), ([8, 0], True), ([8, 6], True), ([8, 7], True), ([8, 9], True), ([9, 0], True), ([10, 0], True),
        ([10, 3], True), ([12, 0], True), ([12, 1], True), ([5, 2], False), ([6, 1], False), ([7, 0], False),
        ([7, 2], False), ([11, 0], False), ([13, 0], False),
    ],
)  # fmt: skip
def test_compute_capabilities(capability: list[int], suits: bool) -> None:
    assert gpu.runs(BUILD.compiled, capability) is suits


def test_intermediate_code_runs_on_all_later_gpus() -> None:
    assert gpu.runs(("sm_90a", "compute_90"), [12, 0])
    assert not gpu.runs(("compute_90",), [8, 9])


def test_an_unknown_build_or_gpu_is_reported_as_unknown(tmp_path: Path) -> None:
    unknown = copy.deepcopy(good(tmp_path / "a"))
    for card in unknown["cards"]:
        card["capability"] = []
    assert {f.level for f in gpu.build_faults(unknown, BUILD)} == {"WARN"}
    newer = gpu.Build("2.99.0", (13, 4), "x86_64")
    assert all("is unknown" in f.cause for f in gpu.build_faults(good(tmp_path / "b"), newer))


# --- the locks


CUDA_PROFILES = [profile for profile in known_profiles() if profile.accelerator == "cuda"]


@pytest.mark.parametrize("profile", CUDA_PROFILES, ids=lambda profile: profile.name)
def test_the_locks_for_gpus_are_complete(profile: Any) -> None:
    """Each is complete: sizes, tags, the CUDA libraries that torch needs, and a build that this module knows."""
    lock = locks.read_lock(LOCKS / f"pylock.{profile.name}.toml")
    wheels = [(package.name, package.version) for package in lock.packages]
    build = gpu.build_of(wheels, profile.architecture)
    assert "has code for sm_" in gpu.notes_on(profile.name, wheels)[0]
    assert build.compiled, f"torch {build.torch} for CUDA {build.cuda_name} is not in BUILT_FOR"
    assert build.cuda[0] in gpu.DRIVERS
    names = {package.name: package for package in lock.packages}
    for name in ("nvidia-cublas", "nvidia-cudnn-cu13", "nvidia-cuda-nvrtc", "nvidia-cufft", "triton", "torchvision"):
        assert names[name].is_wheel
    for package in lock.packages:
        assert package.size > 0, f"{package.name} has no size: what a store carries could not be told"
        assert package.location.startswith("https://")
        if package.is_wheel:
            assert best_tag(locks.wheel_tags(package.filename), profile) is not None, package.filename
    assert not any(package.version.endswith("+cpu") for package in lock.packages)
    # 3.1 GB are sent, all but 0.3 GB of it for the GPU.
    assert 2.9e9 < sum(package.size for package in lock.packages) < 3.5e9


@pytest.mark.parametrize(
    ("key", "value", "level", "words"),
    [
        ("fabric", "In Progress", "FAIL", "has not set up its NVSwitch: In Progress"),
        ("fabric", "Completed, Failure", "FAIL", "has not set up"),
        ("fabric", "Completed, Success", None, ""),
        ("licence", "Unlicensed (Restricted)", "WARN", "has no licence: Unlicensed (Restricted)"),
        ("licence", "Licensed (Expiry: 2027-1-1 0:0:0 GMT)", None, ""),
    ],
)
def test_the_fabric_manager_and_the_licence_of_a_virtual_gpu_are_judged(
    key: str, value: str, level: str | None, words: str
) -> None:
    facts = gpu_facts.parse_xml(recorded("r550-l4"))
    facts["pci"] = []
    before = gpu.card_faults(facts)
    facts["cards"][0][key] = value
    more = [fault for fault in gpu.card_faults(facts) if fault not in before]
    assert [fault.level for fault in more] == ([level] if level else [])
    assert all(words in fault.cause for fault in more)


def test_what_a_fetch_read_from_the_wheel_counts_before_the_table() -> None:
    wheels = [("torch", "99.0"), ("nvidia-cuda-runtime", "13.0.96")]
    assert gpu.build_of(wheels, "x86_64").compiled == ()
    assert gpu.build_of(wheels, "x86_64", ("sm_90",)).compiled == ("sm_90",)


def test_a_lock_with_an_unknown_torch_or_cuda_is_explained() -> None:
    assert gpu.notes_on("cpu-py311-x86_64", [("torch", "99.0+cpu")]) == []
    (read,) = gpu.notes_on("cuda-py311-x86_64", [("torch", "99.0"), ("nvidia-cuda-runtime", "13.9.1")])
    assert read.endswith("fetch.yml will read the kinds of GPUs from the wheel of torch 99.0.")
    unknown = gpu.notes_on("cuda-py311-x86_64", [("torch", "99.0"), ("nvidia-cuda-runtime", "99.1.0")])
    assert "which driver CUDA 99.1 needs" in unknown[1]
