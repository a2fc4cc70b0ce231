# SPDX-License-Identifier: GPL-3.0-or-later
"""Measure how long the verification of a store takes. bench/store starts it and explains the options.

The JSON holds `bytes`, `files`, `seconds` and `mb_per_second` by measurement, `ratio` (cold verification over
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

import targets
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
    """Run a command over files on all cores, the largest first and several at a time, so that no core waits."""
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
    """Give each measurement the same start: all files in memory, or none."""
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
    """A store of `WARM_FILES` small files, to measure a second verification."""
    rows = []
    for number in range(WARM_FILES):
        data = f"{number}\n".encode() * 1000
        path = folder / f"wheels/package_{number:03d}-1.0-py3-none-any.whl"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        # Hashing is not measured: the first verification stores the digests, the next ones compare them.
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
        # Unlike some sha256sum, openssl uses the processor's instructions. It has no target.
        works["openssl, xargs"] = lambda: with_xargs(files, "openssl", "dgst", "-sha256", "-r")
    taken: dict[str, list[float]] = {name: [] for name in [*works, "verify, warm"]}
    for number in range(rounds):
        # Alternate the order, so that none always comes second.
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
        "targets": targets.judge(got),
        "machine": targets.machine(),
    }


def show(result: dict[str, Any]) -> None:
    where = "from the disk" if result["from_disk"] else "from memory"
    print(f"\n{result['files']} files, {result['bytes'] / 1e6:.0f} MB, {where}, {result['machine']['cores']} cores")
    print(f"\n{'median':<24}{'s':>8}{'MB/s':>9}")
    for name, seconds in result["seconds"].items():
        print(f"  {name:<22}{seconds:>8.2f}{result['mb_per_second'].get(name, ''):>9}")
    targets.show(result["targets"])


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="bench/store", description="Compare the verification of a store with sha256sum."
    )
    parser.add_argument("store", nargs="?", type=Path, help="default: store-test/ in the cache")
    parser.add_argument("--cache", type=Path, required=True, help=argparse.SUPPRESS)
    parser.add_argument("--json", action="store_true", help="print only JSON")
    parser.add_argument("--rounds", type=int, default=5, help="how often each is measured (default 5)")
    parser.add_argument("--from-disk", action="store_true", help="read the files from the disk each time")
    options = parser.parse_args()
    if options.rounds < 1:
        parser.error("--rounds needs 1 or more")
    store = options.store or options.cache / "store-test"
    if not (store / "manifest.json").is_file():
        parser.error(f"there is no store at {store}: make one with bin/store-test")
    result = measure(store.absolute(), options.rounds, options.from_disk)
    if options.json:
        print(json.dumps(result, indent=2))
    else:
        show(result)
    return targets.missed(result["targets"])


if __name__ == "__main__":
    sys.exit(main())
