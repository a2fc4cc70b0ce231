# SPDX-License-Identifier: GPL-3.0-or-later
"""The settings that several roles read. The role settings declares them."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

ROLE = Path(__file__).resolve().parents[3] / "roles" / "settings"

Load = Callable[[str], Any]


def declared(load: Load) -> dict[str, dict[str, Any]]:
    """Each setting with its type, default and description. ``load`` reads a YAML file by its path."""
    options: dict[str, dict[str, Any]] = load(str(ROLE / "meta" / "argument_specs.yml"))["argument_specs"]["settings"][
        "options"
    ]
    return options


def defaults(load: Load) -> dict[str, Any]:
    """The default of each setting. ``load`` reads a YAML file by its path."""
    found: dict[str, Any] = load(str(ROLE / "defaults" / "main.yml"))
    return found


class Hosts(Mapping[str, Mapping[str, Any]]):
    """The inventory's variables by host, with the defaults of the settings, which Ansible's ``hostvars`` lack."""

    def __init__(self, hostvars: Mapping[str, Mapping[str, Any]], below: Mapping[str, Any]) -> None:
        self._hostvars = hostvars
        self._below = dict(below)

    def __getitem__(self, name: str) -> Mapping[str, Any]:
        # This ChainMap is only read, so any mapping will do.
        return ChainMap(self._hostvars[name], self._below)  # type: ignore[arg-type]

    def __iter__(self) -> Iterator[str]:
        return iter(self._hostvars)

    def __len__(self) -> int:
        return len(self._hostvars)
