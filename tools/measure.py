#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Print figures that show how much a person must know to follow a value or to change a line.

``tools/measure.py`` prints each figure with its limit. The exit status is 1 if a figure is above its limit.
"""

from __future__ import annotations

import ast
import importlib.util
import re
import sys
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[1]
ROLES = ROOT / "roles"
SETTINGS = "settings"
VALUES = ROOT / "plugins" / "plugin_utils" / "fleet" / "data" / "values.toml"
# The sub-packages of these are the rooms of docs/architecture.md.
TREES = ("module_utils", "plugin_utils")
HOST_PATTERN = "all:!localhost"
# Generated or copied from elsewhere: locks, their requirements, the dashboard.
NOT_WRITTEN = (".toml", ".in", ".json")
# A default that consists of another variable, with or without a default of its own.
_MIRROR = re.compile(r"\{\{\s*(\w+)\s*(?:\|\s*default\(.*\)\s*)?\}\}", re.DOTALL)


@dataclass(frozen=True)
class Figure:
    """One figure. ``limit`` is the highest value allowed, None if any is; ``why`` names what it counts."""

    name: str
    value: int
    limit: int | None
    why: str = ""

    @property
    def within(self) -> bool:
        return self.limit is None or self.value <= self.limit

    def __str__(self) -> str:
        mark = "" if self.within else "  ABOVE ITS LIMIT"
        limit = " " * 13 if self.limit is None else f"at most {self.limit:5}"
        return f"{self.value:6}  {limit}  {self.name}{f' ({self.why})' if self.why else ''}{mark}"


@cache
def load(path: Path) -> Any:
    """Return a YAML file, or an empty one if it does not exist."""
    return (yaml.safe_load(path.read_text(encoding="utf-8")) or {}) if path.exists() else {}


def roles() -> list[str]:
    return sorted(path.name for path in ROLES.iterdir() if path.is_dir())


def defaults(role: str) -> dict[str, Any]:
    found: dict[str, Any] = load(ROLES / role / "defaults" / "main.yml")
    return found


def options(role: str) -> list[str]:
    """Return the variables in a role's argument spec, once for each entry point that names them."""
    specs = load(ROLES / role / "meta" / "argument_specs.yml").get("argument_specs", {})
    return [name for spec in specs.values() for name in spec.get("options", {})]


def mirrors() -> dict[str, str]:
    """Return the defaults that only repeat another role's variable, by ``role/name``, with that variable."""
    found = {}
    for role in roles():
        others = {name for other in roles() if other != role for name in (*defaults(other), *options(other))}
        for name, value in defaults(role).items():
            match = _MIRROR.fullmatch(str(value).strip())
            if match and match[1] in others:
                found[f"{role}/{name}"] = match[1]
    return found


def places() -> dict[str, int]:
    """Return how many places declare each shared setting.

    This counts defaults, specs, rules for its values, second defaults (``name | default(...)``), defaults of other
    roles that repeat it, and the fields in Python that it fills. It does not count lines that read the setting.
    """
    rules = tomllib.loads(VALUES.read_text(encoding="utf-8"))["rules"]
    repeated = list(mirrors().values())
    texts = [path.read_text(encoding="utf-8") for path in _read_by_ansible()]
    code = [path.read_text(encoding="utf-8") for path in (ROOT / "plugins").rglob("*.py")]
    return {
        name: sum(name in defaults(role) for role in roles())
        + sum(options(role).count(name) for role in roles())
        + (name in rules)
        + sum(len(re.findall(rf"\b{name}\s*\|\s*(?:default|d)\(", text)) for text in texts)
        + sum(len(re.findall(rf"\bsetting\(\s*[\"']{name}[\"']", text)) for text in code)
        + repeated.count(name)
        for name in defaults(SETTINGS)
    }


def _read_by_ansible() -> Iterator[Path]:
    yield from (path for path in ROLES.glob("*/*/*") if path.suffix in (".yml", ".j2"))
    yield from (ROOT / "playbooks").glob("*.yml")
    yield from (ROOT / "playbooks" / "tasks").glob("*.yml")


def _version_literals() -> ModuleType:
    """Load the tool beside this one. Do not import it: Ansible's import hook would take the file for its own."""
    spec = importlib.util.spec_from_file_location("version_literals", Path(__file__).with_name("version_literals.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def imports(path: Path, tree: str) -> Iterator[str]:
    """Yield the modules that a file imports. A relative import gets its full name below ``plugins``."""
    package = [tree, *path.relative_to(ROOT / "plugins" / tree).parts[:-1]]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            name = ".".join([*base, *([node.module] if node.module else [])])
            yield from (f"{name}.{alias.name}" for alias in node.names)


def within(name: str) -> str:
    """Return a module's name without the collection's prefix."""
    return name.removeprefix("ansible_collections.voicefleet.kokoro.plugins.")


def arrows(tree: str) -> dict[str, set[str]]:
    """Return what the sub-packages of a tree import from each other."""
    found: dict[str, set[str]] = {}
    for path in sorted((ROOT / "plugins" / tree).rglob("*.py")):
        room = path.relative_to(ROOT / "plugins" / tree).parts[0]
        names = (within(name).split(".") for name in imports(path, tree))
        others = {parts[1] for parts in names if parts[0] == tree and len(parts) > 1}
        found.setdefault(room, set()).update(others - {room})
    return found


def host_patterns() -> list[str]:
    """Return the lines that write the host pattern by hand, as ``file:line``."""
    return [
        f"{path.relative_to(ROOT)}:{number}"
        for folder in ("playbooks", "roles", "plugins")
        for path in sorted((ROOT / folder).rglob("*"))
        if path.suffix in (".yml", ".j2", ".py") and path.is_file()
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if HOST_PATTERN in line
    ]


def lines(paths: Iterable[Path]) -> int:
    """Return how many lines some files have together."""
    return sum(len(path.read_bytes().splitlines()) for path in paths if path.is_file())


def role_files() -> Iterator[Path]:
    """Yield the files below ``roles`` that people write."""
    yield from (path for path in ROLES.rglob("*") if path.suffix not in NOT_WRITTEN)


def figures() -> list[Figure]:
    """Return all figures. Lines have no limit: they grow with what the product can do."""
    counted: Mapping[str, int] = places()
    most = max(counted, key=lambda name: counted[name])
    repeated = mirrors()
    literals = _version_literals()
    stray = [place for found in literals.stray_literals().values() for place in found]
    patterns = host_patterns()
    return [
        Figure("places that declare one setting", counted[most], 4, most),
        Figure("defaults that repeat another role's variable", len(repeated), 0, ", ".join(repeated)),
        Figure("places that name the version of Xinference", len(literals.pinned_by_hand("xinference")), 1),
        Figure("pinned versions that could be derived", len(stray), 0, ", ".join(stray)),
        Figure(f"host patterns {HOST_PATTERN}", len(patterns), 1, ", ".join(patterns)),
        Figure("imports between sub-packages", sum(len(to) for tree in TREES for to in arrows(tree).values()), 15),
        Figure("lines of plugins", lines((ROOT / "plugins").rglob("*.py")), None),
        Figure("lines of roles", lines(role_files()), None),
    ]


def main() -> int:
    """Print the figures. Return 1 if one is above its limit."""
    found = figures()
    print(*found, sep="\n")
    return int(not all(figure.within for figure in found))


if __name__ == "__main__":
    sys.exit(main())
