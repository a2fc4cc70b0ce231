# SPDX-License-Identifier: GPL-3.0-or-later
"""Random input for the parsers of a store: they accept it or refuse it in words, and never end in a traceback."""

from __future__ import annotations

import contextlib

import pytest

pytest.importorskip("hypothesis")

from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.store import locks
from hypothesis import given, strategies as st


@given(st.text())
def test_any_text_as_a_lock(text: str) -> None:
    with contextlib.suppress(locks.LockError):
        locks.parse_lock(text, "lock")
