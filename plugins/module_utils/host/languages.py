# SPDX-License-Identifier: GPL-3.0-or-later
"""Which running model speaks which of Kokoro's languages.

Xinference gives Kokoro one language at launch (``lang_code``), so each language is a model of its own. The first model
has the plain uid, such as ``kokoro``. Every other model adds its letter, such as ``kokoro-b``. A voice's language is
its first letter.
"""

from __future__ import annotations

from collections.abc import Sequence


def uid_of(uid: str, language: str, languages: Sequence[str]) -> str:
    """Return the uid of the model that speaks a language; the first model's if that language is not launched."""
    return f"{uid}-{language}" if language in languages[1:] and language != languages[0] else uid
