# SPDX-License-Identifier: GPL-3.0-or-later
"""The endpoint for speech from a request to its answer, in front of a stand-in for Xinference's own endpoint."""

from __future__ import annotations

import asyncio
import json
import sys
import types
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from ansible_collections.voicefleet.kokoro.plugins.module_utils.release.serving import routes

TEXT = {"model": "tts-1", "input": "Good night.", "voice": "alloy"}


class HttpError(Exception):
    def __init__(self, status_code: int, detail: str = "", headers: dict[str, str] | None = None) -> None:
        super().__init__(detail)
        self.status_code, self.detail, self.headers = status_code, detail, headers or {}


@dataclass
class Response:
    content: Any = b""
    status_code: int = 200
    media_type: str = ""
    headers: dict[str, str] = field(default_factory=dict)


class Request:
    """A client's request. The client stays, or leaves after its request."""

    def __init__(self, body: bytes, kind: str = "application/json", leaves: bool = False) -> None:
        self.headers, self.scope = {"content-type": kind}, {}
        self._body, self._leaves = body, leaves
        self._receive = self.receive

    async def stream(self) -> AsyncIterator[bytes]:
        yield self._body

    async def receive(self) -> dict[str, Any]:
        if not self._leaves:
            await asyncio.sleep(60)
        return {"type": "http.disconnect"}

    async def form(self) -> dict[str, Any]:
        return {"prompt_speech": "a sound"} if b"prompt_speech" in self._body else {}


class Replayed(Request):
    def __init__(self, _scope: Any, receive: Any) -> None:
        self.sent = receive


class Sound:
    """The parts of the sound. The second one takes long."""

    def __init__(self) -> None:
        self.parts, self.closed = [b"first", b"second"], False

    def __aiter__(self) -> Sound:
        return self

    async def __anext__(self) -> bytes:
        if not self.parts:
            raise StopAsyncIteration
        return self.parts.pop(0)

    async def aclose(self) -> None:
        self.closed = True


