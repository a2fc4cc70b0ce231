# SPDX-License-Identifier: GPL-3.0-or-later
"""Sub-packages import each other as the table in docs/architecture.md allows."""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[3]
TREES = ("module_utils", "plugin_utils")
# This code runs in a release, beside Xinference, and may import what a release has.
SERVING = ROOT / "plugins" / "module_utils" / "release" / "serving"
OF_A_RELEASE = {"av", "fastapi", "kokoro", "numpy", "soundfile", "starlette", "xinference"}
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
        and not (path.parent == SERVING and name.split(".")[0] in OF_A_RELEASE)
    ]
    assert strays == []


def test_code_for_releases_can_be_imported_without_one() -> None:
    """Ansible packs it for hosts, and the repairs read it there."""
    for path in SERVING.glob("*.py"):
        top = [node for node in ast.parse(path.read_text()).body if isinstance(node, (ast.Import, ast.ImportFrom))]
        assert not {name for node in top for name in imported(node)} & OF_A_RELEASE


def imported(node: ast.Import | ast.ImportFrom) -> list[str]:
    names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
    return [name.split(".")[0] for name in names]
