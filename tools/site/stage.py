# SPDX-License-Identifier: GPL-3.0-or-later
"""Prepare the pages of the documentation site, and check its links. bin/docs calls it.

``stage.py stage ROOT SOURCE`` copies the Markdown files of the repository to the same places below SOURCE, so links
between them keep working. The README becomes the landing page. ``stage.py check SITE`` follows every internal link of
the finished site.
"""

from __future__ import annotations

import html.parser
import re
import shutil
import sys
import urllib.parse
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import yaml

HERE = Path(__file__).resolve().parent
LANDING = "README.md"
PAGES = (LANDING, "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md", "docs/*.md", "roles/*/README.md")
_LINK = re.compile(r"(!?\[[^\]]*\]\()([^)\s#]*)(#[^)\s]*)?(\))")


def pages(root: Path) -> list[str]:
    """The pages by their paths in the repository."""
    return sorted(str(path.relative_to(root)) for pattern in PAGES for path in root.glob(pattern))


def staged(page: str) -> str:
    """The path of a page on the site."""
    return "index.md" if page == LANDING else page


def toctrees(every: list[str]) -> str:
    """The navigation. Pages that it does not name go to its group "More"."""
    groups: list[dict[str, Any]] = yaml.safe_load((HERE / "nav.yml").read_text(encoding="utf-8"))
    rows = [(group["group"], [_entry(page) for page in group["pages"]]) for group in groups]
    named = {page for _group, entries in rows for _title, page in entries}
    unknown = sorted(named - set(every) - {"reference/index.rst", "reference/terms.rst"})
    if unknown:
        raise SystemExit(f"nav.yml names pages that do not exist: {', '.join(unknown)}")
    left = [("", page) for page in every if page not in named and page != LANDING]
    text = ""
    for group, entries in rows:
        lines = [_line(title, page) for title, page in (entries + left if group == "More" else entries)]
        if lines:
            text += "\n".join(["", "```{toctree}", ":hidden:", f":caption: {group}", "", *lines, "```", ""])
    return text


def _entry(page: str | list[str]) -> tuple[str, str]:
    return ("", page) if isinstance(page, str) else (page[0], page[1])


def _line(title: str, page: str) -> str:
    if page == LANDING:
        return f"{title} <self>"
    document = f"/{page.rsplit('.', 1)[0]}"
    return f"{title} <{document}>" if title else document


def text_of(root: Path, page: str, source: Path) -> str:
    """A page's text for the site. Files that it links to are copied beside it."""
    folder = (root / page).parent

    def link(match: re.Match[str]) -> str:
        before, target, anchor, after = match[1], match[2], match[3] or "", match[4]
        if not target or urllib.parse.urlsplit(target).scheme:
            return match[0]
        path = (folder / target).resolve()
        if path == root / LANDING:
            target = f"{target[: -len(LANDING)]}index.md"
        elif path.is_file() and path.suffix != ".md" and path.is_relative_to(root):
            copy = source / path.relative_to(root)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, copy)
        return f"{before}{target}{anchor}{after}"

    text = _LINK.sub(link, (root / page).read_text(encoding="utf-8"))
    role = re.fullmatch(r"roles/(\w+)/README\.md", page)
    if role:
        text += f"\n## All variables\n\nThe [reference of this role](../../reference/{role[1]}_role.rst) lists them.\n"
    return text


def without_contents(reference: Path) -> None:
    """Remove the tables of contents from the generated pages. The theme shows one beside each page."""
    for path in reference.glob("*.rst"):
        text = path.read_text(encoding="utf-8")
        path.write_text(re.sub(r"^\.\. contents::\n(?:   .*\n)*", "", text, flags=re.MULTILINE), encoding="utf-8")


def stage(root: Path, source: Path) -> None:
    without_contents(source / "reference")
    every = pages(root)
    for page in every:
        text = text_of(root, page, source)
        if page == LANDING:
            text += toctrees(every)
        path = source / staged(page)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    (source / "reference").mkdir(exist_ok=True)
    shutil.copyfile(HERE / "terms.rst", source / "reference" / "terms.rst")
    shutil.copyfile(HERE / "conf.py", source / "conf.py")
    static = source / "_static"
    static.mkdir(exist_ok=True)
    shutil.copyfile(HERE / "site.css", static / "site.css")


class Page(html.parser.HTMLParser):
    """The links of a page, and the anchors that it has."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.anchors: set[str] = set()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name in ("href", "src") and value:
                self.links.append(value)
            elif name in ("id", "name") and value:
                self.anchors.add(value)


def dead_links(site: Path) -> Iterator[str]:
    """Every internal link that leads nowhere, and everything that a page loads from elsewhere."""
    parsed = cache(Page)
    for path in sorted(site.rglob("*.html")):
        for link in parsed(path).links:
            parts = urllib.parse.urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / urllib.parse.unquote(parts.path)).resolve() if parts.path else path
            if not target.is_file():
                yield f"{path.relative_to(site)}: there is no {link}"
                continue
            anchor = urllib.parse.unquote(parts.fragment)
            if anchor and target.suffix == ".html" and anchor not in parsed(target).anchors:
                yield f"{path.relative_to(site)}: {link} names no heading there"


def main() -> int:
    match sys.argv[1:]:
        case ["stage", root, source]:
            stage(Path(root).resolve(), Path(source).resolve())
        case ["check", site]:
            dead = list(dead_links(Path(site).resolve()))
            print("\n".join(dead) or "Every internal link leads somewhere.")
            return int(bool(dead))
        case _:
            raise SystemExit(__doc__)
    return 0


if __name__ == "__main__":
    sys.exit(main())
