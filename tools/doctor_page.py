# SPDX-License-Identifier: GPL-3.0-or-later
"""Write docs/doctor.md from the doctor's own tables: ``python tools/doctor_page.py > docs/doctor.md``."""

from __future__ import annotations

from ansible_collections.voicefleet.kokoro.plugins.module_utils.doctor.failures import FAILURES
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.fleet.doctor import CHECKS

HEAD = """\
# The doctor

Examines every host, whatever is broken there, and changes nothing: no file, no process, no setting. It works on a
host without a release, with a dead service, or that does not answer at all, which is then its finding.

```bash
playbooks/voicefleet-doctor -i inventory.yml                            # one line for each finding: OK, WARN or FAIL
playbooks/voicefleet-doctor -i inventory.yml --quiet                    # without those that are OK
playbooks/voicefleet-doctor -i inventory.yml --json                     # the whole report as JSON, and nothing else
playbooks/voicefleet-doctor -i inventory.yml --bundle support.tar.gz    # and a support bundle of all hosts
```

Other arguments go to `ansible-playbook` (`--limit`, `--forks`, `-e`). In an installed collection the command lies in
`ansible_collections/voicefleet/kokoro/playbooks/voicefleet-doctor`.

| exit status of `playbooks/voicefleet-doctor` | |
| --- | --- |
| 0 | all is OK |
| 1 | there are warnings |
| 2 | something failed, or no host could be examined; what Ansible said of that is on standard error |

`ansible-playbook doctor.yml` (or `voicefleet.kokoro.doctor.yml`) says the same. Its own exit status can't tell
warnings: it is 0 where nothing failed and 2 where something did; with `-e doctor_strict=true` it is 2 for warnings too.
`-e doctor_json_file=FILE` writes the JSON, `-e doctor_bundle=FILE` the bundle.

A finding is one line: level, host, code, cause, remedy. Codes do not change.

    FAIL speech-07 FILES: not as they must be: /etc/voicefleet/secrets.json (mode 0644). Run deploy.yml again: ...

The JSON is `{"status": 0|1|2, "time", "counts", "hosts": {NAME: {"status", "findings": [{"level", "code", "cause",
"remedy"}]}}}`.

It asks the service over loopback, by no proxy. The client's key is sent only where the service's own database knows
it, as ten bad ones close the door for an hour. A model that is READY says one sentence, which is kept nowhere (`-e
doctor_speak=false` leaves it out); the request stands in Xinference's own log, as any does.

## The support bundle

One archive, readable for its owner alone: for each host the findings and what they rest on, journal, Xinference's
log, unit, release, package versions, receipts, disks, memory, ports; at most 4 MiB of text a host. What is collected
is a fixed list. Secrets are taken out on the host: every value that lies in its secrets folder, and whatever has the
shape of a key, token, password or of credentials in an address. Of the environment file the names alone are taken.
Host names, addresses and user names stay: look before you send it.

## What it checks

| code | in order where |
| --- | --- |
"""

MIDDLE = """
## Failures that are known by their messages

They are looked for in the journal and in Xinference's log, since the start of a service that serves (WARN), else of a
day (FAIL). The same words stand under the error of every play and module of this collection that fails with such a
message, after "What this means:".

| code | cause | remedy |
| --- | --- | --- |
"""


def cell(text: str) -> str:
    """A text as a table's cell."""
    return text.replace("|", "\\|").replace("*", "\\*")


def page() -> str:
    """The page's text."""
    checks = "".join(f"| `{code}` | {cell(text)} |\n" for code, text in CHECKS.items())
    rows = sorted(FAILURES, key=lambda failure: failure.code)
    failures = "".join(f"| `{row.code}` | {cell(row.cause)} | {cell(row.remedy)} |\n" for row in rows)
    return HEAD + checks + MIDDLE + failures


if __name__ == "__main__":
    print(page(), end="")
