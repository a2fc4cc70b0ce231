# SPDX-License-Identifier: GPL-3.0-or-later
"""Lets `pytest tests/unit` run in a plain checkout, for the tests import ansible_collections.voicefleet.kokoro.

ansible-test brings its own way to find the collection; there this file changes nothing.
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def parent_of_ansible_collections() -> Path:
    """The folder to import from: the one around the checkout, or one in .cache whose link leads to the checkout."""
    if ROOT.parts[-3:] == ("ansible_collections", "voicefleet", "kokoro"):
        return ROOT.parents[2]
    tree = ROOT / ".cache" / "tree"
    link = tree / "ansible_collections" / "voicefleet" / "kokoro"
    if not link.is_symlink():
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(ROOT)
    return tree


sys.path.insert(0, str(parent_of_ansible_collections()))
