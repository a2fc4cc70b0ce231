#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: doctor_report
short_description: Summarise the findings of the doctor on all hosts
description:
  - Gathers the fact C(voicefleet_doctor) that M(voicefleet.kokoro.doctor) set on each host.
  - For a host without that fact, reports a failure with the code C(UNREACHABLE).
version_added: "0.1.0"
author: voicefleet (@voicefleet)
options:
  hosts:
    description: The hosts of the report.
    type: list
    elements: str
    required: true
  json_file:
    description: A file on the controller for the report as JSON. Empty means no file.
    type: str
    default: ""
  html_file:
    description: A file on the controller for a page with a row for each host. Empty means no file.
    type: str
    default: ""
  text_file:
    description: A file on the controller for the lines. Empty means no file.
    type: str
    default: ""
  bundle:
    description:
      - The archive of a support bundle, made from the files that M(voicefleet.kokoro.doctor) collected. Check mode
        writes no bundle, but it writes the other files.
    type: str
    default: ""
  show_ok:
    description: Whether the lines include the checks that are OK.
    type: bool
    default: true
extends_documentation_fragment: [voicefleet.kokoro.attributes.unchanging]
notes:
  - Runs on the controller only. It never reports a change, because it changes no host.
seealso:
  - module: voicefleet.kokoro.doctor
"""

EXAMPLES = r"""
- name: Write the report
  voicefleet.kokoro.doctor_report:
    hosts: "{{ ansible_play_hosts_all }}"
  run_once: true
"""

RETURN = r"""
lines:
  description:
    - A line for each finding, the worst last, and a total. With more than 20 hosts, a line is for all hosts with the
      same finding.
  returned: success
  type: list
  elements: str
  sample: ["1 host: 0 FAIL, 0 WARN, 25 OK"]
status:
  description: V(0) if all is OK, V(1) with a warning, V(2) with a failure.
  returned: success
  type: int
  sample: 0
report:
  description: The whole report, as in O(json_file).
  returned: success
  type: dict
  sample: {status: 0, hosts: {}}
"""
