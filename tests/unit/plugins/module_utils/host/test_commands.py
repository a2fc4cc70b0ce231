# SPDX-License-Identifier: GPL-3.0-or-later
"""Commands end within their time, and of their output only the end is kept."""

from __future__ import annotations

import time

import pytest
from ansible_collections.voicefleet.kokoro.plugins.module_utils.host import commands


def test_status_and_output() -> None:
    assert commands.run(["sh", "-c", "echo out; echo err >&2; exit 3"], 10) == (3, "out\nerr")
    assert commands.run(["/no/such/program"], 10)[0] == 127


def test_only_the_end_of_a_long_output_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commands, "OUTPUT_BYTES", 1000)
    status, output = commands.run(["sh", "-c", "head -c 300000 /dev/zero | tr '\\0' x; echo end"], 30)
    assert (status, len(output), output[-4:]) == (0, 999, "xend")


@pytest.mark.parametrize("command", ["sleep 60", "yes", "exec >&-; sleep 60"])
def test_a_command_that_does_not_end_is_abandoned(command: str) -> None:
    begin = time.monotonic()
    assert commands.run(["sh", "-c", command], 0.3) == (commands.LATE, "sh did not answer within 0.3 s")
    assert time.monotonic() - begin < 60
