# SPDX-License-Identifier: GPL-3.0-or-later
"""Which sub-package may import which: the table in docs/architecture.md, and what the code does."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
TREES = ("module_utils", "plugin_utils")
MOST_ARROWS = 15
ROW = re.compile(r"^\| `(module_utils|plugin_utils)/(\w+)` \|(.*?)\|", re.MULTILINE)

Arrows = dict[str, set[str]]


def table(tree: str) -> Arrows:
    """The rooms of a tree and what each may import, as the documentation says."""
    rows = ROW.findall((ROOT / "docs" / "architecture.md").read_text(encoding="utf-8"))
    return {room: set(re.findall(r"`(\w+)`", allowed)) for kind, room, allowed in rows if kind == tree}


def imports(path: Path, tree: str) -> Iterator[str]:
    """The modules that a file imports, a relative one as its full name below ``plugins``."""
    package = [tree, *path.relative_to(ROOT / "plugins" / tree).parts[:-1]]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            name = ".".join([*base, *([node.module] if node.module else [])])
            yield from (f"{name}.{alias.name}" for alias in node.names)


def within(name: str) -> str:
    return name.removeprefix("ansible_collections.voicefleet.kokoro.plugins.")


def arrows(tree: str) -> Arrows:
    """What the rooms of a tree import from each other."""
    found: Arrows = {}
    for path in sorted((ROOT / "plugins" / tree).rglob("*.py")):
        room = path.relative_to(ROOT / "plugins" / tree).parts[0]
        names = (within(name).split(".") for name in imports(path, tree))
        others = {parts[1] for parts in names if parts[0] == tree and len(parts) > 1}
        found.setdefault(room, set()).update(others - {room})
    return found


@pytest.mark.parametrize("tree", TREES)
def test_a_room_imports_what_the_documentation_allows(tree: str) -> None:
    assert arrows(tree) == table(tree)


@pytest.mark.parametrize("tree", TREES)
def test_there_is_no_cycle(tree: str) -> None:
    left = arrows(tree)
    while free := [room for room, others in left.items() if not others & set(left)]:
        for room in free:
            del left[room]
    assert left == {}


def test_the_arrows_are_few() -> None:
    counts = {tree: sum(map(len, arrows(tree).values())) for tree in TREES}
    print(counts)
    assert 0 < sum(counts.values()) <= MOST_ARROWS


def test_code_for_hosts_imports_the_standard_library_alone() -> None:
    strays = [
        f"{path.relative_to(ROOT)}: {name}"
        for path in sorted((ROOT / "plugins" / "module_utils").rglob("*.py"))
        for name in imports(path, "module_utils")
        if within(name).split(".")[0] not in {*sys.stdlib_module_names, "module_utils"}
    ]
    assert strays == []
