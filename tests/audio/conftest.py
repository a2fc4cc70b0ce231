# SPDX-License-Identifier: GPL-3.0-or-later
"""Lets `pytest tests/audio` run in a plain checkout, as tests/unit does, and its modules import each other."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent

runpy.run_path(str(HERE.parent / "unit" / "conftest.py"))
sys.path.insert(0, str(HERE))
