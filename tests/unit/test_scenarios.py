# SPDX-License-Identifier: GPL-3.0-or-later
"""Molecule can read every scenario's file. It replaces placeholders in all of it, comments too."""

from __future__ import annotations

import string
from pathlib import Path

import pytest
import yaml

SCENARIOS = sorted((Path(__file__).parents[2] / "molecule").glob("*/molecule.yml"))


@pytest.mark.parametrize("file", SCENARIOS, ids=lambda file: file.parent.name)
def test_molecule_can_read_a_scenario(file: Path) -> None:
    # bin/test sets this variable. No other one is known there.
    text = string.Template(file.read_text(encoding="utf-8")).substitute({"VOICEFLEET_CACHE": "/cache"})
    assert yaml.safe_load(text)["platforms"]
