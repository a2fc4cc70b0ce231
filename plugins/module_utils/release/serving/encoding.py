# SPDX-License-Identifier: GPL-3.0-or-later
"""Encode Kokoro's sound, part by part: 24 kHz, one channel, 16 bits.

WAV and PCM need no library. PyAV, which is part of a release, encodes the rest.
"""

from __future__ import annotations

import io
import struct
from typing import Any, Protocol

RATE = 24000
# A WAV file whose length is not known yet says so with the largest length.
UNKNOWN = 0xFFFFFFFF
# PyAV's names of container and codec, bits per second (0 where the codec needs none), and the container's options.
_CODECS: dict[str, tuple[str, str, int, dict[str, str]]] = {
    "mp3": ("mp3", "libmp3lame", 96000, {"write_xing": "0"}),
    "opus": ("ogg", "libopus", 48000, {"page_duration": "200000"}),
    "aac": ("adts", "aac", 96000, {}),
    "flac": ("flac", "flac", 0, {}),
}


class Encoder(Protocol):
    """Turns samples into the bytes of a file. Each call returns what is ready."""

    def add(self, samples: Any) -> bytes:
        """Take a numpy array of int16, of shape (samples,)."""

    def end(self) -> bytes:
        """Return the rest."""


def encoder(name: str) -> Encoder:
    """Return an encoder for one of the supported formats, for sound of unknown length."""
    return Plain(wav_header(UNKNOWN) if name == "wav" else b"") if name in ("wav", "pcm") else Coded(*_CODECS[name])


def encoded(name: str, samples: Any) -> bytes:
    """Return a whole file."""
    if name == "wav":
        return wav_header(2 * len(samples)) + bytes(samples.astype("<i2").tobytes())
    if name == "flac":
        # PyAV would leave the length out, and some programs refuse such a file.
        import soundfile

        soundfile.write(sink := io.BytesIO(), samples, RATE, format="FLAC")
        return sink.getvalue()
    coder = encoder(name)
    return coder.add(samples) + coder.end()


def wav_header(size: int) -> bytes:
    """Return the 44 bytes before the samples of a WAV file with ``size`` bytes of samples."""
    head = struct.pack("<4sI4s", b"RIFF", min(size + 36, UNKNOWN), b"WAVE")
    return head + struct.pack("<4sIHHIIHH4sI", b"fmt ", 16, 1, 1, RATE, 2 * RATE, 2, 16, b"data", size)


class Plain:
    """Samples as they are, after a header."""

    def __init__(self, header: bytes) -> None:
        self._header = header

    def add(self, samples: Any) -> bytes:
        """Return the samples, the first time with the header before them."""
        header, self._header = self._header, b""
        return header + bytes(samples.astype("<i2").tobytes())

    def end(self) -> bytes:
        """Return the header if there were no samples."""
        header, self._header = self._header, b""
        return header


class _Sink:
    """A file that only grows. Without a way back, the container writes nothing that would need one."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def write(self, data: bytes) -> int:
        self._parts.append(bytes(data))
        return len(data)

    def taken(self) -> bytes:
        data = b"".join(self._parts)
        self._parts.clear()
        return data


class Coded:
    """A codec of PyAV."""

    def __init__(self, container: str, codec: str, bits: int, options: dict[str, str]) -> None:
        import av

        self._sink = _Sink()
        self._av: Any = av
        self._container: Any = av.open(self._sink, "w", format=container, options=options)
        self._stream: Any = self._container.add_stream(codec, rate=RATE, layout="mono")
        if bits:
            self._stream.bit_rate = bits
        self._at = 0

    def add(self, samples: Any) -> bytes:
        """Encode samples. The codec keeps an incomplete frame until the next ones come."""
        frame = self._av.AudioFrame.from_ndarray(samples.reshape(1, -1), format="s16", layout="mono")
        frame.sample_rate, frame.pts = RATE, self._at
        self._at += len(samples)
        self._container.mux(self._stream.encode(frame))
        return self._sink.taken()

    def end(self) -> bytes:
        """Encode what the codec still keeps, and close the container."""
        self._container.mux(self._stream.encode(None))
        self._container.close()
        return self._sink.taken()
