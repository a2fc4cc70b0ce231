# SPDX-License-Identifier: GPL-3.0-or-later
"""Repair the Xinference of an image, and write what changed as one layer. Runs in a container of that image.

The changes are those of ``module_utils/repair/program.py``. Its ledger names every path that it gave another state::

    {"program": "/voicefleet-code/module_utils/repair/program.py", "apply": {...}, "time": 1798761600}
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
from collections.abc import Iterable, Mapping
from typing import Any, BinaryIO

from ..host.hashing import parse_json, read_bounded
from . import bake, bytecode

Json = dict[str, Any]
SECONDS = 3600


def make(request: Mapping[str, Any], target: BinaryIO) -> None:
    """Repair this image, and write the layer to ``target``. Raises BakeError, OSError."""
    bake.say("repair the Xinference of the image")
    done = asked(request["program"], request["apply"])
    for line in done["changed"]:
        bake.say(line)
    entries = read_bounded(done["ledger"], 1 << 28) if os.path.exists(done["ledger"]) else b'{"changes": []}'
    paths = changed(entry["path"] for entry in json.loads(entries)["changes"])
    for site in {os.path.dirname(os.path.dirname(path)) for path in paths if path.endswith(".dist-info/RECORD")}:
        bake.forget_times(site)
    bake.say("compile byte code")
    code = [path for path in paths if path.endswith(".py")]
    bytecode.compile_files(sys.executable, code, bytecode.NEVER)
    bake.say("write the layer")
    write_layer(target, sorted({*paths, *byte_code(code)}), request["time"])


def asked(program: str, request: Json) -> Json:
    """Run the program of the repair, and return its answer. Raises BakeError."""
    done = subprocess.run(
        [sys.executable, "-I", "-B", program], input=json.dumps(request).encode(), capture_output=True,
        timeout=SECONDS, check=False,
    )  # fmt: skip
    try:
        answer = bake.last_object(done.stdout.decode("utf-8", "replace"))
    except ValueError:
        said = done.stderr.decode("utf-8", "replace").strip().splitlines()[-5:]
        raise bake.BakeError(f"the repair ended with status {done.returncode}: {' / '.join(said)}") from None
    if "error" in answer:
        raise bake.BakeError(str(answer["error"]))
    return answer


def changed(paths: Iterable[str]) -> list[str]:
    """The paths that are there now. Byte code is made again, and uv's notes of times are left out."""
    return [
        path
        for path in paths
        if os.path.lexists(path) and not path.endswith(".pyc") and os.path.basename(path) not in (bake.UV_NOTE, ".lock")
    ]


def byte_code(paths: Iterable[str]) -> list[str]:
    """The byte code of some files, with its folders."""
    found = []
    for path in paths:
        folder, name = os.path.split(path)
        cached = os.path.join(folder, "__pycache__", f"{name[:-3]}.{sys.implementation.cache_tag}.pyc")
        if os.path.exists(cached):
            found += [os.path.dirname(cached), cached]
    return found


def write_layer(target: BinaryIO, paths: Iterable[str], time: int) -> None:
    """Write the paths with the owners that they have in the image."""
    with tarfile.open(fileobj=target, mode="w|", format=tarfile.PAX_FORMAT) as archive:
        for path in paths:
            status = os.lstat(path)
            bake.add(archive, path, time, (status.st_uid, status.st_gid))


def main(path: str) -> int:
    """Carry out the request in a file."""
    return bake.answer(lambda target: make(parse_json(read_bounded(path)), target))
