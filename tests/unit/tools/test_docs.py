# SPDX-License-Identifier: GPL-3.0-or-later
"""The documentation's links lead somewhere, and what it tells people to run or read exists."""

from __future__ import annotations

import re
import shlex
from collections import Counter
from dataclasses import fields
from itertools import pairwise
from pathlib import Path

import pytest
import yaml
from ansible_collections.voicefleet.kokoro.plugins.module_utils.release.plan import Plan

ROOT = Path(__file__).resolve().parents[3]
PAGES = sorted(
    page for pattern in ("*.md", "docs/*.md", "roles/*/README.md", "tests/**/*.md") for page in ROOT.glob(pattern)
)
FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
PLAYBOOK = re.compile(r"ansible-playbook (?:voicefleet\.kokoro\.)?([\w-]+)(?:\.yml)?")
NAMED = re.compile(r"(?<![\w/])(?:playbooks/voicefleet-doctor|(?:bin|bench)/[\w.-]+)")
FOLDERS = {"plugins": "", "module_utils": "plugins", "plugin_utils": "plugins", "tools": "", "tests": "", "docs": ""}
SOURCE = re.compile(rf"`((?:{'|'.join(FOLDERS)})/[\w./-]+)`")


def text(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them, and those written as HTML."""
    headings = re.findall(r"^#+ (.*)$", FENCE.sub("", text(page)), re.MULTILINE)
    made = {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}
    return made | set(re.findall(r'<a id="([^"]+)"', text(page)))


def broken(page: Path) -> list[str]:
    """The relative links of a page that lead nowhere."""
    found = []
    for link in LINK.findall(FENCE.sub("", text(page))):
        if re.match(r"[a-z]+:", link):
            continue
        path, anchor = (*link.split("#", 1), "")[:2]
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            found.append(link)
    return found


def test_every_benchmark_has_a_line() -> None:
    commands = [path.name for path in (ROOT / "bench").iterdir() if path.is_file() and not path.suffix]
    assert "start" in commands
    listed = re.findall(r"^\| `bench/([\w.]+)`", text(ROOT / "docs/performance.md"), re.MULTILINE)
    assert sorted(set(commands) - set(listed)) == []


def test_every_role_has_a_line() -> None:
    listed = re.findall(r"^\| \[(\w+)\]\(\.\./roles/\1/README\.md\)", text(ROOT / "docs/variables.md"), re.MULTILINE)
    assert sorted(listed) == sorted(path.name for path in (ROOT / "roles").iterdir())


def test_every_playbook_has_a_line() -> None:
    # report.yml is only the end of others.
    names = {path.name for path in (ROOT / "playbooks").glob("*.yml")} - {"report.yml"}
    assert names - set(re.findall(r"^\| `([\w-]+\.yml)`", text(ROOT / "docs/playbooks.md"), re.MULTILINE)) == set()


def test_pages_are_found() -> None:
    assert ROOT / "README.md" in PAGES
    assert ROOT / "docs/glossary.md" in PAGES


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_relative_link_has_a_target(page: Path) -> None:
    assert broken(page) == []


@pytest.mark.parametrize("link", ["nowhere.md", "#nowhere", "docs/glossary.md#nowhere"])
def test_a_broken_link_is_found(tmp_path: Path, link: str) -> None:
    page = tmp_path / "page.md"
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs/glossary.md").write_text("# Glossary\n")
    page.write_text(f"# Here\n[good](docs/glossary.md#glossary) [good](#here) [bad]({link})\n")
    assert broken(page) == [link]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_command_exists(page: Path) -> None:
    playbooks = {path.stem for path in (ROOT / "playbooks").glob("*.yml")}
    assert [name for name in PLAYBOOK.findall(text(page)) if name not in playbooks] == []
    if (ROOT / "bin").is_dir():  # not in the tarball
        assert [name for name in NAMED.findall(text(page)) if not (ROOT / name).is_file()] == []


def variables() -> set[str]:
    """What a command may set: the options of the roles, and the variables of the playbooks."""
    known = set(re.findall(r"\bvoicefleet_[a-z_]+", text(ROOT / "docs/playbooks.md")))
    for path in ROOT.glob("roles/*/meta/argument_specs.yml"):
        for entry in yaml.safe_load(text(path))["argument_specs"].values():
            known |= set(entry.get("options") or {})
    return known


def set_by(command: str) -> set[str]:
    """The names that a command line sets with -e."""
    words = shlex.split(command, comments=True)
    given = [after for word, after in pairwise(words) if word in ("-e", "--extra-vars")]
    names = [set(yaml.safe_load(each)) if each.startswith("{") else {each.partition("=")[0]} for each in given]
    return {name for each in names for name in each}


def commands(page: Path) -> list[str]:
    """The lines of a page that run a playbook."""
    blocks = [block.replace("\\\n", " ") for block in FENCE.findall(text(page))]
    found: list[str] = re.findall(r"^ *(?:ansible-playbook|\./voicefleet-doctor) .*$", "\n".join(blocks), re.MULTILINE)
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_variable_of_a_command_exists(page: Path) -> None:
    assert {name for command in commands(page) for name in set_by(command)} - variables() == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_command_names_the_inventory(page: Path) -> None:
    """It names the store: without it, a playbook looks for one in the current folder."""
    assert [command for command in commands(page) if " -i inventory.yml" not in command] == []


def test_the_variables_of_a_command_are_found() -> None:
    command = """ansible-playbook a.yml -i b -e one=1 -e '{"two": {"x": 1}, "three": [2]}'   # -e four=4"""
    assert set_by(command) == {"one", "two", "three"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_named_source_exists(page: Path) -> None:
    paths = [ROOT / FOLDERS[name.split("/", 1)[0]] / name for name in SOURCE.findall(text(page))]
    assert [str(path) for path in paths if not path.exists()] == []


@pytest.mark.parametrize("folder", ["docs", "roles"])
def test_links_lead_from_the_front_page_to_every_page(folder: str) -> None:
    linked, todo = set(), [ROOT / "README.md"]
    while todo:
        page = todo.pop()
        if page in linked:
            continue
        linked.add(page)
        paths = [link.partition("#")[0] for link in LINK.findall(FENCE.sub("", text(page)))]
        todo += [target for path in paths if path and (target := (page.parent / path).resolve()).suffix == ".md"]
    assert [str(page) for page in PAGES if page.is_relative_to(ROOT / folder) and page not in linked] == []


def test_the_glossary_gives_each_term_one_meaning() -> None:
    terms = re.findall(r"^\| ([^|]+?) \|", text(ROOT / "docs/glossary.md"), re.MULTILINE)
    assert [term for term, number in Counter(terms).items() if number > 1 and term not in ("term", "---")] == []


def test_the_example_of_a_plan_has_every_key() -> None:
    example = text(ROOT / "docs/architecture.md").split("voicefleet_plan:\n", 1)[1].split("```", 1)[0]
    assert sorted(re.findall(r"^  (\w+):", example, re.MULTILINE)) == sorted(field.name for field in fields(Plan))
