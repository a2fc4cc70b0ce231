# SPDX-License-Identifier: GPL-3.0-or-later
"""Byte code is made for what the service loads, and is current."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import cache_from_source
from pathlib import Path

import pytest
from ansible_collections.voicefleet.kokoro.plugins.module_utils.release import bytecode

LOADED = ["kokoro/model.py", "transformers/models/__init__.py", "transformers/models/albert/modeling_albert.py",
          "transformers/testing_utils.py", "xoscar/backends/test/pool.py", "tests.py"]  # fmt: skip
UNUSED = ["pandas/tests/io/test_x.py", "tests/a.py", "modelscope/hub.py", "transformers/models/llama/modeling_llama.py",
          "transformers/models/albert/tests/a.py", "transformers/models/albert2/a.py"]  # fmt: skip


def site(tmp_path: Path) -> Path:
    folder = tmp_path / "lib" / "python3.11" / "site-packages"
    for name in [*LOADED, *UNUSED]:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("X = 1\n")
    return folder


def test_only_what_the_service_loads_is_compiled(tmp_path: Path) -> None:
    folder = site(tmp_path)
    stale = folder / "modelscope" / "__pycache__" / "hub.cpython-399.pyc"
    stale.parent.mkdir()
    stale.write_text("old")
    files = bytecode.sources(str(folder))
    assert files == sorted(str(folder / name) for name in LOADED)
    bytecode.compile_files(sys.executable, files, bytecode.BY_TIME)
    made = set(folder.rglob("*.pyc"))
    assert made == {Path(cache_from_source(str(folder / name))) for name in LOADED}


def test_a_folder_of_one_package_is_judged_by_its_place_among_all(tmp_path: Path) -> None:
    folder = site(tmp_path)
    assert bytecode.sources(str(folder / "modelscope")) == []
    assert bytecode.sources(str(folder / "kokoro")) == [str(folder / "kokoro/model.py")]


def test_files_outside_of_packages_are_compiled(tmp_path: Path) -> None:
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "a.py").write_text("")
    assert bytecode.sources(str(tmp_path)) == [str(tmp_path / "tests" / "a.py")]


def test_every_kept_folder_lies_in_a_skipped_one() -> None:
    for kept in bytecode.KEPT:
        assert any(kept.startswith(f"{skipped}/") for skipped in bytecode.SKIPPED)


@pytest.mark.parametrize(("stale", "printed"), [(bytecode.BY_TIME, "2"), (bytecode.NEVER, "1")])
def test_a_changed_source_counts_on_hosts_only(tmp_path: Path, stale: str, printed: str) -> None:
    file = tmp_path / "m.py"
    file.write_text("print(1)\n")
    bytecode.compile_files(sys.executable, [str(file)], stale)
    file.write_text("print(2 )\n")
    done = subprocess.run(
        [sys.executable, "-B", "-c", "import m"], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == printed


def test_files_that_are_no_python_are_passed_over(tmp_path: Path) -> None:
    texts = {"template": "{{ this is no Python }}\n", "zero": "x = 1\0\n", "good": "x = 1\n"}
    for name, text in texts.items():
        (tmp_path / f"{name}.py").write_text(text)
    (tmp_path / "astray.py").symlink_to("nowhere.py")
    bytecode.compile_files(sys.executable, bytecode.sources(str(tmp_path)), bytecode.BY_TIME)
    assert [path.name.partition(".")[0] for path in tmp_path.rglob("*.pyc")] == ["good"]


def test_byte_code_that_cannot_be_written_fails_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "m.py").write_text("")
    (tmp_path / "__pycache__").write_text("")
    with pytest.raises(bytecode.CompileError, match=r"could not compile the packages: .*\[Errno \d+\] .*__pycache__"):
        bytecode.compile_files(sys.executable, [str(tmp_path / "m.py")], bytecode.BY_TIME)


def test_a_compiler_that_does_not_end_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "python"
    program.write_text("#!/bin/sh\nexec sleep 60\n")
    program.chmod(0o755)
    monkeypatch.setattr(bytecode, "SECONDS", 0.2)
    with pytest.raises(bytecode.CompileError, match="did not compile the packages within"):
        bytecode.compile_files(str(program), ["a.py", "b.py"], bytecode.BY_TIME)
