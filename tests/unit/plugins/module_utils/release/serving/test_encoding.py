# SPDX-License-Identifier: GPL-3.0-or-later
"""WAV and PCM, which need no library. The scenario service tries all formats with the real ones."""

from __future__ import annotations

import array
import io
import wave

from ansible_collections.voicefleet.kokoro.plugins.module_utils.release.serving import encoding


class Samples(array.array):  # type: ignore[type-arg]
    """What the encoder uses of a numpy array of int16."""

    def astype(self, _kind: str) -> Samples:
        return self


def samples(count: int) -> Samples:
    return Samples("h", range(count))


def test_a_whole_wav_file_says_how_long_it_is() -> None:
    data = encoding.encoded("wav", samples(2400))
    with wave.open(io.BytesIO(data)) as sound:
        assert sound.getparams()[:4] == (1, 2, 24000, 2400)
    assert len(data) == 44 + 4800


def test_a_stream_begins_with_one_header_of_unknown_length() -> None:
    coder = encoding.encoder("wav")
    first, second, end = coder.add(samples(3)), coder.add(samples(2)), coder.end()
    assert first[:4] == b"RIFF"
    assert first[4:8] == first[40:44] == b"\xff\xff\xff\xff"
    assert (len(first), len(second), end) == (44 + 6, 4, b"")


def test_pcm_is_the_samples_alone() -> None:
    coder = encoding.encoder("pcm")
    assert coder.add(samples(3)) == b"\x00\x00\x01\x00\x02\x00"
    assert coder.end() == b""
