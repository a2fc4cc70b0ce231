# SPDX-License-Identifier: GPL-3.0-or-later
"""Clients use one address and one key of a balancer, whatever happens to a node. A gateway limits what they reach."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

ONE, TWO, FRONT = "vf-balancer-1", "vf-balancer-2", "vf-balancer"
URL = "http://127.0.0.1:9990"
GATEWAY = f"https://{ONE}:9443"
SHORT = "All is well."
LONG = "The quick brown fox jumps over the lazy dog. " * 16
BODY = {"model": "kokoro", "input": SHORT, "voice": "af_heart", "response_format": "wav"}
LOAD = (Path(__file__).parents[2] / "_shared" / "load.py").read_text(encoding="utf-8")
CA = "/root/ca.pem"


def run(host: str, command: str, check: bool = True, text: str | None = None) -> str:
    done = subprocess.run(
        ["docker", "exec", "--interactive", host, "sh", "-c", command],
        capture_output=True, text=True, check=False, input=text, timeout=900,
    )  # fmt: skip
    assert done.returncode == 0 or not check, f"{host}: {command}: {done.stdout}{done.stderr}"
    return done.stdout


def status(host: str, url: str, options: str = "") -> int:
    """HTTP status of one request by curl, 0 without an answer."""
    return int(run(host, f"curl -s -m 300 -o /tmp/answer -w '%{{http_code}}' {options} '{url}'", check=False) or 0)


def speech(body: dict[str, Any]) -> str:
    """The options of curl for a request to the balancer."""
    return f"-H @/etc/voicefleet-balancer/client.header -H 'Content-Type: application/json' -d '{json.dumps(body)}'"


def states() -> dict[str, str]:
    """The state of each node in HAProxy."""
    program = (
        "import socket; c = socket.socket(socket.AF_UNIX); c.connect('/run/voicefleet-balancer/admin.sock')\n"
        "c.sendall(b'show stat\\n')\nwhile part := c.recv(65536): print(part.decode(), end='')"
    )
    rows = list(csv.DictReader(run(FRONT, "python3 -", text=program).lstrip("# ").splitlines()))
    rows = [row for row in rows if row["pxname"].startswith("node-")]
    return {row["svname"]: row["status"] for row in rows if row["svname"] in (ONE, TWO)}


def wait_for(node: str, wanted: str, seconds: float = 400) -> float:
    """Wait until a node has the wanted state, and return the seconds."""
    start = time.monotonic()
    while not states()[node].startswith(wanted):
        if time.monotonic() - start > seconds:
            pytest.fail(f"{node} is {states()[node]} after {seconds:.0f} s. {run(FRONT, JOURNAL)}")
        time.sleep(1)
    return time.monotonic() - start


JOURNAL = "journalctl -u voicefleet-balancer.service -o cat --no-pager | tail -40"


class Load:
    """Clients that send requests without a pause while something happens to a node. `with` starts them."""

    def __init__(self, clients: int, seconds: float, text: str = SHORT) -> None:
        self.command = ["docker", "exec", FRONT, "python3", "-c", LOAD, URL, str(clients), str(seconds), text]
        self.rows: list[dict[str, Any]] = []

    def _run(self) -> None:
        with subprocess.Popen(self.command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout
            self.rows += map(json.loads, process.stdout)

    def __enter__(self) -> Load:
        self.thread = threading.Thread(target=self._run)
        self.thread.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self.thread.join()

    @property
    def lost(self) -> list[dict[str, Any]]:
        return [row for row in self.rows if row["status"] != 200 or not row["sound"]]


@pytest.fixture(scope="module", autouse=True)
def authority() -> None:
    """Copy the authority of the first node's gateway to all hosts."""
    pem = run(ONE, "cat /etc/voicefleet-gateway/ca.pem")
    for host in (ONE, TWO, FRONT):
        run(host, f"cat > {CA}", text=pem)


# --- one address, one key


def test_the_balancer_speaks_with_its_own_key() -> None:
    keys = {run(host, "cat /etc/voicefleet/client.key").strip() for host in (ONE, TWO)}
    own = run(FRONT, "cat /etc/voicefleet-balancer/client.key").strip()
    assert len(keys | {own}) == 3
    assert status(FRONT, f"{URL}/v1/audio/speech", speech(BODY)) == 200
    assert run(FRONT, "head -c 4 /tmp/answer") == "RIFF"


def test_the_balancer_refuses_a_wrong_key_and_no_node_receives_it() -> None:
    """Ten wrong keys would make a node ban the balancer."""
    for _each in range(12):
        assert status(FRONT, f"{URL}/v1/models", "-H 'Authorization: Bearer xf-wrong-wrong-wrong-wrong'") == 401
    assert status(FRONT, f"{URL}/v1/models") == 401
    assert status(FRONT, f"{URL}/v1/audio/speech", speech(BODY)) == 200


