# SPDX-License-Identifier: GPL-3.0-or-later
"""The catalogue: Kokoro's files and voices, spaCy models, the needs of each language, and Pythons, with digests.

Its data are ``data/*.json`` beside this module, read and checked once. ``bin/refresh`` updates and checks them.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from . import datafile
from .datafile import Sha256

DATA = Path(__file__).resolve().parent / "data"

# Explains a missing spaCy model, the failure that led to this collection.
SPACY_REASON = (
    "Kokoro's text front end (misaki) loads it when the model starts. If it is not installed, misaki asks the internet "
    "and the launch fails with 'Max retries exceeded with url: /explosion/spacy-models/master/compatibility.json'. "
    "Run playbooks/fetch.yml on the connected machine and carry the store again. Or put the tarball of that name from "
    "https://github.com/explosion/spacy-models/releases into a folder, and fetch with "
    "artifact_store_spacy_source=file://FOLDER."
)


@dataclass(frozen=True)
class SpacyModel:
    """A spaCy pipeline package: name, version, digest and licence of its sdist, and what it requires besides spaCy.

    ``megabytes`` is the published size of the sdist; 0 if it is unknown.
    """

    name: str
    version: str
    sha256: Sha256
    licence: str
    requires: tuple[str, ...] = ()
    megabytes: float = 0.0

    @property
    def filename(self) -> str:
        return f"{self.name}-{self.version}.tar.gz"


@dataclass(frozen=True)
class PythonBuild:
    """A relocatable CPython for glibc: version, date of the build, architecture and digest of its archive."""

    version: str
    date: str
    architecture: str
    sha256: Sha256

    @property
    def feature(self) -> str:
        """The feature version, such as ``3.11``."""
        return self.version.rsplit(".", 1)[0]

    @property
    def full_version(self) -> str:
        return f"{self.version}+{self.date}"

    @property
    def filename(self) -> str:
        return f"cpython-{self.full_version}-{self.architecture}-unknown-linux-gnu-install_only_stripped.tar.gz"


@dataclass(frozen=True)
class Language:
    """A language of Kokoro: its letter (``lang_code``), its name, and its needs beyond the base release.

    ``spacy_models`` are those that misaki loads for it. ``extras`` are the extras of the locks with its packages.
    """

    code: str
    title: str
    spacy_models: tuple[str, ...] = ()
    extras: tuple[str, ...] = ()


@dataclass(frozen=True)
class Engine:
    """A wheel of the engine of a swarm, for a Python (``cp311``) and an architecture."""

    python: str
    architecture: str
    filename: str
    sha256: Sha256
    size: int
    address: str


# The spaCy model of English in languages.json. en_core_web_trf may take its place.
ENGLISH_MODEL = "en_core_web_sm"
# Japanese needs a dictionary: the light one is a Python package, the full one is UniDic's own archive.
JAPANESE_DICTIONARIES = ("light", "full")
# The extras of the locks. bin/refresh reads the packages of each from the requirements.*.in beside them.
EXTRAS = ("japanese", "japanese-light", "mandarin")


@dataclass(frozen=True)
class Dictionary:
    """An archive of a dictionary. Releases with ``extra`` need it. ``size`` and ``unpacked`` are in bytes."""

    name: str
    version: str
    extra: str
    source: str
    filename: str
    sha256: Sha256
    size: int
    unpacked: int
    licence: str


@dataclass(frozen=True)
class KokoroModel:
    """One of Kokoro's models: where it is published, and name and digest of each file.

    Releases with ``extra`` need it. If it is empty, every release does.
    """

    name: str
    repository: str
    revision: str
    licence: str
    config: tuple[str, Sha256]
    weights: tuple[str, Sha256]
    voices: Mapping[str, Sha256]
    extra: str = ""


@dataclass(frozen=True)
class HearingModel:
    """A model that hears: where it is published, and name and digest of each file. Its name is also its extra."""

    name: str
    repository: str
    revision: str
    licence: str
    files: Mapping[str, Sha256]


_KOKORO, _SPACY, _PYTHONS = (datafile.read(DATA / name) for name in ("kokoro.json", "spacy.json", "pythons.json"))
KOKORO_HUB = datafile.text(_KOKORO, "hub", "kokoro.json")
MANDARIN_MODELS = datafile.mapping(KokoroModel, _KOKORO, "models", "kokoro.json")
KOKORO, KOKORO_ZH = (MANDARIN_MODELS[version] for version in ("v1.0", "v1.1-zh"))
KOKORO_NAME, KOKORO_REPOSITORY, KOKORO_REVISION = KOKORO.name, KOKORO.repository, KOKORO.revision
KOKORO_LICENCE = KOKORO.licence
KOKORO_CONFIG, KOKORO_WEIGHTS, VOICES = KOKORO.config, KOKORO.weights, KOKORO.voices
HEARING_MODELS = datafile.mapping(HearingModel, datafile.read(DATA / "whisper.json"), "models", "whisper.json")

SPACY_RELEASES = datafile.text(_SPACY, "releases", "spacy.json")
SPACY_MODELS = datafile.keyed(datafile.rows(SpacyModel, _SPACY, "models", "spacy.json"), lambda model: model.name)
# By minor version of spaCy and name of a model: the versions of the model that fit, best first.
COMPATIBILITY: Mapping[str, Mapping[str, tuple[str, ...]]] = datafile.convert(
    Mapping[str, Mapping[str, tuple[str, ...]]],
    datafile.read(DATA / "spacy_compatibility.json").get("spacy"),
    "spacy_compatibility.json: spacy",
)

PYTHON_BUILDS = datafile.text(_PYTHONS, "releases", "pythons.json")
PYTHON_LICENCE = datafile.text(_PYTHONS, "licence", "pythons.json")
PYTHONS = datafile.keyed(
    datafile.rows(PythonBuild, _PYTHONS, "builds", "pythons.json"), lambda build: (build.feature, build.architecture)
)

_ENGINE = datafile.read(DATA / "engine.json")
ENGINE_NAME, ENGINE_VERSION, ENGINE_LICENCE = (
    datafile.text(_ENGINE, key, "engine.json") for key in ("name", "version", "licence")
)
ENGINES = datafile.keyed(
    datafile.rows(Engine, _ENGINE, "builds", "engine.json"), lambda build: (build.python, build.architecture)
)

_LANGUAGES, _DICTIONARIES = (datafile.read(DATA / name) for name in ("languages.json", "dictionaries.json"))
LANGUAGES = datafile.keyed(datafile.rows(Language, _LANGUAGES, "languages", "languages.json"), lambda row: row.code)
(UNIDIC,) = datafile.rows(Dictionary, _DICTIONARIES, "dictionaries", "dictionaries.json")
_NUMBERED = re.compile(r"z[fm]_\d{3}\Z")


def mandarin_model(version: str) -> KokoroModel:
    """The model that speaks Mandarin. Raises ValueError on an unknown version."""
    if version not in MANDARIN_MODELS:
        raise ValueError(f"kokoro_mandarin_model is {version!r}; choose {' or '.join(MANDARIN_MODELS)}")
    return MANDARIN_MODELS[version]


def model_of(voice: str) -> KokoroModel:
    """The model that a voice belongs to."""
    return KOKORO_ZH if voice in KOKORO_ZH.voices else KOKORO


def voices_of(languages: Iterable[str], mandarin: str = "v1.0") -> list[str]:
    """All voices of some languages, sorted. A voice's first letter is its language."""
    codes, model = set(languages), mandarin_model(mandarin)
    table = [*(voice for voice in VOICES if voice[0] != "z"), *(voice for voice in model.voices if voice[0] == "z")]
    return sorted(voice for voice in table if voice[0] in codes)


