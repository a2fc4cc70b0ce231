# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import contextlib
import struct
from array import array

import pytest
from ansible_collections.voicefleet.kokoro.plugins.module_utils.proof import audio
from ansible_collections.voicefleet.kokoro.tests.unit.plugins.module_utils.signals import FIXTURES, wav

SAMPLES = array("h", [0, 1, -1, 32767, -32768, 1000] * 100)


def test_wav_is_decoded() -> None:
    data = wav(SAMPLES)
    stream = audio.inspect(data)
    assert (stream.container, stream.codec, stream.sample_rate, stream.channels) == ("wav", "pcm_s16le", 24000, 1)
    assert stream.seconds == 600 / 24000
    assert stream.complete
    assert stream.label == "WAV, 16-bit PCM"
    assert audio.decode_wav(data) == (SAMPLES, 24000)


@pytest.mark.parametrize("size", [0, 0x7FFFF000, 0x7FFFFFFF, 0xFFFFFFFF, 0xFFFFFFFF - 36])
def test_wav_sizes_of_streaming_writers_are_accepted(size: int) -> None:
    data = wav(SAMPLES, data_size=size)
    assert audio.inspect(data).complete
    assert audio.decode_wav(data)[0] == SAMPLES


def test_other_chunks_of_a_wav_are_not_samples() -> None:
    data = wav(SAMPLES)
    data = data[:36] + b"LIST\x05\x00\x00\x00INFOx\x00" + data[36:] + b"cue \x04\x00\x00\x00abcd"
    assert audio.inspect(data).complete
    assert audio.decode_wav(data)[0] == SAMPLES


def test_a_wav_with_an_extensible_header_is_pcm() -> None:
    guid = struct.pack("<HHI", 22, 16, 4) + b"\x01\x00" + bytes(14)
    fmt = struct.pack("<4sIHHIIHH", b"fmt ", 40, 0xFFFE, 1, 24000, 48000, 2, 16) + guid
    data = b"RIFF\xff\xff\xff\xffWAVE" + fmt + b"data" + struct.pack("<I", 4) + b"\x01\x00\x02\x00"
    assert audio.decode_wav(data) == (array("h", [1, 2]), 24000)


def test_only_the_first_channel_of_stereo_is_decoded() -> None:
    data = wav(array("h", [1, -1, 2, -2]), channels=2)
    assert audio.inspect(data).channels == 2
    assert list(audio.decode_wav(data)[0]) == [1, 2]


@pytest.mark.parametrize(("left", "why"), [(-2, "promises 1200 bytes"), (-1, "promises 1200"), (-600, "and 600 came")])
def test_a_truncated_wav_is_found(left: int, why: str) -> None:
    data = wav(SAMPLES)[:left]
    stream = audio.inspect(data)
    assert not stream.complete
    assert why in stream.note
    assert len(audio.decode_wav(data)[0]) == (1200 + left) // 2


def test_a_streamed_wav_may_end_inside_a_sample() -> None:
    assert "middle of a sample" in audio.inspect(wav(SAMPLES, data_size=0)[:-1]).note


def test_a_float_wav_is_not_pcm() -> None:
    data = bytearray(wav(SAMPLES))
    struct.pack_into("<H", data, 20, 3)
    assert audio.inspect(bytes(data)).codec == "wav_0x0003"
    with pytest.raises(audio.AudioError, match="16-bit PCM was expected"):
        audio.decode_wav(bytes(data))


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "empty"),
        (b'{"detail": "no"}', "not a WAV, MP3, FLAC or Ogg"),
        (wav(SAMPLES)[:30], "format chunk is cut"),
        (wav(SAMPLES)[:40], "no data chunk"),
        (b"RIFF\0\0\0\0WAVEdata\x04\0\0\0abcd", "no format chunk"),
        (wav(SAMPLES, rate=0), "makes no sense"),
        (b"fLaC", "cut inside its header"),
        (b"OggS", "cut inside its header"),
        (b"\xff\xf3", "no Layer III frame"),
        (b"ID3\x04\0\0\0\0\0\x00", "no Layer III frame"),
    ],
)
def test_other_files_are_not_sound_files(data: bytes, why: str) -> None:
    with pytest.raises(audio.AudioError, match=why):
        audio.inspect(data)


@pytest.mark.parametrize(
    ("name", "codec", "seconds"), [("mp3", "mp3", 0.6), ("flac", "flac", 0.5725), ("ogg", "vorbis", 0.5725)]
)
def test_files_of_libsndfile_are_recognised(name: str, codec: str, seconds: float) -> None:
    stream = audio.inspect((FIXTURES / f"yes.{name}").read_bytes())
    assert (stream.container, stream.codec, stream.sample_rate, stream.channels) == (name, codec, 24000, 1)
    assert stream.complete, stream.note
    assert stream.seconds == pytest.approx(seconds, abs=0.05)


@pytest.mark.parametrize("name", ["mp3", "flac", "ogg"])
@pytest.mark.parametrize("missing", [1, 100, 2000])
def test_a_file_that_is_cut_at_its_end_is_found(name: str, missing: int) -> None:
    stream = audio.inspect((FIXTURES / f"yes.{name}").read_bytes()[:-missing])
    assert not stream.complete
    assert stream.note


