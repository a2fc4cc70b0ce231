# SPDX-License-Identifier: GPL-3.0-or-later
"""The order in which a deploy and a rollback run a candidate, move the gateway's clients and restart the service."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.voicefleet.kokoro.tests.command.runs import ansible_playbook, local_inventory
from ansible_collections.voicefleet.kokoro.tests.command.test_unchanged import CLUSTER, OURS, PLAN, REAL, tree

# Notes what is called on which host, with its state and whether it is about the candidate. A call in "fails" fails.
STAND_IN = """
import json, os
from ansible.plugins.action import ActionBase
class ActionModule(ActionBase):
    def run(self, tmp=None, task_vars=None):
        args, name = self._task.args, self._task.action.rpartition(".")[2]
        about = args.get("candidate") or "candidate" in str(args.get("name"))
        said = " ".join(filter(None, [name, args.get("state"), "of candidate" if about else ""]))
        host = task_vars["inventory_hostname"] + ": "
        with open(os.environ["CALLS"], "a") as calls:
            calls.write(host + said + "\\n")
        with open(os.environ["ANSWERS"]) as answers:
            found = json.load(answers)
        if said in found["fails"] or host + said in found["fails"]:
            return {"failed": True, "msg": "as the test wants it"}
        known = [each for each in (host + said, host + name, said, name) if each in found]
        return {"changed": False, **(found[known[0]] if known else {})}
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


def plan_with(candidate: dict[str, Any], **release: Any) -> dict[str, Any]:
    """A plan that upgrades to another release, with this candidate."""
    found = {**PLAN, "current": release.pop("current", OLD), "former": FORMER}
    found["release"] = {**found["release"], "complete": True, **release}
    found["candidate"] = {**PLAN["candidate"], "port": 9, **candidate}
    found["candidate"] |= {"account_home": "/h", "service_secrets": "/s0", "unit": "voicefleet-candidate.service"}
    return found


def play(
    folder: Path, name: str, plans: dict[str, dict[str, Any]], answers: dict[str, Any], variables: str = ""
) -> tuple[list[str], str]:
    """Run a playbook on hosts with these plans. Returns the calls in short words, as "host: call", and the output."""
    names = {path.stem for path in (OURS / "plugins" / "modules").glob("*.py")}
    copy = tree(folder, "action", {f"{each}.py": STAND_IN for each in names - {*REAL}})
    found = {**ANSWERS, "fails": (), **answers}
    for host, plan in plans.items():
        found[f"{host}: preflight"] = {"plan": plan, "cores": 3}
        found[f"{host}: rollback_candidate"] = found[f"{host}: release planned"] = {"plan": plan}
    (folder / "answers.json").write_text(json.dumps(found))
    # Whatever builtin module Ansible gives this "Python", it answers.
    python = folder / "python"
    python.write_text("#!/bin/sh\necho '{\"changed\": false}'\n")
    python.chmod(0o755)
    inventory = local_inventory(folder, *plans)
    inventory.write_text(inventory.read_text().replace(sys.executable, str(python)) + variables)
    paths = {"CALLS": "calls", "ANSWERS": "answers.json", "ANSIBLE_COLLECTIONS_PATH": "tree"}
    files = {each: str(folder / path) for each, path in paths.items()}
    book = (str(copy / "playbooks" / f"{name}.yml"), "-i", str(inventory), "-e", "ansible_become=false")
    done = ansible_playbook(folder, *book, **files)
    calls = (folder / "calls").read_text()
    short = {"xinference_": "", "synthesis_check": "proof", "gateway_": "", "release_prune": "prune"}
    for word, other in short.items():
        calls = calls.replace(word, other)
    return calls.splitlines(), " ".join((done.stdout + done.stderr).split())


def within(calls: list[str], host: str) -> list[str]:
    """What was called on a host, between its plan and its lock."""
    own = [call.partition(": ")[2] for call in calls if call.startswith(f"{host}: ")]
    begin = next(at for at, call in enumerate(own) if call in ("preflight", "rollback_candidate")) + 1
    return own[begin : max(at for at, call in enumerate(own) if call.startswith("deploy_lock"))]


class Run:
    """The calls of a play on one host. ``said`` is the output."""

    def __init__(
        self, folder: Path, name: str, candidate: dict[str, Any], fails: tuple[str, ...] = (), **answers: Any
    ) -> None:
        release = {each: answers.pop(each) for each in ("current", "complete") if each in answers}
        plans = {"speech-01": plan_with(candidate, **release)}
        calls, self.said = play(folder, name, plans, {"fails": fails, **answers})
        self.calls = within(calls, "speech-01")


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


@pytest.mark.parametrize(("stays", "through", "drained"), [(True, True, 0), (True, False, 1), (False, True, 1)])
def test_a_node_stays_in_its_balancers_if_a_candidate_answers_behind_its_gateway(
    tmp_path: Path, stays: bool, through: bool, drained: int
) -> None:
    groups = f"  vars: {{balancer_through_gateway: {through}}}\nbalancers:\n  hosts: {{front: {{}}}}\n"
    plans = {"speech-01": plan_with({"wanted": True, "stays": stays})}
    calls, said = play(tmp_path, "deploy", plans, {}, groups)
    assert calls.count("speech-01: balancer_node drained") == drained, said
    assert calls.count("speech-01: balancer_node ready") == 1
    assert "speech-01: release current" in calls


