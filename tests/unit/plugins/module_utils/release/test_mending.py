# SPDX-License-Identifier: GPL-3.0-or-later
"""A repair's files are verified again on the host, and spaCy's tarballs become wheels there."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.voicefleet.kokoro.plugins.module_utils.host.layout import Paths
from ansible_collections.voicefleet.kokoro.plugins.module_utils.release import mending, patches

Json = dict[str, Any]


def tarball() -> bytes:
    meta = {"lang": "en", "name": "core_web_sm", "version": "1.3.0", "spacy_version": ">=1.3.0,<1.4.0"}
    name = "en_core_web_sm"
    files = {"meta.json": json.dumps(meta), f"{name}/__init__.py": "", f"{name}/{name}-1.3.0/config.cfg": ""}
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for path, text in files.items():
            info = tarfile.TarInfo(f"{name}-1.3.0/{path}")
            info.size = len(text)
            archive.addfile(info, io.BytesIO(text.encode()))
    return buffer.getvalue()


def uv() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as wheel:
        wheel.writestr("uv-1.data/scripts/uv", "#!/bin/sh\n")
    return buffer.getvalue()


def keep(root: Path, path: str, data: bytes, kind: str, name: str, version: str) -> Json:
    digest = hashlib.sha256(data).hexdigest()
    file = Path(Paths(str(root)).artifact(digest, path))
    file.parent.mkdir(parents=True)
    file.write_bytes(data)
    return {"path": path, "sha256": digest, "size": len(data), "kind": kind, "name": name, "version": version}


@pytest.fixture
def plan(tmp_path: Path) -> Json:
    model = keep(tmp_path, "spacy/en_core_web_sm-1.3.0.tar.gz", tarball(), "spacy-model", "en_core_web_sm", "1.3.0")
    wheel = keep(tmp_path, "wheels/extra-1.0-py3-none-any.whl", b"wheel", "wheel", "extra", "1.0")
    program = keep(tmp_path, "wheels/uv-1.whl", uv(), "wheel", "uv", "1")
    voice = keep(tmp_path, "kokoro/Kokoro-82M/voices/af_heart.pt", b"voice", "kokoro-voice", "af_heart", "1")
    return {
        "artifacts": [model, wheel, program, voice], "packages": [wheel, model], "uv": program["sha256"],
        "files": [{"to": "home:x", "sha256": voice["sha256"], "size": 5}], "spacy_version": "1.3.7",
    }  # fmt: skip


def test_tarballs_become_wheels_and_uv_leaves_its_wheel(tmp_path: Path, plan: Json) -> None:
    material = mending.Material(str(tmp_path), str(tmp_path / "made"))
    found = material.collect(plan)
    assert [row["file"] for row in found["packages"]] == [
        "extra-1.0-py3-none-any.whl", "en_core_web_sm-1.3.0-py3-none-any.whl",
    ]  # fmt: skip
    assert set(material.files) == {
        plan["files"][0]["sha256"],
        found["uv"],
        *(row["sha256"] for row in found["packages"]),
    }
    for digest, path in material.files.items():
        assert hashlib.sha256(Path(path).read_bytes()).hexdigest() == digest


def test_a_file_that_changed_after_its_arrival_is_refused(tmp_path: Path, plan: Json) -> None:
    row = plan["artifacts"][3]
    Path(Paths(str(tmp_path)).artifact(row["sha256"], row["path"])).write_bytes(b"other")
    with pytest.raises(mending.MendingError, match="changed on the host between arrival and installation: kokoro/"):
        mending.Material(str(tmp_path), str(tmp_path / "made")).collect(plan)


def test_a_model_for_another_spacy_is_refused(tmp_path: Path, plan: Json) -> None:
    with pytest.raises(mending.MendingError, match="needs spaCy >=1.3.0,<1.4.0, but the place has 2.0"):
        mending.Material(str(tmp_path), str(tmp_path / "made")).collect({**plan, "spacy_version": "2.0"})


def test_repairs_travel_as_data(tmp_path: Path) -> None:
    every = mending.repairs(list(patches.CATALOGUE))
    assert [row["name"] for row in every] == list(patches.CATALOGUE)
    json.dumps(every)
    words = next(row for row in every if row["name"] == "kokoro-words")
    assert set(words["added"]) == {"kokoro/voicefleet_text.py"}
