# SPDX-License-Identifier: GPL-3.0-or-later
"""The ledgers and the doctor of a thousand hosts: what is printed is short, and the pages are usable in Chromium.

The page of the report has tests of its own in test_page.py. Figures of all three: bench/page.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.fleet import doctor, receipts
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.report import listing, table
from ansible_collections.voicefleet.kokoro.tests.report import fleets
from ansible_collections.voicefleet.kokoro.tests.report.browser import Chromium

VISIBLE = "[...document.querySelectorAll('#hosts > tbody > tr')].filter((row) => row.checkVisibility())"
NAMES = VISIBLE + ".map((row) => row.querySelector('.name').textContent)"
FAILED = [fleets.name_of(number) for number in (99, 300, 702)]
GONE = fleets.name_of(5)


@pytest.fixture(scope="module")
def ledgers() -> dict[str, Any]:
    return receipts.build(fleets.ledgers(), fleets.TIME)


@pytest.fixture(scope="module")
def examined() -> dict[str, Any]:
    return doctor.report(fleets.examined(), fleets.TIME)


@pytest.fixture
def opened(chromium: Chromium, tmp_path: Path, pictures: Path) -> Callable[[str, str], float]:
    """Opens a page, and returns the seconds of CPU that it took."""

    def open_page(page: str, name: str) -> float:
        file = tmp_path / f"{name}.html"
        file.write_text(page, encoding="utf-8")
        assert file.stat().st_size < 5e6
        chromium.open(file)
        seconds = chromium.cpu()
        chromium.picture(pictures / f"{name}-1000.png")
        return seconds

    return open_page


def search(chromium: Chromium, words: str) -> list[str]:
    chromium.run(f"document.getElementById('find').value = '{words}'")
    chromium.run("document.getElementById('find').dispatchEvent(new Event('input'))")
    found: list[str] = chromium.run(NAMES)
    return found


def sorted_by(chromium: Chromium, column: str) -> list[str]:
    chromium.run(f"document.querySelector('th[data-by={column}] button').click()")
    found: list[str] = chromium.run(NAMES)
    return found


def test_what_is_printed_about_a_thousand_hosts_fits_two_screens(
    ledgers: dict[str, Any], examined: dict[str, Any], tmp_path: Path
) -> None:
    report = fleets.build(fleets.thousand(tmp_path))
    for lines in (table.table(report), receipts.table(ledgers), doctor.lines(examined)):
        assert 5 < len(lines) < 80
        assert max(map(len, lines)) < 600
    said = "\n".join(receipts.table(ledgers))
    assert all(name in said for name in (*FAILED, GONE))
    assert "6 of 1,000 hosts to look at." in said
    last = doctor.lines(examined)[-4:]
    assert [line.split()[0] for line in last] == ["FAIL", "FAIL", "FAIL", "1,000"]
    assert len(doctor.lines(examined, show_ok=False)) < 12


def test_the_page_of_a_thousand_ledgers_is_usable(
    chromium: Chromium, opened: Callable[[str, str], float], ledgers: dict[str, Any]
) -> None:
    assert opened(listing.ledgers(ledgers), "ledgers") < 10
    names = chromium.run(NAMES)
    assert len(names) == 1000
    assert names[:6] == [GONE, *FAILED, fleets.name_of(7), fleets.name_of(42)]
    assert search(chromium, "in phase proof") == FAILED
    # Most hosts once served it.
    assert search(chromium, fleets.OLDER) == [fleets.name_of(42)]
    assert len(search(chromium, "")) == 1000
    chromium.run("document.querySelector('[data-show=failed]').click()")
    assert chromium.run(NAMES) == [GONE, *FAILED]
    assert chromium.run("document.getElementById('shown').textContent") == "4 of 1,000 shown"
    chromium.run("document.querySelector('[data-show=all]').click()")
    assert sorted_by(chromium, "host")[:2] == [fleets.name_of(0), fleets.name_of(1)]
    history = chromium.run("document.querySelector('#h999 .history pre').textContent").splitlines()
    assert history[0] == f"{fleets.TIME}  {fleets.RELEASE}  ann"
    assert len(history) == 9
    assert chromium.run("document.title") == "What serves where: 1,000 hosts"
    assert chromium.complaints() == []


def test_the_page_of_the_doctor_of_a_thousand_hosts_is_usable(
    chromium: Chromium, opened: Callable[[str, str], float], examined: dict[str, Any]
) -> None:
    assert opened(listing.examined(examined), "doctor") < 10
    names = chromium.run(NAMES)
    assert len(names) == 1000
    assert set(names[:4]) == {GONE, *FAILED}
    assert search(chromium, "unit inactive") == FAILED
    assert search(chromium, "UNREACHABLE") == [GONE]
    assert search(chromium, "") == names
    chromium.run("document.querySelector('[data-show=odd]').click()")
    # Of 40 hosts with little disk, two also have a dead unit.
    assert len(chromium.run(NAMES)) == 39
    chromium.run("document.querySelector('[data-show=all]').click()")
    sorted_by(chromium, "FAIL")
    assert set(sorted_by(chromium, "FAIL")[:4]) == {GONE, *FAILED}
    assert chromium.run("document.title") == "The doctor: 1,000 hosts"
    assert chromium.complaints() == []


@pytest.mark.parametrize("width", [1280, 400])
def test_nothing_on_these_pages_is_wider_than_the_window(
    chromium: Chromium, tmp_path: Path, pictures: Path, width: int, ledgers: dict[str, Any], examined: dict[str, Any]
) -> None:
    for name, page in (("ledgers", listing.ledgers(ledgers)), ("doctor", listing.examined(examined))):
        (tmp_path / name).with_suffix(".html").write_text(page, encoding="utf-8")
        chromium.open((tmp_path / name).with_suffix(".html"), width=width)
        chromium.picture(pictures / f"{name}-{width}.png")
        assert chromium.run("document.documentElement.scrollWidth") == width
        box = "document.querySelector('.scroll')"
        assert chromium.run(f"{box}.scrollWidth - {box}.clientWidth") == 0