# --- a cluster: a supervisor and its worker ---------------------------------------------------------------------------

NO_CANDIDATE = {"wanted": False}
MEMBER = ["packet_filter", "setup", "service"]


class Members:
    """The calls of a play on both members of a cluster. ``all`` names each call with its host."""

    def __init__(
        self, folder: Path, name: str, candidate: dict[str, Any], fails: tuple[str, ...] = (), **answers: Any
    ) -> None:
        release = {each: answers.pop(each) for each in ("current", "complete") if each in answers}
        plans = {"s": plan_with(candidate, **release), "w": plan_with({}, **release)}
        self.all, self.said = play(folder, name, plans, {"fails": fails, **answers}, CLUSTER)
        self.supervisor, self.worker = within(self.all, "s"), within(self.all, "w")

    def before(self, first: str, second: str) -> bool:
        return self.all.index(first) < self.all.index(second)


@pytest.mark.parametrize("name", ["deploy", "rollback"])
def test_a_candidate_answers_while_all_members_of_a_cluster_change(tmp_path: Path, name: str) -> None:
    run = Members(tmp_path, name, BESIDE)
    changed = ["packet_filter", "setup", TO_CANDIDATE, *SERVICE, "release current"]
    assert run.supervisor == [*CANDIDATE, *changed, *BACK], run.said
    assert run.worker == [*MEMBER, "proof", "release current"], run.said
    assert run.before("s: proof of candidate", "w: packet_filter")
    assert run.before(f"s: {TO_CANDIDATE}", "w: service")
    assert run.before("w: release current", "s: upstream service")


def test_a_candidate_that_fails_touches_no_member(tmp_path: Path) -> None:
    run = Members(tmp_path, "deploy", BESIDE, ("synthesis_check of candidate",))
    assert run.supervisor == [*CANDIDATE, "release failed", *BACK], run.said
    assert run.worker == ["release failed"], run.said
    assert "failed in it: s. Run the play for all of them" in run.said
    assert "continues to serve without a gap" in run.said


@pytest.mark.parametrize("host", ["s", "w"])
def test_a_member_that_cannot_build_the_release_leaves_the_cluster_as_it_was(tmp_path: Path, host: str) -> None:
    run = Members(tmp_path, "deploy", NO_CANDIDATE, (f"{host}: artifacts",), complete=False)
    building = {"artifacts", "artifacts_swarm", "python_env", "spacy_models", "kokoro_files", "release sealed"}
    assert {*run.supervisor, *run.worker} <= {*building, "release failed"}, run.said


@pytest.mark.parametrize("host", ["s", "w"])
@pytest.mark.parametrize("call", ["setup", "service", "proof"])
def test_all_members_go_back_if_one_fails_while_the_candidate_answers(tmp_path: Path, host: str, call: str) -> None:
    failing = {"proof": "synthesis_check"}.get(call, f"xinference_{call}")
    run = Members(tmp_path, "deploy", BESIDE, (f"{host}: {failing}",))
    for calls in (run.supervisor, run.worker):
        assert "release current" not in calls, run.said
        assert calls.count("release failed") == 1
    # What they run again after the failure.
    assert "service" in run.worker[run.worker.index("release failed") :] or (host, call) == ("w", "setup")
    assert run.supervisor[-2:] == BACK
    if (host, call) in {("s", "setup"), ("s", "service")}:
        # The worker of the new release never met the former supervisor.
        assert "service" not in run.worker[: run.worker.index("release failed")]


def test_members_that_would_run_different_releases_stay_as_they_are(tmp_path: Path) -> None:
    plans = {"s": plan_with({}), "w": plan_with({}, id="1.2.3-xyz", path="/nowhere/1.2.3-xyz")}
    calls, said = play(tmp_path, "deploy", plans, {}, CLUSTER)
    assert within(calls, "s") == within(calls, "w") == ["release failed"], said
    assert f"They would run different releases: {NEW}, 1.2.3-xyz." in said


def test_clients_of_a_cluster_get_their_keys_from_the_supervisor_alone(tmp_path: Path) -> None:
    plans = {host: plan_with({}) for host in ("s", "w")}
    calls, said = play(tmp_path, "deploy", plans, {}, f"{CLUSTER}    xinference_clients: [{{name: shop}}]\n")
    assert [call for call in calls if "api_key" in call] == ["s: api_key present"], said
    assert "w: release current" in calls


def test_other_settings_of_the_same_release_in_a_cluster(tmp_path: Path) -> None:
    restarts = {"unchanged": False, "released": False, "restarts": True}
    run = Members(tmp_path, "deploy", {"stays": True}, current=NEW, unchanged=restarts)
    changed = ["packet_filter", "setup", TO_CANDIDATE, *SERVICE, "release current"]
    assert run.supervisor == ["unchanged", *CANDIDATE, *changed, *BACK], run.said
    assert run.worker == [*MEMBER, "proof", "release current"], run.said
