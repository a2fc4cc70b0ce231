# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The hosts that the playbooks act on."""

from __future__ import annotations

DOCUMENTATION = r"""
name: hosts
short_description: The hosts that the playbooks act on
version_added: "0.1.0"
author: voicefleet (@voicefleet)
description:
  - The group C(voicefleet) of the inventory, or the pattern in C(voicefleet_hosts).
  - Set C(voicefleet_hosts) on the command line or in the vars of C(import_playbook). Ansible chooses a play's hosts
    before it reads the variables of the inventory.
  - Fails if the inventory has no such host. The playbooks never fall back to all machines of an inventory.
"""

EXAMPLES = r"""
- name: Greet the hosts
  hosts: "{{ lookup('voicefleet.kokoro.hosts') }}"
  gather_facts: false
  tasks:
    - name: Greet
      ansible.builtin.ping:
"""

RETURN = r"""
_raw:
  description: One host pattern, as C(hosts) of a play takes it.
  type: list
  elements: str
"""

from typing import Any

from ansible import context
from ansible.errors import AnsibleError
from ansible.plugins.loader import lookup_loader
from ansible.plugins.lookup import LookupBase

GROUP = "voicefleet"
ADVICE = """Write the hosts into the inventory:

    voicefleet:
      hosts:
        speech-01: {ansible_host: 10.20.0.11}

or name another group on the command line: -e voicefleet_hosts=GROUP"""
# With these options Ansible reads a play's hosts, but runs nothing.
LOOKING = ("syntax", "listtags", "listtasks")


class LookupModule(LookupBase):
    def run(self, terms: list[Any], variables: dict[str, Any] | None = None, **kwargs: Any) -> list[str]:
        """The pattern alone."""
        variables = variables or {}
        named = variables.get("voicefleet_hosts")
        pattern = str(named or GROUP)
        if not any(context.CLIARGS.get(option) for option in LOOKING) and not self._matches(pattern, variables):
            what = f"No host matches voicefleet_hosts={pattern}" if named else f"The inventory has no hosts in {GROUP}"
            raise AnsibleError(f"{what}. Nothing was changed. {ADVICE}")
        return [pattern]

    def _matches(self, pattern: str, variables: dict[str, Any]) -> bool:
        names = lookup_loader.get("ansible.builtin.inventory_hostnames", loader=self._loader, templar=self._templar)
        return bool(names.run([pattern], variables=variables))
