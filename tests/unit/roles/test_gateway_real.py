# SPDX-License-Identifier: GPL-3.0-or-later
"""The real nginx with the role's template: what clients and the service see of each other."""

from __future__ import annotations

import contextlib
import shutil
import threading

import pytest

pytest.importorskip("hypothesis")

from ansible_collections.voicefleet.kokoro.tests.unit.roles.real_front import (
    LIMIT,
    Request,
    guarded,
    in_pieces,
    in_seven_seconds,
    until,
)

pytestmark = [
    pytest.mark.usefixtures("ansible_plugins"),
    pytest.mark.skipif(shutil.which("nginx") is None, reason="nginx is not installed"),
]
TEXT = {"model": "kokoro", "input": "All is well."}
SOUND = "/v1/audio/transcriptions"


@pytest.mark.parametrize("streams", [False, True])
def test_a_request_whose_client_hung_up_stops_in_the_service(streams: bool) -> None:
    def behave(request: Request) -> None:
        if streams:
            request.begin_stream()
            request.piece(b"first")
        request.works(LIMIT)

    with guarded(behave) as front:
        node, connection = front.nodes[0], front.send(TEXT)
        if streams:
            answer = connection.getresponse()
            assert answer.read(5) == b"first"
            answer.close()
        until(lambda: node.asked, "the service works")
        connection.close()
        until(lambda: node.left, "the service saw it")


@pytest.mark.parametrize("kind", ["audio/pcm", "text/event-stream"])
def test_a_stream_arrives_piece_by_piece(kind: str) -> None:
    """The service sends a piece only after its client has read the one before."""
    read = threading.Semaphore(0)
    with (
        guarded(in_pieces(kind, read)) as front,
        contextlib.closing(front.send(TEXT, Accept_Encoding="gzip")) as connection,
    ):
        answer = connection.getresponse()
        for number in range(6):
            assert answer.read(14) == b"data: piece%d\n\n" % number
            read.release()
        assert answer.read() == b""


def test_a_stream_may_take_longer_than_any_pause() -> None:
    with guarded(in_seven_seconds, gateway_request_seconds=5) as front:
        assert front.ask(TEXT)[:2] == (200, "xxxxxxx")


def test_an_error_says_whether_the_service_got_the_request() -> None:
    """A balancer sends a request to another node only if the service did not get it."""
    with guarded(lambda request: request.answer(502)) as front:
        status, _text, headers = front.ask(TEXT)
        assert (status, "X-Voicefleet-Not-Started" in headers) == (502, False)
        # This also closes the one connection that nginx keeps.
        front.nodes[0].behave = Request.die
        status, _text, headers = front.ask(TEXT)
        assert (status, "X-Voicefleet-Not-Started" in headers) == (502, False)
        assert front.asked == {"n1": 2}
        front.nodes[0].stop()
        status, _text, headers = front.ask(TEXT)
        assert (status, headers.get("X-Voicefleet-Not-Started")) == (502, "1")


def test_the_paths_of_clients_exist_and_sound_files_may_be_larger() -> None:
    with guarded(lambda request: request.answer(200), xinference_hearing_model="whisper-base") as front:
        for path in ("/v1/models", "/v1/audio/voices", "/v1/models/instances"):
            assert front.ask(None, path)[0] == 200
            assert front.ask(b"x", path)[0] == 403
        assert front.ask(b"x" * 70000)[0] == 413
        assert front.ask(b"x" * 200000, SOUND)[0] == 200
        assert len(front.nodes[0].asked[-1].body) == 200000
        assert front.ask(None, "/v1/admin/keys")[0] == 404
    with guarded(gateway_upload_bytes=50000, xinference_hearing_model="whisper-base") as front:
        assert front.ask(b"x" * 50001, SOUND)[0] == 413
        assert front.asked == {"n1": 0}
    with guarded() as front:
        assert front.ask(b"x", SOUND)[0] == 404
        assert front.asked == {"n1": 0}


def test_a_sound_file_reaches_the_service_while_it_is_sent() -> None:
    came = threading.Event()

    with guarded(xinference_hearing_model="whisper-base") as front:
        node = front.nodes[0]
        node.server.verify_request = lambda *_each: came.set() or True  # type: ignore[method-assign, func-returns-value]
        connection = front.connect()
        connection.putrequest("POST", SOUND)
        connection.putheader("Content-Length", "200000")
        connection.endheaders(b"x" * 100000)
        assert came.wait(LIMIT)
        connection.send(b"x" * 100000)
        assert connection.getresponse().status == 200
        assert len(node.asked[0].body) == 200000
