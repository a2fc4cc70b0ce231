# SPDX-License-Identifier: GPL-3.0-or-later
"""What can be fetched, pinned: Kokoro's files and voices, spaCy models, what each language needs, and Python itself.

Digests are those that the publishers' files have: Kokoro-82M at the revision below (Hugging Face, hexgrad/Kokoro-82M;
its model card and VOICES.md name the first digits), spaCy's model releases on GitHub (explosion/spacy-models), and the
CPython builds that uv 0.13.9 would choose (astral-sh/python-build-standalone).
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from .spacy_compatibility import COMPATIBILITY

KOKORO_NAME = "Kokoro-82M"
KOKORO_REPOSITORY = "hexgrad/Kokoro-82M"
KOKORO_REVISION = "f3ff3571791e39611d31c381e3a41a3af07b4987"
KOKORO_LICENCE = "Apache-2.0"
KOKORO_HUB = "https://huggingface.co"
KOKORO_CONFIG = ("config.json", "5abb01e2403b072bf03d04fde160443e209d7a0dad49a423be15196b9b43c17f")
KOKORO_WEIGHTS = ("kokoro-v1_0.pth", "496dba118d1a58f5f3db2efc88dbdc216e0483fc89fe6e47ee1f2c53f18ad1e4")

SPACY_RELEASES = "https://github.com/explosion/spacy-models/releases/download"

# Told wherever a spaCy model is missing: the failure that this collection exists for.
SPACY_REASON = (
    "Kokoro's text front end (misaki) loads it when the model starts; where it is not installed, it asks the internet "
    "and the launch dies with 'Max retries exceeded with url: /explosion/spacy-models/master/compatibility.json'. "
    "Run playbooks/fetch.yml on the connected machine and carry the store again, or put the tarball of that name from "
    "https://github.com/explosion/spacy-models/releases into a folder and fetch with artifact_store_spacy_source=file://FOLDER."
)


@dataclass(frozen=True)
class SpacyModel:
    """A spaCy pipeline package: its sdist's name, version, digest and licence, and what it requires beside spaCy."""

    name: str
    version: str
    sha256: str
    licence: str
    requires: tuple[str, ...] = ()

    @property
    def filename(self) -> str:
        return f"{self.name}-{self.version}.tar.gz"


SPACY_MODELS = {
    model.name: model
    for model in (
        SpacyModel(
            "en_core_web_sm",
            "3.8.0",
            "14a2f31bc476af87019819ea8c9948fabdfd473a442edd6b1cba62bf0c2c0f55",
            "MIT",
        ),
        SpacyModel(
            "en_core_web_trf",
            "3.8.0",
            "eaed18a77cbd6fad1b0605d2535c2091010d9aaf87b6264c2080042dd394621f",
            "MIT",
            ("spacy-curated-transformers>=0.2.2,<1.0.0",),
        ),
    )
}

PYTHON_BUILDS = "https://github.com/astral-sh/python-build-standalone/releases/download"
PYTHON_LICENCE = "PSF-2.0"


@dataclass(frozen=True)
class PythonBuild:
    """A relocatable CPython for glibc: version, date of the build, processor architecture, digest of its archive."""

    version: str
    date: str
    architecture: str
    sha256: str

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


# Without debug symbols and static libraries: some 30 MB each. A newer one is pinned from what the uv of requirements.in
# chooses: `uv python list --show-urls`.
PYTHONS = {
    (build.feature, build.architecture): build
    for build in (
        PythonBuild(
            "3.10.22", "20261009", "x86_64", "caa66b308e10f35b8114054df7d927903f971f631cfa3237b84c40d5d5f35549"
        ),
        PythonBuild(
            "3.10.22", "20261009", "aarch64", "ecbe978a7ecbeb3a9aed67bb5d161180701513b4fa8101037b2a3f1ac11e96be"
        ),
        PythonBuild(
            "3.11.18", "20261110", "x86_64", "3288c54cea3db350052019b3f8b558dd8a3da8afa6fda573f5fd2bcb37635b4a"
        ),
        PythonBuild(
            "3.11.18", "20261110", "aarch64", "7e71f26a003949b57757e287f4f4b6689da07e7a229f5bbee7919c19ed77155d"
        ),
        PythonBuild(
            "3.12.16", "20261110", "x86_64", "6a9e62dad033790aef722dbd370e0ce76ce17b73627ba3ae679f537049350b39"
        ),
        PythonBuild(
            "3.12.16", "20261110", "aarch64", "b6a41defec4975d94b4ff1950236e7383e5c02ba40ea48c9ec33c66087a35aab"
        ),
    )
}


