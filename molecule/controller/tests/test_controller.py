# SPDX-License-Identifier: GPL-3.0-or-later
"""A controller on Debian 12 and one on Debian 13: each one deploys from the installed tarball, without internet."""

from __future__ import annotations

import json
import subprocess

from controllers import COLLECTION, CONTROLLERS, name, play, target
from deployed import Speaker
from testinfra.host import Host


def test_it_has_no_way_out() -> None:
    inspect = ["docker", "network", "inspect", "--format", "{{.Internal}}", "vf-controller"]
    assert subprocess.run(inspect, check=True, capture_output=True, text=True).stdout.strip() == "true"


def test_its_python_and_its_ansible_are_those_of_the_debian_release(controller: Host) -> None:
    said = controller.check_output("/root/venv/bin/ansible --version")
    assert f"python version = {CONTROLLERS[name(controller)]}." in said
    assert ("[core 2.19." in said) == (name(controller) == "vf-controller-12")
    listed = json.loads(controller.check_output("/root/venv/bin/ansible-galaxy collection list --format json"))
    # ansible-core brings a collection of its own.
    ours = {name: row for names in listed.values() for name, row in names.items() if not name.startswith("ansible.")}
    assert ours == {"voicefleet.kokoro": listed_version(controller)}


def listed_version(controller: Host) -> dict[str, str]:
    manifest = f"{COLLECTION}/MANIFEST.json"
    return {"version": json.loads(controller.file(manifest).content_string)["collection_info"]["version"]}


def test_a_deploy_reaches_the_level_intelligible(controller: Host) -> None:
    said = play(controller, "deploy")
    assert "intelligible" in said
    host = target(controller)
    assert Speaker(host).ask("am_michael").status == 200
    receipt = json.loads(host.file("/var/lib/voicefleet-evidence/receipts.jsonl").content_string.splitlines()[-1])
    assert receipt["proof_level"] == "intelligible"


def test_the_next_deploy_changes_nothing(controller: Host) -> None:
    said = play(controller, "deploy")
    assert "changed=0" in said[said.index("PLAY RECAP") :]


def test_the_doctor_finds_nothing(controller: Host) -> None:
    play(controller, "doctor")
