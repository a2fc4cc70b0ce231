# SPDX-License-Identifier: GPL-3.0-or-later
"""Refresh or check everything that is pinned: locks, data files, repairs, and the pages made from them.

For ``bin/refresh``. Without ``--check``, each part takes its publisher's current data. With it, nothing changes, and
the exit status is 1 if something is stale. A check needs a network only with ``--online``.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import io
import json
import re
import subprocess
import sys
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from ansible_collections.voicefleet.kokoro.plugins.module_utils.proof import phoneme_references
from ansible_collections.voicefleet.kokoro.plugins.module_utils.release import patch_data
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.fleet import gpu
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.store import (
    catalogue,
    datafile,
    locks,
    profiles,
    repairs,
    resolver,
)

ROOT = Path(__file__).resolve().parent.parent
LOCKS = ROOT / "roles/artifact_store/files/locks"
STORE_DATA = ROOT / "plugins/plugin_utils/store/data"
REPAIRS = ROOT / "plugins/module_utils/release/patch_data.py"
# Generated files below docs/, each with its tool.
PAGES = {
    "doctor.md": "doctor_page",
    "platforms.md": "platforms_page",
    "versions.md": "versions_page",
    "voices.md": "voices_page",
    "way.svg": "way_picture",
    "dashboard.svg": "dashboard_picture",
}
_PIN = re.compile(r"^([\w-]+)(?:\[\w+\])?==(\S+)$", re.MULTILINE)

Findings = Iterator[str]
Json = dict[str, Any]


def tool(name: str) -> ModuleType:
    """Load a tool beside this one. Do not import it: Ansible's import hook would take the file for its own."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "tools" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def fetch(url: str) -> bytes:
    """Return the data at an address. Raises OSError."""
    with urllib.request.urlopen(url, timeout=60) as response:
        return bytes(response.read())


@cache
def committed() -> dict[str, locks.Lock]:
    """Return the committed locks by profile name. Raises LockError, OSError."""
    return {p.name: locks.read_lock(LOCKS / Path(p.lock_path).name) for p in profiles.known_profiles()}


# --- locks


def stale_locks(_uv: str) -> Findings:
    pins = {
        name: version for path in LOCKS.glob("requirements*.in") for name, version in _PIN.findall(path.read_text())
    }
    for name in ("bootstrap", "controller", "controller-py312"):
        if dict(_PIN.findall((ROOT / f"requirements/{name}.in").read_text()))["uv"] != pins["uv"]:
            yield f"requirements/{name}.in pins another uv than the locks: make them equal"
    for profile in profiles.known_profiles():
        lock, path = committed()[profile.name], LOCKS / Path(profile.lock_path).name
        if path.read_text(encoding="utf-8") != locks.render_lock(lock, profile):
            yield f"{path.name} is not as bin/refresh writes it"
        for name, version in pins.items():
            if str(lock.version_of(name)).split("+")[0] != version:
                yield f"{path.name} locks {name} {lock.version_of(name)}; the requirements pin {version}"


def refresh_lock(profile: profiles.Profile, uv: str, check: bool) -> bool:
    """Show the changes in a profile's lock, and write it unless ``check`` is set. Return whether it changed."""
    path = LOCKS / Path(profile.lock_path).name
    fresh = resolver.Resolver(uv).lock_of(profile)
    changes = resolver.differences(locks.read_lock(path) if path.exists() else None, fresh)
    print(f"{profile.name}: {len(fresh.packages)} packages, {len(changes)} changed", flush=True)
    for change in changes:
        print(f"  {change}")
    if not check:
        path.write_text(locks.render_lock(fresh, profile), encoding="utf-8")
    return bool(changes)


def ask_locks(uv: str, write: bool) -> Findings:
    for profile in profiles.known_profiles():
        try:
            if refresh_lock(profile, uv, check=not write):
                yield f"{profile.name}: other packages resolve today"
        except locks.LockError as error:
            yield f"{profile.name} could not be resolved: {error}"


# --- spaCy's models


def stale_spacy(_uv: str) -> Findings:
    for name, lock in committed().items():
        for model in catalogue.SPACY_MODELS.values():
            if reason := catalogue.spacy_mismatch(model, lock.version_of("spacy")):
                yield f"{name}: {reason}"


