# SPDX-License-Identifier: GPL-3.0-or-later
"""Send what a host lacks over the connection that Ansible has."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail, AnsibleConnectionFailure
from ansible_collections.voicefleet.kokoro.plugins.module_utils import disk
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils import delivery
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.action import ControllerAction, display

# How often wrong or cut files are sent once more before the host is given up.
ROUNDS = 2
TELL_EVERY = 5.0


class ActionModule(ControllerAction):
    """``voicefleet.kokoro.artifacts``: see the module's documentation."""

    _requires_connection = True
    SPEC = {
        "store": {"type": "path", "required": True},
        "root": {"type": "path", "default": "/opt/voicefleet"},
        "artifacts": {"type": "list", "elements": "dict", "required": True},
        "chunk_mb": {"type": "int", "default": 32},
    }

    def act(self, arguments: dict[str, Any], task_vars: dict[str, Any]) -> dict[str, Any]:
        host = str(task_vars.get("inventory_hostname", "host"))
        store = Path(arguments["store"])
        rows = {artifact["sha256"]: artifact for artifact in arguments["artifacts"]}
        common = {"root": arguments["root"], "artifacts": list(rows.values()), "chunk_mb": arguments["chunk_mb"]}
        sent: list[str] = []
        total = 0
        started = time.monotonic()
        wrong: dict[str, str] = {}
        for _round in range(ROUNDS):
            state = self.module("voicefleet.kokoro.artifacts", {**common, "step": "prepare"}, task_vars)
            todo = [rows[sha256] for sha256 in state["missing"]]
            if not todo or self.check_mode:
                break
            total += self._send(host, store, todo, state, arguments["chunk_mb"] << 20, task_vars)
            done = self.module("voicefleet.kokoro.artifacts", {**common, "step": "commit"}, task_vars)
            sent += [rows[sha256]["path"] for sha256 in done["kept"]]
            wrong = done["wrong"]
            if not wrong:
                todo = []
                break
            for sha256, reason in wrong.items():
                display.warning(f"{host}: {rows[sha256]['path']} {reason}")
        if wrong:
            lines = "\n".join(f"  {rows[sha256]['path']}: {reason}" for sha256, reason in sorted(wrong.items()))
            raise AnsibleActionFail(
                f"{host}: {len(wrong)} file(s) did not arrive whole, {ROUNDS} times over:\n{lines}\n"
                "Something between the controller and the host changes bytes (a disk, a memory, an inspecting box). "
                "The files that arrived are kept; nothing was installed."
            )
        pending = [row["path"] for row in todo]
        paths = sent + pending
        sizes = {row["path"]: row["size"] for row in rows.values()}
        seconds = time.monotonic() - started
        result = {
            "changed": bool(paths),
            "sent": paths,
            "bytes": total if not pending else sum(row["size"] for row in todo),
            "msg": f"{len(paths)} files to send" if pending else f"{len(paths)} files, {total / 1e6:.0f} MB",
            "diff": {
                "before": "",
                "after": "".join(f"{sizes[path] / 1e6:9.1f} MB  {path}\n" for path in sorted(paths)),
            },
        }
        if sent:
            result["seconds"] = round(seconds, 1)
        return result

    def _send(
        self,
        host: str,
        store: Path,
        todo: list[dict[str, Any]],
        state: dict[str, Any],
        limit: int,
        task_vars: dict[str, Any],
    ) -> int:
        """Send files, telling how far it has got. Returns the bytes sent."""
        files = [
            (row["sha256"], store / row["path"], row["size"]) for row in sorted(todo, key=lambda r: str(r["path"]))
        ]
        size = sum(row["size"] for row in todo)
        arrived = sum(state["offsets"].values())

        def got() -> str:
            return f"{(arrived + sent) / 1e6:.0f} of {size / 1e6:.0f} MB"

        command = delivery.receive_command(self._python(task_vars), state["incoming"])
        started = told = time.monotonic()
        sent = 0
        for message in delivery.pieces(files, state["offsets"], limit):
            try:
                data = delivery.encode(message)
            except (OSError, ValueError) as error:
                raise AnsibleActionFail(f"the store changed under the delivery: {error}") from None
            try:
                result = self._low_level_execute_command(command, sudoable=True, in_data=data)
            except AnsibleConnectionFailure as error:
                raise AnsibleActionFail(
                    f"{host}: the connection was cut after {got()}: {error}. "
                    "What arrived is kept: run the play again and it goes on there."
                ) from None
            if result["rc"] != 0:
                reason = (result.get("stderr") or result.get("stdout") or "").strip()[-500:]
                full = self._full(reason, state["incoming"], todo, task_vars)
                raise AnsibleActionFail(
                    f"{host}: the delivery stopped after {got()}.{full} {reason}\n"
                    "What arrived is kept: run the play again and it goes on there."
                )
            sent += sum(piece.length for piece in message)
            now = time.monotonic()
            if now - told >= TELL_EVERY:
                told = now
                rate = sent / (now - started) / 1e6
                display.display(f"  {host}: {got()}, {rate:.0f} MB/s")
        return sent

    def _full(self, reason: str, folder: str, todo: list[dict[str, Any]], task_vars: dict[str, Any]) -> str:
        """A sentence where the host's disk is full: how much of what is to come it can't hold."""
        if not disk.is_full(reason):
            return ""
        common = {"root": os.path.dirname(os.path.dirname(folder)), "artifacts": todo}
        now = self.module("voicefleet.kokoro.artifacts", {**common, "step": "prepare"}, task_vars)
        needed = sum(row["size"] for row in todo) - sum(now["offsets"].values())
        return f" {disk.sentence(folder, now['free'], needed)}"

    @staticmethod
    def _python(task_vars: dict[str, Any]) -> str:
        """The interpreter that Ansible uses on the host."""
        found = task_vars.get("ansible_facts", {}).get("discovered_interpreter_python")
        configured = task_vars.get("ansible_python_interpreter")
        if isinstance(configured, str) and configured.startswith("/"):
            return configured
        return str(found or "/usr/bin/python3")
