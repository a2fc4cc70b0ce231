# SPDX-License-Identifier: GPL-3.0-or-later
"""The page in a real browser: what a person sees, hears, clicks and prints, and what must never happen."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.voicefleet.kokoro.tests.report import fleets
from ansible_collections.voicefleet.kokoro.tests.report.browser import Chromium
from ansible_collections.voicefleet.kokoro.tests.report.conftest import Written

Make = Callable[[str], Written]
OPEN = "[...document.querySelectorAll('.fold[aria-expanded=false]')].slice(0, {count}).forEach((fold) => fold.click())"
# Of each canvas how many colours it has: one that was not drawn has one.
COLOURS = """[...document.querySelectorAll('canvas.{kind}')].map((canvas) => {{
  const data = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
  const seen = new Set();
  for (let i = 0; i < data.length; i += 4) seen.add(data.slice(i, i + 4).join());
  return seen.size;
}})"""
DURATIONS = """Promise.all([...document.querySelectorAll('audio')].map((audio) => audio.readyState > 0
  ? audio.duration
  : new Promise((done) => {
    audio.addEventListener('loadedmetadata', () => done(audio.duration));
    audio.addEventListener('error', () => done(audio.error.message || 'error'));
  })))"""
VISIBLE = "[...document.querySelectorAll('#hosts > tbody > tr[id^=h]')].filter((row) => !row.hidden)"
NAMES = VISIBLE + ".map((row) => row.querySelector('.fold').textContent)"


def quiet(chromium: Chromium) -> None:
    """Nothing was complained about, and nothing was asked for."""
    assert chromium.complaints() == []
    assert chromium.requests() == []


def wait_for(chromium: Chromium, script: str) -> Any:
    """The value of a script as soon as it is true."""
    give_up = time.monotonic() + 20
    while not (value := chromium.run(script)):
        assert time.monotonic() < give_up, script
        time.sleep(0.05)
    return value


@pytest.mark.parametrize(("fleet", "hosts"), [("one", 1), ("eight", 8), ("made_up", 2)])
def test_every_sound_has_a_player_and_pictures(
    chromium: Chromium, written: Make, pictures: Path, fleet: str, hosts: int
) -> None:
    chromium.open(written(fleet).page, height=3000)
    assert chromium.run(VISIBLE + ".length") == hosts
    chromium.picture(pictures / f"{fleet}.png", whole=True)
    # Folded, nothing is made: but of a single host one came to hear it.
    assert chromium.run("document.querySelectorAll('audio').length") == (2 if hosts == 1 else 0)
    chromium.run(OPEN.format(count=2))
    sounds = 2 * min(hosts, 2)
    durations = chromium.run(DURATIONS)
    assert len(durations) == sounds
    assert all(2.3 < duration < 3 for duration in durations), durations
    wait_for(chromium, f"{COLOURS.format(kind='spec')}.every((colours) => colours > 100)")
    assert [colours > 2 for colours in chromium.run(COLOURS.format(kind="wave"))] == [True] * sounds
    chromium.picture(pictures / f"{fleet}-open.png")
    quiet(chromium)


def test_the_spectrogram_shows_a_tone_at_its_time_and_pitch(chromium: Chromium, written: Make, tmp_path: Path) -> None:
    """6 kHz is the middle of 0 to 12 kHz; the tone is in the second half."""
    from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.report import page as report_page, report
    from ansible_collections.voicefleet.kokoro.tests.unit.plugins.module_utils.signals import pcm, silence, sine, wav

    host = fleets.host(tmp_path, "tone")
    data = wav(pcm(silence(0.5) + sine(0.5, 6000)))
    (tmp_path / "audio" / "tone" / "af_heart.wav").write_bytes(data)
    for sample in host.synthesis["samples"]:
        sample["sha256"] = fleets.proof.sha256_bytes(data)
    host.clips = report.load_clips(tmp_path, "tone", host.synthesis)
    page = tmp_path / "index.html"
    page.write_text(report_page.render(fleets.build([host]), {"tone": host.clips}), encoding="utf-8")
    chromium.open(page, height=2000)
    wait_for(chromium, f"{COLOURS.format(kind='spec')}.every((colours) => colours > 20)")
    brightness = chromium.run("""(() => {
      const canvas = document.querySelector('canvas.spec');
      const at = (x, y) => canvas.getContext('2d').getImageData(x, y, 1, 1).data.slice(0, 3).reduce((a, b) => a + b);
      const column = (x) => [...Array(canvas.height).keys()].map((y) => at(x, y));
      return [column(canvas.width / 4), column(3 * canvas.width / 4)];
    })()""")
    quiet_half, loud_half = brightness
    assert max(quiet_half) == min(quiet_half)
    assert loud_half.index(max(loud_half)) == pytest.approx(len(loud_half) / 2, abs=2)


def test_a_click_in_the_picture_plays_from_there(chromium: Chromium, written: Make) -> None:
    chromium.open(written("one").page, height=1600)
    chromium.run(DURATIONS)
    box = chromium.run("(({x, y, width}) => [x, y, width])(document.querySelector('.picture').getBoundingClientRect())")
    for kind in ("mousePressed", "mouseReleased"):
        chromium.call(
            "Input.dispatchMouseEvent", type=kind, x=box[0] + box[2] * 0.6, y=box[1] + 20, button="left", clickCount=1
        )
    begun = wait_for(chromium, "document.querySelector('audio').currentTime")
    assert begun > 1.4
    wait_for(chromium, "document.querySelector('audio').currentTime > 1.9")
    assert chromium.run("parseFloat(document.querySelector('.head').style.left)") > 50
    quiet(chromium)


def test_failed_and_odd_hosts_come_first_with_the_reason(chromium: Chromium, written: Make) -> None:
    chromium.open(written("eight").page)
    assert chromium.run(NAMES)[:4] == ["gpu-008", "gpu-003", "gpu-005", "gpu-006"]
    notes = chromium.run("[...document.querySelectorAll('.notes li')].map((note) => note.textContent)")
    assert [note.split()[1] for note in notes] == ["gpu-008", "gpu-003", "gpu-005", "gpu-006"]
    # Of a long message, the beginning; the whole of it is folded in the table.
    assert len(notes[0]) < 400
    assert chromium.run("document.querySelector('#h0 .note pre').textContent.match(/Traceback/g).length") == 40
    assert not chromium.run("document.querySelector('#h0 .note pre').checkVisibility()")
    assert "takes 3.2 times the fleet's median" in notes[1]
    assert "dB quieter than on most hosts" in notes[2]
    assert "manifest a0b1a0b1a0b1, most hosts 5b1c5b1c5b1c" in notes[3]
    assert chromium.run("[...document.querySelectorAll('figure path')].length") == 8
    # A note leads to its host, opened.
    chromium.run("document.querySelector('.notes a[href=\"#h1\"]').click()")
    assert wait_for(chromium, "document.querySelector('#h1 .fold').getAttribute('aria-expanded') === 'true'")


def test_a_host_is_compared_with_a_typical_host(chromium: Chromium, written: Make) -> None:
    chromium.open(written("eight").page, height=3000)
    chromium.run(OPEN.format(count=1))
    assert chromium.run("document.querySelector('details.compare summary').textContent").startswith(
        "Compare with gpu-00"
    )
    chromium.run("document.querySelector('details.compare').open = true")
    wait_for(chromium, "document.querySelectorAll('details.compare audio').length === 1")
    assert len(chromium.run(DURATIONS)) == 3
    different = "((all) => all[0].src !== all[1].src)(document.querySelectorAll('.card audio'))"
    assert chromium.run(different)


def test_the_keyboard_sorts_columns(chromium: Chromium, written: Make) -> None:
    chromium.open(written("eight").page)
    chromium.run(OPEN.format(count=1))
    chromium.run("document.querySelector('th[data-by=latency] button').focus()")
    chromium.key("Enter", "Enter", "\r")
    assert chromium.run("document.querySelector('th[data-by=latency]').ariaSort") == "ascending"
    latencies = VISIBLE + ".map((row) => Number(row.querySelector('td[data-name=Latency]').dataset.sort))"
    assert chromium.run(latencies) == sorted(chromium.run(latencies))
    chromium.key("Enter", "Enter", "\r")
    assert chromium.run("document.querySelector('th[data-by=latency]').ariaSort") == "descending"
    assert chromium.run(latencies) == sorted(chromium.run(latencies), reverse=True)
    assert chromium.run(NAMES)[0] == "gpu-003"
    # What was opened stays below its host.
    assert chromium.run("document.querySelector('tr.open').previousElementSibling.id") == "h0"
    chromium.run("document.querySelector('th[data-by=host] button').focus()")
    chromium.key("Enter", "Enter", "\r")
    assert chromium.run(NAMES) == [f"gpu-{number:03}" for number in range(1, 9)]
    assert chromium.run("document.querySelectorAll('[aria-sort]').length") == 1
    # And a host is opened by it.
    chromium.run("document.querySelector('#h4 .fold').focus()")
    chromium.key("Enter", "Enter", "\r")
    assert chromium.run("document.querySelector('#h4').nextElementSibling.id") == "d4"


def test_search_and_filters_find_hosts(chromium: Chromium, written: Make) -> None:
    chromium.open(written("eight").page)
    chromium.key("/", "Slash", "/")
    assert chromium.run("document.activeElement.id") == "find"
    for letter in "quieter":
        chromium.key(letter, f"Key{letter.upper()}", letter)
    assert chromium.run(NAMES) == ["gpu-005"]
    assert chromium.run("document.getElementById('shown').textContent") == "1 of 8 shown"
    chromium.run("document.getElementById('find').value = ''")
    chromium.run("document.querySelector('[data-show=odd]').click()")
    assert chromium.run(NAMES) == ["gpu-003", "gpu-005", "gpu-006"]
    chromium.run("document.querySelector('[data-show=failed]').click()")
    assert chromium.run(NAMES) == ["gpu-008"]
    assert chromium.run("document.querySelector('[data-show=failed]').ariaPressed") == "true"
    chromium.run("document.getElementById('find').value = 'nowhere'")
    chromium.run("document.getElementById('find').dispatchEvent(new Event('input'))")
    assert chromium.run(NAMES) == []
    assert chromium.run("document.getElementById('none').checkVisibility()")
    quiet(chromium)


def test_text_from_a_host_never_runs(chromium: Chromium, written: Make, pictures: Path) -> None:
    chromium.open(written("hostile").page, height=2400)
    chromium.run(OPEN.format(count=9))
    chromium.run("[...document.querySelectorAll('details')].forEach((one) => { one.open = true })")
    time.sleep(0.3)
    chromium.picture(pictures / "hostile.png")
    assert chromium.run("document.title") == "Proof of speech: 2 hosts"
    assert chromium.run("document.querySelectorAll('img, iframe, object, embed, link').length") == 0
    # All of it is there, as text.
    assert fleets.EVIL in chromium.run("document.querySelector('#d0').textContent")
    assert chromium.run("document.body.innerHTML.match(/onerror=.document/g).length") > 5
    assert chromium.run("[...document.querySelectorAll('*')].every((one) => !one.onerror)")
    quiet(chromium)


def test_the_policy_stops_foreign_scripts_and_requests(chromium: Chromium, written: Make) -> None:
    chromium.open(written("one").page)
    chromium.run(
        "document.body.append(Object.assign(document.createElement('script'), {textContent: 'document.title = 1'}))"
    )
    chromium.run(
        "document.body.append(Object.assign(document.createElement('img'), {src: 'https://voicefleet.example/x.png'}))"
    )
    wait_for(chromium, "true")
    assert chromium.run("document.title") == "Proof of speech: 1 host"
    said = " ".join(chromium.complaints())
    assert "script" in said
    assert "voicefleet.example" in said
    assert "Content Security Policy" in said
    with pytest.raises(Exception, match="fetch"):
        chromium.run("fetch('https://voicefleet.example/')")


@pytest.mark.parametrize(
    ("fleet", "said"),
    [("made_up", "this audio is not Kokoro's voice"), ("converted", "from an 8-bit copy, not the published file")],
)
def test_unpublished_files_are_marked_and_never_green(chromium: Chromium, written: Make, fleet: str, said: str) -> None:
    chromium.open(written(fleet).page, height=2400)
    chromium.run(OPEN.format(count=9))
    assert said in chromium.run("document.querySelector('[role=alert]').innerText")
    assert said in chromium.run("document.querySelector('p.odd').innerText")
    size = chromium.run("parseFloat(getComputedStyle(document.querySelector('.banner strong')).fontSize)")
    assert size > chromium.run("parseFloat(getComputedStyle(document.body).fontSize)") * 1.3
    # Also not among what is written below the rows.
    assert chromium.run("[...document.querySelectorAll('.good')].map((one) => one.textContent)") == []
    assert chromium.run("document.querySelectorAll('.card h3 .odd').length") == 4
    chromium.open(written("eight").page, height=2400)
    assert chromium.run("document.querySelectorAll('.badge.good').length") == 7
    assert chromium.run("document.querySelector('.banner')") is None


def test_an_unverified_level_does_not_look_passed(chromium: Chromium, written: Make) -> None:
    chromium.open(written("eight").page, height=2400)
    chromium.run(OPEN.format(count=8))
    steps = chromium.run("""[...document.querySelectorAll('.ladder li')].map((step) =>
      [step.textContent, step.className, getComputedStyle(step).borderStyle, getComputedStyle(step).color])""")
    passed = [step for step in steps if step[0].startswith("✓")]
    open_ = [step for step in steps if "UNVERIFIED" in step[0]]
    # Nobody listens for words in noise.
    assert sorted(step[0] for step in open_)[:2] == ["? intelligible UNVERIFIED not tried", open_[-1][0]]
    assert len(open_) == 9
    assert {step[1] for step in open_} == {"open-level"}
    # Neither in colour nor in form.
    assert not {step[3] for step in open_} & {step[3] for step in passed}
    assert not {step[2] for step in open_} & {step[2] for step in passed}
    assert [step for step in steps if step[1] == "bad" and step[0] == "✗ acoustic failed (required)"]
    assert not any("performance" in step[0] for step in passed)


def test_levels_that_were_not_requested_appear_once(chromium: Chromium, written: Make) -> None:
    chromium.open(written("one").page, height=2400)
    open_ = chromium.run("[...document.querySelectorAll('.ladder .open-level')].map((step) => step.textContent)")
    assert [step.split()[1] for step in open_] == ["phonemes", "intelligible", "performance", "offline"]
    assert all("UNVERIFIED not tried (synthesis_try_level)" in step for step in open_)
    assert chromium.run("document.querySelectorAll('.finding').length") == 0


def test_times_under_load_appear_if_they_were_measured(chromium: Chromium, written: Make) -> None:
    chromium.open(written("eight").page, height=2400)
    chromium.run(OPEN.format(count=1))
    cells = chromium.run("[...document.querySelector('.performance').rows[2].cells].map((cell) => cell.textContent)")
    assert cells[:2] == ["4", "8"]
    assert cells[2].count(" s") == 2
    chromium.open(written("one").page)
    assert chromium.run("document.querySelector('.performance')") is None


def contrast(one: str, other: str) -> float:
    """The contrast of two colours, #rgb or #rrggbb, as the Web Content Accessibility Guidelines measure it."""

    def luminance(colour: str) -> float:
        digits = colour.strip().lstrip("#")
        digits = "".join(2 * digit for digit in digits) if len(digits) == 3 else digits
        parts = [int(digits[place : place + 2], 16) / 255 for place in (0, 2, 4)]
        red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("dark", [False, True])
