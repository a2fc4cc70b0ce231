# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from ansible_collections.voicefleet.kokoro.plugins.filter.diagnose import FilterModule

diagnose = FilterModule().filters()["diagnose"]


def test_a_result_becomes_its_message_with_an_explanation() -> None:
    said = diagnose({"failed": True, "msg": "OSError: [Errno 28] No space left on device"})
    assert said.startswith("OSError: [Errno 28] No space left on device\nWhat this means:\n  OS01: ")


def test_the_output_explains_a_message_without_known_cause() -> None:
    said = diagnose({"msg": "non-zero return code", "stderr": "Could not load library libcudnn_ops.so", "stdout": ""})
    assert said.startswith("non-zero return code\nWhat this means:\n  GP06: ")


def test_an_unknown_or_empty_failure_stays_as_it_is() -> None:
    assert diagnose({"msg": "odd"}) == "odd"
    assert diagnose({}) == "see above"
    assert diagnose("odd") == "odd"
