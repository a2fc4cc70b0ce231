# SPDX-License-Identifier: GPL-3.0-or-later
"""Client for `POST /v1/audio/speech`, the OpenAI-style endpoint of Xinference, and limits on a text's duration.

It never uses a proxy, whatever the environment says, and follows no redirect, because the request carries a key.
"""

from __future__ import annotations

import json
import re
import secrets
import ssl
import time
import unicodedata
from dataclasses import dataclass, field

from ..host import direct
from ..host.hashing import parse_json, read_bounded
from .acoustics import Expectation

# Kokoro answers a 10 s sentence with 480 kB of WAV; more than this is not an answer to a sentence.
MOST_BYTES = 64 << 20
# Whisper hears at most 30 s at once, and nobody speaks faster. More than this is not what a sentence says.
MOST_TRANSCRIBED = 20_000
# After these, do not ask for the next voice: it would fail too, and each wrong key counts towards a ban.
_HOPELESS = ("unauthorized", "refused", "unreachable", "limited")
# After these, do not ask for the next voice of the same model.
_MODEL_HOPELESS = ("forbidden", "no_model", "loading")
# A model may answer one request late, because it speaks a long text for somebody else. After so many in a row it hangs.
MOST_TIMEOUTS = 2
# Xinference prefixes its errors with the actor's address and process.
_ACTOR = re.compile(r"\[address=[^\]]{0,200}?pid=\d{1,10}\]\s{0,9}")

# libsndfile's message in Xinference, the field's name in messages of other servers, and what an older Xinference says
# about the formats that it would stream.
_NO_FORMAT = re.compile(r"Unknown format: |\bresponse_format\b|does not support stream mode")
# If the model's folder lacks a voice, Xinference looks for it on the model hub. Offline, it says this.
_HUB = ("trying to locate the file on the Hub", "the client has been closed")


