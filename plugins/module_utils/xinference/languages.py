# SPDX-License-Identifier: GPL-3.0-or-later
"""Which running model speaks which of Kokoro's languages.

Kokoro is given one language as it is launched in Xinference (``lang_code``), so each language is a model of its own.
The first has the uid itself, as ``kokoro``; each other one that and its letter, as ``kokoro-b``. A voice's language is
its first letter.
"""

from __future__ import annotations

from collections.abc import Sequence


def uid_of(uid: str, language: str, languages: Sequence[str]) -> str:
    """The uid of the model that speaks a language; that of the first one for any that is not launched."""
    return f"{uid}-{language}" if language in languages[1:] and language != languages[0] else uid
