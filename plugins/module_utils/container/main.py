# SPDX-License-Identifier: GPL-3.0-or-later
"""The program of an image. It starts the service as the role xinference does, and checks that it speaks.

    run serve     prepare the home, accounts and keys; run the service; stop it on SIGTERM
    run health    ask for one word, and check that sound comes back
    run ready     check that every model is ready
    run prove     let every voice speak the proof's sentence, and check that a recogniser hears it

It runs as any user. It writes only below the service's home.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Mapping, Sequence
from typing import Any

from ..host.redaction import Redactor
from ..proof import proof, recogniser, speech
from ..xinference import api, config, launch, program
from . import processes, settings
from .settings import ContainerError, Settings

Json = dict[str, Any]

# A word waits behind the sentences of clients.
HEALTH_SECONDS = 80
READY_SECONDS = 10
# Remains of the last run: sockets, temporary files and recovery records, below the home.
FLEETING = ("tmp", ".xoscar", "worker_recovery")


def _leave(_number: int, _frame: object) -> None:
    raise SystemExit(0)


def say(text: str) -> None:
    sys.stderr.write(f"voicefleet: {text}\n")
    sys.stderr.flush()


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


def set_up(own: Settings, secrets: Mapping[str, str]) -> None:
    """Bring accounts, API key and autostart to the wanted state. Raises SetupError, ConfigError."""
    entries = [config.autostart_entry(payload, 1000, 10) for payload in own.launches]

    def ask(action: str, wanted: Json | None = None) -> Json:
        request = {"action": action, "home": own.home, **({} if wanted is None else {"wanted": wanted})}
        return program.run(request, own.release, "the service", (os.geteuid(), os.getegid()), secrets.values())

    observed = ask("observe")["observed"] if program.has_databases(own.home) else config.NOTHING
    # A volume may know models of an earlier image.
    ours = [uid for uid, held in observed["autostart"].items() if held["owner"] == own.names.deploy]
    wanted = config.wanted_state(secrets, own.names, entries, observed, {"models": ours})
    done: list[str] = []
    program.correct(ask, secrets, own.names, entries, wanted, done)
    for line in done:
        say(line)


def watch(own: Settings, process: processes.Program, secrets: Mapping[str, str]) -> None:
    """Wait until each model is ready, launch those that are missing, and say how it went."""
    client = api.XinferenceClient(own.endpoint, token=secrets["client_key"])

    def login() -> None:
        client.login(own.names.deploy, secrets["deploy_password"])

    for payload in own.launches:
        wanted = config.autostart_entry(payload, 1, 1)["launch"]
        keeper = launch.Keeper(client, login, process, wanted, own.home)
        try:
            outcome = keeper.ensure(own.ready_seconds)
        except (launch.ModelError, api.XinferenceError) as error:
            say(Redactor(secrets.values()).known(keeper.explain(error)))
            return
        say(f"model {keeper.uid} is ready after {outcome.waited:.0f} s")


def serve(own: Settings, environment: Mapping[str, str]) -> int:
    """Run the service until it ends or a signal stops it. Returns the exit status of the container."""
    os.umask(0o077)
    for number in processes.STOPS:
        # The first process of a container ignores signals that it does not handle.
        signal.signal(number, _leave)
    secrets = settings.secrets(environment)
    prepare(own.home)
    set_up(own, secrets)
    processes.adopt_orphans()
    process = processes.Program(
        "the service", own.command, settings.for_service(own, environment, secrets), own.home
    )  # fmt: skip
    threading.Thread(target=watch, args=(own, process, secrets), daemon=True).start()
    if process.wait() is None:
        say(f"the service ended with status {process.status}")
        process.stop(10, say)
        return process.status if process.status is not None and process.status > 0 else 1
    say("stopping: requests in flight are lost")
    process.stop(own.stop_seconds, say)
    say("stopped")
    return 0


def health(own: Settings, environment: Mapping[str, str]) -> int:
    """Ask each model for one word."""
    key = settings.key(environment)
    wanted = proof.Wanted(
        "", str(own.launch["model_uid"]), list(own.voices), ["wav"], proof.LIVE_TEXT, "format", uids=own.uids
    )
    seconds = proof.still_alive(speech.SpeechClient(own.endpoint, key, HEALTH_SECONDS), wanted)
    sys.stdout.write(f"it speaks: a word takes {seconds:.1f} s\n")
    return 0


def ready(own: Settings, environment: Mapping[str, str]) -> int:
    """Check that every model is ready, without a synthesis."""
    client = api.XinferenceClient(own.endpoint, settings.key(environment), READY_SECONDS)
    states = {instance.uid: instance.status for instance in client.instances()}
    late = [uid for uid in (str(payload["model_uid"]) for payload in own.launches) if states.get(uid) != api.READY]
    if late:
        sys.stdout.write("not ready: " + ", ".join(f"{uid} is {states.get(uid, 'absent')}" for uid in late) + "\n")
        return 1
    sys.stdout.write("ready\n")
    return 0


def prove(own: Settings, environment: Mapping[str, str]) -> int:
    """Prove every voice, up to the level *intelligible* where a recogniser knows its language."""
    client = speech.SpeechClient(own.endpoint, settings.key(environment))
    wanted = proof.Wanted(
        "", str(own.launch["model_uid"]), list(own.voices), ["wav"], required_level=recogniser.LEVEL, uids=own.uids,
        transcriber=config.HEARING_UID if own.hearing_model else "",
    )  # fmt: skip
    samples, _answers = proof.prove(client, wanted, os.path.join(own.release, "env", "bin", "python"))
    for sample in samples:
        sys.stdout.write(f"{sample.voice}: {sample.level}\n")
        for finding in sample.findings:
            if not finding.ok:
                sys.stdout.write(f"    {finding.sentence}\n")
    # A language that nothing can hear is no fault.
    bad = [finding for sample in samples for finding in sample.findings if finding.ok is False]
    return 1 if bad or not samples else 0


COMMANDS = {"serve": serve, "health": health, "ready": ready, "prove": prove}


def main(arguments: Sequence[str]) -> int:
    """Carry out a command, and return the exit status."""
    if len(arguments) != 1 or arguments[0] not in COMMANDS:
        say(f"name one command: {', '.join(COMMANDS)}")
        return 2
    try:
        return COMMANDS[arguments[0]](settings.load(), os.environ)
    except (ContainerError, program.SetupError, config.ConfigError, speech.SpeechError, api.XinferenceError) as error:
        say(str(error).rstrip(".") + ".")
        return 1
