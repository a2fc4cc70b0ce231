# SPDX-License-Identifier: GPL-3.0-or-later
"""What the role balancer computes about a node."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("hypothesis")

from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.fleet import service
from ansible_collections.voicefleet.kokoro.tests.unit.roles.test_templates import defaults

pytestmark = pytest.mark.usefixtures("ansible_plugins")


@pytest.mark.parametrize(
    ("given", "listens"),
    [
        ({}, False),
        ({"xinference_host": "127.0.0.1"}, False),
        ({"xinference_host": "0.0.0.0"}, True),
        ({"balancer_through_gateway": True}, True),
        # The balancer is on the node's own host.
        ({"groups": {"balancers": ["speaker"]}}, True),
        ({"groups": {"balancers": ["front"]}}, False),
        ({"groups": {"balancers": ["speaker", "front"]}}, False),
    ],
)
def test_a_node_that_a_balancer_cannot_reach_is_refused(given: dict[str, Any], listens: bool) -> None:
    variables = {**defaults("balancer"), "inventory_hostname": "speaker", "groups": {}, **given}
    variables["voicefleet_service"] = service.whole(variables, "speaker").as_dict()
    templar = Templar(loader=DataLoader(), variables=variables)
    assert templar.template(variables["__balancer_node_listens"]) is listens
