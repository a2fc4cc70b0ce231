# SPDX-License-Identifier: GPL-3.0-or-later
"""Who deploys: a play of this controller that ended is known to be dead, and of others nothing is claimed."""

from __future__ import annotations

import os
import subprocess

from ansible_collections.voicefleet.kokoro.plugins.plugin_utils import deploy_lock


def test_a_running_play_is_not_dead_and_an_ended_one_is() -> None:
    process = subprocess.Popen(["sleep", "60"])
    holder = deploy_lock.owner(process.pid)
    assert not deploy_lock.is_dead(holder)
    process.kill()
    process.wait()
    assert deploy_lock.is_dead(holder)


def test_a_number_that_another_process_has_now_does_not_revive_a_play() -> None:
    holder = deploy_lock.owner(os.getpid())
    assert deploy_lock.is_dead({**holder, "started": "another boot 1"})


def test_of_another_controllers_play_nothing_is_known() -> None:
    assert not deploy_lock.is_dead({**deploy_lock.owner(os.getpid()), "controller": "elsewhere", "pid": 2**22 - 1})
    assert not deploy_lock.is_dead({})


def test_a_person_can_find_the_holder() -> None:
    words = deploy_lock.in_words({"controller": "anna", "user": "kim", "pid": 42}, 600)
    assert words == "kim on anna (process 42), 10 minutes ago"
