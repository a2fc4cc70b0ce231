# SPDX-License-Identifier: GPL-3.0-or-later
"""The REST client against answers that were recorded from a running Xinference."""

from __future__ import annotations

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from ansible_collections.voicefleet.kokoro.plugins.module_utils.xinference import api
from ansible_collections.voicefleet.kokoro.tests.unit.plugins.module_utils.hostile import ANSWERS, serving, slowly

KEY = "xf-" + "k" * 48

# Recorded from a running service, without secrets.
STATUS = {
    "uptime": 4,
    "workers": {"127.0.0.1:53193": {"update_time": 1795356472.9, "failure_remaining_count": 30, "status": {}}},
}
CREATING = {
    "model_name": "Kokoro-82M",
    "model_uid": "kokoro",
    "model_version": None,
    "model_ability": [],
    "replica": 1,
    "status": "CREATING",
    "instance_created_ts": 1795356572,
    "n_worker": 1,
    "replica_statuses": [
        {
            "replica_id": 0,
            "replica_model_uid": "kokoro-rep0",
            "worker_address": "127.0.0.1:53193",
            "status": "CREATING",
            "model_state": "",
            "created_ts": 1795356572,
            "error_message": None,
            "replica_uid": None,
            "gpu_idx": None,
        }
    ],
}
FAILED = dict(
    CREATING,
    status="ERROR",
    replica_statuses=[
        dict(
            CREATING["replica_statuses"][0],  # type: ignore[index]
            status="ERROR",
            error_message="[address=127.0.0.1:33131, pid=237] [Errno 2] No such file or directory: '/m/config.json'",
        )
    ],
)


# After a second replica was added and the first one stopped.
SCALED = dict(
    CREATING,
    status="READY",
    replica_statuses=[
        dict(
            CREATING["replica_statuses"][0],  # type: ignore[index]
            replica_id=1,
            replica_model_uid="kokoro-rep1",
            status="READY",
            model_state="ready",
            replica_uid="kokoro-1",
        )
    ],
)


class Server:
    """A small server that gives prepared answers and records the requests."""

    def __init__(self) -> None:
        self.answers: dict[str, list[tuple[int, Any]]] = {}
        self.asked: list[tuple[str, str, dict[str, str], Any]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *args: Any) -> None:
                pass

            def reply(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                body = json.loads(self.rfile.read(length)) if length else None
                outer.asked.append((self.command, self.path, dict(self.headers), body))
                prepared = outer.answers[f"{self.command} {self.path.split('?')[0]}"]
                status, data = prepared.pop(0) if len(prepared) > 1 else prepared[0]
                if status == -1:
                    time.sleep(data)
                    return
                raw = data if isinstance(data, bytes) else json.dumps(data).encode()
                self.send_response(status)
                if status == 302:
                    self.send_header("Location", "/elsewhere")
                self.send_header("Content-Length", str(len(raw)))
                self.end_headers()
                self.wfile.write(raw)

            do_GET = do_POST = do_DELETE = reply

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Any:
    # The client must never use a proxy of the environment. This one would refuse.
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    made = Server()
    yield made
    made.close()


def client(server: Server, **kwargs: Any) -> api.XinferenceClient:
    return api.XinferenceClient(server.url, token=KEY, **kwargs)


def test_clean_removes_addresses_and_colours() -> None:
    text = "\x1b[31m[address=0.0.0.0:41071, pid=61] [address=[::1]:1, pid=2] No such voice\x1b[0m\n"
    assert api.clean(text).endswith("No such voice")
    assert "pid=61" not in api.clean(text)
    assert "\x1b" not in api.clean(text)
    assert api.clean("No \x1b]0;title\x07such voice") == "No \ufffd]0;title\ufffdsuch voice"
    assert api.clean(None) == ""


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:9997"),
        ("0.0.0.0", "http://127.0.0.1:9997"),
        ("::", "http://[::1]:9997"),
        ("fd00::1", "http://[fd00::1]:9997"),
    ],
)
def test_base_url(host: str, url: str) -> None:
    assert api.base_url(host, 9997) == url


