# SPDX-License-Identifier: GPL-3.0-or-later
"""What a client may ask of a model that speaks: text, voice, format and speed.

Xinference checks none of them. An unknown voice makes it ask a model hub, and an unknown format fails after the whole
synthesis. Here each bad value is refused before any work, in a sentence that says what would be right.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

# OpenAI's six formats.
MEDIA_TYPES = {
    "mp3": "audio/mpeg",
    "opus": "audio/ogg",
    "aac": "audio/aac",
    "flac": "audio/flac",
    "wav": "audio/wav",
    "pcm": "audio/pcm",
}
# Sound in these formats needs no length at its begin. So it is always sent while it is made.
PROGRESSIVE = ("mp3", "opus", "aac", "pcm")
# The limits of OpenAI's interface.
SLOWEST, FASTEST = 0.25, 4.0
# No more voices in one blend, and no larger share of one of them.
BLENDED, SHARE = 8, 10
# Xinference's own extras that a client may send in "kwargs".
EXTRAS = frozenset({"seed", "request_id"})
# A voice's first letter is its language, its second the speaker's gender.
LANGUAGES = {
    "a": "en-US", "b": "en-GB", "e": "es", "f": "fr", "h": "hi", "i": "it", "j": "ja", "p": "pt-BR", "z": "zh",
}  # fmt: skip
GENDERS = {"f": "female", "m": "male"}

_PART = re.compile(r"([^()+]+)(?:\((\d{1,3})\))?")


class Refusal(Exception):
    """A request cannot be served as it is: the message, the parameter, and a short code for programs."""

    def __init__(self, message: str, param: str = "", code: str = "invalid_value") -> None:
        super().__init__(message, param, code)


@dataclass(frozen=True)
class Settings:
    """The operator's choices. The service's unit puts them into the environment."""

    model: str = "kokoro"  # uid of the model that the other names stand for
    models: tuple[str, ...] = ()  # further names of that model
    hearing: str = "whisper"  # uid of the model that hears
    hearing_names: tuple[str, ...] = ()  # further names of that model
    voices: Mapping[str, str] = field(default_factory=dict)  # further names of voices
    characters: int = 20000  # the longest text
    upload: int = 25 << 20  # the largest form with a sound file, in bytes; by default OpenAI's limit

    @classmethod
    def read(cls, environment: Mapping[str, str]) -> Settings:
        """Read the settings from the service's environment. What is missing keeps its default."""
        pairs = (pair.partition("=") for pair in _listed(environment.get("VOICEFLEET_VOICE_NAMES", "")))

        def number(name: str, default: int) -> int:
            value = environment.get(name, "")
            return int(value) if value.isdecimal() else default

        return cls(
            environment.get("VOICEFLEET_MODEL") or cls.model,
            tuple(_listed(environment.get("VOICEFLEET_MODEL_NAMES", ""))),
            cls.hearing,
            tuple(_listed(environment.get("VOICEFLEET_HEARING_NAMES", ""))),
            {name: voice for name, _sign, voice in pairs if voice},
            number("VOICEFLEET_TEXT_CHARACTERS", cls.characters),
            number("VOICEFLEET_UPLOAD_BYTES", cls.upload),
        )


@dataclass(frozen=True)
class Speech:
    """A request that can be served. ``voices`` names each voice as often as its share of the blend."""

    text: str
    voices: tuple[str, ...]
    format: str
    speed: float
    seed: int | None = None

    @property
    def language(self) -> str:
        """Return the letter of the language."""
        return self.voices[0][:1]


def checked(
    text: Any, voice: Any, form: Any, speed: Any, extras: Mapping[str, Any], served: Sequence[str], settings: Settings
) -> Speech:
    """Return the request if it can be served by a model with these voices. Raises Refusal."""
    unknown = sorted(set(extras) - EXTRAS)
    if unknown:
        raise Refusal(f"kwargs may hold seed alone, not {shown(unknown[0])}.", "kwargs", "unknown_parameter")
    seed = extras.get("seed")
    if seed is not None and (isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**32):
        raise Refusal("seed must be a whole number from 0 to 4294967295.", "kwargs")
    return Speech(
        _text(text, settings.characters), blend(voice, served, settings.voices), audio_format(form), _speed(speed), seed
    )


