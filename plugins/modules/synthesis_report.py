#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) voicefleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Documentation of the action plugin of this name, which runs on the controller."""

from __future__ import annotations

DOCUMENTATION = r"""
module: synthesis_report
short_description: Write the report on the proofs of speech of all hosts
description:
  - Gathers the facts C(voicefleet_plan) and C(voicefleet_synthesis) of all hosts, and the WAV files that
    M(voicefleet.kokoro.synthesis_check) brought to the controller.
  - Writes C(index.html), one file to look at and listen to that needs no network, and beside it C(report.json) for
    machines and C(junit.xml) for CI. C(docs/report.md) says how to read them.
  - Says which hosts are slower than the rest, sound different, or run something else.
  - Shows a short table in the terminal; of more than 20 hosts, those alone that failed or stand out.
  - A host that was planned and not proved is in it too, with what is known.
  - In a run that M(voicefleet.kokoro.rollout) counted, every host is in it, with what became of it, why, and after how
    many seconds. C(retry) beside the report then names those that are left, for C(--limit @).
  - Sets the fact C(voicefleet_to_count), the hosts of which Ansible has yet to learn that they failed.
version_added: "0.1.0"
author:
  - voicefleet (@voicefleet)
options:
  audio_mb:
    description:
      - Megabytes of sound that C(index.html) holds. Hosts that failed or stand out come first, then one voice of each
        other host, then the rest. What is beyond is linked, and lies in C(audio/<host>/<voice>.wav).
      - The page is larger than that by a third.
    type: float
    default: 24
extends_documentation_fragment:
  - voicefleet.kokoro.report
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
  description: The same for machines.
  returned: success
  type: str
  sample: /home/me/voicefleet-report/report.json
junit:
  description: The same as JUnit XML, a case for each sample and level; what was not tried is skipped, never passed.
  returned: success
  type: str
  sample: /home/me/voicefleet-report/junit.xml
level:
  description: The lowest level of all hosts.
  returned: success
  type: str
  sample: acoustic
synthetic:
  description: The stand-ins on which any of it rests. With any, the audio is not Kokoro's voice.
  returned: success
  type: list
  elements: str
  sample: []
unfinished:
  description: The hosts on which the run did not do what it was to do. Those that were not tried are among them.
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
