# SPDX-License-Identifier: GPL-3.0-or-later
"""Update a store to the contents of an export that was carried over the gap."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible_collections.voicefleet.kokoro.plugins.module_utils.host.hashing import Memo
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.action import base
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.store import age, export, signature
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.store.exclusive import BusyError
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.store.manifest import (
    INDEX,
    ManifestError,
    read_manifest,
)


class ActionModule(base.ControllerAction):
    def act(self, arguments: dict[str, Any], task_vars: dict[str, Any]) -> dict[str, Any]:
        path, folder = Path(arguments["path"]).absolute(), Path(arguments["folder"]).absolute()
        allowed = Path(arguments["allowed_signers"]) if arguments["allowed_signers"] else None
        memo, accepted = Memo(base.memo_path()), age.Accepted(base.accepted_path())
        try:
            # Check the signatures before anything else in the export is trusted.
            data = export.index_bytes(folder)
            signature.check(folder, arguments["signature_policy"], allowed, INDEX, data)
            trust = signature.check(folder, arguments["signature_policy"], allowed)
            done = export.import_store(
                folder,
                path,
                lambda line: base.display.display(f"  {path.name}: {line}"),
                memo,
                self.check_mode,
                export.parse_index(data, str(folder / INDEX)),
                accepted.at(path),
                arguments["allow_older"],
            )
            if not self.check_mode and (warning := accepted.accept(path, read_manifest(path)[0])):
                base.display.warning(warning)
        except (export.ExportError, ManifestError, BusyError, age.OlderError, signature.SignatureError) as error:
            raise AnsibleActionFail(f"Nothing was imported into {path}: {error}", result=base.findings(error)) from None
        except OSError as error:
            raise AnsibleActionFail(
                f"The import into {path} was interrupted: {error.strerror}: {error.filename or path}. Fix this and "
                "run it again: it continues where it stopped"
            ) from None
        memo.save()
        would = " would be" if self.check_mode else ""
        message = f"{len(done.added)} files{would} added, {len(done.removed)}{would} removed"
        if not done.changed:
            message = "the store already has these contents"
        return {
            "changed": done.changed,
            "msg": f"{message}; {trust.sentence}",
            "manifest_sha256": done.manifest,
            "signed_by": trust.signer,
            "added": done.added,
            "removed": done.removed,
            "diff": base.diff(done.removed, done.added),
        }