class Api:
    """Xinference's API. ``asked`` is what reached its own endpoint, ``forms`` the forms that did."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        self.forms: list[Any] = []
        self.sound = Sound()
        self.fails: Exception | None = None
        self.works = 0.0

    async def create_speech(self, request: Any, prompt: Any, _latent: Any) -> Response:
        if prompt is not None:
            self.forms.append(prompt)
            return Response()
        self.asked.append(json.loads((await request.sent())["body"]))
        await asyncio.sleep(self.works)
        if self.fails is not None:
            raise self.fails
        answer = Response(b"whole")
        answer.body_iterator = self.sound  # type: ignore[attr-defined]
        return answer

    def _check_model_access(self, _request: Any, model: str, _kind: str) -> None:
        if model == "secret":
            raise HttpError(403, "no")

    async def _get_supervisor_ref(self) -> Api:
        return self

    async def get_model(self, uid: str) -> Any:
        return {"kokoro": self}[uid]

    async def voicefleet_voices(self) -> list[str]:
        return ["af_alloy", "af_heart"]


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Api:
    for name, found in {
        "fastapi": types.SimpleNamespace(HTTPException=HttpError, Request=Replayed, Response=_response),
        "fastapi.responses": types.SimpleNamespace(StreamingResponse=Response),
    }.items():
        monkeypatch.setitem(sys.modules, name, found)  # type: ignore[arg-type]
    monkeypatch.setenv("VOICEFLEET_MODEL_NAMES", "tts-1")
    monkeypatch.setenv("VOICEFLEET_VOICE_NAMES", "alloy=af_alloy")
    return Api()


def _response(content: Any = b"", status_code: int = 200, media_type: str = "") -> Response:
    return Response(content, status_code, media_type)


def speak(api: Api, request: Request | None = None, **given: Any) -> Response:
    async def answered() -> Response:
        answer = await routes.create_speech(api)(request or Request(json.dumps({**TEXT, **given}).encode()))
        if hasattr(answer.content, "__anext__"):
            answer.content = [part async for part in answer.content]
        return answer

    return asyncio.run(answered())


@pytest.mark.parametrize(
    ("wrong", "param"),
    [
        ({"speed": 0.05}, "speed"),
        ({"speed": -1}, "speed"),
        ({"input": ""}, "input"),
        ({"input": "x" * 20001}, "input"),
        ({"voice": "../voices/af_heart"}, "voice"),
        ({"voice": "bf_emma"}, "voice"),
        ({"response_format": "m4a"}, "response_format"),
        ({"stream_format": "xml"}, "stream_format"),
    ],
)
def test_an_impossible_request_does_not_reach_the_model(api: Api, wrong: dict[str, Any], param: str) -> None:
    answer = speak(api, **wrong)
    assert answer.status_code == 400
    assert json.loads(answer.content)["error"]["param"] == param
    assert api.asked == []
    assert speak(api).status_code == 200


@pytest.mark.parametrize(
    ("given", "streams", "kind"),
    [
        ({}, True, "audio/mpeg"),
        ({"response_format": "opus"}, True, "audio/ogg"),
        ({"response_format": "aac"}, True, "audio/aac"),
        ({"response_format": "pcm"}, True, "audio/pcm"),
        ({"response_format": "wav"}, False, "audio/wav"),
        ({"response_format": "flac"}, False, "audio/flac"),
        ({"response_format": "wav", "stream": True}, True, "audio/wav"),
        ({"response_format": "wav", "stream_format": "sse"}, True, "text/event-stream"),
        ({"response_format": "wav", "stream_format": "audio"}, False, "audio/wav"),
    ],
)
def test_what_is_streamed(api: Api, given: dict[str, Any], streams: bool, kind: str) -> None:
    answer = speak(api, **given)
    (asked,) = api.asked
    assert (asked["model"], asked["voice"], asked["stream"]) == ("kokoro", "alloy", streams)
    assert "stream_format" not in asked
    if streams:
        assert answer.media_type == kind
        assert answer.headers["X-Accel-Buffering"] == "no"
        assert len(answer.content) == (3 if kind == "text/event-stream" else 2)
        assert api.sound.closed
    else:
        assert (answer.content, answer.headers["content-type"]) == (b"whole", kind)


@pytest.mark.parametrize("form", ["wav", "pcm"])
def test_a_client_that_leaves_ends_its_request(api: Api, form: str) -> None:
    api.works = 30
    body = json.dumps({**TEXT, "response_format": form}).encode()
    assert speak(api, Request(body, leaves=True)).status_code == 499


def test_a_model_with_too_many_requests_did_not_begin_this_one(api: Api) -> None:
    """A balancer asks another node. A 429 would be final."""
    api.fails = HttpError(429, "Rate limit reached")
    with pytest.raises(HttpError) as caught:
        speak(api)
    assert caught.value.status_code == 503
    assert caught.value.headers["X-Voicefleet-Not-Started"] == "1"


def test_a_failure_of_the_model_stays_a_failure(api: Api) -> None:
    api.fails = HttpError(500, "Remote server closed")
    with pytest.raises(HttpError) as caught:
        speak(api)
    assert (caught.value.status_code, caught.value.headers) == (500, {})


def test_a_key_for_another_model_learns_no_voices(api: Api) -> None:
    with pytest.raises(HttpError) as caught:
        speak(api, model="secret", voice="nobody")
    assert caught.value.status_code == 403


def test_a_form_without_a_sound_is_refused_in_words(api: Api) -> None:
    """curl sends its data as a form if no header says otherwise."""
    answer = speak(api, Request(json.dumps(TEXT).encode(), "application/x-www-form-urlencoded"))
    assert answer.status_code == 400
    assert "Content-Type: application/json" in json.loads(answer.content)["error"]["message"]
    assert (api.asked, api.forms) == ([], [])
    speak(api, Request(b"prompt_speech", "multipart/form-data; boundary=x"))
    assert api.forms == ["a sound"]
