# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import http.server
import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.voicefleet.kokoro.plugins.module_utils.proof import speech
from ansible_collections.voicefleet.kokoro.plugins.module_utils.proof.speech import SpeechClient, SpeechError
from ansible_collections.voicefleet.kokoro.tests.unit.plugins.module_utils.hostile import ANSWERS, serving

# As Xinference says it.
HUB = (
    '{"detail":"[address=127.0.0.1:36291, pid=19859] An error happened while trying to locate the file on the Hub and'
    ' we cannot find the requested files in the local cache."}'
)
NO_MODEL = '{"detail":"[address=127.0.0.1:35064, pid=19223] Model not found in the model list, uid: nokoro."}'


class Server:
    """A speech endpoint that gives the answers it was told, the last one again and again, and keeps the requests.

    An answer is (status, body, headers) or a number of seconds to wait before an empty 200.
    """

    def __init__(self) -> None:
        self.answers: list[Any] = [(200, b"RIFF", {"Content-Type": "audio/wav"})]
        self.requests: list[tuple[str, dict[str, str], bytes]] = []
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                outer.requests.append((self.path, {k.lower(): v for k, v in self.headers.items()}, body))
                answer = outer.answers.pop(0) if len(outer.answers) > 1 else outer.answers[0]
                if isinstance(answer, float):
                    time.sleep(answer)
                    answer = (200, b"", {})
                status, data, headers = answer
                self.send_response(status)
                for name, value in {"Content-Length": str(len(data)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(data)

            do_GET = do_POST

            def log_message(self, *args: Any) -> None:
                pass

        self.httpd = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.httpd.server_address[1]}"
        threading.Thread(target=self.httpd.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()


@pytest.fixture
def server() -> Iterator[Server]:
    it = Server()
    yield it
    it.httpd.shutdown()
    it.httpd.server_close()


def error_of(client: SpeechClient) -> SpeechError:
    with pytest.raises(SpeechError) as caught:
        client.speak("kokoro", "Hi.", "af_heart", "wav")
    return caught.value


def test_a_request_gets_a_reply(server: Server) -> None:
    reply = SpeechClient(server.url + "/", "xf-secret").speak("kokoro", "Hé.", "af_heart", "mp3")
    (path, headers, body), *more = server.requests
    assert not more
    assert path == "/v1/audio/speech"
    assert headers["authorization"] == "Bearer xf-secret"
    assert headers["content-type"] == "application/json"
    assert json.loads(body) == {
        "model": "kokoro", "input": "Hé.", "voice": "af_heart", "response_format": "mp3", "speed": 1.0,
    }  # fmt: skip
    assert (reply.data, reply.content_type) == (b"RIFF", "audio/wav")
    assert 0 < reply.first_byte_seconds <= reply.seconds < 5


def test_no_key_is_sent_if_none_is_set(server: Server) -> None:
    SpeechClient(server.url).speak("kokoro", "Hi.", "af_heart", "wav")
    assert "authorization" not in server.requests[0][1]


def test_proxies_of_the_environment_are_not_used(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    monkeypatch.delenv("no_proxy", raising=False)
    assert SpeechClient(server.url).speak("kokoro", "Hi.", "af_heart", "wav").data == b"RIFF"


def test_no_redirect_is_followed_with_the_key(server: Server) -> None:
    server.answers = [(302, b"", {"Location": server.url + "/elsewhere"})]
    error = error_of(SpeechClient(server.url, "xf-secret"))
    assert (error.kind, error.status) == ("failed", 302)
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("status", "body", "kind", "words"),
    [
        (401, '{"detail":"Invalid token"}', "unauthorized", "the key that was sent is not accepted"),
        (403, '{"detail":"no"}', "forbidden", "the key may not use kokoro. no"),
        (404, NO_MODEL, "no_model", "no model 'kokoro' runs there. Model not found in the model list, uid: nokoro."),
        (429, "", "limited", "too many requests"),
        (500, HUB, "no_voice", "the model has no voice 'af_heart'. An error happened while trying to locate"),
        (500, "Internal Server Error:\n 1 validation error", "failed", "Internal Server Error: 1 validation error"),
        (500, "", "failed", "no message"),
        (
            500,
            '{"detail":"[address=127.0.0.1:1, pid=2] Unknown format: \'OPUS\'"}',
            "no_format",
            "Unknown format: 'OPUS'",
        ),
        (400, '{"error":{"message":"response_format must be mp3"}}', "no_format", "it does not make this format"),
        (500, '{"detail":"Kokoro does not support stream mode."}', "no_format", "it does not make this format"),
        (503, '{"error":{"message":"Model is loading"}}', "loading", "the model is not ready. Model is loading"),
    ],
)
def test_a_refusal_is_explained(server: Server, status: int, body: str, kind: str, words: str) -> None:
    server.answers = [(status, body.encode(), {})]
    error = error_of(SpeechClient(server.url, "xf-secret"))
    assert (error.kind, error.status) == (kind, status)
    assert words in str(error)
    assert "address=" not in str(error)
    assert "pid=" not in str(error)
    assert "xf-secret" not in str(error)


def test_no_request_follows_a_401(server: Server) -> None:
    server.answers = [(401, b"", {})]
    assert "it requires a key, and none was given" in str(error_of(SpeechClient(server.url, patience=30)))
    assert len(server.requests) == 1


def test_the_client_waits_for_a_loading_model(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speech.time, "sleep", lambda seconds: None)
    server.answers = [(503, b"", {}), (503, b"", {}), (200, b"sound", {})]
    assert SpeechClient(server.url, patience=30).speak("kokoro", "Hi.", "af_heart", "wav").data == b"sound"
    assert len(server.requests) == 3


def test_the_client_waits_for_a_limited_time(server: Server) -> None:
    server.answers = [(503, b"", {})]
    assert error_of(SpeechClient(server.url, patience=0)).kind == "loading"
    assert len(server.requests) == 1


def test_an_endpoint_that_hangs_causes_a_timeout(server: Server) -> None:
    server.answers = [2.0]
    start = time.monotonic()
    error = error_of(SpeechClient(server.url, timeout=0.3))
    assert error.kind == "timeout"
    assert time.monotonic() - start < 1.5


def test_an_incomplete_answer_is_an_error(server: Server) -> None:
    server.answers = [(200, b"half", {"Content-Length": "9"})]
    assert error_of(SpeechClient(server.url)).kind in ("odd", "unreachable")


def test_an_endless_answer_is_an_error(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speech, "MOST_BYTES", 1000)
    server.answers = [(200, bytes(5000), {})]
    assert "sent more than" in str(error_of(SpeechClient(server.url)))


def test_a_transcription_has_the_length_of_speech(server: Server) -> None:
    """More would keep the comparison of words busy for hours."""
    client = SpeechClient(server.url)
    for size, odd in ((speech.MOST_TRANSCRIBED, False), (speech.MOST_TRANSCRIBED + 1, True)):
        server.answers = [(200, json.dumps({"text": "1" * size}).encode(), {})]
        if odd:
            with pytest.raises(SpeechError, match="20001 characters, which are no transcription"):
                client.transcribe("whisper", b"sound", "a.wav", "en")
        else:
            assert len(client.transcribe("whisper", b"sound", "a.wav", "en")) == size


def test_a_closed_port_is_an_error(server: Server) -> None:
    server.httpd.shutdown()
    server.httpd.server_close()
    error = error_of(SpeechClient(server.url))
    assert (error.kind, error.status) == ("refused", None)


def test_an_invalid_address_is_an_error() -> None:
    with pytest.raises(SpeechError, match="is not an address"):
        SpeechClient("localhost:9997")


def test_the_key_file_is_read_and_checked(tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text("xf-abc\n")
    assert speech.read_key(str(key)) == "xf-abc"
    assert speech.read_key(None) is None
    assert speech.read_key("") is None
    for content in ("", "two words\n", "a\nb\n", "schlüssel"):
        key.write_text(content, encoding="utf-8")
        with pytest.raises(SpeechError, match="key file"):
            speech.read_key(str(key))
    with pytest.raises(SpeechError, match="does not exist"):
        speech.read_key(str(tmp_path / "none"))


@pytest.mark.parametrize(
    ("text", "seconds"),
    # What espeak-ng took, from the first to the last sound. The last one is Kokoro's fastest voice, zm_yunxi.
    [
        ("The quick brown fox jumps over the lazy dog.", 2.62),
        ("Portez ce vieux whisky au juge blond qui fume.", 2.02),
        ("今天天气很好，我们一起去公园散步吧。", 6.08),
        ("いろはにほへと ちりぬるを わかよたれそ つねならむ", 2.86),
        ("ऋषियों को सताने वाले दुष्ट राक्षसों के राजा रावण का सर्वनाश करने वाले राम.", 4.70),
        ("我妹妹买了三个绿苹果和一个小面包。", 2.50),
    ],
)
def test_the_expected_length_covers_measured_speech(text: str, seconds: float) -> None:
    band = speech.expected_length(text)
    assert band.min_seconds < seconds < band.max_seconds
    assert not band.min_seconds < seconds / 3
    assert band.max_seconds < 4 * seconds


def test_the_expected_length_depends_on_numbers_and_speed() -> None:
    assert speech.expected_length("2026").min_seconds > speech.expected_length("abcd").min_seconds
    assert speech.expected_length("...").min_seconds == 0
    assert (
        speech.expected_length("Hello there", 2.0).max_seconds == speech.expected_length("Hello there").max_seconds / 2
    )


@pytest.mark.parametrize("name", sorted(ANSWERS))
def test_a_hostile_answer_is_a_speech_error_in_time(name: str) -> None:
    begin = time.monotonic()
    with serving(ANSWERS[name]()) as url:
        client = SpeechClient(url, timeout=1.0)
        with pytest.raises(SpeechError) as caught:
            client.transcribe("whisper", b"sound", "a.wav", "en")
    assert caught.value.kind in ("timeout", "unreachable", "odd", "failed")
    assert time.monotonic() - begin < 60


@pytest.mark.parametrize("body", [b"[" * 65536, b'{"detail":' * 9000, b"[address=" * 9000, b"\xff" * 100])
def test_an_odd_error_body_is_shown_in_one_short_line(server: Server, body: bytes) -> None:
    server.answers = [(500, body, {})]
    error = error_of(SpeechClient(server.url))
    assert error.kind == "failed"
    assert len(str(error)) < 600
    assert "\n" not in str(error)


@pytest.mark.parametrize("url", ["http://h:abc", "http://[::1", "http://a b", "http://a\nb", "http://u:p@h"])
def test_an_odd_address_is_a_speech_error(url: str) -> None:
    with pytest.raises(SpeechError, match="is not an address"):
        SpeechClient(url)
