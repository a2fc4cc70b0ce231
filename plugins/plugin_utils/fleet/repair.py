# SPDX-License-Identifier: GPL-3.0-or-later
"""Judge a place that has Xinference, and plan its repair from a store: what it lacks, what fits, what cannot be done.

Nothing here reads the place. ``module_utils/repair/program.py`` reports what it holds.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ...module_utils.host import sources
from ..store import catalogue, selection
from ..store.manifest import Artifact, Manifest, unpublished
from ..store.profiles import PYTHONS

with contextlib.suppress(ImportError):  # ansible-core brings it, but ansible-test imports this file without
    from packaging.requirements import InvalidRequirement, Requirement
    from packaging.tags import compatible_tags, cpython_tags
    from packaging.utils import canonicalize_name
    from packaging.version import InvalidVersion, Version

Json = dict[str, Any]

# The versions of Xinference that the repair was tried with.
TRIED = ("3.5", "4.0", "4.1")
MODEL_KINDS = ("kokoro-config", "kokoro-weights", "kokoro-voice", "hearing-model")
# What Kokoro needs in any language. Xinference writes sound with soundfile.
ROOTS = ("kokoro", "misaki[en]", "soundfile")
# What Xinference needs to hear with Whisper, and what the repairs need that add streams and formats.
HEARING = ("scipy", "transformers")
OF_PATCHES = {"serving-model": ("av",), "serving-api": ("av",)}
# Packages that others require but Kokoro never uses. Not every platform has a wheel of them.
UNUSED = frozenset({"torchvision", "timm", "sounddevice", "pyopenjtalk", "mojimoji"})
# Requirements of these are the operator's: a torch for another accelerator has others.
WHOLE = frozenset({"torch"})
# Python runs this file at each start of the environment. Variables that are set already win.
SETTINGS_FILE = "site:voicefleet-repair.pth"
SETTINGS = {"XINFERENCE_ENABLE_VIRTUAL_ENV": "0", "XINFERENCE_MODEL_SRC": "huggingface", "HF_HUB_OFFLINE": "1"}
SPARE = 200_000_000  # bytes that must stay free
PARTS = ("packages", "spacy", "kokoro", "patches", "settings")
UNPACKED = 5  # a wheel takes up to so many times its size while it is unpacked and placed


class Stop(Exception):
    """A setting cannot be used; the message says why."""


@dataclass(frozen=True)
class Finding:
    """One observation. An error stops the repair before any change."""

    code: str
    error: bool
    sentence: str

    def __str__(self) -> str:
        return f"{'ERROR' if self.error else 'warning'} {self.code}: {self.sentence}"


@dataclass(kw_only=True)
class Wanted(selection.Wanted):
    """What a repair shall give a place."""

    packages: Sequence[str] = ()
    settings: Mapping[str, str] = field(default_factory=lambda: dict(SETTINGS))
    parts: Sequence[str] = PARTS


@dataclass
class Verdict:
    """What is to be done in a place, and what was found there."""

    plan: Json
    findings: list[Finding]
    table: list[str]

    @property
    def errors(self) -> list[Finding]:
        return [finding for finding in self.findings if finding.error]


def _row(artifact: Artifact) -> Json:
    names = ("path", "sha256", "size", "kind", "name", "version", "source")
    return {name: getattr(artifact, name) for name in names}


def _place_of(artifact: Artifact) -> str:
    """Where Xinference looks for a file of a model, below its home."""
    _top, model, rest = artifact.path.split("/", 2)
    return f"home:cache/v2/{model.replace('.', '_')}/{rest}"


def models(manifest: Manifest, wanted: Wanted) -> list[Artifact]:
    """The files of the models that the selection needs. Empty if they are not wanted."""
    if "kokoro" not in wanted.parts:
        return []
    voices, extras = set(wanted.chosen_voices), set(wanted.extras)
    return [
        artifact
        for artifact in manifest.of_kind(*MODEL_KINDS)
        if (artifact.kind != "kokoro-voice" or artifact.name in voices)
        and (not artifact.extras or extras & set(artifact.extras))
    ]


def settings_text(settings: Mapping[str, str]) -> str:
    """The line that Python runs at each start. Raises Stop for a setting that no environment can hold."""
    for name, value in settings.items():
        if not re.match(r"[A-Z][A-Z0-9_]*\Z", name) or not re.match(r"[ -~]*\Z", value):
            raise Stop(f"repair_settings: {name}={value!r} is no environment variable of printable ASCII")
    pairs = json.dumps(dict(sorted(settings.items())))
    return f"import os; [os.environ.setdefault(name, value) for name, value in {pairs}.items()]\n"


def wishes(manifest: Manifest, wanted: Wanted) -> Json:
    """What a place shall have, whatever it has already: the request for its inspection. Raises ValueError, Stop."""
    files, links, texts = [], [], []
    for artifact in models(manifest, wanted):
        files.append({"to": _place_of(artifact), "sha256": artifact.sha256, "size": artifact.size})
        if artifact.kind == "kokoro-voice":
            # Blends, and versions of Xinference that do not look beside the model, ask the hub's cache for a voice.
            model = catalogue.model_of(artifact.name)
            hub = f"home:huggingface/models--{model.repository.replace('/', '--')}"
            to = f"{hub}/snapshots/@main/voices/{artifact.name}.pt"
            ref = {"to": f"{hub}/refs/main", "text": model.revision, "keep": True}
            links.append({"to": to, "leads": _place_of(artifact), "ref": ref["to"], "revision": model.revision})
            if ref not in texts:
                texts.append(ref)
    if wanted.settings and "settings" in wanted.parts:
        texts.append({"to": SETTINGS_FILE, "text": settings_text(wanted.settings)})
    patches = [patch.name for patch in wanted.all_patches] if "patches" in wanted.parts else []
    return {"files": files, "links": links, "texts": texts, "patches": patches, "roots": _roots(manifest, wanted)}


def _roots(manifest: Manifest, wanted: Wanted) -> list[str]:
    """The packages that the selection needs, as names without extras."""
    return [re.split(r"\[", name)[0] for name in _needs(manifest, wanted)]


def _needs(manifest: Manifest, wanted: Wanted) -> list[str]:
    extras = set(wanted.extras)
    own = {artifact.name for artifact in manifest.of_kind("wheel") if extras & set(artifact.extras)}
    own |= {name for patch in wanted.patches for name in OF_PATCHES.get(patch.name, ())}
    own |= {*wanted.packages, *(HEARING if wanted.hearing else ())}
    return [*ROOTS, *sorted(own)]


# --- packages ---


def tags_of(python: Mapping[str, Any]) -> dict[str, int]:
    """The wheel tags that an interpreter can install, with their ranks."""
    if python.get("implementation") != "cpython":
        return {}
    major, minor = (int(part) for part in str(python["version"]).split(".")[:2])
    machine, (libc, version) = str(python["machine"]), (*python["libc"], "", "")[:2]
    platforms = []
    if libc == "glibc":
        newest = int(str(version).split(".")[1])
        legacy = {17: "manylinux2014", 12: "manylinux2010", 5: "manylinux1"}
        for number in range(newest, 4, -1):
            platforms.append(f"manylinux_2_{number}_{machine}")
            if number in legacy:
                platforms.append(f"{legacy[number]}_{machine}")
    platforms.append(f"linux_{machine}")
    interpreter = f"cp{major}{minor}"
    tags = [
        *cpython_tags((major, minor), platforms=platforms),
        *compatible_tags((major, minor), interpreter, platforms),
    ]
    return {str(tag): rank for rank, tag in enumerate(tags)}


def _markers(python: Mapping[str, Any]) -> dict[str, str]:
    version = str(python["version"])
    return {
        "python_version": ".".join(version.split(".")[:2]), "python_full_version": version,
        "implementation_name": "cpython", "implementation_version": version, "os_name": "posix",
        "platform_machine": str(python["machine"]), "platform_python_implementation": "CPython",
        "platform_release": "", "platform_system": "Linux", "platform_version": "", "sys_platform": "linux",
    }  # fmt: skip


def wheel_requires(path: Path) -> list[str]:
    """The requirements of a wheel of the store. Raises Stop."""
    try:
        with zipfile.ZipFile(path) as archive:
            name = next(each for each in archive.namelist() if re.match(r"[^/]+\.dist-info/METADATA\Z", each))
            text = archive.read(name).decode("utf-8", "replace")
    except (OSError, zipfile.BadZipFile, StopIteration) as error:
        raise Stop(f"{path} cannot be read as a wheel: {error}") from None
    head = text.replace("\r\n", "\n").split("\n\n", 1)[0]
    return re.findall(r"^Requires-Dist: *(.+)$", head, re.MULTILINE)


class Packages:
    """Finds out which packages a place lacks, and which wheels of the store fit there."""

    def __init__(self, manifest: Manifest, store: Path, report: Mapping[str, Any]) -> None:
        self.store = store
        self.installed: dict[str, str] = {canonicalize_name(k): v for k, v in report["distributions"].items()}
        self.requires: dict[str, list[str]] = {canonicalize_name(k): list(v) for k, v in report["requires"].items()}
        self.ranks = tags_of(report["python"])
        self.markers = _markers(report["python"])
        self.coming: dict[str, Artifact] = {}
        self.findings: list[Finding] = []
        self.wheels: dict[str, list[Artifact]] = {}
        for artifact in manifest.of_kind("wheel"):
            self.wheels.setdefault(canonicalize_name(artifact.name), []).append(artifact)

    def version_of(self, name: str) -> str:
        """The version that the place has, or will have; "" if neither."""
        name = canonicalize_name(name)
        return self.installed.get(name) or (self.coming[name].version if name in self.coming else "")

    def fitting(self, name: str, requirement: Requirement | None = None) -> Artifact | None:
        """The newest wheel of the store that fits the place, or None."""
        best: tuple[Version, int] | None = None
        found = None
        for artifact in self.wheels.get(canonicalize_name(name), []):
            ranks = [self.ranks[tag] for tag in artifact.tags if tag in self.ranks]
            if not ranks or (requirement is not None and not _fits(artifact.version, requirement)):
                continue
            rank = (Version(artifact.version), -min(ranks))
            if best is None or rank > best:
                best, found = rank, artifact
        return found

    def add(self, needs: Iterable[str]) -> None:
        """Choose wheels for everything that is needed and missing."""
        todo = [(Requirement(text), "Kokoro", True) for text in needs]
        seen: set[tuple[str, str]] = set()
        while todo:
            requirement, whose, ours = todo.pop()
            name = canonicalize_name(requirement.name)
            if name in UNUSED or not self._resolve(name, requirement, whose, ours):
                continue
            for extra in ("", *sorted(requirement.extras)):
                if (name, extra) not in seen:
                    seen.add((name, extra))
                    todo += [(each, requirement.name, name in self.coming) for each in self._needs_of(name, extra)]

    def _needs_of(self, name: str, extra: str) -> list[Requirement]:
        if name in WHOLE and name in self.installed:
            return []
        texts: list[str] = self.requires.get(name) or []
        if name in self.coming:
            texts = wheel_requires(self.store / self.coming[name].path)
        found = []
        for text in texts:
            try:
                requirement = Requirement(text)
            except InvalidRequirement:
                continue
            marker = requirement.marker
            applies = marker is None or marker.evaluate({**self.markers, "extra": extra})
            # With an extra, only what the extra adds: the rest was added without it.
            if applies and (not extra or (marker is not None and not marker.evaluate({**self.markers, "extra": ""}))):
                found.append(requirement)
        return found

    def _resolve(self, name: str, requirement: Requirement, whose: str, ours: bool) -> bool:
        """Note what a requirement means for the place. Return whether the package is or will be there."""
        have = self.version_of(name)
        if have:
            if not _fits(have, requirement):
                self.findings.append(
                    Finding(
                        "VERSION", ours,
                        f"{whose} needs {requirement.name}{requirement.specifier}, but this place has {have}. A repair"
                        " changes no package that exists. Install a fitting version, or deploy a release instead",
                    )
                )  # fmt: skip
            return True
        wheel = self.fitting(name, requirement)
        if wheel is not None:
            self.coming[name] = wheel
            return True
        others = sorted({artifact.version for artifact in self.wheels.get(name, [])})
        why = (
            f"the store's {', '.join(others)} does not fit this Python and platform" if others else "the store has none"
        )
        self.findings.append(
            Finding(
                "PACKAGE", ours, f"{whose} needs {requirement.name}{requirement.specifier}, which is missing: {why}"
            )
        )
        return False


def _fits(version: str, requirement: Requirement) -> bool:
    try:
        return requirement.specifier.contains(Version(version), prereleases=True)
    except InvalidVersion:
        return True


def spacy_models(
    manifest: Manifest, wanted: Wanted, installed: Mapping[str, str], spacy: str
) -> tuple[list[Artifact], list[Finding]]:
    """The spaCy models that are missing and fit this spaCy by the published table, and what is wrong with others."""
    table = catalogue.COMPATIBILITY.get(".".join(spacy.split(".")[:2]), {})
    chosen, findings = [], []
    for model in wanted.chosen_spacy_models:
        accepted = table.get(model.name, ())
        said = f"spaCy {spacy or 'of this place'} accepts {model.name} {' or '.join(accepted) or 'of no known version'}"
        have = installed.get(canonicalize_name(model.name))
        if have is not None:
            if have not in accepted:
                findings.append(Finding("SPACY_MODEL", False, f"{said}, but {have} is installed. It stays as it is"))
            continue
        rows = [row for row in manifest.of_kind("spacy-model") if row.name == model.name and row.version in accepted]
        if rows:
            chosen.append(rows[0])
        else:
            held = ", ".join(row.version for row in manifest.of_kind("spacy-model") if row.name == model.name)
            has = f"the store has {held or 'none'}"
            findings.append(Finding("SPACY_MODEL", True, f"{said}, but {has}. {catalogue.SPACY_REASON}"))
    return chosen, findings


# --- the verdict ---


def judge(manifest: Manifest, digest: str, store: Path, report: Json, wanted: Wanted) -> Verdict:
    """Plan the repair of a place from the report on it. Raises ValueError, Stop for settings that cannot be used."""
    wish = wishes(manifest, wanted)
    packages = Packages(manifest, store, report)
    if "packages" in wanted.parts:
        packages.add(_needs(manifest, wanted))
    spacy = packages.version_of("spacy")
    english: list[Artifact] = []
    findings: list[Finding] = []
    if "spacy" in wanted.parts:
        english, findings = spacy_models(manifest, wanted, packages.installed, spacy)
    states = report["files"]
    lacking = [artifact for artifact in models(manifest, wanted) if states.get(_place_of(artifact)) == "missing"]
    install = [*packages.coming.values(), *english]
    uv = packages.fitting("uv") if install else None
    if install and uv is None:
        findings.append(Finding("UV", True, "the store has no uv that runs in this place"))
    artifacts = [*lacking, *install, *([uv] if uv else [])]
    findings += [*packages.findings, *_voices(manifest, wanted), *_place(report, wanted), *_changes(report, wish)]
    findings += [*_sources(artifacts, wanted), *_room(report, lacking, install)]
    plan = {
        **wish,
        "store": str(store), "manifest_sha256": digest, "artifacts": [_row(artifact) for artifact in artifacts],
        "packages": [_row(artifact) for artifact in install], "uv": uv.sha256 if uv else "", "spacy_version": spacy,
        "bytes": sum(artifact.size for artifact in artifacts),
        "unpublished": unpublished(models(manifest, wanted)),
        "xinference": report["versions"]["xinference"],
        "voices": wanted.chosen_voices, "languages": list(wanted.languages), "language_models": wanted.language_models,
        "hearing_model": "".join(wanted.hearing),
    }  # fmt: skip
    needed = {code: _missing(manifest, store, report, wanted, code) for code in wanted.languages}
    # The name of the evidence: the same for the same contents.
    contents = json.dumps(wish, sort_keys=True).encode()
    plan["id"] = f"{report['versions']['xinference']}-repaired-{hashlib.sha256(contents).hexdigest()[:12]}"
    return Verdict(plan, list(dict.fromkeys(findings)), _table(report, spacy, plan, needed))


def _missing(manifest: Manifest, store: Path, report: Json, wanted: Wanted, language: str) -> set[str]:
    """The names of the packages that a place lacks for one language alone."""
    alone = replace(wanted, languages=[language], voices=[])
    packages = Packages(manifest, store, report)
    packages.add(_needs(manifest, alone))
    english, _findings = spacy_models(manifest, alone, packages.installed, packages.version_of("spacy"))
    return {artifact.name for artifact in (*packages.coming.values(), *english)}


def _voices(manifest: Manifest, wanted: Wanted) -> list[Finding]:
    if "kokoro" not in wanted.parts:
        return []
    held = {(artifact.kind, artifact.name) for artifact in manifest.artifacts}
    lacks = [voice for voice in wanted.chosen_voices if ("kokoro-voice", voice) not in held]
    parts = [part for part in ("config", "weights") if not any(kind == f"kokoro-{part}" for kind, _name in held)]
    missing = [*lacks, *parts]
    return [Finding("VOICES", True, f"the store lacks {', '.join(missing)}. Fetch again")] if missing else []


def _place(report: Json, wanted: Wanted) -> list[Finding]:
    """What is special about the place itself."""
    found = []
    version, python = report["versions"]["xinference"], str(report["python"]["version"])
    if not version.startswith(tuple(f"{each}." for each in TRIED)):
        found.append(Finding("XINFERENCE", False, f"the repair was tried with {', '.join(TRIED)}, not with {version}"))
    if not report["cache"]:
        found.append(
            Finding(
                "XINFERENCE", True, f"Xinference {version} keeps its models elsewhere. Upgrade it, or deploy a release"
            )
        )
    if ".".join(python.split(".")[:2]) not in PYTHONS:
        found.append(Finding("PYTHON", False, f"Kokoro supports Python {', '.join(PYTHONS)}, and this is {python}"))
    for what, path in (("site", report["site"]), ("home", report["home"])):
        if report["storage"][what] == "read-only":
            remedy = "mount it writable" + (", or bake an image" if report["container"] else "")
            found.append(Finding("READ_ONLY", True, f"{path} is on a read-only file system: {remedy}"))
        elif not report["writable"][what]:
            found.append(Finding("WRITABLE", True, f"{path} cannot be written. Run the play as root, or as its owner"))
        elif report["storage"][what] == "layer":
            found.append(
                Finding(
                    "LOST", False, f"{path} belongs to the container. Its repair is lost when the container is removed"
                )
            )
    if not report["writable"]["prefix"] and report["writable"]["site"]:
        found.append(Finding("WRITABLE", True, f"{report['prefix']} cannot be written, so it cannot hold the ledger"))
    if wanted.settings and "settings" in wanted.parts and not report["loads_settings"]:
        found.append(
            Finding("SETTINGS", True, f"Python does not read .pth files in {report['site']}. Set repair_settings: {{}}")
        )
    others = [name for name in report["environments"] if "Kokoro" not in name]
    if others and wanted.settings.get("XINFERENCE_ENABLE_VIRTUAL_ENV") == "0":
        found.append(
            Finding(
                "ENVIRONMENTS", False,
                f"these models have environments of their own, which they will not use any more: {', '.join(others)}."
                " To keep them, leave XINFERENCE_ENABLE_VIRTUAL_ENV out of repair_settings, and launch Kokoro with"
                " enable_virtual_env: false",
            )
        )  # fmt: skip
    for name, value in wanted.settings.items():
        own = report["settings"].get(name)
        if own is not None and own != value:
            found.append(Finding("SETTINGS", False, f"{name} is {own!r} here, and stays so. It should be {value!r}"))
    if report["ledger"]["foreign"]:
        names = ", ".join(report["ledger"]["foreign"][:5])
        found.append(Finding("LEDGER", False, f"somebody changed files of the last repair: {names}"))
    return found


def _changes(report: Json, wish: Json) -> list[Finding]:
    """Files and repairs that stay as they are."""
    found = []
    for to, state in sorted(report["files"].items()):
        if state == "other":
            path = to.replace("home:", f"{report['home']}/")
            found.append(
                Finding("FILE", False, f"{path} is not the file of the store. It stays. If it is damaged, remove it")
            )
    for name, state in sorted(report["patches"].items()):
        if state == "unknown":
            found.append(
                Finding("REPAIR", False, f"the repair {name} is left out: it is for another version of its file")
            )
    return found


def _sources(artifacts: Iterable[Artifact], wanted: Wanted) -> list[Finding]:
    odd = unpublished(artifacts)
    if not odd:
        return []
    return [Finding("UNPUBLISHED", not wanted.accept_unpublished, sources.sentence(odd))]


def _room(report: Json, lacking: Iterable[Artifact], install: Iterable[Artifact]) -> list[Finding]:
    """Whether both file systems have room."""
    needs = {
        "home": sum(artifact.size for artifact in lacking),
        "site": UNPACKED * sum(artifact.size for artifact in install),
    }
    return [
        Finding("DISK", True, f"{report[what]} needs {needed / 1e6:.0f} MB and has {report['free'][what] / 1e6:.0f}")
        for what, needed in needs.items()
        if needed and needed + SPARE > report["free"][what]
    ]  # fmt: skip


def _table(report: Json, spacy: str, plan: Json, needed: Mapping[str, set[str]]) -> list[str]:
    """What was found, in lines for the terminal. ``needed`` has the missing packages of each language."""
    versions = ", ".join(f"{name} {version or 'missing'}" for name, version in report["versions"].items())
    names = ("XINFERENCE_ENABLE_VIRTUAL_ENV", "XINFERENCE_MODEL_SRC", "HF_HUB_OFFLINE")
    texts = {"XINFERENCE_ENABLE_VIRTUAL_ENV": "per-model environments", "XINFERENCE_MODEL_SRC": "model source",
             "HF_HUB_OFFLINE": "model hub"}  # fmt: skip
    asks = [texts[name] for name in names if report["settings"].get(name) != SETTINGS[name]]
    english = catalogue.ENGLISH_MODEL
    accepted = catalogue.COMPATIBILITY.get(".".join(spacy.split(".")[:2]), {}).get(english, ())
    lacks: dict[str, list[str]] = {}
    for to, state in report["files"].items():
        match = re.search(r"/voices/(\w+)\.pt\Z", to)
        if match and state != "right":
            lacks.setdefault(match[1][0], []).append(match[1])
    voices = "; ".join(f"{code}: {len(names)} ({', '.join(names[:3])}{', ...' if len(names) > 3 else ''})"
                       for code, names in sorted(lacks.items()))  # fmt: skip
    coming = sorted(f"{row['name']} {row['version']}{_only(row['name'], needed)}" for row in plan["packages"])
    where = {"disk": "on disk", "layer": "lost with its container", "volume": "on a volume", "read-only": "read-only"}
    return [
        f"{report['prefix']} ({report['kind']}): Python {report['python']['version']}, {versions}",
        f"packages {where[report['storage']['site']]}; models in {report['home']}, {where[report['storage']['home']]}",
        f"spaCy {spacy} accepts {english} {' or '.join(accepted) or 'of no known version'}" if spacy else "no spaCy",
        f"missing voices: {voices or 'none'}",
        f"missing packages: {', '.join(coming) or 'none'}",
        f"would still ask the network: {', '.join(asks) or 'nothing'}",
    ]


def _only(name: str, needed: Mapping[str, set[str]]) -> str:
    """The languages that need a package, such as " (j)"; "" if all do, or none by itself."""
    codes = sorted(code for code, names in needed.items() if name in names)
    return f" ({', '.join(codes)})" if 0 < len(codes) < len(needed) else ""