def test_the_balancer_only_serves_clients_paths() -> None:
    header = "-H @/etc/voicefleet-balancer/client.header"
    assert status(FRONT, f"{URL}/v1/models", header) == 200
    for path in ("/", "/ui/", "/metrics", "/token", "/v1/admin/keys", "/v1/models/instances", "/v1/cluster/info"):
        assert status(FRONT, URL + path, header) == 404, path
    # No node of this scenario serves Whisper.
    assert status(FRONT, f"{URL}/v1/audio/transcriptions", f"{header} -d x") == 404
    assert status(FRONT, f"{URL}/v1/audio/speech", speech({**BODY, "input": "x" * 70000})) == 413


def test_openais_sdk_works_through_the_balancer_and_a_gateway() -> None:
    """The SDK of a release, which the image of the balancer's host has too. The balancer reaches nodes by gateways."""
    program = Path(os.environ["MOLECULE_PROJECT_DIRECTORY"]) / "molecule/_shared/clients.py"
    subprocess.run(["docker", "cp", "--quiet", str(program), f"{FRONT}:/root/clients.py"], check=True)
    python = run(FRONT, "ls -d /opt/voicefleet/releases/*/env/bin/python").split()[0]
    said = run(FRONT, f"{python} -B -W ignore /root/clients.py {URL} /etc/voicefleet-balancer/client.key")
    found = json.loads(said.splitlines()[-1])
    assert sorted(found["formats"]) == ["aac", "flac", "mp3", "opus", "pcm", "wav"]
    assert min(found["formats"].values()) > 0.5
    assert "af_heart" in [row["id"] for row in found["voices"]]
    assert [found[case][:2] for case in ("speed", "path", "format")] == [
        [400, "speed"],
        [400, "voice"],
        [400, "response_format"],
    ]
    # Neither HAProxy nor nginx collects the parts of a stream.
    assert found["stream"]["first"] < 0.3 * found["stream"]["all"]
    assert found["events"]["types"][-1] == "speech.audio.done"
    assert found["after_four_left"] < 2.5 * found["beside"]["long"]


def test_a_voice_agent_streams_through_the_balancer_and_a_gateway() -> None:
    """LiveKit's plugin, which bin/test installs on the controller for the same Python as the host's."""
    project = Path(os.environ["MOLECULE_PROJECT_DIRECTORY"])
    (packages,) = (project / ".cache/env/voice-agent/lib").glob("python3.*/site-packages")
    for source, name in ((packages, "agent"), (project / "molecule/_shared/voice_agent.py", "voice_agent.py")):
        subprocess.run(["docker", "cp", "--quiet", str(source), f"{FRONT}:/root/{name}"], check=True)
    key = "/etc/voicefleet-balancer/client.key"
    said = run(FRONT, f"PYTHONPATH=/root/agent python3 -B -W ignore /root/voice_agent.py {URL} {key}")
    found = json.loads(said.splitlines()[-1])
    assert sorted(found) == ["events", "mp3", "opus", "pcm"]
    for kind, stream in found.items():
        assert stream["sound"] > 5, kind
        assert stream["first"] < 0.5 * stream["all"], kind
    assert max(stream["sound"] for stream in found.values()) < min(stream["sound"] for stream in found.values()) + 2


@pytest.mark.parametrize("wrong", [{"input": ""}, {"voice": "nobody"}, {"response_format": "m4a"}, {"speed": 0.05}])
def test_a_bad_request_gets_a_400_and_is_not_retried(wrong: dict[str, Any]) -> None:
    before = run(FRONT, "journalctl -u voicefleet-balancer.service -o cat --no-pager | grep -c 'speech nodes/'").strip()
    assert status(FRONT, f"{URL}/v1/audio/speech", speech({**BODY, **wrong})) == 400
    line = run(FRONT, "journalctl -u voicefleet-balancer.service -o cat --no-pager | grep 'speech nodes/' | tail -1")
    assert " 400 " in line, before
    # connections: all/frontend/backend/server/retries
    assert line.split(" - - ")[1].split()[1].split("/")[4] == "0", line


# --- a gateway


def test_the_service_listens_on_loopback_only() -> None:
    assert status(TWO, f"http://{ONE}:9997/status") == 0


def test_plain_http_is_refused() -> None:
    assert status(TWO, f"http://{ONE}:9443/v1/models") == 400


def test_the_certificate_is_only_valid_with_its_authority() -> None:
    assert status(TWO, f"{GATEWAY}/v1/models", f"--cacert {CA}") == 401
    assert status(TWO, f"{GATEWAY}/v1/models") == 0
    assert status(TWO, f"https://{TWO}:9443/v1/models", f"--cacert {CA}") == 0
    assert status(TWO, f"{GATEWAY}/v1/models", f"--cacert {CA} --tls-max 1.1") == 0


def test_only_root_can_read_the_keys() -> None:
    modes = run(ONE, "stat -c '%a %U %n' /etc/voicefleet-gateway/*.key")
    assert [line.split()[:2] for line in modes.splitlines()] == [["600", "root"]] * 2


