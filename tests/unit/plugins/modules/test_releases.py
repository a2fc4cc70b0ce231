# SPDX-License-Identifier: GPL-3.0-or-later
"""The modules that plan a rollback, prune, read the ledger and tear down: check mode, diff, refusals."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.voicefleet.kokoro.plugins.module_utils.host import ownership
from ansible_collections.voicefleet.kokoro.plugins.module_utils.host.layout import Paths
from ansible_collections.voicefleet.kokoro.plugins.module_utils.release import ledger, release as releases
from ansible_collections.voicefleet.kokoro.plugins.module_utils.state import removal
from ansible_collections.voicefleet.kokoro.plugins.modules import host_state, release, release_prune, teardown

Run = Callable[..., "tuple[dict[str, Any], int]"]


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str]) -> Run:
    """Run a module with some arguments, and return its result and exit status."""

    def call(module: ModuleType, check: bool = False, **arguments: Any) -> tuple[dict[str, Any], int]:
        with patch_module_args({**arguments, "_ansible_check_mode": check}), pytest.raises(SystemExit) as ended:
            module.main()
        result: dict[str, Any] = json.loads(capfd.readouterr().out)
        return result, int(ended.value.code or 0)

    return call


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    """Three complete releases; `b` is current."""
    found = Paths(str(tmp_path / "root"))
    ownership.claim(found.root)
    for name in "abc":
        folder = Path(found.release(name))
        for file in ("env/bin/xinference-local", "env/bin/python", "models/K/config.json", "models/K/w.pth"):
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            (folder / file).touch()
        contents = {
            "id": name, "made": 0, "manifest_sha256": "m", "profile": "p", "languages": ["a"], "voices": [],
            "unpublished": {}, "artifacts": [], "python": {"version": "3.11"}, "model": {"name": "K"},
        }  # fmt: skip
        releases.seal(str(folder), contents)
    releases.switch(found, "b")
    return found


@pytest.fixture
def file(tmp_path: Path) -> str:
    """A ledger in which b replaced a."""
    path = str(tmp_path / "evidence" / "receipts.jsonl")
    ledger.append(path, {"release": "a", "previous": None, "time": "2026-11-22T01:00:00Z"})
    ledger.append(path, {"release": "b", "previous": "a", "time": "2026-11-22T02:00:00Z"})
    return path


def test_the_controller_gets_every_receipt_without_its_artifacts(run: Run, paths: Paths, file: str) -> None:
    ledger.append(file, {"release": "c", "artifacts": {"wheels/x.whl": "5b1c" * 16}})
    result, _status = run(host_state, subsets=["receipts"], root=paths.root, receipts=file)
    assert [sorted(receipt) for receipt in result["state"]["receipts"]["receipts"]] == [
        ["previous", "release", "time"], ["previous", "release", "time"], ["release"],
    ]  # fmt: skip
    assert "artifacts" in ledger.read(file)[-1]


def test_the_plan_of_a_rollback_can_be_made_current(run: Run, paths: Paths, file: str) -> None:
    result, status = run(release, state="planned", root=paths.root, receipts=file)
    assert (status, result["changed"], result["release"]) == (0, False, "a")
    plan = result["plan"]
    made = {"plan": plan, "state": "current", "proof": {"level": "format"}, "operator": "ann", "receipts": file}
    result, _status = run(release, check=True, **made)
    assert (result["changed"], releases.current(paths)) == (True, "b")
    result, _status = run(release, **made)
    assert (result["changed"], result["previous"], releases.current(paths)) == (True, "b", "a")
    last = ledger.read(file)[-1]
    assert (last["release"], last["previous"], last["operator"], last["proof_level"]) == ("a", "b", "ann", "format")


def current(paths: Paths, name: str) -> dict[str, Any]:
    plan = releases.plan_of(paths, releases.read(paths.release(name)) or {}).as_dict()
    return {"plan": {**plan, "lock": {"controller": "anna", "user": "kim"}}, "state": "current"}


@pytest.mark.parametrize("state", ["sealed", "current"])
def test_a_plan_from_another_manifest_than_the_verified_one_is_refused(
    run: Run, paths: Paths, file: str, state: str
) -> None:
    asked = {**current(paths, "c"), "state": state, "proof": {"level": "format"}, "receipts": file}
    result, status = run(release, **asked, verified="f" * 64)
    assert (status, "this run verified ffffffffffff" in result["msg"]) == (1, True)
    assert releases.current(paths) == "b"
    assert run(release, **asked, verified="m")[1] == 0


def test_a_receipt_holds_operator_time_source_proof_and_duration(
    run: Run, paths: Paths, file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    seconds = {"preflight": 1.0, "proof": 2.0, "total": 3.0}
    monkeypatch.setattr(release.deploy_lock, "progress", lambda: {"phase": "proof", "seconds": seconds})
    result, _status = run(release, **current(paths, "c"), proof={"level": "acoustic"}, receipts=file)
    assert result["changed"] is True
    last = ledger.read(file)[-1]
    assert last.pop("time") > "2026"
    assert last == {
        "operator": "kim", "controller": "anna", "release": "c", "previous": "b", "manifest_sha256": "m",
        "profile": "p", "proof_level": "acoustic", "unpublished": {}, "note": "", "artifacts": {}, "seconds": seconds,
    }  # fmt: skip


def test_the_next_run_writes_a_receipt_lost_in_a_power_loss(run: Run, paths: Paths, file: str) -> None:
    releases.switch(paths, "c")
    wanted = {**current(paths, "c"), "proof": {"level": "format"}, "receipts": file}
    result, _status = run(release, check=True, **wanted)
    assert (result["changed"], len(ledger.read(file))) == (True, 2)
    result, _status = run(release, **wanted)
    assert (result["changed"], result["previous"]) == (True, "b")
    assert [(line["release"], line["previous"]) for line in ledger.read(file)[1:]] == [("b", "a"), ("c", "b")]
    result, _status = run(release, **wanted)
    assert (result["changed"], len(ledger.read(file))) == (False, 3)


def test_a_failure_is_written_to_the_ledger_and_switches_nothing(
    run: Run, paths: Paths, file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(release.deploy_lock, "progress", lambda: {"phase": "python_env", "seconds": {"total": 3.0}})
    failed = {
        **current(paths, "c"), "state": "failed", "receipts": file,
        "failure": {"task": "Install", "reason": "no\n" + "x" * 9000},
    }  # fmt: skip
    result, _status = run(release, check=True, **failed)
    assert (result["changed"], len(ledger.read(file))) == (False, 2)
    result, _status = run(release, **failed)
    assert (result["phase"], result["failure"][:13]) == ("python_env", "Install: no\nx")
    last = ledger.read(file)[-1]
    assert (last["event"], last["attempted"], last["current"], last["phase"]) == ("failed", "c", "b", "python_env")
    assert (last["operator"], last["task"], last["seconds"]) == ("kim", "Install", {"total": 3.0})
    assert len(last["message"]) == release.MESSAGE
    # The current and the previous release are unchanged.
    result, _status = run(release, state="planned", root=paths.root, receipts=file)
    assert (releases.current(paths), result["release"]) == ("b", "a")


def test_a_failure_is_reported_if_the_ledger_cannot_be_written(run: Run, paths: Paths, file: str) -> None:
    failed = {**current(paths, "c"), "state": "failed", "failure": {"task": "Install", "reason": "no"}}
    result, status = run(release, **failed, receipts=paths.root)
    assert (status, result["changed"], result["failure"]) == (0, False, "Install: no")
    assert "could not be written into the ledger" in result["msg"]


def test_a_rollback_to_an_unusable_release_is_refused(run: Run, paths: Paths, file: str) -> None:
    os.unlink(os.path.join(paths.release("a"), "models", "K", "config.json"))
    result, status = run(release, state="planned", root=paths.root, receipts=file)
    assert status == 1
    assert "Nothing was changed: release a is damaged" in result["msg"]
    assert "b (current), c" in result["msg"]


def test_missing_options_of_a_state_are_named(run: Run) -> None:
    result, status = run(release, state="current")
    assert status == 1
    assert "plan" in result["msg"]


def test_prune_reports_what_it_would_remove_and_then_removes_it(run: Run, paths: Paths, file: str) -> None:
    plan = {"paths": paths.as_dict(), "release": {"id": "b"}, "artifacts": []}
    wanted = {"plan": plan, "keep": 1, "receipts": file}
    result, _status = run(release_prune, check=True, **wanted)
    assert (result["changed"], result["removed"], result["stay"]) == (True, ["c"], ["b", "a"])
    assert result["diff"] == {"before": "b\na\nc\n", "after": "b\na\n"}
    assert sorted(os.listdir(paths.releases)) == ["a", "b", "c"]
    result, _status = run(release_prune, **wanted)
    assert (result["changed"], sorted(os.listdir(paths.releases))) == (True, ["a", "b"])
    result, _status = run(release_prune, **wanted)
    assert (result["changed"], result["diff"]) == (False, {})


def test_prune_refuses_a_negative_number(run: Run, paths: Paths) -> None:
    result, status = run(release_prune, plan={}, keep=-1)
    assert (status, "must be 0 or more" in result["msg"]) == (1, True)


def test_the_ledger_is_read(run: Run, paths: Paths, file: str) -> None:
    result, _status = run(host_state, subsets=["receipts"], root=paths.root, receipts=file)
    found = result["state"]["receipts"]
    assert (result["changed"], found["current"], found["whole"]) == (False, "b", ["a", "b", "c"])
    assert [receipt["release"] for receipt in found["receipts"]] == ["a", "b"]


def test_a_ledger_that_cannot_be_read_is_reported_and_the_rest_is_read(run: Run, paths: Paths) -> None:
    asked = {"subsets": ["receipts", "artifacts"], "root": paths.root, "receipts": paths.root}
    result, status = run(host_state, **asked)
    assert (status, list(result["state"]), list(result["errors"])) == (0, ["artifacts"], ["receipts"])
    assert result["msg"].startswith("Could not read from the host: receipts: IsADirectoryError: ")


@pytest.fixture
def torn(run: Run, paths: Paths, file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Tear down a host without units, and return the module's result and exit status."""
    # Ignore the units of the machine that runs the tests.
    monkeypatch.setattr(removal.glob, "glob", lambda _pattern: [])
    places = {
        "root": paths.root,
        "secrets_dir": str(tmp_path / "secrets"),
        "home": str(tmp_path / "home"),
        "evidence_dir": os.path.dirname(file),
        "user": "nobody-of-this-name",
    }
    return lambda check=False, **more: run(teardown, check, **{**places, **more})


