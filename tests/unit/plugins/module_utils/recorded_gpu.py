# SPDX-License-Identifier: GPL-3.0-or-later
"""Hosts with GPUs, as nvidia-smi of several driver generations reports them. The texts are recorded."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ansible_collections.voicefleet.kokoro.plugins.module_utils.host import gpu_facts

FOLDER = Path(__file__).parent / "fixtures" / "gpu"
MESSAGES: dict[str, Any] = json.loads((FOLDER / "messages.json").read_text(encoding="utf-8"))

# The facts of a host without a GPU.
NO_CARD: dict[str, Any] = {
    "vendor": "none",
    "pci": [],
    "modules": [],
    "kernel": "",
    "nodes": [],
    "container": "",
    "source": "",
    "driver": "",
    "cuda": [],
    "cards": [],
    "processes": [],
    "messages": [],
    "hung": False,
}


def recorded(name: str) -> str:
    """What ``nvidia-smi -q -x`` printed."""
    return (FOLDER / f"{name}.xml").read_text(encoding="utf-8")


class Smi:
    """An nvidia-smi that gives recorded answers; ``capabilities`` is None for a driver that does not know the field."""

    def __init__(self, text: str, status: int = 0, capabilities: str | None = "0, 8.9\n1, 8.9\n") -> None:
        self.text, self.status, self.capabilities = text, status, capabilities
        self.asked: list[Sequence[str]] = []

    def __call__(self, command: Sequence[str], timeout: float) -> tuple[int, str]:
        self.asked.append(command)
        if "-q" in command:
            return self.status, self.text
        if self.capabilities is None:
            status, text = MESSAGES["field"]
            return status, text
        return 0, self.capabilities


def host(
    tmp_path: Path,
    smi: Smi | None = None,
    cards: Sequence[tuple[str, str]] = (),
    ask: Any = lambda seconds: None,
    modules: Sequence[str] = (),
    container: str = "",
    nodes: Sequence[str] = (),
) -> dict[str, Any]:
    """The facts of a host whose /sys, /dev and / are made of ``cards`` (address, driver), ``modules`` and ``nodes``."""
    sys, dev = tmp_path / "sys", tmp_path / "dev"
    for address, driver in cards:
        folder = sys / "bus/pci/devices" / address
        folder.mkdir(parents=True)
        (folder / "vendor").write_text("0x10de\n")
        (folder / "class").write_text("0x030200\n")
        (folder / "device").write_text("0x26b9\n")
        if driver:
            (sys / "bus/pci/drivers" / driver).mkdir(parents=True, exist_ok=True)
            (folder / "driver").symlink_to(sys / "bus/pci/drivers" / driver)
    for module in modules:
        (sys / "module" / module).mkdir(parents=True)
        (sys / "module" / module / "version").write_text("580.95.05\n")
    for node in nodes:
        (dev / node).parent.mkdir(parents=True, exist_ok=True)
        (dev / node).touch()
    if container:
        (tmp_path / "run/systemd").mkdir(parents=True)
        (tmp_path / "run/systemd/container").write_text(f"{container}\n")
    facts = gpu_facts.gather(
        runner=smi or Smi(""), sys=str(sys), dev=str(dev), root=str(tmp_path), smi="nvidia-smi" if smi else "", ask=ask
    )
    told: dict[str, Any] = json.loads(json.dumps(facts))
    return told
