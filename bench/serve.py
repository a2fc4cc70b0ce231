# SPDX-License-Identifier: GPL-3.0-or-later
"""Serve clients on the host, or print the tables.  Arguments: a number of rounds, or report and a folder.

The first prints one line of JSON for each series: {"which": "bare", "ours" or "balancer", "clients", "streamed",
"rows": [{"first", "all", "sound"}], "seconds"}; in seconds, `sound` is the length of the speech. Further lines have
"what": "stream" (a text of a minute, for ours and balancer) and "beside" (a short text alone, and beside one of 5,000
characters). The report reads these lines from serve.txt and writes serve.json: {"series", "streams", "beside",
"targets", "machine"}.
"""

from __future__ import annotations

import http.client
import json
import math
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

# The targets.
OVERHEAD, FIRST_BYTE, BESIDE = 1.05, 0.15, 2.5
PORTS = {"bare": 9996, "ours": 9997, "balancer": 9990}
KEYS = {"ours": "/etc/voicefleet/client.key", "balancer": "/etc/voicefleet-balancer/client.key"}
# Requests of each client, by the number of clients. A single one sends more, or its p95 would be its slowest request.
CLIENTS = {1: 8, 4: 2, 16: 2}
SENTENCE = "The quick brown fox jumps over the lazy dog."
# About a minute, and 5,000 characters.
MINUTE = " ".join(["The harbour was quiet, and the ships lay still on the water."] * 17)
LONG = " ".join(["The harbour was quiet, and the ships lay still on the water."] * 82)
RATE = 24000
PATIENCE = 900
BARE = "bench-bare.service"


def ask(which: str, text: str, streamed: bool = False) -> dict[str, float]:
    """Seconds to the first and last byte of an answer, and of its speech. Fails if there is none."""
    body = {"model": "kokoro", "input": text, "voice": "af_heart", "response_format": "pcm" if streamed else "wav"}
    headers = {"Content-Type": "application/json"}
    if which in KEYS:
        headers["Authorization"] = "Bearer " + Path(KEYS[which]).read_text(encoding="ascii").strip()
    connection = http.client.HTTPConnection("127.0.0.1", PORTS[which], timeout=PATIENCE)
    start = time.monotonic()
    connection.request("POST", "/v1/audio/speech", json.dumps(body), headers)
    answer = connection.getresponse()
    data = answer.read(1)
    first = time.monotonic() - start
    data += answer.read()
    if answer.status != 200:
        # Not sys.exit, which ends a thread without a word.
        raise RuntimeError(f"{which} answered {answer.status}: {data[:300]!r}")
    return {"first": first, "all": time.monotonic() - start, "sound": len(data) / (2 * RATE)}


