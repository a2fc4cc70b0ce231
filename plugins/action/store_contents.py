# SPDX-License-Identifier: GPL-3.0-or-later
"""Report what a store holds: a table for people, JSON for machines."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible_collections.voicefleet.kokoro.plugins.module_utils.host.hashing import canonical_json, write_atomic
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.action.base import ControllerAction
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.store import advisories, contents, provenance
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.store.manifest import ManifestError, read_manifest


class ActionModule(ControllerAction):
    def act(self, arguments: dict[str, Any], task_vars: dict[str, Any]) -> dict[str, Any]:
        path = Path(arguments["path"]).absolute()
        try:
            manifest, digest = read_manifest(path)
            known = advisories.load(path, manifest)
            statement = provenance.read(path, digest)
        except (ManifestError, advisories.AdvisoryError, provenance.ProvenanceError) as error:
            raise AnsibleActionFail(str(error)) from None
        data = contents.build(manifest, digest, known, statement.sentence if statement else "")
        result: dict[str, Any] = {
            "changed": False,
            "msg": f"{data['totals']['all']['files']} files, {contents.in_words(data['totals']['all']['size'])}",
            "lines": contents.text(data),
            "contents": data,
            "unpublished": data["unpublished"],
            "affected": data["advisories"]["affected"] if data["advisories"] else [],
        }
        if arguments["folder"]:
            folder = Path(arguments["folder"]).absolute()
            if folder.resolve().is_relative_to(path.resolve()):
                raise AnsibleActionFail(
                    f"{folder} is inside the store, which may hold nothing else: choose another "
                    "artifact_store_contents_path"
                )
            files = {
                folder / "contents.md": contents.markdown(data).encode(),
                folder / "contents.json": canonical_json(data),
            }
            try:
                stale = [file for file, wanted in files.items() if not file.is_file() or file.read_bytes() != wanted]
                if stale and not self.check_mode:
                    folder.mkdir(parents=True, exist_ok=True)
                    for file in stale:
                        write_atomic(str(file), files[file])
            except OSError as error:
                raise AnsibleActionFail(f"The report cannot be written: {error.strerror}: {error.filename}") from None
            result["changed"] = bool(stale)
            result["lines"] += ["", *(f"Written: {file}" for file in files if not self.check_mode)]
        return result
