# SPDX-License-Identifier: GPL-3.0-or-later
"""Which versions of a spaCy model suit which spaCy, best first; written by bin/refresh-locks, not by hand.

The part of https://raw.githubusercontent.com/explosion/spacy-models/master/compatibility.json that the catalogue needs:
with it in the store's maker, no host ever asks for that file.
"""

from __future__ import annotations

COMPATIBILITY: dict[str, dict[str, tuple[str, ...]]] = {
    "3.8": {"en_core_web_sm": ("3.8.0",), "en_core_web_trf": ("3.8.0",)},
    "3.7": {"en_core_web_sm": ("3.7.1", "3.7.0"), "en_core_web_trf": ("3.7.3", "3.7.2")},
    "3.6": {"en_core_web_sm": ("3.6.0",), "en_core_web_trf": ("3.6.1",)},
    "3.5": {"en_core_web_sm": ("3.5.0",), "en_core_web_trf": ("3.5.0",)},
    "3.4": {"en_core_web_sm": ("3.4.1", "3.4.0"), "en_core_web_trf": ("3.4.1", "3.4.0")},
    "3.3": {"en_core_web_sm": ("3.3.0",), "en_core_web_trf": ("3.3.0",)},
    "3.2": {"en_core_web_sm": ("3.2.0",), "en_core_web_trf": ("3.2.0",)},
    "3.1": {"en_core_web_sm": ("3.1.0",), "en_core_web_trf": ("3.1.0",)},
}
