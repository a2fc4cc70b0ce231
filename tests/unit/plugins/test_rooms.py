# SPDX-License-Identifier: GPL-3.0-or-later
"""Sub-packages import each other as the table in docs/architecture.md allows."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[3]
TREES = ("module_utils", "plugin_utils")
ROW = re.compile(r"^\| `(module_utils|plugin_utils)/(\w+)` \|(.*?)\|", re.MULTILINE)


def table(tree: str) -> dict[str, set[str]]:
    """Return the rooms of a tree and what each may import, as the documentation says."""
    rows = ROW.findall((ROOT / "docs" / "architecture.md").read_text(encoding="utf-8"))
    return {room: set(re.findall(r"`(\w+)`", allowed)) for kind, room, allowed in rows if kind == tree}


@pytest.mark.parametrize("tree", TREES)
def test_a_room_imports_what_the_documentation_allows(measure: ModuleType, tree: str) -> None:
    assert measure.arrows(tree) == table(tree)


@pytest.mark.parametrize("tree", TREES)
def test_there_is_no_cycle(measure: ModuleType, tree: str) -> None:
    left = measure.arrows(tree)
    while free := [room for room, others in left.items() if not others & set(left)]:
        for room in free:
            del left[room]
    assert left == {}


def test_sub_packages_import_few_others(measure: ModuleType) -> None:
    (figure,) = (each for each in measure.figures() if each.name == "imports between sub-packages")
    assert 0 < figure.value <= figure.limit == 15


def test_code_for_hosts_imports_only_the_standard_library(measure: ModuleType) -> None:
    strays = [
        f"{path.relative_to(ROOT)}: {name}"
        for path in sorted((ROOT / "plugins" / "module_utils").rglob("*.py"))
        for name in measure.imports(path, "module_utils")
        if measure.within(name).split(".")[0] not in {*sys.stdlib_module_names, "module_utils"}
    ]
    assert strays == []
