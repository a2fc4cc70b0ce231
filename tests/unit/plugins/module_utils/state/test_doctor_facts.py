# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import http.server
import json
import os
import pwd
import socket
import sqlite3
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from ansible_collections.voicefleet.kokoro.plugins.module_utils.state import doctor_facts
from ansible_collections.voicefleet.kokoro.plugins.module_utils.xinference import config as xinference_config
from ansible_collections.voicefleet.kokoro.plugins.module_utils.xinference.accounts import digest

UNIT = "voicefleet-xinference.service"
KEY = "xf-" + "k" * 48


def options(tmp_path: Path) -> doctor_facts.Options:
    return doctor_facts.Options(
        root=str(tmp_path / "opt"),
        home=str(tmp_path / "home"),
        secrets_dir=str(tmp_path / "etc"),
        port=1,  # nobody listens on this port
        receipts=str(tmp_path / "receipts.jsonl"),
        timeout=2,
    )


def silent(command: Sequence[str], timeout: float) -> tuple[int, str]:
    return 127, f"{command[0]}: not found"


def test_an_empty_host_is_read_and_unreadable_parts_are_named(tmp_path: Path) -> None:
    facts = doctor_facts.gather(options(tmp_path), run=silent)
    assert list(facts["errors"]) == ["unit"]
    assert "not found" in facts["errors"]["unit"]
    assert facts["release"]["current"] is None
    assert facts["receipt"] is None
    assert facts["speech"] is None
    assert facts["api"]["state"] == "silent"
    assert {row["wrong"] for row in facts["files"]} == {"missing"}
    json.dumps(facts)


def test_another_hosts_port_is_tried_and_nothing_is_sent(tmp_path: Path) -> None:
    given = options(tmp_path)
    assert doctor_facts.peer(given) is None
    with socket.create_server(("127.0.0.1", 0)) as server:
        given.peer_host, given.peer_port = server.getsockname()
        assert doctor_facts.peer(given) == {"error": ""}
        connection, _address = server.accept()
        with connection:
            assert connection.recv(1) == b""
    refused = doctor_facts.peer(given)
    assert refused is not None
    assert "refused" in refused["error"]


def test_reading_creates_nothing(tmp_path: Path) -> None:
    before = sorted(tmp_path.rglob("*"))
    doctor_facts.gather(options(tmp_path), run=silent)
    assert sorted(tmp_path.rglob("*")) == before


def test_only_the_processes_of_the_unit_are_listed(tmp_path: Path) -> None:
    for pid, group, command in (
        (10, f"0::/system.slice/{UNIT}\n", "/opt/env/bin/python\0-u\0start.py"),
        (11, f"4:memory:/x\n0::/docker/7/system.slice/{UNIT}/sub\n", "Model: kokoro-rep0"),
        (12, f"0::/system.slice/not-{UNIT}\n", "sh"),
        (13, "0::/user.slice\n", "sh"),
    ):
        folder = tmp_path / str(pid)
        folder.mkdir()
        (folder / "cgroup").write_text(group)
        (folder / "cmdline").write_text(command)
        (folder / "status").write_text(f"Name:\tx\nVmHWM:\t   {pid}0 kB\nVmRSS:\t    {pid} kB\n")
    assert doctor_facts.processes(UNIT, str(tmp_path)) == [
        {"pid": 11, "name": "Model: kokoro-rep0", "rss": 11 * 1024, "peak": 110 * 1024},
        {"pid": 10, "name": "python", "rss": 10 * 1024, "peak": 100 * 1024},
    ]


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("http_proxy=http://p:1\nHTTPS_PROXY=http://p:1", ["HTTPS_PROXY", "http_proxy"]),
        ("export http_proxy='http://p:1'\nexport no_proxy=localhost,127.0.0.1,::1", []),
        ('http_proxy="http://p:1"\nNO_PROXY=*', []),
        ("http_proxy=http://p:1\nno_proxy=10.0.0.0/8", ["http_proxy"]),
        ("http_proxy=http://p:1\nno_proxy=localhost", ["http_proxy"]),
        ("http_proxy=\nPATH=/bin", []),
    ],
)
def test_proxies_that_apply_to_requests_to_this_host_are_named(text: str, names: list[str]) -> None:
    assert doctor_facts.judge_environment(doctor_facts.parse_environment(text)) == names


def test_the_environment_of_a_process_is_separated_by_null_bytes() -> None:
    assert doctor_facts.parse_environment("a=1\0b=x=y\0", "\0") == [("a", "1"), ("b", "x=y")]


def test_logs_start_with_a_service_that_serves_and_earlier_for_others(tmp_path: Path) -> None:
    asked: list[int] = []

    def run(command: Sequence[str], timeout: float) -> tuple[int, str]:
        asked.append(int(command[command.index("--since") + 1].lstrip("@")))
        return 0, "OSError: [Errno 28] No space left on device"

    serving = {"api": {"state": "READY"}, "unit": {"age": 100.0}}
    found = doctor_facts.logs(options(tmp_path), serving, run)
    assert found["serves"] is True
    assert [row["code"] for row in found["found"]] == ["OS01"]
    down = {"api": {"state": "silent"}, "unit": {"age": 100.0, "turned": 50.0}}
    assert doctor_facts.logs(options(tmp_path), down, run)["serves"] is False
    doctor_facts.logs(options(tmp_path), {}, run)
    now = time.time()
    assert [now - since for since in asked] == pytest.approx([101, 650, 86400], abs=5)


