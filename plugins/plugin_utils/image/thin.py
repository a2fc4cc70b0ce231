# SPDX-License-Identifier: GPL-3.0-or-later
"""A thin layer on an image that already has Xinference: what the repair of a running one would change there.

The image keeps its configuration: its program, user and environment.
"""

from __future__ import annotations

import calendar
import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...module_utils.host.hashing import canonical_json, sha256_bytes
from ...module_utils.host.layout import Paths
from ...module_utils.release import mending
from ..fleet import repair
from ..store.manifest import TIME, Artifact, Manifest
from . import image
from .engine import Engine

Json = dict[str, Any]

PROGRAM = f"{image.PLACES['code']}/repair/program.py"
START = image.START.replace("bake", "thin")


@dataclass(frozen=True)
class Planned:
    """A thin layer to make."""

    plan: Json  # what the repair would do
    findings: list[str]
    artifacts: list[Artifact]
    base: str
    base_identity: str
    place: Json  # the user and the home of the image's service
    python: str
    time: int
    tag: str


def planned(
    manifest: Manifest,
    digest: str,
    store: Path,
    selection: repair.Wanted,
    wanted: image.Wanted,
    engine: Engine,
    base: str,
) -> Planned:
    """Look into the image, and plan its repair. Raises ImageError, Stop, ValueError."""
    place = {"user": engine.user(base), "home": None}
    wish = repair.wishes(manifest, selection)
    patches = mending.repairs(wish["patches"])
    asked = {**place, "do": "inspect", "files": wish["files"], "roots": wish["roots"], "patches": patches}
    mounts = [(image.code_folder(), image.PLACES["code"])]
    answer = json.loads(
        engine.ask(base, mounts, [wanted.python, "-I", "-B", PROGRAM], json.dumps(asked).encode()).decode()
    )
    if "error" in answer:
        raise image.ImageError(f"{base}: {answer['error']}")
    verdict = repair.judge(manifest, digest, store, answer, selection)
    # What is lost with a container stays in an image.
    findings = [str(finding) for finding in verdict.findings if finding.code != "LOST"]
    if verdict.errors:
        raise image.ImageError("\n  ".join([f"{base} cannot be repaired:", *map(str, verdict.errors)]))
    digests = {row["sha256"] for row in verdict.plan["artifacts"]}
    moment = calendar.timegm(time.strptime(manifest.time, TIME))
    tag = f"{wanted.name}:{wanted.tag or verdict.plan['id'].replace('+', '-')}"
    artifacts = [row for row in manifest.artifacts if row.sha256 in digests]
    return Planned(
        verdict.plan, findings, artifacts, base, engine.identity(base), place, wanted.python, moment, tag
    )  # fmt: skip


def inputs(layer: Planned) -> str:
    """One digest of everything that decides the image."""
    plan = {name: value for name, value in layer.plan.items() if name != "store"}
    everything = {
        "form": image.FORM, "plan": plan, "base": layer.base_identity, "time": layer.time, "tag": layer.tag,
        "place": layer.place, "python": layer.python, "code": image.code_digest(),
    }  # fmt: skip
    return sha256_bytes(canonical_json(everything))


def config(layer: Planned, base: Json, digest: str) -> Json:
    """The base's configuration with one more layer, and labels that say what it is."""
    stamp = time.strftime(TIME, time.gmtime(layer.time))
    own = dict(base.get("config") or {})
    sources = ", ".join(sorted(set(layer.plan["unpublished"].values())))
    own["Labels"] = {
        **(own.get("Labels") or {}),
        "org.opencontainers.image.base.name": layer.base,
        "voicefleet.repaired": layer.plan["id"],
        "voicefleet.manifest.sha256": layer.plan["manifest_sha256"],
        **({"voicefleet.unpublished": sources} if sources else {}),
    }
    return {
        **base,
        "config": own,
        "created": stamp,
        "rootfs": {"type": "layers", "diff_ids": [*base["rootfs"]["diff_ids"], digest]},
        "history": [
            *(base.get("history") or []),
            {"created": stamp, "created_by": "voicefleet.kokoro image", "comment": f"repaired {layer.plan['id']}"},
        ],
    }


def make(layer: Planned, wanted: image.Wanted, decided: str, engine: Engine, say: image.Say) -> Json:
    """Build the layer, write the archive and what lies beside it, and return the record."""
    plan = layer.plan
    facts = {
        "inputs": decided, "image": layer.tag, "base": layer.base, "release": plan["id"],
        "manifest_sha256": plan["manifest_sha256"], "unpublished": plan["unpublished"], "thin": True,
    }  # fmt: skip

    def build(work: Path, target: Path) -> None:
        request = {"program": PROGRAM, "apply": request_of(layer, work), "time": layer.time}
        (work / "request.json").write_bytes(canonical_json(request))
        mounts = [
            (Path(plan["store"]), image.PLACES["store"]), (image.code_folder(), image.PLACES["code"]),
            (work, image.PLACES["work"]),
        ]  # fmt: skip
        code, path = str(Path(image.PLACES["code"]).parent), f"{image.PLACES['work']}/request.json"
        with open(target, "wb") as handle:
            engine.build(layer.base, mounts, [layer.python, "-I", "-B", "-c", START, code, path], handle, say)

    bom = image.bill(layer.artifacts, layer.tag, layer.base)
    return image.assemble(
        facts, wanted.output, bom, build, lambda base, digest: config(layer, base, digest), engine, say
    )


def request_of(layer: Planned, work: Path) -> Json:
    """The request to the repair's program, with the places of all files in the builder. Raises MendingError."""
    plan = layer.plan
    root = work / "held"
    paths = Paths(str(root))
    for row in plan["artifacts"]:
        held = Path(paths.artifact(row["sha256"], row["path"]))
        held.parent.mkdir(parents=True, exist_ok=True)
        held.symlink_to(Path(plan["store"]) / row["path"])
    request: Json = {
        **layer.place, "do": "apply", "files": plan["files"], "links": plan["links"], "texts": plan["texts"],
        "patches": mending.repairs(plan["patches"]), "packages": [], "uv": "",
    }  # fmt: skip
    if plan["artifacts"]:
        material = mending.Material(str(root), str(work / "made"))
        request.update(material.collect(plan))
        request["sources"] = {digest: inside(path, plan["store"], work) for digest, path in material.files.items()}
    return request


def inside(path: str, store: str, work: Path) -> str:
    """Where the builder finds a file of the store, or one that was made from it."""
    real, top = os.path.realpath(path), os.path.realpath(store)
    if real.startswith(top + os.sep):
        return f"{image.PLACES['store']}/{os.path.relpath(real, top)}"
    return f"{image.PLACES['work']}/{os.path.relpath(real, os.path.realpath(work))}"


def commands(record: Mapping[str, Any], engine: str, output: Path) -> list[str]:
    """The command that checks and loads the image. It is started as its base is."""
    if not record:
        return []
    return [f"cd {output} && sha256sum --check {record['archive']}.sha256 && {engine} load --input {record['archive']}"]
