# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from typing import Any

from ansible_collections.voicefleet.kokoro.plugins.module_utils.host import reading


def broken() -> Any:
    raise PermissionError(13, "Permission denied", "/x")


def test_only_what_is_asked_for_is_read() -> None:
    answer = reading.subsets(["one"], {"one": lambda: 1, "two": broken})
    assert answer == {"changed": False, "state": {"one": 1}, "errors": {}}


def test_a_part_that_cannot_be_read_is_reported_and_the_others_are_read() -> None:
    answer = reading.subsets(["bad", "good"], {"bad": broken, "good": lambda: {"a": 1}})
    assert answer["state"] == {"good": {"a": 1}}
    assert answer["errors"] == {"bad": "PermissionError: [Errno 13] Permission denied: '/x'"}
    assert answer["msg"] == "Could not read from the host: bad: PermissionError: [Errno 13] Permission denied: '/x'"
