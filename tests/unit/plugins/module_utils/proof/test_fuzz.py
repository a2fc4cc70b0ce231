# SPDX-License-Identifier: GPL-3.0-or-later
"""Random input for what the proof reads: it is accepted or refused in words, and never ends in a traceback."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import time
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("hypothesis")

from ansible_collections.voicefleet.kokoro.plugins.module_utils.host import direct
from ansible_collections.voicefleet.kokoro.plugins.module_utils.proof import audio, proof, speech, transcript
from ansible_collections.voicefleet.kokoro.tests.unit.plugins.module_utils.hostile import CHUNKED, HEAD
from ansible_collections.voicefleet.kokoro.tests.unit.plugins.module_utils.signals import FIXTURES
from hypothesis import given, strategies as st

SOUNDS = [(FIXTURES / f"yes.{name}").read_bytes()[:6000] for name in ("mp3", "flac", "ogg")]
STARTS = [b"RIFF\xff\xff\xff\x7fWAVE", b"fLaC", b"OggS", b"ID3", b"\xff\xfb\x90\x00", b""]
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=5,
)
LANGUAGES = ["de", "en", "es", "fr", "hi", "it", "ja", "pt", "zh"]
WANTED = proof.Wanted("1.2.3-abc", "kokoro", ["af_heart"], ["wav"], required_level="format")
REPORT = proof.as_report(WANTED, [proof.Sample("af_heart", "wav", "format", sha256="0" * 64, file="/x")], {}, {})


@given(st.sampled_from([b"", b"HTTP/1.1 ", HEAD, HEAD + b"\r\n", CHUNKED]), st.binary(max_size=300))
def test_any_bytes_as_an_answer(start: bytes, rest: bytes) -> None:
    ours, theirs = socket.socketpair()
    with ours:
        theirs.sendall(start + rest)
        theirs.close()
        with (
            contextlib.suppress(OSError, http.client.HTTPException, ValueError, direct.PeerError),
            contextlib.closing(direct.receive(ours, "GET", time.monotonic() + 10, 1000)) as answer,
        ):
            direct._body(answer, 1000)


@given(st.binary(max_size=300) | VALUES.map(lambda value: json.dumps({"detail": value}).encode()))
def test_any_bytes_as_an_error(body: bytes) -> None:
    assert len(speech.server_words(body)) <= 500


@given(
    st.text(max_size=99), st.sampled_from(["7" * 5000, "$7", "7th", "a.m.", "1,000", ""]), st.sampled_from(LANGUAGES)
)
def test_any_text_as_a_transcription(heard: str, more: str, language: str) -> None:
    assert transcript.compare("It is 7 o'clock.", heard + more, language).units > 0


@given(st.sampled_from(STARTS), st.binary(max_size=400))
def test_any_bytes_as_a_sound_file(start: bytes, rest: bytes) -> None:
    for read in (audio.inspect, audio.decode_wav):
        with contextlib.suppress(audio.AudioError):
            read(start + rest)


@given(st.sampled_from(SOUNDS), st.integers(0, 200), st.binary(min_size=1, max_size=12), st.integers(0, 6000))
def test_a_sound_file_with_other_bytes(sound: bytes, at: int, other: bytes, end: int) -> None:
    with contextlib.suppress(audio.AudioError):
        audio.inspect((sound[:at] + other + sound[at + len(other) :])[:end])


@given(st.sampled_from(sorted(REPORT)), VALUES)
def test_any_value_in_a_kept_proof(tmp_path_factory: pytest.TempPathFactory, name: str, value: Any) -> None:
    evidence = proof.Evidence(str(tmp_path_factory.getbasetemp() / "kept"), WANTED.release_id)
    Path(evidence.folder).mkdir(parents=True, exist_ok=True)
    for report in ({**REPORT, name: value}, {**REPORT, "samples": [{**REPORT["samples"][0], name: value}]}):
        Path(evidence.proof).write_text(json.dumps(report), encoding="utf-8")
        assert evidence.holds(WANTED) is None
