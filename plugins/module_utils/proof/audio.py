# SPDX-License-Identifier: GPL-3.0-or-later
"""Inspect a sound file: container, codec, rate, channels, length, and whether it is complete.

`inspect` reads WAV, MP3, FLAC and Ogg to their last byte. `decode_wav` returns the samples of a 16-bit PCM WAV.
"""

from __future__ import annotations

import struct
import sys
from array import array
from dataclasses import dataclass

# No answer to a sentence is longer. The decoder stops here too, whatever a header says.
MOST_SECONDS = 300
# FLAC frames that are tried at a file's end. Sound looks like a valid frame header once in thousands of files.
_FLAC_TRIES = 16

LABELS = {
    ("wav", "pcm_s16le"): "WAV, 16-bit PCM",
    ("mp3", "mp3"): "MP3",
    ("flac", "flac"): "FLAC",
    ("ogg", "vorbis"): "Ogg Vorbis",
    ("ogg", "opus"): "Ogg Opus",
}


class AudioError(ValueError):
    """The bytes are not the expected sound file. The text is a whole sentence for the operator."""


@dataclass(frozen=True)
class Stream:
    """What a container says about itself. `complete` is False if bytes are missing at its end."""

    container: str  # wav, mp3, flac, ogg
    codec: str  # pcm_s16le, pcm_<bits>, mp3, flac, vorbis, opus
    sample_rate: int  # Hz
    channels: int
    seconds: float
    complete: bool
    note: str = ""  # why it is not complete

    @property
    def label(self) -> str:
        """Return the common name of container and codec."""
        return LABELS.get((self.container, self.codec), f"{self.container} with {self.codec}")


def inspect(data: bytes) -> Stream:
    """Recognise a container by its first bytes and read it to its end.

    Raises AudioError if it is something else, holds no sound or promises more than MOST_SECONDS.
    """
    try:
        stream = _inspect(data)
    except (struct.error, IndexError):
        raise AudioError("The file is cut inside its header.") from None
    if stream.seconds > MOST_SECONDS:
        said = f"The file promises {stream.seconds:.0f} s of audio"
        raise AudioError(f"{said}. An answer to a text of a proof has at most {MOST_SECONDS} s.")
    if stream.complete and stream.seconds <= 0:
        raise AudioError("The file holds no sound: its length is 0 s.")
    return stream


def _inspect(data: bytes) -> Stream:
    if data[:4] in (b"RIFF", b"RF64") and data[8:12] == b"WAVE":
        return _wav(data)[0]
    if data[:4] == b"fLaC":
        return _flac(data)
    if data[:4] == b"OggS":
        return _ogg(data)
    if data[:3] == b"ID3" or (len(data) > 1 and data[0] == 0xFF and data[1] & 0xE0 == 0xE0):
        return _mp3(data)
    if not data:
        raise AudioError("The answer is empty: it contains no audio.")
    raise AudioError(f"The answer is not a WAV, MP3, FLAC or Ogg file; it begins with {bytes(data[:16])!r}.")


def decode_wav(data: bytes) -> tuple[array[int], int]:
    """Return samples (first channel) and sample rate of a 16-bit PCM WAV. Raises AudioError."""
    stream, start, stop = _wav(data)
    if stream.codec != "pcm_s16le":
        raise AudioError(f"The WAV holds {stream.codec}; 16-bit PCM was expected.")
    return samples_of(data[start:stop], stream.channels), stream.sample_rate


