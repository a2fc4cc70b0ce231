# SPDX-License-Identifier: GPL-3.0-or-later
"""The browser of the report's tests."""

from ansible_collections.voicefleet.kokoro.tests.report.conftest import chromium

__all__ = ["chromium"]
