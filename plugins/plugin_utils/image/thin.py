# SPDX-License-Identifier: GPL-3.0-or-later
"""A thin layer on an image that already has Xinference: what the repair of a running one would change there.

The image keeps its configuration: its program, user and environment.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...module_utils.host.hashing import canonical_json, sha256_bytes
from ...module_utils.host.layout import Paths
from ...module_utils.release import bake, mending
from . import image
from .engine import Engine

Json = dict[str, Any]

PROGRAM = f"{image.PLACES['code']}/repair/program.py"
START = image.START.replace("bake", "thin")


@dataclass(frozen=True)
class Planned(image.Target):
    """An image with a thin layer."""

    plan: Json  # what the repair would do
    place: Json  # the user and the home of the image's service
    python: str


def place_of(engine: Engine, base: str) -> Json:
    """How the service of an image runs."""
    return {"user": engine.user(base), "home": None}


def report(engine: Engine, base: str, python: str, place: Json, wish: Json) -> Json:
    """What an image holds of what it shall have. Raises ImageError, EngineError, PatchError."""
    patches = mending.repairs(wish["patches"])
    asked = {**place, "do": "inspect", "files": wish["files"], "roots": wish["roots"], "patches": patches}
    mounts = [(image.code_folder(), image.PLACES["code"])]
    said = engine.ask(base, mounts, [python, "-I", "-B", PROGRAM], canonical_json(asked)).decode("utf-8", "replace")
    try:
        answer = bake.last_object(said)
    except ValueError:
        raise image.ImageError(f"{python} of {base} did not answer: {said.strip()[-1500:]}") from None
    if "error" in answer:
        raise image.ImageError(f"{base}: {answer['error']}. image_python names the Python that has Xinference")
    return answer


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
        "created": layer.created,
        "rootfs": {"type": "layers", "diff_ids": [*base["rootfs"]["diff_ids"], digest]},
        "history": [
            *(base.get("history") or []),
            {
                "created": layer.created,
                "created_by": "voicefleet.kokoro image",
                "comment": f"repaired {layer.plan['id']}",
            },
        ],
    }


def make(layer: Planned, wanted: image.Wanted, decided: str, engine: Engine, say: image.Say) -> Json:
    """Build the layer, write the archive and what lies beside it, and return the record."""
    plan = layer.plan
    facts = {
        "inputs": decided, "release": plan["id"], "manifest_sha256": plan["manifest_sha256"],
        "unpublished": plan["unpublished"], "thin": True,
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

    return image.assemble(
        layer, facts, wanted.output, build, lambda base, digest: config(layer, base, digest), engine, say
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
    return [image.loading(record, engine, output)]