@pytest.mark.parametrize("name", ["flac", "ogg"])
def test_a_flipped_byte_is_found_by_checksums(name: str) -> None:
    data = bytearray((FIXTURES / f"yes.{name}").read_bytes())
    data[-5] ^= 1
    assert not audio.inspect(bytes(data)).complete


def test_flac_that_is_cut_between_two_frames_is_found() -> None:
    data = (FIXTURES / "yes.flac").read_bytes()
    last = data.rfind(b"\xff\xf8")
    assert "samples before its end" in audio.inspect(data[:last]).note


def mp3(frames: int, promised: int | None = None, header: bytes = b"\xff\xf3\x84\xc4") -> bytes:
    """MPEG-2 Layer III, 64 kbit/s, 24 kHz, mono: 192 bytes and 24 ms a frame."""
    data = b""
    if promised is not None:
        data = (header + bytes(9) + b"Info" + struct.pack(">II", 1, promised)).ljust(192, b"\0")
    return data + (header + bytes(188)) * frames


def test_mp3_frames_are_counted() -> None:
    stream = audio.inspect(mp3(50))
    assert (stream.sample_rate, stream.channels, stream.complete) == (24000, 1, True)
    assert stream.seconds == pytest.approx(50 * 0.024)
    assert audio.inspect(mp3(50, promised=50)).seconds == pytest.approx(50 * 0.024)


def test_mp3_tags_are_not_frames() -> None:
    tagged = b"ID3\x04\x00\x00\x00\x00\x01\x00" + bytes(128) + mp3(5) + b"TAG" + bytes(125)
    stream = audio.inspect(tagged)
    assert stream.complete
    assert stream.seconds == pytest.approx(5 * 0.024)


def test_mpeg_1_stereo() -> None:
    frame = (b"\xff\xfb\x90\x00").ljust(417, b"\0")
    stream = audio.inspect(frame * 3)
    assert (stream.sample_rate, stream.channels) == (44100, 2)
    assert stream.seconds == pytest.approx(3 * 1152 / 44100)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (mp3(5)[:-10], "lacks 10 bytes"),
        (mp3(5, promised=9), "promises 9 frames and 5 came"),
        (mp3(5) + b"<html>", "6 bytes that are not an MP3 frame"),
        (mp3(2) + mp3(1, header=b"\xff\xf3\x84\x04"), "changes the sample rate or the channels"),
    ],
)
def test_an_incomplete_mp3_is_found(data: bytes, why: str) -> None:
    stream = audio.inspect(data)
    assert not stream.complete
    assert why in stream.note


def test_opus_and_vorbis_are_distinguished() -> None:
    packet = b"OpusHead\x01\x01\x38\x01" + bytes(7)
    page = bytearray(b"OggS\x00\x06" + struct.pack("<q", 24312) + bytes(12) + bytes([1, len(packet)]) + packet)
    struct.pack_into("<I", page, 22, audio._crc(bytes(page), 32, audio._crc_table(32, 0x04C11DB7)))
    stream = audio.inspect(bytes(page))
    assert (stream.codec, stream.channels, stream.seconds, stream.complete) == ("opus", 1, 0.5, True)


@pytest.mark.parametrize("length", range(40))
@pytest.mark.parametrize("name", ["mp3", "flac", "ogg", "wav", "info"])
def test_a_file_cut_anywhere_in_its_header_is_refused_in_words(name: str, length: int) -> None:
    whole = {"wav": wav(SAMPLES), "info": mp3(3, promised=3)}.get(name) or (FIXTURES / f"yes.{name}").read_bytes()
    with contextlib.suppress(audio.AudioError):
        assert not audio.inspect(whole[:length]).complete


def test_an_empty_wav_is_no_sound() -> None:
    with pytest.raises(audio.AudioError, match="holds no sound"):
        audio.inspect(wav(array("h")))


def flac_of(rate: int, samples: int) -> bytes:
    """A FLAC whose header promises so many samples."""
    data = bytearray((FIXTURES / "yes.flac").read_bytes())
    channels_and_bits = struct.unpack_from(">Q", data, 18)[0] >> 36 & 0xFF
    struct.pack_into(">Q", data, 18, rate << 44 | channels_and_bits << 36 | samples)
    return bytes(data)


def test_a_header_that_promises_hours_is_refused_before_anything_is_decoded() -> None:
    with pytest.raises(audio.AudioError, match=r"promises 2863312 s of audio\. .* at most 300 s"):
        audio.inspect(flac_of(24000, (1 << 36) - 1))


def test_many_frame_headers_in_a_flac_cost_few_checksums(monkeypatch: pytest.MonkeyPatch) -> None:
    header = b"\xff\xf8\x69\x08\x00"
    header += bytes([audio._crc(header + b"\x00", 8, audio._crc_table(8, 0x07))])
    frame = b"\xff\xf8\x69\x08\x00\x00" + header[-1:]
    assert audio._flac_header(frame, 0) is not None
    summed: list[int] = []
    real = audio._crc

    def counting(data: bytes, width: int, table: list[int]) -> int:
        summed.append(len(data) if width == 16 else 0)
        return real(data, width, table)

    monkeypatch.setattr(audio, "_crc", counting)
    bomb = (FIXTURES / "yes.flac").read_bytes()[:42] + frame * 2000
    assert not audio.inspect(bomb).complete
    assert 0 < len([size for size in summed if size]) <= 16