def wait(good: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not good():
        if time.monotonic() > end:
            sys.exit(f"the bare Xinference was not ready within {PATIENCE} s")
        time.sleep(0.5)


def answers(path: str, body: dict[str, Any] | None = None) -> bytes:
    """The bare Xinference's answer; b"" if there is none. Prints an answer that is an error."""
    connection = http.client.HTTPConnection("127.0.0.1", PORTS["bare"], timeout=PATIENCE)
    try:
        text = json.dumps(body) if body else None
        connection.request("POST" if body else "GET", path, text, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        data = answer.read()
        if answer.status == 200:
            return data
        print(f"the bare Xinference answered {answer.status}: {data[:500]!r}", file=sys.stderr)
        return b""
    except OSError:
        return b""


def start_bare() -> None:
    """Start the bare Xinference beside ours, and launch the model as its documentation says."""
    variables = {"HOME": "/bench/home", "HF_HUB_OFFLINE": "1", "XINFERENCE_AUTH_ADVANCED": "0"}
    Path("/bench/home").mkdir(exist_ok=True)
    subprocess.run(
        ["systemd-run", "--quiet", "--collect", "--unit", BARE,
         *[f"--setenv={name}={value}" for name, value in variables.items()],
         "/bench/env/bin/xinference-local", "--host", "127.0.0.1", "--port", str(PORTS["bare"])],
        check=True,
    )  # fmt: skip
    wait(lambda: b'"workers":{"' in answers("/status"))
    model = {"model_name": "Kokoro-82M", "model_type": "audio", "model_uid": "kokoro", "enable_virtual_env": False}
    if not answers("/v1/models", {**model, "model_path": "/bench/store/kokoro/Kokoro-82M"}):
        sys.exit("the bare Xinference did not launch the model")


def series(which: str, clients: int, streamed: bool) -> dict[str, Any]:
    """Each client sends its requests one after the other."""
    rows: list[dict[str, float]] = []

    def client() -> None:
        for _ in range(CLIENTS[clients]):
            rows.append(ask(which, SENTENCE, streamed))

    threads = [threading.Thread(target=client) for _ in range(clients)]
    start = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    wanted = clients * CLIENTS[clients]
    if len(rows) != wanted:
        sys.exit(f"{which}, {clients} clients: only {len(rows)} of {wanted} requests were answered")
    return {
        "which": which,
        "clients": clients,
        "streamed": streamed,
        "rows": rows,
        "seconds": time.monotonic() - start,
    }


def beside() -> dict[str, Any]:
    """Latencies of a short text, alone and while a long one is spoken."""
    alone = [ask("ours", SENTENCE)["all"] for _ in range(5)]
    spoken: list[dict[str, float]] = []
    long = threading.Thread(target=lambda: spoken.append(ask("ours", LONG)))
    long.start()
    time.sleep(1)
    short = []
    for _ in range(5):
        row = ask("ours", SENTENCE)["all"]
        if long.is_alive():
            short.append(row)
    long.join()
    if not spoken or not short:
        sys.exit("no short text was spoken beside the long one")
    return {"what": "beside", "alone": alone, "short": short, "long": spoken[0]["all"]}


def measure(rounds: int) -> None:
    start_bare()
    for which in PORTS:
        for _ in range(2):
            ask(which, SENTENCE)  # the first ones are slower
    ways = [("bare", False), ("ours", False), ("ours", True), ("balancer", False), ("balancer", True)]
    for _ in range(rounds):
        for clients in CLIENTS:
            for which, streamed in ways:
                print(json.dumps(series(which, clients, streamed)), flush=True)
    for which in ("ours", "balancer"):
        rows = [ask(which, MINUTE, True) for _ in range(rounds)]
        print(json.dumps({"what": "stream", "through": which, "rows": rows}), flush=True)
    print(json.dumps(beside()), flush=True)


def percentile(values: list[float], share: float) -> float:
    """The least value that this share of all values does not exceed."""
    return sorted(values)[math.ceil(share * len(values)) - 1]


def summary(parts: list[dict[str, Any]]) -> dict[str, Any]:
    """The figures of one way and number of clients, over all rounds."""
    rows = [row for part in parts for row in part["rows"]]
    figures: dict[str, Any] = {
        "which": parts[0]["which"],
        "clients": parts[0]["clients"],
        "streamed": parts[0]["streamed"],
        "requests": len(rows),
        "per_second": round(len(rows) / sum(part["seconds"] for part in parts), 2),
        "real_time_factor": round(statistics.median(row["all"] / row["sound"] for row in rows), 3),
    }
    for name in ("first", "all"):
        values = [row[name] for row in rows]
        figures[name] = {"p50": round(statistics.median(values), 3), "p95": round(percentile(values, 0.95), 3)}
    return figures


def report(folder: Path) -> int:
    """Print and write the figures. Returns 1 if a target is missed."""
    # The machine that measures has no other file of this folder.
    from targets import judge, machine, missed, show

    lines = [json.loads(line) for line in (folder / "serve.txt").read_text(encoding="ascii").splitlines()]
    groups: dict[tuple[int, str, bool], list[dict[str, Any]]] = {}
    for line in lines:
        if "which" in line:
            groups.setdefault((line["clients"], line["which"], line["streamed"]), []).append(line)
    table = [summary(parts) for parts in groups.values()]
    streams = {line["through"]: line["rows"] for line in lines if line.get("what") == "stream"}
    (short,) = [line for line in lines if line.get("what") == "beside"]
    whole = {row["which"]: row["all"]["p50"] for row in table if row["clients"] == 1 and not row["streamed"]}
    targets = judge(
        {
            "ours / bare, one client": (round(whole["ours"] / whole["bare"], 3), OVERHEAD),
            "with balancer / bare, one client": (round(whole["balancer"] / whole["bare"], 3), OVERHEAD),
            **{
                f"first byte / whole of a minute, {which}": (
                    round(statistics.median(row["first"] / row["all"] for row in rows), 3),
                    FIRST_BYTE,
                )
                for which, rows in streams.items()
            },
            "a short text beside a long one / alone": (
                round(statistics.median(short["short"]) / statistics.median(short["alone"]), 2),
                BESIDE,
            ),
        }
    )
    result = {"series": table, "streams": streams, "beside": short, "targets": targets, "machine": machine()}
    (folder / "serve.json").write_text(json.dumps(result, indent=2) + "\n", encoding="ascii")
    print(f"\n{'':<30}{'first byte':>16}{'whole':>16}{'':>8}{'':>8}")
    print(f"{'clients, seconds':<30}{'p50':>8}{'p95':>8}{'p50':>8}{'p95':>8}{'rtf':>8}{'req/s':>8}")
    for row in table:
        name = f"{row['clients']:>3} {row['which']}{', streamed' if row['streamed'] else ''}"
        times = [row[part][share] for part in ("first", "all") for share in ("p50", "p95")]
        figures = "".join(f"{value:>8.2f}" for value in [*times, row["real_time_factor"], row["per_second"]])
        print(f"  {name:<28}{figures}")
    for which, rows in streams.items():
        sound, first, whole = (statistics.median(row[name] for row in rows) for name in ("sound", "first", "all"))
        print(f"  a text of {sound:.0f} s, streamed, {which}: first byte after {first:.2f} s, all after {whole:.2f} s")
    alone, beside_long = (statistics.median(short[name]) for name in ("alone", "short"))
    print(f"  a short text: {alone:.2f} s alone, {beside_long:.2f} s beside a long one of {short['long']:.0f} s")
    show(targets)
    return missed(targets)


if __name__ == "__main__":
    if sys.argv[1] == "report":
        sys.exit(report(Path(sys.argv[2])))
    measure(int(sys.argv[1]))