def _voice_mistake(voice: str, codes: list[str], mandarin: str) -> str | None:
    """What is wrong with a requested voice, with the nearest names; None if nothing is."""
    every = voices_of(LANGUAGES, mandarin)
    if voice in every and voice[0] in codes:
        return None
    if voice in every:
        title, own = LANGUAGES[voice[0]].title, voices_of(codes, mandarin)
        near = difflib.get_close_matches(voice, own, n=3, cutoff=0.5) or own[:3]
        return (
            f"voice {voice!r} speaks {title}: add {voice[0]!r} to kokoro_languages, or choose one of the configured "
            f"languages, such as {' or '.join(near) or 'none'}"
        )
    other = next((version for version, model in MANDARIN_MODELS.items() if voice in model.voices), None)
    if other is not None:
        return f"voice {voice!r} is one of Mandarin {other}: set kokoro_mandarin_model: {other}"
    near = difflib.get_close_matches(voice, every, n=3, cutoff=0.5)
    if _NUMBERED.match(voice):
        return (
            f"voice {voice!r} is not in the catalogue: {KOKORO_ZH.name} (kokoro_mandarin_model: v1.1-zh) has "
            f"{' and '.join(KOKORO_ZH.voices)}"
        )
    return f"voice {voice!r} does not exist" + (f"; did you mean {' or '.join(near)}?" if near else "")


