# SPDX-License-Identifier: GPL-3.0-or-later
"""What a package index says about a project: its versions, their files, and when each file was uploaded.

An index answers in JSON (PEP 691), or in HTML (PEP 503), which has no times.
"""

from __future__ import annotations

import html.parser
import json
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from . import download

PYPI = "https://pypi.org/simple"
JSON = "application/vnd.pypi.simple.v1+json"


class RegistryError(Exception):
    """An index that cannot be asked, with the reason."""


@dataclass(frozen=True)
class File:
    """One file of a release. ``uploaded`` is empty if the index does not state it. ``yanked`` is None or the reason."""

    filename: str
    uploaded: str = ""
    yanked: str | None = None


@dataclass(frozen=True)
class Release:
    """All files of one version."""

    files: tuple[File, ...]

    @property
    def yanked(self) -> str | None:
        """The reason why the publisher withdrew it, perhaps empty; None if a file is still offered."""
        reasons = [file.yanked for file in self.files]
        return None if None in reasons else next(filter(None, reasons), "")

    @property
    def uploaded(self) -> str:
        """When its last file was uploaded. Empty if the index does not state it for each file."""
        times = [file.uploaded for file in self.files]
        return max(times) if all(times) else ""


class _Page(html.parser.HTMLParser):
    """The files on a page of PEP 503."""

    def __init__(self) -> None:
        super().__init__()
        self.files: list[File] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        own = dict(attrs)
        if tag == "a" and own.get("href"):
            path = urllib.parse.urlsplit(str(own["href"])).path
            yanked = str(own["data-yanked"] or "") if "data-yanked" in own else None
            self.files.append(File(urllib.parse.unquote(path.rsplit("/", 1)[-1]), "", yanked))


def _of_json(row: Mapping[str, Any]) -> File:
    yanked = row.get("yanked", False)
    return File(
        str(row["filename"]), str(row.get("upload-time") or ""), None if yanked is False else
        "" if yanked is True else str(yanked)
    )  # fmt: skip


def files_on(text: str) -> list[File]:
    """The files on an index page. Raises ValueError, KeyError, TypeError, AttributeError."""
    if text.lstrip().startswith("{"):
        return [_of_json(row) for row in json.loads(text)["files"]]
    page = _Page()
    page.feed(text)
    return page.files


def version_of(filename: str) -> str | None:
    """The version in the name of a wheel or an sdist; None for any other file."""
    from packaging.utils import InvalidSdistFilename, InvalidWheelFilename, parse_sdist_filename, parse_wheel_filename

    try:
        if filename.endswith(".whl"):
            return str(parse_wheel_filename(filename)[1])
        return str(parse_sdist_filename(filename)[1])
    except (InvalidWheelFilename, InvalidSdistFilename):
        return None


def releases(index: str, project: str) -> dict[str, Release]:
    """All releases of a project by version. Raises RegistryError."""
    page = download.project_page(index, project)
    try:
        text = download.page_text(page, f"{JSON}, text/html;q=0.5")[0]
        found: dict[str, list[File]] = {}
        for file in files_on(text):
            version = version_of(file.filename)
            if version is not None:
                found.setdefault(version, []).append(file)
    except download.DownloadError as error:
        raise RegistryError(str(error)) from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, AssertionError) as error:
        reason = f"{type(error).__name__}: {error!s:.200}"
        raise RegistryError(f"{download.without_credentials(page)} is no page of a package index ({reason})") from error
    return {version: Release(tuple(files)) for version, files in found.items()}
