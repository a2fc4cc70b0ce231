# SPDX-License-Identifier: GPL-3.0-or-later
"""Write docs/doctor.md from the doctor's own tables: ``python tools/doctor_page.py > docs/doctor.md``."""

from __future__ import annotations

from ansible_collections.voicefleet.kokoro.plugins.module_utils.doctor.failures import FAILURES
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.fleet.doctor import CHECKS

HEAD = """\
# The doctor

The doctor examines every host and changes nothing: no file, no process, no setting. It also works on a host
that has no release or a dead service, or that does not answer. Each of these is a finding. Run it in `playbooks/`:

```bash
./voicefleet-doctor -i inventory.yml                            # one line for each finding: OK, WARN or FAIL
./voicefleet-doctor -i inventory.yml --quiet                    # without the findings that are OK
./voicefleet-doctor -i inventory.yml --json                     # only the whole report, as JSON
./voicefleet-doctor -i inventory.yml --html doctor.html         # also a page with a row for each host
./voicefleet-doctor -i inventory.yml --bundle support.tar.gz    # and a support bundle of all hosts
```

Other arguments go to `ansible-playbook` (`--limit`, `--forks`, `-e`). In an installed collection, the command is
`ansible_collections/voicefleet/kokoro/playbooks/voicefleet-doctor`.

| exit status of `voicefleet-doctor` | meaning |
| --- | --- |
| 0 | everything is OK |
| 1 | there are warnings |
| 2 | something failed, or no host could be examined; standard error then holds Ansible's messages |

`ansible-playbook doctor.yml` (or `voicefleet.kokoro.doctor`) prints the same report. Its own exit status is 2 if
something failed and 0 otherwise, so it does not show warnings. With `-e doctor_strict=true`, it is 2 for warnings too.
`-e doctor_json_file=FILE` writes the JSON. `-e doctor_bundle=FILE` writes the bundle.

A finding is one line: level, host, code, cause and remedy. Codes never change. With more than 20 hosts, a line is for
all hosts that have the same finding. `--limit` shows one of them, `--json` has all.

    FAIL speech-07 FILES: not as they must be: /etc/voicefleet/secrets.json (mode 0644). Run deploy.yml again: ...

The JSON is `{"status": 0|1|2, "time", "counts", "hosts": {NAME: {"status", "findings": [{"level", "code", "cause",
"remedy"}]}}}`.

The doctor asks the service at its own address, without a proxy. It sends the client's key only if the service's own
database knows that key, because ten wrong keys ban the sender for an hour. If the model is READY, it speaks one
sentence, and the doctor does not keep the audio (`-e doctor_speak=false` skips this). Xinference logs this request
like any other.

## The support bundle

The bundle is one archive that only its owner can read. For each host it holds the findings with their evidence, the
journal, Xinference's log, the unit, the release, package versions, receipts, disks, memory and ports. The limit is
4 MiB of text per host. A fixed list defines what is collected. The host removes secrets: every value in its secrets
folder, and everything that looks like a key, token, password or credentials in an address. From the environment file
it takes only the names. Host names, addresses and user names stay in the bundle, so review it before you send it.

## What it checks

`ADVISORIES` is checked if the store at `artifact_store_path` on the controller carries advisories:
[supply-chain.md](supply-chain.md#advisories).

| code | OK means |
| --- | --- |
"""

MIDDLE = """
## Known failures

The doctor looks for these messages in the journal and in Xinference's log. If the service serves, it reads from the
service's start and reports a WARN. Otherwise it reads what led to the present state, at most one day back, and reports
a FAIL. If a play or module of this collection fails with such a message, the same text stands below the error, after
"What this means:".

| code | cause | remedy |
| --- | --- | --- |
"""


def cell(text: str) -> str:
    """Escape a text for a table cell."""
    return text.replace("|", "\\|").replace("*", "\\*")


def page() -> str:
    """Return the text of the page."""
    checks = "".join(f"| `{code}` | {cell(text)} |\n" for code, text in CHECKS.items())
    rows = sorted(FAILURES, key=lambda failure: failure.code)
    failures = "".join(f"| `{row.code}` | {cell(row.cause)} | {cell(row.remedy)} |\n" for row in rows)
    return HEAD + checks + MIDDLE + failures


if __name__ == "__main__":
    print(page(), end="")