@dataclass(frozen=True)
class Language:
    """A language of Kokoro: its letter (``lang_code``), its name, and what it needs beside what every release has.

    ``spacy_models`` are those that misaki loads for it, ``extras`` those of the locks with its Python packages.
    """

    code: str
    title: str
    spacy_models: tuple[str, ...] = ()
    extras: tuple[str, ...] = ()


# Japanese is read by a dictionary: the light one is a Python package, UniDic's own an archive that is unpacked.
JAPANESE_DICTIONARIES = ("light", "full")
# The extras of the locks; bin/refresh-locks takes what each needs from the requirements.*.in beside them.
EXTRAS = ("japanese", "japanese-light", "mandarin")


@dataclass(frozen=True)
class Dictionary:
    """An archive of a dictionary: ``extra`` is what a release has that needs it, ``size`` and ``unpacked`` in bytes."""

    name: str
    version: str
    extra: str
    source: str
    filename: str
    sha256: str
    size: int
    unpacked: int
    licence: str


# As unidic-py 1.1.0 downloads it; digest and sizes as those who check them publish them alike, among them the builds
# of several speech programs (Hangry-Labs/kokoroTTS).
UNIDIC = Dictionary(
    "unidic",
    "3.1.0",
    "japanese-full",
    "https://cotonoha-dic.s3-ap-northeast-1.amazonaws.com",
    "unidic-3.1.0.zip",
    "638718c4c63625ab300de4c92c67925d54c0e9e3830009eaa992f29819d59c43",
    525_943_040,
    811_662_881,
    "GPL-2.0 OR LGPL-2.1 OR BSD-3-Clause",
)

LANGUAGES = {
    language.code: language
    for language in (
        Language("a", "American English", ("en_core_web_sm",)),
        Language("b", "British English", ("en_core_web_sm",)),
        Language("e", "Spanish"),
        Language("f", "French"),
        Language("h", "Hindi"),
        Language("i", "Italian"),
        Language("j", "Japanese", extras=("japanese",)),
        Language("p", "Brazilian Portuguese"),
        Language("z", "Mandarin Chinese", extras=("mandarin",)),
    )
}

