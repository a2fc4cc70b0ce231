# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) voicefleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Where a host's service listens, and where clients find it."""

from __future__ import annotations

DOCUMENTATION = r"""
name: service
short_description: Where a host's service listens, and where clients find it
version_added: "0.1.0"
author:
  - voicefleet (@voicefleet)
description:
  - Reads the settings of the role P(voicefleet.kokoro.settings#role) for a host, and for a cluster those of all members
    from the inventory.
  - Fails with everything that is wrong with a cluster. Variables of other members that only a play or a role sets are
    not seen, because they hold for one host at a time.
options:
  _terms:
    description: Names of hosts in the inventory. Without any, the host whose task it is.
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
    - C(node) is V(whole) for a node by itself, else V(supervisor) or V(worker).
    - C(host) and C(port) are where the host listens, C(open) says whether others can reach it there, and C(reach) is
      the address by which they do.
    - C(ask_host), C(ask_port) and C(endpoint) are where a program on this host asks for speech. All members of a
      cluster ask its supervisor.
    - C(metrics) are the targets for Prometheus.
    - C(cluster) is empty for a node by itself. Else it has the names and addresses of all C(members), the name of the
      C(supervisor), whether that one C(works) too, the C(endpoint), and for each of the C(workers) its C(address) and
      its C(metrics).
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
    """See the documentation above."""

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
