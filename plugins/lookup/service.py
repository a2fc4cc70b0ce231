# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Where a host's service listens, and where clients find it."""

from __future__ import annotations

DOCUMENTATION = r"""
name: service
short_description: Where a host's service listens, and where clients find it
version_added: "0.1.0"
author: voicefleet (@voicefleet)
description:
  - Reads a host's settings, which the role P(voicefleet.kokoro.settings#role) declares. For a cluster, it reads the
    settings of all members from the inventory.
  - Fails with every mistake in a cluster. It does not see variables of other members that only a play or a role sets,
    because those apply to one host at a time.
options:
  _terms:
    description: Names of hosts in the inventory. The default is the host of the task.
    type: list
    elements: str
"""

EXAMPLES = r"""
- name: Show where a program on this host asks for speech
  ansible.builtin.debug:
    msg: "{{ lookup('voicefleet.kokoro.service').endpoint }}"
"""

RETURN = r"""
_raw:
  description:
    - One dictionary for each host.
    - C(node) is V(whole) for an independent host, else V(supervisor) or V(worker).
    - The host listens on C(host) and C(port). C(open) says whether other hosts can reach it there. C(reach) is the
      address that they use.
    - A program on this host asks for speech at C(ask_host), C(ask_port) and C(endpoint). All members of a cluster ask
      its supervisor.
    - C(metrics) are the targets for Prometheus.
    - C(cluster) is empty for an independent host. Else it has the names of the C(members), their C(addresses), the
      name of the C(supervisor), whether the supervisor C(works) too, and for each of the C(workers) its C(address)
      and C(metrics).
  type: list
  elements: dict
"""

from collections.abc import Mapping
from typing import Any

from ansible.errors import AnsibleError
from ansible.plugins.lookup import LookupBase
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.fleet import cluster, service, settings

OWN = ("ansible_host", "xinference_topology", "xinference_host", "xinference_port", "xinference_metrics_port")


class LookupModule(LookupBase):
    def run(self, terms: list[Any], variables: dict[str, Any] | None = None, **kwargs: Any) -> list[dict[str, Any]]:
        """One dictionary for each host."""
        variables = variables or {}
        below = settings.defaults(self._loader.load_from_file)
        hosts, groups = settings.Hosts(variables["hostvars"], below), variables["groups"]
        try:
            if terms:
                return [service.of(hosts, groups, str(name)).as_dict() for name in terms]
            host = str(variables["inventory_hostname"])
            return [service.of(hosts, groups, host, self._own(variables, below)).as_dict()]
        except cluster.ClusterError as error:
            raise AnsibleError(str(error)) from None

    def _own(self, variables: Mapping[str, Any], below: Mapping[str, Any]) -> dict[str, Any]:
        """The host's own variables as its task sees them."""
        given = {name: variables[name] for name in OWN if name in variables}
        own: dict[str, Any] = {**below, **self._templar.template(given)}
        return own
