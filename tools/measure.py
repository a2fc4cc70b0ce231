#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Print figures that say how much a person must know to follow a value or to change a line.

``tools/measure.py`` prints them all, each with its limit, and ends with 1 where one is above its limit.
"""

from __future__ import annotations

import importlib.util
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[1]
ROLES = ROOT / "roles"
SETTINGS = "settings"
# A default that is nothing but another variable, with or without a default of its own.
_MIRROR = re.compile(r"\{\{\s*(\w+)\s*(?:\|\s*default\(.*\)\s*)?\}\}", re.DOTALL)


@dataclass(frozen=True)
class Figure:
    """One figure. ``limit`` is the most that it may be; ``why`` names what it counts."""

    name: str
    value: int
    limit: int
    why: str = ""

    def __str__(self) -> str:
        mark = "" if self.value <= self.limit else "  ABOVE ITS LIMIT"
        return f"{self.value:6}  at most {self.limit:4}  {self.name}{f' ({self.why})' if self.why else ''}{mark}"


@cache
def load(path: Path) -> Any:
    """A YAML file, empty where it is not there."""
    return (yaml.safe_load(path.read_text(encoding="utf-8")) or {}) if path.exists() else {}


def roles() -> list[str]:
    return sorted(path.name for path in ROLES.iterdir() if path.is_dir())


def defaults(role: str) -> dict[str, Any]:
    found: dict[str, Any] = load(ROLES / role / "defaults" / "main.yml")
    return found


def options(role: str) -> list[str]:
    """The variables in a role's argument spec, once for each entry point that names them."""
    specs = load(ROLES / role / "meta" / "argument_specs.yml").get("argument_specs", {})
    return [name for spec in specs.values() for name in spec.get("options", {})]


def mirrors() -> dict[str, str]:
    """The defaults that only repeat a variable of another role, by ``role/name``, with that variable."""
    found = {}
    for role in roles():
        others = {name for other in roles() if other != role for name in (*defaults(other), *options(other))}
        for name, value in defaults(role).items():
            match = _MIRROR.fullmatch(str(value).strip())
            if match and match[1] in others:
                found[f"{role}/{name}"] = match[1]
    return found


def places() -> dict[str, int]:
    """In how many places each shared setting is declared.

    Counted are defaults, specs, second defaults (``name | default(...)``), defaults of other roles that repeat it, and
    the fields in Python that it fills. Lines that read the setting are not counted.
    """
    repeated = list(mirrors().values())
    texts = [path.read_text(encoding="utf-8") for path in _read_by_ansible()]
    code = [path.read_text(encoding="utf-8") for path in (ROOT / "plugins").rglob("*.py")]
    return {
        name: sum(name in defaults(role) for role in roles())
        + sum(options(role).count(name) for role in roles())
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
    """The tool beside this one. Not by import: Ansible's finder would take the file for its own."""
    spec = importlib.util.spec_from_file_location("version_literals", Path(__file__).with_name("version_literals.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def figures() -> list[Figure]:
    """All figures."""
    counted: Mapping[str, int] = places()
    most = max(counted, key=lambda name: counted[name])
    repeated = mirrors()
    literals = _version_literals()
    stray = [place for found in literals.stray_literals().values() for place in found]
    return [
        Figure("places that declare one setting", counted[most], 4, most),
        Figure("defaults that repeat another role's variable", len(repeated), 0, ", ".join(repeated)),
        Figure("places that name the version of Xinference", len(literals.pinned_by_hand("xinference")), 1),
        Figure("pinned versions that could be derived", len(stray), 0, ", ".join(stray)),
    ]


def main() -> int:
    """Print the figures; 1 where one is above its limit."""
    found = figures()
    print(*found, sep="\n")
    return int(any(figure.value > figure.limit for figure in found))


if __name__ == "__main__":
    sys.exit(main())