class SpeechError(Exception):
    """The endpoint did not answer with audio. The text is a sentence for the operator.

    `status` is the HTTP status, or None if there was no answer. `kind` is stable, for machines: `refused`, `timeout`,
    `unreachable`, `unauthorized`, `forbidden`, `no_model`, `no_voice`, `no_format`, `loading`, `limited`, `failed`,
    `odd`.
    """

    def __init__(self, kind: str, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.kind = kind
        self.status = status


@dataclass
class Failures:
    """What the failures so far say about the next request. One may be about a single model, or about all."""

    reasons: dict[str, SpeechError] = field(default_factory=dict)  # by model; "" stands for all
    timeouts: dict[str, int] = field(default_factory=dict)  # in a row, by model

    def why_not(self, model: str) -> SpeechError | None:
        """Return the failure for which a request to a model is not worth a try, if there is one."""
        return self.reasons.get("") or self.reasons.get(model)

    def note(self, model: str, error: SpeechError | None) -> None:
        """Note how a request to a model ended."""
        late = error is not None and error.kind == "timeout"
        self.timeouts[model] = self.timeouts.get(model, 0) + 1 if late else 0
        if error is None:
            return
        if error.kind in _HOPELESS:
            self.reasons[""] = error
        elif error.kind in _MODEL_HOPELESS or self.timeouts[model] == MOST_TIMEOUTS:
            self.reasons[model] = error


@dataclass(frozen=True)
class Reply:
    """One answer: its bytes, their declared type, and the time it took."""

    data: bytes
    content_type: str
    first_byte_seconds: float  # until the status line; Xinference sends it when the whole synthesis is done
    seconds: float  # until the last byte


class SpeechClient:
    """Client of one endpoint.

    `endpoint` is the server's address without path, such as http://127.0.0.1:9997. `key` is a bearer key or None.
    `timeout` limits one request in seconds, whatever the server sends. `patience` is how many seconds to retry while
    the server does not listen yet or its model loads. `ca_file` (PEM) names the CA of the server's certificate, if the
    host does not know it.
    """

    def __init__(
        self,
        endpoint: str,
        key: str | None = None,
        timeout: float = 120.0,
        patience: float = 0.0,
        ca_file: str | None = None,
    ) -> None:
        try:
            direct.place(endpoint)
        except direct.PeerError:
            said = f"The endpoint {endpoint!r} is not an address such as http://127.0.0.1:9997."
            raise SpeechError("odd", said) from None
        self.endpoint = endpoint.rstrip("/")
        self.timeout = timeout
        self.patience = patience
        self._key = key
        try:
            self._context = ssl.create_default_context(cafile=ca_file)
        except (OSError, ssl.SSLError) as error:
            raise SpeechError("odd", f"The CA file {ca_file} cannot be used: {error}.") from None

    def speak(self, model: str, text: str, voice: str, audio_format: str, speed: float = 1.0) -> Reply:
        """Synthesise `text`. Retry only while the model loads, never after a 401. Raises SpeechError."""
        body = {"model": model, "input": text, "voice": voice, "response_format": audio_format, "speed": speed}
        headers = {"Content-Type": "application/json", "Accept": "*/*"}
        return self._ask("speech", headers, json.dumps(body).encode(), model, voice)

    def transcribe(self, model: str, data: bytes, file_name: str, language: str) -> str:
        """Return the transcription of a sound file by `POST /v1/audio/transcriptions`. Raises SpeechError."""
        line = f"----{secrets.token_hex(16)}"
        parts = "".join(
            f'--{line}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
            for name, value in (("model", model), ("language", language), ("response_format", "json"))
        )
        parts += (
            f'--{line}\r\nContent-Disposition: form-data; name="file"; filename="{file_name}"\r\n'
            "Content-Type: application/octet-stream\r\n\r\n"
        )
        headers = {"Content-Type": f"multipart/form-data; boundary={line}", "Accept": "application/json"}
        body = parts.encode() + data + f"\r\n--{line}--\r\n".encode()
        reply = self._ask("transcriptions", headers, body, model, "")
        try:
            heard = str(parse_json(reply.data)["text"])
        except (ValueError, KeyError, TypeError):
            raise SpeechError("odd", f"{self.endpoint} did not answer with a transcription.") from None
        if len(heard) > MOST_TRANSCRIBED:
            raise SpeechError(
                "odd", f"{self.endpoint} answered with {len(heard)} characters, which are no transcription."
            )
        return heard

    def _ask(self, what: str, headers: dict[str, str], body: bytes, model: str, voice: str) -> Reply:
        if self._key:
            headers["Authorization"] = f"Bearer {self._key}"
        give_up = time.monotonic() + self.patience
        while True:
            try:
                return self._once(what, headers, body, model, voice)
            except SpeechError as error:
                if error.kind not in ("loading", "refused") or time.monotonic() + 1 > give_up:
                    raise
                time.sleep(1)

    def _once(self, what: str, headers: dict[str, str], body: bytes, model: str, voice: str) -> Reply:
        url = f"{self.endpoint}/v1/audio/{what}"
        try:
            answer = direct.ask("POST", url, self.timeout, MOST_BYTES, headers, body, self._context)
        except direct.PeerError as error:
            if error.kind == "refused":
                raise SpeechError("refused", f"Nothing listens at {self.endpoint}: connection refused.") from None
            raise SpeechError(error.kind, f"{self.endpoint} {error}.") from None
        if not answer.good:
            raise self._refusal(answer.status, answer.data, model, voice)
        return Reply(answer.data, answer.content_type, answer.first_byte_seconds, answer.seconds)

    def _refusal(self, status: int, body: bytes, model: str, voice: str) -> SpeechError:
        """Turn an HTTP error into a sentence that says what to do."""
        said = server_words(body)
        place = f"{self.endpoint} answered {status}"
        if status == 401:
            what = "the key that was sent is not accepted" if self._key else "it requires a key, and none was given"
            return SpeechError("unauthorized", f"{place}: {what}.", status)
        if status == 403:
            return SpeechError("forbidden", f"{place}: the key may not use {model}. {said}", status)
        if status == 404:
            return SpeechError("no_model", f"{place}: no model {model!r} runs there. {said}", status)
        if status == 429:
            return SpeechError("limited", f"{place}: too many requests, or this address is banned. {said}", status)
        if status == 503:
            return SpeechError("loading", f"{place}: the model is not ready. {said}", status)
        if status != 404 and _NO_FORMAT.search(said):
            return SpeechError("no_format", f"{place}: it does not make this format. {said}", status)
        if any(words in said for words in _HUB):
            return SpeechError("no_voice", f"{place}: the model has no voice {voice!r}. {said}", status)
        return SpeechError("failed", f"{place}: {said or 'no message'}", status)


def server_words(body: bytes) -> str:
    """Return an error body in one line, without the addresses and process ids that Xinference adds."""
    text = body.decode("utf-8", "replace")
    try:
        document = parse_json(text)
    except ValueError:
        document = None
    if isinstance(document, dict):
        detail = document.get("detail", document.get("error", text))
        if isinstance(detail, dict):
            detail = detail.get("message", detail)
        text = detail if isinstance(detail, str) else json.dumps(detail)
    return " ".join(_ACTOR.sub("", text).split())[:500]


def read_key(path: str | None) -> str | None:
    """Return the bearer key in a file (one line), or None without a path. Raises SpeechError if it is unusable."""
    if not path:
        return None
    try:
        key = read_bounded(path, 1 << 16).decode("ascii").strip()
    except FileNotFoundError:
        raise SpeechError("unauthorized", f"The key file {path} does not exist. Is Xinference deployed here?") from None
    except (OSError, UnicodeDecodeError) as error:
        raise SpeechError("unauthorized", f"The key file {path} cannot be read: {error}.") from None
    if not key or not key.isprintable() or " " in key:
        raise SpeechError("unauthorized", f"The key file {path} holds no key. It must be one line without spaces.")
    return key


def expected_length(text: str, speed: float = 1.0) -> Expectation:
    """Return how long the spoken text may last.

    The estimate counts letters. A Latin letter takes 0.055 s (French, with its silent letters) to 0.12 s (English at
    110 words a minute), measured with espeak-ng over nine languages. Digits are spoken as words. One character of
    another script is a syllable or more. Kokoro's fastest voice, zm_yunxi, takes 0.0446 s in Mandarin.
    """
    letters = sum(map(_weight, text))
    return Expectation(0.04 * letters / speed, (0.13 * letters + 1.5) / speed)


def _weight(sign: str) -> float:
    """Return how many Latin letters take as long as this character."""
    if sign.isdigit():
        return 3.5
    if not unicodedata.category(sign).startswith("L"):
        return 0.0
    code = ord(sign)
    if 0x3040 <= code <= 0x30FF:  # kana
        return 1.7
    if 0x4E00 <= code <= 0x9FFF or 0xAC00 <= code <= 0xD7AF:  # Han, Hangul
        return 3.5
    if 0x0900 <= code <= 0x0DFF:  # scripts of India: a consonant carries its vowel
        return 1.5
    return 1.0
