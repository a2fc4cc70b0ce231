# SPDX-License-Identifier: GPL-3.0-or-later
"""The edits of a release, its bill of materials, and a changelog that lists everything."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.store import locks
from ansible_collections.voicefleet.kokoro.tests.unit.tools.test_version_literals import load

ROOT = Path(__file__).resolve().parents[3]
pytestmark = pytest.mark.skipif(sys.version_info < (3, 11), reason="tools run on the developer's machine")


@pytest.fixture
def tool() -> ModuleType:
    return load("tools/release.py")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A collection that was not released yet."""
    for name, text in {
        "galaxy.yml": "name: kokoro\nversion: 0.1.0\n",
        "plugins/modules/show.py": 'DOCUMENTATION = r"""\nversion_added: "0.1.0"\n"""\n',
        "changelogs/changelog.yaml": "releases:\n  0.1.0:\n    changes:\n      release_summary: The first one.\n",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def read(path: Path) -> Any:
    return yaml.safe_load(path.read_text())


def test_everything_is_new_in_the_first_release(tool: ModuleType, tree: Path) -> None:
    tool.prepare(tree, "1.0.0", [])
    assert read(tree / "galaxy.yml") == {"name": "kokoro", "version": "1.0.0"}
    assert 'version_added: "1.0.0"' in (tree / "plugins/modules/show.py").read_text()
    assert read(tree / "changelogs/changelog.yaml")["releases"] == {}
    assert read(tree / "changelogs/fragments/1.0.0.yml") == {"release_summary": "The first one."}


def test_a_later_release_changes_the_version_alone(tool: ModuleType, tree: Path) -> None:
    (tree / "changelogs/fragments").mkdir()
    (tree / "changelogs/fragments/show.yml").write_text("bugfixes: [show prints.]\n")
    assert tool.prepare(tree, "0.2.0", ["v0.1.0", "v0.2.0-rc1"]) == [tree / "galaxy.yml"]


@pytest.mark.parametrize(
    ("version", "tags", "words"),
    [
        ("1.0", [], "no version such as"),
        ("0.1.0", ["v0.1.0"], "not newer than 0.1.0"),
        ("0.9.0", ["v0.2.0", "v0.10.0"], "not newer than 0.10.0"),
        ("0.2.0", ["v0.1.0"], "changelogs/fragments/ is empty"),
    ],
)
def test_a_release_is_refused_before_anything_is_written(
    tool: ModuleType, tree: Path, version: str, tags: list[str], words: str
) -> None:
    before = {path: path.read_text() for path in tree.rglob("*") if path.is_file()}
    with pytest.raises(tool.ReleaseError, match=words):
        tool.prepare(tree, version, tags)
    assert {path: path.read_text() for path in tree.rglob("*") if path.is_file()} == before


def test_a_module_that_was_added_in_no_release_is_refused(tool: ModuleType, tree: Path) -> None:
    (tree / "changelogs/fragments").mkdir()
    (tree / "changelogs/fragments/show.yml").write_text("bugfixes: [show prints.]\n")
    (tree / "plugins/modules/new.py").write_text('version_added: "0.3.0"\n')
    with pytest.raises(tool.ReleaseError, match=r'new.py: version_added is "0.3.0", and this is 0.2.0'):
        tool.prepare(tree, "0.2.0", ["v0.1.0"])
    tool.prepare(tree, "0.3.0", ["v0.1.0"])


def test_without_tags_a_changelog_of_several_releases_is_refused(tool: ModuleType, tree: Path) -> None:
    (tree / "changelogs/changelog.yaml").write_text("releases: {0.1.0: {}, 0.2.0: {}}\n")
    with pytest.raises(tool.ReleaseError, match="fetch the tags"):
        tool.prepare(tree, "1.0.0", [])


def test_every_version_added_is_one_that_the_release_finds(tool: ModuleType) -> None:
    for path in tool.documented(ROOT):
        text = path.read_text(encoding="utf-8")
        assert len(tool.ADDED.findall(text)) == len(re.findall(r"^ *version_added:", text, re.MULTILINE)), path


def test_the_bill_has_each_locked_package_and_model_with_its_digest(tool: ModuleType) -> None:
    bill = json.loads(tool.bill(ROOT))
    version = read(ROOT / "galaxy.yml")["version"]
    assert bill["metadata"]["component"] == {
        "bom-ref": "collection", "type": "application", "name": "voicefleet.kokoro", "version": version,
    }  # fmt: skip
    rows = {row["bom-ref"]: row["hashes"][0]["content"] for row in bill["components"]}
    for path in (ROOT / "roles/artifact_store/files/locks").glob("pylock.*.toml"):
        for package in locks.read_lock(path).packages:
            assert rows[f"wheels/{package.filename}"] == package.sha256
    assert {row["type"] for row in bill["components"]} == {"library", "machine-learning-model", "data"}
    from ansible_collections.voicefleet.kokoro.tests.unit.plugins.plugin_utils.store.test_sbom import faults

    assert faults(bill) == []


def test_the_changelog_lists_every_plugin_of_its_releases(tool: ModuleType) -> None:
    releases = read(ROOT / "changelogs/changelog.yaml")["releases"]
    page = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8").replace("\\", "")
    for kind in ("modules", "filter", "lookup"):
        texts = {path.stem: path.read_text("utf-8") for path in (ROOT / "plugins" / kind).glob("[a-z]*.py")}
        names = {name for name, words in texts.items() if tool.ADDED.findall(words)[0][1] in releases}
        rows = [release.get(kind, []) + release.get("plugins", {}).get(kind, []) for release in releases.values()]
        listed = {row["name"]: row["description"] for each in rows for row in each}
        assert names == set(listed)
        missing = [name for name, words in listed.items() if f"* voicefleet.kokoro.{name} - {words}\n" not in page]
        assert missing == []
