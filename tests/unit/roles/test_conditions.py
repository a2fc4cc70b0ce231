# SPDX-License-Identifier: GPL-3.0-or-later
"""A condition takes a bool as ``-e name=true`` gives it: as text. Ansible refuses text, or takes "false" for true."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[3]
CONDITIONS = ("when", "that", "until", "failed_when", "changed_when")


def bools() -> set[str]:
    """The variables of all roles that are bools."""
    found: set[str] = set()
    for path in ROOT.glob("roles/*/meta/argument_specs.yml"):
        for entry in yaml.safe_load(path.read_text(encoding="utf-8"))["argument_specs"].values():
            found |= {name for name, option in (entry.get("options") or {}).items() if option["type"] == "bool"}
    return found


def conditions(part: Any) -> Iterator[str]:
    if isinstance(part, dict):
        for key, value in part.items():
            if key in CONDITIONS:
                yield from map(str, value if isinstance(value, list) else [value])
            yield from conditions(value)
    elif isinstance(part, list):
        for each in part:
            yield from conditions(each)


def bare(condition: str, names: set[str]) -> list[str]:
    """The bools in a condition that no filter turns from text into a bool."""
    filtered = re.sub(r"\b(\w+)\s*\|\s*(default\(\w+\)\s*\|\s*)?bool\b", "", condition)
    return sorted(names & set(re.findall(r"\w+", filtered)))


def test_no_condition_uses_a_bool_that_may_be_text() -> None:
    known = bools()
    files = [*ROOT.glob("roles/*/*/*.yml"), *ROOT.glob("playbooks/**/*.yml")]
    found = {
        f"{path.relative_to(ROOT)}: {condition}": names
        for path in files
        for condition in conditions(yaml.safe_load(path.read_text(encoding="utf-8")))
        if (names := bare(condition, known))
    }
    assert found == {}


def test_a_bare_bool_is_found() -> None:
    names = {"image_thin", "repair_prove"}
    assert bare("not image_thin", names) == ["image_thin"]
    assert bare("not (image_thin | bool) and repair_prove | default(true) | bool", names) == []
