# SPDX-License-Identifier: GPL-3.0-or-later
"""Remove unused files of a store and of the download cache, in two steps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible_collections.voicefleet.kokoro.plugins.module_utils.host.hashing import write_atomic
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.action.base import (
    ControllerAction,
    cache_folder,
    diff,
    findings,
)
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.store import prune
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.store.contents import in_words
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.store.exclusive import BusyError
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.store.manifest import ManifestError
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.store.store import shown


class ActionModule(ControllerAction):
    def act(self, arguments: dict[str, Any], task_vars: dict[str, Any]) -> dict[str, Any]:
        path = Path(arguments["path"]).absolute()
        if bool(arguments["list"]) == bool(arguments["list_to"]):
            raise AnsibleActionFail("give either list_to, to write a list, or list, to apply one")
        try:
            if arguments["list"]:
                return self._apply(path, arguments)
            return self._survey(path, arguments)
        except (prune.PruneError, ManifestError, BusyError) as error:
            raise AnsibleActionFail(f"Nothing was removed: {error}", result=findings(error)) from None
        except OSError as error:
            raise AnsibleActionFail(f"{error.strerror}: {error.filename}. Run it again: it continues there") from None

    def _survey(self, path: Path, arguments: dict[str, Any]) -> dict[str, Any]:
        target = Path(arguments["list_to"]).absolute()
        if target.resolve().is_relative_to(path.resolve()):
            raise prune.PruneError(
                f"{target} is inside the store, which may hold nothing else: choose another "
                "artifact_store_prune_list_to"
            )
        listing = prune.survey(path, *_scope(arguments))
        lines = _lines(listing.files)
        changed = False
        if listing.files:
            data = listing.to_bytes()
            changed = not target.is_file() or target.read_bytes() != data
            if changed and not self.check_mode:
                target.parent.mkdir(parents=True, exist_ok=True)
                write_atomic(str(target), data)
            summary = f"{len(listing.files)} files are surplus, {in_words(listing.size)}"
            lines.append(f"{summary}. To remove exactly these: -e artifact_store_prune_list={target}")
        else:
            summary = "nothing is surplus"
            lines.append("Nothing is surplus.")
        return _result(changed, summary, lines, listing.files, str(target) if listing.files else "")

    def _apply(self, path: Path, arguments: dict[str, Any]) -> dict[str, Any]:
        source = Path(arguments["list"]).absolute()
        gone = prune.apply(prune.read_listing(source), path, *_scope(arguments), check=self.check_mode)
        would = " would be" if self.check_mode else ""
        summary = f"{len(gone)} files{would} removed, {in_words(sum(file.size for file in gone))}"
        return _result(bool(gone), summary, [*_lines(gone), f"{summary}."], gone, str(source))


def _scope(arguments: dict[str, Any]) -> tuple[Path, list[Path]]:
    """The cache, and the other stores that use it."""
    cache = Path(arguments["cache"]) if arguments["cache"] else cache_folder() / "downloads"
    return cache.absolute(), [Path(store).absolute() for store in arguments["stores"]]


def _lines(files: Any) -> list[str]:
    return [f"{file.root}: {shown(file.path)} ({in_words(file.size)}, {file.reason})" for file in files]


def _result(changed: bool, message: str, lines: list[str], files: Any, source: str) -> dict[str, Any]:
    return {
        "changed": changed,
        "msg": message,
        "lines": lines,
        "list": source,
        "files": [{"root": file.root, "path": file.path, "size": file.size} for file in files],
        "diff": diff((f"{file.root}/{file.path}" for file in files), ()),
    }
