# SPDX-License-Identifier: GPL-3.0-or-later
"""Write one summary of the ledgers of all hosts, on the controller."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible_collections.voicefleet.kokoro.plugins.module_utils.host.hashing import canonical_json, write_atomic
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.action.base import ControllerAction, fact
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.fleet import receipts as fleet
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.report import listing


class ActionModule(ControllerAction):
    def act(self, arguments: dict[str, Any], task_vars: dict[str, Any]) -> dict[str, Any]:
        hostvars = task_vars.get("hostvars") or {}
        found = {name: fact(hostvars.get(name) or {}, "releases_receipts") or None for name in arguments["hosts"]}
        summary = fleet.build(found, time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime()))
        file = Path(arguments["report_dir"]).absolute() / "receipts.json"
        page = file.with_suffix(".html")
        if not self.check_mode:
            try:
                file.parent.mkdir(parents=True, exist_ok=True)
                write_atomic(str(file), canonical_json(summary))
                write_atomic(str(page), listing.ledgers(summary).encode())
            except OSError as error:
                raise AnsibleActionFail(f"The summary cannot be written: {error.strerror}: {error.filename}") from None
        lines = [*fleet.table(summary), f"Page: {page}", f"Summary: {file}"]
        return {"changed": False, "html": str(page), "json": str(file), "not_read": summary["not_read"], "lines": lines}
