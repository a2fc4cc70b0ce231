# SPDX-License-Identifier: GPL-3.0-or-later
"""A container runs the service as the unit does."""

from __future__ import annotations

import pytest
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.image import unit

TEXT = r"""# A comment
[Service]
ExecStart=/opt/r/env/bin/xinference-local -H 0.0.0.0 -p 9997 \
    --metrics-exporter-port 9998
ExecStop=-/bin/sh -c 'x'
TimeoutStopSec=90
Environment=XINFERENCE_HOME=/var/lib/voicefleet/xinference
Environment="NO_PROXY=localhost,127.0.0.1"
Environment="ODD=a \"b\" \\ 5%% =c"
UnsetEnvironment=http_proxy HTTP_PROXY
"""


def test_command_environment_and_time_to_stop_come_from_the_unit() -> None:
    found = unit.read(TEXT)
    assert found.command == [
        "/opt/r/env/bin/xinference-local", "-H", "0.0.0.0", "-p", "9997", "--metrics-exporter-port", "9998",
    ]  # fmt: skip
    assert found.environment == {
        "XINFERENCE_HOME": "/var/lib/voicefleet/xinference",
        "NO_PROXY": "localhost,127.0.0.1",
        "ODD": 'a "b" \\ 5% =c',
    }
    assert found.unset == ["http_proxy", "HTTP_PROXY"]
    assert found.stop_seconds == 90


def test_a_unit_without_a_command_is_refused() -> None:
    with pytest.raises(ValueError, match="no ExecStart"):
        unit.read("[Service]\nUser=x\n")
