# SPDX-License-Identifier: GPL-3.0-or-later
"""Examine one host, whatever is broken there. Its findings become a fact, and the action never fails."""

from __future__ import annotations

import os
import time
from dataclasses import fields
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleError
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.action.base import ControllerAction
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.fleet import doctor
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.fleet.preflight import Finding
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.report import bundle
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.store import advisories
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.store.manifest import (
    FILENAME,
    ManifestError,
    read_manifest,
)

FACT = "voicefleet_doctor"
# Options that the controller alone needs.
OWN = ("minimum_memory_mb", "bundle", "store", "peer")
EXPECTED = [field.name for field in fields(doctor.Expected)]


class ActionModule(ControllerAction):
    _requires_connection = True

    def act(self, arguments: dict[str, Any], task_vars: dict[str, Any]) -> dict[str, Any]:
        host = str(task_vars.get("inventory_hostname", "host"))
        expected = doctor.Expected(**{name: arguments[name] for name in EXPECTED})
        asked = {name: arguments[name] for name in arguments if name not in OWN}
        if expected.peer.get("open"):
            asked |= {"peer_host": expected.peer["reach"], "peer_port": expected.peer["port"]}
        facts: dict[str, Any] = {}
        try:
            began = time.time()
            facts = self.state("voicefleet.kokoro.service_state", {**asked, "subsets": ["health"]}, task_vars)["health"]
            # The host read its clock during this call. Compare it with the nearest moment of the call.
            there = facts.get("platform", {}).get("time", began)
            known, unread = advisories_of(arguments["store"])
            findings = unread + doctor.judge(facts, expected, min(max(began, there), time.time()), known)
        except AnsibleError as error:  # no connection, no root, no Python
            findings = doctor.unreachable(reason(error))
        rows = doctor.as_rows(findings)
        if arguments["bundle"] and not self.check_mode:
            rows += self._collect(Path(arguments["bundle"]), host, asked, facts, rows, task_vars)
        status = doctor.status_of(rows)
        return {"changed": False, "status": status, "ansible_facts": {FACT: {"findings": rows}}}

    def _collect(
        self,
        archive: Path,
        host: str,
        asked: dict[str, Any],
        facts: dict[str, Any],
        rows: list[dict[str, str]],
        task_vars: dict[str, Any],
    ) -> list[dict[str, str]]:
        """Store the host's files for the support bundle beside it. Returns findings about that."""
        wanted = {**asked, "subsets": ["support"]}
        files: dict[str, str] = {}
        found: list[dict[str, str]] = []
        try:
            if facts:  # else nothing can be read there, and a finding says so
                files = self.state("voicefleet.kokoro.service_state", wanted, task_vars)["support"]
        except AnsibleError as error:
            why = Finding("WARN", "UNREAD", f"the host sent no texts for the bundle: {error}.", "See UNREACHABLE.")
            found = doctor.as_rows([why])
        bundle.keep(archive, host, files, {"findings": rows + found, "facts": facts})
        return found


def advisories_of(store: str | None) -> tuple[advisories.Advisories | None, list[Finding]]:
    """The advisories of the store on the controller, if it has a store with some. Else the finding says why not."""
    # A folder that may not be read is no store either: unlike Path.is_file, this raises nothing.
    if not store or not os.path.isfile(os.path.join(store, FILENAME)):
        return None, []
    path = Path(store)
    try:
        return advisories.load(path, read_manifest(path)[0]), []
    except (ManifestError, advisories.AdvisoryError) as error:
        why = f"the advisories of the store on the controller cannot be read: {error}."
        return None, [Finding("WARN", "ADVISORIES", why, "Run verify.yml or contents.yml, which check the store.")]


def reason(error: AnsibleError) -> str:
    """Why a module did not run, with the last line of the host's own output."""
    result = getattr(error, "result", None) or {}
    said = str(result.get("module_stderr") or result.get("module_stdout") or "").strip().splitlines()
    return f"{str(error).strip().rstrip('.')}: {said[-1]}" if said else str(error)
