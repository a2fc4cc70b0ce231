# SPDX-License-Identifier: GPL-3.0-or-later
"""The selection: languages, voices, dictionary and models, the same for store, host, repair and image."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from ...module_utils.release.patches import Patch, needed_for
from . import catalogue


def setting(name: str) -> dict[str, str]:
    """The metadata of a dataclass field that takes its value from a setting of the role settings."""
    return {"setting": name}


def given(kind: Any, settings: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a dataclass that are settings, with their values."""
    names = {each.name: each.metadata["setting"] for each in fields(kind) if "setting" in each.metadata}
    return {name: settings[variable] for name, variable in names.items()}


@dataclass
class Selection:
    """The operator's selection. No voices means all voices of the languages."""

    languages: Sequence[str] = field(metadata=setting("kokoro_languages"))
    voices: Sequence[str] = field(metadata=setting("kokoro_voices"))
    spacy_models: Sequence[str] = field(metadata=setting("spacy_models_extra"), default=())
    japanese_dictionary: str = field(metadata=setting("kokoro_japanese_dictionary"), default="light")
    mandarin_model: str = field(metadata=setting("kokoro_mandarin_model"), default="v1.0")
    english_model: str = field(metadata=setting("kokoro_english_model"), default=catalogue.ENGLISH_MODEL)

    hearing_model: str = field(metadata=setting("xinference_hearing_model"), default="none")

    @property
    def extras(self) -> tuple[str, ...]:
        """What languages and hearing need beyond the base release. Raises ValueError on an unknown name."""
        own = catalogue.extras_for(self.languages, self.japanese_dictionary, self.mandarin_model)
        return (*own, *self.hearing)

    @property
    def hearing(self) -> tuple[str, ...]:
        """The name of the model that hears, or nothing."""
        model = catalogue.hearing_model(self.hearing_model)
        return (model.name,) if model else ()

    @property
    def english(self) -> str:
        """The spaCy model with which English is read; empty if nothing reads English."""
        read = catalogue.spacy_models_for(self.languages, catalogue.spacy_of(self.extras))
        return self.english_model if read else ""

    @property
    def more_spacy_models(self) -> list[str]:
        """Names of spaCy models beyond those that the languages load."""
        return [*self.spacy_models, *catalogue.spacy_of(self.extras, self.english_model)]

    @property
    def chosen_spacy_models(self) -> list[catalogue.SpacyModel]:
        """All spaCy models, sorted by name. Raises ValueError on an unknown name."""
        return catalogue.spacy_models_for(self.languages, self.more_spacy_models, self.english_model)

    @property
    def chosen_voices(self) -> list[str]:
        """The requested voices, or all. Raises ValueError with every mistake."""
        return catalogue.choose_voices(self.languages, self.voices, self.mandarin_model)

    @property
    def language_models(self) -> dict[str, str]:
        """The languages that another model than Kokoro-82M speaks, each with the name of that model."""
        return {"z": catalogue.KOKORO_ZH.name} if catalogue.KOKORO_ZH.extra in self.extras else {}

    def repairs(self, asked: Iterable[Patch]) -> list[Patch]:
        """Return the repairs that were asked for, and those without which the languages do not work."""
        wanted = list(asked)
        needs = (*self.extras, self.english, "languages" if len(self.languages) > 1 else "")
        return [*wanted, *(patch for patch in needed_for(filter(None, needs)) if patch not in wanted)]


@dataclass(kw_only=True)
class Wanted(Selection):
    """What the operator wants to run: the selection, the repairs of upstream's files, and what may be in the store."""

    patches: Sequence[Patch] = ()
    accept_unpublished: bool = False

    @property
    def all_patches(self) -> list[Patch]:
        """The repairs that were asked for, and those without which the languages do not work."""
        return self.repairs(self.patches)
