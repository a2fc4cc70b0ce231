# SPDX-License-Identifier: GPL-3.0-or-later
"""The guides of the documentation, and which test runs which of their commands as they are printed."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BLOCK = re.compile(r"^```bash\n(.*?)^```", re.MULTILINE | re.DOTALL)
# A command in the first column of a table.
ROW = re.compile(r"^\| `((?:ansible-playbook|\./voicefleet-doctor) [^`]+)` \|", re.MULTILINE)
INVENTORY = re.compile(r"^```yaml\n(all:\n.*?)^```", re.MULTILINE | re.DOTALL)

# The pages of each guide.
GUIDES = {
    "five minutes": ["README.md"],
    "carry the store over the gap": ["roles/artifact_store/README.md", "docs/supply-chain.md"],
    "GPU fleet": ["docs/gpu.md"],
    "proxies": ["roles/proxy/README.md"],
    "clusters": ["roles/xinference/README.md", "roles/balancer/README.md", "roles/gateway/README.md"],
    "upgrade and rollback": ["docs/upgrading.md", "docs/playbooks.md", "roles/releases/README.md"],
    "proof and report": ["roles/synthesis/README.md", "docs/ladder.md", "docs/report.md"],
    "doctor": ["docs/doctor.md", "docs/troubleshooting.md", "roles/doctor/README.md"],
    "security": ["docs/security.md"],
    "voices and languages": ["docs/voices.md"],
    "repair and image": ["docs/repair.md", "docs/image.md"],
    "clients": ["docs/clients.md"],
    "performance": ["docs/performance.md", "roles/monitoring/README.md"],
    "architecture": ["docs/architecture.md"],
}

# How the commands begin that a test runs as printed, but for the names of folders and hosts.
RUN = {
    "tests/command/test_guides.py": {
        "README.md": ["rsync "],
        "roles/artifact_store/README.md": [
            "ssh-keygen ", "echo ", "ansible-playbook export.yml ", "ansible-playbook import.yml ",
        ],
        "docs/supply-chain.md": ["ansible-playbook contents.yml ", "ssh-keygen -Y verify "],
        "roles/monitoring/README.md": ["ansible-playbook monitoring.yml "],
    },
    "tests/report/test_files.py": {"docs/report.md": ["jq "]},
    "molecule/store/tests/test_guides.py": {
        "README.md": ["ansible-playbook fetch.yml "],
        "docs/upgrading.md": ["ansible-playbook lock.yml ", "ansible-playbook fetch.yml "],
    },
    "molecule/controller/tests/test_guides.py": {
        "README.md": [
            "ansible-playbook deploy.yml ", "curl ", "./voicefleet-doctor ", "ansible-playbook verify.yml ",
            "ansible-playbook receipts.yml ", "ansible-playbook rollback.yml ",
        ],
        "docs/clients.md": ["curl "],
        "docs/doctor.md": ["./voicefleet-doctor "],
        "docs/troubleshooting.md": ["./voicefleet-doctor "],
        "roles/doctor/README.md": ["./voicefleet-doctor ", "ansible-playbook doctor.yml "],
        "docs/playbooks.md": ["ansible-playbook deploy.yml "],
        "docs/upgrading.md": ["ansible-playbook rollback.yml ", "ansible-playbook deploy.yml "],
        "roles/releases/README.md": ["ansible-playbook rollback.yml "],
        "roles/xinference/README.md": ["curl "],
    },
}  # fmt: skip

# How the other commands begin, and why no test runs them as printed. The longest beginning decides.
NOT_RUN = {
    "README.md": {
        "bin/": "the tests' own command, and the quickstart, which runs by hand",
        "python3 -m venv ": "the scenario controller makes its environment elsewhere",
        "pip ": "the scenario controller does it with its own folders",
        "cd ": "the tests begin there",
        "sudo ": "it makes a folder of the machine",
    },
    "roles/artifact_store/README.md": {
        "curl ": "it needs the internet",
        "ansible-playbook fetch.yml ": "it needs the file that curl gets; unit tests read such files",
    },
    "docs/supply-chain.md": {
        "curl ": "it needs the internet",
        "ansible-playbook fetch.yml ": "it needs the file that curl gets; unit tests read such files",
        "export ": "it belongs to a scanner",
        "osv-scanner ": "the page says that scanners are not tested",
        "grype ": "the page says that scanners are not tested",
        "GRYPE_": "the page says that scanners are not tested",
        "trivy ": "the page says that scanners are not tested",
    },
    "docs/gpu.md": {
        "ansible HOST ": "it needs a GPU",
        "PYTHON=": "it needs a GPU",
        "tests/gpu/run ": "it needs the figures of a GPU; unit tests have such figures",
    },
    "roles/balancer/README.md": {
        "ansible-playbook ": "the scenario balancer runs it from its own playbook",
        "curl ": "the scenario balancer asks in this way, from Python",
        "echo ": "it takes a node away; the scenario balancer does it through the play",
    },
    "roles/gateway/README.md": {
        "ansible-playbook ": "the scenarios balancer and seamless run it from their own playbooks",
        "curl ": "the printed request has no text",
        "setsebool ": "it needs SELinux",
        "semanage ": "it needs SELinux",
    },
    "roles/synthesis/README.md": {"ansible-playbook voicefleet.kokoro.verify ": "the scenario default does it"},
    "docs/ladder.md": {
        ".cache/env/test/bin/python ": "it needs an hour, or a real set of sounds; bin/test runs tests/audio whole",
        "PYTHON ": "it needs an hour",
    },
    "roles/releases/README.md": {
        "ansible-playbook rollback.yml -i inventory.yml -e releases_rollback_to=": "the printed release is made up",
    },
    "docs/repair.md": {"ansible-playbook ": "the scenario repair runs it with its own accounts"},
    "docs/image.md": {
        "": "the scenario image does all of this with names of its own; Kubernetes and Podman's quadlet run by hand",
    },
}


def commands(page: str) -> list[str]:
    """The commands of a page, each in one line."""
    text = (ROOT / page).read_text(encoding="utf-8")
    lines = [line for block in BLOCK.findall(text) for line in block.replace("\\\n", " ").splitlines()]
    written = [line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")]
    return [re.sub(r" +# .*$", "", line) for line in written] + ROW.findall(text)


def printed(page: str, start: str) -> list[str]:
    """The commands of a page that begin so."""
    found = [command for command in commands(page) if command.startswith(start)]
    assert found, f"{page} has no command that begins with {start!r}"
    return found


def inventory() -> str:
    """The inventory that README prints."""
    (text,) = INVENTORY.findall((ROOT / "README.md").read_text(encoding="utf-8"))
    return str(text)
