# SPDX-License-Identifier: GPL-3.0-or-later
"""What an image knows about its service, and what the container's environment and mounted files say.

The commands of an image are in ``xinference/container.py`` and ``proof/container.py``. The script that
``release/bake.py`` writes into the image runs them.
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Callable

from .hashing import parse_json, read_bounded

Json = dict[str, Any]

FILE = "settings.json"  # beside the folder module_utils
SECRETS_FOLDER = "VOICEFLEET_SECRETS_DIR"
DEFAULT_FOLDER = "/run/secrets"


class ContainerError(Exception):
    """The service cannot run as this container is started; the message says what to change."""


@dataclass(frozen=True)
class Settings:
    """What the image was baked with. Unknown keys of the file are an error."""

    release: str  # its folder
    command: Sequence[str]  # the program of the unit of systemd
    home: str  # XINFERENCE_HOME
    model: str  # the uid of the model that speaks
    uids: Mapping[str, str]  # the models that speak one language alone, by its letter
    language_models: Mapping[str, str]  # the names of these models, by language
    transcriber: str  # the uid of the model that hears; empty if there is none
    launches: Sequence[Json]  # the payloads of POST /v1/models
    voices: Sequence[str]  # one for each model
    port: int
    unset: Sequence[str]  # variables that the service must not have
    threads: Sequence[str]  # variables that limit threads
    stop_seconds: int
    ready_seconds: int
    admin_user: str
    deploy_user: str
    client_key_name: str

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"


Command = Callable[[Settings, Mapping[str, str]], int]


def say(text: str) -> None:
    """Write a line to the container's log."""
    sys.stderr.write(f"voicefleet: {text}\n")
    sys.stderr.flush()


def run(commands: Mapping[str, Command], arguments: Sequence[str]) -> int:
    """Carry out the command that the arguments name, and return the exit status."""
    if len(arguments) != 1 or arguments[0] not in commands:
        say(f"name one command: {', '.join(commands)}")
        return 2
    try:
        return commands[arguments[0]](load(), os.environ)
    except ContainerError as error:
        say(str(error).rstrip(".") + ".")
        return 1


def load() -> Settings:
    """The settings of this image. Raises ContainerError."""
    folder = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    try:
        return Settings(**parse_json(read_bounded(os.path.join(folder, FILE))))
    except (OSError, ValueError, TypeError) as error:
        raise ContainerError(f"{folder}/{FILE} of the image cannot be used: {error}") from None


def secret(name: str, environment: Mapping[str, str]) -> str | None:
    """One secret: from its variable, from the file that a variable names, or from the folder of mounted secrets.

    Raises ContainerError, without the secret in it.
    """
    variable = f"VOICEFLEET_{name.upper()}"
    if environment.get(variable):
        return environment[variable]
    named = environment.get(f"{variable}_FILE")
    file = named or os.path.join(environment.get(SECRETS_FOLDER) or DEFAULT_FOLDER, f"voicefleet_{name}")
    if not named and not os.path.lexists(file):
        return None
    try:
        return read_bounded(file, 1 << 16).decode().strip()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not text"
        raise ContainerError(
            f"The secret {file} cannot be read by user {os.geteuid()}: {why}. Give the file to this user"
        ) from None


def key(environment: Mapping[str, str]) -> str:
    """The API key of the clients. Raises ContainerError."""
    found = secret("client_key", environment)
    if not found:
        raise ContainerError(
            f"There is no API key for the clients. Mount a file at {DEFAULT_FOLDER}/voicefleet_client_key, or set"
            " VOICEFLEET_CLIENT_KEY. The key has 16 characters or more"
        )
    return found


def cores(folder: str = "/sys/fs/cgroup") -> int:
    """How many cores this container may use."""
    most = len(os.sched_getaffinity(0))
    for names in (["cpu.max"], ["cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us"]):
        try:
            texts = [read_bounded(os.path.join(folder, name)).decode() for name in names]
            quota, period = (int(part) for part in " ".join(texts).split())
        except (OSError, ValueError):  # no limit is "max" or -1
            continue
        if quota > 0 and period > 0:
            most = min(most, math.ceil(quota / period))
    return max(1, most)
