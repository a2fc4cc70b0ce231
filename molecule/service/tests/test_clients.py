# SPDX-License-Identifier: GPL-3.0-or-later
"""Usual clients work unchanged, and no request harms another one. The clients run in the release's own Python."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from deployed import ENDPOINT
from testinfra.host import Host

PYTHON = "/opt/voicefleet/current/env/bin/python"
KEY = "/etc/voicefleet/client.key"


@pytest.fixture(scope="module")
def found(host: Host) -> dict[str, Any]:
    """What the program of this scenario saw."""
    source = Path(os.environ["MOLECULE_PROJECT_DIRECTORY"]) / "molecule/_shared/clients.py"
    target = f"{host.backend.get_hostname()}:/root/clients.py"
    subprocess.run(["docker", "cp", "--quiet", str(source), target], check=True)
    said = host.check_output(f"{PYTHON} -B -W ignore /root/clients.py {ENDPOINT} {KEY}")
    answer: dict[str, Any] = json.loads(said.splitlines()[-1])
    return answer


def test_openais_names_and_all_its_formats_work(found: dict[str, Any]) -> None:
    lengths = found["formats"]
    assert sorted(lengths) == ["aac", "flac", "mp3", "opus", "pcm", "wav"]
    # A codec may add an incomplete frame at both ends.
    assert lengths["wav"] > 0.5
    assert lengths == pytest.approx(dict.fromkeys(lengths, lengths["wav"]), abs=0.2)


def test_the_voices_are_listed_with_language_and_model_behind_the_key(found: dict[str, Any]) -> None:
    assert found["voices_without_key"] == 401
    (heart,) = [row for row in found["voices"] if row["id"] == "af_heart"]
    assert (heart["language"], heart["model"], heart["gender"]) == ("en-US", "kokoro", "female")
    assert "alloy" in [row["id"] for row in found["voices"]]
    assert "kokoro" in found["models"]


@pytest.mark.parametrize(
    ("case", "param", "words"),
    [
        ("voice", "voice", "The nearest: af_heart"),
        ("path", "voice", "There is no voice"),
        ("speed", "speed", "from 0.25 to 4"),
        ("word", "speed", "from 0.25 to 4"),
        ("empty", "input", "not empty"),
        ("number", "input", "must be a text"),
        ("long", "input", "10001 characters. 10000 are allowed"),
        ("format", "response_format", "mp3, opus, aac, flac, wav, pcm"),
    ],
)
def test_an_impossible_request_gets_a_400_that_says_what_would_be_right(
    found: dict[str, Any], case: str, param: str, words: str
) -> None:
    status, named, message = found[case]
    assert (status, named) == (400, param)
    assert words in message
    assert "hub" not in message.lower()


def test_a_blend_of_two_voices_speaks(found: dict[str, Any]) -> None:
    assert found["blend"] > 0.5


def test_a_text_without_words_is_a_quarter_of_a_second_of_silence(found: dict[str, Any]) -> None:
    assert found["wordless"] == [12000, 12000]


def test_a_stream_begins_after_its_first_sentence(found: dict[str, Any]) -> None:
    assert found["stream"]["first"] < 0.3 * found["stream"]["all"]
    assert found["stream"]["seconds"] == pytest.approx(found["whole"], rel=0.05)


def test_wav_is_streamed_where_a_client_asks_for_it(found: dict[str, Any]) -> None:
    stream = found["wav_stream"]
    assert stream["head"] == b"RIFF\xff\xff\xff\xff".hex()
    assert stream["first"] < 0.5 * stream["all"]
    assert stream["seconds"] > 2


def test_server_sent_events_are_those_that_openai_defines(found: dict[str, Any]) -> None:
    types = found["events"]["types"]
    assert types[-1] == "speech.audio.done"
    assert len(types) > 3
    assert set(types[:-1]) == {"speech.audio.delta"}
    assert found["events"]["seconds"] == pytest.approx(found["whole"], rel=0.05)


def test_a_short_request_does_not_wait_for_a_long_one(found: dict[str, Any]) -> None:
    assert found["beside"]["short"] < 0.5 * found["beside"]["long"]


def test_nobody_waits_for_clients_that_left(found: dict[str, Any]) -> None:
    """Each of the four texts takes as long as the one after them, and would take turns with it."""
    assert found["after_four_left"] < 2.5 * found["beside"]["long"]