def test_administration_is_not_reachable() -> None:
    for path in ("/", "/ui/", "/metrics", "/docs", "/token", "/status", "/v1/admin/keys", "/v1/models/kokoro"):
        assert status(TWO, GATEWAY + path, f"--cacert {CA}") == 404, path
    assert status(TWO, f"{GATEWAY}/v1/models", f"--cacert {CA} -X POST -d x") == 403


def test_a_large_request_is_refused() -> None:
    run(TWO, "head -c 70000 /dev/zero | tr '\\0' x > /tmp/large")
    assert status(TWO, f"{GATEWAY}/v1/audio/speech", f"--cacert {CA} --data-binary @/tmp/large") == 413


def test_clients_cannot_forge_their_address() -> None:
    """Xinference's audit log names the address that it received."""
    header = f"Authorization: Bearer {run(ONE, 'cat /etc/voicefleet/client.key').strip()}"
    run(TWO, "cat > /tmp/header", text=header)
    made_up = f"--cacert {CA} -H @/tmp/header -H 'X-Forwarded-For: 203.0.113.7'"
    assert status(TWO, f"{GATEWAY}/v1/models", made_up) == 200
    address = run(TWO, "hostname -I").split()[0]
    for _each in range(20):
        log = run(ONE, "cat /var/lib/voicefleet/logs/audit.log")
        if address in log:
            break
        time.sleep(1)
    assert address in log
    assert "203.0.113.7" not in log


def test_the_rate_is_limited_for_each_address() -> None:
    codes = run(TWO, f"curl -s --cacert {CA} -o /dev/null -w '%{{http_code}} ' '{GATEWAY}/v1/models?[1-400]'").split()
    assert {"401", "429"} == set(codes)
    # Another client is not affected.
    assert status(FRONT, f"{GATEWAY}/v1/models", f"--cacert {CA}") == 401


def test_the_proof_goes_through_the_gateway() -> None:
    done = subprocess.run(
        [
            str(Path(sys.executable).parent / "ansible-playbook"), "voicefleet.kokoro.verify",
            "-i", os.environ["MOLECULE_INVENTORY_FILE"], "-e", "voicefleet_hosts=" + ONE,
            "-e", f"synthesis_endpoint={GATEWAY}", "-e", "synthesis_ca_file=/etc/voicefleet-gateway/ca.pem",
        ],
        capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr
    proof = "/var/lib/voicefleet-evidence/$(basename $(readlink /opt/voicefleet/current))/proof.json"
    assert json.loads(run(ONE, f"cat {proof}"))["endpoint"] == GATEWAY


# --- long and short texts


def test_long_texts_do_not_delay_short_ones() -> None:
    """Two long texts at once are spoken one after the other, so the other node is free for short texts."""
    with Load(2, 0, LONG) as long:
        time.sleep(3)
        with Load(1, 15) as short:
            pass
    assert not long.lost, long.lost
    assert not short.lost, short.lost
    last = max(row["at"] + row["seconds"] for row in long.rows)
    during = [row for row in short.rows if row["at"] + row["seconds"] < last]
    print(f"long: {[round(row['seconds']) for row in long.rows]} s")
    print(f"short: {[round(row['seconds'], 1) for row in short.rows]} s")
    assert len(during) >= 2
    assert max(row["seconds"] for row in during) < min(row["seconds"] for row in long.rows)


# --- faults under load; these come last, because nodes need time to come back


def lost_in_flight(load: Load) -> None:
    """The request that a node works on may be what ends it, so it gets an error. No other request does."""
    assert len(load.lost) <= 1, (load.lost, run(FRONT, JOURNAL))
    assert {row["status"] for row in load.lost} <= {500, 502}, load.lost


def test_a_model_that_is_killed_under_load_loses_only_the_request_that_it_works_on() -> None:
    with Load(6, 45) as load:
        time.sleep(8)
        run(TWO, "pkill -9 -f '[M]odel: kokoro'")
        wait_for(TWO, "DOWN", 30)
    lost_in_flight(load)
    assert len(load.rows) >= 10
    print(f"{len(load.rows)} requests, {len(load.lost)} lost. Back after {wait_for(TWO, 'UP'):.0f} s more")


def test_a_node_that_is_killed_under_load_loses_only_the_request_that_it_works_on_and_comes_back() -> None:
    with Load(6, 60) as load:
        time.sleep(8)
        subprocess.run(["docker", "kill", ONE], check=True, capture_output=True)
        down = wait_for(ONE, "DOWN", 30)
        # It boots and answers, but is not ready for a while. Until then it must not get a request.
        subprocess.run(["docker", "start", ONE], check=True, capture_output=True)
        back = wait_for(ONE, "UP")
    lost_in_flight(load)
    assert len(load.rows) >= 10
    print(f"{len(load.rows)} requests, {len(load.lost)} lost. Down after {down:.0f} s, back {back:.0f} s after")
    with Load(4, 20) as load:
        pass
    assert not load.lost, load.lost
    journal = run(FRONT, f"journalctl -u voicefleet-balancer.service -o cat --no-pager --since=-{20 + 5}s")
    assert f"nodes/{ONE} " in journal
