# SPDX-License-Identifier: GPL-3.0-or-later
"""How Xinference's classes for Kokoro serve a request: check it, take turns, and send what is spoken.

The repair ``serving-model`` calls ``install`` in every process that imports these classes. This file runs in a
release. It imports numpy and Xinference, which only a release has, inside functions.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from . import encoding, sentences, turns
from .request import Refusal, Settings, Speech, checked

# Each stream that waits for its turn holds a thread. Python's own limit is four more than the host has cores.
THREADS = 300
# Silence between two parts of a text, on each side, in seconds; quieter than this share of the loudest sample.
PAUSE, SILENCE = 0.2, 0.01
# A text without any word, such as "..." or "***", is this much silence, in seconds.
WORDLESS = 0.25

_TURNS = turns.Turns()
_threads: list[Any] = []


def install() -> None:
    """Let Xinference's two classes for Kokoro serve requests by this file."""
    from xinference.model.audio.kokoro import KokoroModel
    from xinference.model.audio.kokoro_zh import KokoroZHModel

    for model in (KokoroModel, KokoroZHModel):
        model.allow_batch = True  # Xinference itself lets requests in while another one is served
        model.async_speech = async_speech
        model.voicefleet_voices = voicefleet_voices


def voicefleet_voices(self: Any) -> list[str]:
    """Return the names of the voices that this model has."""
    try:
        names = os.listdir(os.path.join(self._model_path, "voices"))
    except FileNotFoundError:
        return []
    return sorted(name[:-3] for name in names if name.endswith(".pt"))


async def async_speech(
    self: Any,
    input: str,
    voice: str,
    response_format: str = "mp3",
    speed: float = 1.0,
    stream: bool = False,
    **kwargs: Any,
) -> Any:
    """Speak. Xinference calls this instead of ``speech``. Returns the file, or a generator of its parts.

    Raises Xinference's InvalidAudioInputError, for which the API answers 400, with the arguments of a Refusal.
    """
    from xinference.core.exceptions import InvalidAudioInputError

    settings = Settings.read(os.environ)
    try:
        asked = checked(input, voice, response_format, speed, kwargs, self.voicefleet_voices(), settings)
        work = _spoken(self, asked)
        _more_threads()
        if stream:
            return _streamed(work, encoding.encoder(asked.format))
        job, sounds, more = turns.Job(), [], True
        while more:
            found, more = await asyncio.wrap_future(_turn(job, work))
            sounds += found
        if not sounds:
            raise Refusal("Nothing in the text can be spoken.", "input", "nothing_to_speak")
        return await asyncio.to_thread(_file, asked.format, sounds)
    except Refusal as refusal:
        raise InvalidAudioInputError(*refusal.args) from None


def _turn(job: turns.Job, work: Iterator[tuple[Any, bool]]) -> Any:
    """Queue the next part of a request. The result: the sounds of this part, and whether another one may follow."""
    try:
        return _TURNS.submit(job, lambda: _next(work))
    except turns.Busy as busy:
        # By these words Xinference answers 429.
        raise RuntimeError(f"Rate limit reached for the model: {busy}. Try again later.") from None


def _next(work: Iterator[tuple[Any, bool]]) -> tuple[list[Any], bool]:
    """Speak a part. After the last one, also reach the end: it takes no time, but a turn of its own would."""
    sounds = []
    for sound, more in work:
        sounds.append(sound)
        if more:
            return sounds, True
    return sounds, False


def _streamed(work: Iterator[tuple[Any, bool]], coder: encoding.Encoder) -> Iterator[bytes]:
    """Yield the bytes of each part when it is spoken. Xinference takes them in threads, one at a time."""
    job, more = turns.Job(), True
    while more:
        sounds, more = _turn(job, work).result()
        for sound in sounds:
            data = coder.add(sound)
            if data:
                yield data
    if data := coder.end():
        yield data


def _file(name: str, sounds: list[Any]) -> bytes:
    import numpy

    return encoding.encoded(name, numpy.concatenate(sounds))


def _more_threads() -> None:
    """Give Xinference's loop enough threads for the streams that wait."""
    if not _threads:
        _threads.append(ThreadPoolExecutor(THREADS, "voicefleet-streams"))
        asyncio.get_running_loop().set_default_executor(_threads[0])


def _spoken(self: Any, asked: Speech) -> Iterator[tuple[Any, bool]]:
    """Yield the samples of each part of a text, and whether another part may follow.

    Samples are numpy arrays of int16, of shape (samples,).
    """
    from xinference.model.audio.utils import apply_audio_seed

    voice = ",".join(os.path.join(self._model_path, "voices", f"{name}.pt") for name in asked.voices)
    texts = list(sentences.parts(asked.text, asked.language, _sentences()))
    spoken = False
    try:
        for number, text in enumerate(texts):
            # Other requests take turns between two parts and use the same random numbers.
            apply_audio_seed({"seed": asked.seed} if asked.seed is not None else {})
            followed, left = number < len(texts) - 1, _signs(text)
            for result in self._model(text=text, voice=voice, speed=asked.speed):
                left -= _signs(result[0])
                if result[2] is not None and len(result[2]) and _has_sounds(result[1]):
                    spoken = True
                    yield _samples(result[2], number > 0, followed), followed or left > 0
        if not spoken and not any(map(str.isalnum, asked.text)):
            yield _silence(WORDLESS), False
    finally:
        if len(asked.voices) > 1:
            # Kokoro keeps each blend forever.
            for pipeline in (self._model, *getattr(self._model, "others", {}).values()):
                pipeline.voices.pop(voice, None)


def _sentences() -> Any:
    try:
        from kokoro.voicefleet_text import sentences as divide
    except ImportError:  # the release lacks the repair kokoro-words
        return lambda line: [line]
    return divide


def _signs(text: str) -> int:
    """The number of letters and digits."""
    return sum(map(str.isalnum, text))


def _has_sounds(phonemes: str) -> bool:
    """Whether there is anything to speak. Kokoro speaks punctuation alone as noise that is almost silence."""
    return any(map(str.isalpha, phonemes))


def _silence(seconds: float) -> Any:
    import numpy

    return numpy.zeros(int(seconds * encoding.RATE), "int16")


def _samples(audio: Any, before: bool, after: bool) -> Any:
    """Return 16-bit samples with at most PAUSE seconds of silence where the sound meets another part."""
    import numpy

    sound = numpy.asarray(audio, dtype="float32").reshape(-1)
    loud = numpy.flatnonzero(abs(sound) > SILENCE * abs(sound).max())
    pause = int(PAUSE * encoding.RATE)
    start = max(0, int(loud[0]) - pause) if before and len(loud) else 0
    stop = int(loud[-1]) + 1 + pause if after and len(loud) else len(sound)
    return numpy.rint(numpy.clip(sound[start:stop], -1, 1) * 32767).astype("int16")


def arguments(error: BaseException) -> tuple[str, str, str]:
    """Return message, parameter and code of an error that began as a Refusal."""
    given = [str(part) for part in error.args[:3]]
    message, param, code = [*given, *[""] * (3 - len(given))]
    return message, param, code


def body(message: str, param: str, code: str) -> bytes:
    """Return the body of a 400: ``error`` as OpenAI's clients read it, ``detail`` as Xinference's do."""
    error = {"message": message, "type": "invalid_request_error", "param": param or None, "code": code or None}
    return json.dumps({"error": error, "detail": message}).encode()
