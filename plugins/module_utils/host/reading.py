# SPDX-License-Identifier: GPL-3.0-or-later
"""Read a host part by part. A part that cannot be read is reported with the reason, and the others are still read."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

Json = dict[str, Any]


class Reading:
    """What was ``found``, by part. ``errors`` gives the reason for each part that could not be read."""

    def __init__(self) -> None:
        self.found: Json = {}
        self.errors: dict[str, str] = {}

    def part(self, name: str, read: Callable[[], Any]) -> None:
        """Read one part."""
        try:
            self.found[name] = read()
        except Exception as error:  # a broken host fails in unforeseen ways
            self.errors[name] = f"{type(error).__name__}: {error}"


def subsets(asked: Iterable[str], readers: Mapping[str, Callable[[], Any]]) -> Json:
    """Read the subsets that were asked for. Return the module's result."""
    reading = Reading()
    for name in dict.fromkeys(asked):
        reading.part(name, readers[name])
    faults = [f"{name}: {why}" for name, why in reading.errors.items()]
    said = {"msg": f"Could not read from the host: {'; '.join(faults)}"} if faults else {}
    return {"changed": False, "state": reading.found, "errors": reading.errors, **said}
