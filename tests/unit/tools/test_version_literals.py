# SPDX-License-Identifier: GPL-3.0-or-later
"""A pinned version is written once and derived everywhere else."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.store import catalogue

ROOT = Path(__file__).resolve().parents[3]
pytestmark = pytest.mark.skipif(sys.version_info < (3, 11), reason="tools run on the developer's machine")


def load(path: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(Path(path).stem, ROOT / path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def literals() -> ModuleType:
    return load("tools/version_literals.py")


def test_every_pin_is_known(literals: ModuleType) -> None:
    wanted = {"xinference", "kokoro", "misaki", "torch", "uv", *literals.ONLY_OUTSIDE_TESTS}
    assert wanted <= literals.pins().keys()
    assert all(version for versions in literals.pins().values() for version in versions)


def test_no_version_is_written_if_it_can_be_derived(literals: ModuleType) -> None:
    """Texts say "the locked Xinference" or name docs/versions.md; tests read the locks or make a version up."""
    assert {name: places for name, places in literals.stray_literals().items() if places} == {}


def test_xinferences_version_is_written_in_one_place(literals: ModuleType) -> None:
    (place,) = literals.pinned_by_hand("xinference")
    assert place.startswith("roles/artifact_store/files/locks/requirements.in:")


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("xinference 1.2.3", True),
        ('release="1.2.3-0123456789ab"', True),
        ("xinference-1.2.3-py3-none-any.whl", True),
        ("ends with 1.2.3.", True),
        ("1.2.34 11.2.3 1.2.3.4 0.1.2.3 1x2.3", False),
    ],
)
def test_only_the_pinned_version_is_found(
    literals: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, line: str, found: bool
) -> None:
    monkeypatch.setattr(literals, "ROOT", tmp_path)
    (tmp_path / "page.md").write_text(f"# Page\n{line}\n")
    assert literals.literals("1.2.3", [tmp_path / "page.md"]) == (["page.md:2"] if found else [])


def test_the_beginning_of_xinferences_version_is_found_after_its_name(
    literals: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "page.md").write_text(
        "Xinference 1.2 hangs.\nBefore 1.2, Xinference hung.\nXinference 1.23\ntorch 9.8\n"
    )
    monkeypatch.setattr(literals, "ROOT", tmp_path)
    monkeypatch.setattr(literals, "files", lambda: [tmp_path / "page.md"])
    monkeypatch.setattr(literals, "pins", lambda: {"xinference": {"1.2.3"}, "torch": {"9.8.7"}})
    assert literals.stray_literals() == {"xinference": ["page.md:1"], "torch": []}


def test_the_stand_ins_match_the_models_in_the_catalogue(literals: ModuleType) -> None:
    """Their maker names the models itself: whatever changes it makes all stand-ins again."""
    assert literals.PINNED.match("tools/standins/make.py")
    make = load("tools/standins/make.py")
    assert {model.version for model in catalogue.SPACY_MODELS.values()} == {make.SPACY_VERSION}
    assert (catalogue.KOKORO_WEIGHTS[0], catalogue.KOKORO_ZH.name) == (make.WEIGHTS, make.MANDARIN)
    assert set(make.VOICES) <= set(catalogue.VOICES)
    assert tuple(catalogue.KOKORO_ZH.voices) == make.MANDARIN_VOICES
    assert {voice[0] for voice in make.VOICES} == set(catalogue.LANGUAGES)
