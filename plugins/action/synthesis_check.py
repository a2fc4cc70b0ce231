# SPDX-License-Identifier: GPL-3.0-or-later
"""Run the proof of speech on the host, copy its WAV files to the controller, and set the fact."""

from __future__ import annotations

import base64
import binascii
import os
from pathlib import Path
from typing import Any

from ansible.plugins.action import ActionBase
from ansible_collections.voicefleet.kokoro.plugins.module_utils.host.hashing import (
    canonical_json,
    sha256_bytes,
    sha256_file,
    write_atomic,
)
from ansible_collections.voicefleet.kokoro.plugins.module_utils.proof.terms import SAFE_NAME
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.action.base import refuse_misspelt
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.report.report import folder_name

# These belong to one run of the module, not to the proof.
_OF_THE_RUN = ("changed", "diff", "failed", "invocation", "msg", "warnings", "deprecations", "exception")


class ActionModule(ActionBase):
    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Copy the WAV files also after a failed proof, so that people can hear what is wrong."""
        task_vars = task_vars or {}
        result: dict[str, Any] = super().run(tmp, task_vars)
        refuse_misspelt(task_vars)
        answer: dict[str, Any] = self._execute_module(
            module_name="voicefleet.kokoro.synthesis_check", module_args=dict(self._task.args), task_vars=task_vars
        )
        result.update(answer)
        if "samples" not in result:
            return result
        proof = {name: value for name, value in answer.items() if name[:1] != "_" and name not in _OF_THE_RUN}
        host = str(task_vars.get("inventory_hostname", "host"))
        missing = keep_proof(self, self._task.args.get("report_dir"), host, proof, task_vars)
        if missing:
            result["warnings"] = [*result.get("warnings", []), *missing]
        if result.get("failed"):
            # The message says it all. A thousand numbers below would hide it.
            hidden = set(proof) - {"level", "release_id", "proof"}
            return {name: value for name, value in result.items() if name not in hidden}
        result["synthesis"] = proof
        return result


def keep_proof(
    action: ActionBase, report_dir: str | None, host: str, proof: dict[str, Any], task_vars: dict[str, Any]
) -> list[str]:
    """Copy the WAV files that are not here yet, and write the host's result. Return what did not work.

    Without a folder and in check mode, do nothing.

    Do not trust the host: check names, and compare bytes with the digest in the proof.
    """
    if not report_dir or action._task.check_mode:
        return []
    folder = Path(os.path.abspath(str(report_dir)))
    problems = []
    sounds = folder / "audio" / folder_name(host)
    sounds.mkdir(parents=True, exist_ok=True)
    for sample in proof["samples"]:
        if sample["format"] != "wav" or not sample["file"] or not SAFE_NAME.fullmatch(sample["voice"]):
            continue
        local = sounds / f"{sample['voice']}.wav"
        if local.is_file() and sha256_file(str(local)) == sample["sha256"]:
            continue
        answer = action._execute_module(
            module_name="ansible.builtin.slurp", module_args={"src": sample["file"]}, task_vars=task_vars
        )
        try:
            data = base64.b64decode(answer.get("content") or "", validate=True)
        except binascii.Error:
            data = b""
        if sha256_bytes(data) == sample["sha256"]:
            write_atomic(str(local), data)
        else:
            why = answer.get("msg") or "its bytes are not those of the proof"
            problems.append(f"{host}: {sample['file']} was not copied to the controller: {why}")
    record = folder / "hosts" / f"{folder_name(host)}.json"
    record.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(str(record), canonical_json({"host": host, "synthesis": proof}))
    return problems
