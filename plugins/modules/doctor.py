#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) voicefleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Documentation of the action plugin of this name, which runs on the controller."""

from __future__ import annotations

DOCUMENTATION = r"""
module: doctor
short_description: Examine one host, whatever is broken there
description:
  - Reads the host's state in one call of M(voicefleet.kokoro.service_state), judges it on the controller, and sets the
    fact C(voicefleet_doctor), a list of findings, each OK, WARN or FAIL with a stable code, cause and remedy.
  - Never fails and changes nothing. A host that can't be reached or read is a finding like any other.
  - The codes are listed in C(docs/doctor.md). M(voicefleet.kokoro.doctor_report) sums up the findings of all hosts.
version_added: "0.1.0"
author:
  - voicefleet (@voicefleet)
options:
  minimum_memory_mb:
    description: Memory in MB below which a host is too small.
    type: int
    default: 3500
  bundle:
    description: The archive of a support bundle on the controller. Empty means that none is made.
    type: str
    default: ""
extends_documentation_fragment:
  - voicefleet.kokoro.host
  - voicefleet.kokoro.host.service
  - voicefleet.kokoro.host.api
attributes:
  check_mode:
    support: full
    description: Nothing is ever changed; no bundle is written.
  diff_mode:
    support: none
    description: Nothing is ever changed.
seealso:
  - module: voicefleet.kokoro.doctor_report
"""

EXAMPLES = r"""
- name: Examine the host
  voicefleet.kokoro.doctor:
"""

RETURN = r"""
ansible_facts:
  description: The fact C(voicefleet_doctor) with C(findings).
  returned: always
  type: dict
  sample:
    voicefleet_doctor:
      findings:
        - {level: FAIL, code: UNIT, cause: voicefleet-xinference.service is inactive., remedy: Start it.}
status:
  description: V(0) where all is OK, V(1) with a warning, V(2) with a failure.
  returned: always
  type: int
  sample: 2
"""
