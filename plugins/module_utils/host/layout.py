# SPDX-License-Identifier: GPL-3.0-or-later
"""Names and paths on a host."""

from __future__ import annotations

import os
import re

UNIT_FOLDER = "/etc/systemd/system"
UNIT = "voicefleet-xinference.service"
ROOT = "/opt/voicefleet"
HOME = "/var/lib/voicefleet"
SECRETS = "/etc/voicefleet"
EVIDENCE = "/var/lib/voicefleet-evidence"
REPAIR = "/var/lib/voicefleet-repair"  # what a repair in place delivers, before it is installed

# In the root.
CURRENT = ROOT + "/current"
# In a release.
RELEASE_FILE = "release.json"
# In the evidence.
LEDGER_FILE = "receipts.jsonl"
RECEIPTS = f"{EVIDENCE}/{LEDGER_FILE}"
# In a folder of secrets: the fingerprint of what the service was started from.
STARTED_FILE = "started.json"

# An upgrade first tries the new release here, beside the current service.
CANDIDATE_UNIT = "voicefleet-candidate.service"
CANDIDATE_SECRETS = SECRETS + "-candidate"
# A supervisor that also works has a worker beside it.
WORKER_HOME = HOME + "-worker"
WORKER_SECRETS = SECRETS + "-worker"

# The packet filter keeps its rules, and its table as the kernel listed it, in the folder of secrets.
FILTER_UNIT = "voicefleet-filter.service"
FILTER_FILE = "packet-filter.nft"
FILTER_RECORD = "packet-filter.loaded"

# A host's peer while artifacts arrive by swarm. Its user exists only while it runs.
SWARM_UNIT = "voicefleet-swarm.service"
SWARM_USER = "voicefleet-swarm"

GATEWAY = "/etc/voicefleet-gateway"
GATEWAY_CONFIG = "/etc/nginx/conf.d/voicefleet.conf"
GATEWAY_UNIT = "nginx.service"  # the distribution's
# Names the candidate while it answers the gateway's clients. Below /run, so a boot forgets it.
GATEWAY_CANDIDATE = "/run/voicefleet-gateway/candidate.conf"
BALANCER = "/etc/voicefleet-balancer"
BALANCER_UNIT = "voicefleet-balancer.service"
BALANCER_SOCKET = "/run/voicefleet-balancer/admin.sock"
# In both folders: the fingerprint of what the proxy was loaded with.
LOADED_FILE = "loaded.json"

# Settings for clients that use a proxy.
PROXY = "/etc/voicefleet-proxy"

DEPLOY_LOCK = "/run/voicefleet-deploy.json"
OFFLINE_PROOF = "/run/voicefleet-offline"


# What this collection calls its folders below the root's folders. Others found there are not its own.
RELEASE_NAME = re.compile(r"[0-9][^/]*-[0-9a-f]{12}\Z")
NAMES = {
    "artifacts": re.compile(r"[0-9a-f]{64}\Z|\.incoming\Z|\.swarm\Z|\.stamps\.json\Z"),
    "releases": re.compile(r"\.removing-|" + RELEASE_NAME.pattern),
    "tools": re.compile(r"(uv|python)-[0-9]"),
}


def candidate_home(home: str) -> str:
    """The candidate's home: beside the service's home, so on the same file system, and never inside it."""
    return home.rstrip("/") + "-candidate"


class Paths:
    """The folders below the root (default ``/opt/voicefleet``)."""

    def __init__(self, root: str) -> None:
        self.root = root.rstrip("/")
        self.artifacts = os.path.join(self.root, "artifacts")
        self.incoming = os.path.join(self.artifacts, ".incoming")
        self.swarm = os.path.join(self.artifacts, ".swarm")
        self.stamps = os.path.join(self.artifacts, ".stamps.json")
        self.releases = os.path.join(self.root, "releases")
        self.current = os.path.join(self.root, "current")
        self.tools = os.path.join(self.root, "tools")

    def artifact(self, sha256: str, path: str) -> str:
        """The path of an artifact on the host: a folder named by digest, and its own file name."""
        return os.path.join(self.artifacts, sha256, os.path.basename(path))

    def python(self, version: str) -> str:
        """The interpreter of a Python from the store. ``version`` names a build, such as ``3.11.1+20300101``."""
        feature = ".".join(version.split(".")[:2])
        return os.path.join(self.tools, f"python-{version}", "bin", f"python{feature}")

    def release(self, release_id: str) -> str:
        return os.path.join(self.releases, release_id)

    def as_dict(self) -> dict[str, str]:
        return {name: getattr(self, name) for name in ("root", "artifacts", "releases", "current", "tools")}
