# SPDX-License-Identifier: GPL-3.0-or-later
"""Write docs/voices.md from the catalogue: ``python tools/voices_page.py > docs/voices.md``."""

from __future__ import annotations

from ansible_collections.voicefleet.kokoro.plugins.plugin_utils import catalogue


def page() -> str:
    """The page's text."""
    lines = [
        "# Voices and languages",
        "",
        "A voice's first letter is its language, the second says female or male. A voice is asked for by its name;",
        "`kokoro_languages` and `kokoro_voices` choose what the store holds and what hosts serve.",
        "",
        "| letter | language | spaCy model | voices |",
        "| --- | --- | --- | --- |",
    ]
    for code, language in catalogue.LANGUAGES.items():
        models = ", ".join(language.spacy_models) or "none"
        voices = " ".join(catalogue.voices_of([code]))
        lines.append(f"| `{code}` | {language.title} | {models} | {voices} |")
    lines += [
        "",
        f"Kokoro-82M, revision `{catalogue.KOKORO_REVISION}`, {catalogue.KOKORO_LICENCE}.",
        "Each file is pinned by its sha256 in `plugins/plugin_utils/catalogue.py`, from which this page is written.",
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(page(), end="")
