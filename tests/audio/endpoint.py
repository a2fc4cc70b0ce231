# SPDX-License-Identifier: GPL-3.0-or-later
"""A fake OpenAI-style speech server with espeak-ng as its model, and with faults on demand.

`POST /v1/audio/speech` speaks. `POST /v1/audio/transcriptions` answers with the text that the test sets. Both require
the bearer key.
"""

from __future__ import annotations

import io
import json
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy
import soundfile
from sounds import RATE, run, speak

KEY = "xf-of-the-tests"
# Voices by Kokoro's names, as espeak-ng's voice, words a minute and pitch.
VOICES = {
    "af_heart": ("en-us+f2", 160, 50),
    "am_michael": ("en-us+m3", 150, 50),
    "am_adam": ("en-us", 170, 45),
    "bf_emma": ("en-gb+f2", 175, 45),
    "ff_siwis": ("fr-fr+f2", 150, 50),
}
FORMATS = {"wav": ("WAV", "PCM_16"), "mp3": ("MP3", None), "flac": ("FLAC", "PCM_16"), "ogg": ("OGG", "VORBIS")}


@cache
def spoken(text: str, voice: str) -> Any:
    """Return samples of espeak-ng, float64."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "spoken.wav")
        speak(text, *VOICES[voice], file)
        return soundfile.read(file)[0]


def noise() -> Any:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "noise.wav")
        run("sox", "-R", "-n", "-r", str(RATE), "-b", "16", file, "synth", "2.6", "whitenoise", "gain", "-12")
        return soundfile.read(file)[0]


@dataclass
class Double:
    """The server of a test. `fault` is one of those in `_sound` and `refusal`; `heard` is the transcription."""

    fault: str = ""
    heard: str = ""
    asked: list[dict[str, Any]] = field(default_factory=list)
    address: str = ""

    def answer(self, body: dict[str, Any]) -> bytes:
        self.asked.append(body)
        data = io.BytesIO()
        container, codec = FORMATS[body["response_format"]]
        soundfile.write(data, self._sound(body), RATE, format=container, subtype=codec)
        whole = data.getvalue()
        return whole[: len(whole) // 2] if self.fault == "half a file" else whole

    def _sound(self, body: dict[str, Any]) -> Any:
        text, voice = body["input"], body["voice"]
        if self.fault == "silence":
            return numpy.zeros(RATE * 2)
        if self.fault == "noise":
            return noise()
        if self.fault == "one voice for all":
            return spoken(text, "af_heart")
        if self.fault == "other words":
            return spoken("Internal server error, please try again later.", voice)
        if self.fault == "a word is lost":
            words = text.split()
            return spoken(" ".join(words[:3] + words[4:]), voice)
        if self.fault == "backwards":
            return spoken(text, voice)[::-1]
        assert self.fault in ("", "half a file"), self.fault
        return spoken(text, voice)

    def refusal(self, key: str | None) -> tuple[int, str] | None:
        if key != f"Bearer {KEY}":
            return 401, "Invalid API key"
        if self.fault == "error":
            return 500, "[address=127.0.0.1:40000, pid=7] CUDA error: out of memory"
        return None


@contextmanager
def serving() -> Iterator[Double]:
    """Serve on a loopback port."""
    double = Double()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            data = self.rfile.read(int(self.headers["Content-Length"]))
            refused = double.refusal(self.headers["Authorization"])
            if refused is not None:
                self.say(refused[0], "application/json", json.dumps({"detail": refused[1]}).encode())
            elif self.path == "/v1/audio/speech":
                self.say(200, "audio/wav", double.answer(json.loads(data)))
            elif self.path == "/v1/audio/transcriptions" and b'name="model"\r\n\r\nwhisper\r\n' in data:
                double.asked.append({"language": data.split(b'name="language"\r\n\r\n')[1][:2].decode()})
                self.say(200, "application/json", json.dumps({"text": double.heard}).encode())
            else:
                self.say(404, "application/json", json.dumps({"detail": "Model not found in the model list"}).encode())

        def say(self, status: int, kind: str, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_arguments: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        double.address = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield double
        finally:
            server.shutdown()
            thread.join()
