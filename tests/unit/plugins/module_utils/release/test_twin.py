# SPDX-License-Identifier: GPL-3.0-or-later
"""An environment that is made from that of another release."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.voicefleet.kokoro.plugins.module_utils.release import inventory, python_env, release, twin

STAMP: dict[str, Any] = {"lock": "a" * 64, "python": "/usr/bin/python3.11"}
MODEL = {"kind": "spacy-model", "name": "en_core_web_sm", "version": "3.8.0"}


def sealed(root: Path, name: str = "one") -> Path:
    """A sealed release as uv and the later roles make it: a program, a package, its byte code and a spaCy model."""
    folder = root / "releases" / name
    site = folder / "env/lib/python3.11/site-packages"
    files = {
        "env/bin/xinference-local": f"#!{folder}/env/bin/python\nimport xinference\n",
        "env/pyvenv.cfg": "home = /usr/bin\n",
        "env/lib/python3.11/site-packages/xinference/__init__.py": "VERSION = 1\n",
        "env/lib/python3.11/site-packages/xinference/__pycache__/__init__.cpython-311.pyc": "compiled",
        "env/lib/python3.11/site-packages/en_core_web_sm/en_core_web_sm-3.8.0/config.cfg": "model",
        "env/lib/python3.11/site-packages/en_core_web_sm-3.8.0.dist-info/RECORD": "model",
        "models/kokoro/config.json": "{}",
    }
    for path, text in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
    (folder / "env/bin/xinference-local").chmod(0o755)
    (folder / "env/bin/python").symlink_to("/usr/bin/python3.11")
    (folder / "env/lib64").symlink_to("lib")
    (site / "linked").symlink_to("xinference")
    python_env.write_stamp(str(folder / "env"), STAMP)
    release.seal(str(folder), {"id": name, "artifacts": [MODEL]})
    return folder


def copied(root: Path, source: Path) -> Path:
    new = root / "releases/two"
    new.mkdir()
    twin.copy(str(source), str(new), STAMP)
    return new


def test_files_are_linked_and_the_stamp_is_there(tmp_path: Path) -> None:
    source = sealed(tmp_path)
    new = copied(tmp_path, source)
    package = "env/lib/python3.11/site-packages/xinference/__init__.py"
    assert os.path.samefile(source / package, new / package)
    assert os.path.samefile(new / "env/lib64" / package[8:], new / package)
    assert os.readlink(new / "env/bin/python") == "/usr/bin/python3.11"
    assert os.readlink(new / "env/lib/python3.11/site-packages/linked") == "xinference"
    assert python_env.is_made(str(new / "env"), STAMP)
    assert not (new / "models").exists()


def test_programs_name_their_own_environment_and_can_be_run(tmp_path: Path) -> None:
    source = sealed(tmp_path)
    program = copied(tmp_path, source) / "env/bin/xinference-local"
    assert program.read_text() == f"#!{tmp_path}/releases/two/env/bin/python\nimport xinference\n"
    assert os.access(program, os.X_OK)
    assert str(source) in (source / "env/bin/xinference-local").read_text()


def test_spacy_models_are_left_to_their_own_step(tmp_path: Path) -> None:
    site = copied(tmp_path, sealed(tmp_path)) / "env/lib/python3.11/site-packages"
    assert sorted(path.name for path in site.iterdir()) == ["linked", "xinference"]


def test_the_other_release_is_unchanged_after_a_repair_and_a_removal(tmp_path: Path) -> None:
    source = sealed(tmp_path)
    new = copied(tmp_path, source)
    python_env.write_atomic(str(new / "env/lib/python3.11/site-packages/xinference/__init__.py"), b"VERSION = 2\n")
    python_env.discard(str(new))
    assert not release.drift(str(source))


def test_the_copy_can_be_sealed_and_found(tmp_path: Path) -> None:
    new = copied(tmp_path, sealed(tmp_path))
    release.seal(str(new), {"id": "two", "artifacts": []})
    assert release.drift(str(new)) == inventory.Drift([], [], [])
    assert twin.find(str(tmp_path / "releases/three"), STAMP, str(tmp_path)) == str(tmp_path / "releases/one")


def test_only_an_unchanged_sealed_release_with_the_same_stamp_is_found(tmp_path: Path) -> None:
    def found(stamp: dict[str, Any]) -> str | None:
        return twin.find(str(tmp_path / "releases/two"), stamp, str(tmp_path))

    assert found(STAMP) is None
    source = sealed(tmp_path)
    assert found(STAMP) == str(source)
    assert found({**STAMP, "patches": {"kokoro-eval": "1"}}) is None
    assert twin.find(str(source), STAMP, str(tmp_path)) is None
    (source / "env/bin/other").write_text("added")
    assert found(STAMP) is None
    (source / "env/bin/other").unlink()
    (source / "release.json").unlink()
    assert found(STAMP) is None


def test_an_interrupted_copy_has_no_stamp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = sealed(tmp_path)

    def full(*_arguments: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "link", full)
    with pytest.raises(OSError, match="No space"):
        copied(tmp_path, source)
    assert not python_env.is_made(str(tmp_path / "releases/two/env"), STAMP)
