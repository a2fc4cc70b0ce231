# SPDX-License-Identifier: GPL-3.0-or-later
"""Find pinned versions that are written although they could be derived; for ``tools/measure.py``."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOCKS = "roles/artifact_store/files/locks"
# Files with versions that are pinned by hand, generated, recorded or history. bin/refresh checks the first two kinds.
PINNED = re.compile(
    rf"{LOCKS}/|requirements/|plugins/plugin_utils/\w+/data/|docs/versions\.md$|CHANGELOG\.md$|changelogs/|tests/.*/fixtures/"
    r"|plugins/module_utils/(release/patch_data|proof/phoneme_references)\.py$"
    # A change of this file rebuilds the stand-ins. A test compares it with the catalogue.
    r"|tools/standins/make\.py$|tools/converted/packages\.json$"
)
# Tests build stores of models that must match a version of spaCy in the published table.
ONLY_OUTSIDE_TESTS = ("spacy", "spaCy models")
# Texts do not name these with the beginning of the version either, as in "NAME 1.2" for 1.2.3. They may compare with
# it, as in "before 1.2".
ALSO_SHORT = ("xinference",)
_PIN = re.compile(r"^([\w-]+)(?:\[\w+\])?==(\S+)$", re.MULTILINE)
_LOCKED = re.compile(r'^name = "([\w-]+)"\nversion = "([^"+]+)', re.MULTILINE)


def files(*folders: str) -> Iterator[Path]:
    """Yield the text files of the repository, below some folders."""
    listed = subprocess.run(
        ["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", *folders],
        capture_output=True, check=True, text=True,
    )  # fmt: skip
    for name in filter(None, listed.stdout.split("\0")):
        path = ROOT / name
        if path.is_file() and path.suffix not in (".npz", ".webp", ".wav", ".pyc"):
            yield path


def pins() -> dict[str, set[str]]:
    """Return the pinned versions by subject."""
    locked = dict(_LOCKED.findall((ROOT / LOCKS / "pylock.cuda-py311-x86_64.toml").read_text()))
    by_hand = dict(_PIN.findall((ROOT / LOCKS / "requirements.in").read_text()))
    data = ROOT / "plugins/plugin_utils/store/data"
    builds = json.loads((data / "pythons.json").read_text())["builds"]
    models = json.loads((data / "spacy.json").read_text())["models"]
    engine = json.loads((data / "engine.json").read_text())
    return {
        **{name: {version} for name, version in by_hand.items()},
        "spacy": {locked["spacy"]},
        "spaCy models": {model["version"] for model in models},
        engine["name"]: {engine["version"]},
        "Python builds": {f"{build['version']}+{build['date']}" for build in builds},
    }


def literals(version: str, paths: Iterator[Path] | list[Path], before: str = r"(?<![\d.])") -> list[str]:
    """Return the places of a version, as ``file:line``. ``before`` is a pattern of what precedes it."""
    pattern = re.compile(rf"{before}{re.escape(version)}(?!\.?\d)", re.IGNORECASE)
    found = []
    for path in paths:
        text = path.read_text(encoding="utf-8", errors="replace")
        for number, line in enumerate(text.splitlines() if version in text else (), 1):
            if pattern.search(line):
                found.append(f"{path.relative_to(ROOT)}:{number}")
    return found


def stray_literals() -> dict[str, list[str]]:
    """Return the places of pinned versions that could be derived, by subject."""
    every = [path for path in files() if not PINNED.match(str(path.relative_to(ROOT)))]
    product = [path for path in every if path.relative_to(ROOT).parts[0] != "tests"]
    return {
        name: [
            place
            for version in sorted(versions)
            for place in literals(version, product if name in ONLY_OUTSIDE_TESTS else every)
        ]
        + [
            place
            for version in sorted(versions if name in ALSO_SHORT else ())
            for place in literals(version.rpartition(".")[0], every, rf"\b{name}[ -]")
        ]
        for name, versions in pins().items()
    }


def pinned_by_hand(name: str) -> list[str]:
    """Return where a person changes the version of a package, and where else it is written."""
    requirements = sorted((ROOT / LOCKS).glob("requirements*.in"))
    return [place for version in pins()[name] for place in literals(version, requirements)] + stray_literals()[name]
