# SPDX-License-Identifier: GPL-3.0-or-later
"""Repaired Xinferences speak, are left alone by a second run, and get every file back."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from deploys import PROJECT, changed, deploy, environment, folded, succeed
from testinfra.host import Host

LEDGER = "/srv/xinference/voicefleet-repair/ledger.json"


def example(role: str, host: Host, folder: Path) -> str:
    """Run the play of a role's README on a host, and return the folded output."""
    text = (PROJECT / "roles" / role / "README.md").read_text(encoding="utf-8")
    play = re.findall(r"^```yaml\n(.*?)^```", text, re.MULTILINE | re.DOTALL)[-1]
    assert "hosts: speech" in play
    (folder / "play.yml").write_text(play.replace("hosts: speech", f"hosts: {host.backend.get_hostname()}"))
    done = subprocess.run(
        ["ansible-playbook", str(folder / "play.yml"), "--inventory", os.environ["MOLECULE_INVENTORY_FILE"]]
        + ["-e", "repair_restart=false", "-e", "repair_launch=false", "-e", "synthesis_required_level=acoustic"],
        env=environment(), capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    said = folded(done.stdout + done.stderr)
    assert done.returncode == 0, said
    return said


def proof(host: Host) -> dict[str, Any]:
    name = host.backend.get_hostname()
    path = PROJECT / "build/molecule/repair/hosts" / f"{name}.json"
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))["synthesis"]
    return found


def test_it_speaks_every_word_with_converted_weights(host: Host) -> None:
    found = proof(host)
    assert found["level"] == "intelligible", found["lines"]
    assert {sample["voice"] for sample in found["samples"]} == {"af_heart", "am_michael"}
    assert set(found["unpublished"].values()) == {"converted"}


def test_the_spacy_model_is_an_installed_package(host: Host) -> None:
    said = host.check_output(
        "/srv/xinference/bin/python -c %s", "import spacy; print(spacy.util.is_package('en_core_web_sm'))"
    )
    assert said == "True"


def test_a_blend_of_voices_needs_no_hub(host: Host) -> None:
    key = "-H 'Authorization: Bearer xf-key-of-the-scenario-repair'"
    body = {"model": "kokoro", "input": "Hello there.", "voice": "af_heart,am_michael", "response_format": "wav"}
    asked = host.run(
        f"curl --silent --max-time 200 --output /tmp/blend --write-out '%%{{http_code}}' {key}"
        " -H 'Content-Type: application/json' --data %s http://127.0.0.1:9997/v1/audio/speech",
        json.dumps(body),
    )
    assert asked.stdout == "200", host.file("/tmp/blend").content[:500]
    assert host.file("/tmp/blend").content[:4] == b"RIFF"


def test_nothing_is_left_on_the_way(host: Host) -> None:
    assert not host.file("/var/lib/voicefleet-repair").exists
    assert host.file("/srv/xinference/voicefleet-repair").mode == 0o700


def test_new_files_belong_to_the_owner_of_their_folder(host: Host) -> None:
    home = host.check_output("for f in /var/lib/xinference /data; do test -d $f/cache && echo $f; done; true")
    owners = host.check_output("stat -c %%U %s %s", f"{home}/cache", f"{home}/cache/v2/Kokoro-82M/voices/af_heart.pt")
    assert len(set(owners.split())) == 1


def test_check_mode_finds_nothing_more_to_do(host: Host) -> None:
    name = host.backend.get_hostname()
    said = succeed("--check", "--diff", "--limit", name, play="repair")
    assert changed(said, host) == 0


def test_the_role_synthesis_proves_a_server_on_its_own(host: Host, tmp_path: Path) -> None:
    """The play of its README asks with a key, which only the container has."""
    if not host.file("/etc/xinference.key").exists:
        pytest.skip("this Xinference has no accounts")
    example("synthesis", host, tmp_path)
    assert host.file("/var/lib/voicefleet-evidence/our-xinference").is_directory


def test_absent_restores_every_file(host: Host) -> None:
    """What it does cannot be undone."""
    name = host.backend.get_hostname()
    host.check_output("echo mine >>/srv/xinference/lib/python3.11/site-packages/voicefleet-repair.pth")
    status, said = deploy("--limit", name, "-e", "repair_state=absent", play="repair")
    assert status != 0
    assert "somebody changed these files after the repair" in said
    assert host.file(LEDGER).exists
    host.check_output("sed -i '$d' /srv/xinference/lib/python3.11/site-packages/voicefleet-repair.pth")
    shown = succeed("--limit", name, "--check", "--diff", "-e", "repair_state=absent", play="repair")
    assert "restore /srv/xinference" in shown
    assert host.file(LEDGER).exists
    succeed("--limit", name, "-e", "repair_state=absent", "-e", "repair_restart=false", play="repair")
    assert not host.file("/srv/xinference/voicefleet-repair").exists
    differs = host.run("sha256sum --check --quiet /root/before.digests")
    assert differs.rc == 0, differs.stdout
    times = host.check_output("find /srv/xinference -type f ! -name '*.pyc' -printf '%T@ %p\\n' | sort -k 2")
    assert times == host.check_output("grep -v '[.]pyc$' /root/before.times")
    # Python may have written byte code meanwhile.
    before = set(host.file("/root/before.names").content_string.splitlines())
    folders = "/srv/xinference /var/lib/xinference/cache /data/cache"
    found = host.check_output(f"find {folders} -printf '%y %m %U %G %p %l\\n' 2>/dev/null || true")
    now = set(found.splitlines())
    assert {row for row in now - before if row[0] != "d" and ".pyc" not in row} == set()


@pytest.mark.parametrize(
    ("role", "adds"), [("spacy_models", "en_core_web_sm"), ("kokoro", "voices/af_heart.pt")], ids=["spacy", "kokoro"]
)
def test_a_role_repairs_its_part_on_its_own(host: Host, tmp_path: Path, role: str, adds: str) -> None:
    """After everything was restored, the play of its README adds this part and nothing else."""
    if host.backend.get_hostname() != "vf-repair-host":
        pytest.skip("one host is enough")
    assert changed(example(role, host, tmp_path), host) > 0
    paths = [row["path"] for row in json.loads(host.file(LEDGER).content_string)["changes"]]
    assert [path for path in paths if adds in path]
    assert not [path for path in paths if path.endswith("voicefleet-repair.pth")]
    assert changed(example(role, host, tmp_path), host) == 0
    succeed("--limit", "vf-repair-host", "-e", "repair_state=absent", "-e", "repair_restart=false", play="repair")
    assert not host.file(LEDGER).exists
