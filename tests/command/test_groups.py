# SPDX-License-Identifier: GPL-3.0-or-later
"""The groups for module_defaults: each module is in one, and each member takes what its group is about."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.action import spec
from ansible_collections.voicefleet.kokoro.tests.command.runs import ansible_playbook, local_inventory

META = Path(spec.__file__).resolve().parents[3] / "meta" / "runtime.yml"
GROUPS = yaml.safe_load(META.read_text(encoding="utf-8"))["action_groups"]
MODULES = sorted(path.stem for path in (spec.PLUGINS / "modules").glob("*.py"))


def test_a_group_has_every_module() -> None:
    assert sorted(GROUPS["all"]) == MODULES


@pytest.mark.parametrize(("group", "option"), [("host", "root"), ("store", "path"), ("report", "report_dir")])
def test_a_group_has_the_modules_that_take_its_option(group: str, option: str) -> None:
    takes = [name for name in MODULES if option in spec.documented(name)]
    assert sorted(GROUPS[group]) == [name for name in takes if group != "store" or name.startswith("store_")]
    assert GROUPS[group]


def test_a_default_for_a_group_reaches_its_action(tmp_path: Path) -> None:
    store = tmp_path / "the store"
    play = {
        "hosts": "all",
        "gather_facts": False,
        "module_defaults": {"group/voicefleet.kokoro.store": {"path": str(store)}},
        "tasks": [{"voicefleet.kokoro.store_contents": {}}],
    }
    (tmp_path / "play.yml").write_text(yaml.safe_dump([play]))
    done = ansible_playbook(tmp_path, "play.yml", "-i", str(local_inventory(tmp_path, "speech-01")))
    assert str(store) in done.stdout + done.stderr
    assert "missing required arguments" not in done.stdout + done.stderr
