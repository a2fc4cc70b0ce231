# SPDX-License-Identifier: GPL-3.0-or-later
"""Make reports on fleets of several sizes, open each in Chromium, and print the figures.  Argument: the JSON to write.

It holds in `report`, by number of hosts: `page_mb`, `json_mb`, `junit_mb`, `sounds` in the page and `of` all,
`make_seconds`, `load_seconds` (best of three), `open_seconds` for one host's details, `peak_mb` of the process so far.

In `controller`, for report, ledger and doctor of 1,000 hosts: what ansible-playbook takes to write and print them, in
seconds (`seconds`, `cpu_seconds`) and `peak_mb` of its largest process, the `lines` that it prints, `page_mb`, and
`page_cpu_seconds` in Chromium. `nothing` is a run over the same inventory that writes none of them.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
import conftest  # finds the collection
from ansible_collections.voicefleet.kokoro.plugins.module_utils.host.hashing import canonical_json
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.report import junit, page as report_page, report
from ansible_collections.voicefleet.kokoro.tests.report import fleets
from ansible_collections.voicefleet.kokoro.tests.report.browser import Chromium

COLUMNS = ("page_mb", "json_mb", "junit_mb", "sounds", "of", "make_seconds", "load_seconds", "open_seconds", "peak_mb")
OF_A_RUN = ("seconds", "cpu_seconds", "peak_mb", "lines", "page_mb", "page_cpu_seconds")
HOSTS = "{{ ansible_play_hosts_all }}"
# What writes it: a module, its options, and its page.
WRITERS: dict[str, tuple[str, dict[str, Any], str]] = {
    "nothing": ("voicefleet.kokoro.show", {"lines": []}, ""),
    "report": ("voicefleet.kokoro.synthesis_report", {"report_dir": "."}, "index.html"),
    "ledger": ("voicefleet.kokoro.receipts_summary", {"report_dir": ".", "hosts": HOSTS}, "receipts.html"),
    "doctor": ("voicefleet.kokoro.doctor_report", {"hosts": HOSTS, "html_file": "doctor.html"}, "doctor.html"),
}
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


def inventory(folder: Path, count: int) -> Path:
    """A program that tells Ansible the hosts, with the facts that the roles would have set."""
    ledgers, examined = fleets.ledgers(count), fleets.examined(count)
    proved = {host.name: host for host in fleets.thousand(folder, count)}
    facts = {
        name: {
            "voicefleet_plan": proved[name].plan,
            "voicefleet_synthesis": proved[name].synthesis,
            "releases_receipts": ledgers[name],
            "voicefleet_doctor": {"findings": examined[name]},
        }
        for name in ledgers.keys() & proved.keys()
    }
    group = {"hosts": sorted(facts), "vars": {"ansible_connection": "local"}}
    (folder / "hosts.json").write_text(json.dumps({"voicefleet": group, "_meta": {"hostvars": facts}}))
    program = folder / "hosts"
    program.write_text(f"#!/bin/sh\ncat {folder}/hosts.json\n")
    program.chmod(0o755)
    return program


def controller(chromium: Chromium, count: int = 1000) -> dict[str, dict[str, Any]]:
    """What ansible-playbook takes for each of WRITERS."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        hosts = inventory(folder, count)
        return {what: play(folder, hosts, what, chromium) for what in WRITERS}


def play(folder: Path, hosts: Path, what: str, chromium: Chromium) -> dict[str, Any]:
    module, options, page = WRITERS[what]
    show = {"name": "Show", "voicefleet.kokoro.show": {"lines": "{{ made.lines | default([]) }}"}, "run_once": True}
    make = {"name": "Make", module: options, "run_once": True, "register": "made"}
    plays = [{"hosts": "voicefleet", "gather_facts": False, "tasks": [make, show]}]
    (folder / "play.yml").write_text(json.dumps(plays))
    environment = {
        "ANSIBLE_COLLECTIONS_PATH": str(conftest.parent_of_ansible_collections()),
        "ANSIBLE_HOME": str(folder),
    }
    start = time.monotonic()
    with (folder / "said").open("w") as said:
        running = subprocess.Popen(
            [Path(sys.executable).with_name("ansible-playbook"), "-i", hosts, "play.yml"],
            cwd=folder, stdin=subprocess.DEVNULL, stdout=said,
            env={**os.environ, **environment},
        )  # fmt: skip
        _pid, status, used = os.wait4(running.pid, 0)
    running.returncode = os.waitstatus_to_exitcode(status)
    text = (folder / "said").read_text()
    if running.returncode:
        raise SystemExit(f"ansible-playbook failed:\n{text}")
    found = {
        "seconds": round(time.monotonic() - start, 1),
        "cpu_seconds": round(used.ru_utime + used.ru_stime, 1),
        "peak_mb": used.ru_maxrss // 1024,
        "lines": len(text.splitlines()),
    }
    if page:
        chromium.open(folder / page)
        found["page_mb"] = round((folder / page).stat().st_size / 1e6, 1)
        found["page_cpu_seconds"] = round(chromium.cpu(), 1)
    return found


def main() -> None:
    with Chromium() as chromium:
        sizes = {
            str(hosts): measure(fleet, chromium) for fleet, hosts in (("one", 1), ("eight", 8), ("thousand", 1000))
        }
        written = controller(chromium)
    found = {"report": sizes, "controller": written}
    Path(sys.argv[1]).write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    print("".join(f"{name:>13}" for name in ("hosts", *COLUMNS)))
    for hosts, numbers in sizes.items():
        print("".join(f"{value:>13}" for value in (hosts, *(numbers[name] for name in COLUMNS))))
    print(f"\n{'1,000 hosts':<12}" + "".join(f"{name:>18}" for name in OF_A_RUN))
    for what, numbers in written.items():
        print(f"{what:<12}" + "".join(f"{numbers.get(name, ''):>18}" for name in OF_A_RUN))


if __name__ == "__main__":
    main()
