# SPDX-License-Identifier: GPL-3.0-or-later
"""The role repair restarts what runs, or refuses before any change. Real plays, stand-ins for systemd and Docker."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.voicefleet.kokoro.plugins.module_utils.repair import place

COLLECTION = Path(__file__).resolve().parents[3]
# systemd's answers: every unit is loaded and runs.
SYSTEMCTL = """#!/bin/sh
echo "$*" >>{folder}/asked
case $1 in
    show) printf 'LoadState=loaded\\nActiveState=active\\nSubState=running\\n' ;;
    is-enabled) echo enabled ;;
esac
"""
# Docker's answers for one container. The program that restores it inside says what it restored.
DOCKER = """#!/bin/sh
case $1 in
    inspect) cat {folder}/inspect.json ;;
    exec)
        cat >>{folder}/asked
        echo >>{folder}/asked
        echo '{{"changed": ["/a"], "ledger": "/l", "owed": true}}' ;;
    *) echo "$*" >>{folder}/asked ;;
esac
"""


# A Docker whose one container is this host. A file makes each restart fail.
HERE = """#!/bin/sh
case $1 in
    inspect) cat {folder}/inspect.json ;;
    exec) shift 5; exec "$@" ;;
    *) echo "$*" >>{folder}/asked; test ! -e {folder}/broken ;;
esac
"""


def play(
    folder: Path, role: dict[str, Any], docker: str = DOCKER, **variables: Any
) -> subprocess.CompletedProcess[str]:
    task = {"name": "Repair", "ansible.builtin.include_role": {"name": "voicefleet.kokoro.repair", **role}}
    plays = [{"hosts": "all", "connection": "local", "gather_facts": False, "vars": variables, "tasks": [task]}]
    (folder / "play.yml").write_text(json.dumps(plays))
    collection = folder / "ansible_collections" / "voicefleet" / "kokoro"
    if not collection.exists():
        collection.parent.mkdir(parents=True)
        collection.symlink_to(COLLECTION)
    for name, text in (("systemctl", SYSTEMCTL), ("docker", docker)):
        program = folder / "bin" / name
        program.parent.mkdir(exist_ok=True)
        program.write_text(text.format(folder=folder))
        program.chmod(0o755)
    paths = {"ANSIBLE_COLLECTIONS_PATH": str(folder), "ANSIBLE_HOME": str(folder), "HOME": str(folder)}
    return subprocess.run(
        # Not `-m ansible playbook`: in ansible-test's environment Ansible has no entry points.
        [sys.executable, "-c", "from ansible.cli.playbook import main; main()", "play.yml", "-i", "speech-01,"]
        + ["-e", f"ansible_python_interpreter={sys.executable}"],
        cwd=folder, env={**os.environ, **paths, "PATH": f"{folder}/bin:{os.environ['PATH']}"},
        capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL,
    )  # fmt: skip


def asked(folder: Path) -> list[str]:
    file = folder / "asked"
    return file.read_text().splitlines() if file.exists() else []


def test_every_unit_of_the_place_is_restarted(tmp_path: Path) -> None:
    units = {"name": "x", "units": ["xinference-supervisor.service", "xinference-worker.service"], "container": ""}
    done = play(tmp_path, {"tasks_from": "restart"}, __repair_place=units)
    assert done.returncode == 0, done.stdout + done.stderr
    restarted = [line.replace("'", "") for line in asked(tmp_path) if line.startswith("restart")]
    assert restarted == ["restart xinference-supervisor.service", "restart xinference-worker.service"]


@pytest.mark.parametrize(
    ("removed", "restart", "changed"), [(True, True, False), (True, False, True), (False, True, True)]
)
def test_a_container_that_is_removed_when_it_ends_is_restored_but_never_restarted(
    tmp_path: Path, removed: bool, restart: bool, changed: bool
) -> None:
    row = {
        "Name": "/speech", "Id": "1", "Config": {"Image": "xinference"}, "State": {"Running": True, "Pid": 0},
        "HostConfig": {"AutoRemove": removed},
    }  # fmt: skip
    (tmp_path / "inspect.json").write_text(json.dumps([row]))
    given = {"repair_state": "absent", "repair_container": "speech", "repair_engine": "docker"}
    done = play(tmp_path, {}, **given, repair_restart=restart)
    assert done.returncode == (0 if changed else 2), done.stdout + done.stderr
    assert any('"do": "revert"' in line for line in asked(tmp_path)) is changed
    assert ("restart speech" in asked(tmp_path)) is (changed and restart)
    if not changed:
        words = " ".join(done.stdout.split())
        assert "a container that is not removed when it ends" in words
        assert "repair_container=speech repair_engine=docker has neither. Nothing was changed" in words


def test_a_restart_that_failed_is_repeated_by_the_next_run(tmp_path: Path) -> None:
    """The next run changes nothing. So the ledger has to remember the restart."""
    prefix = environment(tmp_path)
    row = {"Name": "/speech", "Id": "1", "Config": {"Image": "x"}, "State": {"Running": True, "Pid": 0}}
    (tmp_path / "inspect.json").write_text(json.dumps([{**row, "HostConfig": {}}]))
    given = {
        "repair_state": "absent", "repair_container": "speech", "repair_engine": "docker", "repair_restart": True,
        "repair_prefix": str(prefix), "repair_home": str(tmp_path / "home"),
    }  # fmt: skip
    asking = {"do": "apply", "home": str(tmp_path / "home"), "texts": [{"to": "home:a", "text": "b"}]}
    place.Native(str(prefix / "bin" / "python")).run(asking)
    (tmp_path / "broken").touch()
    failed = play(tmp_path, {}, HERE, **given)
    assert (failed.returncode, asked(tmp_path)) == (2, ["restart speech"]), failed.stdout + failed.stderr
    assert not (tmp_path / "home" / "a").exists()
    (tmp_path / "broken").unlink()
    for count in (2, 2):
        done = play(tmp_path, {}, HERE, **given)
        assert done.returncode == 0, done.stdout + done.stderr
        assert asked(tmp_path) == ["restart speech"] * count
        assert not (prefix / "voicefleet-repair").exists()


def environment(folder: Path) -> Path:
    """An environment with a made-up Xinference."""
    prefix = folder / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(prefix)], check=True)
    version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    info = prefix / "lib" / version / "site-packages" / "xinference-4.0.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: xinference\nVersion: 4.0.0\n")
    (folder / "home").mkdir()
    return prefix
