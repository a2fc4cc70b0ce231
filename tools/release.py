# SPDX-License-Identifier: GPL-3.0-or-later
"""The edits and the bill of materials of a release of this collection; bin/release calls this.

release.py prepare VERSION [TAG ...]    TAGS: those of the releases before it
release.py bill                         print the bill of materials of the packages and models that are pinned
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import yaml
from ansible_collections.voicefleet.kokoro.plugins.module_utils.host.hashing import canonical_json
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.store import catalogue, locks, profiles, sbom
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.store.manifest import Artifact

ROOT = Path(__file__).resolve().parent.parent
VERSION = re.compile(r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)")
ADDED = re.compile(r'^( *version_added: )"([^"]+)"$', re.MULTILINE)


class ReleaseError(Exception):
    """Nothing was written. The message says why."""


def number(version: str) -> tuple[int, ...]:
    """Return what versions are compared by. Raises ReleaseError."""
    found = VERSION.fullmatch(version)
    if found is None:
        raise ReleaseError(f"{version} is no version such as 1.2.3.")
    return tuple(map(int, found.groups()))


def documented(root: Path) -> Iterator[Path]:
    """The files that say in which version a part of the interface was added."""
    yield from sorted([*root.glob("plugins/**/*.py"), *root.glob("roles/*/meta/argument_specs.yml")])


def _first(root: Path, version: str) -> dict[Path, str]:
    """The edits of the first release: everything was added in it, and its summary becomes a fragment again."""
    edits = {path: ADDED.sub(rf'\1"{version}"', path.read_text(encoding="utf-8")) for path in documented(root)}
    changes = root / "changelogs/changelog.yaml"
    releases = yaml.safe_load(changes.read_text(encoding="utf-8"))["releases"]
    if len(releases) != 1:
        raise ReleaseError(f"{changes} lists {len(releases)} releases, but no tag names one: fetch the tags.")
    [before] = releases.values()
    summary = {"release_summary": before["changes"]["release_summary"]}
    edits[root / f"changelogs/fragments/{version}.yml"] = yaml.safe_dump(summary, width=1000)
    edits[changes] = "ancestor: null\nreleases: {}\n"
    return edits


def _next(root: Path, version: str, before: str) -> dict[Path, str]:
    """The edits of a later release: none. Raises ReleaseError if something was added in no release."""
    if not any((root / "changelogs/fragments").glob("*.yml")):
        raise ReleaseError("changelogs/fragments/ is empty. Say there what changed.")
    for path in documented(root):
        for _indent, added in ADDED.findall(path.read_text(encoding="utf-8")):
            if number(added) > number(before) and added != version:
                raise ReleaseError(f'{path.relative_to(root)}: version_added is "{added}", and this is {version}.')
    return {}


def prepare(root: Path, version: str, tags: Sequence[str]) -> list[Path]:
    """Write a version wherever it stands. Return the changed files. antsibull-changelog does the rest."""
    galaxy = root / "galaxy.yml"
    text = galaxy.read_text(encoding="utf-8")
    # Those before a release, such as v1.2.3-rc1, do not count.
    released = sorted((tag[1:] for tag in tags if VERSION.fullmatch(tag[1:])), key=number)
    number(version)
    if released and number(version) <= number(released[-1]):
        raise ReleaseError(f"{version} is not newer than {released[-1]}, the last release.")
    edits = _next(root, version, released[-1]) if released else _first(root, version)
    edits[galaxy] = re.sub(r"(?m)^version: .*$", f"version: {version}", text)
    changed = [path for path, new in edits.items() if not path.exists() or path.read_text(encoding="utf-8") != new]
    for path in changed:
        path.parent.mkdir(exist_ok=True)
        path.write_text(edits[path], encoding="utf-8")
    return changed


def pinned() -> list[Artifact]:
    """Everything that a store of this version may hold, with its published digest."""
    found = []
    for profile in profiles.known_profiles():
        lock = locks.read_lock(ROOT / "roles/artifact_store/files/locks" / Path(profile.lock_path).name)
        for p in lock.packages:
            found.append(Artifact(f"wheels/{p.filename}", p.sha256, p.size, "wheel", p.name, p.version, p.location))
    for spacy in catalogue.SPACY_MODELS.values():
        address = f"{catalogue.SPACY_RELEASES}/{spacy.name}-{spacy.version}/{spacy.filename}"
        path = f"spacy/{spacy.filename}"
        found.append(Artifact(path, spacy.sha256, 0, "spacy-model", spacy.name, spacy.version, address, spacy.licence))
    for model in catalogue.MANDARIN_MODELS.values():
        files = {model.config[0]: ("config", model.config[1]), model.weights[0]: ("weights", model.weights[1])}
        files |= {f"voices/{voice}.pt": ("voice", digest) for voice, digest in model.voices.items()}
        for file, (kind, digest) in files.items():
            path, revision = f"kokoro/{model.name}/{file}", model.revision[:12]
            found.append(Artifact(path, digest, 0, f"kokoro-{kind}", file, revision, licence=model.licence))
    return sorted({each.path: each for each in found}.values(), key=lambda each: each.path)


def bill(root: Path) -> bytes:
    """The bill of materials of this version."""
    made = json.loads(sbom.render(pinned(), "voicefleet.kokoro"))
    version = yaml.safe_load((root / "galaxy.yml").read_text(encoding="utf-8"))["version"]
    made["metadata"]["component"] |= {"bom-ref": "collection", "version": version}
    return canonical_json(made)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=["prepare", "bill"])
    parser.add_argument("version", nargs="?", default="")
    parser.add_argument("tags", nargs="*")
    given = parser.parse_args()
    if given.what == "bill":
        sys.stdout.buffer.write(bill(ROOT))
        return
    try:
        changed = prepare(ROOT, given.version, given.tags)
    except ReleaseError as error:
        sys.exit(f"Error: {error}")
    print(f"Changed files: {len(changed)}.")


if __name__ == "__main__":
    main()
