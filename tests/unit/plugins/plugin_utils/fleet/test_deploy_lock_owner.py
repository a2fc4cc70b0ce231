# SPDX-License-Identifier: GPL-3.0-or-later
"""Who deploys: an ended play of this controller is recognised. Plays of other controllers cannot be checked."""

from __future__ import annotations

import os
import subprocess
from typing import Any

import pytest
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.fleet import deploy_lock


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """This machine has an id, whether or not its image gave it one."""
    monkeypatch.setattr(deploy_lock, "machine", lambda: "1234567890abcdef")


def test_a_running_play_is_not_dead_and_an_ended_one_is() -> None:
    process = subprocess.Popen(["sleep", "60"])
    holder = deploy_lock.owner(process.pid)
    assert not deploy_lock.is_dead(holder)
    process.kill()
    process.wait()
    assert deploy_lock.is_dead(holder)


def test_a_reused_process_id_does_not_revive_a_play() -> None:
    holder = deploy_lock.owner(os.getpid())
    assert deploy_lock.is_dead({**holder, "started": "another boot 1"})


def test_the_play_of_another_controller_is_never_taken_for_dead() -> None:
    assert not deploy_lock.is_dead({**deploy_lock.owner(os.getpid()), "controller": "elsewhere", "pid": 2**22 - 1})
    assert not deploy_lock.is_dead({})


def test_a_machine_with_the_same_name_is_another_controller() -> None:
    dead = {**deploy_lock.owner(os.getpid()), "started": "another boot 1"}
    assert deploy_lock.is_dead(dead)
    assert not deploy_lock.is_dead({**dead, "machine": "0" * 16})
    assert not deploy_lock.is_dead({name: value for name, value in dead.items() if name != "machine"})


def test_without_a_machine_id_nothing_is_claimed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deploy_lock, "machine", lambda: "")
    assert not deploy_lock.is_dead({**deploy_lock.owner(os.getpid()), "started": "another boot 1"})


def test_a_person_can_find_the_holder() -> None:
    held = {"holder": {"controller": "anna", "user": "kim", "pid": 42}, "age": 600, "phase": "artifacts"}
    assert deploy_lock.in_words(held) == "kim on anna (process 42), 10 minutes ago, last at artifacts"


@pytest.fixture
def mine() -> dict[str, Any]:
    return deploy_lock.owner(os.getpid())


def test_a_free_lock_is_taken_without_a_warning(mine: dict[str, Any]) -> None:
    asked = []

    def look(wanted: dict[str, Any]) -> dict[str, Any]:
        asked.append(wanted)
        return {"lock": {"taken": True, "holder": None, "age": 0.0}}

    assert deploy_lock.acquire(look, "h", mine, 60)[1] is None
    assert asked == [{"owner": mine, "seconds": 60}]


def test_the_lock_of_a_running_play_is_refused(mine: dict[str, Any]) -> None:
    held = {"lock": {"taken": False, "holder": {"controller": "anna", "user": "kim", "pid": 42}, "age": 60}}
    with pytest.raises(deploy_lock.HeldError, match="h is being deployed to by kim on anna .* nothing was changed"):
        deploy_lock.acquire(lambda _wanted: held, "h", mine, 60)


def test_the_lock_of_an_ended_play_is_requested_again(mine: dict[str, Any]) -> None:
    dead = {**mine, "started": "another boot 1"}

    def look(wanted: dict[str, Any]) -> dict[str, Any]:
        return {"lock": {"taken": wanted.get("dead") == dead, "holder": dead, "age": 60}}

    assert "its lock is taken over" in str(deploy_lock.acquire(look, "h", mine, 60)[1])
