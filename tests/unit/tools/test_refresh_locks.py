# SPDX-License-Identifier: GPL-3.0-or-later
"""Refreshing what is pinned: spaCy's table, and the public addresses of files that lay in a folder."""

from __future__ import annotations

import hashlib
import importlib.util
import json
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


def table(**spacy: dict[str, list[str]]) -> bytes:
    return json.dumps({"spacy": {name.replace("_", "."): models for name, models in spacy.items()}}).encode()


def test_of_spacys_table_the_catalogues_models_and_released_versions_are_kept(tool: ModuleType) -> None:
    published = table(
        **{"4_0": {"en_core_web_sm": ["4.0.1", "4.0.0"], "de_core_news_sm": ["4.0.0"]}},
        **{"4_0_0.dev0": {"en_core_web_sm": ["4.0.0a1"]}, "3_9": {"de_core_news_sm": ["3.9.0"]}},
        **{"3_8": {"en_core_web_trf": ["3.8.0"], "en_core_web_sm": ["3.8.0"]}},
    )
    text = tool.render_table(published, tool.SPACY_TABLE.read_text())
    before = json.loads(tool.SPACY_TABLE.read_text())
    assert json.loads(text) == {
        **before,
        "spacy": {
            "4.0": {"en_core_web_sm": ["4.0.1", "4.0.0"]},
            "3.8": {"en_core_web_sm": ["3.8.0"], "en_core_web_trf": ["3.8.0"]},
        },
    }
    assert tool.render_table(published, text) == text


@pytest.mark.parametrize("answer", [b"<html>", b"[]", b"{}", b'{"spacy": {}}'])
def test_what_is_no_table_changes_nothing(
    tool: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str], answer: bytes
) -> None:
    before = tool.SPACY_TABLE.read_bytes()
    (tmp_path / "table").write_bytes(answer)
    assert tool.refresh_table((tmp_path / "table").as_uri(), check=False) is False
    assert tool.SPACY_TABLE.read_bytes() == before
    assert "the one here stays" in capsys.readouterr().out


def test_a_table_that_can_not_be_reached_is_told(tool: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    assert tool.refresh_table("file:///no/such/table", check=True) is False
    assert "was not to be had" in capsys.readouterr().out


def test_a_cpu_build_of_a_folder_gets_its_public_address_and_nothing_else_may_come_from_one(
    tool: ModuleType, tmp_path: Path
) -> None:
    file = tmp_path / "torch-2.13.0+cpu-cp311-cp311-manylinux_2_28_x86_64.whl"
    file.write_bytes(b"wheel")
    digest = hashlib.sha256(b"wheel").hexdigest()
    row = locks.LockedPackage("torch", "2.13.0+cpu", file.name, file.as_uri(), digest, 0)
    public = tool.published(row)
    assert public.location == f"https://download.pytorch.org/whl/cpu/{file.name.replace('+', '%2B')}"
    assert public.size == 5
    file.write_bytes(b"other")
    with pytest.raises(locks.LockError, match="does not have the hash"):
        tool.published(row)
    with pytest.raises(locks.LockError, match="no public file"):
        tool.published(locks.LockedPackage("numpy", "2", file.name, file.as_uri(), digest, 0))


def test_without_a_cpu_build_at_hand_the_pinned_one_makes_the_same_lock(
    tool: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What the registry answers is played here; its CUDA packages go and the pinned wheel comes."""
    profile = Profile("cpu", "3.11", "x86_64")
    path = tool.LOCKS / Path(profile.lock_path).name
    committed = locks.read_lock(path)
    cuda = [
        locks.LockedPackage(n, "13", f"{n}.whl", f"https://host/{n}", "0" * 64, 1) for n in ("nvidia-nvtx", "triton")
    ]
    torch = locks.LockedPackage("torch", "2.13.0", "torch.whl", "https://host/torch", "0" * 64, 1)
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
    assert "taking the one pinned here" in capsys.readouterr().out


def test_a_cpu_build_in_a_cuda_lock_is_refused(tool: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    torch = locks.LockedPackage("torch", "2.13.0+cpu", "torch.whl", "https://host/torch", "0" * 64, 1)
    monkeypatch.setattr(tool, "resolve", lambda *_arguments: locks.Lock("", (torch,)))
    with pytest.raises(locks.LockError, match="UV_DEFAULT_INDEX"):
        tool.lock_of(Profile("cuda", "3.11", "x86_64"), "uv")


def test_a_package_belongs_to_the_extras_that_need_it_and_to_none_where_all_do(tool: ModuleType) -> None:
    needs = {"": ["kokoro", "regex"], "japanese": ["fugashi", "shared"], "mandarin": ["jieba", "shared", "regex"]}

    def lock(extras: Sequence[str]) -> locks.Lock:
        found = sorted({name for key in ("", *extras) for name in needs.get(key, [])})
        rows = (locks.LockedPackage(n, "1", f"{n}-1-py3-none-any.whl", f"https://h/{n}", "0" * 64, 1) for n in found)
        return locks.Lock("", tuple(rows))

    marked = tool.marked(lock(["japanese", "mandarin"]), lock)
    assert {package.name: package.extras for package in marked.packages} == {
        "fugashi": ("japanese",), "jieba": ("mandarin",), "kokoro": (), "regex": (), "shared": ("japanese", "mandarin"),
    }  # fmt: skip
