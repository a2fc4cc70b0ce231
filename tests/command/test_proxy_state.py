# SPDX-License-Identifier: GPL-3.0-or-later
"""A proxy for fetch.yml in the inventory changes no host. Only proxy_state does."""

from __future__ import annotations

from pathlib import Path

from ansible_collections.voicefleet.kokoro.tests.command.runs import PLAYBOOKS, ansible_playbook, local_inventory

# Nothing listens there.
ARGUMENTS = ["-e", "proxy_http=http://127.0.0.1:9", "-e", "ansible_become=false", "--check"]


def test_proxy_http_alone_changes_no_host(tmp_path: Path) -> None:
    inventory = local_inventory(tmp_path, "speech-01")
    done = ansible_playbook(tmp_path, str(PLAYBOOKS / "proxy.yml"), "-i", str(inventory), *ARGUMENTS)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "changed=0" in done.stdout
    assert "skipping: [speech-01]" in done.stdout.split("or remove these settings]")[1]


def test_proxy_state_changes_the_host(tmp_path: Path) -> None:
    inventory = local_inventory(tmp_path, "speech-01")
    arguments = [*ARGUMENTS, "-e", "proxy_state=present"]
    done = ansible_playbook(tmp_path, str(PLAYBOOKS / "proxy.yml"), "-i", str(inventory), *arguments)
    assert done.returncode == 2
    assert "PROXY_DEAD" in done.stdout + done.stderr
