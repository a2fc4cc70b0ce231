# SPDX-License-Identifier: GPL-3.0-or-later
"""What the documentation site is made of, and the check of its links. bin/docs builds it."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def site() -> ModuleType:
    spec = importlib.util.spec_from_file_location("stage", ROOT / "tools" / "site" / "stage.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A repository of a few pages."""
    root = tmp_path / "root"
    for name, text in {
        "README.md": "# A\n[b](docs/b.md#c) ![p](docs/p.webp)\n",
        "docs/b.md": "# B\n[a](../README.md#a) [schema](s.json) [web](https://example.org/s.json)\n",
        "docs/s.json": "{}",
        "docs/p.webp": "",
        "roles/r/README.md": "# R\n",
    }.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def test_every_page_is_in_the_navigation_once(site: ModuleType) -> None:
    every = site.pages(ROOT)
    text = site.toctrees(every)
    for page in every:
        entry = "<self>" if page == "README.md" else f"/{page[:-3]}"
        assert text.count(f"{entry}>\n") + text.count(f"\n{entry}\n") + text.count(f" {entry}\n") == 1, page


def test_a_navigation_that_names_a_missing_page_is_refused(site: ModuleType) -> None:
    with pytest.raises(SystemExit, match="nav.yml names pages that do not exist: .*docs/gpu.md"):
        site.toctrees(["README.md"])


def test_pages_keep_their_places_and_bring_what_they_link_to(
    site: ModuleType, small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(site, "toctrees", lambda every: f"navigation of {len(every)} pages")
    source = tmp_path / "source"
    (source / "reference").mkdir(parents=True)
    (source / "reference" / "x_module.rst").write_text("Title\n\n.. contents::\n   :local:\n   :depth: 1\n\nText\n")
    site.stage(small, source)
    assert (source / "index.md").read_text().endswith("navigation of 3 pages")
    assert (source / "docs" / "b.md").read_text().startswith("# B\n[a](../index.md#a) [schema](s.json)")
    assert (source / "docs" / "s.json").read_text() == "{}"
    assert (source / "docs" / "p.webp").exists()
    assert "(../../reference/r_role.rst)" in (source / "roles" / "r" / "README.md").read_text()
    assert (source / "reference" / "x_module.rst").read_text() == "Title\n\n\nText\n"
    assert not (source / "README.md").exists()


def test_dead_internal_links_are_found(site: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "a.html").write_text(
        '<a href="b.html#there">1</a><a href="b.html#gone">2</a><a href="c.html">3</a><a href="#top">4</a>'
        '<a href="https://example.org/">5</a><img src="p%20q.png"><h1 id="top">'
    )
    (tmp_path / "b.html").write_text('<h1 id="there">')
    (tmp_path / "p q.png").write_bytes(b"")
    assert list(site.dead_links(tmp_path)) == [
        "a.html: b.html#gone names no heading there",
        "a.html: there is no c.html",
    ]
