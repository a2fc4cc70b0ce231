#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: xinference_service
short_description: Keep Xinference's systemd unit, and restart it if the running process does not match
version_added: "0.1.0"
author: voicefleet (@voicefleet)
description:
  - Writes the unit, reloads systemd, enables the unit, and starts it. Restarts it if the running process was not
    started from the unit, drop-ins and environment files that are on disk now.
  - After each start, records what the process was started from. Deletes that record before it changes a file. If a run
    is interrupted before the restart, the next run therefore restarts the service. A handler could not do that.
  - Never touches a unit of this name that this collection did not write, or another process on the port.
options:
  state:
    description:
      - V(stopped) stops and disables the unit, and keeps its files.
      - V(absent) stops the unit and removes O(folders) and its file. The file goes last, so that the next run finishes
        an interrupted removal.
    type: str
    choices: [started, stopped, absent]
    default: started
  enabled:
    description: Whether to enable the unit at boot. V(false) leaves that as it is.
    type: bool
    default: true
  folders:
    description:
      - Folders that O(state=absent) also removes. The other states leave them alone.
      - A folder without the mark of this collection stays, and the result says so.
    type: list
    elements: path
    default: []
  name:
    description: The unit's full name.
    type: str
    default: voicefleet-xinference.service
  content:
    description:
      - The unit file's text. It must hold the line C(# Managed by voicefleet.kokoro), which marks it as ours.
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
  clients:
    description:
      - Whether clients ask this process. Its restart is then a gap, unless a candidate answers them. The clients of a
        cluster ask its supervisor.
    type: bool
    default: true
  stop_timeout:
    description:
      - Seconds to wait for the old process to end; more than the unit's C(TimeoutStopSec).
    type: int
    default: 120
extends_documentation_fragment: [voicefleet.kokoro.attributes]
seealso:
  - module: voicefleet.kokoro.xinference_setup
  - module: voicefleet.kokoro.xinference_model
"""

EXAMPLES = r"""
- name: Write the unit and start or restart the service
  voicefleet.kokoro.xinference_service:
    content: "{{ lookup('ansible.builtin.template', 'voicefleet-xinference.service.j2') }}"
    environment_files:
      - /etc/voicefleet/xinference.env

- name: Remove a candidate and its folders
  voicefleet.kokoro.xinference_service:
    name: voicefleet-candidate.service
    state: absent
    folders: [/var/lib/voicefleet-candidate, /etc/voicefleet-candidate]
"""

RETURN = r"""
changes:
  description: What was changed and why, or would be in check mode.
  returned: always
  type: list
  elements: str
  sample:
    - unit written
    - "restarted (the unit has changed since the start)"
action:
  description: What was done to the process, V(none), V(started), V(restarted) or V(stopped).
  returned: success
  type: str
  sample: restarted
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.voicefleet.kokoro.plugins.module_utils.doctor import diagnosis
from ansible_collections.voicefleet.kokoro.plugins.module_utils.host import systemd_unit
from ansible_collections.voicefleet.kokoro.plugins.module_utils.host.managed import ManagedError
from ansible_collections.voicefleet.kokoro.plugins.module_utils.xinference.service import OPTIONS, Service


def main() -> None:
    module = AnsibleModule(
        argument_spec=OPTIONS,
        required_if=[("state", "started", ["content"])],
        supports_check_mode=True,
    )
    service = Service(module.params, module.check_mode, systemd_unit.Unit(module.params["name"]))
    try:
        result = service.run() if module.params["state"] == "started" else service.take_away()
    except (ManagedError, systemd_unit.SystemdError, OSError) as error:
        module.fail_json(msg=diagnosis.explain(str(error)), changes=service.changes)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
