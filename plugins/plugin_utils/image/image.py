# SPDX-License-Identifier: GPL-3.0-or-later
"""Bake a complete image from a planned release: build its layer in the base image, and write its archive."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shlex
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from ...module_utils.host.hashing import Memo, canonical_json, digest_files, read_object, sha256_bytes, write_atomic
from ...module_utils.host.layout import HOME, ROOT, Paths
from ...module_utils.release import bake, python_env
from ...module_utils.release.plan import Plan
from ...module_utils.xinference import config as xinference
from . import archive
from .engine import Engine
from .unit import Service

Json = dict[str, Any]
Say = Callable[[str], None]

USER = "voicefleet"
# The home is one level below the mounted folder, so that any user can make it and close it to others.
SERVICE_HOME = f"{HOME}/xinference"
RECORD = "image.json"
# Folders for large files that are being made.
SCRATCH = ".voicefleet-bake-"
# A change of the archive's form or of the configuration makes a new image.
FORM = 1
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
# Where the builder finds what it needs.
PLACES = {"store": "/voicefleet-store", "code": "/voicefleet-code/module_utils", "work": "/voicefleet-work"}
# The health check: a word may wait behind the sentences of clients.
HEALTH = {"Interval": 60, "Timeout": 90, "StartPeriod": 300, "Retries": 2}
NVIDIA = {"NVIDIA_VISIBLE_DEVICES": "all", "NVIDIA_DRIVER_CAPABILITIES": "compute,utility"}
# How a container gets all GPUs.
GPUS = {"docker": " --gpus all", "podman": " --device nvidia.com/gpu=all"}
START = """
import sys
sys.path.insert(0, sys.argv[1])
from module_utils.release import bake
sys.exit(bake.main(sys.argv[2]))
"""


class ImageError(Exception):
    """An image that cannot be made, with the reason and what to do."""


@dataclass(frozen=True)
class Wanted:
    """What the operator asked for, beyond what the image shall hold."""

    base: str  # the name of a loaded image, or the path of an archive
    name: str
    tag: str  # empty: the release's id
    profile: str  # an accelerator, or a whole profile
    user_id: int
    output: Path
    python: str = "python3"  # the interpreter of a base that has Xinference


@dataclass(frozen=True)
class Target:
    """What every image is made from, whatever its layer holds."""

    base: str  # the name of the loaded base
    base_identity: str
    created: str  # when the store last changed, in UTC
    tag: str  # the whole name, such as voicefleet-kokoro:1.2.3-3f9a1c2b7d5e
    beside: Mapping[str, bytes]  # files that lie beside the archive, by name

    @property
    def time(self) -> int:
        """The time of all files."""
        return int(datetime.fromisoformat(self.created).timestamp())


@dataclass(frozen=True)
class Planned(Target):
    """An image with a whole release."""

    plan: Plan


def base_name(wanted: Wanted, engine: Engine, load: bool) -> str:
    """The name of the base in the engine. An archive is loaded if its image is not there. "" if it would be loaded.

    Raises ImageError, ArchiveError, EngineError.
    """
    path = Path(wanted.base)
    if path.is_file():
        found = archive.read_base(path.absolute())
        if not found.name:
            raise ImageError(f"the image in {path} has no name. Save it by its name, as in docker save NAME")
        if engine.has(found.name) and engine.identity(found.name).split()[1:] == found.digests:
            return found.name
        if not load:
            return ""
        engine.load(path)
        return found.name
    if not engine.has(wanted.base):
        raise ImageError(
            f"{engine.name} has no image {wanted.base}, which image_base names. On a connected machine, run"
            f" {engine.name} pull {wanted.base} and {engine.name} save. Carry the archive here, and name it in"
            " image_base"
        )
    return wanted.base


def tag_of(wanted: Wanted, identity: str) -> str:
    """The image's whole name, such as voicefleet-kokoro:1.2.3-3f9a1c2b7d5e."""
    return f"{wanted.name}:{wanted.tag or identity.replace('+', '-')}"


def settings(plan: Plan, service: Service, launch: Mapping[str, Any], more: Mapping[str, Any]) -> Json:
    """What the program in the image knows. ``more`` are the names of accounts and the time limits.

    Raises ConfigError.
    """
    models = plan.language_models
    uid = str(launch.get("model_uid"))
    return {
        "release": plan.release.path,
        "command": service.command,
        "home": SERVICE_HOME,
        "model": uid,
        "uids": xinference.uids(uid, plan.languages, models),
        "language_models": dict(models),
        "transcriber": xinference.HEARING_UID if plan.hearing_model else "",
        "launches": xinference.launches(launch, plan.languages, models, plan.hearing_model),
        "voices": plan.voices,
        "unset": service.unset,
        "threads": list(THREADS),
        "stop_seconds": service.stop_seconds,
        **more,
    }


def environment(plan: Plan, service: Service) -> dict[str, str]:
    """The image's environment: that of the unit. Threads are counted when a container starts."""
    found = {name: value for name, value in service.environment.items() if name not in THREADS}
    return {**found, **(NVIDIA if plan.accelerator == "cuda" else {})}


