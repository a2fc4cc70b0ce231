# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from pathlib import Path

from ansible_collections.voicefleet.kokoro.plugins.module_utils.doctor.failures import FAILURES
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.fleet.doctor import CHECKS

PAGE = Path(__file__).parents[3] / "docs" / "doctor.md"


def test_the_page_lists_what_the_doctor_knows() -> None:
    """docs/doctor.md names every code with its words; ``tools/doctor_page.py`` writes it."""
    rows = {}
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        if line.startswith("| `"):
            code, *cells = [cell.strip() for cell in line.replace("\\|", "\0").strip("|").split("|")]
            rows[code.strip("`")] = [cell.replace("\0", "|").replace("\\*", "*") for cell in cells]
    assert rows == {
        **{code: [text] for code, text in CHECKS.items()},
        **{failure.code: [failure.cause, failure.remedy] for failure in FAILURES},
    }