VOICES = {
    "af_alloy": "6d877149dd8b348fbad12e5845b7e43d975390e9f3b68a811d1d86168bef5aa3",
    "af_aoede": "c03bd1a4c3716c2d8eaa3d50022f62d5c31cfbd6e15933a00b17fefe13841cc4",
    "af_bella": "8cb64e02fcc8de0327a8e13817e49c76c945ecf0052ceac97d3081480e8e48d6",
    "af_heart": "0ab5709b8ffab19bfd849cd11d98f75b60af7733253ad0d67b12382a102cb4ff",
    "af_jessica": "cdfdccb8cc975aa34ee6b89642963b0064237675de0e41a30ae64cc958dd4e87",
    "af_kore": "8bfbc512321c3db49dff984ac675fa5ac7eaed5a96cc31104d3a9080e179d69d",
    "af_nicole": "c5561808bcf5250fe8c5f5de32caf2d94f27e57e95befdb098c5c85991d4c5da",
    "af_nova": "e0233676ddc21908c37a1f102f6b88a59e4e5c1bd764983616eb9eda629dbcd2",
    "af_river": "e149459bd9c084416b74756b9bd3418256a8b839088abb07d463730c369dab8f",
    "af_sarah": "49bd364ea3be9eb3e9685e8f9a15448c4883112a7c0ff7ab139fa4088b08cef9",
    "af_sky": "c799548aed06e0cb0d655a85a01b48e7f10484d71663f9a3045a5b9362e8512c",
    "am_adam": "ced7e284aba12472891be1da3ab34db84cc05cc02b5889535796dbf2d8b0cb34",
    "am_echo": "8bcfdc852bc985fb45c396c561e571ffb9183930071f962f1b50df5c97b161e8",
    "am_eric": "ada66f0eefff34ec921b1d7474d7ac8bec00cd863c170f1c534916e9b8212aae",
    "am_fenrir": "98e507eca1db08230ae3b6232d59c10aec9630022d19accac4f5d12fcec3c37a",
    "am_liam": "c82550757ddb31308b97f30040dda8c2d609a9e2de6135848d0a948368138518",
    "am_michael": "9a443b79a4b22489a5b0ab7c651a0bcd1a30bef675c28333f06971abbd47bd37",
    "am_onyx": "e8452be16cd0f6da7b4579eaf7b1e4506e92524882053d86d72b96b9a7fed584",
    "am_puck": "dd1d8973f4ce4b7d8ae407c77a435f485dabc052081b80ea75c4f30b84f36223",
    "am_santa": "7f2f7582fa2b1f160e90aafe6d0b442a685e773608b6667e545d743b073e97a7",
    "bf_alice": "d292651b6af6c0d81705c2580dcb4463fccc0ff7b8d618a471dbb4e45655b3f3",
    "bf_emma": "d0a423deabf4a52b4f49318c51742c54e21bb89bbbe9a12141e7758ddb5da701",
    "bf_isabella": "cdd4c37003805104d1d08fb1e05855c8fb2c68de24ca6e71f264a30aaa59eefd",
    "bf_lily": "6e09c2e481e2d53004d7e5ae7d3a325369e130a6f45c35a6002de75084be9285",
    "bm_daniel": "fc3fce4e9c12ed4dbc8fa9680cfe51ee190a96444ce7c3ad647549a30823fc5d",
    "bm_fable": "d44935f3135257a9064df99f007fc1342ff1aa767552b4a4fa4c3b2e6e59079c",
    "bm_george": "f1bc812213dc59774769e5c80004b13eeb79bd78130b11b2d7f934542dab811b",
    "bm_lewis": "b5204750dcba01029d2ac9cec17aec3b20a6d64073c579d694a23cb40effbd0e",
    "ef_dora": "d9d69b0f8a2b87a345f269d89639f89dfbd1a6c9da0c498ae36dd34afcf35530",
    "em_alex": "5eac53f767c3f31a081918ba531969aea850bed18fe56419b804d642c6973431",
    "em_santa": "aa8620cb96cec705823efca0d956a63e158e09ad41aca934d354b7f0778f63cb",
    "ff_siwis": "8073bf2d2c4b9543a90f2f0fd2144de4ed157e2d4b79ddeb0d5123066171fbc9",
    "hf_alpha": "06906fe05746d13a79c5c01e21fd7233b05027221a933c9ada650f5aafc8f044",
    "hf_beta": "63c0a1a6272e98d43f4511bba40e30dd9c8ceaf5f39af869509b9f51a71c503e",
    "hm_omega": "b55f02a8e8483fffe0afa566e7d22ed8013acf47ad4f6bbee2795a840155703e",
    "hm_psi": "2f0f055cea4f1083f4ef127ece48d71606347f6557dbb961c0ca5740a2da485b",
    "if_sara": "6c0b253b955fe32f1a1a86006aebe83d050ea95afd0e7be15182f087deedbf55",
    "im_nicola": "234ed06648649f9bd874b37508ea17560b9c993ef85b4ddb3e3a71e062bd2c12",
    "jf_alpha": "1bf4c9dc69e45ee46183b071f4db766349aac5592acbcfeaf051018048a5d787",
    "jf_gongitsune": "1b171917f18f351e65f2bf9657700cd6bfec4e65589c297525b9cf3c20105770",
    "jf_nezumi": "d83f007a7f01783b77014561a7d493d327a0210e143440e91c9b697590d27661",
    "jf_tebukuro": "0d6917904438aec85f73a6fa1f7ac2be6481aae47c697834936930a91796c576",
    "jm_kumo": "98340afd68b1cee84fe0cd95528cfa6d4b39e416aa75a9df64049d52c8b55896",
    "pf_dora": "07e4ff987c5d5a8c3995efd15cc4f0db7c4c15e881b198d8ab7f67ecf51f5eb7",
    "pm_alex": "cf0ba8c573c2480fc54123683a35cf1e2ae130428e441eb91f9149bdb188a526",
    "pm_santa": "d42103169c5c872abbafb9129133af7e942bb9d272c3cc3b95c203e7d7198c29",
    "zf_xiaobei": "9b76be63dab4f4f96962030acc0126a9aee9728608fbbe115e2b58a2bd504df6",
    "zf_xiaoni": "95b49f169bf1640f4f43c25e13daa39f7b98d15d00823e83ef5c14b3ced59e49",
    "zf_xiaoxiao": "cfaf6f2ded1ee56f1ff94fcd2b0e6cdf32e5b794bdc05b44e7439d44aef5887c",
    "zf_xiaoyi": "b5235dbaeef85a4c613bf78af9a88ff63c25bac5f26ba77e36186d8b7ebf05e2",
    "zm_yunjian": "76cbf8bad35901d011d9628a2fdceb7b4f1f127e7a3269cb393b3941eb7fc417",
    "zm_yunxi": "dbe6e1ce7c3dbaf2f5667432947b638b1c6831ccbe154c4610dbcc44f431e27b",
    "zm_yunxia": "bb2b03b08e84d64e1214440ce3b624987fac177f2eeb5bab8571799a3d980acd",
    "zm_yunyang": "5238ac22e0c7f8b6cdd2eddd6e444b8a700b73c4674d9a047d59a94ff96379a2",
}


