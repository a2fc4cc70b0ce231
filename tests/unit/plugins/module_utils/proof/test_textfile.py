# SPDX-License-Identifier: GPL-3.0-or-later
"""The proof as metrics: what an alert is built on must say what the proof says."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

from ansible_collections.voicefleet.kokoro.plugins.module_utils.proof import textfile
from ansible_collections.voicefleet.kokoro.plugins.module_utils.proof.terms import LEVELS

REPORT: dict[str, Any] = {
    "release_id": "1.2.3-abc",
    "level": "format",
    "required_level": "acoustic",
    "time": "2026-11-22T17:00:00Z",
    "unpublished": {"kokoro/weights": "converted"},
    "samples": [{"voice": "af_heart"}, {"voice": "af_heart"}, {"voice": "am_michael"}],
}


def values(text: str) -> dict[str, float]:
    """Names and values; fails on a line that Prometheus would refuse."""
    found: dict[str, float] = {}
    for line in text.splitlines():
        if not line.startswith("# "):
            name, value = line.split(" ")
            metric, label = name[:-1].split("{")
            assert label == 'release="1.2.3-abc"'
            found[metric] = float(value)
    return found


def test_metrics_of_a_host_that_speaks() -> None:
    assert values(textfile.render(REPORT, 0.7, 1795366900.4)) == {
        "voicefleet_proof_level": 1,
        "voicefleet_proof_required_level": 2,
        "voicefleet_proof_timestamp_seconds": 1795366800,
        "voicefleet_proof_voices": 2,
        "voicefleet_proof_source": 1,
        "voicefleet_check_timestamp_seconds": 1795366900,
        "voicefleet_check_success": 1,
        "voicefleet_check_seconds": 0.7,
    }


def test_metrics_of_a_silent_host_have_no_response_time() -> None:
    found = values(textfile.render({**REPORT, "level": "none", "samples": []}, None, 1795366900.0))
    assert found["voicefleet_check_success"] == 0
    assert found["voicefleet_proof_level"] == 0
    assert "voicefleet_check_seconds" not in found


def test_a_label_cannot_break_the_format() -> None:
    text = textfile.render({**REPORT, "release_id": 'a"b\\c\nd'}, None, 0.0)
    assert 'release="a\\"b\\\\c d"' in text


def test_the_exporter_can_read_the_file(tmp_path: Path) -> None:
    textfile.write(str(tmp_path), textfile.render(REPORT, None, 0.0))
    (file,) = tmp_path.iterdir()
    assert file.name == "voicefleet.prom"
    assert stat.S_IMODE(file.stat().st_mode) == 0o644


def test_the_help_of_a_metric_names_the_levels_by_number() -> None:
    text = textfile.render(REPORT, None, 0.0)
    assert "reached: 0 none, 1 format, 2 acoustic, 3 phonemes, 4 intelligible, 5 performance, 6 offline." in text
    dashboard = json.loads((Path(__file__).parents[5] / "roles/monitoring/files/dashboard.json").read_text())
    (panel,) = (each for each in dashboard["panels"] if each["targets"][0]["expr"] == "voicefleet_proof_level")
    options = panel["fieldConfig"]["defaults"]["mappings"][0]["options"]
    assert {number: option["text"] for number, option in options.items()} == {
        str(number): level for number, level in enumerate(LEVELS)
    }
