# SPDX-License-Identifier: GPL-3.0-or-later
"""The modules that find and reopen a drifted release, and those that take and give back the deploy lock."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.voicefleet.kokoro.plugins.module_utils.host import deploy_lock as lock, ownership
from ansible_collections.voicefleet.kokoro.plugins.module_utils.release import (
    python_env as environments,
    release as releases,
)
from ansible_collections.voicefleet.kokoro.plugins.modules import deploy_lock, host_state, python_env, release

LOCK = {"path": "locks/pylock.toml", "sha256": "a" * 64, "size": 1, "kind": "lock", "name": "p", "version": "1"}
UV = {"path": "wheels/uv-1.whl", "sha256": "b" * 64, "size": 1, "kind": "wheel", "name": "uv", "version": "1"}
OWNER = {"controller": "anna", "user": "kim", "pid": 1, "started": "b 1"}


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str]) -> Any:
    """Run a module. Return its result and exit status."""

    def call(module: ModuleType, **arguments: Any) -> tuple[dict[str, Any], int]:
        with patch_module_args(arguments), pytest.raises(SystemExit) as ended:
            module.main()
        return json.loads(capfd.readouterr().out), int(ended.value.code or 0)

    return call


@pytest.fixture
def sealed(tmp_path: Path) -> Path:
    """A sealed release with a built environment and a model."""
    ownership.claim(str(tmp_path))
    folder = tmp_path / "releases" / "one"
    for path in ("env/bin/xinference-local", "models/kokoro/config.json"):
        (folder / path).parent.mkdir(parents=True)
        (folder / path).write_text("text")
    stamp = environments.stamp_of(LOCK["sha256"], "/usr/bin/python3")
    (folder / "env" / environments.STAMP).write_text(json.dumps(stamp))
    releases.seal(str(folder), {"id": "one", "made": 1})
    return folder


def make(run: Any, sealed: Path, **more: Any) -> tuple[dict[str, Any], int]:
    result: tuple[dict[str, Any], int] = run(
        python_env, release=str(sealed), python="/usr/bin/python3", root=str(sealed.parents[1]), artifacts=[LOCK, UV],
        **more,
    )  # fmt: skip
    return result


def test_a_drifted_model_is_reopened_and_the_environment_is_kept(run: Any, sealed: Path) -> None:
    (sealed / "models/kokoro/config.json").write_text("other text")
    result, status = make(run, sealed, _ansible_check_mode=True)
    assert (status, result["changed"]) == (0, True)
    assert result["diff"]["before"] == "changed: models/kokoro/config.json\n"
    assert releases.read(str(sealed)) is not None
    result, status = make(run, sealed)
    assert (status, result["changed"]) == (0, True)
    assert releases.read(str(sealed)) is None
    assert not (sealed / "models/kokoro/config.json").exists()
    # From now on, it is an unfinished release.
    assert make(run, sealed)[0]["changed"] is False


def test_a_release_with_the_same_packages_is_reused_if_that_is_wanted(run: Any, sealed: Path) -> None:
    two = sealed.parent / "two"
    result, _status = make(run, two, _ansible_check_mode=True)
    assert result["msg"] == f"{two}/env would be built, 1 packages from the same ones of release one"
    result, _status = make(run, two, reuse=False, _ansible_check_mode=True)
    assert result["msg"] == f"{two}/env would be built, 1 packages"
    (sealed / "env/lib/python3.11/site-packages").mkdir(parents=True)
    releases.seal(str(sealed), {"id": "one", "made": 1})
    result, status = make(run, two)
    assert (status, result["changed"]) == (0, True)
    assert (two / "env/bin/xinference-local").exists()


def test_a_drifted_environment_is_rebuilt(run: Any, sealed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (sealed / "env/bin/xinference-local").unlink()
    result, _status = make(run, sealed, _ansible_check_mode=True)
    assert result["changed"] is True
    assert (sealed / "env" / environments.STAMP).exists()
    made = []
    monkeypatch.setattr(environments, "make", lambda *arguments: made.append(arguments))
    assert make(run, sealed)[0]["changed"] is True
    assert len(made) == 1
    # An interrupted run leaves neither seal nor stamp.
    assert releases.read(str(sealed)) is None
    assert not (sealed / "env" / environments.STAMP).exists()


def test_the_work_of_a_dead_controller_is_awaited(run: Any, sealed: Path) -> None:
    """Another process holds the release and removes its seal before it ends."""
    code = (
        "import fcntl, os, sys, time; fcntl.flock(os.open(sys.argv[1], os.O_RDONLY), fcntl.LOCK_EX); "
        "print(flush=True); time.sleep(1); os.unlink(sys.argv[1] + '/env/bin/xinference-local'); "
        "os.unlink(sys.argv[1] + '/release.json')"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(sealed)], stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        other.stdout.readline()
        result, status = make(run, sealed)
        # Without waiting, it would have found drift or a sealed release.
        assert (status, result["changed"]) == (0, False)
        assert not (sealed / "env/bin/xinference-local").exists()
        assert other.wait() == 0


def test_an_unchanged_release_is_left_alone(run: Any, sealed: Path) -> None:
    assert make(run, sealed)[0]["changed"] is False
    assert releases.read(str(sealed)) is not None


def test_check_mode_reports_that_a_drifted_release_will_be_sealed_again(run: Any, sealed: Path) -> None:
    plan = {"release": {"id": "one", "path": str(sealed)}, "paths": {"root": str(sealed.parents[1])}}
    arguments = {"plan": plan, "state": "sealed", "_ansible_check_mode": True}
    assert run(release, **arguments)[0]["changed"] is False
    (sealed / "models/kokoro/config.json").chmod(0o666)
    assert run(release, **arguments)[0]["changed"] is True


def look(run: Any, root: Path, **more: Any) -> dict[str, Any]:
    subsets = ["platform", "gpu", "drift", "artifacts"]
    result, status = run(host_state, root=str(root), home=str(root), subsets=subsets, **more)
    assert (status, result.get("errors", {})) == (0, {})
    return dict(result)


def test_host_state_names_drifted_files(run: Any, sealed: Path) -> None:
    root = sealed.parents[1]
    assert look(run, root, releases=["one", "absent"])["state"]["drift"] == {}
    (sealed / "env/bin/xinference-local").unlink()
    drift = look(run, root, releases=["one"])["state"]["drift"]
    assert drift["one"]["missing"] == {"count": 1, "first": ["env/bin/xinference-local"]}
    assert look(run, root)["state"]["drift"] == {}


@pytest.mark.skipif(os.geteuid() != 0, reason="the lock is root's")
def test_host_state_takes_the_lock_and_deploy_lock_gives_it_back(
    run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = str(tmp_path / "lock.json")
    for function in (lock.take, lock.release):
        monkeypatch.setattr(function, "__defaults__", (*(function.__defaults__ or ())[:-1], file))
    ask = {"owner": OWNER, "seconds": 60}
    assert look(run, tmp_path, lock=ask, _ansible_check_mode=True)["lock"] == {}
    assert not os.path.exists(file)
    assert look(run, tmp_path, lock=ask)["lock"]["taken"] is True
    refused = look(run, tmp_path, lock={**ask, "owner": {**OWNER, "pid": 2}})
    assert (refused["lock"]["taken"], refused["lock"]["holder"]) == (False, OWNER)
    assert "state" not in refused
    assert run(deploy_lock, owner={**OWNER, "pid": 2})[0]["released"] is False
    assert run(deploy_lock, owner={})[0]["released"] is False
    assert run(deploy_lock, owner=OWNER, _ansible_check_mode=True)[0]["released"] is False
    given_back = run(deploy_lock, owner=OWNER)[0]
    assert (given_back["changed"], given_back["released"]) == (False, True)
    for check in (True, False):
        taken = run(deploy_lock, state="taken", owner=OWNER, _ansible_check_mode=check)[0]
        assert taken["changed"] is False
        assert bool(Path(file).read_text()) is not check
    assert taken["lock"]["taken"] is True