def test_the_contrast_suffices_in_light_and_dark(chromium: Chromium, written: Make, pictures: Path, dark: bool) -> None:
    chromium.open(written("eight").page, dark=dark, height=2400)
    chromium.run(OPEN.format(count=2))
    time.sleep(0.3)
    chromium.picture(pictures / f"eight-{'dark' if dark else 'light'}.png")
    names = ["page", "card", "ink", "soft", "good", "odd", "bad", "link", "good-back", "odd-back", "bad-back"]
    style = "getComputedStyle(document.documentElement)"
    colours = {name: chromium.run(f"{style}.getPropertyValue('--{name}')") for name in names}
    pairs = [(text, back) for text in ("ink", "soft", "good", "odd", "bad", "link") for back in ("page", "card")]
    pairs += [("good", "good-back"), ("odd", "odd-back"), ("bad", "bad-back"), ("ink", "bad-back"), ("ink", "odd-back")]
    assert {
        pair: contrast(colours[pair[0]], colours[pair[1]])
        for pair in pairs
        if contrast(colours[pair[0]], colours[pair[1]]) < 4.5
    } == {}
    assert (contrast(colours["page"], "#fff") > 5) is dark


@pytest.mark.parametrize("width", [1280, 800, 400])
@pytest.mark.parametrize("fleet", ["eight", "hostile", "made_up", "thousand"])
def test_nothing_is_wider_than_the_window(
    chromium: Chromium, written: Make, pictures: Path, fleet: str, width: int
) -> None:
    chromium.open(written(fleet).page, width=width, height=1600)
    chromium.run(OPEN.format(count=2))
    time.sleep(0.2)
    chromium.picture(pictures / f"{fleet}-{width}.png")
    assert chromium.run("document.documentElement.scrollWidth") == width
    assert (
        chromium.run("document.querySelector('.scroll').scrollWidth - document.querySelector('.scroll').clientWidth")
        == 0
    )
    sizes = chromium.run(
        "[...document.querySelectorAll('td, th, p, li')].map((one) => parseFloat(getComputedStyle(one).fontSize))"
    )
    assert min(sizes) >= 12


