# SPDX-License-Identifier: GPL-3.0-or-later
"""Keep the unit of Xinference, and a process that runs with the current files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..host import deploy_lock, layout, systemd_unit, upstream
from ..host.managed import File, Managed, ManagedError

Json = dict[str, Any]

# The options of the module xinference_service.
OPTIONS: Json = {
    "name": {"type": "str", "default": layout.UNIT},
    "state": {"type": "str", "choices": ["started", "stopped", "absent"], "default": "started"},
    "enabled": {"type": "bool", "default": True},
    "folders": {"type": "list", "elements": "path", "default": []},
    "content": {"type": "str"},
    "environment_files": {"type": "list", "elements": "path", "default": []},
    "record": {"type": "path", "default": f"{layout.SECRETS}/{layout.STARTED_FILE}"},
    "host": {"type": "str", "default": "127.0.0.1"},
    "port": {"type": "int", "default": 9997},
    "clients": {"type": "bool", "default": True},
    "stop_timeout": {"type": "int", "default": 120},
}


class Service(Managed):
    """The service's unit, which is restarted when it or one of its environment files changes."""

    alive = ("active", "reloading", "deactivating")

    def __init__(self, params: Json, check: bool, unit: systemd_unit.Unit) -> None:
        super().__init__(unit, [File(unit.path, params["content"] or "")], params["record"], check)
        self.params = params
        self.at_boot = params["enabled"]
        self.stop_seconds = params["stop_timeout"]

    def prints(self) -> dict[str, str]:
        files = [*self.params["environment_files"], *self.unit.drop_ins()]
        return systemd_unit.fingerprint(self.params["content"], files)

    def how(self, alive: bool, written: Sequence[File]) -> tuple[str, str]:
        # From here to the proof, clients get no answer, unless a candidate gives it.
        asked = alive and self.params["clients"] and not self.check
        if asked and not upstream.Upstream(systemd_unit.Unit(layout.GATEWAY_UNIT)).candidate():
            deploy_lock.mark(deploy_lock.GAP)
        return super().how(alive, written)

    def obstacle(self, state: Mapping[str, str]) -> str | None:
        host, port = self.params["host"], self.params["port"]
        holder = systemd_unit.port_holder(host, port) if state.get("MainPID", "0") == "0" else None
        if holder is None:
            return None
        return (
            f"port {port} on {host} is held by another process: {holder}. It is left alone. Stop it, or choose another"
            " port (xinference_port)"
        )

    def run(self) -> Json:
        if systemd_unit.MARKER not in self.params["content"].splitlines():
            raise ManagedError(f"the unit's text lacks the line '{systemd_unit.MARKER}'")
        return self.apply()

    def take_away(self) -> Json:
        """Stop the unit. Unless it should only be stopped, remove its folders and files too."""
        return self.remove(self.params["folders"], self.params["state"] == "stopped")
