# SPDX-License-Identifier: GPL-3.0-or-later
"""Many clients of a balancer or gateway at once. Each sends its next request after an answer. Runs on its host.

Arguments: base URL, clients, seconds, text; for a gateway also the files of key and authority. With 0 seconds, it ends
when its input is closed. Prints one JSON object for each request: {"at": seconds since the epoch, "seconds": number,
"status": HTTP status or 0 without an answer, "sound": whether a WAV came, "said": end of an error}.
"""

from __future__ import annotations

import json
import math
import ssl
import sys
import threading
import time
import urllib.error
import urllib.request

URL, CLIENTS, SECONDS, TEXT = sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), sys.argv[4]
KEY, CA = sys.argv[5:] or ("/etc/voicefleet-balancer/client.key", None)
BODY = {"model": "kokoro", "input": TEXT, "voice": "af_heart", "response_format": "wav"}
END = time.time() + (SECONDS or math.inf)
closed = threading.Event()


def client() -> None:
    with open(KEY, encoding="ascii") as file:
        headers = {"Authorization": f"Bearer {file.read().strip()}", "Content-Type": "application/json"}
    opener = urllib.request.build_opener(
        urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=ssl.create_default_context(cafile=CA))
    )
    request = urllib.request.Request(URL + "/v1/audio/speech", json.dumps(BODY).encode(), headers)
    while True:
        row = {"at": time.time(), "status": 0, "sound": False, "said": ""}
        try:
            with opener.open(request, timeout=600) as answer:
                row["status"], row["sound"] = answer.status, answer.read().startswith(b"RIFF")
        except urllib.error.HTTPError as error:
            row["status"], row["said"] = error.code, error.read()[-200:].decode("utf-8", "replace")
        except OSError as error:
            row["said"] = str(error)
        print(json.dumps({**row, "seconds": time.time() - row["at"]}) + "\n", end="", flush=True)
        if time.time() > END or closed.is_set():
            return
        if row["status"] != 200:
            time.sleep(0.5)


threads = [threading.Thread(target=client) for _each in range(CLIENTS)]
for thread in threads:
    thread.start()
if not SECONDS:
    sys.stdin.read()
    closed.set()
for thread in threads:
    thread.join()
