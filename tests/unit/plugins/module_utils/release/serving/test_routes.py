# SPDX-License-Identifier: GPL-3.0-or-later
"""What the API does before and after the model. The scenario service tries it with the real API."""

from __future__ import annotations

import asyncio
import inspect
import json
import sys
import types
from collections.abc import AsyncIterator
from typing import Any

import pytest
from ansible_collections.voicefleet.kokoro.plugins.module_utils.release.serving import model, routes
from ansible_collections.voicefleet.kokoro.plugins.module_utils.release.serving.request import Refusal, Settings

SETTINGS = Settings("speech", ("tts-1",))


class Request:
    """A client that sends parts of a body, and then leaves or stays."""

    def __init__(self, *parts: bytes, leaves: bool = False) -> None:
        self.parts, self.leaves = parts, leaves

    async def stream(self) -> AsyncIterator[bytes]:
        for part in self.parts:
            yield part

    async def receive(self) -> dict[str, Any]:
        if not self.leaves:
            await asyncio.sleep(60)
        return {"type": "http.disconnect"}


def test_a_further_name_becomes_the_models_own_and_a_missing_voice_is_left_to_the_model() -> None:
    asked = routes._asked({"model": "tts-1", "input": "Hi", "speed": None}, SETTINGS)
    assert asked == {"model": "speech", "input": "Hi", "voice": "", "kwargs": "{}"}
    assert routes._asked({"model": "other", "voice": "x"}, SETTINGS)["model"] == "other"


@pytest.mark.parametrize(
    "given",
    [[], "x", 7, None, {}, {"model": 7}, {"model": "m", "stream": "yes"}, {"model": "m", "kwargs": "["},
     {"model": "m", "kwargs": "[]"}, {"model": "m", "kwargs": {}}, {"model": "m", "kwargs": "[" * 100000}],
)  # fmt: skip
def test_a_body_of_another_form_is_refused(given: Any) -> None:
    with pytest.raises(Refusal):
        routes._asked(given, SETTINGS)


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b"[" * 100000, b'{"a": NaN'])
def test_a_body_that_is_no_json_is_refused(body: bytes) -> None:
    with pytest.raises(Refusal, match="not valid JSON"):
        asyncio.run(routes._read(Request(body)))


def test_a_body_is_read_no_further_than_its_limit() -> None:
    taken = []

    class Endless(Request):
        async def stream(self) -> AsyncIterator[bytes]:
            while True:
                taken.append(1)
                yield b" " * 65536

    with pytest.raises(Refusal, match="larger than"):
        asyncio.run(routes._read(Endless()))
    assert len(taken) <= routes.BODY // 65536 + 1


