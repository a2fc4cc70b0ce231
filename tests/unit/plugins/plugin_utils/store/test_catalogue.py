# SPDX-License-Identifier: GPL-3.0-or-later
"""The catalogue: pinned files, and voices that are refused with the nearest name."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.store import catalogue, profiles


def test_every_file_is_pinned() -> None:
    digests = [*catalogue.VOICES.values(), *(m.sha256 for m in catalogue.SPACY_MODELS.values())]
    digests += [catalogue.KOKORO_CONFIG[1], catalogue.KOKORO_WEIGHTS[1]]
    assert all(re.fullmatch("[0-9a-f]{64}", digest) for digest in digests)
    assert len(set(digests)) == len(digests)


def test_every_language_has_voices_and_known_spacy_models() -> None:
    for code, language in catalogue.LANGUAGES.items():
        assert catalogue.voices_of([code])
        assert set(language.spacy_models) <= set(catalogue.SPACY_MODELS)
    assert {voice[0] for voice in catalogue.VOICES} == set(catalogue.LANGUAGES)


def test_english_needs_the_spacy_model_and_spanish_does_not() -> None:
    assert [m.filename for m in catalogue.spacy_models_for(["a", "b"])] == ["en_core_web_sm-3.8.0.tar.gz"]
    assert catalogue.spacy_models_for(["e"]) == []


def test_named_models_are_added_to_the_needed_ones() -> None:
    names = [model.name for model in catalogue.spacy_models_for(["a"], ["en_core_web_trf", "en_core_web_sm"])]
    assert names == ["en_core_web_sm", "en_core_web_trf"]
    with pytest.raises(
        ValueError, match=r"'en_core_web_lg' is not known; spacy_models_extra may name .*en_core_web_trf"
    ):
        catalogue.spacy_models_for(["a"], ["en_core_web_lg"])


@pytest.mark.parametrize("name", sorted(catalogue.SPACY_MODELS))
def test_a_model_fits_spacy_by_the_published_table(name: str) -> None:
    model = catalogue.SPACY_MODELS[name]
    assert catalogue.spacy_mismatch(model, "3.8.14") is None
    assert f"{name} 3.8.0 needs spaCy 3.8.*, but the lock has 3.9.0" == catalogue.spacy_mismatch(model, "3.9.0")
    assert f"; for 3.7.5 use {name} 3.7." in str(catalogue.spacy_mismatch(model, "3.7.5"))
    assert str(catalogue.spacy_mismatch(model, None)).endswith("the lock has none")


def test_there_is_a_python_for_every_version_and_architecture() -> None:
    assert set(catalogue.PYTHONS) == {(p, a) for p in profiles.PYTHONS for a in profiles.ARCHITECTURES}
    for (feature, architecture), build in catalogue.PYTHONS.items():
        assert re.fullmatch("[0-9a-f]{64}", build.sha256)
        assert build.filename.startswith(f"cpython-{feature}.")
        assert architecture in build.filename
    assert len({build.sha256 for build in catalogue.PYTHONS.values()}) == len(catalogue.PYTHONS)


def test_no_voice_means_all_voices_of_the_languages() -> None:
    voices = catalogue.choose_voices(["b"], [])
    assert len(voices) == 8
    assert all(voice.startswith("b") for voice in voices)
    assert catalogue.choose_voices(["a"], ["am_michael", "af_heart", "af_heart"]) == ["af_heart", "am_michael"]


def test_all_mistakes_are_reported_at_once_with_the_nearest_names() -> None:
    with pytest.raises(ValueError, match="language 'x'") as caught:
        catalogue.choose_voices(["a", "x"], ["af_hart", "bf_emma"])
    message = str(caught.value)
    assert "af_hart" in message
    assert "did you mean af_heart" in message
    assert "'bf_emma' speaks British English" in message
    with pytest.raises(ValueError, match="no language"):
        catalogue.choose_voices([], [])


def test_the_page_of_voices_is_up_to_date() -> None:
    """docs/voices.md names every voice of every language; ``tools/voices_page.py`` writes it."""
    root = Path(__file__).parents[5]
    page = (root / "docs" / "voices.md").read_text()
    tool = root / "tools" / "voices_page.py"
    # Not runpy: in ansible-test, Ansible's finder takes the file for a folder of a collection.
    names: dict[str, Any] = {"__name__": "voices_page", "__file__": str(tool)}
    exec(compile(tool.read_text(), tool, "exec"), names)
    assert names["page"]() == page
    for code, language in catalogue.LANGUAGES.items():
        assert f"| `{code}` | {language.title} |" in page
    assert set(re.findall(r"\b[a-z][fm]_\w+", page)) == {*catalogue.VOICES, *catalogue.KOKORO_ZH.voices}
    assert catalogue.KOKORO_REVISION in page