def test_instances_of_a_model_that_is_being_created(server: Server) -> None:
    server.answers["GET /v1/models/instances"] = [(200, [CREATING])]
    (instance,) = client(server).instances("kokoro")
    assert (instance.status, instance.replicas, instance.workers) == ("CREATING", 1, ("127.0.0.1:53193",))
    assert instance.errors == ()
    assert server.asked[0][1] == "/v1/models/instances?model_uid=kokoro"
    assert server.asked[0][2]["Authorization"] == "Bearer " + KEY


def test_replicas_are_known_by_their_numbers(server: Server) -> None:
    path = "/v1/models/kokoro/replicas"
    server.answers["GET /v1/models/instances"] = [(200, [SCALED, CREATING, FAILED])]
    server.answers[f"POST {path}"] = [(200, {"replica_id": 1, "replica_model_uid": "kokoro-rep1"})]
    server.answers[f"DELETE {path}/0"] = [(200, {"remaining_replicas": 1})]
    one = client(server)
    one.add_replicas("kokoro", 1, timeout=60)
    one.remove_replica("kokoro", 0)
    # A starting replica counts, a failed one does not.
    assert [instance.replica_ids for instance in one.instances()] == [(1,), (0,), ()]
    assert [(method, asked, body) for method, asked, _headers, body in server.asked] == [
        ("POST", path, {"replica": 1}),
        ("DELETE", f"{path}/0", None),
        ("GET", "/v1/models/instances", None),
    ]


def test_progress_of_a_model(server: Server) -> None:
    server.answers["GET /v1/models/kokoro/progress"] = [
        (200, {"progress": 0.82, "stage": "loading"}),
        (200, {"detail": "something else"}),
    ]
    assert client(server).progress("kokoro") == 0.82
    with pytest.raises(api.ProtocolError):
        client(server).progress("kokoro")


def test_instances_report_the_error_without_its_address(server: Server) -> None:
    server.answers["GET /v1/models/instances"] = [(200, [FAILED])]
    (instance,) = client(server).instances("kokoro")
    assert instance.errors == ("[Errno 2] No such file or directory: '/m/config.json'",)


def test_an_unknown_model_has_no_instances(server: Server) -> None:
    server.answers["GET /v1/models/instances"] = [(200, [])]
    assert client(server).instances("nope") == []


@pytest.mark.parametrize(
    ("status", "body", "kind", "message"),
    [
        (401, {"detail": "Could not validate credentials"}, api.Unauthorized, "Could not validate credentials"),
        (
            403,
            {"detail": "API keys can only access model query and inference endpoints"},
            api.Forbidden,
            "API keys can only access model query and inference endpoints",
        ),
        (429, {"detail": "IP temporarily banned"}, api.Banned, "IP temporarily banned"),
        (
            400,
            {"detail": "[address=127.0.0.1:47194, pid=153] Model is already in the model list, uid: kokoro"},
            api.AlreadyRunning,
            "Model is already in the model list, uid: kokoro",
        ),
        (
            400,
            {"detail": "[address=127.0.0.1:47194, pid=153] Invalid input. model_path: /opt/nope does not exist."},
            api.BadRequest,
            "Invalid input. model_path: /opt/nope does not exist.",
        ),
        (
            500,
            b"Internal Server Error: 1 validation error",
            api.ServerError,
            "Internal Server Error: 1 validation error",
        ),
        (503, {"detail": "No available worker found"}, api.ServerError, "No available worker found"),
    ],
)
def test_refusals_are_typed_and_readable(
    server: Server, status: int, body: Any, kind: type[api.XinferenceError], message: str
) -> None:
    server.answers["POST /v1/models"] = [(status, body)]
    with pytest.raises(kind) as caught:
        client(server).launch({"model_uid": "kokoro"}, timeout=5)
    assert caught.value.__class__ is kind
    assert str(caught.value) == message
    assert caught.value.status == status


