#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) voicefleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Write, enable and (re)start one systemd unit, so that what runs is what the files say."""

from __future__ import annotations

DOCUMENTATION = r"""
module: xinference_service
short_description: Keep Xinference's systemd unit, and run what it says
version_added: "0.1.0"
author:
  - voicefleet (@voicefleet)
description:
  - Writes the unit, reloads systemd, enables the unit, and starts or restarts it where the running process was not
    started from the unit, drop-ins and environment files that are on disk now. All in one call.
  - What a process was started from is recorded after each start and forgotten before a file changes. A run that was
    cut off between the file and the restart is therefore made good by the next one, which a handler can't do.
  - A unit of this name that this collection did not write is never touched, nor is a process of others on the port.
attributes:
  check_mode:
    support: full
    description: Says what would be written and whether the service would be restarted.
  diff_mode:
    support: full
    description: Shows the unit file's difference. Environment files hold secrets and are never shown.
options:
  state:
    description:
      - V(stopped) stops the unit and takes it out of the boot, and leaves its files.
      - V(absent) stops the unit and removes O(folders), its drop-ins and its file. The file goes last, so that a
        removal that was cut off is seen and finished by the next.
    type: str
    choices: [started, stopped, absent]
    default: started
  enabled:
    description: Whether the unit starts at boot. V(false) leaves that as it is.
    type: bool
    default: true
  folders:
    description: What O(state=absent) removes besides. The other states leave it alone.
    type: list
    elements: path
    default: []
  name:
    description: The unit's full name.
    type: str
    default: voicefleet-xinference.service
  content:
    description:
      - The unit file's text. It must hold the line C(# Managed by voicefleet.kokoro), by which it is known as ours.
      - Required for O(state=started).
    type: str
  environment_files:
    description: Files whose content the process is started with. A change restarts the service.
    type: list
    elements: path
    default: []
  record:
    description: Root-only file in which the module keeps what the service was last started from. Its folder exists.
    type: path
    default: /etc/voicefleet/started.json
  host:
    description: The address on which the service will listen.
    type: str
    default: 127.0.0.1
  port:
    description: The port on which the service will listen. If another process holds it, nothing is started.
    type: int
    default: 9997
  stop_timeout:
    description:
      - Seconds to wait for the old process to end; more than the unit's C(TimeoutStopSec).
    type: int
    default: 120
seealso:
  - module: voicefleet.kokoro.xinference_setup
  - module: voicefleet.kokoro.xinference_model
"""

EXAMPLES = r"""
- name: Keep the service's unit and run what it says
  voicefleet.kokoro.xinference_service:
    content: "{{ lookup('ansible.builtin.template', 'voicefleet-xinference.service.j2') }}"
    environment_files:
      - /etc/voicefleet/xinference.env

- name: Remove a candidate and all that was its own
  voicefleet.kokoro.xinference_service:
    name: voicefleet-candidate.service
    state: absent
    folders: [/var/lib/voicefleet-candidate, /etc/voicefleet-candidate]
"""

RETURN = r"""
changes:
  description: What was changed and why, or in check mode what would be.
  returned: always
  type: list
  elements: str
  sample:
    - unit written
    - "restarted (the unit is not what it was started from)"
action:
  description: What was done to the process, V(none), V(started), V(restarted) or V(stopped).
  returned: success
  type: str
  sample: restarted
"""

import contextlib
import json
import os
import shutil
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.voicefleet.kokoro.plugins.module_utils.doctor import diagnosis
from ansible_collections.voicefleet.kokoro.plugins.module_utils.host import layout, private_files, systemd_unit

Json = dict[str, Any]


class ServiceError(Exception):
    """A fault to tell the operator."""