def render_table(published: bytes, before: str) -> str:
    """Return the data file with the rows of spaCy's published table for the catalogue's models.

    Raises ValueError, KeyError, TypeError, AttributeError if it is not such a table.
    """
    table = {}
    for minor, models in json.loads(published)["spacy"].items():
        kept = {name: list(models[name]) for name in sorted(catalogue.SPACY_MODELS) if models.get(name)}
        if kept and re.fullmatch(r"\d+\.\d+", minor):
            table[minor] = kept
    if not table:
        raise ValueError("it names none of the catalogue's models")
    return datafile.render({**json.loads(before), "spacy": table})


def ask_source(
    name: str, render: Callable[[bytes, str], str], said: Callable[[Json, Json], str], write: bool
) -> Findings:
    """Render a data file again from the source that it names. ``said`` tells the former and the new data apart."""
    path = STORE_DATA / name
    before = path.read_text(encoding="utf-8")
    source = json.loads(before)["source"]
    try:
        fresh = render(fetch(source), before)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        yield f"{source} could not be read, {path.name} stays: {error}"
        return
    if json.loads(fresh) != json.loads(before):
        yield said(json.loads(before), json.loads(fresh))
        if write:
            path.write_text(fresh, encoding="utf-8")


def ask_spacy(_uv: str, write: bool) -> Findings:
    name = "spacy_compatibility.json"
    yield from ask_source(name, render_table, lambda _old, _new: f"{name}: spaCy's table has changed", write)


# --- Kokoro's files


def stale_kokoro(_uv: str) -> Findings:
    for letter in sorted({voice[0] for voice in catalogue.VOICES} ^ set(catalogue.LANGUAGES)):
        yield f"the letter {letter!r} is a language without voices, or voices without a language"
    for language in catalogue.LANGUAGES.values():
        for name in (*language.spacy_models, *language.extras):
            if name not in (*catalogue.SPACY_MODELS, *catalogue.EXTRAS):
                yield f"{language.title} needs {name}, which is neither a spaCy model nor an extra of the locks"


def ask_kokoro(_uv: str, _write: bool) -> Findings:
    """Compare the pinned digests with the hub's. A revision never changes, so a person must judge a difference."""
    for model in (*catalogue.MANDARIN_MODELS.values(), *catalogue.HEARING_MODELS.values()):
        url = f"{catalogue.KOKORO_HUB}/api/models/{model.repository}/tree/{model.revision}?recursive=true"
        try:
            hub = {row["path"]: row.get("lfs", {}).get("oid", "") for row in json.loads(fetch(url))}
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            yield f"{url} could not be read: {error}"
            continue
        if isinstance(model, catalogue.KokoroModel):
            wanted = {model.weights[0]: model.weights[1], **{f"voices/{v}.pt": d for v, d in model.voices.items()}}
        else:  # of other files, the hub does not name the SHA-256
            wanted = {path: digest for path, digest in model.files.items() if path.endswith(".safetensors")}
        for path, digest in wanted.items():
            if hub.get(path) != digest:
                yield f"{model.name}: {path} is pinned with {digest}; the hub has {hub.get(path, 'no such file')}"


# --- Python builds


def newest_build(uv: str, feature: str, architecture: str) -> tuple[str, str]:
    """Return version and date of the build that uv chooses. Raises CalledProcessError, ValueError, OSError."""
    command = [uv, "python", "list", feature, "--offline", "--no-config", "--only-downloads", "--all-platforms"]
    done = subprocess.run(
        [*command, "--all-arches", "--show-urls", "--output-format", "json"], capture_output=True, check=True, text=True
    )
    for row in json.loads(done.stdout):
        if row["key"].startswith("cpython") and row["key"].endswith(f"-linux-{architecture}-gnu"):
            found = re.search(r"/cpython-([\d.]+)\+(\d+)-", urllib.parse.unquote(row["url"]))
            if found and row["variant"] == "default":
                return found[1], found[2]
    raise ValueError(f"uv knows no Python {feature} for {architecture}")


