# SPDX-License-Identifier: GPL-3.0-or-later
"""The terms of a proof that the controller needs too: levels, measures, names, versions. It does no work itself."""

from __future__ import annotations

import re
from typing import Any

# The levels of a proof, lowest first. A finding belongs to the level that it decides.
LEVELS = ("none", "format", "acoustic", "phonemes", "intelligible", "performance", "offline")
# What is measured of each request, and its name in a sentence. All in seconds except the factor.
MEASURES = {"first_byte": "first byte", "latency": "whole answer", "real_time_factor": "real-time factor"}
# A voice becomes a file name, and Xinference itself would open a path.
SAFE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.,+-]{0,99}")
# The parts of a release whose versions are kept with its proof.
PARTS = ("xinference", "kokoro", "misaki", "torch", "transformers", "spacy", "en_core_web_sm", "en_core_web_trf")


def versions_of(release: dict[str, Any]) -> dict[str, str]:
    """Return versions of Python and of PARTS from a ``release.json`` or plan; empty if it names no artifacts."""
    found = {
        item["name"]: str(item["version"])
        for item in release.get("artifacts") or []
        if item.get("kind") in ("wheel", "spacy-model") and item.get("name") in PARTS
    }
    python = (release.get("python") or {}).get("version")
    first = {"python": str(python)} if python and found else {}
    return {**first, **{name: found[name] for name in PARTS if name in found}}
