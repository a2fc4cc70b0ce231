# SPDX-License-Identifier: GPL-3.0-or-later
"""Print which model sources answer to this machine: `spacy`, `kokoro`, both or none.

It sends one HEAD request each, through the proxies of the environment. Reasons for no answer go to stderr.
"""

from __future__ import annotations

import sys
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

# bin/lib.sh makes a collection tree of the checkout there.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / ".cache" / "tree"))
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.store import catalogue

MODEL = catalogue.SPACY_MODELS["en_core_web_sm"]
SOURCES = {
    "spacy": f"{catalogue.SPACY_RELEASES}/{MODEL.name}-{MODEL.version}/{MODEL.filename}",
    "kokoro": f"{catalogue.KOKORO_HUB}/{catalogue.KOKORO_REPOSITORY}/resolve/{catalogue.KOKORO_REVISION}/config.json",
}
# For all addresses together: if a firewall drops packets, each address of a name waits for its own time-out.
SECONDS = 6.0


def ask(url: str) -> str:
    """Return why the URL does not answer, or nothing if it does."""
    request = urllib.request.Request(url, method="HEAD", headers={"User-Agent": "voicefleet.kokoro"})
    try:
        with urllib.request.urlopen(request, timeout=SECONDS):
            return ""
    except urllib.error.HTTPError as error:
        return str(error)
    except (OSError, ValueError) as error:
        return str(getattr(error, "reason", error))


def main() -> None:
    reasons: dict[str, str] = {}
    threads = {
        name: threading.Thread(target=lambda n=name, u=url: reasons.__setitem__(n, ask(u)), daemon=True)
        for name, url in SOURCES.items()
    }
    deadline = time.monotonic() + SECONDS
    for thread in threads.values():
        thread.start()
    for name, thread in threads.items():
        thread.join(max(0.0, deadline - time.monotonic()))
        reason = reasons.get(name, f"no answer within {SECONDS:.0f} s")
        if reason:
            print(f"    {SOURCES[name]}: {reason}", file=sys.stderr)
        else:
            print(name)


if __name__ == "__main__":
    main()
