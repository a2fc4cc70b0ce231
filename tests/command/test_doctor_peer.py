# SPDX-License-Identifier: GPL-3.0-or-later
"""The host that the doctor tries from another one: the next of the play, as the inventory describes it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from ansible_collections.voicefleet.kokoro.tests.command.runs import PLAYBOOKS, ansible_playbook

VARIABLES = PLAYBOOKS.parent / "roles/doctor/vars/main.yml"
PLAY = f"""
- hosts: voicefleet
  gather_facts: false
  connection: local
  vars_files: ["{VARIABLES}"]
  tasks:
    - ansible.builtin.debug:
        msg: "FOUND {{{{ inventory_hostname }}}} {{{{ __doctor_peer | to_json }}}}"
"""
INVENTORY = """
voicefleet:
  vars:
    xinference_host: 0.0.0.0
  hosts:
    one: {ansible_host: 10.20.0.11, xinference_allowed_networks: [localhost, 10.20.0.0/16]}
    two: {ansible_host: 10.20.0.12, xinference_port: 9100}
    three: {xinference_host: 127.0.0.1}
"""


def peers(folder: Path, *arguments: str) -> dict[str, Any]:
    (folder / "play.yml").write_text(PLAY)
    (folder / "inventory.yml").write_text(INVENTORY)
    done = ansible_playbook(folder, "play.yml", "-i", "inventory.yml", *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    rows = re.findall(r'"FOUND (\w+) (.*)"$', done.stdout, re.MULTILINE)
    return {name: json.loads(json.loads(f'"{text}"')) for name, text in rows}


def test_each_host_tries_the_next_one_of_the_play(tmp_path: Path) -> None:
    found = peers(tmp_path)
    assert {name: peer["name"] for name, peer in found.items()} == {"one": "two", "two": "three", "three": "one"}
    assert (found["one"]["reach"], found["one"]["port"], found["one"]["open"]) == ("10.20.0.12", 9100, True)
    assert found["one"]["networks"] == []
    assert not found["two"]["open"]
    assert found["three"]["networks"] == ["localhost", "10.20.0.0/16"]


def test_a_host_alone_tries_none(tmp_path: Path) -> None:
    assert peers(tmp_path, "--limit", "one") == {"one": {}}
