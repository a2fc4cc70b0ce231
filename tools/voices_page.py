# SPDX-License-Identifier: GPL-3.0-or-later
"""Write docs/voices.md from the catalogue and the locks: ``python tools/voices_page.py > docs/voices.md``."""

from __future__ import annotations

from pathlib import Path

from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.store import catalogue, locks

# The default profile. The others differ little.
LOCK = Path(__file__).resolve().parent.parent / "roles/artifact_store/files/locks/pylock.cpu-py311-x86_64.toml"
WEIGHTS_MB, VOICE_MB = 327, 0.5

HEAD = """# Voices and languages

`kokoro_languages` and `kokoro_voices` choose what the store holds and what hosts serve. A voice's first letter
is its language; the second says female or male. `fetch.yml` and `preflight` refuse a voice that does not exist
or whose language is not configured, and suggest the nearest names.

One model speaks every language. Clients ask `kokoro` for each voice, and the voice's first letter chooses the
language. Each further language takes 0.01 GB of memory; British English takes 0.10 and Mandarin 0.12.

## Voices

| letter | language | voices |
| --- | --- | --- |
"""

NEEDS = """
## What each language needs

Every release has Xinference, Kokoro with its weights ({weights} MB), {voice} MB for each voice, and espeak with
its data. The table shows what a language adds. The store holds, sends and installs nothing of other languages.
The service downloads nothing.

| letter | spaCy model | Python packages and dictionary | MB to carry |
| --- | --- | --- | --- |
"""

TAIL = """
## English

`kokoro_english_model` chooses the spaCy model that tags English words. The tags decide how words such as "read",
"record" and "live" sound.

- `en_core_web_sm`, the default: a small model, as misaki loads it.
- `en_core_web_trf`: a transformer. The repair `misaki-trf` makes every English front end of a process load it, once for
  American and British English together. It takes the place of en_core_web_sm in the store and in releases. It runs on
  the CPU, even if Kokoro runs on a GPU. Its packages are part of every release.

The published transformer has 125 million weights. It takes 0.5 GB more memory than the small model, 0.3 s of CPU for a
sentence and 2.5 s for a paragraph of 91 words. `preflight` and the limits of the service count 0.6 GB for each process
that reads English. [Performance](performance.md#english) says how this was measured.

`fetch.yml` and `deploy.yml` must see the same value. `preflight` refuses a store that lacks the model.

## Japanese

`kokoro_japanese_dictionary` chooses the dictionary:

- `light`, the default: UniDic 2.1.2 as the Python package `unidic-lite`, pinned like all others. It takes 250
  MB installed.
- `full`: UniDic 3.1.0 of 2021 as published, with more words and newer readings. It takes {full:.0f} MB to carry
  and {unpacked:.0f} MB installed.

`fetch.yml` downloads `full` from its published address. With
`artifact_store_dictionary_source=file:///a/folder` it takes `{filename}` from that folder. Both must have the
same digest.

## Mandarin

`kokoro_mandarin_model` chooses the model:

- `v1.0`, the default: Kokoro-82M, as for every language, with the voices above.
- `v1.1-zh`: {zh}, with {zh_voices} instead of them. It takes {weights} MB more.

The newer model has weights and an alphabet of its own. So it is a process of its own beside the first, and clients
ask `kokoro-z` for its voices, or `kokoro` if Mandarin is the only language. English words in Chinese text are read
too, so the model of English is added. The model has a hundred voices. Only the digests of those named above could be
confirmed, so only those are served. In a folder (`artifact_store_kokoro_source=file://...`) its files are below
`{zh}/`. Its revision is `{zh_revision}`.

## What is misread

The repair `kokoro-words` lets all languages speak every word of a text of any length. These are still misread:

- "St." in "Main St." sounds like "scent". Write "Street".
- Emoji are read by name.
- A voice reads the script of its language. English voices read Chinese characters as "Chinese letter".
- Decimal marks are read as a pause in other languages than English: "3,5" is "three, five".
- Japanese and Mandarin voices leave out emoji, `@` and some capital letters. They read Latin letters as sounds, not as
  words. Japanese leaves out the C of `℃`.
- "M." in French, "Sig." in Italian, "Sr." and "R$" in Portuguese are not read as the words that they stand for, nor is
  `₹` in Hindi.
- In Spanish, Italian and Portuguese, a point before three digits separates thousands: `3.141` is read as 3141. Write
  decimals with a comma.
- At twice the speed or more, words begin to disappear.

## Sources

Kokoro-82M, revision `{revision}`, {licence}. Each file is pinned by its sha256 in
`plugins/plugin_utils/store/data/`, from which this page is generated.
"""


def _megabytes(packages: list[locks.LockedPackage]) -> float:
    return sum(package.size for package in packages) / 1e6


def _needs(language: catalogue.Language, lock: locks.Lock) -> str:
    """Return a row of the second table."""
    models = ", ".join(language.spacy_models) or "none"
    own = [package for package in lock.packages if set(package.extras) & set(language.extras)]
    size = _megabytes(own) + sum(catalogue.SPACY_MODELS[name].megabytes for name in language.spacy_models)
    names, sizes = ", ".join(package.name for package in own) or "none", f"{size:.1f}"
    if language.code == "j":
        light = [package for package in lock.packages if "japanese-light" in package.extras]
        names += f"; {light[0].name} (light) or {catalogue.UNIDIC.filename} (full)"
        sizes = f"{size + _megabytes(light):.1f} (light), {size + catalogue.UNIDIC.size / 1e6:.1f} (full)"
    return f"| `{language.code}` | {models} | {names} | {sizes} |\n"


def page() -> str:
    """Return the text of the page."""
    lock = locks.read_lock(LOCK)
    languages = catalogue.LANGUAGES.values()
    voices = "".join(f"| `{x.code}` | {x.title} | {' '.join(catalogue.voices_of([x.code]))} |\n" for x in languages)
    unidic = catalogue.UNIDIC
    tail = TAIL.format(
        zh=catalogue.KOKORO_ZH.name, zh_voices=" and ".join(f"`{voice}`" for voice in catalogue.KOKORO_ZH.voices),
        zh_revision=catalogue.KOKORO_ZH.revision, weights=WEIGHTS_MB, full=unidic.size / 1e6,
        unpacked=unidic.unpacked / 1e6, filename=unidic.filename,
        revision=catalogue.KOKORO_REVISION, licence=catalogue.KOKORO_LICENCE,
    )  # fmt: skip
    needs = "".join(_needs(language, lock) for language in languages)
    return HEAD + voices + NEEDS.format(weights=WEIGHTS_MB, voice=VOICE_MB) + needs + tail


if __name__ == "__main__":
    print(page(), end="")
