# SPDX-License-Identifier: GPL-3.0-or-later
"""A client that requests speech again and again. It runs on the host until its input is closed.

Prints one JSON object for each request: {"at": seconds, "seconds": number, "status": HTTP status, 0 for no answer,
"beside": whether the candidate's unit exists when the request begins, "pid": the main process of the service}.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import time
import urllib.error
import urllib.request

BODY = {"model": "kokoro", "input": "Yes.", "voice": "af_heart", "response_format": "wav"}


def main() -> None:
    with open("/etc/voicefleet/client.key", encoding="ascii") as file:
        headers = {"Authorization": f"Bearer {file.read().strip()}", "Content-Type": "application/json"}
    pid = ["systemctl", "show", "--property", "MainPID", "--value", "voicefleet-xinference.service"]
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    request = urllib.request.Request("http://127.0.0.1:9997/v1/audio/speech", json.dumps(BODY).encode(), headers)
    while not select.select([sys.stdin], [], [], 0.3)[0]:
        row = {
            "at": time.time(),
            "beside": os.path.exists("/etc/systemd/system/voicefleet-candidate.service"),
            "pid": int(subprocess.run(pid, capture_output=True, check=True, text=True).stdout),
            "status": 0,
        }
        try:
            with opener.open(request, timeout=120) as answer:
                row["status"] = answer.status if answer.read(4) == b"RIFF" else 0
        except urllib.error.HTTPError as error:
            row["status"] = error.code
        except OSError:
            pass
        print(json.dumps({**row, "seconds": time.time() - row["at"]}), flush=True)


main()