def test_a_form_is_read_no_further_than_its_limit() -> None:
    async def endless() -> dict[str, Any]:
        return {"type": "http.request", "body": b" " * 65536, "more_body": True}

    receive = routes._limited(endless, Settings.upload)

    async def read(parts: int) -> None:
        for _each in range(parts):
            await receive()

    asyncio.run(read(Settings.upload // 65536))
    with pytest.raises(Refusal, match="larger than"):
        asyncio.run(read(1))


class Form:
    """A request with a form: its parts, and how much of it was read."""

    def __init__(self, model: str, size: int) -> None:
        self.model, self.left, self.read, self.scope = model, size, 0, {}
        self._receive = self._part

    async def _part(self) -> dict[str, Any]:
        part = min(self.left, 65536)
        self.left, self.read = self.left - part, self.read + part
        return {"type": "http.request", "body": b" " * part, "more_body": bool(self.left)}

    async def form(self) -> dict[str, Any]:
        while (await self._receive())["more_body"]:
            pass
        return {"model": self.model}


@pytest.fixture
def fastapi(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the endpoints use of FastAPI. The scenario hearing tries them with the real one."""

    class HttpError(Exception):
        status_code = 400

    class Route:
        def __init__(self, path: str, endpoint: Any, methods: list[str]) -> None:
            self.endpoint = endpoint

        def get_route_handler(self) -> Any:
            async def handle(request: Form) -> Any:
                try:
                    given = await request.form()
                except Exception as error:
                    raise HttpError from error
                return await self.endpoint(request=request, **given)

            return handle

    def response(body: bytes, status: int, media_type: str) -> tuple[int, Any]:
        return status, json.loads(body)

    for name, found in {
        "fastapi": types.SimpleNamespace(Request=Form, Response=response),
        "fastapi.routing": types.SimpleNamespace(APIRoute=Route),
        "starlette.exceptions": types.SimpleNamespace(HTTPException=HttpError),
    }.items():
        monkeypatch.setitem(sys.modules, name, found)  # type: ignore[arg-type]


async def transcribed(request: Form, model: str) -> str:
    return f"{model} heard {request.read} bytes"


@pytest.mark.usefixtures("fastapi")
def test_a_sound_file_is_read_after_the_check_of_the_key() -> None:
    """FastAPI reads a form before the check if an endpoint takes anything but the bare request."""
    sound = routes.take_sound("/v1/audio/transcriptions", transcribed)
    assert inspect.signature(sound, follow_wrapped=True).parameters.keys() == {"request"}
    assert sound.__annotations__["request"] is Form


@pytest.mark.usefixtures("fastapi")
def test_openais_names_for_the_model_that_hears_mean_whisper(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VOICEFLEET_HEARING_NAMES", "whisper-1,gpt-4o-transcribe")
    sound = routes.take_sound("/v1/audio/transcriptions", transcribed)
    assert asyncio.run(sound(Form("whisper-1", 10))) == "whisper heard 10 bytes"
    assert asyncio.run(sound(Form("gpt-4o-transcribe", 10))) == "whisper heard 10 bytes"
    assert asyncio.run(sound(Form("kokoro", 10))) == "kokoro heard 10 bytes"


@pytest.mark.usefixtures("fastapi")
def test_a_sound_file_is_read_no_further_than_its_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VOICEFLEET_UPLOAD_BYTES", "200000")
    sound = routes.take_sound("/v1/audio/transcriptions", transcribed)
    large = Form("whisper", 1 << 30)
    status, said = asyncio.run(sound(large))
    assert (status, said["error"]["code"]) == (400, "request_too_large")
    assert large.read <= 200000 + 65536


@pytest.mark.parametrize(("value", "events"), [(None, False), ("audio", False), ("sse", True)])
def test_the_form_of_a_stream(value: Any, events: bool) -> None:
    assert routes._events(value) is events


@pytest.mark.parametrize("value", ["xml", 7, True, []])
def test_an_unknown_form_of_a_stream_is_refused(value: Any) -> None:
    with pytest.raises(Refusal, match="audio or sse"):
        routes._events(value)


def test_the_work_of_a_client_that_leaves_is_cancelled() -> None:
    ended = []

    async def work() -> str:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise
        return "sound"

    assert asyncio.run(routes._unless_gone(Request(leaves=True), work())) is None
    assert ended == ["cancelled"]


def test_a_client_that_stays_gets_the_result_or_the_error() -> None:
    async def work() -> str:
        return "sound"

    async def failing() -> str:
        raise ValueError("no voice")

    assert asyncio.run(routes._unless_gone(Request(), work())) == "sound"
    with pytest.raises(ValueError, match="no voice"):
        asyncio.run(routes._unless_gone(Request(), failing()))


class Sound:
    """The parts of a stream, which may end with an error."""

    def __init__(self, *parts: bytes, fails: bool = False) -> None:
        self.parts, self.fails, self.closed = [*parts], fails, False

    def __aiter__(self) -> Sound:
        return self

    async def __anext__(self) -> bytes:
        if self.parts:
            return self.parts.pop(0)
        if self.fails:
            raise RuntimeError("the model ended")
        raise StopAsyncIteration

    async def aclose(self) -> None:
        self.closed = True


async def gathered(parts: AsyncIterator[bytes]) -> list[bytes]:
    return [part async for part in parts]


def events(sound: Sound) -> list[dict[str, Any]]:
    lines = asyncio.run(gathered(routes._as_events(b"a", sound)))
    assert all(line.startswith(b"data: ") and line.endswith(b"\n\n") for line in lines)
    return [json.loads(line[6:]) for line in lines]


def test_events_hold_the_sound_and_then_say_that_it_is_done() -> None:
    sound = Sound(b"b", b"c")
    found = events(sound)
    assert [event.get("audio") for event in found] == ["YQ==", "Yg==", "Yw==", None]
    assert found[-1]["type"] == "speech.audio.done"
    assert sound.closed


def test_a_failure_within_a_stream_ends_with_an_error_and_not_with_done() -> None:
    sound = Sound(b"b", fails=True)
    assert [event["type"] for event in events(sound)] == ["speech.audio.delta", "speech.audio.delta", "error"]
    assert sound.closed
    with pytest.raises(RuntimeError):
        asyncio.run(gathered(routes._joined(b"a", Sound(fails=True))))


def test_a_stream_without_sound_is_refused_before_its_status_is_sent() -> None:
    assert asyncio.run(routes._first(Sound(b"a"))) == b"a"
    with pytest.raises(Refusal, match="Nothing in the text"):
        asyncio.run(routes._first(Sound()))


def test_an_error_has_the_form_of_openai_and_of_xinference() -> None:
    assert json.loads(model.body("No.", "voice", "unknown_voice")) == {
        "error": {"message": "No.", "type": "invalid_request_error", "param": "voice", "code": "unknown_voice"},
        "detail": "No.",
    }
    assert model.arguments(Refusal("No.", "voice")) == ("No.", "voice", "invalid_value")
    assert model.arguments(ValueError("No.")) == ("No.", "", "")


def test_only_models_that_this_collection_serves_have_voices() -> None:
    asked = []

    class Model:
        async def voicefleet_voices(self) -> list[str]:
            asked.append(1)
            return ["af_heart"]

    class Api:
        async def _get_supervisor_ref(self) -> object:
            return self

        async def get_model(self, uid: str) -> object:
            return {"speech": Model(), "whisper": object()}[uid]

    async def voices() -> list[Any]:
        found = routes._Voices(Api())
        return [await found.of(uid) for uid in ("speech", "speech", "whisper", "unknown")]

    assert asyncio.run(voices()) == [["af_heart"], ["af_heart"], None, None]
    assert len(asked) == 1
