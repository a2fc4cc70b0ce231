# SPDX-License-Identifier: GPL-3.0-or-later
"""The controllers of the scenario controller, each with the host that it deploys to."""

from __future__ import annotations

import testinfra
from testinfra.host import Host

# ansible-core begins with this version; requirements/ansible-core.txt has the Pythons.
CONTROLLERS = {"vf-controller-12": "3.11", "vf-controller-13": "3.13"}
COLLECTION = "/root/.ansible/collections/ansible_collections/voicefleet/kokoro"


def play(controller: Host, playbook: str, extra: str = "{}") -> str:
    """Run one of the collection's playbooks on the controller, as README does. Returns its output, folded."""
    ran = controller.run(
        "cd /root && timeout 1200 venv/bin/ansible-playbook voicefleet.kokoro.%s -i inventory.yml -e %s </dev/null",
        playbook,
        extra,
    )
    assert ran.rc == 0, ran.stdout + ran.stderr
    assert "[DEPRECATION WARNING]" not in ran.stdout + ran.stderr
    return " ".join((ran.stdout + ran.stderr).split())


def name(controller: Host) -> str:
    return str(controller.check_output("hostname"))


def target(controller: Host) -> Host:
    """The host that this controller deploys to."""
    return testinfra.get_host(f"docker://{name(controller).replace('controller-', 'controller-host-')}")
