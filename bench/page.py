# SPDX-License-Identifier: GPL-3.0-or-later
"""Make reports on fleets of several sizes, open each in Chromium, and print the figures.  Argument: the JSON to write.

It holds, by number of hosts: `page_mb`, `json_mb`, `junit_mb`, `sounds` in the page and `of` all, `make_seconds`,
`load_seconds` (best of three), `open_seconds` for one host's details, `peak_mb` of the process so far.
"""

from __future__ import annotations

import json
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
import conftest  # noqa: F401  # finds the collection
from ansible_collections.voicefleet.kokoro.plugins.module_utils.host.hashing import canonical_json
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.report import junit, page as report_page, report
from ansible_collections.voicefleet.kokoro.tests.report import fleets
from ansible_collections.voicefleet.kokoro.tests.report.browser import Chromium

COLUMNS = ("page_mb", "json_mb", "junit_mb", "sounds", "of", "make_seconds", "load_seconds", "open_seconds", "peak_mb")
OPEN = """new Promise((done) => {
  document.querySelector('#h0 .fold').click();
  requestAnimationFrame(() => setTimeout(done, 0));
})"""


def measure(fleet: str, chromium: Chromium) -> dict[str, Any]:
    """One fleet of `fleets`, as the playbooks report on it."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        hosts = getattr(fleets, fleet)(folder)
        clips = {host.name: host.clips for host in hosts}
        start = time.monotonic()
        data = fleets.build(hosts)
        page = report_page.render(data, clips)
        record, cases = canonical_json(report.for_machines(data)), junit.render(data)
        made = time.monotonic() - start
        file = folder / "index.html"
        file.write_text(page, encoding="utf-8")
        loads, opens = [], []
        for _turn in range(3):
            loads.append(chromium.open(file))
            start = time.monotonic()
            if len(hosts) > 1:
                chromium.run(OPEN)
            opens.append(time.monotonic() - start)
        return {
            "page_mb": round(file.stat().st_size / 1e6, 1),
            "json_mb": round(len(record) / 1e6, 2),
            "junit_mb": round(len(cases) / 1e6, 2),
            "sounds": page.count('type="audio/wav" id="wav'),
            "of": sum(map(len, clips.values())),
            "make_seconds": round(made, 2),
            "load_seconds": round(min(loads), 2),
            "open_seconds": round(min(opens), 2),
            "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        }


def main() -> None:
    with Chromium() as chromium:
        found = {
            str(hosts): measure(fleet, chromium) for fleet, hosts in (("one", 1), ("eight", 8), ("thousand", 1000))
        }
    Path(sys.argv[1]).write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    print("".join(f"{name:>13}" for name in ("hosts", *COLUMNS)))
    for hosts, numbers in found.items():
        print("".join(f"{value:>13}" for value in (hosts, *(numbers[name] for name in COLUMNS))))


if __name__ == "__main__":
    main()
