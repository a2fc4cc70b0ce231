# SPDX-License-Identifier: GPL-3.0-or-later
"""The program that measures a GPU (tests/gpu/run), without a GPU and without torch."""

from __future__ import annotations

import argparse
import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[3]
FOLDER = ROOT / "tests" / "gpu"


@pytest.fixture
def program(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.setattr(sys, "path", list(sys.path))
    spec = importlib.util.spec_from_file_location("measure_gpu", FOLDER / "measure_gpu.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def arguments(**more: Any) -> argparse.Namespace:
    return argparse.Namespace(**{"device": "cpu", "tiny": True, "seconds": 1.0, **more})


def test_the_steps_take_four_minutes_at_most(program: ModuleType) -> None:
    assert sum(program.LIMITS.values()) <= 240
    assert set(program.LIMITS) == set(program.TITLES) <= set(program.STEPS)


def test_the_policy_is_the_units_own(program: ModuleType) -> None:
    """The settings of the unit for hosts with GPUs, not those for the CPU, and none that names a folder."""
    lines = program.unit_properties(program.UNIT.read_text(encoding="utf-8"))
    for line in ("DevicePolicy=closed", "PrivateDevices=false", "DeviceAllow=char-nvidia* rwm", "ProtectSystem=strict"):
        assert line in lines
    assert "PrivateDevices=true" not in lines
    assert not any("{" in line or line.startswith(("IPAddress", "ReadWritePaths")) for line in lines)
    assert sum(line.startswith("SystemCallFilter=") for line in lines) == 3


def test_a_machine_without_torch_skips_the_measurements_and_says_so(tmp_path: Path) -> None:
    # -S leaves out the packages of this Python.
    command = [sys.executable, "-S", str(FOLDER / "measure_gpu.py"), "--device", "cpu", "--step", "gpu"]
    ran = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "has no torch. Name another Python in PYTHON" in json.loads(ran.stdout)["skipped"]


def test_a_machine_without_a_gpu_fails_the_first_step(program: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    if next(program.facts(arguments()))[1].startswith("nvidia"):
        pytest.skip("this machine has a GPU")
    with pytest.raises(RuntimeError, match="no NVIDIA GPU is visible"):
        list(program.facts(arguments(device="cuda")))


def test_a_step_that_hangs_is_ended(program: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    script = tmp_path / "step.py"
    script.write_text('import time\nprint(\'{"row": ["torch", "2.13"]}\', flush=True)\ntime.sleep(60)\n')
    monkeypatch.setattr(program, "__file__", str(script))
    ended = program.run_step("gpu", arguments(), 5)
    assert ended == {"name": "gpu", "seconds": 5, "rows": [["torch", "2.13"]], "failed": "it took longer than 5 s"}
    script.write_text("raise SystemExit('CUDA is broken')\n")
    assert program.run_step("gpu", arguments(), 20)["failed"] == "CUDA is broken"


def test_the_table_replaces_only_what_is_between_the_markers(program: ModuleType, tmp_path: Path) -> None:
    page = tmp_path / "gpu.md"
    page.write_text(f"head\n{program.BEGIN}\nold\n{program.END}\ntail\n")
    steps = [
        {"name": "facts", "seconds": 1, "rows": [["GPU 0", "a|b*"]]},
        {"name": "policy", "seconds": 0, "skipped": "systemd does not run here"},
    ]
    result = {"date": "2026-11-28", "seconds": 61.2, "machine": "Debian", "steps": steps}
    program.write_page(result, page)
    program.write_page(result, page)
    text = page.read_text()
    assert text.startswith("head\n")
    assert text.endswith("\ntail\n")
    assert "old" not in text
    assert "On 2026-11-28, in 61 s, on Debian:" in text
    assert "| Facts from the driver | GPU 0 | a\\|b\\* |" in text
    assert "| The unit's device policy | **skipped** | systemd does not run here |" in text


def test_the_page_has_the_markers(program: ModuleType) -> None:
    text = program.PAGE.read_text(encoding="utf-8")
    assert text.count(program.BEGIN) == text.count(program.END) == 1
    assert text.index(program.BEGIN) < text.index(program.END)
