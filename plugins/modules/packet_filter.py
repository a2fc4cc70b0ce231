#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: packet_filter
short_description: Close the ports of Xinference's processes to all but the members of its cluster
version_added: "0.1.0"
author: voicefleet (@voicefleet)
description:
  - Writes nftables rules into their own table, C(inet voicefleet). The unit C(voicefleet-filter.service) loads them at
    boot, before the network is up. No other rules are read or changed.
  - Closes pinned ports to incoming packets. The kernel chooses the ports of model processes. Their packets are dropped,
    unless they go to O(members).
  - Its table holds an empty chain as a mark. A table of this name without the mark is neither replaced nor removed.
  - Loads the table again if it was emptied or changed. In check mode, C(nft --check) only tests the rules.
  - Uses the host's C(nft) and does not install it.
options:
  user:
    description: The service's system user.
    type: str
    default: voicefleet
  members:
    description: Addresses of all hosts of the cluster, including this one. Empty for an independent host.
    type: list
    elements: str
    default: []
  required:
    description: Whether to fail without C(nft). If V(false), the module only says so and does nothing.
    type: bool
    default: true
  private_ports:
    description: Ports that only members reach.
    type: list
    elements: int
    default: []
  api_ports:
    description: Ports that members and O(clients) reach.
    type: list
    elements: int
    default: []
  clients:
    description: Networks of clients. V(any) allows everyone. V(localhost) is always allowed.
    type: list
    elements: str
    default: []
  metrics_ports:
    description: Ports that members and O(metrics_networks) reach.
    type: list
    elements: int
    default: []
  metrics_networks:
    description: Networks that may read the metrics.
    type: list
    elements: str
    default: []
  folder:
    description: Root-only folder for the rules and the record of what was loaded. It is created if it is missing.
    type: path
    default: /etc/voicefleet
extends_documentation_fragment: [voicefleet.kokoro.attributes]
"""

EXAMPLES = r"""
- name: Close the ports of a worker to all but its cluster
  voicefleet.kokoro.packet_filter:
    members: [10.0.0.10, 10.0.0.11, 10.0.0.12]
    private_ports: [30001]
    metrics_ports: [31001]
"""

RETURN = r"""
filtered:
  description: Whether a filter is in place. V(false) if C(nft) is missing and not O(required).
  returned: success
  type: bool
  sample: true
changes:
  description: What changed and why. In check mode, what would change.
  returned: success
  type: list
  elements: str
  sample: ["rules written (other content)", "loaded (the rules were changed)"]
