# SPDX-License-Identifier: GPL-3.0-or-later
"""What an image knows about its service, and what the container's environment and mounted files say."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..host.hashing import parse_json, read_bounded
from ..xinference import config

Json = dict[str, Any]

FILE = "settings.json"  # beside the folder module_utils
SECRETS_FOLDER = "VOICEFLEET_SECRETS_DIR"
DEFAULT_FOLDER = "/run/secrets"
# Threads beyond these do not help one sentence.
MOST_THREADS = 8


class ContainerError(Exception):
    """The service cannot run as this container is started; the message says what to change."""


@dataclass(frozen=True)
class Settings:
    """What the image was baked with. Unknown keys of the file are an error."""

    release: str  # its folder
    command: Sequence[str]  # the program of the unit of systemd
    home: str  # XINFERENCE_HOME
    launch: Mapping[str, Any]  # the payload of POST /v1/models
    languages: Sequence[str]
    language_models: Mapping[str, str]
    hearing_model: str
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
    def launches(self) -> list[Json]:
        """The payloads of all models."""
        return config.launches(self.launch, self.languages, self.language_models, self.hearing_model)

    @property
    def uids(self) -> dict[str, str]:
        """The models that speak one language alone."""
        return config.uids(str(self.launch["model_uid"]), self.languages, self.language_models)

    @property
    def names(self) -> config.Names:
        return config.Names(self.admin_user, self.deploy_user, self.client_key_name)

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"


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


def secrets(environment: Mapping[str, str]) -> dict[str, str]:
    """All secrets. Only the API key must be given; others are made anew at each start. Raises ContainerError."""
    given = {name: secret(name, environment) for name in config.SECRETS}
    given["client_key"] = key(environment)
    try:
        return config.merge_secrets(given, {})[0]
    except config.ConfigError as error:
        raise ContainerError(f"A secret cannot be used: {error}") from None


def for_service(settings: Settings, environment: Mapping[str, str], all_secrets: Mapping[str, str]) -> dict[str, str]:
    """The environment of the service: the container's, without proxies and without secrets that it does not need."""
    dropped = {*settings.unset, *(f"VOICEFLEET_{name.upper()}" for name in config.SECRETS)}
    found = {name: value for name, value in environment.items() if name not in dropped}
    found.update({variable: all_secrets[name] for name, variable in config.ENVIRONMENT.items()})
    share = max(1, cores() // max(1, int(settings.launch.get("replica") or 1)))
    for name in settings.threads:
        found.setdefault(name, str(min(share, MOST_THREADS)))
    user = {"HOME": settings.home, "USER": "voicefleet", "LOGNAME": "voicefleet"}
    return {**found, **user}


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
