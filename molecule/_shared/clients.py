# SPDX-License-Identifier: GPL-3.0-or-later
"""What usual clients get: OpenAI's own SDK, streams, and clients that leave. Run by a release's Python.

    clients.py ENDPOINT KEY_FILE

It prints one JSON object. The release has the SDK and PyAV.
"""

from __future__ import annotations

import asyncio
import base64
import io
import json
import socket
import sys
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import av
import httpx
import openai

SENTENCE = "Good evening, and welcome to the harbour of our town. "
LONG = SENTENCE * 24


def seconds(name: str, data: bytes) -> float:
    """The length of a sound."""
    if name == "pcm":
        return len(data) / 48000
    with av.open(io.BytesIO(data)) as sound:
        return sum(frame.samples / frame.sample_rate for frame in sound.decode(audio=0))


async def formats(client: openai.AsyncOpenAI) -> dict[str, float]:
    """Each format's length, which is the same for all."""
    found = {}
    for name in ("mp3", "opus", "aac", "flac", "wav", "pcm"):
        answer = await client.audio.speech.create(
            model="tts-1", voice="alloy", input=SENTENCE, response_format=name, extra_body={"kwargs": '{"seed": 1}'}
        )
        found[name] = seconds(name, answer.content)
    return found


async def refused(client: openai.AsyncOpenAI, **given: Any) -> list[Any]:
    """Status, parameter and message of a request that cannot be served."""
    try:
        await client.audio.speech.create(**{"model": "kokoro", "voice": "af_heart", "input": SENTENCE, **given})
    except openai.APIStatusError as error:
        return [error.status_code, error.param, error.message]
    return [200, None, ""]


async def stream(client: openai.AsyncOpenAI, **given: Any) -> dict[str, Any]:
    """Times of the first and last byte of a long text, in seconds, and the length of the sound."""
    start, first, data = time.monotonic(), 0.0, b""
    async with client.audio.speech.with_streaming_response.create(
        model="kokoro", voice="af_heart", input=LONG, response_format="pcm", **given
    ) as answer:
        async for part in answer.iter_bytes():
            first = first or time.monotonic() - start
            data += part
    return {"first": first, "all": time.monotonic() - start, "data": data}


async def wav_stream(client: openai.AsyncOpenAI) -> dict[str, Any]:
    """The same of a shorter text as WAV, which is a stream only if asked for, and its first bytes."""
    start, first, data = time.monotonic(), 0.0, b""
    async with client.audio.speech.with_streaming_response.create(
        model="kokoro", voice="af_heart", input=SENTENCE * 6, response_format="wav", extra_body={"stream": True}
    ) as answer:
        async for part in answer.iter_bytes():
            first = first or time.monotonic() - start
            data += part
    return {
        "first": first,
        "all": time.monotonic() - start,
        "head": data[:8].hex(),
        "seconds": (len(data) - 44) / 48000,
    }


async def events(client: openai.AsyncOpenAI) -> dict[str, Any]:
    found = await stream(client, stream_format="sse")
    lines = [json.loads(line[6:]) for line in found.pop("data").decode().splitlines() if line.startswith("data: ")]
    sound = b"".join(base64.b64decode(line["audio"]) for line in lines if line["type"] == "speech.audio.delta")
    return {"types": [line["type"] for line in lines], "seconds": seconds("pcm", sound)}


def leave(endpoint: str, key: str) -> None:
    """Ask for a long text and hang up after a second."""
    at = urlsplit(endpoint)
    body = json.dumps({"model": "kokoro", "voice": "af_heart", "input": LONG, "response_format": "wav"}).encode()
    head = f"POST /v1/audio/speech HTTP/1.1\r\nHost: {at.netloc}\r\nAuthorization: Bearer {key}\r\n"
    with socket.create_connection((at.hostname or "", at.port or 80), timeout=10) as connection:
        connection.sendall(
            f"{head}Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body
        )
        time.sleep(1)


async def timed(client: openai.AsyncOpenAI, text: str) -> float:
    start = time.monotonic()
    await client.audio.speech.create(model="kokoro", voice="af_heart", input=text, response_format="wav")
    return time.monotonic() - start


async def beside(client: openai.AsyncOpenAI) -> dict[str, float]:
    """How long a short text takes alone and beside a long one."""
    await timed(client, "Good night.")
    alone = await timed(client, "Good night.")
    long = asyncio.create_task(timed(client, LONG))
    await asyncio.sleep(1)
    short = await timed(client, "Good night.")
    return {"alone": alone, "short": short, "long": await long}


async def answers(endpoint: str, key: str) -> dict[str, Any]:
    client = openai.AsyncOpenAI(base_url=f"{endpoint}/v1", api_key=key, timeout=600, max_retries=0)
    listed = (
        await httpx.AsyncClient().get(f"{endpoint}/v1/audio/voices", headers={"Authorization": f"Bearer {key}"})
    ).json()
    closed = (await httpx.AsyncClient().get(f"{endpoint}/v1/audio/voices")).status_code
    found: dict[str, Any] = {
        "voices": listed["voices"],
        "voices_without_key": closed,
        "models": [model.id async for model in client.models.list()],
        "formats": await formats(client),
        "voice": await refused(client, voice="af_hart"),
        "path": await refused(client, voice="../voices/af_heart"),
        "speed": await refused(client, speed=0.05),
        "empty": await refused(client, input="  "),
        "long": await refused(client, input="x" * 10001),
        "number": await refused(client, input=7),
        "word": await refused(client, speed="fast"),
        "format": await refused(client, response_format="m4a"),
        "beside": await beside(client),
    }
    for _each in range(4):
        leave(endpoint, key)
    # A short text would come first anyway. As long a text shares the model with all that is still spoken.
    start = time.monotonic()
    whole = await client.audio.speech.create(model="kokoro", voice="af_heart", input=LONG, response_format="wav")
    found["after_four_left"] = time.monotonic() - start
    found["whole"] = seconds("wav", whole.content)
    streamed = await stream(client)
    found["stream"] = {**streamed, "data": None, "seconds": seconds("pcm", streamed["data"])}
    found["wav_stream"] = await wav_stream(client)
    blend = await client.audio.speech.create(
        model="kokoro", voice="af_heart(2)+am_michael", input=SENTENCE, response_format="wav"
    )
    found["blend"] = seconds("wav", blend.content)
    pause = await client.audio.speech.create(model="kokoro", voice="af_heart", input="...", response_format="pcm")
    found["wordless"] = pause.content.count(0), len(pause.content)
    found["events"] = await events(client)
    return found


if __name__ == "__main__":
    print(json.dumps(asyncio.run(answers(sys.argv[1], Path(sys.argv[2]).read_text(encoding="utf-8").strip()))))