class Service:
    """One run of the module; nothing is changed in ``check`` mode."""

    def __init__(self, params: Json, check: bool, unit: systemd_unit.Unit) -> None:
        self.params = params
        self.check = check
        self.unit = unit
        self.changes: list[str] = []

    def keep_file(self) -> tuple[bool, str | None]:
        """Write the unit where its content, owner or mode differ; returns whether, and the text before."""
        content = self.params["content"]
        if systemd_unit.MARKER not in content.splitlines():
            raise ServiceError(f"the unit's text lacks the line '{systemd_unit.MARKER}'")
        if self.unit.foreign():
            raise ServiceError(
                f"{self.unit.path} was not written by this collection and is left alone. If it is not needed, stop and"
                " remove it (or unmask it), then run again"
            )
        before = private_files.read_text(self.unit.path)
        why = private_files.wrong(self.unit.path, 0o644, os.geteuid(), None)
        if why is None and before != content:
            why = "other content"
        if why is None:
            return False, before
        self.changes.append(f"{self.unit.path} written ({why})")
        if not self.check:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self.params["record"])
            private_files.write_text(self.unit.path, content, 0o644, os.geteuid(), os.getegid())
        return True, before

    def fail_with_journal(self, error: Exception) -> None:
        lines = "\n".join(self.unit.journal())
        raise ServiceError(f"{error}\nThe unit's last lines in the journal:\n{lines or '(none)'}") from None

    def run(self) -> Json:
        record = systemd_unit.load_record(self.params["record"])
        written, before = self.keep_file()
        state = self.unit.show()
        if not written and state.get("NeedDaemonReload") == "yes":
            self.changes.append("systemd reloaded (a file of the unit was changed)")
        if (written or state.get("NeedDaemonReload") == "yes") and not self.check:
            self.unit.ctl("daemon-reload")
        if self.params["enabled"] and state.get("UnitFileState") != "enabled":
            self.changes.append("enabled")
            if not self.check:
                self.unit.ctl("enable")

        files = [*self.params["environment_files"], *self.unit.drop_ins()]
        wanted = systemd_unit.fingerprint(self.params["content"], files)
        reasons = systemd_unit.restart_reasons(wanted, record)
        if written and not reasons:
            reasons = ["the unit was changed by hand"]
        alive = state.get("ActiveState") in ("active", "reloading", "deactivating")
        action = "none" if alive and not reasons else "restarted" if alive else "started"
        if action != "none":
            self.change_process(action, state, reasons, wanted)
        return {
            "changed": bool(self.changes),
            "changes": self.changes,
            "msg": "; ".join(self.changes) or f"{self.unit.name} runs what its files say",
            "action": action,
            "diff": systemd_unit.diff(self.unit.path, before, self.params["content"]) if written else {},
        }

    def remove(self) -> Json:
        """Stop the unit, and unless its files shall stay, remove its folders and then its files.

        A link is removed, not what it points to.
        """
        if self.unit.foreign():
            raise ServiceError(f"{self.unit.path} was not written by this collection and is left alone")
        there = os.path.exists(self.unit.path)
        state = self.unit.show()
        action = "stopped" if state.get("ActiveState") not in (None, "inactive", "failed") else "none"
        if action == "stopped":
            self.changes.append("stopped")
            if not self.check:
                self.unit.ctl("stop", timeout=self.params["stop_timeout"])
        if state.get("UnitFileState") == "enabled":
            self.changes.append("disabled")
            if not self.check:
                self.unit.ctl("disable")
        files = [*self.params["folders"], self.unit.path + ".d", self.unit.path]
        for path in [] if self.params["state"] == "stopped" else files:
            if not os.path.lexists(path):
                continue
            self.changes.append(f"{path} removed")
            if self.check:
                continue
            if os.path.isdir(path) and not os.path.islink(path):
                shutil.rmtree(path)
            else:
                os.unlink(path)
        if there and not self.check:
            self.unit.ctl("daemon-reload")
            with contextlib.suppress(systemd_unit.SystemdError):
                # Else a unit that failed is listed for ever. One that did not fail is not loaded any more.
                self.unit.ctl("reset-failed")
        return {
            "changed": bool(self.changes),
            "changes": self.changes,
            "msg": "; ".join(self.changes) or f"{self.unit.name} is not there",
            "action": action,
            "diff": {"before": "", "after": "".join(line + "\n" for line in self.changes)},
        }

    def change_process(self, action: str, state: Json, reasons: list[str], wanted: dict[str, str]) -> None:
        host, port = self.params["host"], self.params["port"]
        if action == "started" and state.get("MainPID", "0") == "0":
            holder = systemd_unit.port_holder(host, port)
            if holder is not None:
                raise ServiceError(
                    f"port {port} on {host} is held by another process: {holder}. It is left alone. Stop it, or choose"
                    " another port (xinference_port)"
                )
        why = "; ".join(reasons) if action == "restarted" else f"it was {state.get('ActiveState') or 'not there'}"
        self.changes.append(f"{action} ({why})")
        if self.check:
            return
        try:
            # "restart" also starts, and takes a unit out of a waiting "auto-restart" with the new files.
            self.unit.ctl("restart", timeout=self.params["stop_timeout"])
        except systemd_unit.SystemdError as error:
            self.fail_with_journal(error)
        record = json.dumps(wanted, indent=2, sort_keys=True) + "\n"
        private_files.write_text(self.params["record"], record, 0o600, os.geteuid(), os.getegid())


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "default": layout.UNIT},
            "state": {"type": "str", "choices": ["started", "stopped", "absent"], "default": "started"},
            "enabled": {"type": "bool", "default": True},
            "folders": {"type": "list", "elements": "path", "default": []},
            "content": {"type": "str"},
            "environment_files": {"type": "list", "elements": "path", "default": []},
            "record": {"type": "path", "default": f"{layout.SECRETS}/{layout.STARTED_FILE}"},
            "host": {"type": "str", "default": "127.0.0.1"},
            "port": {"type": "int", "default": 9997},
            "stop_timeout": {"type": "int", "default": 120},
        },
        required_if=[("state", "started", ["content"])],
        supports_check_mode=True,
    )
    service = Service(module.params, module.check_mode, systemd_unit.Unit(module.params["name"]))
    try:
        result = service.run() if module.params["state"] == "started" else service.remove()
    except (ServiceError, systemd_unit.SystemdError, OSError) as error:
        module.fail_json(msg=diagnosis.explain(str(error)), changes=service.changes)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
