# SPDX-License-Identifier: GPL-3.0-or-later
"""Write a store, or what changed in it, into volumes for removable media."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible_collections.voicefleet.kokoro.plugins.module_utils.host.hashing import Memo
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.action import base
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.store import export, signature
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.store.exclusive import BusyError
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.store.manifest import INDEX, ManifestError


class ActionModule(base.ControllerAction):
    def act(self, arguments: dict[str, Any], task_vars: dict[str, Any]) -> dict[str, Any]:
        path, folder = Path(arguments["path"]).absolute(), Path(arguments["folder"]).absolute()
        memo = Memo(base.memo_path())
        try:
            done = export.export_store(
                path,
                folder,
                Path(arguments["since"]).absolute() if arguments["since"] else None,
                arguments["volume_mb"] * export.MEGABYTE,
                lambda line: base.display.display(f"  {folder.name}: {line}"),
                memo,
                check=self.check_mode,
            )
            signed = done.manifest_differs and not self.check_mode and self._sign(folder, arguments["signing_key"])
        except (export.ExportError, ManifestError, BusyError, signature.SignatureError) as error:
            raise AnsibleActionFail(
                f"The store {path} was not exported: {error}", result=base.findings(error)
            ) from None
        except OSError as error:
            raise AnsibleActionFail(
                f"The store {path} was not exported: {error.strerror}: {error.filename or folder}. The next run "
                f"starts again. It removes the unfinished export in {folder / export.UNFINISHED}"
            ) from None
        memo.save()
        message = f"{len(done.added)} files in {done.volumes} volume(s), {done.size / 1e6:.1f} MB"
        if not done.manifest_differs:
            message = "nothing is new since that manifest, so there is nothing to carry"
        elif not done.changed:
            message += "; they are already there"
        return {
            "changed": done.changed or signed,
            "msg": f"{message}; the import removes {len(done.removed)} files" if done.removed else message,
            "manifest_sha256": done.manifest,
            "volumes": done.volumes,
            "size": done.size,
            "added": done.added,
            "removed": done.removed,
            "diff": base.diff(done.removed, done.added),
        }

    def _sign(self, folder: Path, key: str | None) -> bool:
        """Sign the index of a written export. Returns whether a new signature was made."""
        signature.drop_stale(folder, INDEX)
        return key is not None and signature.sign(folder, Path(key), INDEX)