def config(image: Planned, base: Json, layer: str, variables: Mapping[str, str], port: int, user: int) -> Json:
    """The image's configuration."""
    seconds = 1_000_000_000
    inherited = dict(each.partition("=")[::2] for each in (base.get("config") or {}).get("Env") or [])
    plan = image.plan
    return {
        "architecture": base["architecture"],
        "os": base["os"],
        **({"variant": base["variant"]} if base.get("variant") else {}),
        "created": image.created,
        "config": {
            "User": f"{user}:{user}",
            "ExposedPorts": {f"{port}/tcp": {}},
            "Env": [f"{name}={value}" for name, value in {**inherited, **variables}.items()],
            "Entrypoint": [bake.RUN],
            "Cmd": ["serve"],
            "Volumes": {HOME: {}},
            "WorkingDir": "/",
            "StopSignal": "SIGTERM",
            "Healthcheck": {
                "Test": ["CMD", bake.RUN, "health"],
                **{name: value * seconds for name, value in HEALTH.items() if name != "Retries"},
                "Retries": HEALTH["Retries"],
            },
            "Labels": labels(image),
        },
        "rootfs": {"type": "layers", "diff_ids": [*base["rootfs"]["diff_ids"], layer]},
        "history": [
            *(base.get("history") or []),
            {
                "created": image.created,
                "created_by": "voicefleet.kokoro image",
                "comment": f"release {plan.release.id}",
            },
        ],
    }


def labels(image: Planned) -> dict[str, str]:
    """OCI's labels, and our own."""
    plan = image.plan
    sources = ", ".join(sorted(set(plan.unpublished.values())))
    return {
        "org.opencontainers.image.title": "Kokoro speech by Xinference",
        "org.opencontainers.image.version": plan.release.id,
        "org.opencontainers.image.created": image.created,
        "org.opencontainers.image.base.name": image.base,
        "voicefleet.release": plan.release.id,
        "voicefleet.manifest.sha256": plan.manifest_sha256,
        "voicefleet.profile": plan.profile,
        **({"voicefleet.unpublished": sources} if sources else {}),
    }


def code_folder() -> Path:
    """The folder of the code that also runs in the builder and in the image."""
    return Path(bake.__file__).resolve().parents[1]


def code_digest() -> str:
    """One digest of that code."""
    files = sorted(str(path) for path in code_folder().rglob("*.py"))
    found = digest_files(files)
    return sha256_bytes("".join(f"{found[file]} {file[len(str(code_folder())) :]}\n" for file in files).encode())


def inputs(image: Planned, own: Json, variables: Mapping[str, str], wanted: Wanted) -> str:
    """One digest of everything that decides the image."""
    plan = {name: value for name, value in image.plan.as_dict().items() if name != "store"}
    everything = {
        "form": FORM, "plan": plan, "base": image.base_identity, "base_name": image.base, "time": image.time,
        "tag": image.tag, "settings": own, "environment": dict(variables), "user": wanted.user_id,
        "code": code_digest(), "health": HEALTH,
    }  # fmt: skip
    return sha256_bytes(canonical_json(everything))


def archive_path(tag: str, output: Path) -> Path:
    return output / f"{tag.rpartition('/')[2].replace(':', '-')}.tar"


def known(tag: str, output: Path, decided: str, memo: Memo) -> Json | None:
    """The record of an image that is there and was made from the same; None otherwise."""
    record = read_object(str(output / RECORD))
    file = archive_path(tag, output)
    if record.get("inputs") != decided or record.get("archive") != file.name:
        return None
    return record if digest_files([str(file)], memo)[str(file)] == record.get("archive_sha256") else None


def beside(image: Target, output: Path, record: Mapping[str, Any]) -> dict[Path, bytes]:
    """The files that lie beside an archive."""
    digest = f"{record['archive_sha256']}  {record['archive']}\n".encode()
    named = {output / name: data for name, data in image.beside.items()}
    return {output / f"{record['archive']}.sha256": digest, **named}


def lost(files: Mapping[Path, bytes]) -> list[Path]:
    """Those of some files that are missing or have other contents."""
    return [path for path, data in files.items() if not path.is_file() or path.read_bytes() != data]


@contextlib.contextmanager
def alone_in(output: Path) -> Iterator[Path]:
    """A new folder for large files, on the output's file system. Removes what killed runs left. Raises ImageError."""
    output.mkdir(parents=True, exist_ok=True)
    held = os.open(output, os.O_RDONLY | os.O_DIRECTORY)
    try:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ImageError(f"another run writes to {output}. Wait for its end, or choose another folder") from None
        for left in output.glob(f"{SCRATCH}*"):
            archive.discard(left)
        with tempfile.TemporaryDirectory(prefix=SCRATCH, dir=output) as scratch:
            yield Path(scratch)
    finally:
        os.close(held)


