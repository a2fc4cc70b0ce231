# SPDX-License-Identifier: GPL-3.0-or-later
"""Measure how long a store's verification takes; started by bench/store, which says what the options mean.

The JSON holds `bytes`, `files`, `seconds` and `mb_per_second` by what was measured, `ratio` (cold verification over
sha256sum), `rounds` ({name: [seconds]}), `targets` ({name: {"got", "at_most", "met"}}) and `machine`.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.store.manifest import Artifact, Manifest, read_manifest

RATIO, WARM_SECONDS, WARM_FILES = 1.1, 0.5, 200

# Arguments: store, file of remembered digests or nothing.
VERIFY = """
import sys
from pathlib import Path
from ansible_collections.voicefleet.kokoro.plugins.module_utils.host.hashing import Memo
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.store.store import verify
memo = Memo(sys.argv[2]) if len(sys.argv) > 2 else None
findings = verify(Path(sys.argv[1]), memo)
if memo is not None:
    memo.save()
if findings:
    sys.exit("\\n".join(map(str, findings)))
"""


def verification(store: Path, *memo: str) -> None:
    subprocess.run([sys.executable, "-c", VERIFY, str(store), *memo], check=True)


def with_xargs(files: list[Path], *command: str) -> None:
    """Run a command over files on all cores, the largest first and some at a time, so that no core is left waiting."""
    cores = os.cpu_count() or 1
    at_a_time = max(1, len(files) // (cores * 8))
    ordered = sorted(files, key=lambda path: -path.stat().st_size)
    subprocess.run(
        ["xargs", "-0", f"-P{cores}", f"-n{at_a_time}", *command],
        input=b"\0".join(os.fsencode(path) for path in ordered),
        stdout=subprocess.DEVNULL,
        check=True,
    )


def ready(files: list[Path], from_disk: bool) -> None:
    """Let no measurement find the files where the one before it did not: all in memory, or none."""
    for path in files:
        descriptor = os.open(path, os.O_RDONLY)
        if from_disk:
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        else:
            while os.read(descriptor, 1 << 20):
                pass
        os.close(descriptor)


def timed(work: Callable[[], None]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def small_store(folder: Path) -> Path:
    """A store of `WARM_FILES` files, for what the second look costs apart from bytes."""
    rows = []
    for number in range(WARM_FILES):
        data = f"{number}\n".encode() * 1000
        path = folder / f"wheels/package_{number:03d}-1.0-py3-none-any.whl"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        # The digests are not what is measured: the first look remembers, the next ones compare.
        digest = subprocess.run(["sha256sum", path], capture_output=True, text=True, check=True).stdout[:64]
        rows.append(Artifact(path.relative_to(folder).as_posix(), digest, len(data), "wheel", path.stem, "1.0"))
    (folder / "manifest.json").write_bytes(Manifest(tuple(rows)).to_bytes())
    return folder


def measure(store: Path, rounds: int, from_disk: bool) -> dict[str, Any]:
    manifest, _digest = read_manifest(store)
    files = [store / artifact.path for artifact in manifest.artifacts]
    size = sum(artifact.size for artifact in manifest.artifacts)
    works: dict[str, Callable[[], None]] = {
        "verify, cold": lambda: verification(store),
        "sha256sum, xargs": lambda: with_xargs(files, "sha256sum"),
    }
    if shutil.which("openssl"):
        # Not every sha256sum uses the processor's instructions for it; this one does, and has no target.
        works["openssl, xargs"] = lambda: with_xargs(files, "openssl", "dgst", "-sha256", "-r")
    taken: dict[str, list[float]] = {name: [] for name in [*works, "verify, warm"]}
    for number in range(rounds):
        # Forwards, then backwards: neither is always the one that comes after the other.
        for name in list(works)[:: 1 if number % 2 == 0 else -1]:
            ready(files, from_disk)
            taken[name].append(timed(works[name]))
    with tempfile.TemporaryDirectory() as scratch:
        small, memo = small_store(Path(scratch) / "store"), str(Path(scratch) / "memo.json")
        verification(small, memo)
        taken["verify, warm"] = [timed(lambda: verification(small, memo)) for _ in range(rounds)]
    seconds = {name: round(median(values), 3) for name, values in taken.items()}
    ratio = round(seconds["verify, cold"] / seconds["sha256sum, xargs"], 3)
    got = {
        "cold verification / sha256sum": (ratio, RATIO),
        f"warm verification of {WARM_FILES} files, seconds": (seconds["verify, warm"], WARM_SECONDS),
    }
    return {
        "bytes": size,
        "files": len(files),
        "from_disk": from_disk,
        "seconds": seconds,
        "mb_per_second": {name: round(size / 1e6 / seconds[name], 1) for name in works},
        "ratio": ratio,
        "rounds": {name: [round(value, 3) for value in values] for name, values in taken.items()},
        "targets": {
            name: {"got": value, "at_most": limit, "met": value <= limit} for name, (value, limit) in got.items()
        },
        "machine": {"cores": os.cpu_count(), "load_average": round(os.getloadavg()[0], 2)},
    }


def show(result: dict[str, Any]) -> None:
    where = "from the disk" if result["from_disk"] else "from memory"
    print(f"\n{result['files']} files, {result['bytes'] / 1e6:.0f} MB, {where}, {result['machine']['cores']} cores")
    print(f"\n{'median':<24}{'s':>8}{'MB/s':>9}")
    for name, seconds in result["seconds"].items():
        print(f"  {name:<22}{seconds:>8.2f}{result['mb_per_second'].get(name, ''):>9}")
    print(f"\n{'target':<46}{'got':>8}{'at most':>9}")
    for name, target in result["targets"].items():
        print(f"  {name:<44}{target['got']:>8}{target['at_most']:>9}  {'met' if target['met'] else 'MISSED'}")


def main() -> int:
    parser = argparse.ArgumentParser(prog="bench/store", description="What verifying a store costs beside sha256sum.")
    parser.add_argument("store", nargs="?", type=Path, help="default: store-test/ in the cache")
    parser.add_argument("--cache", type=Path, required=True, help=argparse.SUPPRESS)
    parser.add_argument("--json", action="store_true", help="print JSON, nothing else")
    parser.add_argument("--rounds", type=int, default=5, help="how often each is measured (default 5)")
    parser.add_argument("--from-disk", action="store_true", help="read the files from the disk each time")
    options = parser.parse_args()
    if options.rounds < 1:
        parser.error("--rounds wants 1 or more")
    store = options.store or options.cache / "store-test"
    if not (store / "manifest.json").is_file():
        parser.error(f"there is no store at {store}: make one with bin/store-test")
    result = measure(store.absolute(), options.rounds, options.from_disk)
    if options.json:
        print(json.dumps(result, indent=2))
    else:
        show(result)
    return 0 if all(target["met"] for target in result["targets"].values()) else 1


if __name__ == "__main__":
    sys.exit(main())
