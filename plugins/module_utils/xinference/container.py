# SPDX-License-Identifier: GPL-3.0-or-later
"""Commands of an image that run Xinference, as the role xinference does on a host.

    run serve     prepare the home, accounts and keys; run the service; stop it on SIGTERM
    run ready     check that every model is ready

They run as any user, and write only below the service's home.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Mapping
from typing import Any

from ..host import container, first_process
from ..host.container import ContainerError, Settings, say
from ..host.redaction import Redactor
from . import api, config, launch, program

Json = dict[str, Any]

# Threads beyond these do not help one sentence.
MOST_THREADS = 8
READY_SECONDS = 10
# Remains of the last run: sockets, temporary files and recovery records, below the home.
FLEETING = ("tmp", ".xoscar", "worker_recovery")


def _leave(_number: int, _frame: object) -> None:
    raise SystemExit(0)


def secrets(environment: Mapping[str, str]) -> dict[str, str]:
    """All secrets. Only the API key must be given; others are made anew at each start. Raises ContainerError."""
    given = {name: container.secret(name, environment) for name in config.SECRETS}
    given["client_key"] = container.key(environment)
    try:
        return config.merge_secrets(given, {})[0]
    except config.ConfigError as error:
        raise ContainerError(f"A secret cannot be used: {error}") from None


def for_service(settings: Settings, environment: Mapping[str, str], all_secrets: Mapping[str, str]) -> dict[str, str]:
    """The environment of the service: the container's, without proxies and without secrets that it does not need."""
    dropped = {*settings.unset, *(f"VOICEFLEET_{name.upper()}" for name in config.SECRETS)}
    found = {name: value for name, value in environment.items() if name not in dropped}
    found.update({variable: all_secrets[name] for name, variable in config.ENVIRONMENT.items()})
    share = max(1, container.cores() // max(1, int(settings.launches[0].get("replica") or 1)))
    for name in settings.threads:
        found.setdefault(name, str(min(share, MOST_THREADS)))
    user = {"HOME": settings.home, "USER": "voicefleet", "LOGNAME": "voicefleet"}
    return {**found, **user}


def prepare(home: str) -> None:
    """Make the service's home, closed to others, and remove what the last run left. Raises ContainerError."""
    mounted = os.path.dirname(home)
    advice = f"Mount a volume or a tmpfs with the option exec at {mounted}, which user {os.geteuid()} may write"
    try:
        os.makedirs(home, mode=0o700, exist_ok=True)
        if os.stat(home).st_uid != os.geteuid():
            raise ContainerError(f"{home} belongs to user {os.stat(home).st_uid}. {advice}, or remove that folder")
        os.chmod(home, 0o700)
        for name in FLEETING:
            empty(os.path.join(home, name))
    except OSError as error:
        raise ContainerError(f"{home} cannot be used: {error.strerror}: {error.filename}. {advice}") from None
    if os.statvfs(home).f_flag & os.ST_NOEXEC:
        raise ContainerError(f"Nothing can be executed below {home}, but espeak-ng is loaded from there. {advice}")


def empty(folder: str) -> None:
    """Make a folder, or remove everything in it."""
    os.makedirs(folder, mode=0o700, exist_ok=True)
    for parent, folders, files in os.walk(folder, topdown=False):
        for name in files:
            os.unlink(os.path.join(parent, name))
        for name in folders:
            path = os.path.join(parent, name)
            os.unlink(path) if os.path.islink(path) else os.rmdir(path)


def set_up(own: Settings, all_secrets: Mapping[str, str]) -> None:
    """Bring accounts, API key and autostart to the wanted state. Raises SetupError, ConfigError."""
    names = config.Names(own.admin_user, own.deploy_user, own.client_key_name)
    entries = [config.autostart_entry(payload, 1000, 10) for payload in own.launches]

    def ask(action: str, wanted: Json | None = None) -> Json:
        request = {"action": action, "home": own.home, **({} if wanted is None else {"wanted": wanted})}
        return program.run(request, own.release, "the service", (os.geteuid(), os.getegid()), all_secrets.values())

    observed = ask("observe")["observed"] if program.has_databases(own.home) else config.NOTHING
    # A volume may know models of an earlier image.
    ours = [uid for uid, held in observed["autostart"].items() if held["owner"] == names.deploy]
    wanted = config.wanted_state(all_secrets, names, entries, observed, {"models": ours})
    done: list[str] = []
    program.correct(ask, all_secrets, names, entries, wanted, done)
    for line in done:
        say(line)


def watch(own: Settings, process: first_process.Program, all_secrets: Mapping[str, str]) -> None:
    """Wait until each model is ready, launch those that are missing, and say how it went."""
    client = api.XinferenceClient(own.endpoint, token=all_secrets["client_key"])

    def login() -> None:
        client.login(own.deploy_user, all_secrets["deploy_password"])

    for payload in own.launches:
        wanted = config.autostart_entry(payload, 1, 1)["launch"]
        keeper = launch.Keeper(client, login, process, wanted, own.home)
        try:
            outcome = keeper.ensure(own.ready_seconds)
        except (launch.ModelError, api.XinferenceError) as error:
            say(Redactor(all_secrets.values()).known(keeper.explain(error)))
            return
        say(f"model {keeper.uid} is ready after {outcome.waited:.0f} s")


def serve(own: Settings, environment: Mapping[str, str]) -> int:
    """Run the service until it ends or a signal stops it. Returns the exit status of the container."""
    os.umask(0o077)
    for number in first_process.STOPS:
        # The first process of a container ignores signals that it does not handle.
        signal.signal(number, _leave)
    all_secrets = secrets(environment)
    prepare(own.home)
    try:
        set_up(own, all_secrets)
    except (program.SetupError, config.ConfigError) as error:
        raise ContainerError(str(error)) from None
    first_process.adopt_orphans()
    process = first_process.Program(
        "the service", own.command, for_service(own, environment, all_secrets), own.home
    )  # fmt: skip
    threading.Thread(target=watch, args=(own, process, all_secrets), daemon=True).start()
    if process.wait() is None:
        say(f"the service ended with status {process.status}")
        process.stop(10, say)
        return process.status if process.status is not None and process.status > 0 else 1
    say("stopping: requests in flight are lost")
    process.stop(own.stop_seconds, say)
    say("stopped")
    return 0


def ready(own: Settings, environment: Mapping[str, str]) -> int:
    """Check that every model is ready, without a synthesis."""
    client = api.XinferenceClient(own.endpoint, container.key(environment), READY_SECONDS)
    try:
        states = {instance.uid: instance.status for instance in client.instances()}
    except api.XinferenceError as error:
        raise ContainerError(str(error)) from None
    late = [uid for uid in (str(payload["model_uid"]) for payload in own.launches) if states.get(uid) != api.READY]
    if late:
        sys.stdout.write("not ready: " + ", ".join(f"{uid} is {states.get(uid, 'absent')}" for uid in late) + "\n")
        return 1
    sys.stdout.write("ready\n")
    return 0


COMMANDS: dict[str, container.Command] = {"serve": serve, "ready": ready}
