# SPDX-License-Identifier: GPL-3.0-or-later
"""Unpack UniDic's archive where fugashi looks for it, and refuse other archives. The real one has 526 MB."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import zipfile
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.voicefleet.kokoro.plugins.module_utils.release import dictionary


def archive(path: Path, members: dict[str, str]) -> dict[str, Any]:
    with zipfile.ZipFile(path, "w") as made:
        for name, text in members.items():
            made.writestr(name, text)
    return {"sha256": hashlib.sha256(path.read_bytes()).hexdigest(), "version": "3.1.0"}


# The layout of the published archive: files, and the licences in a folder.
WHOLE = {"unidic/": "", **{f"unidic/{name}": name for name in (*dictionary.NEEDED, "licenses/COPYING")}, "beside": "x"}


def test_it_lies_where_fugashi_asks_for_it_and_the_service_may_read_it(tmp_path: Path) -> None:
    row = archive(tmp_path / "unidic.zip", WHOLE)
    site = tmp_path / "site"
    umask = os.umask(0o077)
    try:
        dictionary.install(str(tmp_path / "unidic.zip"), row, str(site))
    finally:
        os.umask(umask)
    spec = importlib.util.spec_from_file_location("unidic", site / "unidic/__init__.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    folder = Path(module.DICDIR)
    assert folder == site / "unidic/dicdir"
    assert (folder / "sys.dic").read_text() == "sys.dic"
    assert (folder / "mecabrc").read_bytes() == b""
    assert (folder / "licenses/COPYING").is_file()
    assert not list(site.rglob("beside"))
    for path in (folder, *folder.rglob("*")):
        assert path.stat().st_mode & 0o777 == (0o755 if path.is_dir() else 0o644)


@pytest.mark.parametrize(
    ("members", "said"),
    [
        ({**WHOLE, "unidic/../evil.py": "x"}, "holds 'unidic/../evil.py'"),
        ({**WHOLE, "unidic/licenses/../../evil.py": "x"}, "holds 'unidic/licenses/../../evil.py'"),
        ({**WHOLE, "unidic//etc/passwd": "x"}, "holds 'unidic//etc/passwd'"),
        ({name: text for name, text in WHOLE.items() if name != "unidic/sys.dic"}, "lacks sys.dic"),
    ],
)
def test_any_other_archive_is_refused(tmp_path: Path, members: dict[str, str], said: str) -> None:
    row = archive(tmp_path / "unidic.zip", members)
    with pytest.raises(dictionary.DictionaryError, match=said):
        dictionary.install(str(tmp_path / "unidic.zip"), row, str(tmp_path / "site"))
    assert not (tmp_path / "site/unidic/__init__.py").exists()


def test_bytes_that_changed_since_they_arrived_are_refused(tmp_path: Path) -> None:
    row = archive(tmp_path / "unidic.zip", WHOLE)
    with open(tmp_path / "unidic.zip", "ab") as handle:
        handle.write(b"x")
    with pytest.raises(dictionary.DictionaryError, match="changed since it was verified"):
        dictionary.install(str(tmp_path / "unidic.zip"), row, str(tmp_path / "site"))
    half = tmp_path / "half.zip"
    half.write_bytes((tmp_path / "unidic.zip").read_bytes()[:100])
    with pytest.raises(dictionary.DictionaryError, match="is not a complete archive"):
        dictionary.install(
            str(half), {**row, "sha256": hashlib.sha256(half.read_bytes()).hexdigest()}, str(tmp_path / "b")
        )
