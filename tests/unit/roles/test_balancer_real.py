# SPDX-License-Identifier: GPL-3.0-or-later
"""The real HAProxy with the role's template: what clients and nodes see of each other."""

from __future__ import annotations

import contextlib
import shutil
import socket
import string
import subprocess
import tempfile
import threading
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("hypothesis")

from ansible_collections.voicefleet.kokoro.plugins.module_utils.front.balancer import ask
from ansible_collections.voicefleet.kokoro.plugins.module_utils.xinference.config import check_secret
from ansible_collections.voicefleet.kokoro.tests.unit.roles.real_front import (
    CLIENT,
    LIMIT,
    Front,
    Request,
    balancing,
    free_port,
    in_pieces,
    in_seven_seconds,
    nodes_of,
    speak,
    started,
    until,
    write_balancer,
)

pytestmark = [
    pytest.mark.usefixtures("ansible_plugins"),
    pytest.mark.skipif(shutil.which("haproxy") is None, reason="haproxy is not installed"),
]
TEXT = {"model": "kokoro", "input": "All is well."}
LONG = {"model": "kokoro", "input": "All is well. " * 200}
SOUND = "/v1/audio/transcriptions"
LOADING = '{"detail":"Model is loading, please retry later: Model kokoro is loading, please retry later"}'
STOPPING = '{"detail":"[address=127.0.0.1:1, pid=2] Model kokoro-rep0 is in stopping state"}'
GONE = '{"detail":"Model not found in the model list, uid: kokoro (cached, retry after 10.0s)"}'


def work(request: Request) -> None:
    """Work until the client leaves."""
    if request.works(LIMIT):
        request.answer(200)


# --- clients that hang up


@pytest.mark.parametrize("text", ["Leave. ", "Leave. " * 400], ids=["short", "long"])
def test_requests_of_clients_that_hung_up_are_not_processed(text: str) -> None:
    """Eight clients leave. The node stops work for the first, and never gets the seven in the queue."""

    def behave(request: Request) -> None:
        (work if b"Leave" in request.body else speak)(request)

    with balancing(1, behave) as front:
        node = front.nodes[0]
        body = {"model": "kokoro", "input": text}
        gone = [front.send(body)]
        until(lambda: node.asked, "the node works")
        gone += [front.send(body) for _each in range(7)]
        until(lambda: front.queued() == 7, "seven wait")
        for connection in gone[1:]:
            connection.close()
        until(lambda: front.queued() == 0, "the queue is empty")
        gone[0].close()
        assert front.ask(TEXT)[0] == 200
        assert (len(node.asked), len(node.left), len(node.done)) == (2, 1, 0)
        assert front.states() == {"node-1": "UP"}


def test_a_stream_whose_client_hung_up_stops_on_the_node() -> None:
    def behave(request: Request) -> None:
        request.begin_stream()
        request.piece(b"first")
        request.works(LIMIT)

    with balancing(1, behave) as front:
        connection = front.send(TEXT)
        answer = connection.getresponse()
        assert answer.read(5) == b"first"
        connection.close()
        answer.close()
        until(lambda: front.nodes[0].left, "the node saw it")


# --- long and short texts


def test_a_short_text_does_not_wait_for_a_long_one_on_the_only_node() -> None:
    """There the two take turns. Further texts wait in the balancer."""
    free = threading.Event()

    def behave(request: Request) -> None:
        if b"All" not in request.body or free.wait(LIMIT):
            request.answer(200)

    with balancing(1, behave) as front:
        long = front.send(LONG)
        until(lambda: front.asked == {"n1": 1}, "the node works on the long text")
        try:
            assert front.ask({"model": "kokoro", "input": "Good night."})[0] == 200
            short, second, third = front.send(TEXT), front.send(TEXT), front.send(LONG)
            # The node notes a request a moment after it has left the queue.
            until(lambda: front.queued() == 2 and front.asked == {"n1": 3}, "one text more is there, and two wait")
        finally:
            free.set()
        assert [one.getresponse().status for one in (long, short, second, third)] == [200] * 4


@pytest.mark.parametrize("state", ["drain", "maint"])
def test_a_node_that_was_taken_out_gets_no_text(state: str) -> None:
    with balancing(2) as front:
        ask(str(front.folder / "admin.sock"), f"set server nodes/n1 state {state}")
        assert [front.ask(body)[0] for body in (TEXT, LONG) * 4] == [200] * 8
        assert front.asked == {"n1": 0, "n2": 8}


# --- retries