def test_a_rejected_key_is_sent_once_only(server: Server) -> None:
    server.answers["GET /v1/models/instances"] = [(401, {"detail": "Could not validate credentials"})]
    server.answers["GET /v1/models"] = [(200, {"data": []})]
    one = client(server)
    for _attempt in range(20):
        with pytest.raises(api.Unauthorized):
            one.instances("kokoro")
        with pytest.raises(api.Unauthorized):
            one.models()
    assert len(server.asked) == 1


def test_login_replaces_a_rejected_key(server: Server) -> None:
    server.answers["GET /v1/models"] = [(401, {"detail": "x"}), (200, {"object": "list", "data": [{"id": "kokoro"}]})]
    server.answers["POST /token"] = [(200, {"access_token": "eyJ", "refresh_token": "r", "token_type": "bearer"})]
    one = client(server)
    with pytest.raises(api.Unauthorized):
        one.models()
    one.login("voicefleet-deploy", "s3cret s3cret")
    assert one.models() == [{"id": "kokoro"}]
    _method, _path, headers, body = server.asked[1]
    assert body == {"username": "voicefleet-deploy", "password": "s3cret s3cret"}
    assert "Authorization" not in headers
    assert server.asked[2][2]["Authorization"] == "Bearer eyJ"


def test_a_wrong_password_is_tried_once(server: Server) -> None:
    server.answers["POST /token"] = [(401, {"detail": "Incorrect username or password"})]
    with pytest.raises(api.Unauthorized, match="Incorrect username or password"):
        client(server).login("voicefleet-deploy", "wrong")
    assert len(server.asked) == 1


def test_launch_waits_and_names_the_type(server: Server) -> None:
    server.answers["POST /v1/models"] = [(200, {"model_uid": "kokoro"})]
    payload = {"model_name": "Kokoro-82M", "model_type": "audio", "model_uid": "kokoro"}
    assert client(server).launch(payload, timeout=5) == "kokoro"
    assert server.asked[0][1] == "/v1/models?wait_ready=true"
    assert server.asked[0][3] == payload


def test_terminate_quotes_the_uid(server: Server) -> None:
    server.answers["DELETE /v1/models/a%2Fb"] = [(200, None)]
    client(server).terminate("a/b")
    assert server.asked[0][:2] == ("DELETE", "/v1/models/a%2Fb")


def test_a_replica_is_added_on_one_worker(server: Server) -> None:
    server.answers["POST /v1/models/kokoro/replicas"] = [(200, {"replica_id": 1})]
    client(server).add_replica("kokoro", "10.0.0.11:30001", "kokoro-new", timeout=5)
    assert server.asked[0][3] == {
        "replica": 1,
        "replica_config": {
            "replica_uid": "kokoro-new",
            "devices": [{"worker_ip": "10.0.0.11:30001", "n_gpu": "auto"}],
        },
    }


def test_replicas_that_ended_do_not_count_as_ready() -> None:
    statuses = [
        {"replica_id": 0, "worker_address": "10.0.0.11:30001", "status": "READY"},
        {"replica_id": 1, "worker_address": "10.0.0.12:30001", "status": "TERMINATED"},
    ]
    data = {"model_uid": "kokoro", "model_name": "Kokoro-82M", "status": "READY", "replica_statuses": statuses}
    found = api.Instance.parse(data)
    assert (found.ready, len(found.workers)) == (("10.0.0.11:30001",), 2)


def test_redirects_are_not_followed(server: Server) -> None:
    server.answers["GET /v1/models"] = [(302, {})]
    server.answers["GET /elsewhere"] = [(200, {"data": []})]
    with pytest.raises(api.BadRequest):
        client(server).models()
    assert [item[1] for item in server.asked] == ["/v1/models"]


@pytest.mark.parametrize("body", [b"<!doctype html>", {"detail": "x"}, [1], b""])
def test_another_service_on_the_port_is_recognised(server: Server, body: Any) -> None:
    server.answers["GET /status"] = [(200, body)]
    with pytest.raises(api.ProtocolError):
        client(server).wait_ready(5)


