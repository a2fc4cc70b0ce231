# SPDX-License-Identifier: GPL-3.0-or-later
"""Read how the service runs from the text of its systemd unit, so that a container runs it in the same way."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass, field


@dataclass
class Service:
    """The parts of a unit that also hold in a container."""

    command: list[str] = field(default_factory=list)
    environment: dict[str, str] = field(default_factory=dict)
    unset: list[str] = field(default_factory=list)
    stop_seconds: int = 90


def read(text: str) -> Service:
    """The command, environment and time to stop of a unit. Raises ValueError if it has no command."""
    found = Service()
    for line in re.sub(r"\\\n\s*", " ", text).splitlines():
        key, _equals, value = line.partition("=")
        if key == "ExecStart":
            found.command = [part.replace("%%", "%") for part in shlex.split(value.replace("$$", "$"))]
        elif key == "Environment":
            name, _equals, content = _unquoted(value).partition("=")
            found.environment[name] = content
        elif key == "UnsetEnvironment":
            found.unset += value.split()
        elif key == "TimeoutStopSec":
            found.stop_seconds = int(value)
    if not found.command:
        raise ValueError("the unit has no ExecStart")
    return found


def _unquoted(value: str) -> str:
    """One assignment as systemd reads it, in double quotes or without."""
    value = value.strip()
    if value.startswith('"') and value.endswith('"'):
        value = re.sub(r"\\(.)", r"\1", value[1:-1])
    return value.replace("%%", "%")
