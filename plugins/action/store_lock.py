# SPDX-License-Identifier: GPL-3.0-or-later
"""Make locks for other versions of the packages, on the connected machine."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.action import spec
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.action.base import (
    ControllerAction,
    cache_folder,
    diff,
    display,
)
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.fleet import gpu, proxy
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.store import (
    advisories,
    download,
    locks,
    registry,
    relock,
    store,
)
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.store.profiles import parse_profile


class ActionModule(ControllerAction):
    def act(self, arguments: dict[str, Any], task_vars: dict[str, Any]) -> dict[str, Any]:
        folder = Path(arguments["locks"]).absolute()
        try:
            request = relock.Request(
                folder,
                [parse_profile(name) for name in arguments["profiles"]],
                {str(name): str(version) for name, version in arguments["versions"].items()},
                arguments["days"],
                arguments["index"] or "",
                Path(arguments["advisories"]) if arguments["advisories"] else None,
            )
            with tempfile.TemporaryDirectory() as scratch, proxy.way_out(arguments["proxy"], Path(scratch)) as asked:
                made = relock.make(
                    request,
                    store.find_uv(arguments["uv"], (), Path(scratch)),
                    download.Cache(Path(arguments["cache"]) if arguments["cache"] else cache_folder() / "downloads"),
                    lambda line: display.display(f"  {folder.name}: {line}"),
                    self.check_mode,
                    lambda: asked([download.without_credentials(request.index or registry.PYPI)]),
                )
        except (relock.RelockError, registry.RegistryError, locks.LockError, download.DownloadError,
                advisories.AdvisoryError, proxy.ProxyError, store.StoreError, ValueError) as error:  # fmt: skip
            raise AnsibleActionFail(f"No lock was written to {folder}: {error}") from None
        except OSError as error:
            raise AnsibleActionFail(
                f"The locks in {folder} are not complete: {error.strerror}: {error.filename}"
            ) from None
        for name, lock in made.locks.items():
            made.notes += gpu.notes_on(name, [(package.name, package.version) for package in lock.packages])
        counts = f"{len(made.locks)} locks, {len(made.changes)} differences to the shipped ones"
        return {
            "changed": made.changed,
            "msg": f"{counts}, {len(made.unfit)} repairs that do not fit",
            "lines": relock.report(made, folder),
            "changes": made.changes,
            "unfit": made.unfit,
            "notes": made.notes,
            "uploaded_before": made.until,
            "diff": diff(
                (f"{row['name']} {row['old']}" for row in made.changes if row["old"]),
                (f"{row['name']} {row['new']}" for row in made.changes if row["new"]),
            ),
        }


ActionModule.SPEC["proxy"].update(options=spec.proxy_of_a_fetch())