def test_the_page_can_be_printed(chromium: Chromium, written: Make, tmp_path: Path) -> None:
    chromium.open(written("eight").page, dark=True)
    chromium.call("Emulation.setEmulatedMedia", media="print")
    assert chromium.run("[...document.querySelectorAll('.tools')].some((one) => one.checkVisibility())") is False
    assert chromium.run("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert chromium.run("getComputedStyle(document.querySelector('#hosts')).backgroundColor") == "rgb(255, 255, 255)"
    chromium.paper(tmp_path / "page.pdf")
    assert (tmp_path / "page.pdf").read_bytes()[:5] == b"%PDF-"


def test_every_control_has_a_name(chromium: Chromium, written: Make) -> None:
    chromium.open(written("eight").page, height=2400)
    chromium.run(OPEN.format(count=1))
    tree = chromium.call("Accessibility.getFullAXTree")["nodes"]
    roles = {"button", "link", "textbox", "searchbox", "image", "Audio", "DisclosureTriangle", "img"}
    found = [node for node in tree if not node.get("ignored") and node.get("role", {}).get("value") in roles]
    assert len(found) > 30
    assert [node for node in found if not node.get("name", {}).get("value")] == []
    assert chromium.run("document.documentElement.lang") == "en"


def test_the_page_of_a_thousand_hosts_is_usable(chromium: Chromium, written: Make) -> None:
    """Figures of it: bench/page. Here, what would make it useless."""
    fleet = written("thousand")
    assert fleet.page.stat().st_size < 40e6
    chromium.open(fleet.page)
    assert chromium.cpu() < 20
    assert chromium.run(NAMES + ".length") == 1000
    odd = {row["host"] for row in fleet.data["hosts"] if row["state"] != "well"}
    assert set(chromium.run(NAMES)[: len(odd)]) == odd
    assert len(odd) == 10
    chromium.run("document.querySelector('[data-show=failed]').click()")
    assert chromium.run(NAMES + ".length") == 5
    # Of those that failed or stand out every sound is here, of most others none; then it says where it lies.
    known = chromium.run(
        "JSON.parse(document.getElementById('data').textContent).hosts"
        ".map((host) => [host.host, host.cards.map((card) => 'wav' in card)])"
    )
    assert all(all(cards) for host, cards in known if host in odd)
    here = sum(sum(cards) for _host, cards in known)
    assert 100 < here < 500
    assert f"This page holds {here} of 1,996 sounds" in chromium.run("document.querySelector('footer').textContent")
    chromium.run("document.querySelector('[data-show=all]').click()")
    place = next(place for place, (_host, cards) in enumerate(known) if cards == [False, False])
    chromium.run(f"document.querySelector('#h{place} .fold').click()")
    path = chromium.run(f"document.querySelector('#d{place} .card a').getAttribute('href')")
    assert (fleet.folder / path).read_bytes()[:4] == b"RIFF"
    quiet(chromium)
