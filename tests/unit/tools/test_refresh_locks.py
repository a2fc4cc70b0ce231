# SPDX-License-Identifier: GPL-3.0-or-later
"""Refreshing the locks: extras, CPU builds, and the public addresses of files that were in a folder."""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.store import locks
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.store.profiles import Profile

TOOL = Path(__file__).resolve().parents[3] / "tools" / "refresh_locks.py"


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location("refresh_locks", TOOL)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_only_a_cpu_build_may_come_from_a_folder(tool: ModuleType, tmp_path: Path) -> None:
    file = tmp_path / "torch-1.2.3+cpu-cp311-cp311-manylinux_2_28_x86_64.whl"
    file.write_bytes(b"wheel")
    digest = hashlib.sha256(b"wheel").hexdigest()
    row = locks.LockedPackage("torch", "1.2.3+cpu", file.name, file.as_uri(), digest, 0)
    public = tool.published(row)
    assert public.location == f"https://download.pytorch.org/whl/cpu/{file.name.replace('+', '%2B')}"
    assert public.size == 5
    file.write_bytes(b"other")
    with pytest.raises(locks.LockError, match="does not have the hash"):
        tool.published(row)
    with pytest.raises(locks.LockError, match="is not a public file"):
        tool.published(locks.LockedPackage("numpy", "2", file.name, file.as_uri(), digest, 0))


def test_the_pinned_cpu_build_makes_the_same_lock(
    tool: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What the registry answers is played here; its CUDA packages go and the pinned wheel comes."""
    profile = Profile("cpu", "3.11", "x86_64")
    path = tool.LOCKS / Path(profile.lock_path).name
    committed = locks.read_lock(path)
    cuda = [
        locks.LockedPackage(n, "13", f"{n}.whl", f"https://host/{n}", "0" * 64, 1) for n in ("nvidia-nvtx", "triton")
    ]
    version = str(committed.version_of("torch")).partition("+")[0]
    torch = locks.LockedPackage("torch", version, "torch.whl", "https://host/torch", "0" * 64, 1)
    others = [package for package in committed.packages if package.name != "torch"]

    def resolve(
        _profile: Profile, _uv: str, left_out: list[str], extras: Sequence[str], _pinned: locks.Lock | None = None
    ) -> locks.Lock:
        extra = [] if "torch" in left_out else [*cuda, torch]
        asked = [replace(p, extras=()) for p in others if not p.extras or set(p.extras) & set(extras)]
        rows = sorted([*asked, *extra], key=lambda package: package.name)
        return locks.Lock(committed.requires_python, tuple(rows))

    monkeypatch.setattr(tool, "resolve", resolve)
    assert locks.render_lock(tool.lock_of(profile, "uv"), profile) == path.read_text()
    assert "using the one pinned here" in capsys.readouterr().out


def test_a_cpu_build_in_a_cuda_lock_is_refused(tool: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    torch = locks.LockedPackage("torch", "1.2.3+cpu", "torch.whl", "https://host/torch", "0" * 64, 1)
    monkeypatch.setattr(tool, "resolve", lambda *_arguments: locks.Lock("", (torch,)))
    with pytest.raises(locks.LockError, match="UV_DEFAULT_INDEX"):
        tool.lock_of(Profile("cuda", "3.11", "x86_64"), "uv")


def test_a_package_belongs_to_the_extras_that_need_it(tool: ModuleType) -> None:
    needs = {"": ["kokoro", "regex"], "japanese": ["fugashi", "shared"], "mandarin": ["jieba", "shared", "regex"]}

    def lock(extras: Sequence[str]) -> locks.Lock:
        found = sorted({name for key in ("", *extras) for name in needs.get(key, [])})
        rows = (locks.LockedPackage(n, "1", f"{n}-1-py3-none-any.whl", f"https://h/{n}", "0" * 64, 1) for n in found)
        return locks.Lock("", tuple(rows))

    marked = tool.marked(lock(["japanese", "mandarin"]), lock)
    assert {package.name: package.extras for package in marked.packages} == {
        "fugashi": ("japanese",), "jieba": ("mandarin",), "kokoro": (), "regex": (), "shared": ("japanese", "mandarin"),
    }  # fmt: skip


def package(name: str, version: str = "1.0", digest: str = "0") -> locks.LockedPackage:
    return locks.LockedPackage(name, version, f"{name}.whl", f"https://host/{name}.whl", digest * 64, 7)


def of(*packages: locks.LockedPackage) -> locks.Lock:
    return locks.Lock(">=3.11", packages)


def test_differences_name_added_removed_and_changed_packages(tool: ModuleType) -> None:
    before, after = of(package("a"), package("b")), of(package("b", digest="1"), package("c"))
    assert tool.differences(before, after) == ["- a 1.0", "~ b 1.0 -> 1.0 (another file)", "+ c 1.0"]
    assert tool.differences(after, after) == []


def test_a_cpu_build_replaces_torch_and_drops_what_only_torch_required(tool: ModuleType) -> None:
    cpu = locks.LockedPackage("torch", "1.0+cpu", "torch-1.0+cpu.whl", "https://host/cpu.whl", "1" * 64, 0)
    names = ("cuda-toolkit", "numpy", "nvidia-cudnn-cu13", "nvidia-ml-py", "sympy", "torch", "triton")
    without = of(package("numpy"), package("nvidia-ml-py"))
    lock = tool.for_cpu(of(*map(package, names)), without, cpu)
    assert [p.name for p in lock.packages] == ["numpy", "nvidia-ml-py", "sympy", "torch"]
    assert lock.packages[-1] == cpu
    with pytest.raises(locks.LockError, match=r"are torch 1\.0, but the packages need 2\.0"):
        tool.for_cpu(of(package("torch", "2.0")), without, cpu)
