# SPDX-License-Identifier: GPL-3.0-or-later
"""The modules of a repair: check mode changes nothing, a second run changes nothing, absent restores."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.voicefleet.kokoro.plugins.module_utils.host import ownership
from ansible_collections.voicefleet.kokoro.plugins.module_utils.host.layout import Paths
from ansible_collections.voicefleet.kokoro.plugins.module_utils.repair import place
from ansible_collections.voicefleet.kokoro.plugins.module_utils.xinference import api
from ansible_collections.voicefleet.kokoro.plugins.modules import repair, repair_model

Json = dict[str, Any]


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Any:
    def run(module: ModuleType, check: bool = False, **arguments: Any) -> Json:
        with patch_module_args({**arguments, "_ansible_check_mode": check}), pytest.raises(SystemExit):
            module.main()
        return dict(json.loads(capsys.readouterr().out.strip().splitlines()[-1]))

    return run


@pytest.fixture
def prefix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    info = folder / "lib" / version / "site-packages" / "xinference-4.0.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: xinference\nVersion: 4.0.0\n")
    (tmp_path / "home").mkdir()
    monkeypatch.setattr(place, "units", lambda _runner=None: [])
    monkeypatch.setattr(place, "processes", lambda *_args: [])
    return folder


def plan(root: Path) -> Json:
    """A plan with one voice, which the host holds."""
    path, data = "kokoro/Kokoro-82M/voices/af_heart.pt", b"voice"
    digest = hashlib.sha256(data).hexdigest()
    if not root.exists():
        ownership.claim(str(root))
    file = Path(Paths(str(root)).artifact(digest, path))
    file.parent.mkdir(parents=True)
    file.write_bytes(data)
    row = {"path": path, "sha256": digest, "size": 5, "kind": "kokoro-voice", "name": "af_heart", "version": "1"}
    files = [{"to": "home:cache/v2/Kokoro-82M/voices/af_heart.pt", "sha256": digest, "size": 5}]
    nothing: Json = {name: [] for name in ("links", "texts", "patches", "packages", "roots")}
    return {**nothing, "artifacts": [row], "files": files, "uv": "", "spacy_version": ""}


def test_a_place_is_repaired_once_and_restored(call: Any, prefix: Path, tmp_path: Path) -> None:
    root, voice = tmp_path / "delivered" / "root", tmp_path / "home/cache/v2/Kokoro-82M/voices/af_heart.pt"
    root.parent.mkdir()
    given = {"prefix": str(prefix), "home": str(tmp_path / "home"), "root": str(root), "plan": plan(root)}
    shown = call(repair, check=True, **given)
    assert shown["changed"] is True
    assert not voice.exists()
    done = call(repair, **given)
    assert done["changes"] == shown["changes"] == [f"add {voice}"]
    assert str(voice) in done["diff"]["after"]
    assert voice.read_bytes() == b"voice"
    # The place has its own copy.
    assert not root.exists()
    again = {**given, "plan": {**given["plan"], "artifacts": []}}
    unchanged = call(repair, **again)
    assert (unchanged["changed"], unchanged["owed"]) == (False, True)
    assert call(repair, **{**again, "state": "settled"})["owed"] is False
    assert call(repair, **again)["owed"] is False
    report = call(repair, **{**again, "state": "inspected"})["report"]
    assert set(report["files"].values()) == {"right"}
    assert call(repair, check=True, **{**given, "state": "absent"})["changed"] is True
    assert voice.exists()
    assert call(repair, **{**given, "state": "absent"})["changed"] is True
    assert list((tmp_path / "home").iterdir()) == []
    assert call(repair, **{**given, "state": "absent"})["changed"] is False


def test_an_artifact_that_changed_is_refused_before_any_change(call: Any, prefix: Path, tmp_path: Path) -> None:
    root = tmp_path / "delivered" / "root"
    root.parent.mkdir()
    made = plan(root)
    row = made["artifacts"][0]
    Path(Paths(str(root)).artifact(row["sha256"], row["path"])).write_bytes(b"other")
    given = {"prefix": str(prefix), "home": str(tmp_path / "home"), "root": str(root), "plan": made}
    done = call(repair, **given)
    assert done["failed"]
    assert "changed on the host between arrival and installation" in done["msg"]
    assert list((tmp_path / "home").iterdir()) == []


class Server:
    """An Xinference that runs some models."""

    def __init__(self, running: tuple[str, ...] = ()) -> None:
        self.running = list(running)
        self.launched: list[Json] = []
        self.logins: list[tuple[str, str]] = []

    def __call__(self, _address: str) -> Server:
        return self

    def status(self) -> Json:
        return {"workers": {"a": {}}}

    def wait_ready(self, _timeout: float) -> Json:
        return self.status()

    def login(self, user: str, password: str) -> None:
        self.logins.append((user, password))

    def instances(self, uid: str) -> list[api.Instance]:
        return [api.Instance(uid, uid, api.READY, 1, (), ())] if uid in self.running else []

    def terminate(self, uid: str) -> None:
        self.running.remove(uid)

    def launch(self, payload: Json, timeout: float) -> str:
        self.launched.append(payload)
        self.running.append(payload["model_uid"])
        return str(payload["model_uid"])


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Server:
    found = Server()
    monkeypatch.setattr(api, "XinferenceClient", found)
    return found


def test_kokoro_is_launched_from_xinferences_own_cache(call: Any, server: Server, tmp_path: Path) -> None:
    secret = tmp_path / "password"
    secret.write_text("of-the-test\n")
    given = {"user": "admin", "password_file": str(secret), "languages": ["b", "a"], "hearing_model": "whisper-base"}
    shown = call(repair_model, check=True, **given)
    assert (shown["launched"], server.launched) == (["kokoro", "whisper"], [])
    assert call(repair_model, **given)["launched"] == ["kokoro", "whisper"]
    first, second = server.launched
    assert (first["model_name"], first["lang_code"], first["enable_virtual_env"]) == ("Kokoro-82M", "b", False)
    assert second["model_name"] == "whisper-base"
    assert "model_path" not in {*first, *second}
    assert server.logins[-1] == ("admin", "of-the-test")
    assert call(repair_model, **given)["changed"] is False


def test_a_running_model_is_launched_again_only_if_asked(call: Any, server: Server) -> None:
    server.running.append("kokoro")
    assert call(repair_model)["changed"] is False
    assert call(repair_model, again=True)["launched"] == ["kokoro"]


def test_a_user_without_a_password_is_refused(call: Any, server: Server) -> None:
    done = call(repair_model, user="admin")
    assert done["failed"]
    assert "repair_user needs repair_password_file" in done["msg"]


def test_a_launch_that_fails_without_a_reason_says_so(
    call: Any, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_payload: Json, timeout: float) -> str:
        raise api.ServerError("")

    monkeypatch.setattr(server, "launch", fail)
    done = call(repair_model)
    assert done["failed"]
    assert "Xinference gave no reason" in done["msg"]


@pytest.mark.parametrize(
    ("given", "lacking"),
    [({}, ", ".join(repair.PARTS)), ({"files": [], "links": []}, "texts, patches, packages, artifacts, uv")],
)
def test_a_repair_without_the_whole_plan_is_refused(
    call: Any, prefix: Path, tmp_path: Path, given: Json, lacking: str
) -> None:
    before = sorted(tmp_path.rglob("*"))
    for check in (True, False):
        result = call(repair, check=check, prefix=str(prefix), home=str(tmp_path / "home"), plan=given)
        assert result["failed"] is True
        assert result["msg"] == f"The plan lacks {lacking}. Pass the whole plan of voicefleet.kokoro.repair_plan."
    assert sorted(tmp_path.rglob("*")) == before


def test_absent_and_inspected_need_no_plan(call: Any, prefix: Path, tmp_path: Path) -> None:
    for state in ("absent", "inspected"):
        result = call(repair, state=state, prefix=str(prefix), home=str(tmp_path / "home"))
        assert (result.get("failed"), result["changed"]) == (None, False)


def test_all_units_of_the_place_are_returned(
    call: Any, prefix: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    python = str(prefix / "bin" / "python")
    found = [place.Found(python=python, unit=f"{name}.service", details={"stopped": False}) for name in ("b", "a")]
    monkeypatch.setattr(place, "units", lambda _runner=None: found)
    result = call(repair, state="absent", prefix=str(prefix), home=str(tmp_path / "home"))
    assert result["place"]["units"] == ["a.service", "b.service"]