@dataclass(frozen=True)
class KokoroModel:
    """One of Kokoro's models: where it is published, and name and digest of each file.

    ``extra`` is what a release has that needs it, "" for the one that each has.
    """

    name: str
    repository: str
    revision: str
    config: tuple[str, str]
    weights: tuple[str, str]
    voices: Mapping[str, str]
    extra: str = ""


KOKORO = KokoroModel(KOKORO_NAME, KOKORO_REPOSITORY, KOKORO_REVISION, KOKORO_CONFIG, KOKORO_WEIGHTS, VOICES)
# Of its hundred voices these are pinned: of the others no digest is published that could be confirmed.
KOKORO_ZH = KokoroModel(
    "Kokoro-82M-v1.1-zh",
    "hexgrad/Kokoro-82M-v1.1-zh",
    "01e7505bd6a7a2ac4975463114c3a7650a9f7218",
    ("config.json", "bc333efa5ce4ceff433c8c8e5d027a1eca0166001e4e4a62bea2d26ff7a46890"),
    ("kokoro-v1_1-zh.pth", "b1d8410fa44dfb5c15471fd6c4225ea6b4e9ac7fa03c98e8bea47a9928476e2b"),
    {
        "zf_001": "9bdc9a87e13e9bb1ea3e7803259c2ecbfebaeeb2ff80b5d0c76df1a464c1c962",
        "zm_010": "d2eeba86192eee269f600ca6821038034abd017532a1fe68ff7b0e86c2983b2a",
    },
    "mandarin-1.1",
)
MANDARIN_MODELS = {"v1.0": KOKORO, "v1.1-zh": KOKORO_ZH}
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
    """What is wrong with a voice that was asked for, with the nearest names; None where nothing is."""
    every = voices_of(LANGUAGES, mandarin)
    if voice in every and voice[0] in codes:
        return None
    if voice in every:
        title, own = LANGUAGES[voice[0]].title, voices_of(codes, mandarin)
        near = difflib.get_close_matches(voice, own, n=3, cutoff=0.5) or own[:3]
        return (
            f"voice {voice!r} speaks {title}: add {voice[0]!r} to kokoro_languages, or take one of the configured "
            f"languages, such as {' or '.join(near) or 'none'}"
        )
    other = next((version for version, model in MANDARIN_MODELS.items() if voice in model.voices), None)
    if other is not None:
        return f"voice {voice!r} is one of Mandarin {other}: set kokoro_mandarin_model: {other}"
    near = difflib.get_close_matches(voice, every, n=3, cutoff=0.5)
    if _NUMBERED.match(voice):
        return (
            f"voice {voice!r} is not pinned: of {KOKORO_ZH.name} (kokoro_mandarin_model: v1.1-zh) there are "
            f"{' and '.join(KOKORO_ZH.voices)}"
        )
    return f"voice {voice!r} does not exist" + (f"; did you mean {' or '.join(near)}?" if near else "")


