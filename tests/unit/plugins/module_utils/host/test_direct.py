# SPDX-License-Identifier: GPL-3.0-or-later
"""Requests to a peer end within their time and their size, whatever the peer sends."""

from __future__ import annotations

import socket
import time

import pytest
from ansible_collections.voicefleet.kokoro.plugins.module_utils.host import direct
from ansible_collections.voicefleet.kokoro.tests.unit.plugins.module_utils.hostile import ANSWERS, HEAD, serving, slowly

ANSWERED = {"an error's body byte by byte": 500, "JSON that is nested too deeply": 200}
# Without a limit, the slow answers take more than a minute.
MOST_SECONDS = 60


@pytest.mark.parametrize("name", sorted(ANSWERS))
def test_a_hostile_answer_is_a_peer_error_in_time(name: str) -> None:
    begin = time.monotonic()
    with serving(ANSWERS[name]()) as url:
        if name in ANSWERED:
            assert direct.ask("GET", url, 1.0, 1 << 20).status == ANSWERED[name]
        else:
            with pytest.raises(direct.PeerError) as caught:
                direct.ask("GET", url, 1.0, 1 << 20)
            assert caught.value.kind in ("timeout", "unreachable", "odd")
            assert str(caught.value).isprintable()
    assert time.monotonic() - begin < MOST_SECONDS


def test_a_tls_handshake_byte_by_byte_ends_in_time() -> None:
    begin = time.monotonic()
    with serving(slowly(b"\x16\x03\x03\x40\x00" * 1000)) as url, pytest.raises(direct.PeerError):
        direct.ask("GET", url.replace("http:", "https:"), 0.5, 1 << 20)
    assert time.monotonic() - begin < MOST_SECONDS


def test_a_peer_that_reads_nothing_does_not_hold_an_upload() -> None:
    begin = time.monotonic()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        with pytest.raises(direct.PeerError, match="did not answer within 0.5 s"):
            direct.ask("POST", url, 0.5, 1 << 20, body=bytes(64 << 20))
    assert time.monotonic() - begin < MOST_SECONDS


def test_an_answer_may_have_exactly_the_most_bytes() -> None:
    whole = HEAD + b"Content-Length: 1000\r\n\r\n" + bytes(1000)
    with serving([whole]) as url:
        answer = direct.ask("GET", url, 10, 1000)
        assert (answer.status, len(answer.data), answer.content_type) == (200, 1000, "audio/wav")
        with pytest.raises(direct.PeerError, match="sent more than"):
            direct.ask("GET", url, 10, 999)


def test_only_the_start_of_an_error_is_read() -> None:
    with serving([b"HTTP/1.1 500 Oops\r\n\r\n" + bytes(10 << 20)]) as url:
        assert len(direct.ask("GET", url, 10, 1 << 20).data) == direct.ERROR_BYTES


@pytest.mark.parametrize(
    "url",
    [
        "http://h:abc", "http://[::1", "http://a b", "http://a\nb", "http://", "ftp://h", "h:80", "http://u:p@h",
        "http://h:0", "http://h:99999", "http://\x1b[31m", "http://" + "a" * 70 + ".example",
    ],
)  # fmt: skip
def test_an_odd_address_is_a_peer_error(url: str) -> None:
    with pytest.raises(direct.PeerError):
        direct.ask("GET", url, 1, 1000)


def test_nothing_listens() -> None:
    with pytest.raises(direct.PeerError, match="refused") as caught:
        direct.ask("GET", "http://127.0.0.1:9", 5, 1000)
    assert caught.value.kind == "refused"
