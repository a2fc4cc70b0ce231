# SPDX-License-Identifier: GPL-3.0-or-later
"""The last test of the scenario: it leaves no release."""

from __future__ import annotations

from controllers import play, target
from testinfra.host import Host


def test_a_teardown_removes_the_release(controller: Host) -> None:
    play(controller, "teardown", "{teardown_confirm: true}")
    assert not target(controller).file("/opt/voicefleet/current").exists
