# SPDX-License-Identifier: GPL-3.0-or-later
"""Names and places on a host, in one place."""

from __future__ import annotations

import os

UNIT = "voicefleet-xinference.service"
# An upgrade tries the new release here first, beside the unit above.
CANDIDATE_UNIT = "voicefleet-candidate.service"
CANDIDATE_SECRETS = "/etc/voicefleet-candidate"
# A supervisor that works too has its worker's secrets here.
WORKER_SECRETS = "/etc/voicefleet-worker"
RELEASE_FILE = "release.json"
RECEIPTS = "/var/lib/voicefleet-evidence/receipts.jsonl"


def candidate_home(home: str) -> str:
    """The home of the candidate beside the service's: on the same file system, and never within it."""
    return home.rstrip("/") + "-candidate"


class Paths:
    """The folders under the collection's root (default ``/opt/voicefleet``)."""

    def __init__(self, root: str) -> None:
        self.root = root.rstrip("/")
        self.artifacts = os.path.join(self.root, "artifacts")
        self.incoming = os.path.join(self.artifacts, ".incoming")
        self.stamps = os.path.join(self.artifacts, ".stamps.json")
        self.releases = os.path.join(self.root, "releases")
        self.current = os.path.join(self.root, "current")
        self.tools = os.path.join(self.root, "tools")

    def artifact(self, sha256: str, path: str) -> str:
        """Where an artifact of the store lies on the host: by digest, under its own file name."""
        return os.path.join(self.artifacts, sha256, os.path.basename(path))

    def python(self, version: str) -> str:
        """The interpreter of a Python from the store; ``version`` is a build's, such as ``3.11.18+20261110``."""
        feature = ".".join(version.split(".")[:2])
        return os.path.join(self.tools, f"python-{version}", "bin", f"python{feature}")

    def release(self, release_id: str) -> str:
        return os.path.join(self.releases, release_id)

    def as_dict(self) -> dict[str, str]:
        return {name: getattr(self, name) for name in ("root", "artifacts", "releases", "current", "tools")}
