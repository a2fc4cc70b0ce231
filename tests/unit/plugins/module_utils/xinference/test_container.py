# SPDX-License-Identifier: GPL-3.0-or-later
"""The program of an image, as a process of its own, with stand-ins for Xinference's classes and its service."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from ansible_collections.voicefleet.kokoro.plugins.module_utils.host.container import ContainerError, Settings
from ansible_collections.voicefleet.kokoro.plugins.module_utils.host.layout import Paths
from ansible_collections.voicefleet.kokoro.plugins.module_utils.release import bake
from ansible_collections.voicefleet.kokoro.plugins.module_utils.xinference import container as service
from ansible_collections.voicefleet.kokoro.tests.unit.plugins.module_utils import xinference_stand_in
from ansible_collections.voicefleet.kokoro.tests.unit.plugins.module_utils.release.test_bake import SETTINGS

KEY = "xf-key-of-the-tests-0123"
# Speaks until the file "dead" is there, and counts as ready until then.
SERVICE = """
import http.server, io, json, os, sys, wave
port, folder, key = int(sys.argv[1]), sys.argv[2], sys.argv[3]
print("environment", json.dumps(dict(os.environ)), flush=True)

class Service(http.server.BaseHTTPRequestHandler):
    def answer(self, status, kind, data):
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def do_GET(self):
        state = "ERROR" if os.path.exists(folder + "/dead") else "READY"
        replica = {"replica_id": 0, "status": state, "worker_address": "127.0.0.1:1", "error_message": ""}
        row = {"model_uid": "kokoro", "model_name": "Kokoro-82M", "status": state, "replica": 1,
               "replica_statuses": [replica]}
        found = {"uptime": 1, "workers": {"127.0.0.1:1": {}}} if self.path == "/status" else [row]
        self.answer(200, "application/json", json.dumps(found).encode())

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers["Authorization"] != "Bearer " + key:
            return self.answer(401, "application/json", b'{"detail": "no"}')
        if os.path.exists(folder + "/dead"):
            return self.answer(500, "application/json", b'{"detail": "the model ended"}')
        data = io.BytesIO()
        with wave.open(data, "wb") as sound:
            sound.setnchannels(1)
            sound.setsampwidth(2)
            sound.setframerate(24000)
            silent = os.path.exists(folder + "/silent")
            sound.writeframes(b"".join((0 if silent else (n * 97) % 9000).to_bytes(2, "little") for n in range(12000)))
        self.answer(200, "audio/wav", data.getvalue())

    def log_message(self, *_arguments):
        pass

