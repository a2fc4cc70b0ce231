# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) voicefleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The cluster that a host belongs to, from the inventory."""

from __future__ import annotations

DOCUMENTATION = r"""
name: cluster
short_description: The cluster of Xinference that this host belongs to
version_added: "0.1.0"
author:
  - voicefleet (@voicefleet)
description:
  - Reads C(xinference_supervisor), C(xinference_workers), C(xinference_address), C(xinference_supervisor_works) and the
    ports of all members from the inventory, or the groups C(voicefleet_supervisor) and C(voicefleet_workers).
  - Fails with everything that is wrong. Variables that only a play or a role sets are not seen, as they hold for one
    host at a time.
"""

EXAMPLES = r"""
- name: Where does the cluster answer?
  ansible.builtin.debug:
    msg: "{{ lookup('voicefleet.kokoro.cluster').endpoint }}"
"""

RETURN = r"""
_raw:
  description:
    - What this host is (C(node) is V(supervisor) or V(worker)) and its C(address), the name of the C(supervisor),
      whether that one C(works) too, the C(endpoint) for clients, names and addresses of all C(members), and of each
      of the C(workers) the C(address) and that of its C(metrics).
  type: list
  elements: dict
"""

from typing import Any

from ansible.errors import AnsibleError
from ansible.plugins.lookup import LookupBase
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.fleet import cluster


class LookupModule(LookupBase):
    """See the documentation above."""

    def run(self, terms: list[Any], variables: dict[str, Any] | None = None, **kwargs: Any) -> list[dict[str, Any]]:
        """One dictionary, for the host whose variables these are."""
        variables = variables or {}
        host = variables["inventory_hostname"]
        try:
            found = cluster.read(variables["hostvars"], variables["groups"], host)
        except cluster.ClusterError as error:
            raise AnsibleError(str(error)) from None
        return [found.as_dict(host)]
