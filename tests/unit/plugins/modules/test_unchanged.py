# SPDX-License-Identifier: GPL-3.0-or-later
"""The module unchanged, on a host in one folder that the modules of a deploy have brought to its state."""

from __future__ import annotations

import json
import pwd
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.voicefleet.kokoro.plugins.module_utils.host import deploy_lock, layout, systemd_unit
from ansible_collections.voicefleet.kokoro.plugins.module_utils.proof.speech import SpeechError
from ansible_collections.voicefleet.kokoro.plugins.module_utils.release import ledger, release as releases
from ansible_collections.voicefleet.kokoro.plugins.module_utils.state import unchanged as look
from ansible_collections.voicefleet.kokoro.plugins.module_utils.xinference import api, config
from ansible_collections.voicefleet.kokoro.plugins.modules import synthesis_check, unchanged
from ansible_collections.voicefleet.kokoro.tests.unit.plugins.module_utils import xinference_stand_in
from ansible_collections.voicefleet.kokoro.tests.unit.plugins.modules import (
    test_synthesis_check as proving,
    test_xinference_service as services,
    test_xinference_setup as setups,
)

ID = "1.2.3-abc"
OWNER = {"controller": "here", "pid": 1}
ACCOUNT = {"name": "voicefleet", "comment": "Xinference by voicefleet", "home": "/home", "shell": "/usr/sbin/nologin"}


@pytest.fixture(scope="session")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return xinference_stand_in.make_release(tmp_path_factory.mktemp("release"))


class Host:
    """A deployed host, and what its parts answer."""

    def __init__(self, folder: Path, release: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.setup = setups.Host(folder, release, monkeypatch)
        self.entry = {"pw_gecos": ACCOUNT["comment"], "pw_dir": ACCOUNT["home"], "pw_shell": ACCOUNT["shell"]}
        self.server = proving.Endpoint()
        self.systemd = services.Systemd()
        self.status = "READY"
        self.released: list[Any] = []
        self.given: dict[str, Any] = {}
        of_setup, unit = pwd.getpwnam, systemd_unit.Unit

        def getpwnam(name: str) -> Any:
            return SimpleNamespace(**self.entry) if name == ACCOUNT["name"] else of_setup(name)

        def instances(_client: Any, uid: str) -> list[api.Instance]:
            return [api.Instance(uid, "Kokoro-82M", self.status, 1, ("127.0.0.1:1",), (), (0,))]

        monkeypatch.setattr(look.pwd, "getpwnam", getpwnam)
        monkeypatch.setattr(systemd_unit, "Unit", lambda name: unit(name, str(folder), self.systemd))
        monkeypatch.setattr(api.XinferenceClient, "status", lambda _client: {"workers": {}})
        monkeypatch.setattr(api.XinferenceClient, "instances", instances)
        for module in (synthesis_check, look):
            monkeypatch.setattr(module, "SpeechClient", self.client)
        monkeypatch.setattr(deploy_lock, "mark", lambda _phase: None)
        monkeypatch.setattr(deploy_lock, "release", lambda owner: self.released.append(owner) or True)

    def client(self, endpoint: str, key: str, timeout: float, *more: Any, **named: Any) -> proving.Endpoint:
        return self.server.client(endpoint, key, timeout, 0, (more, named))

    @property
    def paths(self) -> layout.Paths:
        return layout.Paths(str(self.folder / "root"))

    def deploy(self, run: Callable[..., Any]) -> None:
        """Bring the host to the wanted state, as a deploy does."""
        release = Path(self.paths.release(ID))
        release.mkdir(parents=True)
        (release / layout.RELEASE_FILE).write_text(json.dumps({"id": ID}))
        releases.switch(self.paths, ID)
        receipts = str(self.folder / "evidence" / "receipts.jsonl")
        ledger.append(receipts, {"release": ID})
        found = self.setup.run()
        setup = self.setup.params()
        service: dict[str, Any] = {
            "name": "x.service", "content": services.CONTENT, "record": f"{self.setup.etc}/started.json",
            "environment_files": [found["environment_file"]], "enabled": True, "stop_timeout": 9,
            "host": "127.0.0.1", "port": 9,
        }  # fmt: skip
        look.Service(service, False, systemd_unit.Unit("x.service")).run()
        proof = {
            "release_id": ID, "voices": ["af_heart"], "formats": ["wav"], "text": "One two three four five.",
            "api_key_file": f"{self.setup.etc}/client.key", "evidence_dir": str(self.folder / "evidence"),
        }  # fmt: skip
        run(synthesis_check, proof)
        self.given = {
            "account": dict(ACCOUNT),
            "secrets": {name: setup.pop(name) for name in config.SECRETS},
            "setup": setup,
            "service": service,
            "model": {"launch": setups.LAUNCH, "secrets_dir": str(self.setup.etc), "home": str(self.setup.home)},
            "proof": proof,
            "release": {"id": ID, "root": self.paths.root, "receipts": receipts, "cores": found["cores"]},
            "lock": OWNER,
        }

    def state(self) -> dict[str, Any]:
        """Each file with content and mode. Databases may get their shared memory."""
        files = [path for path in self.folder.rglob("*") if path.is_file() and not path.name.endswith(("-shm", "-wal"))]
        return {str(path): (path.read_bytes(), path.stat().st_mode, path.stat().st_mtime_ns) for path in files}


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str]) -> Callable[..., dict[str, Any]]:
    def call(module: Any, given: dict[str, Any]) -> dict[str, Any]:
        with patch_module_args(given), pytest.raises(SystemExit) as ended:
            module.main()
        result: dict[str, Any] = json.loads(capfd.readouterr().out)
        assert not ended.value.code, result
        return result

    return call