def samples_of(pcm: bytes, channels: int = 1) -> array[int]:
    """Return little-endian 16-bit PCM bytes as samples of the first channel; ignore an odd byte at the end."""
    samples = array("h")
    samples.frombytes(bytes(pcm[: len(pcm) // 2 * 2]))
    if sys.byteorder == "big":
        samples.byteswap()
    return samples[::channels] if channels > 1 else samples


def _wav(data: bytes) -> tuple[Stream, int, int]:
    """Return the header of a WAV, and where its samples begin and end.

    Programs that stream cannot know the sizes. They write 0, or nearly 2^31 (sox, espeak-ng) or 2^32, into the header.
    The data then reach to the end of the file, and nothing shows whether they are complete.
    """
    if data[:4] not in (b"RIFF", b"RF64") or data[8:12] != b"WAVE":
        raise AudioError("The bytes are no WAV file.")
    at, form, rate, channels, bits = 12, 0, 0, 0, 0
    while at + 8 <= len(data):
        name, size = struct.unpack_from("<4sI", data, at)
        at += 8
        if name == b"fmt ":
            if size < 16 or at + size > len(data):
                raise AudioError("The WAV's format chunk is cut.")
            form, channels, rate, _bytes, align, bits = struct.unpack_from("<HHIIHH", data, at)
            if form == 0xFFFE and size >= 26:  # WAVE_FORMAT_EXTENSIBLE: the real tag begins the sub-format GUID
                form = struct.unpack_from("<H", data, at + 24)[0]
            if not (0 < channels <= 64 and 0 < rate <= 768000 and align):
                raise AudioError(f"The WAV's header makes no sense: {channels} channels, {rate} Hz.")
        elif name == b"data":
            if not rate:
                raise AudioError("The WAV has no format chunk before its data.")
            streamed = size == 0 or size >= 0x7FFF0000
            left = len(data) - at
            length = left if streamed else min(size, left)
            width = max(1, bits // 8) * channels
            if width > 1 << 10:
                raise AudioError(f"The WAV's header makes no sense: {bits} bits for each sample.")
            note = ""
            if not streamed and size > left:
                note = f"its header promises {size} bytes of samples and {left} came"
            elif length % width:
                note = "it ends in the middle of a sample"
            codec = "pcm_s16le" if (form, bits) == (1, 16) else f"pcm_{bits}" if form == 1 else f"wav_{form:#06x}"
            seconds = length // width / rate
            return Stream("wav", codec, rate, channels, seconds, not note, note), at, at + length - length % width
        at += size + (size & 1)
    raise AudioError("The WAV has no data chunk: it is cut inside its header.")


_MP3_RATES = {3: (44100, 48000, 32000), 2: (22050, 24000, 16000), 0: (11025, 12000, 8000)}
_MP3_KBITS_V1 = (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)
_MP3_KBITS_V2 = (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)


def _mp3_frame(data: bytes, at: int) -> tuple[int, int, int, int] | None:
    """Return bytes, sample rate, channels and samples of the Layer III frame at `at`, or None if there is none."""
    if at + 4 > len(data) or data[at] != 0xFF or data[at + 1] & 0xE0 != 0xE0:
        return None
    version, layer = data[at + 1] >> 3 & 3, data[at + 1] >> 1 & 3
    kbits, rate_index, padding = data[at + 2] >> 4, data[at + 2] >> 2 & 3, data[at + 2] >> 1 & 1
    if version == 1 or layer != 1 or kbits in (0, 15) or rate_index == 3:
        return None
    rate = _MP3_RATES[version][rate_index]
    bits = (_MP3_KBITS_V1 if version == 3 else _MP3_KBITS_V2)[kbits] * 1000
    samples = 1152 if version == 3 else 576
    return samples // 8 * bits // rate + padding, rate, 1 if data[at + 3] >> 6 == 3 else 2, samples


def _mp3(data: bytes) -> Stream:
    """Walk all frames of an MP3. The encoder's Xing or Info frame, if any, says how many there should be."""
    at, end = 0, len(data)
    if data[:3] == b"ID3" and len(data) > 10:
        size = data[6] << 21 | data[7] << 14 | data[8] << 7 | data[9]
        at = 10 + size
    if data[-128:-125] == b"TAG":
        end -= 128
    first = _mp3_frame(data, at)
    if first is None:
        raise AudioError("The bytes are no MP3 file: no Layer III frame at their beginning.")
    _length, rate, channels, per_frame = first
    promised: int | None = None
    side = {(1152, 1): 17, (1152, 2): 32, (576, 1): 9, (576, 2): 17}[per_frame, channels]
    tag = at + 4 + side
    if data[tag : tag + 4] in (b"Xing", b"Info"):
        if len(data) < tag + 12:
            raise AudioError("The MP3 is cut inside its first frame.")
        if data[tag + 7] & 1:
            promised = struct.unpack_from(">I", data, tag + 8)[0]
        at += first[0]
    frames, note = 0, ""
    while at < end:
        frame = _mp3_frame(data, at)
        if frame is None:
            note = f"after {frames} frames come {end - at} bytes that are not an MP3 frame"
            break
        if frame[1:3] != (rate, channels):
            note = f"frame {frames + 1} changes the sample rate or the channels"
            break
        if at + frame[0] > end:
            note = f"its last frame lacks {at + frame[0] - end} bytes"
            break
        at += frame[0]
        frames += 1
    if promised is not None and frames < promised and not note:
        note = f"its header promises {promised} frames and {frames} came"
    return Stream("mp3", "mp3", rate, channels, frames * per_frame / rate, not note, note)


def _crc_table(width: int, polynomial: int) -> list[int]:
    """Return the table of a CRC that shifts left, one entry per byte."""
    top, mask, table = 1 << (width - 1), (1 << width) - 1, []
    for byte in range(256):
        value = byte << (width - 8)
        for _bit in range(8):
            value = (value << 1 ^ polynomial if value & top else value << 1) & mask
        table.append(value)
    return table


def _crc(data: bytes, width: int, table: list[int]) -> int:
    value, mask = 0, (1 << width) - 1
    for byte in data:
        value = (value << 8 & mask) ^ table[(value >> (width - 8) ^ byte) & 0xFF]
    return value


def _flac(data: bytes) -> Stream:
    """Read a FLAC file. It is complete if a frame ends with the file (CRC-16) and reaches the last sample."""
    if len(data) < 42:
        raise AudioError("The FLAC file is cut inside its header.")
    smallest, largest = struct.unpack_from(">HH", data, 8)
    packed = struct.unpack_from(">Q", data, 18)[0]
    rate, channels = packed >> 44, (packed >> 41 & 7) + 1
    total = packed & (1 << 36) - 1
    if not rate:
        raise AudioError("The FLAC header gives no sample rate.")
    table8, table16 = _crc_table(8, 0x07), _crc_table(16, 0x8005)
    note = "its last frame is damaged or cut"
    at, tries = len(data), 0
    while tries < _FLAC_TRIES:
        at = data.rfind(b"\xff", 42, at)
        if at < 0 or len(data) - at > 1 << 18:
            break
        if data[at + 1 : at + 2] not in (b"\xf8", b"\xf9"):
            continue
        header = _flac_header(data, at)
        if header is None or _crc(data[at : at + header[0] + 1], 8, table8):
            continue
        tries += 1
        if _crc(data[at:-2], 16, table16) != struct.unpack_from(">H", data, len(data) - 2)[0]:
            continue
        _size, number, block = header
        begin = number if data[at + 1] & 1 else number * (largest if smallest == largest else block)
        note = "" if begin + block >= total else f"it ends {total - begin - block} samples before its end"
        break
    return Stream("flac", "flac", rate, channels, total / rate, not note, note)


def _flac_header(data: bytes, at: int) -> tuple[int, int, int] | None:
    """Return bytes before the CRC-8, coded frame or sample number, and block size of the FLAC frame header at `at`."""
    head = data[at : at + 16].ljust(16, b"\0")  # a last frame of silence is shorter
    if head[2] >> 4 == 0 or head[2] & 15 == 15 or head[3] & 1:
        return None
    first, size = head[4], 5
    extra = 0 if first < 0x80 else 8 - (first ^ 0xFF).bit_length() - 1
    if first >= 0x80 and not 1 <= extra <= 6:
        return None
    number = first if not extra else first & (0x3F >> extra)
    for byte in head[5 : 5 + extra]:
        number = number << 6 | byte & 0x3F
    size += extra
    code = head[2] >> 4
    if code == 6:
        block, size = head[size] + 1, size + 1
    elif code == 7:
        block, size = (head[size] << 8 | head[size + 1]) + 1, size + 2
    else:
        block = 192 if code == 1 else 576 << code - 2 if code <= 5 else 256 << code - 8
    size += {12: 1, 13: 2, 14: 2}.get(head[2] & 15, 0)
    return size, number, block


def _ogg(data: bytes) -> Stream:
    """Walk the pages of an Ogg file with one Vorbis or Opus stream. It is complete if its whole last page says so."""
    table = _crc_table(32, 0x04C11DB7)
    at, position, ended, note = 0, 0, False, ""
    codec, rate, channels, skip = "", 0, 0, 0
    while at < len(data):
        head = data[at : at + 27]
        if len(head) < 27 or head[:4] != b"OggS" or len(data) < at + 27 + head[26]:
            note = "it is cut between two pages" if not head.startswith(b"OggS") else "a page is cut"
            break
        lacing = data[at + 27 : at + 27 + head[26]]
        begin, stop = at + 27 + len(lacing), at + 27 + len(lacing) + sum(lacing)
        if stop > len(data):
            note = f"its last page lacks {stop - len(data)} bytes"
            break
        checked = data[at : at + 22] + b"\0\0\0\0" + data[at + 26 : stop]
        if _crc(checked, 32, table) != struct.unpack_from("<I", head, 22)[0]:
            note = "a page is damaged: its checksum is wrong"
            break
        if not codec:
            packet = data[begin:stop]
            if packet[:7] == b"\x01vorbis" and len(packet) >= 16:
                codec, channels, rate = "vorbis", packet[11], struct.unpack_from("<I", packet, 12)[0]
            elif packet[:8] == b"OpusHead" and len(packet) >= 12:
                # Opus counts at 48 kHz, whatever the input was
                codec, channels, rate, skip = "opus", packet[9], 48000, struct.unpack_from("<H", packet, 10)[0]
            if not rate:
                raise AudioError("The Ogg file holds neither Vorbis nor Opus.")
        granule = struct.unpack_from("<q", head, 6)[0]
        position = max(position, granule)
        ended = bool(head[5] & 4)
        at = stop
    if not codec:
        raise AudioError("The Ogg file is cut inside its header.")
    if not note and not ended:
        note = "its last page is missing"
    return Stream("ogg", codec, rate, channels, max(0, position - skip) / rate, not note, note)
