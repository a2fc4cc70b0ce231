# SPDX-License-Identifier: GPL-3.0-or-later
"""An image from plan to archive, with a double of the engine."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

import pytest
from ansible_collections.voicefleet.kokoro.plugins.module_utils.host.hashing import Memo
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.fleet import images
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.image import archive, engine, image, thin, unit
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.store import selection
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.store.manifest import Manifest
from ansible_collections.voicefleet.kokoro.tests.unit.plugins.plugin_utils.fleet import test_gpu, test_preflight
from ansible_collections.voicefleet.kokoro.tests.unit.plugins.plugin_utils.image.test_archive import saved

TARGET = engine.Target("x86_64", (2, 36), ({"version": "3.11", "path": "/usr/bin/python3.11"},))
PYTHON = test_preflight.artifact(
    "python/cpython-3.11.1.tar.gz", "python", "python", version="3.11.1+20300101", profiles=(test_preflight.PROFILE,)
)
UNIT = "[Service]\nExecStart=/r/xinference-local -H 0.0.0.0 -p 9997\nEnvironment=HF_HUB_OFFLINE=1\n"
UNIT += "Environment=OMP_NUM_THREADS=1\nUnsetEnvironment=http_proxy\nTimeoutStopSec=90\n"
MORE = {
    "port": 9997, "ready_seconds": 180, "admin_user": "admin", "deploy_user": "deploy", "client_key_name": "client",
}  # fmt: skip


class Double(engine.Engine):
    """An engine with one base image, whose builder writes a fixed layer."""

    def __init__(self, folder: Path, target: engine.Target = TARGET) -> None:
        super().__init__("docker")
        self.folder = folder
        self.target = target
        self.built = 0
        self.command: Sequence[str] = ()

    def probe(self, image: str) -> engine.Target:
        return self.target

    def has(self, image: str) -> bool:
        return image == "base:1"

    def identity(self, image: str) -> str:
        return "sha256:base layer"

    def save(self, image: str, target: Path) -> None:
        saved(target, [b"base"])

    def build(
        self, image: str, mounts: Sequence[tuple[Path, str]], command: Sequence[str], target: IO[bytes],
        say: Callable[[str], None],
    ) -> None:  # fmt: skip
        self.built += 1
        self.command = command
        target.write(b"layer")


def wanted(output: Path, **changes: Any) -> image.Wanted:
    return replace(image.Wanted("base:1", "speech", "", "cpu", 10001, output), **changes)


def planned(
    double: Double, asked: image.Wanted, manifest: Manifest = test_preflight.MANIFEST, **changes: Any
) -> image.Planned:
    selected = selection.Wanted(**{"languages": ["a"], "voices": ["af_heart"], **changes})
    facts = double.probe("base:1").facts
    found = images.release(manifest, "d" * 64, Path("/srv/store"), selected, asked.profile, "base:1", facts)
    tag = image.tag_of(asked, found.plan.release.id)
    beside = found.beside(tag, "base:1")
    return image.Planned("base:1", double.identity("base:1"), found.created, tag, beside, found.plan)


def made(folder: Path, double: Double, profile: str = "cpu", **changes: Any) -> dict[str, Any]:
    asked = wanted(folder, profile=profile)
    found = planned(double, asked, **changes)
    service = unit.read(UNIT)
    own = image.settings(found.plan, service, {"model_uid": "kokoro"}, MORE)
    variables = image.environment(found.plan, service)
    decided = image.inputs(found, own, variables, asked)
    held = image.known(found.tag, folder, decided, Memo(None))
    return held or image.make(found, asked, own, variables, decided, double, lambda _line: None)


def test_the_release_is_that_of_a_deploy(tmp_path: Path) -> None:
    found = planned(Double(tmp_path), wanted(tmp_path))
    assert found.plan.release.id == test_preflight.judge().plan["release"]["id"]
    assert found.tag == f"speech:{found.plan.release.id}"


def test_the_stores_python_is_preferred_and_else_that_of_the_base() -> None:
    manifest = test_preflight.MANIFEST
    assert images.choose(manifest, "cpu", TARGET.facts)[1] == TARGET.pythons[0]
    carried = replace(manifest, artifacts=(*manifest.artifacts, PYTHON))
    assert images.choose(carried, test_preflight.PROFILE, TARGET.facts)[1] == PYTHON
    with pytest.raises(images.UnfitError, match=r'Fetch the store with artifact_store_pythons: \["3.11"\]'):
        images.choose(manifest, "cpu", replace(TARGET, pythons=()).facts)
    with pytest.raises(images.UnfitError, match="no profile cuda for x86_64. It has cpu-py311-x86_64"):
        images.choose(manifest, "cuda", TARGET.facts)


def test_a_base_with_an_old_glibc_is_refused(tmp_path: Path) -> None:
    double = Double(tmp_path, replace(TARGET, glibc=(2, 28)))
    with pytest.raises(images.UnfitError, match=r"has glibc 2.28. The packages need 2.29"):
        planned(double, wanted(tmp_path))


def test_all_that_the_store_lacks_is_named(tmp_path: Path) -> None:
    with pytest.raises(images.UnfitError, match=r"VOICE_MISSING: the store has no voices/am_adam.pt"):
        planned(Double(tmp_path), wanted(tmp_path), voices=["am_adam"])


def test_a_base_that_is_not_there_is_never_pulled(tmp_path: Path) -> None:
    with pytest.raises(image.ImageError, match="docker has no image other:1, which image_base names"):
        image.base_name(wanted(tmp_path, base="other:1"), Double(tmp_path), load=True)


def test_the_same_store_gives_the_same_image(tmp_path: Path) -> None:
    double = Double(tmp_path)
    first, second = made(tmp_path / "1", double), made(tmp_path / "2", double)
    assert first == second
    names = sorted(path.name for path in (tmp_path / "1").iterdir())
    assert names == ["image.json", "sbom.cdx.json", first["archive"], f"{first['archive']}.sha256"]
    for name in names:
        assert (tmp_path / "1" / name).read_bytes() == (tmp_path / "2" / name).read_bytes()


def test_an_unchanged_run_bakes_nothing_and_a_damaged_archive_is_made_again(tmp_path: Path) -> None:
    double = Double(tmp_path)
    first = made(tmp_path / "1", double)
    assert made(tmp_path / "1", double) == first
    assert double.built == 1
    (tmp_path / "1" / first["archive"]).write_bytes(b"cut")
    assert made(tmp_path / "1", double) == first
    assert double.built == 2
    assert made(tmp_path / "1", double, voices=["af_sky"]) != first


def test_the_configuration_runs_it_unprivileged_and_checks_its_health(tmp_path: Path) -> None:
    record = made(tmp_path, Double(tmp_path))
    base = archive.read_base(tmp_path / record["archive"])
    config = base.config["config"]
    assert config["User"] == "10001:10001"
    assert config["Healthcheck"]["Test"] == ["CMD", "/opt/voicefleet/container/run", "health"]
    assert config["Labels"]["voicefleet.manifest.sha256"] == "d" * 64
    assert "HF_HUB_OFFLINE=1" in config["Env"]
    assert "PATH=/usr/bin" in config["Env"]
    # It is counted when a container starts.
    assert not [each for each in config["Env"] if each.startswith("OMP_NUM_THREADS")]
    assert len(base.digests) == 2


def test_the_bill_of_materials_lists_the_release_and_its_base(tmp_path: Path) -> None:
    made(tmp_path, Double(tmp_path))
    bill = json.loads((tmp_path / "sbom.cdx.json").read_text())
    assert bill["metadata"]["component"]["name"].startswith("speech:1.2.3-")
    assert {row["name"] for row in bill["components"]} >= {"xinference", "af_heart", "base:1"}


def test_gpus_are_named_for_each_engine(tmp_path: Path) -> None:
    record = {**made(tmp_path, Double(tmp_path)), "accelerator": "cuda"}
    assert " --gpus all " in image.commands(record, "docker", tmp_path, "127.0.0.1")[2]
    assert " --device nvidia.com/gpu=all " in image.commands(record, "podman", tmp_path, "127.0.0.1")[2]
    assert list(image.commands({}, "docker", tmp_path, "127.0.0.1")) == []


def test_an_image_for_gpus_is_baked_without_one(tmp_path: Path) -> None:
    double = Double(tmp_path)
    record = made(tmp_path / "cuda", double, "cuda", manifest=test_gpu.BOTH)
    assert (record["profile"], record["accelerator"]) == (test_gpu.CUDA, "cuda")
    # The builder gets the store and its code, and no device.
    assert double.command[0] == "/usr/bin/python3.11"
    assert not [word for word in double.command if "gpu" in word or "nvidia" in word]
    config = archive.read_base(tmp_path / "cuda" / record["archive"]).config["config"]
    # The toolkit of the engine mounts the driver that these name.
    assert {"NVIDIA_VISIBLE_DEVICES=all", "NVIDIA_DRIVER_CAPABILITIES=compute,utility"} <= set(config["Env"])
    assert config["Labels"]["voicefleet.profile"] == test_gpu.CUDA
    plain = made(tmp_path / "cpu", double, "cpu", manifest=test_gpu.BOTH)
    config = archive.read_base(tmp_path / "cpu" / plain["archive"]).config["config"]
    assert not [each for each in config["Env"] if each.startswith("NVIDIA")]
    assert plain["release"] != record["release"]


def test_a_thin_layer_keeps_the_configuration_of_its_base(tmp_path: Path) -> None:
    plan = {"id": "1.2.3-repaired-0", "manifest_sha256": "d" * 64, "unpublished": {}}
    layer = thin.Planned("base:1", "x", "2027-01-15T08:00:00Z", "speech:1", {}, plan, {}, "python3")
    base = {"architecture": "amd64", "config": {"Cmd": ["run"], "Env": ["A=1"]}, "rootfs": {"diff_ids": ["sha256:a"]}}
    found = thin.config(layer, base, "sha256:b")
    assert found["config"]["Cmd"] == ["run"]
    assert found["config"]["Labels"]["voicefleet.repaired"] == "1.2.3-repaired-0"
    assert found["rootfs"]["diff_ids"] == ["sha256:a", "sha256:b"]


def test_the_builder_finds_files_of_the_store_and_those_that_were_made(tmp_path: Path) -> None:
    store, work = tmp_path / "store", tmp_path / "work"
    for path in (store / "wheels" / "a.whl", work / "made" / "b.whl"):
        path.parent.mkdir(parents=True)
        path.touch()
    (work / "held").symlink_to(store / "wheels" / "a.whl")
    assert thin.inside(str(work / "held"), str(store), work) == "/voicefleet-store/wheels/a.whl"
    assert thin.inside(str(work / "made" / "b.whl"), str(store), work) == "/voicefleet-work/made/b.whl"


def test_commands_can_be_pasted_whatever_the_folder_and_the_address(tmp_path: Path) -> None:
    record = made(tmp_path, Double(tmp_path))
    load, _key, run = image.commands(record, "docker", Path("/srv/my images"), "::1")
    assert load.startswith("cd '/srv/my images' && sha256sum --check speech-1.2.3-")
    assert " --publish [::1]:9997:9997 " in run
    assert ' --mount "type=bind,source=$PWD/client.key,' in run


def test_a_lost_file_beside_the_archive_is_named(tmp_path: Path) -> None:
    double = Double(tmp_path)
    record = made(tmp_path / "1", double)
    files = image.beside(planned(double, wanted(tmp_path / "1")), tmp_path / "1", record)
    assert image.lost(files) == []
    (tmp_path / "1" / "sbom.cdx.json").unlink()
    (tmp_path / "1" / f"{record['archive']}.sha256").write_text("other\n")
    assert {path.name for path in image.lost(files)} == {"sbom.cdx.json", f"{record['archive']}.sha256"}


def test_a_bake_removes_what_a_killed_one_left_and_refuses_to_run_beside_another(tmp_path: Path) -> None:
    left = tmp_path / "1" / ".voicefleet-bake-old"
    left.mkdir(parents=True)
    (left / "layer.tar").write_text("large")
    made(tmp_path / "1", Double(tmp_path))
    assert not left.exists()
    with (
        image.alone_in(tmp_path / "1"),
        pytest.raises(image.ImageError, match="another run writes to"),
        image.alone_in(tmp_path / "1"),
    ):
        pass