def make(
    image: Planned, wanted: Wanted, own: Json, variables: Mapping[str, str], decided: str, engine: Engine, say: Say
) -> Json:
    """Build the layer, write the archive and what lies beside it, and return the record.

    Raises ImageError, ArchiveError, EngineError, EnvError, OSError.
    """
    plan = image.plan
    facts = {
        "inputs": decided, "release": plan.release.id, "manifest_sha256": plan.manifest_sha256,
        "profile": plan.profile, "accelerator": plan.accelerator,
        "user_id": wanted.user_id, "port": own["port"], "stop_seconds": own["stop_seconds"],
        "unpublished": plan.unpublished,
    }  # fmt: skip

    def build(work: Path, layer: Path) -> None:
        request = {
            "plan": plan.as_dict(), "store": PLACES["store"], "time": image.time, "home": HOME,
            "user": {"name": USER, "id": wanted.user_id}, "settings": own,
        }  # fmt: skip
        build_layer(image, request, work, layer, engine, say)

    def configure(base: Json, digest: str) -> Json:
        return config(image, base, digest, variables, own["port"], wanted.user_id)

    return assemble(image, facts, wanted.output, build, configure, engine, say)


def assemble(
    image: Target,
    facts: Json,
    output: Path,
    build: Callable[[Path, Path], None],
    configure: Callable[[Json, str], Json],
    engine: Engine,
    say: Say,
) -> Json:
    """Let ``build`` write a layer, join it to the base, write the archive and what lies beside it. Return the record.

    ``configure`` makes the image's configuration from the base's and the layer's digest.
    """
    target = archive_path(image.tag, output)
    with alone_in(output) as work:
        layer, saved, unfinished = work / "layer.tar", work / "base.tar", work / target.name
        build(work, layer)
        say("hash the layer")
        digest = f"sha256:{archive.sha256_of(layer)}"
        say(f"read the base {image.base}")
        engine.save(image.base, saved)
        base = archive.read_base(saved)
        layers = [*archive.plain_layers(base, work), layer]
        made = configure(base.config, digest)
        data = archive.config_bytes(made)
        say(f"write {target.name}")
        total = archive.write(unfinished, data, layers, made["rootfs"]["diff_ids"], image.tag)
        with open(unfinished, "rb") as handle:
            os.fsync(handle.fileno())
        record = {
            **facts, "image": image.tag, "base": image.base, "id": f"sha256:{sha256_bytes(data)}",
            "archive": target.name, "archive_sha256": total,
            "size": unfinished.stat().st_size, "layer": digest, "layer_size": layer.stat().st_size,
            "base_size": sum(file.stat().st_size for file in layers[:-1]),
        }  # fmt: skip
        # The record goes first and comes last: without it, the next run bakes again.
        (output / RECORD).unlink(missing_ok=True)
        os.replace(unfinished, target)
        for path, content in beside(image, output, record).items():
            write_atomic(str(path), content)
        write_atomic(str(output / RECORD), canonical_json(record))
    return record


def build_layer(image: Planned, request: Json, work: Path, layer: Path, engine: Engine, say: Say) -> None:
    """Run the builder in the base image."""
    plan = image.plan
    interpreter = plan.python.path
    with open(work / "request.json", "wb") as handle:
        handle.write(canonical_json(request))
    if plan.python.artifact:
        # The builder needs a Python before it has unpacked the release's own.
        row = next(row for row in plan.artifacts if row["sha256"] == plan.python.artifact)
        python_env.unpack(os.path.join(str(plan.store), row["path"]), str(work / "bootstrap"))
        inside = os.path.relpath(plan.python.path, Paths(ROOT).tools).partition("/")[2]
        interpreter = f"{PLACES['work']}/bootstrap/python/{inside}"
    mounts = [(Path(str(plan.store)), PLACES["store"]), (code_folder(), PLACES["code"]), (work, PLACES["work"])]
    code = str(Path(PLACES["code"]).parent)
    command = [interpreter, "-I", "-B", "-c", START, code, f"{PLACES['work']}/request.json"]
    with open(layer, "wb") as handle:
        engine.build(image.base, mounts, command, handle, say)


def loading(record: Mapping[str, Any], engine: str, output: Path) -> str:
    """The command that checks and loads an archive."""
    name = shlex.quote(record["archive"])
    return f"cd {shlex.quote(str(output))} && sha256sum --check {name}.sha256 && {engine} load --input {name}"


def published(address: str, port: int) -> str:
    """How an engine publishes a port on an address."""
    return f"[{address}]:{port}:{port}" if ":" in address else f"{address}:{port}:{port}"


def commands(record: Mapping[str, Any], engine: str, output: Path, address: str) -> Sequence[str]:
    """The three commands that run the image: check and load it, make a key, and start it."""
    if not record:
        return []
    return [
        loading(record, engine, output),
        f'umask 077; echo "xf-$(openssl rand -hex 24)" > client.key && chown {record["user_id"]} client.key',
        f"{engine} run --detach --name voicefleet --read-only --cap-drop ALL --security-opt no-new-privileges"
        f" --stop-timeout {record['stop_seconds'] + 5} --tmpfs {HOME}:exec,mode=1777"
        ' --mount "type=bind,source=$PWD/client.key,target=/run/secrets/voicefleet_client_key,readonly"'
        f" --publish {published(address, record['port'])}"
        + (GPUS[engine] if record["accelerator"] == "cuda" else "")
        + f" {record['image']}",
    ]
