# SPDX-License-Identifier: GPL-3.0-or-later
"""A deployed host, as its clients see it, for the tests of all scenarios.

The hosts have no network. So the tests run commands on the host as root, with `docker exec`.
"""

from __future__ import annotations

import io
import json
import time
import wave
from dataclasses import dataclass
from typing import Any

import pytest
from testinfra.host import Host

UNIT = "voicefleet-xinference.service"
ENDPOINT = "http://127.0.0.1:9997"
SENTENCE = "The quick brown fox jumps over the lazy dog."
# After a restart Xinference needs about 15 s, and the model another 30 s. A busy machine needs longer.
RESTART_SECONDS = 240


@dataclass(frozen=True)
class Answer:
    """An answer of /v1/audio/speech: HTTP status (0 if there was no answer) and body."""

    status: int
    body: bytes


class Speaker:
    """Asks one host for speech, the way a client does."""

    def __init__(self, host: Host, endpoint: str = ENDPOINT) -> None:
        self.host = host
        self.endpoint = endpoint

    def ask(self, voice: str = "af_heart", *, key: bool = True, **more: Any) -> Answer:
        """One request. `more` are further fields of its JSON."""
        body = {"model": "kokoro", "input": SENTENCE, "voice": voice, "response_format": "wav", **more}
        # curl reads the key from a file, so it is not an argument of a process.
        header = "-H @/etc/voicefleet/client.header" if key else ""
        result = self.host.run(
            f"curl --silent --max-time 900 --output /tmp/answer --write-out '%%{{http_code}}' {header} "
            f"-H 'Content-Type: application/json' --data %s {self.endpoint}/v1/audio/speech",
            json.dumps(body),
        )
        return Answer(int(result.stdout or 0), self.host.file("/tmp/answer").content if result.rc == 0 else b"")

    def wait(self, seconds: float = RESTART_SECONDS) -> float:
        """Seconds until the host speaks. Fails after `seconds`, with the last answer."""
        start = time.monotonic()
        while (answer := self.ask()).status != 200:
            if time.monotonic() - start > seconds:
                pytest.fail(
                    f"Silent {seconds:.0f} s after the restart; last answer {answer.status}: {answer.body[:500]!r}"
                )
            time.sleep(3)
        return time.monotonic() - start


def read_wav(body: bytes) -> wave.Wave_read:
    """The WAV in an answer. Fails with the first bytes if it is not a WAV."""
    try:
        return wave.open(io.BytesIO(body))
    except (wave.Error, EOFError) as error:
        pytest.fail(f"No WAV ({error}): {body[:200]!r}")