"""

import os
import pwd
import tempfile
from collections.abc import Mapping, Sequence
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.voicefleet.kokoro.plugins.module_utils.host import (
    layout,
    ownership,
    packet_filter,
    private_files,
    systemd_unit,
)
from ansible_collections.voicefleet.kokoro.plugins.module_utils.host.managed import File, Managed, ManagedError

Json = dict[str, Any]

NO_NFT = (
    "nft is not installed. Without a packet filter, everyone on the network reaches the ports of the service's"
    " processes. Install the package nftables of the host's distribution. It needs no configuration"
)


class Filter(Managed):
    """The rules, the unit that loads them, and our table as the kernel listed it after the last load."""

    def __init__(
        self, params: Json, check: bool, nft: str | None, unit: systemd_unit.Unit, run: systemd_unit.Runner
    ) -> None:
        super().__init__(unit, [], os.path.join(params["folder"], layout.FILTER_RECORD), check)
        self.params = params
        self.nft = nft or ""
        self.call = run

    def try_rules(self, text: str) -> None:
        """Let nft check the rules. They need the uid of the user, so nothing can be checked before the user exists."""
        try:
            pwd.getpwnam(self.params["user"])
        except KeyError:
            if self.check:
                return
            raise packet_filter.FilterError(f"there is no user {self.params['user']}; create it first") from None
        with tempfile.NamedTemporaryFile("w", suffix=".nft", encoding="utf-8") as handle:
            handle.write(text)
            handle.flush()
            status, output = self.call([self.nft, "--check", "--file", handle.name], 30)
        if status != 0:
            raise packet_filter.FilterError(
                f"nft refuses the rules: {output}. If the kernel has no nf_tables, load that module or install a"
                " kernel that has it"
            )

    def table(self) -> str | None:
        """Our table as the kernel lists it, None if there is none."""
        status, output = self.call([self.nft, "list", "table", "inet", packet_filter.TABLE], 30)
        return output if status == 0 else None

    def refuse_foreign(self) -> None:
        super().refuse_foreign()
        now = self.table()
        if now is None or packet_filter.MARK in now:
            return
        # The mark did not exist yet when an older version of this collection loaded this very table.
        if now != private_files.read_text(self.record):
            raise ManagedError(
                f"{packet_filter.FOREIGN}, and is left alone. If you do not need it, run: nft delete table inet"
                f" {packet_filter.TABLE}. Then run the play again"
            )
        if not self.check:
            self.call([self.nft, "add", "chain", "inet", packet_filter.TABLE, packet_filter.MARK], 30)

    def reasons(self, state: Mapping[str, str], written: Sequence[File]) -> list[str]:
        if written:
            return [f"the {written[0].name} {'were' if written[0].name == 'rules' else 'was'} changed"]
        now = self.table()
        if now is None:
            return ["the table was missing"]
        if now != private_files.read_text(self.record):
            return ["the table was changed by others"]
        return [] if state.get("ActiveState") == "active" else ["the unit was not active"]

    def how(self, _alive: bool, _written: Sequence[File]) -> tuple[str, str]:
        # A reload replaces the table in one step. A restart would leave the ports open for a moment.
        return "loaded", "reload-or-restart"

    def loaded(self) -> str:
        now = self.table()
        if now is None:
            raise ManagedError(f"{self.unit.name} was started, but the kernel does not have our table")
        return now

    def rules(self) -> str:
        """The rules as nft reads them. Raises FilterError."""
        params = self.params
        return packet_filter.text(
            packet_filter.Rules(
                user=params["user"],
                members=params["members"],
                private=params["private_ports"],
                api=params["api_ports"],
                clients=params["clients"],
                metrics=params["metrics_ports"],
                metrics_networks=params["metrics_networks"],
            )
        )

    def close_folder(self) -> None:
        """Make the folder of the rules readable for root only."""
        folder = self.params["folder"]
        why = ownership.keep(folder, 0o700, os.geteuid(), check=self.check)
        if why is not None:
            self.changes.append(f"{folder} made root-only ({why})")

    def run(self) -> Json:
        if not self.nft and self.params["required"]:
            raise packet_filter.FilterError(NO_NFT)
        if not self.nft:
            return {"changed": False, "changes": [], "filtered": False, "msg": NO_NFT}
        text, path = self.rules(), os.path.join(self.params["folder"], layout.FILTER_FILE)
        self.files = [
            File(path, text, 0o600, name="rules"),
            File(self.unit.path, packet_filter.unit(self.nft, path), name="unit"),
        ]
        self.refuse_foreign()
        self.try_rules(text)
        self.close_folder()
        result = self.apply()
        return {**result, "filtered": True, "msg": "; ".join(self.changes) or "the ports are closed to others"}


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "user": {"type": "str", "default": "voicefleet"},
            "members": {"type": "list", "elements": "str", "default": []},
            "required": {"type": "bool", "default": True},
            "private_ports": {"type": "list", "elements": "int", "default": []},
            "api_ports": {"type": "list", "elements": "int", "default": []},
            "clients": {"type": "list", "elements": "str", "default": []},
            "metrics_ports": {"type": "list", "elements": "int", "default": []},
            "metrics_networks": {"type": "list", "elements": "str", "default": []},
            "folder": {"type": "path", "default": layout.SECRETS},
        },
        supports_check_mode=True,
    )
    unit = systemd_unit.Unit(layout.FILTER_UNIT)
    keeper = Filter(module.params, module.check_mode, packet_filter.find_nft(), unit, systemd_unit.run)
    try:
        result = keeper.run()
    except (packet_filter.FilterError, ManagedError, systemd_unit.SystemdError, OSError) as error:
        module.fail_json(msg=str(error), changes=keeper.changes)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