http.server.ThreadingHTTPServer(("127.0.0.1", port), Service).serve_forever()
"""


class Container:
    """The program of an image in a folder."""

    def __init__(self, folder: Path, release: Path) -> None:
        self.folder = folder
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        (folder / "service.py").write_text(SERVICE)
        command = [sys.executable, "-I", str(folder / "service.py"), str(port), str(folder), KEY]
        settings = {
            **SETTINGS, "release": str(release), "home": str(folder / "data" / "xinference"), "port": port,
            "command": command, "stop_seconds": 20, "ready_seconds": 60,
        }  # fmt: skip
        bake.add_program(Paths(str(folder)), settings)
        (folder / "data").mkdir()
        self.log = folder / "log"

    def command(self, name: str) -> list[str]:
        code = bake.RUN_TEXT.replace(bake.PROGRAM, str(self.folder / "container"))
        return [sys.executable, "-I", "-c", code, name]

    def environment(self, key: str = KEY) -> dict[str, str]:
        return {
            "PATH": "/usr/bin:/bin",
            "VOICEFLEET_CLIENT_KEY": key,
            "https_proxy": "http://proxy:1",
            "http_proxy": "x",
        }

    def run(self, name: str, key: str = KEY) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(name), env=self.environment(key), capture_output=True, text=True, timeout=120, check=False
        )

    def start(self) -> subprocess.Popen[bytes]:
        with open(self.log, "wb") as log:
            return subprocess.Popen(self.command("serve"), env=self.environment(), stdout=log, stderr=log)

    def wait_for(self, text: str) -> None:
        end = time.monotonic() + 120
        while text not in self.log.read_text():
            assert time.monotonic() < end, self.log.read_text()
            time.sleep(0.1)


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return xinference_stand_in.make_release(tmp_path_factory.mktemp("release"))


@pytest.fixture
def container(tmp_path: Path, release: Path) -> Container:
    return Container(tmp_path, release)


def test_it_serves_tells_its_health_and_stops_in_order(container: Container) -> None:
    process = container.start()
    try:
        container.wait_for("model kokoro is ready")
        assert container.run("ready").stdout == "ready\n"
        done = container.run("health")
        assert (done.returncode, done.stdout[:10]) == (0, "it speaks:")
        (container.folder / "silent").touch()
        silent = container.run("health")
        assert silent.returncode == 1
        assert "answered with silence" in silent.stderr
        (container.folder / "dead").touch()
        dead = container.run("health")
        assert (dead.returncode, "the model ended" in dead.stderr) == (1, True)
        assert container.run("ready").stdout == "not ready: kokoro is ERROR\n"
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    finally:
        process.kill()
    log = container.log.read_text()
    assert log.rstrip().endswith("voicefleet: stopped")
    assert "account voicefleet-deploy created" in log
    assert "API key voicefleet-client created" in log
    assert KEY not in log
    line = next(line for line in log.splitlines() if line.startswith("environment "))
    environment = json.loads(line.removeprefix("environment "))
    assert environment["HOME"] == str(container.folder / "data" / "xinference")
    assert "http_proxy" not in environment
    assert environment["XOSCAR_AUTH_KEY"]
    assert os.stat(environment["HOME"]).st_mode & 0o777 == 0o700


def test_a_second_start_on_the_same_volume_changes_only_what_differs(container: Container) -> None:
    left = container.folder / "data" / "xinference" / "worker_recovery" / "old"
    for turn in range(2):
        process = container.start()
        try:
            container.wait_for("model kokoro is ready")
            assert not left.exists()
        finally:
            process.send_signal(signal.SIGTERM)
            assert process.wait(60) == 0
        left.mkdir(parents=True)
        assert ("API key voicefleet-client created" in container.log.read_text()) == (turn == 0)


def test_a_service_that_ends_ends_the_container(container: Container) -> None:
    (container.folder / "service.py").write_text("import sys; sys.exit(0)\n")
    process = container.start()
    # A restart policy needs a status other than 0.
    assert process.wait(120) == 1
    assert "the service ended with status 0" in container.log.read_text()


def test_a_home_that_cannot_be_made_is_explained(container: Container) -> None:
    (container.folder / "data").rmdir()
    (container.folder / "data").write_text("a file\n")
    done = container.run("serve")
    assert done.returncode == 1
    assert "Mount a volume or a tmpfs with the option exec" in done.stderr


def test_a_wrong_key_is_not_healthy(container: Container) -> None:
    process = container.start()
    try:
        container.wait_for("model kokoro is ready")
        done = container.run("health", key="xf-another-key-012345")
        assert done.returncode == 1
        assert "the key that was sent is not accepted" in done.stderr
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


def test_a_bad_secret_is_never_shown(tmp_path: Path) -> None:
    with pytest.raises(ContainerError, match="client_key must be 16 to 512") as caught:
        service.secrets({"VOICEFLEET_CLIENT_KEY": "tooshort", "VOICEFLEET_SECRETS_DIR": str(tmp_path)})
    assert "tooshort" not in str(caught.value)


def test_other_secrets_are_made_anew_at_each_start(tmp_path: Path) -> None:
    environment = {"VOICEFLEET_CLIENT_KEY": KEY, "VOICEFLEET_SECRETS_DIR": str(tmp_path)}
    first, second = service.secrets(environment), service.secrets(environment)
    assert first["client_key"] == second["client_key"] == KEY
    assert first["jwt_secret"] != second["jwt_secret"]


def test_the_service_gets_only_the_secrets_that_it_needs(tmp_path: Path) -> None:
    environment = {
        "VOICEFLEET_CLIENT_KEY": KEY, "VOICEFLEET_ADMIN_PASSWORD": "an admin's password", "PATH": "/usr/bin",
        "http_proxy": "http://proxy", "VOICEFLEET_MODEL": "kokoro", "HOME": "/root",
        "VOICEFLEET_SECRETS_DIR": str(tmp_path),
    }  # fmt: skip
    secrets = service.secrets(environment)
    found = service.for_service(Settings(**SETTINGS), environment, secrets)
    assert found["XOSCAR_AUTH_KEY"] == secrets["xoscar_auth_key"]
    assert found["VOICEFLEET_MODEL"] == "kokoro"
    assert found["HOME"] == "/var/lib/voicefleet/xinference"
    assert "http_proxy" not in found
    assert KEY not in found.values()
    assert "an admin's password" not in found.values()
    assert 1 <= int(found["OMP_NUM_THREADS"]) <= 8
    assert service.for_service(Settings(**SETTINGS), {"OMP_NUM_THREADS": "3"}, secrets)["OMP_NUM_THREADS"] == "3"