def poisonous(kind: str) -> Any:
    def behave(request: Request) -> None:
        if b"poison" not in request.body:
            request.answer(200)
        elif kind == "silence":
            request.die()
        elif kind == "half":
            request.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Le")
            request.die()
        else:
            request.answer(int(kind), '{"detail":"Remote server unixsocket:///1 closed"}')

    return behave


@pytest.mark.parametrize("kind", ["silence", "half", "500", "502", "503"])
def test_a_request_that_ends_a_model_reaches_one_node_only(kind: str) -> None:
    with balancing(3, poisonous(kind)) as front:
        status, _text, headers = front.ask({**TEXT, "input": "poison"})
        assert status == (502 if kind in ("silence", "half") else int(kind))
        assert sum(front.asked.values()) == 1
        # Else OpenAI's client would send it to two more nodes.
        assert kind == "503" or headers.get("x-should-retry") == "false"
        assert set(front.states().values()) == {"UP"}
        assert front.ask(TEXT)[0] == 200


@pytest.mark.parametrize(("status", "text"), [(503, LOADING), (500, STOPPING), (404, GONE)])
def test_a_request_that_a_node_did_not_begin_goes_to_one_other_node(status: int, text: str) -> None:
    with balancing(3, lambda request: request.answer(status, text)) as front:
        said, _text, headers = front.ask(TEXT)
        assert (said, headers.get("retry-after")) == (503, "2")
        assert sorted(front.asked.values()) == [0, 1, 1]
        for node in front.nodes:
            node.behave = speak
        until(lambda: set(front.states().values()) == {"UP"}, "all nodes are up")
        assert front.ask(TEXT)[0] == 200


def test_a_request_that_a_node_did_not_begin_waits_for_a_busy_node() -> None:
    free = threading.Event()

    def behave(request: Request) -> None:
        if free.wait(LIMIT):
            request.answer(200)

    with balancing(2, behave, balancer_check_seconds=3600) as front:
        one, two = front.nodes
        first = front.send(TEXT)
        until(lambda: one.asked or two.asked, "one node works")
        idle = two if one.asked else one
        idle.behave = lambda request: request.answer(503, LOADING)
        second = front.send(TEXT)
        until(lambda: front.queued() == 1, "the request waits")
        free.set()
        assert [connection.getresponse().status for connection in (first, second)] == [200, 200]
        assert len(idle.asked) == 1


def test_the_last_node_stays_although_it_did_not_begin_a_request() -> None:
    """One of its replicas may be ready."""
    with balancing(1, lambda request: request.answer(500, STOPPING), balancer_check_seconds=3600) as front:
        assert front.ask(TEXT)[0] == 503
        assert front.states() == {"node-1": "UP"}
        assert front.asked == {"n1": 2}


def test_a_node_or_its_gateway_may_say_that_it_did_not_begin() -> None:
    with balancing(3, lambda request: request.answer(502, "x", X_Voicefleet_Not_Started="1")) as front:
        status, _text, headers = front.ask(TEXT)
        assert (status, "x-voicefleet-not-started" in headers) == (503, False)
        assert sorted(front.asked.values()) == [0, 1, 1]


def test_an_unknown_model_is_not_tried_twice() -> None:
    text = '{"detail":"Model not found in the model list, uid: tts-1. Available model uids: []"}'
    with balancing(3, lambda request: request.answer(404, text)) as front:
        assert front.ask(TEXT)[:2] == (404, text)
        assert sum(front.asked.values()) == 1


@pytest.mark.parametrize("fault", ["need at least one array to concatenate", "Unknown format: 'OPUS'"])
def test_a_wrong_request_gets_a_400(fault: str) -> None:
    with balancing(3, lambda request: request.answer(500, f'{{"detail":"[address=x, pid=1] {fault}"}}')) as front:
        assert front.ask(TEXT)[0] == 400
        assert sum(front.asked.values()) == 1


def test_a_node_that_refuses_connections_loses_no_request_and_is_marked_at_once() -> None:
    with balancing(3, balancer_check_seconds=3600) as front:
        front.nodes[0].stop()
        assert [front.ask(TEXT)[0] for _each in range(6)] == [200] * 6
        assert sorted(front.states().values()) == ["DOWN", "UP", "UP"]
        assert front.nodes[0].asked == []


def test_a_connection_that_a_node_closed_while_idle_loses_no_request() -> None:
    """A node closes each connection just after its answer, and does not say so."""

    def behave(request: Request) -> None:
        request.answer(200)
        request.wfile.flush()
        request.close_connection = True

    with balancing(1, behave) as front:
        connection = front.connect()
        headers = {"Authorization": f"Bearer {CLIENT}"}
        for _each in range(30):
            connection.request("POST", "/v1/audio/speech", b'{"input":"x"}', headers)
            answer = connection.getresponse()
            assert (answer.status, answer.read()) == (200, b"sound")