def test_oom_lines_of_the_kernel_are_found(tmp_path: Path) -> None:
    lines = "2026-01-01T10:00 host kernel: Out of memory: Killed process 631 (Model: kokoro-r)\nall is well"
    found = doctor_facts.oom(options(tmp_path), {}, lambda command, timeout: (0, lines))
    assert found == {"lines": [lines.splitlines()[0]], "kills": 0}


def secret_files(tmp_path: Path) -> None:
    folder = tmp_path / "etc"
    folder.mkdir(mode=0o700)
    secrets = {name: f"{name}-0123456789abcdef" for name in xinference_config.SECRETS} | {"client_key": KEY}
    for name, text in xinference_config.files(secrets).items():
        (folder / name).write_text(text)
        (folder / name).chmod(0o600)


@pytest.mark.skipif(os.geteuid() != 0, reason="the files must be root's")
def test_files_that_are_open_to_others_or_disagree_are_named(tmp_path: Path) -> None:
    secret_files(tmp_path)
    rows = doctor_facts.files(options(tmp_path), {"User": "nobody-of-this-name"})
    assert {row["wrong"] for row in rows} == {None}
    (tmp_path / "etc" / "xinference.env").chmod(0o644)
    (tmp_path / "etc" / "client.key").write_text("xf-another\n")
    wrong = {Path(row["path"]).name: row["wrong"] for row in doctor_facts.files(options(tmp_path), {}) if row["wrong"]}
    assert wrong == {"xinference.env": "mode 0644", "client.key": "does not match secrets.json"}


@pytest.mark.parametrize(
    ("node", "missing"), [("supervisor", {"auth", "auth.db", "launch_history.db"}), ("worker", set())]
)
def test_a_worker_of_a_cluster_has_no_databases(tmp_path: Path, node: str, missing: set[str]) -> None:
    secret_files(tmp_path)
    (tmp_path / "home").mkdir(mode=0o700)
    user = pwd.getpwuid(os.geteuid()).pw_name
    rows = doctor_facts.files(options(tmp_path), {"User": user, "node": node})
    assert {Path(row["path"]).name for row in rows if row["wrong"] == "missing"} == missing


def test_a_worker_asks_its_supervisor_and_checks_its_own_port(tmp_path: Path) -> None:
    """On a worker, nobody listens on the port of the API."""
    with socket.create_server(("127.0.0.1", 0)) as own:
        where = options(tmp_path)
        where.own_port = own.getsockname()[1]
        held = doctor_facts.port(where, [{"pid": os.getpid()}])
    assert (held["port"], held["ours"]) == (where.own_port, True)
    assert doctor_facts.api(where)["error"].startswith("GET http://127.0.0.1:1/status")


def test_a_key_that_the_database_does_not_know_is_never_sent(tmp_path: Path) -> None:
    (tmp_path / "home" / "auth").mkdir(parents=True)
    database = tmp_path / "home" / "auth" / "auth.db"
    assert doctor_facts.key_is_known(options(tmp_path), KEY) is None
    connection = sqlite3.connect(database)
    connection.execute("CREATE TABLE api_keys (name TEXT, key_hash TEXT, enabled INTEGER)")
    connection.execute("INSERT INTO api_keys VALUES ('a', ?, 1), ('b', ?, 0)", (digest(KEY), digest("xf-off")))
    connection.commit()
    connection.close()
    assert doctor_facts.key_is_known(options(tmp_path), KEY) is True
    assert doctor_facts.key_is_known(options(tmp_path), "xf-off") is False
    assert doctor_facts.key_is_known(options(tmp_path), "xf-other") is False


@pytest.mark.skipif(os.geteuid() != 0, reason="the files must be root's")
def test_log_lines_contain_no_secret(tmp_path: Path) -> None:
    secret_files(tmp_path)

    def run(command: Sequence[str], timeout: float) -> tuple[int, str]:
        return 0, f"Permission denied for {KEY}" if "--unit" in command else ""

    facts = doctor_facts.gather(options(tmp_path), run=run)
    assert [row["code"] for row in facts["logs"]["found"]] == ["OS02"]
    assert KEY not in json.dumps(facts)


def test_another_program_on_the_port_is_recognised_by_its_answer(tmp_path: Path) -> None:
    """Neither another program's page nor its refusal of a path of Xinference counts as Xinference's answer."""

    class Stranger(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_error(404)

        def log_message(self, *arguments: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Stranger) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        where = options(tmp_path)
        where.port = where.own_port = server.server_address[1]
        found = doctor_facts.api(where)
        held = doctor_facts.port(where, [])
        server.shutdown()
    assert found["state"] == "foreign"
    assert found["error"].endswith("/status is answered by HTTP 404")
    assert str(os.getpid()) in held["holder"]
    assert held["ours"] is False


def test_the_components_of_the_current_release_are_read(tmp_path: Path) -> None:
    where = options(tmp_path)
    path = tmp_path / "opt" / "releases" / "1.2.3-3f9a1c2b7d5e"
    path.mkdir(parents=True)
    (tmp_path / "opt" / "current").symlink_to("releases/1.2.3-3f9a1c2b7d5e")
    wheel = {"path": "wheels/a.whl", "kind": "wheel", "name": "a", "version": "1.0"}
    contents = {
        "id": path.name,
        "voices": [],
        "model": {"name": "Kokoro-82M"},
        "python": {"version": "3.11"},
        # A release of an earlier version of the collection may lack a part.
        "artifacts": [
            {**wheel, "sha256": "a" * 64, "size": 3},
            {"path": "x", "sha256": "b", "kind": "lock", "size": 1},
        ],
    }
    (path / "release.json").write_text(json.dumps(contents))
    found = doctor_facts.releases(where)
    assert found["current"] == path.name
    assert found["components"] == [wheel, {"path": "x", "kind": "lock", "name": "", "version": ""}]
