# SPDX-License-Identifier: GPL-3.0-or-later
"""Write docs/versions.md from the locks and the data files; ``bin/refresh pages`` calls this."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.fleet import gpu, platforms
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.store import catalogue, locks
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.store.profiles import known_profiles

LOCKS = Path(__file__).resolve().parent.parent / "roles/artifact_store/files/locks"
PACKAGES = (
    "xinference", "kokoro", "misaki", "spacy", "torch", "torchvision", "transformers", "huggingface-hub", "xoscar",
    "espeakng-loader", "pocketsphinx", "uv",
)  # fmt: skip

HEAD = """# Versions

This collection installs exactly these versions. `bin/refresh` writes this page from the locks and the data files, so
other pages and messages name no versions.

## Python packages

| package | version | profiles |
| --- | --- | --- |
"""


def _packages() -> Iterable[str]:
    found: dict[tuple[str, str], set[str]] = {}
    for profile in known_profiles():
        lock = locks.read_lock(LOCKS / Path(profile.lock_path).name)
        for name in PACKAGES:
            if version := lock.version_of(name):
                found.setdefault((name, version), set()).add(profile.accelerator)
    for (name, version), accelerators in sorted(found.items(), key=lambda item: (PACKAGES.index(item[0][0]), item[0])):
        where = "all" if len(accelerators) > 1 else f"`{accelerators.pop()}`"
        yield f"| {name} | {version} | {where} |\n"


def _table(title: str, columns: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    names = list(columns)
    lines = [f"| {' | '.join(row)} |\n" for row in [names, ["---"] * len(names), *map(list, rows)]]
    return f"\n## {title}\n\n{''.join(lines)}"


def page() -> str:
    """Return the text of the page."""
    pythons = ([f"{b.feature}, {b.architecture}", b.full_version] for b in catalogue.PYTHONS.values())
    models = ([m.name, m.version, m.licence] for m in catalogue.SPACY_MODELS.values())
    kokoro = ([m.name, f"`{m.revision}`", m.licence] for m in catalogue.MANDARIN_MODELS.values())
    hearing = ([m.name, f"`{m.revision}`", m.licence] for m in catalogue.HEARING_MODELS.values())
    pythons_of = sorted({(int(b.python[2]), int(b.python[3:])) for b in catalogue.ENGINES.values()})
    machines = sorted({b.architecture for b in catalogue.ENGINES.values()})
    named = ", ".join(f"{major}.{minor}" for major, minor in pythons_of)
    engine = [[catalogue.ENGINE_NAME, catalogue.ENGINE_VERSION, catalogue.ENGINE_LICENCE, named, ", ".join(machines)]]
    hosts = ([p.title, ".".join(map(str, p.glibc)), p.python] for p in platforms.PLATFORMS)
    builds = ([t, ".".join(map(str, c)), a, ", ".join(kinds)] for (t, c, a), kinds in gpu.BUILT_FOR.items())
    return "".join(
        [
            HEAD,
            *_packages(),
            _table("Pythons that a store carries", ("for", "build"), pythons),
            _table("spaCy models", ("model", "version", "licence"), models),
            _table("Kokoro models", ("model", "revision", "licence"), kokoro),
            _table("Models that hear", ("model", "revision", "licence"), hearing),
            _table("Engine of a swarm", ("engine", "version", "licence", "Pythons", "architectures"), engine),
            _table("torch for GPUs", ("torch", "CUDA", "architecture", "compiled for"), builds),
            _table("Platforms", ("platform", "glibc", "Python"), hosts),
        ]
    )


if __name__ == "__main__":
    print(page(), end="")