def stale_pythons(uv: str) -> Findings:
    wanted = {(python, machine) for python in profiles.PYTHONS for machine in profiles.ARCHITECTURES}
    for feature, machine in sorted(wanted ^ catalogue.PYTHONS.keys()):
        yield f"pythons.json and the profiles differ in Python {feature} for {machine}"
    for (feature, machine), build in catalogue.PYTHONS.items():
        newest = newest_build(uv, feature, machine)
        if newest != (build.version, build.date):
            yield f"Python {feature} for {machine} is pinned as {build.full_version}; uv has {'+'.join(newest)}"


def ask_pythons(uv: str, write: bool) -> Findings:
    """Use the builds that uv chooses, with the digests from their release."""
    path = STORE_DATA / "pythons.json"
    data = datafile.read(path)
    for row in data["builds"]:
        build = datafile.row(catalogue.PythonBuild, row, path.name)
        version, date = newest_build(uv, build.feature, build.architecture)
        fresh = catalogue.PythonBuild(version, date, build.architecture, build.sha256)
        url = f"{data['releases']}/{date}/SHA256SUMS"
        try:
            sums = dict(reversed(line.split()) for line in fetch(url).decode().splitlines())
        except (OSError, ValueError) as error:
            yield f"{url} could not be read, {build.filename} stays: {error}"
            continue
        if fresh.filename not in sums:
            yield f"{url} has no {fresh.filename}; {build.filename} stays"
        elif (build.filename, build.sha256) != (fresh.filename, sums[fresh.filename]):
            yield f"{build.filename} -> {fresh.filename}"
            row.update(version=version, date=date, sha256=sums[fresh.filename])
    if write:
        path.write_text(datafile.render(data), encoding="utf-8")


# --- the engine of a swarm


def stale_engine(_uv: str) -> Findings:
    version = catalogue.ENGINE_VERSION
    for build in catalogue.ENGINES.values():
        if engine_wheel(build.filename) != (version, build.python, build.architecture):
            yield f"engine.json: {build.filename} is no wheel of {version} for {build.python} on {build.architecture}"
    pythons = {python for python, _machine in catalogue.ENGINES}
    for python, machine in sorted({(p, m) for p in pythons for m in profiles.ARCHITECTURES} - catalogue.ENGINES.keys()):
        yield f"engine.json has no wheel for {python} on {machine}"
    pinned = dict(_PIN.findall((ROOT / "requirements/test.in").read_text())).get(catalogue.ENGINE_NAME)
    if pinned != version:
        yield f"requirements/test.in pins {catalogue.ENGINE_NAME} {pinned}, engine.json {version}: make them equal"


def engine_wheel(filename: str) -> tuple[str, str, str] | None:
    """Return version, Python and architecture of a wheel for Linux with glibc; None for another file."""
    name = re.escape(catalogue.ENGINE_NAME)
    found = re.fullmatch(rf"{name}-([\w.]+)-(cp\d+)-\2-manylinux_[\w.]*_(x86_64|aarch64)\.whl", filename)
    return (found[1], found[2], found[3]) if found else None


def published_engine(page: bytes, before: str) -> str:
    """Return the data file with the newest release on the registry's page. Raises ValueError, KeyError, TypeError."""
    data, found = json.loads(before), json.loads(page)
    version, builds = str(found["info"]["version"]), {}
    for row in found["urls"]:
        wheel = engine_wheel(row["filename"])
        if wheel and wheel[0] == version and not row["yanked"]:
            builds[wheel[1:]] = {
                "python": wheel[1], "architecture": wheel[2], "filename": row["filename"],
                "sha256": row["digests"]["sha256"], "size": row["size"], "address": row["url"],
            }  # fmt: skip
    lost = [" on ".join(key) for key in catalogue.ENGINES if key not in builds]
    if lost:
        raise ValueError(f"{version} has no wheel for {', '.join(lost)}")
    order = sorted(builds, key=lambda key: (key[1], int(key[0][2:][:1]), int(key[0][3:])))
    return datafile.render({**data, "version": version, "builds": [builds[key] for key in order]})


def ask_engine(_uv: str, write: bool) -> Findings:
    """Use the newest release, with a wheel for each Python and architecture for which there was one."""

    def said(old: Json, new: Json) -> str:
        if old["version"] != new["version"]:
            return f"{catalogue.ENGINE_NAME}: {old['version']} -> {new['version']}"
        return f"{name}: other wheels of {new['version']}"

    name = "engine.json"
    yield from ask_source(name, published_engine, said, write)


