# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import pytest
from ansible.errors import AnsibleActionFail
from ansible_collections.voicefleet.kokoro.plugins.action.receipts_summary import ActionModule

LEDGER = {"current": "1.2.3-abc", "whole": ["1.2.3-abc"], "receipts": [{"release": "1.2.3-abc", "time": "then"}]}
HOSTVARS = {"speaker1": {"releases_receipts": LEDGER}, "speaker2": {"ansible_facts": {"releases_receipts": LEDGER}}}


def run(folder: Path, check_mode: bool = False) -> dict[str, Any]:
    task = SimpleNamespace(args={}, check_mode=check_mode, async_val=0, delegate_to=None, action="x")
    action = ActionModule(task, MagicMock(), MagicMock(), MagicMock(), MagicMock(), MagicMock())
    arguments = {"report_dir": str(folder), "hosts": ["speaker1", "speaker2", "silent"]}
    result: dict[str, Any] = action.act(arguments, {"hostvars": HOSTVARS})
    return result


def test_every_host_is_in_the_summary(tmp_path: Path) -> None:
    result = run(tmp_path / "report")
    summary = json.loads(Path(result["json"]).read_text())
    assert [(row["host"], row["read"], row["since"]) for row in summary["hosts"]] == [
        ("silent", False, None), ("speaker1", True, "then"), ("speaker2", True, "then"),
    ]  # fmt: skip
    assert (result["changed"], result["not_read"]) == (False, ["silent"])
    assert result["lines"][-1] == f"Summary: {tmp_path}/report/receipts.json"


def test_check_mode_writes_nothing(tmp_path: Path) -> None:
    assert run(tmp_path / "report", check_mode=True)["lines"]
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_made_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(AnsibleActionFail, match="The summary cannot be written"):
        run(tmp_path / "file")