def choose_voices(languages: Iterable[str], voices: Iterable[str], mandarin: str = "v1.0") -> list[str]:
    """The requested voices, or all voices of the languages if none is named. Raises ValueError with every mistake."""
    codes, wanted = list(languages), list(voices)
    mistakes = [
        f"language {code!r} is not known; choose from {', '.join(f'{k} ({v.title})' for k, v in LANGUAGES.items())}"
        for code in codes
        if code not in LANGUAGES
    ]
    if not codes:
        mistakes.append("no language is configured; kokoro_languages: [a] is American English")
    known = [code for code in codes if code in LANGUAGES]
    mistakes += [mistake for voice in wanted if (mistake := _voice_mistake(voice, known, mandarin))]
    if mistakes:
        raise ValueError("; ".join(mistakes))
    return sorted(set(wanted)) or voices_of(codes, mandarin)


def hearing_model(name: str) -> HearingModel | None:
    """The model that hears, or None for ``none``. Raises ValueError on an unknown name."""
    if name not in ("none", *HEARING_MODELS):
        raise ValueError(f"xinference_hearing_model is {name!r}; choose none or {' or '.join(HEARING_MODELS)}")
    return HEARING_MODELS.get(name)


def extras_for(languages: Iterable[str], dictionary: str = "light", mandarin: str = "v1.0") -> tuple[str, ...]:
    """The extras that languages need beyond the base release, sorted.

    ``dictionary`` is the Japanese one, ``mandarin`` the version of the model. The locks know the extras in EXTRAS. The
    others stand for a dictionary or a model. Raises ValueError.
    """
    if dictionary not in JAPANESE_DICTIONARIES:
        raise ValueError(f"kokoro_japanese_dictionary is {dictionary!r}; choose {' or '.join(JAPANESE_DICTIONARIES)}")
    found = {extra for code in languages for extra in LANGUAGES[code].extras}
    if "japanese" in found:
        found.add(f"japanese-{dictionary}")
    if "mandarin" in found:
        found.add(mandarin_model(mandarin).extra)
    return tuple(sorted(found - {""}))


def spacy_of(extras: Iterable[str], english: str = ENGLISH_MODEL) -> list[str]:
    """The spaCy models that extras need: the newer Mandarin model reads English words as American English does."""
    return [english] if KOKORO_ZH.extra in extras else []


def spacy_models_for(
    languages: Iterable[str], extra: Iterable[str] = (), english: str = ENGLISH_MODEL
) -> list[SpacyModel]:
    """The spaCy models that misaki loads for some languages, and those named in ``extra``, sorted by name.

    ``english`` is the model of English. Raises ValueError on a name that the catalogue does not have.
    """
    loaded = {name for code in languages for name in LANGUAGES[code].spacy_models}
    names = {english if name == ENGLISH_MODEL else name for name in loaded} | set(extra)
    unknown = sorted(names - SPACY_MODELS.keys())
    if unknown:
        raise ValueError(
            f"spaCy model {', '.join(map(repr, unknown))} is not known; spacy_models_extra may name "
            f"{', '.join(sorted(SPACY_MODELS))}"
        )
    return [SPACY_MODELS[name] for name in sorted(names)]


def spacy_mismatch(model: SpacyModel, spacy: str | None) -> str | None:
    """Why a model does not fit a version of spaCy, by the published compatibility table; None if it fits."""
    minor = ".".join((spacy or "").split(".")[:2])
    suiting = COMPATIBILITY.get(minor, {}).get(model.name, ())
    if model.version in suiting:
        return None
    need = " or ".join(
        f"{key}.*" for key, models in COMPATIBILITY.items() if model.version in models.get(model.name, ())
    )
    hint = f"; for {spacy} use {model.name} {suiting[0]}" if suiting else ""
    have = spacy or "none"
    return f"{model.name} {model.version} needs spaCy {need or 'of another version'}, but the lock has {have}{hint}"