@pytest.fixture
def host(tmp_path: Path, release: Path, monkeypatch: pytest.MonkeyPatch, run: Callable[..., Any]) -> Host:
    host = Host(tmp_path, release, monkeypatch)
    host.deploy(run)
    host.server.asked.clear()
    host.systemd.verbs.clear()
    return host


def test_nothing_differs_on_a_deployed_host(host: Host, run: Any) -> None:
    before = host.state()
    result = run(unchanged, host.given)
    assert (result["why"], result["unchanged"], result["changed"]) == ("", True, False)
    assert (result["synthesis"]["level"], result["synthesis"]["live"]) == ("acoustic", True)
    assert host.server.asked == [("Ready.", "af_heart", "wav")]
    assert (result["released"], host.released) == (True, [OWNER])
    assert host.systemd.verbs == []
    assert host.state() == before
    assert host.setup.secrets()["client_key"] not in json.dumps(result)


DRIFT: dict[str, Callable[[Host], Any]] = {
    "has another shell": lambda host: host.entry.update(pw_shell="/bin/bash"),
    "has another home": lambda host: host.entry.update(pw_dir="/elsewhere"),
    "is not current": lambda host: Path(host.paths.current).unlink(),
    "no receipt": lambda host: (host.folder / "evidence/receipts.jsonl").write_text('{"release": "another"}\n'),
    "xinference.env written (missing)": lambda host: (host.setup.etc / "xinference.env").unlink(),
    "client.key written (mode 0644)": lambda host: (host.setup.etc / "client.key").chmod(0o644),
    "secrets.json": lambda host: (host.setup.etc / "secrets.json").write_text("{"),
    "account admin: disabled": lambda host: host.setup.sql("auth/auth.db", "UPDATE users SET enabled = 0"),
    "API key voicefleet-client: missing": lambda host: host.setup.sql("auth/auth.db", "DELETE FROM api_keys"),
    "autostart of model kokoro": lambda host: host.setup.sql("launch_history.db", "DELETE FROM launch_history"),
    "may use": lambda host: host.given["release"].update(cores=9999),
    "x.service written (other content)": lambda host: (host.folder / "x.service").write_text(systemd_unit.MARKER),
    "started (it was failed)": lambda host: setattr(host.systemd, "active", "failed"),
    "enabled": lambda host: setattr(host.systemd, "enabled", "disabled"),
    "unknown which files": lambda host: (host.setup.etc / "started.json").unlink(),
    "model kokoro is CREATING": lambda host: setattr(host, "status", "CREATING"),
    "there is no proof": lambda host: (host.folder / "evidence" / ID / "proof.json").unlink(),
    "no proof of this release": lambda host: (host.folder / "evidence" / ID / "af_heart.wav").write_bytes(b"x"),
    "Nothing listens": lambda host: setattr(host.server, "answer", SpeechError("refused", "Nothing listens.")),
    "missing required arguments": lambda host: host.given["model"].pop("launch"),
}


@pytest.mark.parametrize("words", DRIFT)
def test_a_host_that_differs_keeps_its_lock_and_is_left_to_the_deploy(host: Host, run: Any, words: str) -> None:
    DRIFT[words](host)
    before = host.state()
    result = run(unchanged, host.given)
    assert words in result["why"]
    assert (result["unchanged"], result["changed"], result["released"]) == (False, False, False)
    assert (host.released, host.systemd.verbs, host.state()) == ([], [], before)


@pytest.mark.parametrize(
    ("part", "option", "value"),
    [
        ("account", "comment", "another"),
        ("setup", "admin_user", "root"),
        ("setup", "models", [{**setups.LAUNCH, "model_path": "/r/2"}]),
        ("secrets", "client_key", "xf-another-key-of-the-operator"),
        ("service", "content", services.CONTENT + "\n"),
        ("proof", "text", "Six seven eight nine ten."),
        ("proof", "refresh", True),
        ("proof", "required_level", "phonemes"),
    ],
)
def test_other_settings_are_left_to_the_deploy(host: Host, run: Any, part: str, option: str, value: Any) -> None:
    host.given[part][option] = value
    result = run(unchanged, host.given)
    assert result["unchanged"] is False
    assert result["why"]
    assert host.released == []


RESTARTS: dict[str, tuple[Callable[[Host], Any], bool]] = {
    "another unit": (lambda host: host.given["service"].update(content=services.CONTENT + "Nice=5\n"), True),
    "another secret": (lambda host: host.given["secrets"].update(jwt_secret="j" * 32), True),
    "another option of the model": (
        lambda host: host.given["model"].update(launch={**setups.LAUNCH, "replica": 2}),
        True,
    ),
    "a service that does not run": (lambda host: setattr(host.systemd, "active", "failed"), False),
    "a model that is not ready": (lambda host: setattr(host, "status", "CREATING"), False),
    "another key": (lambda host: host.given["secrets"].update(client_key="xf-another-0123456789"), False),
    "clients with keys": (lambda host: host.given["release"].update(clients=True), False),
    "a missing proof": (lambda host: (host.folder / "evidence" / ID / "proof.json").unlink(), False),
}


@pytest.mark.parametrize("name", RESTARTS)
def test_it_says_whether_clients_would_wait(host: Host, run: Any, name: str) -> None:
    change, restarts = RESTARTS[name]
    change(host)
    before = host.state()
    result = run(unchanged, host.given)
    assert (result["unchanged"], result["restarts"]) == (False, restarts), result["why"]
    assert (host.systemd.verbs, host.released) == ([], [])
    assert host.state() == before
