# SPDX-License-Identifier: GPL-3.0-or-later
"""Print the payload of modules as Ansible sends it, and the seconds of CPU that packing takes.  Arguments: modules.

Ansible packs a module once in each run, with all that it imports. The host unpacks and compiles it at each call.
"""

from __future__ import annotations

import os
import sys
import time

from ansible.executor.module_common import modify_module
from ansible.parsing.dataloader import DataLoader
from ansible.plugins.loader import init_plugin_loader, module_loader
from ansible.template import Templar

OURS = "voicefleet.kokoro."
UNCHANGED = [f"{OURS}{name}" for name in ("host_state", "unchanged")]
REPLACED = [
    "ansible.builtin.user",
    *(
        f"{OURS}{name}"
        for name in (
            "xinference_setup", "xinference_service", "xinference_model", "synthesis_check", "release", "deploy_lock",
        )
    ),
]  # fmt: skip
# What every module needs of its caller.
ARGUMENTS = {"_ansible_selinux_special_fs": [], "_ansible_tracebacks_for": []}


def packed(name: str) -> tuple[int, float]:
    """The bytes of a module's payload, and the seconds that packing took."""
    found = module_loader.find_plugin_with_context(name)
    began = time.process_time()
    built = modify_module(
        module_name=found.resolved_fqcn,
        module_path=found.plugin_resolved_path,
        module_args=dict(ARGUMENTS),
        templar=Templar(loader=DataLoader()),
        task_vars={"ansible_python_interpreter": "/usr/bin/python3"},
        module_compression="ZIP_DEFLATED",
    )
    return len(built.b_module_data), time.process_time() - began


def table(title: str, names: list[str]) -> None:
    rows = {name: packed(name) for name in names}
    print(f"\n{title:<36}{'kB':>8}{'CPU s':>8}")
    for name, (size, seconds) in rows.items():
        print(f"  {name:<34}{size / 1e3:>8.0f}{seconds:>8.2f}")
    print(f"  {'together':<34}{sum(size for size, _ in rows.values()) / 1e3:>8.0f}", end="")
    print(f"{sum(seconds for _, seconds in rows.values()):>8.2f}")


def main() -> None:
    init_plugin_loader([os.environ["ANSIBLE_COLLECTIONS_PATH"]])
    packed("ansible.builtin.ping")  # not measured: what all have in common is imported
    if sys.argv[1:]:
        table("payload", sys.argv[1:])
        return
    table("an unchanged run", UNCHANGED)
    table("what `unchanged` replaces", REPLACED)


if __name__ == "__main__":
    main()
