# SPDX-License-Identifier: GPL-3.0-or-later
"""Each controller in turn."""

from __future__ import annotations

import pytest
import testinfra
from controllers import CONTROLLERS
from testinfra.host import Host


@pytest.fixture(scope="module", params=CONTROLLERS)
def controller(request: pytest.FixtureRequest) -> Host:
    return testinfra.get_host(f"docker://{request.param}")
