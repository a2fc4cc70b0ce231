# SPDX-License-Identifier: GPL-3.0-or-later
"""What a voice agent gets: LiveKit's OpenAI plugin, which streams. It hangs up if no byte comes for 30 s.

    voice_agent.py ENDPOINT KEY_FILE

It prints one JSON object: for each kind of stream, the seconds to the first and the last frame, and those of the sound.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from pathlib import Path

from livekit.plugins import openai

LONG = "Good evening, and welcome to the harbour of our town. " * 12
# The plugin asks for server-sent events, except of OpenAI's two older models.
STREAMS = {"events": ("kokoro", "mp3"), "mp3": ("tts-1", "mp3"), "pcm": ("tts-1-hd", "pcm"), "opus": ("tts-1", "opus")}


async def speak(endpoint: str, key: str, model: str, kind: str) -> dict[str, float]:
    agent = openai.TTS(model=model, voice="alloy", base_url=f"{endpoint}/v1", api_key=key, response_format=kind)
    start, first, sound = time.monotonic(), 0.0, 0.0
    async with agent.synthesize(LONG) as stream:
        async for part in stream:
            first = first or time.monotonic() - start
            sound += part.frame.duration
    await agent.aclose()
    return {"first": first, "all": time.monotonic() - start, "sound": sound}


async def answers(endpoint: str, key: str) -> dict[str, dict[str, float]]:
    return {name: await speak(endpoint, key, *how) for name, how in STREAMS.items()}


if __name__ == "__main__":
    print(json.dumps(asyncio.run(answers(sys.argv[1], Path(sys.argv[2]).read_text(encoding="utf-8").strip()))))
