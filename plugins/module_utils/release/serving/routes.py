# SPDX-License-Identifier: GPL-3.0-or-later
"""What Xinference's API offers to clients that speak OpenAI's language: streams, further names, and a list of voices.

The repair ``serving-api`` registers these endpoints. Each hands the request on to Xinference's own one, so that keys,
metrics and logs stay as they are. This file runs in a release. It imports FastAPI inside functions.
"""

from __future__ import annotations

import asyncio
import base64
import functools
import json
import os
import time
from collections.abc import AsyncIterator, Awaitable, Coroutine
from typing import Any, Callable

from .model import arguments, body
from .request import MEDIA_TYPES, PROGRESSIVE, Refusal, Settings, checked, rows

# A request for speech is not larger, in bytes. The text alone is bounded by the operator's setting.
BODY = 1 << 20
# The voices of a model are asked for again after so many seconds.
FRESH = 10.0

Endpoint = Callable[[Any], Awaitable[Any]]
Receive = Callable[[], Awaitable[Any]]


def create_speech(api: Any) -> Endpoint:
    """Return the endpoint ``POST /v1/audio/speech``."""
    from fastapi import HTTPException, Request, Response
    from fastapi.responses import StreamingResponse

    voices = _Voices(api)
    settings = Settings.read(os.environ)

    async def speech(request: Request) -> Response:
        if not request.headers.get("content-type", "application/json").split(";")[0].strip().endswith("json"):
            # It may carry the sound of a speaker, for other models than Kokoro.
            try:
                parts = await _bounded(request, settings.upload).form()
            except Refusal as refusal:
                return _refused(*arguments(refusal))
            prompt, latent = parts.get("prompt_speech"), parts.get("prompt_latent")
            if not prompt and not latent:
                return _refused("Send JSON, with Content-Type: application/json.", "", "invalid_json")
            return await api.create_speech(request, prompt, latent)
        try:
            asked = _asked(await _read(request), settings)
            # Before any answer, so that a key for another model learns no voices.
            api._check_model_access(request, asked["model"], "audio")
            served = await voices.of(asked["model"])
            if served is None:
                return await api.create_speech(_replayed(request, asked), None, None)
            # The model checks this too. Here, a value of another type is refused as well.
            extras = json.loads(asked.get("kwargs", "{}"))
            text, form, speed = (asked.get(each) for each in ("input", "response_format", "speed"))
            name = checked(text, asked["voice"], form, speed, extras, served, settings).format
            events = _events(asked.pop("stream_format", None))
            asked["stream"] = events or bool(asked.get("stream")) or name in PROGRESSIVE
            answer = await _unless_gone(request, api.create_speech(_replayed(request, asked), None, None))
            if answer is None:
                return Response(status_code=499)  # nobody reads it
            kind = MEDIA_TYPES[name]
            if not asked["stream"]:
                answer.headers["content-type"] = kind
                return answer
            sound = answer.body_iterator
            first = await _unless_gone(request, _first(sound))
            if first is None:
                await sound.aclose()
                return Response(status_code=499)
            return StreamingResponse(
                _as_events(first, sound) if events else _joined(first, sound),
                media_type="text/event-stream" if events else kind,
                # Proxies in between must not collect the parts.
                headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
            )
        except Refusal as refusal:
            return _refused(*arguments(refusal))
        except HTTPException as error:
            if error.status_code == 429:
                # A balancer that sees this header asks another node.
                headers = {"X-Voicefleet-Not-Started": "1", "Retry-After": "2"}
                raise HTTPException(503, error.detail, headers) from None
            cause = error.__cause__
            if error.status_code != 400 or cause is None or len(cause.args) != 3:
                raise
            return _refused(*arguments(cause))

    # FastAPI reads them at run time. The names above are local.
    speech.__annotations__ = {"request": Request, "return": Response}
    return speech


def take_sound(path: str, endpoint: Callable[..., Awaitable[Any]]) -> Endpoint:
    """Return Xinference's endpoint for a sound file as one that reads the file after the check of the key.

    FastAPI reads a form before it checks the key, unless the endpoint takes the bare request.
    """
    from fastapi import Request, Response
    from fastapi.routing import APIRoute
    from starlette.exceptions import HTTPException

    settings = Settings.read(os.environ)

    @functools.wraps(endpoint)
    async def named(**given: Any) -> Any:
        if given["model"] in settings.hearing_names:
            given["model"] = settings.hearing
        return await endpoint(**given)

    handle = APIRoute(path, named, methods=["POST"]).get_route_handler()

    async def sound(request: Request) -> Response:
        try:
            return await handle(_bounded(request, settings.upload))
        except HTTPException as error:
            if not isinstance(error.__cause__, Refusal):
                raise
            return _refused(*arguments(error.__cause__))

    sound.__annotations__ = {"request": Request, "return": Response}
    return sound


def list_voices(api: Any) -> Endpoint:
    """Return the endpoint ``GET /v1/audio/voices``."""
    from fastapi import HTTPException, Request, Response
    from fastapi.responses import JSONResponse

    voices = _Voices(api)
    settings = Settings.read(os.environ)

    async def listed(request: Request) -> Response:
        found: list[dict[str, str]] = []
        models = await (await api._get_supervisor_ref()).list_models()
        for model in sorted(name for name, described in models.items() if described.get("model_type") == "audio"):
            try:
                api._check_model_access(request, model, "audio")
            except HTTPException:
                continue
            found += rows(model, await voices.of(model) or [], settings.voices if model == settings.model else {})
        return JSONResponse({"voices": found})

    listed.__annotations__ = {"request": Request, "return": Response}
    return listed