# --- GPUs and phonemes: made on a machine that runs the release, so they can only be checked here


def stale_gpu(_uv: str) -> Findings:
    for profile in profiles.known_profiles():
        if profile.accelerator == "cuda":
            wheels = [(package.name, package.version) for package in committed()[profile.name].packages]
            build = gpu.build_of(wheels, profile.architecture)
            if not build.compiled or build.cuda[0] not in gpu.DRIVERS:
                yield f"{profile.name}: gpu.json does not know torch {build.torch} for CUDA {build.cuda_name}"


def stale_phonemes(_uv: str) -> Findings:
    for name, lock in committed().items():
        for package, version in phoneme_references.MADE_WITH.items():
            if lock.version_of(package) != version:
                yield f"{name} locks {package} {lock.version_of(package)}; the phonemes were made with {version}"


# --- repairs of upstream's files


def stale_repairs(_uv: str) -> Findings:
    for name, lock in committed().items():
        for package in lock.packages:
            if package.name in patch_data.WHEELS and package.sha256 != patch_data.WHEELS[package.name]:
                yield f"{name}: the repairs of {package.name} were made for another wheel than {package.filename}"


def ask_repairs(_uv: str, write: bool) -> Findings:
    text = REPAIRS.read_text(encoding="utf-8")
    for package, digest in patch_data.WHEELS.items():
        row = next(row for lock in committed().values() for row in lock.packages if row.name == package)
        try:
            wheel = fetch(row.location)
        except OSError as error:
            yield f"{row.location} could not be read: {error}"
            continue
        if hashlib.sha256(wheel).hexdigest() != row.sha256:
            yield f"{row.location} does not have the locked digest"
            continue
        problems = [unfit.sentence for unfit in repairs.unfit(io.BytesIO(wheel), package)]
        yield from problems
        if not problems and digest != row.sha256:
            yield f"{row.filename}: the repairs fit"
            text = text.replace(digest, row.sha256)
    if write:
        REPAIRS.write_text(text, encoding="utf-8")


# --- pages


def stale_pages(_uv: str) -> Findings:
    for name, maker in PAGES.items():
        if (ROOT / "docs" / name).read_text(encoding="utf-8") != tool(maker).page():
            yield f"docs/{name} is not what its tool writes: run bin/refresh pages"


def write_pages(_uv: str, write: bool) -> Findings:
    yield from stale_pages(_uv)
    for name, maker in PAGES.items() if write else ():
        (ROOT / "docs" / name).write_text(tool(maker).page(), encoding="utf-8")


@dataclass(frozen=True)
class Part:
    """One part. ``stale`` checks it without a network. ``ask`` compares it with its publisher and may update it."""

    stale: Callable[[str], Findings]
    ask: Callable[[str, bool], Findings] | None = None


PARTS = {
    "locks": Part(stale_locks, ask_locks),
    "spacy": Part(stale_spacy, ask_spacy),
    "kokoro": Part(stale_kokoro, ask_kokoro),
    "pythons": Part(stale_pythons, ask_pythons),
    "engine": Part(stale_engine, ask_engine),
    "gpu": Part(stale_gpu),
    "phonemes": Part(stale_phonemes),
    "repairs": Part(stale_repairs, ask_repairs),
    "pages": Part(stale_pages, write_pages),
}


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--uv", default="uv", help="the locked uv")
    parser.add_argument("--check", action="store_true", help="change nothing; exit status 1 if something is stale")
    parser.add_argument("--online", action="store_true", help="with --check: also ask the publishers")
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"default: all of {', '.join(PARTS)}")
    given: Any = parser.parse_args(arguments)
    if unknown := sorted(set(given.parts) - PARTS.keys()):
        parser.error(f"no part {', '.join(unknown)}; the parts are {', '.join(PARTS)}")
    stale = False
    for name in given.parts or PARTS:
        part = PARTS[name]
        found = [*part.ask(given.uv, not given.check)] if part.ask and (given.online or not given.check) else []
        found += part.stale(given.uv) if given.check else []
        for line in found:
            print(f"{name}: {line}", flush=True)
        if not found:
            print(f"{name}: up to date", flush=True)
        stale = stale or bool(found)
    return int(given.check and stale)


if __name__ == "__main__":
    sys.exit(main())
