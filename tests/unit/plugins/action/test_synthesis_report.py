# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import pytest
from ansible.errors import AnsibleActionFail
from ansible_collections.voicefleet.kokoro.plugins.action.synthesis_report import ActionModule, gather

PLAN = {"release": {"id": "1.2.3-abc"}, "voices": ["af_heart"], "unpublished": {}, "profile": "cpu"}
PROOF = {"release_id": "1.2.3-abc", "level": "acoustic", "samples": [], "voices": ["af_heart"], "time": "now"}


def run(folder: Path, hostvars: dict[str, Any], check_mode: bool = False) -> dict[str, Any]:
    task = SimpleNamespace(args={}, check_mode=check_mode, async_val=0, delegate_to=None, action="x")
    action = ActionModule(task, MagicMock(), MagicMock(), MagicMock(), MagicMock(), MagicMock())
    result: dict[str, Any] = action.act({"report_dir": str(folder), "audio_mb": 1.0}, {"hostvars": hostvars})
    return result


def test_page_and_record_are_written(tmp_path: Path) -> None:
    hostvars = {
        "speaker1": {"voicefleet_plan": PLAN, "voicefleet_synthesis": PROOF},
        "speaker2": {"ansible_facts": {"voicefleet_plan": PLAN}},
        "localhost": {},
    }
    result = run(tmp_path / "report", hostvars)
    assert (result["changed"], result["level"]) == (False, "none")
    record = json.loads(Path(result["json"]).read_text())
    assert (record["schema"], record["counts"]["hosts"]) == (3, 2)
    assert [(row["host"], row["level"]) for row in record["hosts"]] == [("speaker1", "acoustic"), ("speaker2", "none")]
    assert "speaker2" in Path(result["html"]).read_text()
    assert result["lines"][-1] == f"Report: {tmp_path}/report/index.html"


def test_a_failed_proof_is_found_beside_the_report(tmp_path: Path) -> None:
    (tmp_path / "hosts").mkdir()
    record = tmp_path / "hosts" / "speaker1.json"
    hostvars = {"speaker1": {"voicefleet_plan": PLAN}}
    for content, found in (
        (json.dumps({"host": "speaker1", "synthesis": PROOF}), PROOF),
        (json.dumps({"host": "speaker1", "synthesis": {**PROOF, "release_id": "1.2.3-old"}}), {}),
        ("{", {}),
        ("[]", {}),
    ):
        record.write_text(content)
        assert gather(hostvars, tmp_path, {}) == [("speaker1", PLAN, found)]


def test_nothing_is_written_in_check_mode_or_without_hosts(tmp_path: Path) -> None:
    run(tmp_path / "report", {"speaker1": {"voicefleet_plan": PLAN}}, check_mode=True)
    result = run(tmp_path / "report", {"localhost": {}})
    assert "no report was written" in result["lines"][0]
    assert not (tmp_path / "report").exists()


def test_an_invalid_folder_is_reported(tmp_path: Path) -> None:
    (tmp_path / "report").write_text("a file")
    with pytest.raises(AnsibleActionFail, match="The report cannot be written: .*report"):
        run(tmp_path / "report", {"speaker1": {"voicefleet_plan": PLAN}})


def test_every_host_of_a_counted_run_is_in_the_report(tmp_path: Path) -> None:
    state = {
        "hosts": ["s1", "s2", "s3"],
        "batches": [{"hosts": ["s1", "s2"], "began": 10}],
        "stop": "the canary failed",
    }
    served = {"outcome": "served", "at": 20}
    hostvars: dict[str, Any] = {
        "s1": {"voicefleet_plan": PLAN, "voicefleet_synthesis": PROOF, "voicefleet_outcome": served},
        "s2": {"voicefleet_outcome": {"outcome": "unreachable", "at": 15, "why": "no route"}},
        "s3": {},
        "elsewhere": {"voicefleet_plan": PLAN},
        "localhost": {"voicefleet_rollout": state},
    }
    result = run(tmp_path, hostvars)
    rows = {row["host"]: row["outcome"] for row in json.loads((tmp_path / "report.json").read_text())["hosts"]}
    assert rows == {"s1": "served", "s2": "unreachable", "s3": "not tried"}
    assert result["unfinished"] == ["s2", "s3"]
    assert result["ansible_facts"]["voicefleet_to_count"] == ["s2"]
    assert (tmp_path / "retry").read_text() == "s2\ns3\n"
    assert f"--limit '@{tmp_path}/retry'" in " ".join(result["lines"])
    state["hosts"] = ["s1"]
    assert run(tmp_path, hostvars)["unfinished"] == []
    assert not (tmp_path / "retry").exists()
