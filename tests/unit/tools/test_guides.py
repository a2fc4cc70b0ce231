# SPDX-License-Identifier: GPL-3.0-or-later
"""Each guide is a page of the site, and for each of its commands it is known which test runs it, or why none does."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

guides = pytest.importorskip("guides", reason="molecule/ is not shipped")
ROOT = Path(__file__).resolve().parents[3]
PAGES = sorted({page for pages in guides.GUIDES.values() for page in pages})


def beginnings(page: str) -> dict[str, str]:
    """How the commands of a page may begin, each with the test that runs it, or with ``not:`` and a reason."""
    found: dict[str, str] = {}
    for test, pages in guides.RUN.items():
        for start in pages.get(page, []):
            found[start] = f"{found[start]}, {test}" if start in found else test
    for start, reason in guides.NOT_RUN.get(page, {}).items():
        assert start not in found, (page, start)
        found[start] = f"not: {reason}"
    return found


def test_every_guide_is_in_the_navigation_of_the_site() -> None:
    groups = yaml.safe_load((ROOT / "tools/site/nav.yml").read_text(encoding="utf-8"))
    listed = {entry if isinstance(entry, str) else entry[1] for group in groups for entry in group["pages"]}
    missing = {title: pages for title, pages in guides.GUIDES.items() if not listed & set(pages)}
    assert missing == {}
    assert [page for page in PAGES if not (ROOT / page).is_file()] == []


@pytest.mark.parametrize("page", PAGES)
def test_each_command_of_a_guide_is_run_or_says_why_not(page: str) -> None:
    starts = beginnings(page)
    used = set()
    for command in guides.commands(page):
        fitting = [start for start in starts if command.startswith(start)]
        assert fitting, f"{page}: no test runs: {command}"
        used.add(max(fitting, key=len))
    assert set(starts) - used == set()


@pytest.mark.parametrize("test", guides.RUN)
def test_a_test_runs_what_it_is_said_to_run(test: str) -> None:
    text = (ROOT / test).read_text(encoding="utf-8")
    for page, starts in guides.RUN[test].items():
        assert [start for start in starts if f'printed("{page}", "{start}")' not in text] == []