# --- each model on its own nodes


def test_a_node_gets_only_requests_for_models_that_are_ready_on_it() -> None:
    with balancing(3, hears=True) as front:
        one, two, three = front.nodes
        one.ready, two.ready, three.ready = ("kokoro",), ("whisper",), ("kokoro", "whisper")
        wanted = {"node-1": "UP", "node-2": "DOWN", "node-3": "UP", "hears-1": "DOWN", "hears-2": "UP", "hears-3": "UP"}
        until(lambda: front.states() == wanted, f"{front.states()}")
        for _each in range(4):
            assert front.ask(TEXT)[0] == 200
            assert front.ask(b"x" * 100000, SOUND)[0] == 200
        assert {request.path for request in one.asked} == {"/v1/audio/speech"}
        assert {request.path for request in two.asked} == {SOUND}
        assert {len(request.body) for node in (two, three) for request in node.asked if request.path == SOUND} == {
            100000
        }


def test_texts_for_the_newer_mandarin_go_to_nodes_where_it_is_ready() -> None:
    newer = {"input": "All is well.", "model": "kokoro-z"}
    with balancing(3, mandarin=True) as front:
        one, two, three = front.nodes
        one.ready, two.ready, three.ready = ("kokoro",), ("kokoro-z",), ("kokoro", "kokoro-z")
        wanted = {f"node-{number}": "DOWN" if number == 2 else "UP" for number in (1, 2, 3)}
        wanted.update({f"mandarin-{number}": "DOWN" if number == 1 else "UP" for number in (1, 2, 3)})
        until(lambda: front.states() == wanted, f"{front.states()}")
        for text in (newer, TEXT, {**LONG, "model": "kokoro-z"}, LONG) * 3:
            assert front.ask(text)[0] == 200
        assert {b"kokoro-z" in request.body for request in one.asked} == {False}
        assert {b"kokoro-z" in request.body for request in two.asked} == {True}
        assert front.ask(None, "/v1/models")[0] == 200
        # A node on which it is being loaded did not begin the request.
        two.behave = lambda request: request.answer(503, LOADING)
        assert [front.ask(newer)[0] for _each in range(3)] == [200] * 3


def test_a_sound_file_is_passed_on_as_it_arrives() -> None:
    with balancing(1, ready=("kokoro", "whisper"), hears=True) as front:
        front.wait("hears-1", "UP")
        node = front.nodes[0]
        connection = front.connect()
        connection.putrequest("POST", SOUND)
        connection.putheader("Authorization", f"Bearer {CLIENT}")
        connection.putheader("Content-Length", "200000")
        connection.endheaders(b"x" * 100000)
        until(
            lambda: [row["scur"] for row in front.rows() if row["pxname"] == "hears-1"][1] == "1",
            "the node has a connection while the file is on its way",
        )
        connection.send(b"x" * 100000)
        assert connection.getresponse().status == 200
        assert len(node.asked[0].body) == 200000


def test_a_sound_file_is_limited_and_not_sent_twice() -> None:
    with balancing(2, poisonous("500"), ("kokoro", "whisper"), hears=True, balancer_upload_bytes=50000) as front:
        front.wait("hears-1", "UP")
        front.wait("hears-2", "UP")
        assert front.ask(b"x" * 50001, SOUND)[0] == 413
        chunked = front.connect()
        chunked.request("POST", SOUND, iter([b"x" * 60000]), {"Authorization": f"Bearer {CLIENT}"}, encode_chunked=True)
        assert chunked.getresponse().status == 411
        assert front.ask(b"x" * 70000)[0] == 413
        assert sum(front.asked.values()) == 0
        assert front.ask(b"poison", SOUND)[0] == 500
        assert sum(front.asked.values()) == 1
        assert set(front.states().values()) == {"UP"}


def test_paths_are_those_that_are_served() -> None:
    with balancing(1) as front:
        for path in ("/v1/models", "/v1/audio/voices"):
            assert front.ask(None, path)[0] == 200
            assert front.ask(b"x", path)[0] == 404
        assert front.ask(b"x", SOUND)[0] == 404
        for path in ("/", "/v1/audio/speech", "/v1/models/instances", "/v1/admin/keys"):
            assert front.ask(None, path)[0] == 404
        assert front.ask(TEXT, Authorization="Bearer xf-wrong-wrong-wrong")[0] == 401
        assert front.asked == {"n1": 2}


# --- streams


