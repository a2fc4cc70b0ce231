# SPDX-License-Identifier: GPL-3.0-or-later
"""Let `pytest tests/unit` find ansible_collections.voicefleet.kokoro in a plain checkout.

ansible-test finds the collection by itself.
"""

from __future__ import annotations

import contextlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[1]


def parent_of_ansible_collections() -> Path:
    """Return the folder to import from: the one around the checkout, or one in .cache with a link to the checkout."""
    if ROOT.parts[-3:] == ("ansible_collections", "voicefleet", "kokoro"):
        return ROOT.parents[2]
    tree = ROOT / ".cache" / "tree"
    link = tree / "ansible_collections" / "voicefleet" / "kokoro"
    if not link.is_symlink():
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(ROOT)
    return tree


sys.path.insert(0, str(parent_of_ansible_collections()))

# ansible-test has no Hypothesis. Tests that need it skip there.
with contextlib.suppress(ImportError):
    from hypothesis import HealthCheck, settings

    # The same few examples each time, so that no run is slow and none fails by chance. bin/test --fuzz takes "fuzz".
    common = settings(deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow])
    settings.register_profile("units", common, max_examples=100, derandomize=True)
    settings.register_profile("fuzz", common, max_examples=5000)
    settings.load_profile("units")


@pytest.fixture
def measure(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Load tools/measure.py."""
    spec = importlib.util.spec_from_file_location("measure", ROOT / "tools" / "measure.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "measure", module)
    spec.loader.exec_module(module)
    return module