def test_a_teardown_needs_confirmation(torn: Run, paths: Paths, file: str) -> None:
    before = ledger.read(file)
    result, status = torn()
    assert (status, "teardown_confirm=true" in result["msg"], paths.releases in result["msg"]) == (1, True, True)
    result, status = torn(check=True)
    assert (status, result["changed"], paths.releases in result["removed"]) == (0, True, True)
    assert (releases.current(paths), ledger.read(file)) == ("b", before)


def test_only_the_first_teardown_is_written_to_the_ledger(torn: Run, paths: Paths, file: str) -> None:
    result, _status = torn(confirmed=True, operator="ann")
    assert (result["changed"], os.path.exists(paths.root)) == (True, False)
    last = ledger.read(file)[-1]
    assert (last["event"], last["release"], last["previous"], last["operator"]) == ("teardown", None, "b", "ann")
    result, _status = torn()
    assert (result["changed"], result["removed"], ledger.read(file)[-1]) == (False, [], last)


def test_a_foreign_home_stops_the_teardown(torn: Run, paths: Paths, tmp_path: Path) -> None:
    ownership.claim(str(tmp_path / "home"))
    result, status = torn(confirmed=True, data=True)
    assert (status, "does not belong to the user" in result["msg"]) == (1, True)
    assert releases.current(paths) == "b"