def test_a_port_where_nobody_listens_is_unreachable() -> None:
    with pytest.raises(api.Unreachable, match="refused"):
        api.XinferenceClient("http://127.0.0.1:9").status()


def test_a_hanging_port_ends_at_the_time_limit(server: Server) -> None:
    server.answers["GET /status"] = [(-1, 3.0)]
    begin = time.monotonic()
    with pytest.raises(api.Unreachable):
        client(server).status(timeout=0.2)
    assert time.monotonic() - begin < 2


def test_wait_ready_waits_through_hanging_and_for_a_worker(server: Server) -> None:
    server.answers["GET /status"] = [
        (-1, 0.0),
        (503, {"detail": "x"}),
        (200, {"uptime": 0, "workers": {}}),
        (200, STATUS),
    ]
    assert client(server).wait_ready(30, poll=0.0) == STATUS
    assert len(server.asked) == 4
    assert all("Authorization" not in item[2] for item in server.asked)


def test_wait_ready_ends_at_its_limit_and_gives_the_reason() -> None:
    now = [0.0]

    def sleep(seconds: float) -> None:
        now[0] += seconds

    one = api.XinferenceClient("http://127.0.0.1:9")
    with pytest.raises(api.Unreachable, match=r"not ready within 3 s; .*refused"):
        one.wait_ready(3, clock=lambda: now[0], sleep=sleep)
    assert 3 <= now[0] < 4


def test_wait_ready_ends_early_if_the_watcher_raises() -> None:
    def watch() -> None:
        raise RuntimeError("the unit failed")

    with pytest.raises(RuntimeError, match="the unit failed"):
        api.XinferenceClient("http://127.0.0.1:9").wait_ready(60, watch=watch)


def test_autostart_entries(server: Server) -> None:
    entry = {"enabled": True, "launch": {"model_uid": "kokoro"}, "state": {"status": "error", "last_error": "x"}}
    server.answers["GET /v1/autostart/models"] = [(200, {"models": [entry]})]
    assert client(server).autostart() == [entry]


@pytest.mark.parametrize("name", sorted(ANSWERS))
def test_a_hostile_answer_is_an_error_in_time(name: str) -> None:
    begin = time.monotonic()
    with serving(ANSWERS[name]()) as url, pytest.raises(api.XinferenceError):
        api.XinferenceClient(url, timeout=1.0).instances()
    assert time.monotonic() - begin < 60


def test_wait_ready_keeps_its_limit_if_headers_come_byte_by_byte() -> None:
    begin = time.monotonic()
    with (
        serving(slowly(b"HTTP/1.1 200 OK\r\n" * 1000)) as url,
        pytest.raises(api.Unreachable, match="not ready within"),
    ):
        api.XinferenceClient(url).wait_ready(1.0)
    assert time.monotonic() - begin < 40


@pytest.mark.parametrize(
    "change",
    [
        {"replica_statuses": ["x"]},
        {"replica_statuses": 5},
        {"replica_statuses": [{"replica_id": "one"}]},
        {"replica": float("inf")},
        {"replica": ["x"]},
    ],
)
def test_instances_of_another_shape_are_not_xinferences(server: Server, change: dict[str, Any]) -> None:
    server.answers["GET /v1/models/instances"] = [(200, [{**CREATING, **change}])]
    with pytest.raises(api.ProtocolError):
        client(server).instances()


@pytest.mark.parametrize(("given", "shown"), [("NaN", 0.0), ("Infinity", 1.0), ("-3", 0.0), ("1e400", 1.0)])
def test_progress_is_a_number_of_0_to_1(server: Server, given: str, shown: float) -> None:
    server.answers["GET /v1/models/kokoro/progress"] = [(200, f'{{"progress": {given}}}'.encode())]
    assert client(server).progress("kokoro") == shown
