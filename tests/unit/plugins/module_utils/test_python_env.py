# SPDX-License-Identifier: GPL-3.0-or-later
"""The environment of a release, with a stand-in for uv that records how it is called; the real uv runs in Molecule."""

from __future__ import annotations

import json
import os
import zipfile
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.voicefleet.kokoro.plugins.module_utils import python_env
from ansible_collections.voicefleet.kokoro.plugins.module_utils.layout import Paths

FAKE_UV = """#!/bin/sh
# Writes its arguments, its variables and what the lock sees beside itself, then makes what uv would.
{{ echo "$@"; env; }} >> {log}
case "$1" in
venv) for last; do :; done; mkdir -p "$last/bin"; touch "$last/bin/python" ;;
pip) for last; do :; done; ls "$(dirname "$last")/../wheels" >> {log}; {end} ;;
esac
"""


def row(path: str, digest: str, name: str) -> dict[str, Any]:
    return {"path": path, "sha256": digest * 64, "size": 1, "kind": "wheel", "name": name, "version": "0.13.9"}


LOCK = row("locks/pylock.cpu-py311-x86_64.toml", "1", "lock")
UV = row("wheels/uv-0.13.9-py3-none-manylinux_2_17_x86_64.whl", "2", "uv")
OTHER = row("wheels/spacy-3.8.14-cp311-cp311-manylinux_2_17_x86_64.whl", "3", "spacy")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A host's root that holds the artifacts; uv's wheel carries the stand-in."""
    paths = Paths(str(tmp_path))
    for artifact in (LOCK, UV, OTHER):
        file = Path(paths.artifact(artifact["sha256"], artifact["path"]))
        file.parent.mkdir(parents=True)
        file.write_text(artifact["path"])
    use_uv(tmp_path, "true")
    return tmp_path


def use_uv(root: Path, end: str) -> None:
    program = FAKE_UV.format(log=root / "uv.log", end=end)
    with zipfile.ZipFile(Paths(str(root)).artifact(UV["sha256"], UV["path"]), "w") as wheel:
        wheel.writestr("uv-0.13.9.data/scripts/uv", program)


def make(root: Path, wheels: Any = (UV, OTHER)) -> str:
    return python_env.make(str(root / "releases/r"), "/usr/bin/python3.11", LOCK, wheels, "0.13.9", str(root))


def test_uv_is_called_offline_with_hashes_and_from_wheels_alone(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", "http://proxy:3128")
    monkeypatch.setenv("UV_INDEX_URL", "https://index")
    uv = make(root)
    assert uv == str(root / "tools/uv-0.13.9/uv")
    said = (root / "uv.log").read_text()
    sync = next(line for line in said.splitlines() if line.startswith("pip sync"))
    for option in ("--no-index", "--no-build", "--compile-bytecode"):
        assert option in sync
    assert sync.endswith("/locks/pylock.cpu-py311-x86_64.toml")
    assert "UV_OFFLINE=1" in said
    assert "UV_PYTHON_DOWNLOADS=never" in said
    assert "proxy:3128" not in said
    assert "https://index" not in said
    assert os.path.basename(OTHER["path"]) in said
    assert not (root / "releases/r/.build").exists()


def test_a_finished_environment_is_known_by_lock_and_interpreter(root: Path) -> None:
    make(root)
    env = str(root / "releases/r/env")
    assert python_env.is_made(env, python_env.stamp_of(LOCK["sha256"], "/usr/bin/python3.11"))
    assert not python_env.is_made(env, python_env.stamp_of("f" * 64, "/usr/bin/python3.11"))
    assert not python_env.is_made(env, python_env.stamp_of(LOCK["sha256"], "/usr/bin/python3.12"))


def test_a_failure_leaves_no_stamp_and_tells_uvs_words_and_the_next_run_finishes(root: Path) -> None:
    use_uv(root, "echo 'hash mismatch for spacy' >&2; exit 1")
    with pytest.raises(python_env.EnvError, match="hash mismatch for spacy"):
        make(root)
    assert not (root / "releases/r/env" / python_env.STAMP).exists()
    leftover = root / "releases/r/env/half"
    leftover.touch()
    (root / "tools/uv-0.13.9/uv").unlink()
    use_uv(root, "true")
    make(root)
    assert not leftover.exists()
    assert json.loads((root / "releases/r/env" / python_env.STAMP).read_text())["lock"] == LOCK["sha256"]


def test_a_release_without_uv_is_refused(root: Path) -> None:
    with pytest.raises(python_env.EnvError, match="no wheel of uv"):
        make(root, (OTHER,))


def test_a_broken_wheel_of_uv_is_told(root: Path) -> None:
    Path(Paths(str(root)).artifact(UV["sha256"], UV["path"])).write_bytes(b"no zip")
    with pytest.raises(python_env.EnvError, match="holds no uv"):
        make(root)
