# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import re

import pytest
from ansible_collections.voicefleet.kokoro.plugins.module_utils.xinference_advice import ADVICE, advise


@pytest.mark.parametrize(
    ("message", "word"),
    [
        (
            "None: Max retries exceeded with url: /explosion/spacy-models/master/compatibility.json (Caused by"
            " NameResolutionError(\"None: Failed to resolve 'raw.githubusercontent.com' ([Errno -3] Temporary failure"
            ' in name resolution)"))',
            "en_core_web_sm-3.8.0.tar.gz",
        ),
        ("[Errno 2] No such file or directory: '/opt/r/models/config.json'", "incomplete"),
        ("Invalid input. `model_path`: /nowhere File or directory does not exist.", "incomplete"),
        ("Could not validate credentials", "credentials"),
        ("[Errno 98] error while attempting to bind on address ('127.0.0.1', 9997)", "port"),
        ("Device cuda is not available!", "nvidia-smi"),
        ("HTTPSConnectionPool: Max retries exceeded with url: /x", "internet"),
    ],
)
def test_known_failures_are_answered_by_their_cause(message: str, word: str) -> None:
    assert word in (advise(message) or "")


def test_an_unknown_failure_gets_no_guess() -> None:
    assert advise("something else altogether") is None


def test_every_pattern_compiles_and_every_remedy_is_a_sentence_without_its_end() -> None:
    for pattern, remedy in ADVICE:
        re.compile(pattern)
        assert remedy[0].isupper()
        assert not remedy.endswith(".")
