# SPDX-License-Identifier: GPL-3.0-or-later
"""The documentation in a real browser, from a disk. bin/docs builds it; pictures of its pages go to build/site."""

from __future__ import annotations

from pathlib import Path

import guides
import pytest
from ansible_collections.voicefleet.kokoro.tests.report.browser import Chromium

ROOT = Path(__file__).resolve().parents[2]
SITE = ROOT / "build" / "docs"
PICTURES = ROOT / "build" / "site"
PAGES = sorted({page for pages in guides.GUIDES.values() for page in pages})
HTML = ["index.html", *(f"{page[:-3]}.html" for page in PAGES if page != "README.md"), "reference/index.html"]
PHONE, DESK = 390, 1280
BROKEN = "[...document.images].filter((image) => !image.complete || !image.naturalWidth).map((image) => image.src)"


@pytest.mark.parametrize("page", HTML)
def test_a_page_is_shown_without_a_network(chromium: Chromium, page: str) -> None:
    for width, dark in ((DESK, False), (DESK, True), (PHONE, False)):
        chromium.open(SITE / page, width=width, height=844, dark=dark)
        name = page.replace("/", "-").removesuffix(".html")
        kind = "phone" if width == PHONE else "dark" if dark else "light"
        chromium.picture(PICTURES / f"{name}-{kind}.png", whole=True)
        assert chromium.complaints() == []
        assert [url for url in chromium.requests() if not url.startswith("file:")] == []
        assert chromium.run(BROKEN) == []
        # Wide commands and tables scroll in themselves; the page does not.
        assert chromium.run("document.documentElement.scrollWidth") <= width


def test_the_navigation_has_every_guide(chromium: Chromium) -> None:
    chromium.open(SITE / "index.html", width=DESK)
    hrefs = "[...document.querySelectorAll('.sidebar-tree a')].map((link) => link.getAttribute('href'))"
    linked = {"index.html" if link == "#" else link for link in chromium.run(hrefs)}
    for title, pages in guides.GUIDES.items():
        assert linked & {"index.html" if page == "README.md" else f"{page[:-3]}.html" for page in pages}, title


def test_a_search_finds_a_page(chromium: Chromium) -> None:
    chromium.open(SITE / "search.html", width=DESK)
    chromium.run("Search.performSearch('rollback')")
    count = "document.querySelectorAll('#search-results li').length"
    assert chromium.run(f"new Promise((done) => setTimeout(() => done({count}), 2000))") > 3
