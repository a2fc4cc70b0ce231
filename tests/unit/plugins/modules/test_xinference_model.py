# SPDX-License-Identifier: GPL-3.0-or-later
"""The module xinference_model from its arguments to its result. test_launch.py tests the launch itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.voicefleet.kokoro.plugins.module_utils.xinference import (
    api,
    config as xinference_config,
    launch as xinference_launch,
)
from ansible_collections.voicefleet.kokoro.plugins.modules import xinference_model

LAUNCH = {"model_name": "Kokoro-82M", "model_type": "audio", "model_uid": "kokoro", "model_path": "/r/1"}
KEY = "xf-key-of-the-client-1"


@pytest.fixture
def etc(tmp_path: Path) -> Path:
    secrets = dict.fromkeys(xinference_config.SECRETS, "a-secret-of-this-host")
    secrets.update(client_key=KEY, deploy_password="password of deploy")
    (tmp_path / "secrets.json").write_text(xinference_config.files(secrets)["secrets.json"])
    return tmp_path


def run(etc: Path, capsys: pytest.CaptureFixture[str], **given: Any) -> tuple[int, dict[str, Any]]:
    args = {"launch": LAUNCH, "secrets_dir": str(etc), "home": str(etc), "port": 9, **given}
    with patch_module_args(args), pytest.raises(SystemExit) as ended:
        xinference_model.main()
    return int(ended.value.code or 0), json.loads(capsys.readouterr().out)


def play(monkeypatch: pytest.MonkeyPatch, found: Any, seen: list[Any] | None = None) -> None:
    """Simulate a service. ``found`` is its instances or the error of the request for them."""

    def instances(self: api.XinferenceClient, uid: str | None = None) -> list[api.Instance]:
        if seen is not None:
            seen.append((self.base_url, self._token, uid))
        if isinstance(found, Exception):
            raise found
        return list(found)

    monkeypatch.setattr(api.XinferenceClient, "status", lambda *_a, **_k: {"workers": {"w": {}}})
    monkeypatch.setattr(api.XinferenceClient, "instances", instances)


def instance(status: str, *errors: str) -> api.Instance:
    return api.Instance("kokoro", "Kokoro-82M", status, 1, ("127.0.0.1:1",), errors)


def test_a_ready_model_is_left_alone(
    etc: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []
    play(monkeypatch, [instance("READY")], seen)
    code, result = run(etc, capsys)
    assert (code, result["changed"], result["status"]) == (0, False, "READY")
    assert seen == [("http://127.0.0.1:9", KEY, "kokoro")]
    assert KEY not in json.dumps(result)


@pytest.mark.parametrize(
    ("found", "changed", "status"),
    [
        ([instance("READY")], False, "READY"),
        ([instance("CREATING")], True, "CREATING"),
        ([instance("ERROR", "x")], True, "ERROR"),
        ([], True, "absent"),
        (api.Unauthorized("Could not validate credentials", 401), True, "unauthorized"),
        (api.Unreachable("refused"), True, "unreachable"),
    ],
)
def test_check_mode_looks_once(
    etc: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    found: Any,
    changed: bool,
    status: str,
) -> None:
    def never(*_args: Any, **_kwargs: Any) -> None:
        raise AssertionError("check mode must not log in, launch or end a model")

    for name in ("login", "launch", "terminate"):
        monkeypatch.setattr(api.XinferenceClient, name, never)
    play(monkeypatch, found)
    code, result = run(etc, capsys, _ansible_check_mode=True)
    assert (code, result["changed"], result["status"]) == (0, changed, status)
    assert bool(result["changes"]) is changed


def test_check_mode_works_before_anything_was_set_up(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, result = run(tmp_path / "none", capsys, _ansible_check_mode=True)
    assert (code, result["changed"], result["status"]) == (0, True, "unreachable")


def test_without_secrets_nothing_is_launched(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, result = run(tmp_path / "none", capsys)
    assert code == 1
    assert "run xinference_setup first" in result["msg"]


def test_a_failure_is_explained_without_secrets(
    etc: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def ensure(*_args: Any) -> None:
        raise xinference_launch.ModelError(f"/explosion/spacy-models/master/compatibility.json and {KEY} echoed")

    monkeypatch.setattr(xinference_launch.Keeper, "ensure", ensure)
    code, result = run(etc, capsys)
    assert code == 1
    assert "the tarball of en_core_web_sm" in result["msg"]
    assert "Journal of voicefleet-xinference.service" in result["msg"]
    assert KEY not in json.dumps(result)


def test_a_launch_is_a_change(etc: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    done = xinference_launch.Outcome(changes=["launched (it was in state ERROR)"], waited=12.34)
    limits: list[float] = []

    def ensure(_self: Any, timeout: float, _whole: float) -> xinference_launch.Outcome:
        limits.append(timeout)
        return done

    monkeypatch.setattr(xinference_launch.Keeper, "ensure", ensure)
    code, result = run(etc, capsys, timeout=33)
    assert (code, result["changed"], result["waited"], [round(limit) for limit in limits]) == (0, True, 12.3, [33])
    assert result["msg"] == "launched (it was in state ERROR)"


def test_a_model_with_weights_of_its_own_is_kept_beside_the_first(
    etc: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def instances(_self: Any, uid: str | None = None) -> list[api.Instance]:
        return [api.Instance(str(uid), "Kokoro-82M", "READY", 1, ("127.0.0.1:1",), ())]

    monkeypatch.setattr(api.XinferenceClient, "status", lambda *_a, **_k: {"workers": {"w": {}}})
    monkeypatch.setattr(api.XinferenceClient, "instances", instances)
    code, result = run(etc, capsys, languages=["a", "b"])
    assert (code, result["course"]) == (0, {"kokoro": ["0 s: READY"]})
    code, result = run(etc, capsys, languages=["a", "b", "z"], language_models={"z": "Newer"})
    assert (code, result["course"]) == (0, {"kokoro": ["0 s: READY"], "kokoro-z": ["0 s: READY"]})
    code, result = run(etc, capsys, languages=["a", "b"], hearing_model="whisper-base")
    assert (code, result["course"]) == (0, {"kokoro": ["0 s: READY"], "whisper": ["0 s: READY"]})


def test_state_absent_stops_a_model(
    etc: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    play(monkeypatch, [])
    code, result = run(etc, capsys, state="absent")
    assert (code, result["changed"], result["status"]) == (0, False, "absent")
    play(monkeypatch, [instance("READY")])
    code, result = run(etc, capsys, state="absent", _ansible_check_mode=True)
    assert (code, result["changes"]) == (0, ["model kokoro is READY; it would be stopped"])
