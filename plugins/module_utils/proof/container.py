# SPDX-License-Identifier: GPL-3.0-or-later
"""Commands of an image that listen to the service.

run health    ask for one word, and check that sound comes back
run prove     let every voice speak the proof's sentence, and check that a recogniser hears it
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import Any

from ..host import container
from ..host.container import ContainerError, Settings
from . import ladder, proof, recogniser, speech

# A word waits behind the sentences of clients.
HEALTH_SECONDS = 80


def wanted(own: Settings, **more: Any) -> proof.Wanted:
    """What to prove of this image."""
    return proof.Wanted("", own.model, list(own.voices), ["wav"], uids=dict(own.uids), **more)


def health(own: Settings, environment: Mapping[str, str]) -> int:
    """Ask each model for one word."""
    client = speech.SpeechClient(own.endpoint, container.key(environment), HEALTH_SECONDS)
    try:
        seconds = proof.still_alive(client, wanted(own, text=proof.LIVE_TEXT, required_level="format"))
    except speech.SpeechError as error:
        raise ContainerError(str(error)) from None
    sys.stdout.write(f"it speaks: a word takes {seconds:.1f} s\n")
    return 0


def prove(own: Settings, environment: Mapping[str, str]) -> int:
    """Prove every voice, up to the level *intelligible* where a recogniser knows its language."""
    client = speech.SpeechClient(own.endpoint, container.key(environment))
    asked = wanted(own, required_level=recogniser.LEVEL, transcriber=own.transcriber)
    python = os.path.join(own.release, "env", "bin", "python")
    try:
        samples, _answers = proof.prove(client, asked, python)
        climbed = ladder.climb(client, asked, samples, ladder.Place(python, language_models=own.language_models))
    except speech.SpeechError as error:
        raise ContainerError(str(error)) from None
    shown = [(f"{sample.voice}: {sample.level}", sample.findings) for sample in samples]
    shown += [(f"language {spoken.language}", spoken.findings) for spoken in climbed.languages]
    for name, findings in shown:
        sys.stdout.write(f"{name}\n")
        for finding in findings:
            if not finding.ok:
                sys.stdout.write(f"    {finding.sentence}\n")
    # A language that nothing can hear is no fault.
    bad = [finding for _name, findings in shown for finding in findings if finding.ok is False]
    return 1 if bad or not samples else 0


COMMANDS: dict[str, container.Command] = {"health": health, "prove": prove}
