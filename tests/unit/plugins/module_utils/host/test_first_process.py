# SPDX-License-Identifier: GPL-3.0-or-later
"""The first process of a container: it passes signals on, reaps, and leaves nothing behind."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from ansible_collections.voicefleet.kokoro.plugins.module_utils.host import first_process

ROOT = Path(first_process.__file__).parents[2]
# A program with a grandchild whose parent has ended.
PROGRAM = """
import os, signal, sys, time
if os.fork() == 0:
    if os.fork() == 0:
        if {stubborn}:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        open({file!r}, "w").write(str(os.getpid()))
        time.sleep(600)
    os._exit(0)
os.wait()
time.sleep({seconds})
sys.exit(7)
"""
FIRST = """
import sys
sys.path.insert(0, {root!r})
from module_utils.host import first_process
first_process.adopt_orphans()
program = first_process.Program("test", [sys.executable, "-c", {program!r}], {{"PATH": "/usr/bin"}}, "/")
number = program.wait()
whole = program.stop({patience}, lambda line: print(line))
print("signal", number, "status", program.status, "whole", whole)
"""


def start(file: Path, seconds: int, stubborn: bool = False) -> subprocess.Popen[str]:
    program = PROGRAM.format(file=str(file), seconds=seconds, stubborn=stubborn)
    code = FIRST.format(root=str(ROOT), program=program, patience=2 if stubborn else 120)
    return subprocess.Popen([sys.executable, "-I", "-c", code], stdout=subprocess.PIPE, text=True)


def grandchild(file: Path) -> int:
    for _try in range(600):
        if file.exists() and file.read_text():
            return int(file.read_text())
        time.sleep(0.1)
    raise AssertionError("the program did not start")


def ended(pid: int) -> bool:
    return pid not in first_process.parents()


def test_a_signal_ends_the_program_and_its_orphans(tmp_path: Path) -> None:
    first = start(tmp_path / "pid", 600)
    pid = grandchild(tmp_path / "pid")
    first.send_signal(signal.SIGTERM)
    output = first.communicate(timeout=60)[0]
    assert output == f"signal {int(signal.SIGTERM)} status -15 whole True\n"
    assert ended(pid)


def test_what_ignores_the_signal_is_killed(tmp_path: Path) -> None:
    first = start(tmp_path / "pid", 600, stubborn=True)
    pid = grandchild(tmp_path / "pid")
    first.send_signal(signal.SIGINT)
    output = first.communicate(timeout=60)[0]
    assert "did not end within 2 s and are killed" in output
    assert output.endswith("whole False\n")
    assert ended(pid)


def test_a_program_that_ends_by_itself_ends_the_container(tmp_path: Path) -> None:
    first = start(tmp_path / "pid", 0)
    pid = grandchild(tmp_path / "pid")
    assert first.communicate(timeout=60)[0] == "signal None status 7 whole True\n"
    assert ended(pid)


@pytest.mark.parametrize(("top", "below"), [(1, {2, 3, 4}), (2, {4}), (4, set())])
def test_descendants_are_found_at_every_depth(top: int, below: set[int]) -> None:
    assert set(first_process.descendants(top, {1: 0, 2: 1, 3: 1, 4: 2, 9: 0})) == below