def shown(value: Any) -> str:
    """Return a client's value as it may stand in a message: short, and without control characters."""
    text = str(value)
    text = "".join(sign if sign.isprintable() else "?" for sign in text[:60]) + ("..." if len(text) > 60 else "")
    return f'"{text}"'


def audio_format(value: Any) -> str:
    """Return the name of a format; mp3 if none is given. Raises Refusal."""
    name = "mp3" if value in (None, "") else value.lower() if isinstance(value, str) else ""
    if name not in MEDIA_TYPES:
        message = f"The format {shown(value)} is not supported. Supported formats: {', '.join(MEDIA_TYPES)}."
        raise Refusal(message, "response_format", "unsupported_format")
    return name


def blend(voice: Any, served: Sequence[str], names: Mapping[str, str]) -> tuple[str, ...]:
    """Return the voices of ``af_bella`` or ``af_bella(2)+af_sky``, each as often as its share. Raises Refusal."""
    if voice in (None, ""):
        return (default_voice(served),)
    if not isinstance(voice, str):
        raise Refusal("voice must be the name of a voice.", "voice")
    parts = voice[:1000].split("+")
    if len(parts) > BLENDED:
        raise Refusal(f"A blend may have {BLENDED} voices at most.", "voice")
    found: list[str] = []
    for part in parts:
        match = _PART.fullmatch(part.strip())
        name = match.group(1).strip() if match else part
        share = int(match.group(2) or 1) if match else 1
        if not 1 <= share <= SHARE:
            raise Refusal(f"The share of a voice must be a whole number from 1 to {SHARE}.", "voice")
        found += [_served(name, served, names)] * share
    if len({name[:1] for name in found}) > 1:
        raise Refusal("The voices of a blend must speak the same language.", "voice")
    return tuple(found)


def default_voice(served: Sequence[str]) -> str:
    """Return the voice for requests that name none. Raises Refusal if the model has no voice."""
    if not served:
        raise Refusal("The model has no voices.", "voice", "unknown_voice")
    return "af_heart" if "af_heart" in served else served[0]


def rows(model: str, served: Iterable[str], names: Mapping[str, str]) -> list[dict[str, str]]:
    """Return the voices of a model for a list: id, name, model, language and gender; further names last."""
    known = list(served)
    voices = [(voice, voice, voice) for voice in known]
    others = [(name, f"{name} ({_meant(voice, known)})", _meant(voice, known)) for name, voice in names.items()]
    return [
        {
            "id": name,
            "name": title,
            "voice": voice,
            "model": model,
            "language": LANGUAGES.get(voice[:1], ""),
            "gender": GENDERS.get(voice[1:2], ""),
        }
        for name, title, voice in [*voices, *(others if known else [])]
    ]


def _listed(text: str) -> list[str]:
    return [part for part in text.split(",") if part]


def _text(text: Any, characters: int) -> str:
    if not isinstance(text, str) or not text.strip():
        raise Refusal("input must be a text that is not empty.", "input", "empty_text")
    if len(text) > characters:
        message = f"The text has {len(text)} characters. {characters} are allowed. Divide it into several requests."
        raise Refusal(message, "input", "text_too_long")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise Refusal("input holds half of a character (a lone surrogate).", "input") from None
    return text


def _speed(value: Any) -> float:
    message = f"speed must be a number from {SLOWEST} to {FASTEST:g}, not {shown(value)}."
    if value is None:
        return 1.0
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise Refusal(message, "speed")
    try:
        speed = float(value)
    except (ValueError, OverflowError):
        raise Refusal(message, "speed") from None
    if not math.isfinite(speed) or not SLOWEST <= speed <= FASTEST:
        raise Refusal(message, "speed")
    return speed


def _meant(voice: str, served: Sequence[str]) -> str:
    return voice if voice in served else default_voice(served) if served else voice


def _served(name: str, served: Sequence[str], names: Mapping[str, str]) -> str:
    if name in served:
        return name
    if name in names:
        return _meant(names[name], served)
    nearest = difflib.get_close_matches(name[:60], served, 3, 0.5)
    hint = f" The nearest: {', '.join(nearest)}." if nearest else ""
    message = f"There is no voice {shown(name)}.{hint} GET /v1/audio/voices lists all voices."
    raise Refusal(message, "voice", "unknown_voice")