def choose_voices(languages: Iterable[str], voices: Iterable[str], mandarin: str = "v1.0") -> list[str]:
    """The voices that were asked for, or all of the languages where none was. Raises ValueError with every mistake."""
    codes, wanted = list(languages), list(voices)
    mistakes = [
        f"language {code!r} is not known; choose from {', '.join(f'{k} ({v.title})' for k, v in LANGUAGES.items())}"
        for code in codes
        if code not in LANGUAGES
    ]
    if not codes:
        mistakes.append("no language was named; kokoro_languages: [a] is American English")
    known = [code for code in codes if code in LANGUAGES]
    mistakes += [mistake for voice in wanted if (mistake := _voice_mistake(voice, known, mandarin))]
    if mistakes:
        raise ValueError("; ".join(mistakes))
    return sorted(set(wanted)) or voices_of(codes, mandarin)


def extras_for(languages: Iterable[str], dictionary: str = "light", mandarin: str = "v1.0") -> tuple[str, ...]:
    """What some languages need beside what every release has, sorted.

    ``dictionary`` is the one of Japanese, ``mandarin`` the version of the model for it. Of these, the locks have those
    of EXTRAS; the others are that of a dictionary and of a model. Raises ValueError.
    """
    if dictionary not in JAPANESE_DICTIONARIES:
        raise ValueError(f"kokoro_japanese_dictionary is {dictionary!r}; choose {' or '.join(JAPANESE_DICTIONARIES)}")
    found = {extra for code in languages for extra in LANGUAGES[code].extras}
    if "japanese" in found:
        found.add(f"japanese-{dictionary}")
    if "mandarin" in found:
        found.add(mandarin_model(mandarin).extra)
    return tuple(sorted(found - {""}))


def spacy_of(extras: Iterable[str]) -> list[str]:
    """The names of spaCy models that extras need: the newer Mandarin reads English words as American English does."""
    return list(LANGUAGES["a"].spacy_models) if KOKORO_ZH.extra in extras else []


def spacy_models_for(languages: Iterable[str], extra: Iterable[str] = ()) -> list[SpacyModel]:
    """The spaCy models that misaki loads for some languages, and those named beside them, sorted by name.

    Raises ValueError on a name that the catalogue does not have.
    """
    names = {name for code in languages for name in LANGUAGES[code].spacy_models} | set(extra)
    unknown = sorted(names - SPACY_MODELS.keys())
    if unknown:
        raise ValueError(
            f"spaCy model {', '.join(map(repr, unknown))} is not known; spacy_models_extra may name "
            f"{', '.join(sorted(SPACY_MODELS))}"
        )
    return [SPACY_MODELS[name] for name in sorted(names)]


def spacy_mismatch(model: SpacyModel, spacy: str | None) -> str | None:
    """Why a model does not suit a version of spaCy, by the published compatibility table; None where it does."""
    minor = ".".join((spacy or "").split(".")[:2])
    suiting = COMPATIBILITY.get(minor, {}).get(model.name, ())
    if model.version in suiting:
        return None
    need = " or ".join(
        f"{key}.*" for key, models in COMPATIBILITY.items() if model.version in models.get(model.name, ())
    )
    hint = f"; for {spacy} it is {model.name} {suiting[0]}" if suiting else ""
    return f"{model.name} {model.version} needs spaCy {need or 'of another version'}, locked is {spacy or 'none'}{hint}"
