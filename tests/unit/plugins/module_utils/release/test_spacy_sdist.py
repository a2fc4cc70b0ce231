# SPDX-License-Identifier: GPL-3.0-or-later
"""spaCy tarballs become wheels, and none of their code runs."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import tarfile
import zipfile
from pathlib import Path
from typing import Any, Optional

import pytest
from ansible_collections.voicefleet.kokoro.plugins.module_utils.release import spacy_sdist

META = {
    "lang": "en",
    "name": "core_web_sm",
    "version": "3.8.0",
    "spacy_version": ">=3.8.0,<3.9.0",
    "license": "MIT",
    "requirements": [],
}


def tarball(folder: Path, meta: Optional[dict[str, Any]] = None, **changes: Optional[str]) -> str:
    """Make a tarball like spaCy's. ``changes`` replaces files, or removes them (None)."""
    files: dict[str, Optional[str]] = {
        "setup.py": "raise SystemExit('this must never run')",
        "meta.json": json.dumps(meta if meta is not None else META),
        "PKG-INFO": "Metadata-Version: 2.4\n",
        "en_core_web_sm/__init__.py": "",
        "en_core_web_sm/en_core_web_sm-3.8.0/config.cfg": "[nlp]",
        "en_core_web_sm/en_core_web_sm-3.8.0/tok2vec/model": "weights",
    }
    files.update(changes)
    path = folder / "en_core_web_sm-3.8.0.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        for name, text in files.items():
            if text is None:
                continue
            data = text.encode()
            # Keep names that begin with / as they are, for tarballs that try to leave their folder.
            member = tarfile.TarInfo(name if name.startswith("/") else f"en_core_web_sm-3.8.0/{name}")
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return str(path)


def test_the_wheel_has_package_metadata_entry_point_and_a_correct_record(tmp_path: Path) -> None:
    target = tmp_path / "m.whl"
    model = spacy_sdist.write_wheel(tarball(tmp_path), str(target))
    assert (model.name, model.version, model.wheel_name) == (
        "en_core_web_sm",
        "3.8.0",
        "en_core_web_sm-3.8.0-py3-none-any.whl",
    )
    with zipfile.ZipFile(target) as wheel:
        names = set(wheel.namelist())
        assert "setup.py" not in names
        assert "en_core_web_sm/en_core_web_sm-3.8.0/tok2vec/model" in names
        assert json.loads(wheel.read("en_core_web_sm/meta.json")) == META
        info = "en_core_web_sm-3.8.0.dist-info"
        assert b"[spacy_models]\nen_core_web_sm = en_core_web_sm\n" in wheel.read(f"{info}/entry_points.txt")
        record = dict(line.split(",", 1) for line in wheel.read(f"{info}/RECORD").decode().splitlines())
        assert set(record) == names
        for name in names - {f"{info}/RECORD"}:
            digest = base64.urlsafe_b64encode(hashlib.sha256(wheel.read(name)).digest()).rstrip(b"=").decode()
            assert record[name] == f"sha256={digest},{len(wheel.read(name))}"


def test_the_same_tarball_gives_the_same_wheel(tmp_path: Path) -> None:
    source = tarball(tmp_path)
    for name in ("a", "b"):
        spacy_sdist.write_wheel(source, str(tmp_path / name))
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@pytest.mark.parametrize("name", ["/etc/cron.d/evil", "../evil", "en_core_web_sm/../../evil"])
def test_a_tarball_that_leaves_its_folder_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(spacy_sdist.SpacyModelError, match="not a plain file or folder"):
        spacy_sdist.read_model(tarball(tmp_path, **{name: "x"}))


def test_a_link_is_refused(tmp_path: Path) -> None:
    path = tarball(tmp_path)
    with tarfile.open(path, "w:gz") as archive:
        link = tarfile.TarInfo("en_core_web_sm-3.8.0/meta.json")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    with pytest.raises(spacy_sdist.SpacyModelError, match="not a plain file or folder"):
        spacy_sdist.read_model(path)


@pytest.mark.parametrize(
    "absent", ["meta.json", "en_core_web_sm/__init__.py", "en_core_web_sm/en_core_web_sm-3.8.0/config.cfg"]
)
def test_an_incomplete_tarball_is_refused(tmp_path: Path, absent: str) -> None:
    with pytest.raises(spacy_sdist.SpacyModelError):
        spacy_sdist.write_wheel(tarball(tmp_path, **{absent: None}), str(tmp_path / "m.whl"))


def test_a_truncated_tarball_is_refused(tmp_path: Path) -> None:
    path = Path(tarball(tmp_path))
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(spacy_sdist.SpacyModelError, match="not a complete"):
        spacy_sdist.read_model(str(path))


@pytest.mark.parametrize("meta", [{}, {**META, "name": "../x"}, {**META, "version": "1/2"}, {**META, "lang": "EN"}])
def test_a_model_with_an_invalid_name_is_refused(tmp_path: Path, meta: dict[str, Any]) -> None:
    with pytest.raises(spacy_sdist.SpacyModelError):
        spacy_sdist.read_model(tarball(tmp_path, meta))


@pytest.mark.parametrize(
    ("requirement", "version", "fits"),
    [
        (">=3.8.0,<3.9.0", "3.8.14", True),
        (">=3.8.0,<3.9.0", "3.9.0", False),
        (">=3.8.0,<3.9.0", "3.10.1", False),
        (">=3.8.0,<3.9.0", "3.7.9", False),
        ("~=3.8.1", "3.8.9", True),
        ("~=3.8.1", "3.9.0", False),
        ("~=3.8", "3.9", True),
        ("==3.8.*", "3.8.14", True),
        ("==3.8.*", "3.9.0", False),
        ("==3.8", "3.8.0", True),
        ("!=3.8.2", "3.8.2", False),
        (">3.8,<=4", "3.8", False),
        (">=3.8.0.dev0", "3.8.1", True),
        ("", "3.8.1", True),
    ],
)
def test_a_model_fits_the_versions_that_it_names(requirement: str, version: str, fits: bool) -> None:
    assert spacy_sdist.suits(requirement, version) is fits


def test_a_requirement_that_cannot_be_read_is_refused() -> None:
    with pytest.raises(spacy_sdist.SpacyModelError, match="cannot be read"):
        spacy_sdist.suits("about 3.8", "3.8.0")
