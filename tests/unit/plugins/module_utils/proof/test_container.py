# SPDX-License-Identifier: GPL-3.0-or-later
"""What `run prove` of an image proves and prints. The scenario image proves a real one."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.voicefleet.kokoro.plugins.module_utils.host.container import Settings
from ansible_collections.voicefleet.kokoro.plugins.module_utils.proof import container, ladder, phonemes, proof
from ansible_collections.voicefleet.kokoro.plugins.module_utils.proof.acoustics import Finding
from ansible_collections.voicefleet.kokoro.tests.unit.plugins.module_utils.release.test_bake import SETTINGS


def finding(level: str, ok: bool | None) -> Finding:
    return Finding("check", level, ok, None, "limit", f"The level {level} is {ok}.")


@pytest.mark.parametrize(("ok", "level", "status"), [(True, "intelligible", 0), (False, "acoustic", 1)])
def test_it_tries_every_level_up_to_intelligible(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], ok: bool, level: str, status: int
) -> None:
    sample = proof.Sample("af_heart", "wav")
    sample.findings = [finding(name, True) for name in ("format", "acoustic", "intelligible")]
    spoken = phonemes.Spoken("a", "American English", [finding("phonemes", ok)])
    monkeypatch.setattr(proof, "prove", lambda *_arguments: ([sample], {}))
    monkeypatch.setattr(ladder, "_phonemes", lambda *_arguments: [spoken])
    more: dict[str, Any] = {"voices": ["af_heart"]}
    own = Settings(**{**SETTINGS, **more})
    assert container.prove(own, {"VOICEFLEET_CLIENT_KEY": "xf-key-of-the-tests-0123"}) == status
    said = capsys.readouterr().out
    assert f"af_heart: {level}\n" in said
    assert ("The level phonemes is False." in said) is not ok
