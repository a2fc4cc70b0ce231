# SPDX-License-Identifier: GPL-3.0-or-later
"""Tags choose what docs/playbooks.md says: the tags of deploy.yml are its phases."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.fleet import phases

ROOT = Path(__file__).resolve().parents[3]
FILES = sorted([*ROOT.glob("roles/*/tasks/*.yml"), *ROOT.glob("playbooks/*.yml"), *ROOT.glob("playbooks/tasks/*.yml")])
DEPLOY = ROOT / "playbooks" / "tasks" / "deploy.yml"
# Their tasks do not inherit the tags of the task that includes them.
DYNAMIC = ("ansible.builtin.include_tasks", "ansible.builtin.include_role")


def tasks(items: Any) -> Iterator[dict[str, Any]]:
    for item in items or []:
        yield item
        for part in ("tasks", "pre_tasks", "post_tasks", "handlers", "block", "rescue", "always"):
            yield from tasks(item.get(part))


def tags(of: Any) -> set[str]:
    found = of.get("tags", []) if isinstance(of, dict) else []
    return {found} if isinstance(found, str) else set(found)


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_an_include_gives_its_tags_to_what_it_includes(file: Path) -> None:
    """Without `apply`, a run with that tag includes the file and runs nothing of it."""
    for task in tasks(yaml.safe_load(file.read_text(encoding="utf-8"))):
        for action in set(DYNAMIC) & task.keys():
            given = task[action].get("apply") if isinstance(task[action], dict) else None
            assert tags(task) <= tags(given), task["name"]


def test_the_tags_of_a_deploy_are_its_phases() -> None:
    found = {tag for task in tasks(yaml.safe_load(DEPLOY.read_text(encoding="utf-8"))) for tag in tags(task)}
    assert found == {*phases.PHASES, phases.PROXY, "always"}
    rows = re.findall(r"^\| `(\w+)` \|", (ROOT / "docs" / "playbooks.md").read_text(encoding="utf-8"), re.MULTILINE)
    documented = [name for name in rows if name in found]
    assert documented == [phases.PHASES[0], phases.PROXY, *phases.PHASES[1:]]


def test_every_task_of_a_deploy_belongs_to_a_phase() -> None:
    """A task without one would be left out of a run with tags, although the phases after it need it."""

    def untagged(items: list[dict[str, Any]], inherited: set[str]) -> Iterator[str]:
        for item in items:
            own = inherited | tags(item)
            parts = [part for part in ("block", "rescue", "always") if part in item]
            for part in parts:
                yield from untagged(item[part], own)
            if not parts and not own:
                yield item["name"]

    assert list(untagged(yaml.safe_load(DEPLOY.read_text(encoding="utf-8")), set())) == []
