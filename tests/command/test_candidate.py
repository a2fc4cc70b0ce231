# SPDX-License-Identifier: GPL-3.0-or-later
"""The order in which a deploy and a rollback run a candidate, move the gateway's clients and restart the service."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.voicefleet.kokoro.tests.command.runs import ansible_playbook, local_inventory
from ansible_collections.voicefleet.kokoro.tests.command.test_unchanged import OURS, PLAN, REAL, tree

# Notes what is called, with its state and whether it is about the candidate. A call in "fails" fails.
STAND_IN = """
import json, os
from ansible.plugins.action import ActionBase
class ActionModule(ActionBase):
    def run(self, tmp=None, task_vars=None):
        args, name = self._task.args, self._task.action.rpartition(".")[2]
        about = args.get("candidate") or "candidate" in str(args.get("name"))
        said = " ".join(filter(None, [name, args.get("state"), "of candidate" if about else ""]))
        with open(os.environ["CALLS"], "a") as calls:
            calls.write(said + "\\n")
        with open(os.environ["ANSWERS"]) as answers:
            found = json.load(answers)
        if said in found["fails"]:
            return {"failed": True, "msg": "as the test wants it"}
        return {"changed": False, **found.get(said, found.get(name, {}))}
"""
ANSWERS: dict[str, Any] = {
    "unchanged": {"unchanged": False, "released": False},
    "xinference_setup": {"cores": 2, "environment_file": "/nowhere/xinference.env", "model_uids": ["kokoro"]},
    "synthesis_check": {"synthesis": {"level": "acoustic"}},
    "release": {"failure": "as the test wants it"},
    "gateway_upstream": {"answers": "service"},
    "deploy_lock": {"owner": {}},
}
NEW, OLD = "1.2.3-abc", "1.2.3-000"
FORMER = {
    "release": {"id": OLD, "path": f"/nowhere/{OLD}", "complete": True}, "profile": "cpu-py311-x86_64",
    "accelerator": "cpu", "model": {"name": "Kokoro-82M"}, "languages": ["a"], "language_models": {},
    "hearing_model": "",
}  # fmt: skip
CANDIDATE = ["setup of candidate", "service of candidate", "model", "proof of candidate"]
TO_CANDIDATE, BACK = "upstream candidate", ["upstream service", "service absent of candidate"]
SERVICE = ["service", "model", "proof"]


class Run:
    """The calls of a play on one host in short words, between plan and lock. ``said`` is the output."""

    def __init__(
        self, folder: Path, play: str, candidate: dict[str, Any], fails: tuple[str, ...] = (), **answers: Any
    ) -> None:
        names = {path.stem for path in (OURS / "plugins" / "modules").glob("*.py")}
        copy = tree(folder, "action", {f"{name}.py": STAND_IN for name in names - {*REAL}})
        plan = {**PLAN, "current": answers.pop("current", OLD), "former": FORMER}
        plan["release"] = {**plan["release"], "complete": answers.pop("complete", True)}
        plan["candidate"] = {**PLAN["candidate"], "port": 9, **candidate}
        plan["candidate"] |= {"account_home": "/h", "service_secrets": "/s0", "unit": "voicefleet-candidate.service"}
        found = {**ANSWERS, "preflight": {"plan": plan, "cores": 3}, "rollback_candidate": {"plan": plan}, **answers}
        found["release planned"] = {"plan": plan}
        (folder / "answers.json").write_text(json.dumps({**found, "fails": fails}))
        # Whatever builtin module Ansible gives this "Python", it answers.
        python = folder / "python"
        python.write_text("#!/bin/sh\necho '{\"changed\": false}'\n")
        python.chmod(0o755)
        inventory = local_inventory(folder, "speech-01")
        inventory.write_text(inventory.read_text().replace(sys.executable, str(python)))
        paths = {"CALLS": "calls", "ANSWERS": "answers.json", "ANSIBLE_COLLECTIONS_PATH": "tree"}
        files = {name: str(folder / path) for name, path in paths.items()}
        deploy = (str(copy / "playbooks" / f"{play}.yml"), "-i", str(inventory), "-e", "ansible_become=false")
        done = ansible_playbook(folder, *deploy, **files)
        self.said = " ".join((done.stdout + done.stderr).split())
        short = {"xinference_": "", "synthesis_check": "proof", "gateway_": "", "release_prune": "prune"}
        self.calls = []
        for line in (folder / "calls").read_text().splitlines():
            for word, other in short.items():
                line = line.replace(word, other)
            self.calls.append(line)
        begin = next(at for at, call in enumerate(self.calls) if call in ("preflight", "rollback_candidate")) + 1
        end = max(at for at, call in enumerate(self.calls) if call.startswith("deploy_lock"))
        self.calls = self.calls[begin:end]


BESIDE = {"wanted": True, "stays": True}


@pytest.mark.parametrize("play", ["deploy", "rollback"])
def test_an_upgrade_behind_a_gateway(tmp_path: Path, play: str) -> None:
    run = Run(tmp_path, play, BESIDE)
    assert run.calls == [*CANDIDATE, "setup", TO_CANDIDATE, *SERVICE, "release current", *BACK], run.said


def test_an_upgrade_without_a_gateway_announces_the_gap(tmp_path: Path) -> None:
    run = Run(tmp_path, "deploy", {"wanted": True, "gap": "the cat sleeps. The last one took 23 s."})
    assert run.calls == [*CANDIDATE, *BACK, "setup", *SERVICE, "release current", *BACK], run.said
    assert "speech-01: clients wait while the service restarts, because the cat sleeps. The last one" in run.said


@pytest.mark.parametrize(("restarts", "gap"), [(True, ""), (False, ""), (True, "the cat sleeps.")])
def test_other_settings_of_the_same_release(tmp_path: Path, restarts: bool, gap: str) -> None:
    run = Run(
        tmp_path, "deploy", {"stays": not gap, "gap": gap}, current=NEW,
        unchanged={"unchanged": False, "released": False, "restarts": restarts},
    )  # fmt: skip
    beside = restarts and not gap
    expected = ["unchanged", *(CANDIDATE if beside else []), "setup", *([TO_CANDIDATE] if beside else []), *SERVICE]
    assert run.calls == [*expected, "release current", *(BACK if beside else [])], run.said
    assert ("clients wait" in run.said) == (restarts and bool(gap))


def test_a_candidate_that_fails_touches_nothing(tmp_path: Path) -> None:
    run = Run(tmp_path, "deploy", BESIDE, ("synthesis_check of candidate",))
    assert run.calls == [*CANDIDATE, "release failed", *BACK], run.said


def test_a_service_that_fails_is_restored_while_the_candidate_answers(tmp_path: Path) -> None:
    run = Run(tmp_path, "deploy", BESIDE, ("synthesis_check",))
    begin = [*CANDIDATE, "setup", TO_CANDIDATE, *SERVICE, "release failed"]
    assert run.calls == [*begin, "setup", "service", "model", *BACK], run.said
    assert f"The previous release {OLD} serves again" in run.said


def test_a_candidate_that_must_go_on_is_not_removed(tmp_path: Path) -> None:
    run = Run(tmp_path, "deploy", BESIDE, ("xinference_service",), gateway_upstream={"answers": "candidate"})
    assert run.calls == [
        *CANDIDATE, "setup", TO_CANDIDATE, "service", "release failed", "setup", "service", "upstream service",
    ], run.said  # fmt: skip
    assert "could not be restored" in run.said


@pytest.mark.parametrize(("play", "answers"), [("deploy", True), ("deploy", False), ("rollback", True)])
def test_what_a_killed_run_left(tmp_path: Path, play: str, answers: bool) -> None:
    """A candidate that answers clients goes on until the service is proved. Any other is removed first."""
    more = {"answers": True, "stays": True} if answers else BESIDE
    run = Run(tmp_path, play, {"left": True, **more})
    begin = [] if answers else [*BACK, *CANDIDATE]
    assert run.calls == [*begin, "setup", TO_CANDIDATE, *SERVICE, "release current", *BACK], run.said


def test_an_answering_candidate_goes_on_if_the_build_fails(tmp_path: Path) -> None:
    run = Run(tmp_path, "deploy", {"left": True, "answers": True, "stays": True}, ("artifacts",), complete=False)
    assert run.calls == ["release failed"], run.said