class _Voices:
    """The voices of each model that runs; None for a model that this collection does not serve."""

    def __init__(self, api: Any) -> None:
        self._api = api
        self._known: dict[str, tuple[float, list[str] | None]] = {}

    async def of(self, model: str) -> list[str] | None:
        known = self._known.get(model)
        if known is None or time.monotonic() - known[0] > FRESH:
            known = (time.monotonic(), await self._ask(model))
            if known[1] is not None:  # so a client cannot fill the memory with names
                self._known[model] = known
        return known[1]

    async def _ask(self, model: str) -> list[str] | None:
        try:
            found = await (await self._api._get_supervisor_ref()).get_model(model)
            return list(await found.voicefleet_voices())
        except Exception:  # no such model, or one of another class: Xinference's own endpoint says what is wrong
            return None


async def _read(request: Any) -> Any:
    """Return the JSON of a request. Raises Refusal."""
    data = b""
    async for part in request.stream():
        data += part
        if len(data) > BODY:
            raise Refusal(f"The request is larger than {BODY} bytes.", "input", "text_too_long")
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        raise Refusal("The request is not valid JSON.", code="invalid_json") from None


def _bounded(request: Any, limit: int) -> Any:
    """Return the same request with a limit for its body. Xinference's log reads the form of this object again."""
    request._receive = _limited(request._receive, limit)
    return request


def _limited(receive: Receive, limit: int) -> Receive:
    """Return a source of a body's parts that raises Refusal after ``limit`` bytes."""
    size = 0

    async def limited() -> Any:
        nonlocal size
        message = await receive()
        size += len(message.get("body", b""))
        if size > limit:
            raise Refusal(f"The request is larger than {limit} bytes.", code="request_too_large")
        return message

    return limited


def _asked(given: Any, settings: Settings) -> dict[str, Any]:
    """Return a request with the model's own name in it. Raises Refusal."""
    if not isinstance(given, dict):
        raise Refusal("The request must be a JSON object.", code="invalid_json")
    if not isinstance(given.get("model"), str):
        raise Refusal("model must be the name of a model. GET /v1/models lists all models.", "model")
    for name, types in {"stream": (bool,), "kwargs": (str,)}.items():
        if given.get(name) is not None and not isinstance(given[name], types):
            raise Refusal(f"{name} must be {'true or false' if name == 'stream' else 'a text with JSON'}.", name)
    asked = {"voice": "", **given}
    if asked["model"] in settings.models:
        asked["model"] = settings.model
    try:
        asked["kwargs"] = asked.get("kwargs") or "{}"
        if not isinstance(json.loads(asked["kwargs"]), dict):
            raise ValueError
    except (ValueError, RecursionError):
        raise Refusal("kwargs must be a text with a JSON object.", "kwargs") from None
    return {name: value for name, value in asked.items() if value is not None}


def _events(value: Any) -> bool:
    """Whether a client wants server-sent events. Raises Refusal."""
    if value not in (None, "audio", "sse"):
        raise Refusal("stream_format must be audio or sse.", "stream_format")
    return bool(value == "sse")


def _refused(message: str, param: str, code: str) -> Any:
    from fastapi import Response

    return Response(body(message, param, code), 400, media_type="application/json")


def _replayed(request: Any, asked: dict[str, Any]) -> Any:
    """Return a request with another body."""
    from fastapi import Request

    parts = [{"type": "http.request", "body": json.dumps(asked).encode(), "more_body": False}]

    async def receive() -> Any:
        return parts.pop() if parts else await request.receive()

    return Request(request.scope, receive)


async def _unless_gone(request: Any, work: Coroutine[Any, Any, Any]) -> Any:
    """Return the result of ``work``, or None if the client leaves before. Then the work is cancelled."""

    async def gone() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass

    task, left = asyncio.ensure_future(work), asyncio.ensure_future(gone())
    try:
        await asyncio.wait({task, left}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        return None
    finally:
        left.cancel()
        if not task.done():
            task.cancel()
            await asyncio.wait({task}, timeout=5)


async def _first(sound: AsyncIterator[bytes]) -> bytes:
    """Return the first part. Its errors still become a status."""
    async for part in sound:
        return part
    raise Refusal("Nothing in the text can be spoken.", "input", "nothing_to_speak")


async def _joined(first: bytes, rest: Any) -> AsyncIterator[bytes]:
    try:
        yield first
        async for part in rest:
            yield part
    finally:
        await rest.aclose()


async def _as_events(first: bytes, rest: Any) -> AsyncIterator[bytes]:
    """Yield the events that OpenAI defines for speech."""
    try:
        async for part in _joined(first, rest):
            yield _event({"type": "speech.audio.delta", "audio": base64.b64encode(part).decode()})
        # Kokoro counts no tokens.
        usage = {"input_tokens": 0, "output_tokens": 0, "total_tokens": 0}
        yield _event({"type": "speech.audio.done", "usage": usage})
    except Exception:
        yield _event({"type": "error", "error": {"message": "The synthesis failed.", "type": "server_error"}})


def _event(content: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(content, separators=(",", ":")).encode() + b"\n\n"
