# SPDX-License-Identifier: GPL-3.0-or-later
"""A browser for all tests, and reports on the fleets, each written once as the playbooks write them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.voicefleet.kokoro.plugins.module_utils.host.hashing import canonical_json
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.report import junit, page as report_page, report
from ansible_collections.voicefleet.kokoro.tests.report import fleets
from ansible_collections.voicefleet.kokoro.tests.report.browser import Chromium

ROOT = Path(__file__).resolve().parents[2]
# What one wants to look at oneself.
PICTURES = Path(os.environ.get("VOICEFLEET_PICTURES", ROOT / "build" / "report"))


@dataclass
class Written:
    """A report on a fleet: its folder, with all files, and its data."""

    folder: Path
    data: dict[str, Any]

    @property
    def page(self) -> Path:
        return self.folder / "index.html"


@pytest.fixture(scope="session")
def chromium() -> Iterator[Chromium]:
    with Chromium() as browser:
        yield browser


@pytest.fixture(scope="session")
def written(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Written]:
    """The report on the fleet of that name."""
    made: dict[str, Written] = {}

    def make(name: str) -> Written:
        if name not in made:
            folder = tmp_path_factory.mktemp(name)
            hosts = getattr(fleets, name)(folder)
            data = fleets.build(hosts)
            (folder / "report.json").write_bytes(canonical_json(report.for_machines(data)))
            (folder / "junit.xml").write_bytes(junit.render(data))
            page = report_page.render(data, {host.name: host.clips for host in hosts})
            (folder / "index.html").write_text(page, encoding="utf-8")
            made[name] = Written(folder, data)
        return made[name]

    return make


@pytest.fixture(scope="session")
def pictures() -> Path:
    return PICTURES