@pytest.mark.parametrize("kind", ["audio/pcm", "text/event-stream"])
@pytest.mark.parametrize("body", [TEXT, LONG], ids=["short", "long"])
def test_a_stream_arrives_piece_by_piece(kind: str, body: dict[str, Any]) -> None:
    """The node sends a piece only after its client has read the one before."""
    read = threading.Semaphore(0)
    with balancing(1, in_pieces(kind, read)) as front, contextlib.closing(front.send(body)) as connection:
        answer = connection.getresponse()
        for number in range(6):
            assert answer.read(14) == b"data: piece%d\n\n" % number
            read.release()
        assert answer.read() == b""


def test_a_stream_may_take_longer_than_any_pause() -> None:
    seconds = {"balancer_short_seconds": 5, "balancer_long_seconds": 5, "balancer_queue_seconds": 1}
    with balancing(1, in_seven_seconds, **seconds) as front:
        assert front.ask(TEXT)[:2] == (200, "xxxxxxx")


def test_a_node_that_says_nothing_for_too_long_gets_no_second_request() -> None:
    with balancing(2, work, balancer_short_seconds=1) as front:
        status, text, headers = front.ask(TEXT)
        assert (status, "did not answer in time" in text) == (504, True)
        assert headers.get("x-should-retry") == "false"
        assert sum(front.asked.values()) == 1
        assert set(front.states().values()) == {"UP"}


# --- keys

SIGNS = string.ascii_letters + string.digits + "._~+/=:@%^-"
# Each sign at both ends, and before, after and between percent signs. HAProxy's own formats begin with a percent sign.
OF_CLIENTS = [f"{sign}%{sign}xf-0123456789{sign}%%{sign}" for sign in SIGNS]
OF_NODES = [
    *("".join(OF_CLIENTS[start : start + 25]) for start in range(0, 75, 25)),
    SIGNS * 6,
    "%" * 512,
    "%T%ci%H" * 3,
]


def test_every_key_that_we_allow_arrives_unchanged() -> None:
    """Clients send their keys, and each node gets its own with checks and with requests."""
    for key in [*OF_CLIENTS, *OF_NODES]:
        check_secret("client_key", key)
    with tempfile.TemporaryDirectory() as name, nodes_of(len(OF_NODES), speak, ("kokoro",)) as nodes:
        folder, port = Path(name), free_port()
        rows = [
            {"name": node.name, "address": "127.0.0.1", "port": node.port, "key": key}
            for node, key in zip(nodes, OF_NODES, strict=True)
        ]
        with started(write_balancer(folder, rows, {"balancer_port": port}, OF_CLIENTS), folder, port):
            front = Front(folder, port, nodes)
            until(lambda: all(node.checks for node in nodes), "every node was checked")
            # No such path: the key was right.
            assert {front.ask(None, "/x", Authorization=f"Bearer {key}")[0] for key in OF_CLIENTS} == {404}
            assert front.ask(None, "/x", Authorization=f"Bearer {OF_CLIENTS[0][:-1]}")[0] == 401
            for node in nodes:
                number = nodes.index(node) + 1
                with socket.socket(socket.AF_UNIX) as connection:
                    connection.connect(str(folder / f"node-{number}.sock"))
                    connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
                    assert connection.recv(1000).startswith(b"HTTP/1.1 200")
    for node, key in zip(nodes, OF_NODES, strict=True):
        for request in (node.checks[0], node.asked[0]):
            assert request.headers["Authorization"] == f"Bearer {key}"


def test_no_error_of_haproxy_quotes_a_part_of_a_key() -> None:
    """Spoil each line of the configuration in turn. The keys are only in a file whose lines we write ourselves."""
    key = "Se%T.cr/Et%x%%y" * 4
    row = {"name": "a", "address": "127.0.0.1", "port": 9, "key": key}
    parts = [key[start : start + 4] for start in range(len(key) - 3)]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        command = write_balancer(folder, [row], {}, [CLIENT])
        lines = (folder / "haproxy.cfg").read_text().splitlines()
        named = [number for number, line in enumerate(lines) if "KEY_1" in line]
        assert len(named) == 2
        for number in named:
            for spoilt in (lines[number] + " x", lines[number].replace("Bearer ", "Bearer %[x "), "x" + lines[number]):
                text = "\n".join([*lines[:number], spoilt, *lines[number + 1 :]]) + "\n"
                (folder / "haproxy.cfg").write_text(text)
                done = subprocess.run([*command, "-c"], capture_output=True, text=True, check=False, timeout=60)
                assert done.returncode != 0
                assert not any(part in done.stdout + done.stderr for part in parts), done.stderr
