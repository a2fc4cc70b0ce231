# SPDX-License-Identifier: GPL-3.0-or-later
"""One measured start, on the host; or the table of all.  Arguments: stock, ours, or report and a folder.

A start prints {"which": "stock" or "ours", "phases": {name: seconds}, "seconds": their sum}. The report reads such
lines from start.txt and writes start.json: {"rounds": [...], "median": {which: seconds}, "ratio", "at_most", "met",
"machine"}.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

# The target.
RATIO = 0.6
URL = "http://127.0.0.1:9997"
SENTENCE = "The quick brown fox jumps over the lazy dog."
PATIENCE = 900
OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))

STOCK = "bench-stock.service"
OURS = "voicefleet-xinference.service"
STOCK_ENVIRONMENT = {
    "HOME": "/bench/home",
    "HF_HUB_OFFLINE": "1",
    "XINFERENCE_AUTH_ADVANCED": "0",
}


def ask(path: str, body: dict[str, Any] | None = None, key: str = "") -> bytes:
    """The answer to one request; b"" if it failed."""
    request = urllib.request.Request(URL + path, data=json.dumps(body).encode() if body else None)
    request.add_header("Content-Type", "application/json")
    if key:
        request.add_header("Authorization", f"Bearer {key}")
    try:
        with OPENER.open(request, timeout=PATIENCE if body else 2) as answer:
            data: bytes = answer.read()
            return data
    except OSError:
        return b""


def wait(what: str, unit: str, good: Any) -> None:
    """Wait for a state. Ends the program if the unit died or the time is over."""
    end = time.monotonic() + PATIENCE
    while not good():
        if subprocess.run(["systemctl", "is-active", "--quiet", unit], check=False).returncode != 0:
            sys.exit(f"{unit} ended before this: {what}")
        if time.monotonic() > end:
            sys.exit(f"not within {PATIENCE} s: {what}")
        time.sleep(0.1)


def speak(model: str, key: str = "") -> None:
    body = {"model": model, "input": SENTENCE, "voice": "af_heart", "response_format": "wav"}
    if not ask("/v1/audio/speech", body, key).startswith(b"RIFF"):
        sys.exit("the first sentence failed")


def stock() -> dict[str, float]:
    """Start and launch as the documentation says. Returns when each phase ended, in seconds of the clock."""
    bench = Path("/bench")
    (bench / "home").mkdir(exist_ok=True)
    variables = [f"--setenv={name}={value}" for name, value in STOCK_ENVIRONMENT.items()]
    subprocess.run(
        ["systemd-run", "--quiet", "--collect", "--unit", STOCK, *variables, bench / "env/bin/xinference-local",
         "--host", "127.0.0.1", "--port", "9997"],
        check=True,
    )  # fmt: skip
    wait("the service answers", STOCK, lambda: b'"workers":{"' in ask("/status"))
    times = {"service ready": time.monotonic()}
    subprocess.run(
        [bench / "env/bin/xinference", "launch", "--endpoint", URL, "--model-name", "Kokoro-82M",
         "--model-type", "audio", "--model-uid", "kokoro", "--model-path", bench / "store/kokoro/Kokoro-82M",
         "--disable-virtual-env"],
        check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env={**os.environ, **STOCK_ENVIRONMENT},
    )  # fmt: skip
    times["model ready"] = time.monotonic()
    speak("kokoro")
    return {**times, "first sentence": time.monotonic()}


def ours() -> dict[str, float]:
    """Start the unit. Returns when each phase ended, in seconds of the clock."""
    key = Path("/etc/voicefleet/client.key").read_text(encoding="ascii").strip()
    subprocess.run(["systemctl", "start", OURS], check=True)
    wait("the service answers", OURS, lambda: b'"workers":{"' in ask("/status"))
    times = {"service ready": time.monotonic()}
    wait("the model is READY", OURS, lambda: b'"READY"' in ask("/v1/models/instances?model_uid=kokoro", key=key))
    times["model ready"] = time.monotonic()
    speak("kokoro", key)
    return {**times, "first sentence": time.monotonic()}


def measure(which: str) -> None:
    """One start, and the stop afterwards."""
    start = last = time.monotonic()
    try:
        times = stock() if which == "stock" else ours()
    finally:
        subprocess.run(["systemctl", "stop", STOCK if which == "stock" else OURS], check=False)
    phases = {}
    for name, at in times.items():
        phases[name], last = round(at - last, 2), at
    print(json.dumps({"which": which, "phases": phases, "seconds": round(last - start, 2)}))


def report(folder: Path) -> int:
    """Print and write the figures. Returns 1 if the target is missed."""
    rounds = [json.loads(line) for line in (folder / "start.txt").read_text(encoding="ascii").splitlines()]
    of = {which: [row for row in rounds if row["which"] == which] for which in ("stock", "ours")}
    median = {which: round(statistics.median(row["seconds"] for row in rows), 2) for which, rows in of.items()}
    ratio = round(median["ours"] / median["stock"], 3)
    met = ratio <= RATIO
    result = {
        "rounds": rounds,
        "median": median,
        "ratio": ratio,
        "at_most": RATIO,
        "met": met,
        "machine": {"cores": os.cpu_count(), "load_average": round(os.getloadavg()[0], 2)},
    }
    (folder / "start.json").write_text(json.dumps(result, indent=2) + "\n", encoding="ascii")
    print(f"\n{'seconds, median of ' + str(len(of['ours'])):<34}{'stock':>8}{'ours':>8}")
    for name in of["ours"][0]["phases"]:
        values = [statistics.median(row["phases"][name] for row in of[which]) for which in ("stock", "ours")]
        print(f"  {name:<32}{values[0]:>8.1f}{values[1]:>8.1f}")
    print(f"  {'start to first sentence':<32}{median['stock']:>8.1f}{median['ours']:>8.1f}")
    print(f"\nours / stock: {ratio}, at most {RATIO}: {'met' if met else 'MISSED'}")
    return 0 if met else 1


if __name__ == "__main__":
    if sys.argv[1] == "report":
        sys.exit(report(Path(sys.argv[2])))
    measure(sys.argv[1])
