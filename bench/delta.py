# SPDX-License-Identifier: GPL-3.0-or-later
"""Measure the bytes that a changed voice moves. bench/delta starts it.  Arguments: store, folder for copies, host, its
configuration for ssh -F, JSON to write.

The JSON holds `transports` ({name: {"connection", "voice_bytes", "moved_bytes", "wire_bytes", "ratio", "seconds",
"interface_bytes", "counted"}}), `targets` ({name: {"got", "at_most", "met"}}) and `machine`. `interface_bytes` are all
bytes that the host's network card received during the play, with Ansible's modules and SSH; None if it is not used.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

from targets import judge, machine, missed, show

RATIO = 1.05
VOICE = "kokoro-voice"
# Name, Ansible's connection, the role's variables, what is counted.
WAYS: list[tuple[str, str, dict[str, Any], str]] = [
    ("rsync", "ssh", {"artifacts_transport": "rsync"}, "rsync's own count of bytes sent and received"),
    ("connection, SSH", "ssh", {"artifacts_transport": "connection"}, "standard input and command given to SSH"),
    (
        "connection, Docker",
        "community.docker.docker",
        {"artifacts_transport": "connection"},
        "standard input and command given to docker exec",
    ),
    (
        "http",
        "ssh",
        {"artifacts_transport": "http", "artifacts_http_serve": True},
        "the answers' headers and bodies, counted on the host",
    ),
]


def docker(*command: str) -> str:
    return subprocess.run(["docker", *command], check=True, capture_output=True, text=True).stdout.strip()


def changed_store(store: Path, copy: Path, seed: int) -> int:
    """A copy in which one voice has other bytes, as after a fetch of new data. Returns the size of the voice."""
    subprocess.run(["cp", "-al", str(store), str(copy)], check=True)
    manifest = json.loads((store / "manifest.json").read_text())
    voice = next(row for row in manifest["artifacts"] if row["kind"] == VOICE and row["name"] == "af_heart")
    data = random.Random(seed).randbytes(voice["size"])
    voice["sha256"] = hashlib.sha256(data).hexdigest()
    # It is about the other manifest.
    (copy / "provenance.json").unlink(missing_ok=True)
    # The copies are hard links, so write new files.
    for path, content in (
        (copy / voice["path"], data),
        (copy / "manifest.json", (json.dumps(manifest, sort_keys=True, indent=2) + "\n").encode()),
    ):
        path.unlink()
        path.write_bytes(content)
    return int(voice["size"])


class Bench:
    def __init__(self, host: str, ssh: str, folder: Path) -> None:
        self.host, self.ssh, self.folder = host, ssh, folder
        self.gateway = docker("network", "inspect", host, "--format", "{{(index .IPAM.Config 0).Gateway}}")

    def deliver(self, store: Path, connection: str, variables: dict[str, Any]) -> tuple[dict[str, Any], int]:
        """The task's result, and the bytes that the host's network card received meanwhile."""
        result = self.folder / "result.json"
        given = {
            "artifact_store_path": str(store),
            "preflight_accept_unpublished": True,
            "kokoro_voices": ["af_heart", "am_michael"],
            "ansible_connection": connection,
            "ansible_user": "root",
            "ansible_ssh_common_args": f"-F {self.ssh}",
            "artifacts_http_address": self.gateway,
            "result": str(result),
            **variables,
        }
        inventory = self.folder / "inventory.json"
        inventory.write_text(json.dumps({"all": {"hosts": {self.host: given}}}))
        card = ("exec", self.host, "cat", "/sys/class/net/eth0/statistics/rx_bytes")
        before = int(docker(*card))
        done = subprocess.run(
            ["ansible-playbook", "-i", str(inventory), "bench/delta.yml"],
            env={**os.environ, "ANSIBLE_PIPELINING": "1", "ANSIBLE_HOST_KEY_CHECKING": "0"},
            cwd=Path(__file__).resolve().parents[1],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            sys.exit(done.stdout + done.stderr)
        return json.loads(result.read_text()), int(docker(*card)) - before


def main() -> int:
    store, copies, host, ssh, output = sys.argv[1:]
    folder = Path(copies)
    folder.mkdir(parents=True, exist_ok=True)
    bench = Bench(host, ssh, folder)
    _name, connection, variables, _counted = WAYS[0]
    first, _card = bench.deliver(Path(store), connection, variables)
    print(f"The host has everything: {first['msg']}.")
    transports: dict[str, dict[str, Any]] = {}
    for number, (name, connection, variables, counted) in enumerate(WAYS):
        copy = folder / f"store{number}"
        size = changed_store(Path(store), copy, number)
        got, card = bench.deliver(copy, connection, variables)
        if len(got["sent"]) != 1:
            sys.exit(f"{name}: one voice changed, but {len(got['sent'])} files were sent.")
        transports[name] = {
            "connection": connection,
            "voice_bytes": size,
            "moved_bytes": got["bytes"],
            "wire_bytes": got["wire_bytes"],
            "ratio": round(got["wire_bytes"] / size, 4),
            "seconds": got["seconds"],
            "interface_bytes": card if connection == "ssh" else None,
            "counted": counted,
        }
    targets = judge({f"{name}: bytes moved / voice": (row["ratio"], RATIO) for name, row in transports.items()})
    Path(output).write_text(
        json.dumps({"transports": transports, "targets": targets, "machine": machine()}, indent=2) + "\n"
    )

    print(f"\n{'transport':<20}{'voice':>10}{'moved':>10}{'ratio':>8}{'s':>7}{'whole play':>12}  moved, as counted by")
    for name, row in transports.items():
        card_bytes = "-" if row["interface_bytes"] is None else row["interface_bytes"]
        print(
            f"{name:<20}{row['voice_bytes']:>10}{row['wire_bytes']:>10}{row['ratio']:>8.4f}{row['seconds']:>7.1f}"
            f"{card_bytes:>12}  {row['counted']}"
        )
    print("\nWhole play: all bytes that the host's network card received, SSH's and Ansible's own modules with them.")
    show(targets)
    return missed(targets)


if __name__ == "__main__":
    sys.exit(main())
