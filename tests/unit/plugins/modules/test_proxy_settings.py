# SPDX-License-Identifier: GPL-3.0-or-later
"""The module proxy_settings tests the proxy first, changes nothing if that fails, and never shows the password."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.voicefleet.kokoro.plugins.module_utils.proxy import files as proxy_files
from ansible_collections.voicefleet.kokoro.plugins.modules import proxy_settings

PASSWORD = "p#a@s/s:w"
WAY = {"http": "http://127.0.0.1:1", "username": "kim", "password": PASSWORD, "probe": False}


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Run the module on a folder that stands for a host, and return its result."""
    (tmp_path / "etc/apt/apt.conf.d").mkdir(parents=True)
    monkeypatch.setattr(proxy_files, "Host", partial(proxy_files.Host, root=str(tmp_path)))
    monkeypatch.setattr(proxy_files, "wanted", partial(proxy_files.wanted, root=str(tmp_path)))

    def call(check: bool = False, **arguments: Any) -> dict[str, Any]:
        with patch_module_args({**arguments, "_ansible_check_mode": check}), pytest.raises(SystemExit):
            proxy_settings.main()
        result: dict[str, Any] = json.loads(capfd.readouterr().out)
        result.pop(
            "_ansible_new_secrets", None
        )  # ansible-core 2.22 returns secret arguments for the controller to hide
        said = json.dumps(result)
        assert PASSWORD not in said
        assert "p%23a%40s%2Fs%3Aw" not in said
        return result

    return call


def test_files_are_written_kept_and_removed(run: Any, tmp_path: Path) -> None:
    planned = run(check=True, **WAY)
    assert planned["changed"]
    assert not (tmp_path / "etc/voicefleet-proxy").exists()
    assert run(**WAY)["changes"] == planned["changes"]
    assert "p%23a%40s%2Fs%3Aw" in (tmp_path / "etc/voicefleet-proxy/environment").read_text()
    assert run(**WAY)["changed"] is False
    assert run(state="absent")["changed"]
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["apt", "apt.conf.d", "etc"]


def test_a_problem_prevents_every_change(run: Any, tmp_path: Path) -> None:
    result = run(**{**WAY, "probe": True})
    assert result["failed"]
    assert [finding["code"] for finding in result["findings"]] == ["PROXY_DEAD"]
    assert "nothing was changed" in result["msg"]
    result = run(http="proxy.corp:3128", all="socks://x:1")
    assert [finding["code"] for finding in result["findings"]] == ["SETTINGS", "SETTINGS"]
    assert not (tmp_path / "etc/voicefleet-proxy").exists()


def test_a_damaged_ledger_is_reported(run: Any, tmp_path: Path) -> None:
    run(**WAY)
    (tmp_path / "etc/voicefleet-proxy/ledger.json").write_text("no")
    assert "damaged" in run(state="absent")["msg"]
