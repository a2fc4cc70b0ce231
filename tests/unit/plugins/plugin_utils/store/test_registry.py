# SPDX-License-Identifier: GPL-3.0-or-later
"""What an index says about a project, in JSON and in HTML."""

from __future__ import annotations

import json

import pytest
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.store import download, registry

FILES = [
    {"filename": "x-1.0-py3-none-any.whl", "upload-time": "2026-01-01T00:00:00.5Z", "yanked": False},
    {"filename": "x-1.0.tar.gz", "upload-time": "2026-01-02T00:00:00Z"},
    {"filename": "x-2.0-py3-none-any.whl", "upload-time": "2026-02-01T00:00:00Z", "yanked": "broken on glibc"},
    {"filename": "x-2.0.tar.gz", "upload-time": "2026-02-01T00:00:00Z", "yanked": True},
    {"filename": "x-3.0.exe", "upload-time": "2026-02-01T00:00:00Z"},
]
HTML = """<!DOCTYPE html><a href="../../x-1.0-py3-none-any.whl#sha256=0">x</a>
<a href="https://h/x-2.0-py3-none-any.whl" data-yanked="broken on glibc">x</a><a name="no-address">y</a>"""


def answer(monkeypatch: pytest.MonkeyPatch, text: str) -> list[str]:
    asked: list[str] = []
    monkeypatch.setattr(download, "page_text", lambda page, accept: (asked.append(page), (text, page))[1])
    return asked


def test_releases_of_an_index_that_answers_in_json(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = answer(monkeypatch, json.dumps({"files": FILES}))
    found = registry.releases("https://mirror.example.com/simple/", "My_X")
    assert asked == ["https://mirror.example.com/simple/my-x/"]
    assert sorted(found) == ["1.0", "2.0"]
    assert (found["1.0"].yanked, found["1.0"].uploaded) == (None, "2026-01-02T00:00:00Z")
    assert found["2.0"].yanked == "broken on glibc"


def test_releases_of_an_index_that_answers_in_html_have_no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    answer(monkeypatch, HTML)
    found = registry.releases(registry.PYPI, "x")
    assert (found["1.0"].yanked, found["1.0"].uploaded) == (None, "")
    assert found["2.0"].yanked == "broken on glibc"


@pytest.mark.parametrize("text", ["{", "{}", '{"files": 1}', '{"files": [{}]}', '{"files": [1]}', "{" * 100_000])
def test_a_page_that_is_no_index_is_refused(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    answer(monkeypatch, text)
    with pytest.raises(registry.RegistryError, match=r"pypi\.org/simple/x/ is no page of a package index"):
        registry.releases(registry.PYPI, "x")


def test_an_unreachable_index_is_reported_without_its_password() -> None:
    with pytest.raises(registry.RegistryError, match=r"^http://127\.0\.0\.1:1/simple/x/: "):
        registry.releases("http://kim:s3cret@127.0.0.1:1/simple", "x")
