# SPDX-License-Identifier: GPL-3.0-or-later
"""Make docs/report.webp, the documentation's picture of a report: a made-up fleet of eight with one host unfolded.

.cache/env/test/bin/python tools/report_picture.py
"""

from __future__ import annotations

import base64
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))
import conftest  # noqa: F401  # finds the collection
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.report import page as report_page
from ansible_collections.voicefleet.kokoro.tests.report import fleets
from ansible_collections.voicefleet.kokoro.tests.report.browser import Chromium


def main() -> None:
    with tempfile.TemporaryDirectory() as name, Chromium() as chromium:
        hosts = fleets.eight(Path(name))
        file = Path(name) / "index.html"
        clips = {host.name: host.clips for host in hosts}
        file.write_text(report_page.render(fleets.build(hosts), clips), encoding="utf-8")
        chromium.open(file, height=1640)
        chromium.run("document.querySelector('#h1 .fold').click()")
        time.sleep(1)
        shot = chromium.call("Page.captureScreenshot", format="webp", quality=70)
    (ROOT / "docs" / "report.webp").write_bytes(base64.b64decode(shot["data"]))


if __name__ == "__main__":
    main()
