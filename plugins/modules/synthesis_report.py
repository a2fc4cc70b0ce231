#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: synthesis_report
short_description: Write the report on the proofs of speech of all hosts
description:
  - Collects the facts C(voicefleet_plan) and C(voicefleet_synthesis) of all hosts, and the WAV files that
    M(voicefleet.kokoro.synthesis_check) copied to the controller.
  - Writes C(index.html), one page that needs no network, with C(report.json) for machines and C(junit.xml) for CI
    beside it. C(docs/report.md) says how to read them.
  - Shows which hosts are slower than the rest, sound different, or run something else.
  - Prints a short table. If there are more than 20 hosts, it has only those that failed or stand out.
  - Includes hosts that were planned but not proved, with what is known of them.
  - Includes every host of a run that M(voicefleet.kokoro.rollout) counted, with outcome, reason and seconds. C(retry)
    beside the report then names the hosts that are not done, for C(--limit @).
  - Sets the fact C(voicefleet_to_count), the failed hosts that Ansible has not counted yet.
version_added: "0.1.0"
author: voicefleet (@voicefleet)
options:
  audio_mb:
    description:
      - The most megabytes of sound in C(index.html). Hosts that failed or stand out come first, then one voice of each
        other host, then the rest. The page links all other sounds, in C(audio/<host>/<voice>.wav).
      - The page is a third larger than that.
    type: float
    default: 24
extends_documentation_fragment: [voicefleet.kokoro.report]
seealso:
  - module: voicefleet.kokoro.synthesis_check
"""

EXAMPLES = r"""
- name: Write the report
  voicefleet.kokoro.synthesis_report:
    report_dir: voicefleet-report
"""

RETURN = r"""
html:
  description: The page.
  returned: success
  type: str
  sample: /home/me/voicefleet-report/index.html
json:
  description: The report for machines.
  returned: success
  type: str
  sample: /home/me/voicefleet-report/report.json
junit:
  description: JUnit XML with a case for each sample and level. An untried level is skipped, never passed.
  returned: success
  type: str
  sample: /home/me/voicefleet-report/junit.xml
level:
  description: The lowest level of all hosts.
  returned: success
  type: str
  sample: acoustic
unpublished:
  description: The paths of files that are not the published ones, each with its source.
  returned: success
  type: dict
unfinished:
  description: The hosts on which the run is not done, including those that it did not try.
  returned: success
  type: list
  elements: str
  sample: [speech-07]
lines:
  description: A short table for the terminal.
  returned: success
  type: list
  elements: str
  sample: ["host   serves              level     outcome  seconds  voices  latency  RTF"]
"""
