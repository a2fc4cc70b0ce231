# SPDX-License-Identifier: GPL-3.0-or-later
"""The proof listens to the real Xinference, first with trained and then with random stand-in weights.

Trained weights say only the proof's sentence. Random weights say nothing, and never serve.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from deployed import Speaker
from deploys import current, deploy, succeed
from testinfra.host import Host

ANSWERS = [f"{voice} {audio_format}" for voice in ("af_heart", "am_michael") for audio_format in ("wav", "mp3")]
CACHE = os.environ.get("VOICEFLEET_CACHE", os.path.expanduser("~/.cache/voicefleet"))


def options(folder: Path, **variables: Any) -> tuple[str, str]:
    """Return options that try the level and write the proof to `folder`."""
    given = {
        "synthesis_try_level": "intelligible",
        "synthesis_extra_formats": [],
        "synthesis_report_dir": str(folder),
        **variables,
    }
    return "--extra-vars", json.dumps(given)


def heard(folder: Path, host: Host) -> dict[str, bool | None]:
    """Return the finding on the words of each answer."""
    proof = json.loads((folder / "hosts" / f"{host.backend.get_hostname()}.json").read_text(encoding="utf-8"))
    return {
        f"{sample['voice']} {sample['format']}": finding["ok"]
        for sample in proof["synthesis"]["samples"]
        for finding in sample["findings"]
        if finding["level"] == "intelligible"
    }


def test_the_taught_sentence_is_heard(host: Host, tmp_path: Path) -> None:
    succeed(*options(tmp_path, synthesis_required_level="intelligible"), play="verify")
    assert heard(tmp_path, host) == dict.fromkeys(ANSWERS, True)


@pytest.mark.parametrize(
    "text", ["All is well on this host, and it says so.", "The quick brown fox sleeps under the lazy cat."]
)
def test_another_text_is_not_heard(host: Host, tmp_path: Path, text: str) -> None:
    status, said = deploy(
        *options(tmp_path, synthesis_text=text, synthesis_required_level="intelligible"), play="verify"
    )
    assert status != 0
    assert "did not reach the level intelligible" in said
    assert "It is not intelligible. A recogniser heard" in said
    assert "but synthesis_text is another text" in said
    assert heard(tmp_path, host) == dict.fromkeys(ANSWERS, False)


def test_a_release_that_makes_noise_is_not_intelligible_and_never_serves(
    host: Host, speaker: Speaker, tmp_path: Path
) -> None:
    """The noise has the form of speech: whole files of the right length, a different one for each voice."""
    former = current(host)
    noise = options(tmp_path, artifact_store_path=f"{CACHE}/store-noise", synthesis_required_level="intelligible")
    status, said = deploy(*noise)
    assert status != 0
    assert "did not reach the level intelligible" in said
    assert said.count("It is not intelligible. A recogniser heard") >= len(ANSWERS)
    assert f"The previous release {former} " in said
    assert current(host) == former
    assert speaker.ask().status == 200
