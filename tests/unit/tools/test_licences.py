# SPDX-License-Identifier: GPL-3.0-or-later
"""The licence of each file is known, as `reuse lint` wants it (https://reuse.software)."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
# With brackets, because `reuse lint` would take the pattern for a licence.
HEADER = re.compile(r"^(?:# |// |/\* |<!-- )SPDX-License[-]Identifier: (\S+)", re.MULTILINE)
pytestmark = [
    pytest.mark.skipif(sys.version_info < (3, 11), reason="needs tomllib"),
    pytest.mark.skipif(not (ROOT / "REUSE.toml").exists(), reason="the collection is shipped without it"),
]


def files() -> list[Path]:
    """The files of the repository, also those that git does not track yet."""
    command = ["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    found = [ROOT / name for name in done.stdout.split("\0") if name]
    return [path for path in found if path.is_file()]


def licences() -> dict[str, str]:
    """The patterns of REUSE.toml, each with its licence."""
    import tomllib

    rows = tomllib.loads((ROOT / "REUSE.toml").read_text(encoding="utf-8"))["annotations"]
    found = {}
    for row in rows:
        for pattern in [row["path"]] if isinstance(row["path"], str) else row["path"]:
            found[pattern] = row["SPDX-License-Identifier"]
    return found


def test_every_licence_that_is_named_has_its_text() -> None:
    named = {match for path in files() if path.suffix == ".py" for match in HEADER.findall(path.read_text("utf-8"))}
    named |= set(licences().values())
    assert {path.stem for path in (ROOT / "LICENSES").iterdir()} == named


def test_the_licence_of_the_collection_is_the_same_text() -> None:
    assert (ROOT / "LICENSE").read_bytes() == (ROOT / "LICENSES/GPL-3.0-or-later.txt").read_bytes()


def test_every_pattern_finds_a_file() -> None:
    assert licences()["**"] == "GPL-3.0-or-later"
    assert [pattern for pattern in licences() if not any(ROOT.glob(pattern))] == []


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="git lists the files")
def test_every_program_names_its_licence() -> None:
    programs = [path for path in files() if path.suffix == ".py" or path.is_relative_to(ROOT / "bin")]
    assert len(programs) > 100
    silent = [path for path in programs if path.stat().st_size and not HEADER.search(path.read_text("utf-8")[:600])]
    assert [str(path.relative_to(ROOT)) for path in silent] == []
